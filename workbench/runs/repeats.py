"""The same profile with several seeds: means with intervals, and paired differences between variants."""

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError, unknown
from workbench.files import read_json, write_json
from workbench.paths import reports_folder
from workbench.runs.notebooks import run_profile
from workbench.tables.results import CONFIDENCE, interval

VARIANTS, BASELINE = "variants", "baseline"


def repeat_profile(profile: str, seeds: list[int], run: str | None = None, **options: Any) -> Path:
    """Run ``profile`` once a seed as ``<run>-seed<k>`` and write ``reports/<run>-seeds.json``; returns its path.

    ``options`` go to ``run_profile``. Finished runs are loaded, so a stopped repetition resumes where it stopped.
    """
    if len(set(seeds)) != len(seeds) or not seeds:
        raise WorkbenchError(f"seeds {seeds}: give at least one, each once.")
    name, parameters = run or profile, options.pop("parameters", None) or {}
    if "seed" in parameters:
        raise WorkbenchError("-p seed=...: the seed is what is repeated over. Give --seeds instead.")
    folders = []
    for seed in seeds:
        print(f"seed {seed}", flush=True)
        folders.append(
            run_profile(profile, run=f"{name}-seed{seed}", parameters=parameters | {"seed": seed}, **options)
        )
    path = reports_folder(options.get("root")) / f"{name}-seeds.json"
    found = [read_json(folder / "metrics.json") for folder in folders]
    record = {"run": name, "profile": profile, "seeds": seeds, "runs": [folder.name for folder in folders]}
    write_json(path, record | {"metrics": intervals(found), "differences": variant_differences(found)})
    return path


def intervals(runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and 95 % t-interval of each number that all ``runs`` have, by its dotted name."""
    flat = [dict(_numbers(metrics)) for metrics in runs]
    names = [name for name in flat[0] if all(name in other for other in flat)]
    return {name: interval([other[name] for other in flat]) for name in names}


def variant_differences(runs: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Paired differences, run by run, between the variants that a notebook's metrics list under "variants".

    Each variant is compared with the one named under "baseline", or each pair where there is none. Returns
    ``{"<notebook>: <a> - <b>": {metric: interval}}`` of a's number minus b's.
    """
    compared: dict[str, dict[str, dict[str, Any]]] = {}
    for notebook, metrics in runs[0].items():
        variants = metrics.get(VARIANTS)
        if not isinstance(variants, dict):
            continue
        for one, other in _pairs(list(variants), metrics.get(BASELINE), notebook):
            sides = [[_variant_numbers(run, notebook, name) for run in runs] for name in (one, other)]
            shared = [name for name in sides[0][0] if all(name in numbers for side in sides for numbers in side)]
            differences = {n: interval([a[n] - b[n] for a, b in zip(*sides, strict=True)]) for n in shared}
            compared[f"{notebook}: {one} - {other}"] = differences
    return compared


def _pairs(variants: list[str], baseline: str | None, notebook: str) -> list[tuple[str, str]]:
    if baseline is None:
        return [(later, earlier) for earlier, later in combinations(variants, 2)]
    if baseline not in variants:
        raise WorkbenchError(f"metrics of {notebook}: {unknown('baseline', baseline, variants)}")
    return [(name, baseline) for name in variants if name != baseline]


def _variant_numbers(run: dict[str, Any], notebook: str, variant: str) -> dict[str, float]:
    return dict(_numbers(run.get(notebook, {}).get(VARIANTS, {}).get(variant, {})))


def _numbers(value: Any, prefix: str = "") -> Iterable[tuple[str, float]]:
    """All numbers of nested dicts with dotted names; lists, texts, truth values and nulls are left out."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield prefix, float(value)


def repeats_text(path: Path) -> str:
    """The differences between variants, and the headline numbers, of a written repetition."""
    record = read_json(path)
    lines = [f"{len(record['seeds'])} seeds, mean and {CONFIDENCE:.0%} t-interval"]
    for title, metrics in record["differences"].items():
        lines += ["", title, *(_line(name, values, "+") for name, values in metrics.items())]
    headline = {name: values for name, values in record["metrics"].items() if ".headline." in name}
    lines += ["", "headline", *(_line(name, values, "") for name, values in headline.items())] if headline else []
    return "\n".join(lines)


def _line(name: str, values: dict[str, Any], sign: str) -> str:
    width = "" if values["half_width"] is None else f" ± {values['half_width']:.3g}"
    return f"  {name:<48} {values['mean']:{sign}.4g}{width}"
