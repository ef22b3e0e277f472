"""Run a profile's notebooks headless, in order, each in a kernel of its own, and keep the record; or once a seed."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.configuration import flat
from workbench.errors import WorkbenchError, unknown
from workbench.files import read_json, remove_temporary, write_json
from workbench.folders import Replace
from workbench.identity import versions
from workbench.locks import SECONDS_TO_BEGIN, only_one
from workbench.paths import project_root, reports_folder, runs_folder
from workbench.runs.execution import DEAD_KERNEL, DONE, FAILED, REFUSED, STOPPED, environment, environment_of, execute
from workbench.runs.profiles import Plan, PlannedNotebook, make_plan
from workbench.runs.run_records import METRICS, RECORD, NotebookRecord, RunRecord
from workbench.stages import Run
from workbench.stopping import Stopped, StopRequest, stop_on_sigterm

if TYPE_CHECKING:
    import pandas as pd

VARIANTS, BASELINE = "variants", "baseline"
_EXIT_CODES = {DEAD_KERNEL: 138, STOPPED: Stopped.exit_code}


class NotebookFailed(WorkbenchError):
    """A notebook stopped with an error; ``exit_code`` is 1, 138 where the kernel died, 143 after SIGTERM."""

    def __init__(self, text: str, exit_code: int):
        super().__init__(text)
        self.exit_code = exit_code


def planned(
    profile: str, replace: Replace = Replace.NEVER, root: Path | None = None, **asked: Any
) -> tuple[Plan, dict[str, str]]:
    """What `run_profile` will do, with all that it names looked at, and the environment of its kernels.

    ``asked`` is what `make_plan` takes besides; nothing is written.
    """
    root = project_root(root)
    plan = make_plan(profile, root=root, **asked)
    variables = environment(root, replace)
    with environment_of(variables):  # which says whether a run may change what it works on
        from workbench.runs.first_look import look_at_plan  # brings pandas

        look_at_plan(plan, root)
    return plan, variables


def run_profile(profile: str, replace: Replace = Replace.NEVER, root: Path | None = None, **asked: Any) -> Path:
    """Execute a profile's notebooks in order and write their report; returns the report's folder.

    Stops at the first notebook that fails with NotebookFailed; what was finished stays, and the same call
    resumes there because finished stages are loaded. Where the first notebooks of the call were finished before and
    one of them refuses what is asked, their report stays as it was. Of ``asked``, as of `planned`, ``only`` limits the
    notebooks, ``parameters`` and ``files`` are laid over the profile, ``base`` names a run whose stages are taken over
    (`Run.open`); ``replace`` says which stored stages give way.
    """
    root = project_root(root)
    plan, variables = planned(profile, replace, root, **asked)
    folder = reports_folder(root) / plan.run
    lock = only_one(folder / ".lock", f"run {plan.run!r} is running already", wait=False)
    with stop_on_sigterm() as stop, lock:
        for left in folder.glob(".*.ipynb"):  # held by a call that was killed
            left.unlink()
        for place in (folder, made := runs_folder(root) / plan.run, made / "metrics"):
            remove_temporary(place, ".*", SECONDS_TO_BEGIN)
        with environment_of(variables):  # the run keeps what it works on, whichever notebook is run first
            Run.open(plan.run, data=plan.data, images=plan.image_folder, root=root, base=plan.base)
        record = RunRecord(plan.run, plan.profile, versions=versions(), started=_now())
        if (folder / RECORD).is_file():  # what earlier calls of the same run left about other notebooks
            record.notebooks |= RunRecord.read(folder).notebooks
        written = _Written(folder, record, [name for name, entry in record.notebooks.items() if entry.status == DONE])
        record.notebooks |= {each.name: NotebookRecord(parameters=each.values) for each in plan.notebooks}
        try:
            for number, notebook in enumerate(plan.notebooks, start=1):
                _go_on(stop)
                print(f"[{number}/{len(plan.notebooks)}] {notebook.name}", flush=True)
                _run_one(notebook, written, variables, stop)
            written.begin()
        finally:
            written.drop_held()
            if written.begun:
                entries = record.notebooks.values()
                record.status = DONE if all(entry.status == DONE for entry in entries) else "unfinished"
                record.seconds = round(sum(entry.seconds or 0.0 for entry in entries), 1)
                record.finished = _now()
                record.write(folder)
                print(f"report: {renew_report(plan.run, root)}", flush=True)
        _go_on(stop)
    return folder


def _go_on(stop: StopRequest) -> None:
    if stop.asked:
        told = "asked to stop (SIGTERM). What was finished is kept; run the same command again to continue."
        raise NotebookFailed(told, Stopped.exit_code)


@dataclass
class _Written:
    """What a call writes into a report: of notebooks that were ``finished`` before nothing until another one begins.

    So a finished report stays as it was where what is asked now is refused, or stopped.
    """

    folder: Path
    record: RunRecord
    finished: list[str]
    held: list[Path] = field(default_factory=list)
    begun: bool = False

    def place_of(self, notebook: str) -> Path:
        """Where the executed notebook is written."""
        output = self.folder / f"{notebook}.ipynb"
        if self.begun or notebook not in self.finished or not output.is_file():
            self.begin()
            return output
        self.held.append(output.with_name(f".{output.name}"))
        return self.held[-1]

    def begin(self) -> None:
        """From now on the report is that of this call."""
        self.begun = True
        for path in self.held:
            if path.is_file():
                path.replace(path.with_name(path.name[1:]))
        self.keep_record()

    def keep_record(self) -> None:
        """Write the record, once the report is that of this call."""
        if self.begun:
            self.record.write(self.folder)

    def drop_held(self) -> None:
        """Remove what did not come into the report."""
        for path in self.held:
            path.unlink(missing_ok=True)


def _run_one(notebook: PlannedNotebook, written: _Written, variables: dict[str, str], stop: StopRequest) -> None:
    entry = written.record.notebooks[notebook.name] = NotebookRecord("running", notebook.values)
    output, started = written.place_of(notebook.name), time.monotonic()
    entry.status = STOPPED  # what stays if this process is interrupted
    outcome = execute(notebook.source, output, notebook.overrides, variables, stop)
    entry.status = FAILED if outcome.status == REFUSED else outcome.status
    entry.error, entry.peak_memory_mb = outcome.error, outcome.peak_memory_mb
    entry.seconds = round(time.monotonic() - started, 1)
    if outcome.status in (FAILED, DEAD_KERNEL):
        written.begin()
    written.keep_record()
    if entry.status != DONE:
        place = f"The executed notebook is {written.folder / f'{notebook.name}.ipynb'}."
        place = place if written.begun else "The report is as it was."
        again = f"{place} What was finished is kept; run the same command again to continue."
        raise NotebookFailed(f"{notebook.name}: {entry.error}\n{again}", _EXIT_CODES.get(entry.status, 1))
    page = ""
    if written.begun:  # its figures are to be seen while the next one runs
        from workbench.runs.reports import write_page

        page = f": {write_page(output, written.record)}"
    print(f"      {entry.seconds:.1f} s, at most {entry.peak_memory_mb:,} MB{page}", flush=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def renew_report(run: str, root: Path | None = None, inline_plotly: bool = False) -> Path:
    """Write ``metrics.json``, the pages and the index of a run again; returns the run's index page."""
    from workbench.runs.report_index import write_overview
    from workbench.runs.reports import write_report

    folder = reports_folder(root) / run
    if not (folder / RECORD).is_file():
        known = sorted(path.parent.name for path in folder.parent.glob(f"*/{RECORD}"))
        raise WorkbenchError(f"{folder}: {unknown('run', run, known)}")
    write_json(folder / METRICS, Run.open(run, root=root).metrics())
    page = write_report(folder, inline_plotly)
    write_overview(root)
    return page


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
        given = parameters | {"seed": seed}
        folders.append(run_profile(profile, run=f"{name}-seed{seed}", parameters=given, **options))
    found = [read_json(folder / METRICS) for folder in folders]
    record = {"run": name, "profile": profile, "seeds": seeds, "runs": [folder.name for folder in folders]}
    path = reports_folder(options.get("root")) / f"{name}-seeds.json"
    metrics = _intervals(common_numbers(found))
    write_json(path, record | {"metrics": metrics, "differences": variant_differences(found)})
    return path


