"""What the commands ``data``, ``features`` and ``recogniser`` do; each returns an exit status."""

import argparse
from typing import Any

from workbench.errors import WorkbenchError
from workbench.escaping import escaped, escaped_lines
from workbench.files import read_json
from workbench.folders import MANIFEST, Replace
from workbench.paths import checkout_module, imported_folder, reports_folder
from workbench.stages import Run, Stage, import_stage


def check_data(arguments: argparse.Namespace) -> int:
    """``workbench data check``: status 1 when there is an error, 0 for warnings alone."""
    from workbench.scenes.check import check_annotations
    from workbench.scenes.problems import format_report

    problems = check_annotations(arguments.folder, arguments.images)
    print(format_report(problems))
    return int(any(problem.severity == "error" for problem in problems))


def add_data(arguments: argparse.Namespace) -> int:
    """``workbench data add``: tables, data card and text of a known data set; status 1 where files are missing."""
    from workbench.figures.long_tail import write_data_card
    from workbench.runs.imports import add_with_text
    from workbench.scenes.data_sets import look_for

    found = look_for(arguments.dataset, arguments.root, image_folder=arguments.images)
    print(escaped_lines(found.report()))
    if not found.usable:
        return 1
    name = arguments.name or arguments.dataset
    stage = import_stage(
        name,
        add_with_text,
        replace=Replace.CHANGED if arguments.replace else False,
        data_set=arguments.dataset,
        source=arguments.root,
        image_folder=arguments.images,
        validation_images=arguments.validation_images,
        clip_checkpoint=arguments.clip_checkpoint,
        clip_download=arguments.clip_download,
        seed=arguments.seed,
    )
    card, problems = read_json(stage / "card.json"), (stage / "problems.txt").read_text(encoding="utf-8")
    page = write_data_card(reports_folder() / "data" / f"{name}.html", found.known.title, card, problems)
    print_numbers(stage.metrics)
    print(f"in {stage.folder}\ndata card: {page}")
    return 0


def simulate_data(arguments: argparse.Namespace) -> int:
    """``workbench data simulate``."""
    simulation = checkout_module("scale.simulation")
    config = simulation.SimulationConfig(
        like=arguments.like,
        scale=arguments.scale,
        dimension=arguments.dimension,
        sparse=arguments.sparse,
        flaws=arguments.flaws,
        seed=arguments.seed,
    )
    stage = import_stage(
        arguments.name or f"simulated-{arguments.like}",
        simulation.simulate,
        replace=Replace.CHANGED if arguments.replace else False,
        vocabulary=arguments.vocabulary,
        config=config,
    )
    print_numbers(stage.metrics)
    print(f"in {stage.folder}")
    return 0


def check_features(arguments: argparse.Namespace) -> int:
    """``workbench features check``: status 1 while a file is damaged."""
    from workbench.regions.features import damaged_files

    stage = _features_stage(arguments.name)
    damaged = list(damaged_files(stage.folder))
    print("\n".join(damaged) or f"{stage.folder}: every file has its checksum")
    return int(bool(damaged))


def _features_stage(name: str) -> Stage:
    """The features of a run, or those imported under that name."""
    run = Run.open(name)
    return run.find("features") if run.variants("features") else run.imported(name)


def draw_data(arguments: argparse.Namespace) -> int:
    """``workbench data draw``."""
    from drawn_scenes.prepare import DrawnScenesConfig, draw_scenes

    if arguments.folder.exists() and any(arguments.folder.iterdir()):
        raise WorkbenchError(f"{arguments.folder}: the folder is not empty. Give another, or remove it first.")
    config = DrawnScenesConfig(train_images=arguments.train_images, seed=arguments.seed, size=arguments.size)
    summary = draw_scenes(arguments.folder, config=config)
    print_numbers(summary)
    return 0


def import_features(arguments: argparse.Namespace) -> int:
    """``workbench features import``."""
    from workbench.runs.imports import import_with_text

    stage = import_stage(
        arguments.name,
        import_with_text,
        replace=Replace.CHANGED if arguments.replace else False,
        source=arguments.folder,
    )
    print_numbers(stage.metrics)
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
    from workbench.recognition.upstream import write_imported

    summary = write_imported(
        arguments.output,
        checkpoint=arguments.checkpoint,
        architecture=arguments.architecture,
        features=arguments.features,
        word_vectors=arguments.word_vectors,
    )
    print_numbers(summary)
    print(f"in {arguments.output}")
    return 0


def print_numbers(numbers: dict[str, Any] | None) -> None:
    """One line a number, long values cut."""
    for name, value in (numbers or {}).items():
        text = f"{value:,}" if isinstance(value, int) else str(value)
        print(f"{escaped(name)}: {escaped(text, 200)}")
