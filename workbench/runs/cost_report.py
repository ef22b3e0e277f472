"""A cost plan as text and as JSON."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from workbench.runs import cost_stages, cost_trainings
from workbench.runs.cost_stages import StageCost

if TYPE_CHECKING:
    from workbench.runs.cost_plan import CostPlan

HEADER = ("", "stage", "times", "written", "read", "GPU mem", "host mem", "operations", "time", "waits for")
COUNTED = (
    "rows of tables and pictures; parameters, gradients and optimiser state (float32, AdamW); operations of the real "
    "networks (torch's counter: products, convolutions, attention); bytes of features (float16)"
)


def plan_text(plan: "CostPlan") -> str:
    """Tables of the notebooks and of the paper's tables, totals, and what is counted, assumed and too large."""
    from workbench.runs.cost_plan import TABLE_SEEDS

    machine, data = plan.machine, plan.data
    lines = [
        f"profile {plan.profile} on {plan.gpus} x {machine.title}, {plan.workers} decoding processes",
        f"data: {_splits(data.images)} pictures, {_splits(data.boxes)} boxes, {_splits(data.relations)} relations, "
        f"{data.object_classes:,} object and {data.relation_classes:,} relation classes, "
        f"{data.distinct_triplets:,} distinct triplets ({data.source})",
        "",
        *_table([(number, cost) for number, cost in plan.stages], "the notebooks"),
    ]
    if plan.tables:
        lines += ["", f"the paper's tables, one seed of {TABLE_SEEDS} (tasks run one a GPU):", ""]
        lines += _table([("", cost) for cost in plan.tables], "one seed")
        seconds = TABLE_SEEDS * sum(cost.seconds for cost in plan.tables) / plan.gpus
        written = TABLE_SEEDS * sum(cost.written for cost in plan.tables)
        lines.append(f"all {TABLE_SEEDS} seeds on {plan.gpus} GPU(s): {_time(seconds)}, {_bytes(written)} written")
    return "\n".join([*lines, "", *_remarks(plan)])


def plan_json(plan: "CostPlan") -> dict[str, Any]:
    """Stages with bytes, operations and seconds; totals; data, machine, and what is counted and assumed."""
    stages = [{"notebook": number} | asdict(cost) for number, cost in plan.stages]
    return {
        "profile": plan.profile,
        "machine": asdict(plan.machine),
        "gpus": plan.gpus,
        "workers": plan.workers,
        "data": asdict(plan.data),
        "stages": stages,
        "total": totals(cost for _, cost in plan.stages),
        "tables": [asdict(cost) for cost in plan.tables],
        "tables_total": totals(plan.tables) if plan.tables else None,
        "counted": COUNTED,
        "assumed": _assumed(plan),
    }


def totals(costs: Iterable[StageCost]) -> dict[str, float]:
    """Sums of bytes on disk, operations and seconds; the largest memory."""
    costs = list(costs)
    summed = {name: sum(getattr(cost, name) for cost in costs) for name in ("written", "read", "operations", "seconds")}
    return summed | {name: max(getattr(cost, name) for cost in costs) for name in ("gpu_bytes", "host_bytes")}


def _table(rows: list[tuple[str, StageCost]], total: str) -> list[str]:
    cells = [HEADER, *(_cells(number, cost) for number, cost in rows)]
    cells.append(_cells("", StageCost(f"total of {total}", **totals(cost for _, cost in rows))))
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADER))]
    lines = []
    for row in cells:
        aligned = [cell.ljust(w) if place in (0, 1, 9) else cell.rjust(w) for place, (cell, w) in _placed(row, widths)]
        lines.append("  ".join(aligned).rstrip())
    return [lines[0], "-" * max(map(len, lines)), *lines[1:-1], "-" * max(map(len, lines)), lines[-1]]


def _placed(row: tuple[str, ...], widths: list[int]) -> Iterable[tuple[int, tuple[str, int]]]:
    return enumerate(zip(row, widths, strict=True))


def _cells(number: str, cost: StageCost) -> tuple[str, ...]:
    name = cost.stage if cost.variant in ("default", "tables") else f"{cost.stage}/{cost.variant}"
    waits = f"{cost.limit}{', ' if cost.note and cost.limit else ''}{cost.note}"
    memory = _bytes(cost.gpu_bytes) if cost.gpu_bytes else "-"
    return (
        number, name, str(cost.times) if cost.limit else "", _bytes(cost.written), _bytes(cost.read), memory,
        _bytes(cost.host_bytes), _operations(cost.operations), _time(cost.seconds), waits,
    )  # fmt: skip


def _remarks(plan: "CostPlan") -> list[str]:
    machine = plan.machine
    peak = max(cost.gpu_bytes for cost in [*(cost for _, cost in plan.stages), *plan.tables])
    lines = []
    if machine.memory and peak > machine.memory:
        lines.append(
            f"TOO LARGE: {_bytes(peak)} on the GPU, which has {_bytes(machine.memory)}. Take a smaller batch_size, a "
            "higher accumulation, or more GPUs."
        )
    lines += [f"machine: {machine.source}.", f"counted: {COUNTED}.", "assumed:"]
    return lines + [f"  {sentence}" for sentence in _assumed(plan)]


def _assumed(plan: "CostPlan") -> list[str]:
    machine = plan.machine
    own = (
        f"{machine.utilisation:.0%} of the machine's arithmetic are reached, {_operations(machine.speed())} a second",
        f"disk {_bytes(machine.disk)} a second, {machine.pictures_a_core:.0f} pictures decoded a second and process, "
        f"CPU {_operations(machine.host)} a second, {1000 * machine.launch:g} ms a step at least",
    )
    rivals = ("rivals of the denoiser cost their disk alone",) if plan.tables else ()
    return [*own, *cost_stages.ASSUMED, *cost_trainings.ASSUMED, *plan.data.assumed, *rivals]


def _splits(numbers: dict[str, int]) -> str:
    return " / ".join(f"{number:,}" for number in numbers.values())


def _bytes(number: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}" if number < 999.5 * size else f"{number / size:,.0f} {unit}"
    return f"{number:.0f} B"


def _operations(number: float) -> str:
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if number >= size:
            return f"{number / size:.3g} {unit}" if number < 999.5 * size else f"{number / size:,.0f} {unit}"
    return f"{number / 1e6:.3g} M" if number else "0"


def _time(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"