def variant_differences(runs: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Paired differences, run by run, between the variants that a notebook's metrics list under "variants".

    Each variant is compared with the one named under "baseline", or each pair where there is none. Returns
    ``{"<notebook>: <a> - <b>": {metric: interval}}`` of a's number minus b's.
    """
    compared: dict[str, dict[str, dict[str, Any]]] = {}
    for notebook, metrics in runs[0].items():
        variants, baseline = metrics.get(VARIANTS), metrics.get(BASELINE)
        if not isinstance(variants, dict):
            continue
        if baseline is not None and baseline not in variants:
            raise WorkbenchError(f"metrics of {notebook}: {unknown('baseline', baseline, variants)}")
        found = [run.get(notebook, {}).get(VARIANTS, {}) for run in runs]
        numbers = {name: common_numbers([each.get(name, {}) for each in found]) for name in variants}
        pairs = [(later, earlier) for earlier, later in combinations(variants, 2)]
        for one, other in pairs if baseline is None else [(name, baseline) for name in variants if name != baseline]:
            compared[f"{notebook}: {one} - {other}"] = _intervals((numbers[one] - numbers[other]).dropna(axis=1))
    return compared


def common_numbers(runs: list[dict[str, Any]]) -> "pd.DataFrame":
    """A row a run, a column a number that all have by dotted name; lists, texts, truth values, nulls are left out."""
    import pandas as pd

    return pd.DataFrame(map(flat, runs)).select_dtypes("number").dropna(axis=1).astype(float)


def _intervals(numbers: "pd.DataFrame") -> dict[str, dict[str, Any]]:
    from workbench.tables.results import interval

    return {str(name): interval(values.tolist()) for name, values in numbers.items()}


def repeats_text(path: Path) -> str:
    """The differences between variants, and the headline numbers, of a written repetition."""
    record = read_json(path)
    lines = [f"{len(record['seeds'])} seeds, mean and 95% t-interval"]
    headline = {name: values for name, values in record["metrics"].items() if ".headline." in name}
    tables = [(title, metrics, "+") for title, metrics in record["differences"].items()]
    for title, metrics, sign in [*tables, *([("headline", headline, "")] if headline else [])]:
        lines += ["", title]
        for name, values in metrics.items():
            width = "" if values["half_width"] is None else f" ± {values['half_width']:.3g}"
            lines.append(f"  {name:<48} {values['mean']:{sign}.4g}{width}")
    return "\n".join(lines)
