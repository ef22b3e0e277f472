"""``workbench tables``: all rows of the paper's tables for several seeds, and the page that shows them."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from workbench.errors import WorkbenchError, unknown
from workbench.file_errors import writing
from workbench.files import read_json, write_json
from workbench.folders import Replace
from workbench.looks import DataSet
from workbench.paths import notebooks_folder, project_root, reports_folder
from workbench.recognition.accuracy import METRICS
from workbench.runs.first_look import look_at_named, look_at_plan
from workbench.runs.notebooks import renew_report, run_profile
from workbench.runs.profiles import make_plan, tables_section
from workbench.tables.paper import SUMMARY_COLUMNS, TABLES
from workbench.tables.plan import TablePlan, collect_tables
from workbench.tables.results import outside_reference, read_tables
from workbench.tables.rows import Job, Outcome

TABLES_FILE, LOG_FILE, FAILURES_FILE = "tables.json", "tasks.log", "failures.json"


def table_plan(profile: str, root: Path | None = None, own: Sequence[str] = ()) -> TablePlan:
    """The grid of a profile's section ``tables`` and of own rows by import path, with every name and value checked.

    Modules are found beside the notebooks and in the current folder too, here and by workers of this machine.
    """
    root = project_root(root)
    sys.path += [str(folder) for folder in (notebooks_folder(root), Path.cwd()) if own and str(folder) not in sys.path]
    return TablePlan.of(profile, tables_section(profile, root), root, own)


def look_at_tables(plan: TablePlan, may_be_absent: bool = False) -> None:
    """Look at the files that the rows name, and at those of notebook 00 where it will run, see `first_look`."""
    place, run = f"profile {plan.profile!r}, tables", plan.source()
    named = [(f"{place}: data", DataSet, run.data)]
    named += [(f"{place}, {task.key}", task.config_class, plan.config(task, 0)) for task in plan.grid.tasks.values()]
    if not run.data and not (run.variants("features") and run.variants("text")):
        look_at_plan(make_plan(plan.profile, run.name, ["00"], root=plan.root), plan.root, may_be_absent, named)
    else:
        look_at_named(named, run, may_be_absent)


def make_tables(
    profile: str,
    seeds: Sequence[int],
    *,
    rows: Sequence[str] = (),
    jobs: int = 0,
    scheduler: str = "",
    root: Path | None = None,
) -> dict[Job, str]:
    """Build every task that the rows need, write ``reports/<profile>-tables/tables.json`` and its page.

    ``rows`` limits the rows, own ones given as ``module:name`` among them; ``jobs`` and ``scheduler`` say where they
    are built, see `engine.work_through`. Finished tasks are loaded, so a killed grid resumes where it stopped.
    Returns the failures by (seed, task); rows that failed stand in the table with the reason.
    """
    from workbench.tables.engine import work_through  # brings Dask

    plan, chosen = _asked(profile, seeds, rows, root)
    look_at_tables(plan)
    _prepare_data(plan)
    tasks, folder = plan.grid.tasks, _folder(plan)
    # Each comes after its inputs, seed by seed.
    needs = {
        (seed, key): [(seed, other) for other in tasks[key].inputs.values() if other in tasks]
        for seed in seeds
        for key in plan.grid.needed_for(chosen)
    }
    reporter = _reporter(len(needs), folder / LOG_FILE)
    failures = work_through(needs, plan.build, reporter, processes=jobs, scheduler=scheduler)
    known = {job: reason for job, reason in _stored_failures(folder).items() if job not in needs} | failures
    records = [{"seed": seed, "task": key, "reason": reason} for (seed, key), reason in known.items()]
    write_json(folder / FAILURES_FILE, records)
    _write_page(plan, seeds)
    return failures


def gather_tables(
    profile: str, seeds: Sequence[int], *, rows: Sequence[str] = (), root: Path | None = None
) -> dict[Job, str]:
    """Write the same file and page from the rows that are finished, and build no stage.

    Returns, by (seed, task), the rows (all, or those of ``rows``) without values and why.
    """
    plan, chosen = _asked(profile, seeds, rows, root)
    _write_page(plan, seeds)
    records, missing = read_json(_folder(plan) / TABLES_FILE)["rows"], {}
    for seed in seeds:
        for key in chosen:
            record, name = records[key], str(seed)
            if name not in record["values"]:
                remedy = f"missing. Run: workbench tables --profile {profile} --seeds {seed} --only {key}"
                missing[seed, f"evaluation/{key}"] = record["failed"].get(name) or record["stale"].get(name) or remedy
    return missing


def compare_tables(
    profile: str, reference: Path, *, rows: Sequence[str] = (), root: Path | None = None
) -> tuple[list[str], int]:
    """What of the rows of Table 1 (or of ``rows``) lies outside the reference, and how many numbers were compared.

    Compared are `paper.SUMMARY_COLUMNS` in both metrics, see `results.outside_reference`.
    """
    found = read_tables(reports_folder(root) / f"{profile}-tables" / TABLES_FILE)
    names = [f"{metric} {column}" for metric in METRICS for column in SUMMARY_COLUMNS]
    keys = rows or list(TABLES[1].rows.index)
    return outside_reference(found, read_tables(reference), keys, names)


def _asked(profile: str, seeds: Sequence[int], rows: Sequence[str], root: Path | None) -> tuple[TablePlan, list[str]]:
    """The plan and the rows that are asked for, all where none is named, with seeds and names checked."""
    if len(set(seeds)) != len(seeds) or not seeds:
        raise WorkbenchError(f"seeds {list(seeds)}: give at least one, each once.")
    plan = table_plan(profile, root, [name for name in rows if ":" in name])
    for name in rows:
        if name not in {**plan.grid.rows, **plan.own}:
            raise WorkbenchError(unknown("row", name, plan.grid.rows))
    return plan, [plan.own.get(name, name) for name in rows] or list(plan.grid.rows)


def _prepare_data(plan: TablePlan) -> None:
    """Have notebook 00 make the features that all rows share, unless they are there or are imported."""
    run = plan.source()
    if not run.data and not (run.variants("features") and run.variants("text")):
        run_profile(plan.profile, run=run.name, only=["00"], root=plan.root)
    plan.data()


def _folder(plan: TablePlan) -> Path:
    folder = reports_folder(plan.root) / f"{plan.profile}-tables"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_page(plan: TablePlan, seeds: Sequence[int]) -> None:
    folder = _folder(plan)
    path = collect_tables(plan, seeds, folder / TABLES_FILE, _stored_failures(folder))
    given = {"06_reproduce_tables.tables": str(path)}
    run_profile(plan.profile, Replace.CHANGED, plan.root, run=folder.name, only=["06"], parameters=given)
    # The page is sent around alone: it carries the library of its figure.
    renew_report(folder.name, plan.root, inline_plotly=True)


def _stored_failures(folder: Path) -> dict[Job, str]:
    """The failures that earlier calls left in ``folder``."""
    path = folder / FAILURES_FILE
    return {(each["seed"], each["task"]): each["reason"] for each in read_json(path)} if path.is_file() else {}


def _reporter(total: int, log: Path) -> Callable[[Job, Outcome, int], None]:
    """Prints a line per finished job, and writes everything that it printed to the log."""
    began = time.monotonic()

    def report(job: Job, outcome: Outcome, finished: int) -> None:
        seed, key = job
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"== seed {seed}, {key}: {outcome.seconds:.1f} s\n{outcome.printed}{outcome.failure}\n")
        left = (time.monotonic() - began) / finished * (total - finished)
        state = f"FAILED: {outcome.failure}" if outcome.failure else f"{outcome.seconds:.1f} s"
        about = f"about {left / 60:.0f} min left" if total > finished else "all done"
        print(f"[{finished}/{total}] seed {seed}, {key}: {state} ({about})", flush=True)

    return report
