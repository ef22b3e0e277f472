"""The command line's commands: each declares its options, takes the parsed arguments, returns an exit status.

Everything heavy is imported by the command that needs it, so that help is instant.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from workbench.errors import WorkbenchError
from workbench.paths import checkout_module, notebooks_folder, project_root

Option = Callable[[Any], Any]  # adds itself to a parser
Command = Callable[[argparse.Namespace], int]
COMMANDS: dict[str, tuple[Command, tuple[Option, ...]]] = {}


def option(*names: str, **how: Any) -> Option:
    """An argument of a command, as `argparse` takes it."""
    return lambda parser: parser.add_argument(*names, **how)


def flag(name: str, help_text: str) -> Option:
    """An option that is given or not."""
    return option(name, action="store_true", help=help_text)


def one_of(*options: Option) -> Option:
    """Options of which at most one may be given."""

    def add(parser: argparse.ArgumentParser) -> None:
        group = parser.add_mutually_exclusive_group()
        for each in options:
            each(group)

    return add


def command(name: str, *options: Option) -> Callable[[Command], Command]:
    """Declare a function as a command; the first line of its docstring is the command's summary."""

    def declare(function: Command) -> Command:
        COMMANDS[name] = (function, options)
        return function

    return declare


def resolved(text: str) -> Path:
    """A path that does not depend on the working directory any more."""
    return Path(text).expanduser().resolve()


def folder(text: str) -> Path:
    """A folder that is there."""
    if not resolved(text).is_dir():
        raise argparse.ArgumentTypeError(f"{resolved(text)}: there is no such folder")
    return resolved(text)


