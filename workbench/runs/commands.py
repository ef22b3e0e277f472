"""What the command line's commands do; each takes the parsed arguments and returns an exit status."""

import argparse
import os
import sys
from typing import Any, NoReturn

from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.runs.artefacts import import_stage
from workbench.runs.folders import MANIFEST, REPLACE_VARIABLE
from workbench.runs.notebooks import environment, renew_report, run_profile
from workbench.runs.places import imported_folder, notebooks_folder, project_root, reports_folder


def run(arguments: argparse.Namespace) -> int:
    """``workbench run``."""
    run_profile(
        arguments.profile,
        run=arguments.run,
        only=arguments.only,
        parameters=parameter_texts(arguments.parameters),
        replace=arguments.replace,
        dry_run=arguments.dry_run,
        files=arguments.files,
    )
    return 0


def repeat(arguments: argparse.Namespace) -> int:
    """``workbench repeat``."""
    from workbench.runs.repeats import repeat_profile, repeats_text

    path = repeat_profile(
        arguments.profile,
        arguments.seeds,
        run=arguments.run,
        only=arguments.only,
        parameters=parameter_texts(arguments.parameters),
        replace=arguments.replace,
        files=arguments.files,
    )
    print(f"{repeats_text(path)}\n\nwritten to {path}")
    return 0


def tables(arguments: argparse.Namespace) -> int:
    """``workbench tables``: status 1 where a row failed or, with ``--collect``, is missing."""
    from workbench.runs.table_plan import table_plan
    from workbench.runs.tables import gather_tables, make_tables

    if arguments.replace:
        os.environ[REPLACE_VARIABLE] = "1"  # the workers inherit it
    if arguments.list:
        for key, system in table_plan(arguments.profile).grid.systems.items():
            print(f"{key:<44} {system.title}")
        return 0
    if arguments.task:
        for seed in arguments.seeds:
            table_plan(arguments.profile).build(seed, arguments.task)
        return 0
    if arguments.collect:
        _, gaps = gather_tables(arguments.profile, arguments.seeds, systems=arguments.only or ())
        for (seed, key), reason in gaps.items():
            print(f"seed {seed}, {key}: {reason}", file=sys.stderr)
        return int(bool(gaps))
    _, failures = make_tables(arguments.profile, arguments.seeds, jobs=arguments.jobs, systems=arguments.only or ())
    for (seed, key), reason in failures.items():
        print(f"seed {seed}, {key} failed: {reason}", file=sys.stderr)
    return int(bool(failures))


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
    records = [read_json(path) for path in sorted(reports_folder().glob("[!.]*/run.json"))]
    if not records:
        print("no runs yet: workbench run --profile demo")
    for record in sorted(records, key=lambda record: record.get("started") or ""):
        states = [entry["status"] for entry in record["notebooks"].values()]
        done, seconds = f"{states.count('done')} of {len(states)} notebooks", record.get("seconds") or 0.0
        print(f"{record['run']:<24} {record['profile']:<12} {record['status']:<11} {done:<17} {seconds:8.1f} s")
    return 0


def check_data(arguments: argparse.Namespace) -> int:
    """``workbench data check``: status 1 when there is an error, 0 for warnings alone."""
    from workbench.scenes.check import check_annotations, format_report

    problems = check_annotations(arguments.folder, arguments.images)
    print(format_report(problems))
    return int(any(problem.severity == "error" for problem in problems))


def draw_data(arguments: argparse.Namespace) -> int:
    """``workbench data draw``."""
    from workbench.scenes.drawn import draw_scenes

    if arguments.folder.exists() and any(arguments.folder.iterdir()):
        raise WorkbenchError(f"{arguments.folder}: the folder is not empty. Give another, or remove it first.")
    summary = draw_scenes(
        arguments.folder, train_images=arguments.train_images, seed=arguments.seed, size=arguments.size
    )
    _print_numbers(summary)
    return 0


def import_features(arguments: argparse.Namespace) -> int:
    """``workbench features import``."""
    from workbench.runs.importing import import_with_text

    stage = import_stage(arguments.name, import_with_text, replace=arguments.replace, source=arguments.folder)
    _print_numbers(stage.metrics)
    print(f"in {stage.folder}")
    return 0


def list_features(arguments: argparse.Namespace) -> int:
    """``workbench features list``."""
    manifests = sorted(imported_folder().glob(f"[!.]*/{MANIFEST}"))
    if not manifests:
        print("no features are imported: workbench features import FOLDER --name NAME")
    for path in manifests:
        manifest = read_json(path)
        print(f"{path.parent.name:<24} {manifest['finished'][:16]}  {manifest['parameters']['source']['path']}")
    return 0


def import_recogniser(arguments: argparse.Namespace) -> int:
    """``workbench recogniser import``."""
    from workbench.recognition.upstream_checkpoint import write_imported

    summary = write_imported(
        arguments.output,
        checkpoint=arguments.checkpoint,
        architecture=arguments.architecture,
        features=arguments.features,
        word_vectors=arguments.word_vectors,
    )
    _print_numbers(summary)
    print(f"in {arguments.output}")
    return 0


def bench(arguments: argparse.Namespace) -> int:
    """``workbench bench``."""
    from workbench.runs.bench import run_benchmarks

    print(run_benchmarks(arguments.only))
    return 0


def lab(arguments: argparse.Namespace) -> NoReturn:
    """``workbench lab``: for this machine alone, with a token, asking the network for nothing."""
    variables = environment(project_root())
    for name in ("WORKBENCH_HEADLESS", "TQDM_MININTERVAL", REPLACE_VARIABLE):
        variables.pop(name, None)
    command = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={arguments.port}"]
    command += [
        f"--ServerApp.root_dir={notebooks_folder()}",
        "--LabApp.news_url=None",
        "--LabApp.extension_manager=readonly",
    ]
    command += ["--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate"]
    command += ["--ServerApp.open_browser=False"] if arguments.no_browser else []
    # Containers have no other user, and only this machine is served.
    command += ["--ServerApp.allow_root=True"] if os.geteuid() == 0 else []
    os.chdir(notebooks_folder())
    os.execve(command[0], command, variables)  # in our place: signals reach JupyterLab itself


def _print_numbers(numbers: dict[str, Any] | None) -> None:
    for name, value in (numbers or {}).items():
        text = f"{value:,}" if isinstance(value, int) else str(value)
        print(f"{name}: {text if len(text) < 200 else text[:200] + '...'}")
