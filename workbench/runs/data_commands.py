"""The commands ``data``, ``features`` and ``recogniser``, and the stages that they build of data from elsewhere."""

import argparse
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.escaping import escaped, escaped_lines
from workbench.paths import checkout_module, imported_folder, reports_folder
from workbench.runs.commands import command, flag, folder, one_of, option, resolved

SEED = option("--seed", type=int, default=0)


@command(
    "data check",
    option("folder", type=folder, help="annotation folder (LTVRR layout)"),
    option("--images", type=folder, help="folder of the images (default: images in or beside it)"),
)
def check_data(arguments: argparse.Namespace) -> int:
    """Report all problems of an annotation folder; status 1 on errors."""
    from workbench.scenes.check import check_annotations
    from workbench.scenes.problems import format_report

    problems = check_annotations(arguments.folder, arguments.images)
    print(format_report(problems))
    return int(any(problem.severity == "error" for problem in problems))


@command(
    "data add",
    option("dataset", choices=("gqa-lt", "vg8k-lt", "vrd"), help="which data set"),
    option("--root", required=True, type=folder, help="folder into which its files were unpacked"),
    option("--images", type=folder, help="folder of the images (default: the usual places under the root)"),
    option("--name", help="name for the notebooks' parameter data (default: the data set's)"),
    option(
        "--validation-images", type=int, default=0, metavar="N", help="hold N out of training (VRD has no val split)"
    ),
    one_of(
        option("--clip-checkpoint", type=resolved, metavar="FILE", help="weights of CLIP ViT-L-14, for the text"),
        flag("--clip-download", "fetch the weights of CLIP ViT-L-14 now"),
    ),
    SEED,
    flag("--replace", "take the place of another data set of that name"),
)
def add_data(arguments: argparse.Namespace) -> int:
    """Check a downloaded data set, count it, and add it under a name."""
    from workbench.figures.long_tail import write_data_card
    from workbench.files import read_json
    from workbench.scenes.known_data_sets import look_for

    found = look_for(arguments.dataset, arguments.root, image_folder=arguments.images)
    print(escaped_lines(found.report()))
    if not found.usable:
        return 1
    name = arguments.name or arguments.dataset
    stage = _imported(
        name,
        add_with_text,
        arguments.replace,
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
    print(f"data card: {page}")
    return 0


@command(
    "data simulate",
    option("--like", choices=("gqa-lt",), default="gqa-lt", help="whose size and imbalance"),
    option("--scale", type=float, default=1.0, help="share of its images and relations (default: 1.0)"),
    option("--vocabulary", type=folder, metavar="FOLDER", help="objects.txt and relations.txt, or JSON"),
    option("--dimension", type=int, default=0, help="length of features; 0 makes annotations alone"),
    flag("--sparse", "features as holes: full size, hardly any disk"),
    option("--flaws", type=float, default=0.0, metavar="SHARE", help="share of faulty boxes (default: 0)"),
    option("--name", help="name for the notebooks' parameter data (default: simulated-LIKE)"),
    SEED,
    flag("--replace", "take the place of other data of that name"),
)
def simulate_data(arguments: argparse.Namespace) -> int:
    """Make a data set of a real one's size and frequencies."""
    simulation = checkout_module("scale.simulation")
    given = {name: getattr(arguments, name) for name in ("like", "scale", "dimension", "sparse", "flaws", "seed")}
    _imported(
        arguments.name or f"simulated-{arguments.like}",
        simulation.simulate,
        arguments.replace,
        vocabulary=arguments.vocabulary,
        config=simulation.SimulationConfig(**given),
    )
    return 0


@command(
    "data draw",
    option("folder", type=resolved, help="a new or empty folder"),
    SEED,
    option("--train-images", type=int, default=3000, help="images in the train split (default: 3000)"),
    option("--size", type=int, default=160, help="side of an image in pixels (default: 160)"),
)
def draw_data(arguments: argparse.Namespace) -> int:
    """Draw scenes with annotations; same seed, same bytes."""
    from drawn_scenes.prepare import DrawnScenesConfig, draw_scenes

    if arguments.folder.exists() and any(arguments.folder.iterdir()):
        raise WorkbenchError(f"{arguments.folder}: the folder is not empty. Give another, or remove it first.")
    config = DrawnScenesConfig(train_images=arguments.train_images, seed=arguments.seed, size=arguments.size)
    _print_numbers(draw_scenes(arguments.folder, config=config), arguments.folder)
    return 0


@command(
    "features import",
    option("folder", type=folder, help="npz rows of feature, image, classes, boxes; names; text vectors"),
    option("--name", required=True, help="name for the profile's features parameter"),
    flag("--replace", "take the place of other features of that name"),
)
def import_features(arguments: argparse.Namespace) -> int:
    """Convert a folder of features into data/imported/NAME."""
    _imported(arguments.name, import_with_text, arguments.replace, source=arguments.folder)
    return 0


@command("features check", option("name", help="a run with features, or imported features"))
def check_features(arguments: argparse.Namespace) -> int:
    """Compare every file with its checksum; status 1 on damage."""
    from workbench.regions.features import damaged_files
    from workbench.stages import Run

    run = Run.open(arguments.name)
    stage = run.find("features") if run.variants("features") else run.imported(arguments.name)
    damaged = list(damaged_files(stage.folder))
    print("\n".join(damaged) or f"{stage.folder}: every file has its checksum")
    return int(bool(damaged))


@command("features list")
def list_features(arguments: argparse.Namespace) -> int:
    """List the imported features."""
    from workbench.folders import MANIFEST
    from workbench.stages import Stage

    stages = [Stage.at(path.parent) for path in sorted(imported_folder().glob(f"[!.]*/{MANIFEST}"))]
    if not stages:
        print("no features are imported: workbench features import FOLDER --name NAME")
    for stage in stages:
        print(f"{stage.folder.name:<24} {stage.manifest['finished'][:16]}  {stage.parameters['source']['path']}")
    return 0


@command(
    "recogniser import",
    option("checkpoint", type=resolved, help="model_step<N>.pth or best.pth"),
    option("--architecture", required=True, choices=("lsvru", "reltransformer")),
    option("--features", required=True, type=folder, help="features it shall read: names, train store"),
    option("--word-vectors", required=True, type=resolved, help="those of its training (GoogleNews .bin)"),
    option("--output", required=True, type=resolved, help="folder for recogniser.safetensors"),
)
def import_recogniser(arguments: argparse.Namespace) -> int:
    """Convert a checkpoint of LTVRR or RelTransformer."""
    from workbench.recognition.upstream import write_imported

    given = {name: getattr(arguments, name) for name in ("checkpoint", "architecture", "features", "word_vectors")}
    _print_numbers(write_imported(arguments.output, **given), arguments.output)
    return 0


def _imported(name: str, build: Any, replace: bool, **parameters: Any) -> Any:
    """The stage ``data/imported/NAME``, its numbers printed."""
    from workbench.folders import Replace
    from workbench.stages import import_stage

    stage = import_stage(name, build, replace=Replace.CHANGED if replace else False, **parameters)
    _print_numbers(stage.metrics, stage.folder)
    return stage


def _print_numbers(numbers: dict[str, Any], place: Path) -> None:
    for name, value in numbers.items():
        text = f"{value:,}" if isinstance(value, int) else str(value)
        print(f"{escaped(name)}: {escaped(text, 200)}")
    print(f"in {place}")


def import_with_text(folder: Path, *, source: Path) -> dict[str, Any]:
    """Stage builder: import ``source`` and learn an embedding of each relation that brings no text vector.

    Without object vectors there is no text at all: the notebooks then say what is missing. Returns the counts of
    both steps.
    """
    from workbench.language.learned_relations import complete_text_folder
    from workbench.regions.features import FeaturesFolder
    from workbench.regions.import_features import import_features

    metrics = import_features(folder, source=source)
    if (folder / "text").is_dir():
        metrics["text"] = complete_text_folder(folder / "text", FeaturesFolder(folder).train)
    return metrics


def add_with_text(
    folder: Path,
    *,
    data_set: str,
    source: Path,
    image_folder: Path | None = None,
    validation_images: int = 0,
    clip_checkpoint: Path | None = None,
    clip_download: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Stage builder: add the known ``data_set`` found under ``source``, and write ``folder/text`` where it can.

    The text vectors come from CLIP ViT-L-14 where a checkpoint is given or may be downloaded, else from word vectors
    that the data set brings (VRD's GloVe vectors); without either there is no text folder. Returns the counts.
    """
    from workbench.files import read_json
    from workbench.language.config import TextConfig
    from workbench.language.text_embedding import embed_class_names, write_class_vectors
    from workbench.scenes.data_sets import add_data_set
    from workbench.scenes.vocabulary import Vocabulary

    metrics = add_data_set(
        folder, name=data_set, root=source, image_folder=image_folder, validation_images=validation_images, seed=seed
    )
    vectors = read_json(folder / "source.json")["text"]
    if clip_checkpoint is not None or clip_download:
        config = TextConfig(checkpoint=clip_checkpoint, download=clip_download)
        metrics["text"] = embed_class_names(folder / "text", vocabulary_folder=folder, config=config)
    elif vectors and all(vectors.values()):
        vocabulary = Vocabulary.read(folder)
        read = {kind: _vectors_of(Path(path), len(getattr(vocabulary, kind))) for kind, path in vectors.items()}
        encoder = ", ".join(Path(path).stem for path in vectors.values())
        metrics["text"] = write_class_vectors(folder / "text", vocabulary=vocabulary, encoder=encoder, **read)
    return metrics


def _vectors_of(path: Path, classes: int) -> Any:
    """One list of numbers a class, in the order of the class names."""
    import numpy as np

    from workbench.files import read_json

    vectors = read_json(path)
    if not isinstance(vectors, list) or len(vectors) != classes:
        found = f"{len(vectors)} entries" if isinstance(vectors, list) else type(vectors).__name__
        raise WorkbenchError(f"{path}: expected a list of {classes} vectors, one for each class name, found {found}.")
    return np.array(vectors, dtype=np.float32)