SEEDS = option("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], metavar="SEED", help="default: 0 to 4")
NO_BROWSER = flag("--no-browser", "print the address and open nothing")
REPLACING = one_of(
    flag("--replace", "build stages again whose parameters or code differ from the stored ones"),
    flag("--strict", "build stages again whose code has changed, instead of only saying so"),
)
PARAMETERS = option(
    "-p",
    dest="parameters",
    action="append",
    default=[],
    metavar="NAME=VALUE",
    help="another value, for all notebooks that declare it, or for one: -p 03.diffusion.epochs=20",
)
FILES = option(
    "-f", dest="files", action="append", type=resolved, default=[], metavar="YAML", help="lay a file over the profile"
)
RUNNING = (
    option("--profile", default="demo", help="a file of notebooks/params/ (default: demo)"),
    option("--run", help="name of the run (default: the profile's)"),
    option("--only", nargs="+", metavar="NOTEBOOK", help="some of the notebooks, for example 03 05"),
    option(
        "--processes", type=int, metavar="N", help="processes that share extraction, training, sampling (one a GPU)"
    ),
    PARAMETERS,
    FILES,
    REPLACING,
)


@command("run", *RUNNING, flag("--dry-run", "print the resolved parameters and stop"))
def run(arguments: argparse.Namespace) -> int:
    """Execute the notebooks of a profile and write their report."""
    from workbench.runs.notebooks import run_profile

    run_profile(arguments.profile, dry_run=arguments.dry_run, **_running(arguments))
    return 0


@command("repeat", *RUNNING, SEEDS)
def repeat(arguments: argparse.Namespace) -> int:
    """Run a profile once a seed and compare the variants, paired."""
    from workbench.runs.repeats import repeat_profile, repeats_text

    path = repeat_profile(arguments.profile, arguments.seeds, **_running(arguments))
    print(f"{repeats_text(path)}\n\nwritten to {path}")
    return 0


def _running(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `run_profile` takes; the number of processes reaches the notebooks by their environment."""
    from workbench.launching import PROCESSES_VARIABLE

    if arguments.processes is not None:
        os.environ[PROCESSES_VARIABLE] = str(arguments.processes)
    given = {name: getattr(arguments, name) for name in ("run", "only", "files")}
    return given | {"parameters": _parameter_texts(arguments.parameters), "replace": _asked_replace(arguments)}


def _asked_replace(arguments: argparse.Namespace) -> Any:
    from workbench.folders import Replace

    return Replace.CHANGED if arguments.replace else Replace.CODE if arguments.strict else Replace.NEVER


def _parameter_texts(given: list[str]) -> dict[str, str]:
    """``name=value`` texts as a dict; a later one of the same name wins."""
    for text in given:
        if "=" not in text[1:]:
            raise WorkbenchError(f"-p {text}: write -p name=value.")
    return dict(text.split("=", maxsplit=1) for text in given)


@command(
    "tables",
    option("--profile", default="demo", help="a profile with a section 'tables' (default: demo)"),
    SEEDS,
    one_of(
        option("--jobs", type=int, default=0, help="processes (default: one a GPU, without a GPU one a core)"),
        option("--scheduler", default="", metavar="ADDRESS", help="a Dask scheduler whose workers are used"),
    ),
    REPLACING,
    option("--only", nargs="+", metavar="ROW", help="some of the rows (--list names them), or own ones as MODULE:NAME"),
    one_of(
        flag("--list", "list the rows and stop"),
        option(
            "--compare", type=resolved, metavar="FILE", help="compare with a tables.json; status 1 where rows differ"
        ),
        flag("--collect", "write the page from finished rows alone; status 1 where one is missing"),
    ),
)
def tables(arguments: argparse.Namespace) -> int:
    """Fill the paper's tables for several seeds, and write their page."""
    from workbench.folders import REPLACE_VARIABLE
    from workbench.runs.tables import compare_tables, gather_tables, make_tables, table_plan

    profile, seeds, rows = arguments.profile, arguments.seeds, arguments.only or ()
    if replace := _asked_replace(arguments):
        os.environ[REPLACE_VARIABLE] = replace.value  # the workers inherit it
    if arguments.list:
        for key, row in table_plan(profile).grid.rows.items():
            print(f"{key:<44} {row.title}")
        return 0
    if arguments.compare:
        outside, compared = compare_tables(profile, arguments.compare, rows=rows)
        print("\n".join([*outside, f"{compared - len(outside)} of {compared} numbers lie within the reference"]))
        return int(bool(outside) or not compared)
    if arguments.collect:
        gaps = gather_tables(profile, seeds, rows=rows)
    else:
        gaps = make_tables(profile, seeds, rows=rows, jobs=arguments.jobs, scheduler=arguments.scheduler)
    for (seed, key), reason in gaps.items():
        print(f"seed {seed}, {key}: {reason}", file=sys.stderr)
    return int(bool(gaps))


@command(
    "plan",
    option("--profile", default="gqa-lt", help="a file of notebooks/params/ (default: gqa-lt)"),
    option("--run", help="name of the run (default: the profile's)"),
    flag("--json", "print JSON"),
    PARAMETERS,
    FILES,
)
def plan(arguments: argparse.Namespace) -> int:
    """Print a profile's bytes, parameters and operations before anything runs."""
    from workbench.runs.plan import plan_resources, plan_text
    from workbench.runs.profiles import make_plan

    parameters, files = _parameter_texts(arguments.parameters), arguments.files
    planned = plan_resources(make_plan(arguments.profile, arguments.run, None, parameters, files))
    print(json.dumps(asdict(planned), indent=1) if arguments.json else plan_text(planned))
    return 0


@command(
    "report",
    option("run", help="name of the run"),
    flag("--inline", "put plotly into every page: 5 MB more, one file each"),
)
def report(arguments: argparse.Namespace) -> int:
    """Write a run's pages again from its executed notebooks."""
    from workbench.runs.notebooks import renew_report

    print(renew_report(arguments.run, inline_plotly=arguments.inline))
    return 0


@command("runs")
def runs(arguments: argparse.Namespace) -> int:
    """List the runs."""
    from workbench.runs.run_records import runs_text

    print(runs_text())
    return 0


@command("bench", option("only", nargs="*", metavar="NAME", help="some of the benchmarks (default: all)"))
def bench(arguments: argparse.Namespace) -> int:
    """Measure speed, write reports/bench.json."""
    print(checkout_module("benchmarks.running").run_benchmarks(arguments.only))
    return 0


@command(
    "browse",
    option("browsers", nargs="*", metavar="BROWSER", help="some of the browsers (default: all)"),
    option("--run", help="name of the run (default: demo, or with --data the data's name)"),
    option("--data", default="", metavar="NAME", help="imported data (default: what the run was given)"),
    option("--images", type=folder, metavar="FOLDER", help="folder of the images (default: the run's)"),
    option("--port", type=int, default=8866, help="default: 8866; 0 takes any that is free"),
    option("--theme", choices=("light", "dark"), default="light", help="default: light"),
    NO_BROWSER,
)
def browse(arguments: argparse.Namespace) -> int:
    """Open the browsers by themselves, for this machine alone."""
    from workbench.runs.browsing import asked_browsers, known_run
    from workbench.runs.standalone import serve
    from workbench.stages import Run

    browsers = asked_browsers(arguments.browsers)
    # Data that no run has used yet is browsed under a run of its name, which then holds its index.
    if arguments.run or not arguments.data:
        known_run(arguments.run or "demo")
    name = arguments.run or arguments.data or "demo"
    run = Run.open(name, data=arguments.data, images=str(arguments.images or ""))
    serve(browsers, run, port=arguments.port, theme=arguments.theme, open_browser=not arguments.no_browser)
    return 0


@command("lab", option("--port", type=int, default=8888), NO_BROWSER)
def lab(arguments: argparse.Namespace) -> NoReturn:
    """Open JupyterLab on the notebooks, for this machine alone."""
    from workbench.runs.execution import live_environment

    settings = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": arguments.port,
        "ServerApp.root_dir": notebooks_folder(),
        "ServerApp.open_browser": not arguments.no_browser,
        "ServerApp.allow_root": os.geteuid() == 0,  # containers have no other user, and only this machine is served
        "LabApp.news_url": None,
        "LabApp.app_settings_dir": Path(__file__).parent / "lab_settings",  # asks nobody about news either
        "LabApp.check_for_updates_class": "jupyterlab.handlers.announcements.NeverCheckForUpdate",
        "LabApp.extension_manager": "readonly",
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    os.chdir(notebooks_folder())
    # In our place: signals reach JupyterLab itself.
    os.execve(sys.executable, [sys.executable, "-m", "jupyterlab", *options], live_environment(project_root()))
