"""What the command line's commands do: each takes its options (``commands.toml``), and may return an exit status."""

import importlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.checksums import FILES, damages
from workbench.errors import WorkbenchError, unknown
from workbench.escaping import escaped_lines
from workbench.folders import REPLACE_VARIABLE, Replace, stored_manifest
from workbench.launching import PROCESSES_VARIABLE
from workbench.paths import checked_name, imported_folder, lost_link, project_root, reports_folder
from workbench.runs.notebooks import planned, renew_report, repeat_profile, repeats_text, run_profile
from workbench.stages import METRICS, Run


def run(profile: str, dry_run: bool, **options: Any) -> None:
    """``workbench run``."""
    given = _running(**options)
    if not dry_run:
        run_profile(profile, **given)
        return
    plan, _ = planned(profile, **given)
    print(f"run {plan.run}, profile {plan.profile}, into {reports_folder() / plan.run}")
    for notebook in plan.notebooks:
        print("\n".join([notebook.name, *(f"  {line}" for line in notebook.lines())]))


def repeat(profile: str, seeds: list[int], **options: Any) -> None:
    """``workbench repeat``."""
    path = repeat_profile(profile, seeds, **_running(**options))
    print(f"{repeats_text(path)}\n\nwritten to {path}")


def sweep(profile: str, **options: Any) -> None:
    """``workbench sweep``."""
    from workbench.runs.sweeps import sweep_profile

    sweep_profile(profile, **_running(**options))


def _running(processes: int | None, parameters: list[str], replace: str, **options: Any) -> dict[str, Any]:
    """What `run_profile` takes; the number of processes reaches the notebooks by their environment."""
    if processes is not None:
        os.environ[PROCESSES_VARIABLE] = str(processes)
    return options | {"parameters": _parameter_texts(parameters), "replace": Replace(replace)}


def _parameter_texts(given: list[str]) -> dict[str, str]:
    """``name=value`` texts as a dict; a later one of the same name wins."""
    for text in given:
        if "=" not in text[1:]:
            raise WorkbenchError(f"-p {text}: write -p name=value.")
    return dict(text.split("=", maxsplit=1) for text in given)


def tables(
    profile: str, seeds: list[int], only: Sequence[str] | None, list_rows: bool, compare: Path | None, **options: Any
) -> int:
    """``workbench tables``: status 1 where a row failed or, with ``--collect``, is missing."""
    from workbench.runs.tables import compare_tables, gather_tables, look_at_tables, make_tables, table_plan

    rows = only or ()
    if options["replace"]:
        os.environ[REPLACE_VARIABLE] = options["replace"]  # the workers inherit it
    if list_rows:
        listed = table_plan(profile)
        look_at_tables(listed, may_be_absent=True)
        for key, row in listed.grid.rows.items():
            print(f"{key:<44} {row.title}")
        return 0
    if compare:
        outside, compared = compare_tables(profile, compare, rows=rows)
        print("\n".join([*outside, f"{compared - len(outside)} of {compared} numbers lie within the reference"]))
        return int(bool(outside) or not compared)
    if options["collect"]:
        gaps = gather_tables(profile, seeds, rows=rows)
    else:
        gaps = make_tables(profile, seeds, rows=rows, jobs=options["jobs"], scheduler=options["scheduler"])
    for (seed, key), reason in gaps.items():
        print(f"seed {seed}, {key}: {reason}", file=sys.stderr)
    return int(bool(gaps))


def plan(profile: str, run: str | None, parameters: list[str], files: list[Path], as_json: bool) -> None:
    """``workbench plan``."""
    from workbench.runs.first_look import look_at_plan
    from workbench.runs.plan import plan_resources, plan_text
    from workbench.runs.profiles import make_plan

    chosen = make_plan(profile, run, None, _parameter_texts(parameters), files)
    look_at_plan(chosen, may_be_absent=True)
    planned = plan_resources(chosen)
    print(json.dumps(asdict(planned), indent=1) if as_json else plan_text(planned))


def report(run: str, inline: bool) -> None:
    """``workbench report``."""
    print(renew_report(run, inline_plotly=inline))


def check(name: str) -> int:
    """``workbench check``: status 1 where a file of a run, or of imported data, is not what was written."""
    from workbench.runs.run_records import run_names

    imports, run = imported_folder() / checked_name("run", name), Run(name, project_root())
    if name in run_names():
        places = (path for path in sorted(run.folder.glob("[!.]*/[!.]*")) if path.is_dir() or path.is_symlink())
        folders = [path for path in places if path.parent.name != METRICS]
        data = Run.open(name).data
        folders += [imported_folder() / data] if data else []
    elif imports.is_dir():
        folders = [imports]
    else:
        have = ", ".join(run_names()) or "none"
        raise WorkbenchError(f"no run and no imported data has the name {name!r}. There are the runs: {have}.")
    damaged = 0
    for folder in folders:
        imported = folder.parent == imported_folder()
        remedy = "import or add it again" if imported else run.how_to_make(folder.parent.name)
        try:
            manifest = stored_manifest(folder) or {}
            found = list(filter(None, [lost_link(folder)])) or list(damages(folder, manifest, every_byte=True))
        except WorkbenchError as error:
            manifest, found = {FILES: {}}, [str(error)]
        damaged += len(found)
        told = "made before checksums were kept, so nothing can be compared; a result that is made again has them"
        if found:
            told = "\n".join(["damaged", *found, f"  Remove {folder}, then make it again: {remedy}"])
        elif FILES in manifest:
            count = len(manifest[FILES])
            told = "1 file is as it was written" if count == 1 else f"{count} files are as they were written"
        print(escaped_lines(f"{folder.parent.name}/{folder.name}: {told}"))
    return int(bool(damaged))


def runs() -> None:
    """``workbench runs``."""
    from workbench.runs.run_records import NO_RECORD, ROWS, runs_table

    table = runs_table()
    columns = ["profile", "state", "notebooks done", "seconds", *(f"{row}, %" for row in ROWS), "problem"]
    shown = table.loc[table["state"] != NO_RECORD, columns].round(2)
    none = "no runs yet: workbench run --profile demo"
    print(none if shown.empty else escaped_lines(shown.to_string(na_rep="-")))


def bench(only: list[str]) -> None:
    """``workbench bench``: of what lies beside the package and is not installed with it."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / "reports" / "benchmarks").is_dir():
        told = "This command is for developers: run it from a checkout of the project, installed with `make env`."
        raise WorkbenchError(f"{checkout / 'reports' / 'benchmarks'}: there is no such folder. {told}")
    sys.path.insert(0, str(checkout))
    print(importlib.import_module("reports.benchmarks.running").run_benchmarks(only))


def browse(browsers: list[str], run: str | None, data: str, images: Path | None, **how: Any) -> None:
    """``workbench browse``: for this machine alone, with a token, asking the network for nothing."""
    from workbench.runs.browsing import BROWSERS, serve
    from workbench.runs.run_records import run_names

    name = run or data or "demo"
    # Data that no run has used yet is browsed under a run of its name, which then holds its index.
    runs = run_names() if run or not data else [name]
    for kind, given, known in [*(("browser", browser, BROWSERS) for browser in browsers), ("run", name, runs)]:
        if given not in known:
            raise WorkbenchError(unknown(kind, given, known))
    opened = Run.open(name, data=data, images=str(images or ""))
    serve(list(dict.fromkeys(browsers or BROWSERS)), opened, **how)
