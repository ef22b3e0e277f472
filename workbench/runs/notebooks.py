"""Run notebooks headless, in order, each in a kernel of its own, and keep the record of it."""

import dataclasses
import importlib.util
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError, unknown
from workbench.files import read_json, write_json
from workbench.folders import REPLACE_VARIABLE, Replace, only_one
from workbench.identity import available_cores, versions
from workbench.paths import HOME_VARIABLE, project_root, reports_folder
from workbench.runs.execution import DEAD_KERNEL, DONE, STOPPED, environment_of, execute
from workbench.runs.profiles import Plan, PlannedNotebook, make_plan
from workbench.stages import Run
from workbench.stopping import Stopped

DEAD_KERNEL_CODE = 138
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class NotebookFailed(WorkbenchError):
    """A notebook stopped with an error; ``exit_code`` is 1, 138 where the kernel died, 143 after SIGTERM."""

    def __init__(self, text: str, exit_code: int):
        super().__init__(text)
        self.exit_code = exit_code


def run_profile(
    profile: str,
    run: str | None = None,
    only: list[str] | None = None,
    parameters: dict[str, Any] | None = None,
    replace: Replace = Replace.NEVER,
    dry_run: bool = False,
    files: list[Path] | None = None,
    root: Path | None = None,
) -> Path:
    """Execute a profile's notebooks in order and write their report; returns the report's folder.

    Stops at the first notebook that fails with NotebookFailed; what was finished stays, and the same call
    resumes there because finished stages are loaded. ``only`` limits the notebooks, ``parameters`` and ``files`` are
    laid over the profile (``workbench.runs.profiles.make_plan``), ``replace`` says which stored stages give way,
    ``dry_run`` prints the resolved parameters and stops.
    """
    root = project_root(root)
    plan = make_plan(profile, run, only, parameters, files, root)
    folder = reports_folder(root) / plan.run
    if dry_run:
        print(plan_text(plan, folder))
        return folder
    with only_one(folder / ".lock", f"run {plan.run!r} is running already", wait=False):
        variables = environment(root, replace)
        with environment_of(variables):  # the run keeps what it works on, whichever notebook is run first
            Run.open(plan.run, data=plan.data, images=plan.image_folder, root=root)
        record = _opened_record(folder / "run.json", plan)
        try:
            for number, notebook in enumerate(plan.notebooks, start=1):
                print(f"[{number}/{len(plan.notebooks)}] {notebook.name}", flush=True)
                _run_one(notebook, folder, record, variables)
        finally:
            _close_record(folder / "run.json", record)
            print(f"report: {renew_report(plan.run, root)}", flush=True)
    return folder


def renew_report(run: str, root: Path | None = None, inline_plotly: bool = False) -> Path:
    """Write ``metrics.json``, the pages and the index of a run again; returns the run's index page."""
    from workbench.runs.reports import write_overview, write_report

    folder = reports_folder(root) / run
    if not (folder / "run.json").is_file():
        known = sorted(path.parent.name for path in folder.parent.glob("*/run.json"))
        raise WorkbenchError(f"{folder}: {unknown('run', run, known)}")
    write_json(folder / "metrics.json", Run.open(run, root=root).metrics())
    page = write_report(folder, inline_plotly)
    write_overview(folder.parent)
    return page


def plan_text(plan: Plan, folder: Path) -> str:
    """The resolved parameters of a plan; '*' marks those that are not the notebook's default."""
    lines = [f"run {plan.run}, profile {plan.profile}, into {folder}"]
    for notebook in plan.notebooks:
        lines += [notebook.name, *(f"  {line}" for line in notebook.lines())]
    return "\n".join(lines)


def _run_one(notebook: PlannedNotebook, folder: Path, record: dict, variables: dict[str, str]) -> None:
    entry = record["notebooks"][notebook.name]
    entry |= {"status": "running", "parameters": notebook.values, "error": None}
    write_json(folder / "run.json", record)
    output, started = folder / f"{notebook.name}.ipynb", time.monotonic()
    entry["status"] = STOPPED  # what stays if this process is interrupted
    outcome = execute(notebook.source, output, notebook.overrides, variables)
    entry |= dataclasses.asdict(outcome) | {"seconds": round(time.monotonic() - started, 1)}
    write_json(folder / "run.json", record)
    if outcome.status != DONE:
        again = f"The executed notebook is {output}. What was finished is kept; run the same command again to continue."
        code = {DEAD_KERNEL: DEAD_KERNEL_CODE, STOPPED: Stopped.exit_code}.get(outcome.status, 1)
        raise NotebookFailed(f"{notebook.name}: {outcome.error}\n{again}", code)
    print(f"      {entry['seconds']:.1f} s, at most {outcome.peak_memory_mb:,} MB", flush=True)


def environment(root: Path, replace: Replace = Replace.NEVER) -> dict[str, str]:
    """The environment of a notebook's kernel: headless, quiet bars, this project, all cores and no more."""
    variables = dict(os.environ)
    variables |= {"WORKBENCH_HEADLESS": "1", "TQDM_MININTERVAL": "30", HOME_VARIABLE: str(root)}
    variables |= {"JUPYTER_PREFER_ENV_PATH": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    for name in _THREAD_VARIABLES:
        variables.setdefault(name, str(available_cores()))
    # Threads that spin while they wait halve the speed as soon as anything else runs on the same cores.
    variables.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    variables.setdefault("GOMP_SPINCOUNT", "0")
    variables.pop(REPLACE_VARIABLE, None)
    if replace:
        variables[REPLACE_VARIABLE] = replace.value
    package_parent = str(Path(__file__).resolve().parents[2])
    if not _installed():
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")]))
    return variables


def live_environment(root: Path) -> dict[str, str]:
    """The environment of a kernel that somebody is looking at."""
    hidden = ("WORKBENCH_HEADLESS", "TQDM_MININTERVAL")
    return {name: value for name, value in environment(root).items() if name not in hidden}


def _installed() -> bool:
    """Whether a kernel that starts elsewhere finds the package without help."""
    from importlib import metadata

    try:
        metadata.version("workbench")
    except metadata.PackageNotFoundError:
        return False
    return importlib.util.find_spec("workbench") is not None


def _opened_record(path: Path, plan: Plan) -> dict[str, Any]:
    """The run's record, with what earlier calls of the same run left about other notebooks."""
    before = read_json(path)["notebooks"] if path.is_file() else {}
    waiting = {notebook.name: {"status": "waiting"} for notebook in plan.notebooks}
    record: dict[str, Any] = {"run": plan.run, "profile": plan.profile, "status": "running", "versions": versions()}
    record |= {"started": _now(), "finished": None, "notebooks": before | waiting}
    write_json(path, record)
    return record


def _close_record(path: Path, record: dict[str, Any]) -> None:
    states = [entry["status"] for entry in record["notebooks"].values()]
    record["status"] = "done" if all(state == "done" for state in states) else "unfinished"
    record["seconds"] = round(sum(entry.get("seconds") or 0.0 for entry in record["notebooks"].values()), 1)
    record["finished"] = _now()
    write_json(path, record)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
