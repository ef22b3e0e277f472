"""What the command line's commands do; each takes the parsed arguments and returns an exit status."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from workbench.errors import WorkbenchError
from workbench.escaping import escaped
from workbench.folders import REPLACE_VARIABLE, Replace
from workbench.launching import PROCESSES_VARIABLE
from workbench.paths import checkout_module, notebooks_folder, project_root, reports_folder
from workbench.runs.notebooks import live_environment, renew_report, run_profile


def run(arguments: argparse.Namespace) -> int:
    """``workbench run``."""
    _share(arguments.processes)
    run_profile(
        arguments.profile,
        run=arguments.run,
        only=arguments.only,
        parameters=parameter_texts(arguments.parameters),
        replace=asked_replace(arguments),
        dry_run=arguments.dry_run,
        files=arguments.files,
    )
    return 0


def repeat(arguments: argparse.Namespace) -> int:
    """``workbench repeat``."""
    from workbench.runs.repeats import repeat_profile, repeats_text

    _share(arguments.processes)
    path = repeat_profile(
        arguments.profile,
        arguments.seeds,
        run=arguments.run,
        only=arguments.only,
        parameters=parameter_texts(arguments.parameters),
        replace=asked_replace(arguments),
        files=arguments.files,
    )
    print(f"{repeats_text(path)}\n\nwritten to {path}")
    return 0


def tables(arguments: argparse.Namespace) -> int:
    """``workbench tables``: status 1 where a row failed or, with ``--collect``, is missing."""
    from workbench.runs.tables import compare_tables, gather_tables, make_tables, table_plan

    profile, seeds, rows = arguments.profile, arguments.seeds, arguments.only or ()
    if asked_replace(arguments):
        os.environ[REPLACE_VARIABLE] = asked_replace(arguments).value  # the workers inherit it
    if arguments.list:
        for key, row in table_plan(profile).grid.rows.items():
            print(f"{key:<44} {row.title}")
        return 0
    if arguments.compare:
        outside, compared = compare_tables(profile, arguments.compare, rows=rows)
        print("\n".join([*outside, f"{compared - len(outside)} of {compared} numbers lie within the reference"]))
        return int(bool(outside) or not compared)
    if arguments.collect:
        _, gaps = gather_tables(profile, seeds, rows=rows)
    else:
        _, gaps = make_tables(profile, seeds, rows=rows, jobs=arguments.jobs, scheduler=arguments.scheduler)
    for (seed, key), reason in gaps.items():
        print(f"seed {seed}, {key}: {reason}", file=sys.stderr)
    return int(bool(gaps))


def plan(arguments: argparse.Namespace) -> int:
    """``workbench plan``."""
    from workbench.runs.plan import plan_resources, plan_text
    from workbench.runs.profiles import make_plan

    parameters, files = parameter_texts(arguments.parameters), arguments.files
    planned = plan_resources(make_plan(arguments.profile, arguments.run, None, parameters, files))
    print(json.dumps(asdict(planned), indent=1) if arguments.json else plan_text(planned))
    return 0


def _share(processes: int | None) -> None:
    if processes is not None:
        os.environ[PROCESSES_VARIABLE] = str(processes)  # the notebooks inherit it


def asked_replace(arguments: argparse.Namespace) -> Replace:
    """What ``--replace`` and ``--strict`` ask for."""
    return Replace.CHANGED if arguments.replace else Replace.CODE if arguments.strict else Replace.NEVER


def parameter_texts(given: list[str]) -> dict[str, str]:
    """``name=value`` texts as a dict; a later one of the same name wins."""
    pairs = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise WorkbenchError(f"-p {text}: write -p name=value.")
        pairs[name] = value
    return pairs


def report(arguments: argparse.Namespace) -> int:
    """``workbench report``."""
    print(renew_report(arguments.run, inline_plotly=arguments.inline))
    return 0


def runs(arguments: argparse.Namespace) -> int:
    """``workbench runs``."""
    from workbench.runs.run_records import reported_runs

    records = reported_runs(reports_folder())
    if not records:
        print("no runs yet: workbench run --profile demo")
    for record in sorted(records, key=lambda record: record.started or ""):
        done, seconds = f"{record.done} of {record.notebooks} notebooks", record.seconds or 0.0
        line = f"{record.name:<24} {record.profile or '-':<12} {record.state:<11} {done:<17} {seconds:8.1f} s"
        print(escaped(f"{line}  {record.problem}" if record.problem else line))
    return 0


def bench(arguments: argparse.Namespace) -> int:
    """``workbench bench``."""
    print(checkout_module("benchmarks.running").run_benchmarks(arguments.only))
    return 0


def browse(arguments: argparse.Namespace) -> int:
    """``workbench browse``: for this machine alone, with a token, asking the network for nothing."""
    from workbench.runs.browsing import asked_openings, known_run
    from workbench.runs.standalone import serve
    from workbench.stages import Run

    openings = asked_openings(arguments.browsers)
    # Data that no run has used yet is browsed under a run of its name, which then holds its index.
    if arguments.run or not arguments.data:
        known_run(arguments.run or "demo")
    name, images = arguments.run or arguments.data or "demo", str(arguments.images or "")
    run = Run.open(name, data=arguments.data, images=images)
    serve(list(openings), run, port=arguments.port, theme=arguments.theme, open_browser=not arguments.no_browser)
    return 0


def lab(arguments: argparse.Namespace) -> NoReturn:
    """``workbench lab``: for this machine alone, with a token, asking the network for nothing."""
    variables = live_environment(project_root())
    command = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={arguments.port}"]
    command += [
        f"--ServerApp.root_dir={notebooks_folder()}",
        "--LabApp.news_url=None",
        f"--LabApp.app_settings_dir={Path(__file__).parent / 'lab_settings'}",  # asks nobody about news either
        "--LabApp.extension_manager=readonly",
    ]
    command += ["--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate"]
    command += ["--ServerApp.open_browser=False"] if arguments.no_browser else []
    # Containers have no other user, and only this machine is served.
    command += ["--ServerApp.allow_root=True"] if os.geteuid() == 0 else []
    os.chdir(notebooks_folder())
    os.execve(command[0], command, variables)  # in our place: signals reach JupyterLab itself
