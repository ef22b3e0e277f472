"""The commands ``data``, ``features`` and ``recogniser``, and the stages that they build of data from elsewhere."""

from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.escaping import escaped, escaped_lines
from workbench.figures.pages import formatted
from workbench.files import read_json
from workbench.folders import MANIFEST, Replace
from workbench.paths import imported_folder, reports_folder
from workbench.stages import Stage, import_stage


def check_data(folder: Path, images: Path | None) -> int:
    """``workbench data check``: status 1 when there is an error, 0 for warnings alone."""
    from annotated_scenes.annotations import splits_of
    from annotated_scenes.check import check_annotations
    from published_scenes.known_data_sets import other_kind
    from workbench.language.senses import table_gaps
    from workbench.scenes.problems import format_report
    from workbench.scenes.vocabulary import Vocabulary

    problems = check_annotations(folder, images)
    print(format_report(problems))
    if not splits_of(folder) and (other := other_kind(folder)):
        print(escaped_lines(other))
    bad = any(problem.severity == "error" for problem in problems)
    for line in [] if bad else table_gaps(folder, Vocabulary.read(folder)):  # raises what is wrong with the tables
        print(escaped_lines(line))
    return int(bad)


def add_data(data_set: str, source: Path, image_folder: Path | None, name: str | None, **options: Any) -> int:
    """``workbench data add``: tables, data card and text of a known data set; status 1 where files are missing."""
    clip = {key.removeprefix("clip_"): options.pop(key) for key in list(options) if key.startswith("clip_")}
    from published_scenes.data_card_page import write_data_card
    from published_scenes.known_data_sets import look_for
    from published_scenes.prepare import add_with_text
    from workbench.language.config import TextConfig

    found = look_for(data_set, source, image_folder=image_folder)
    print(escaped_lines(found.report()))
    if not found.usable:
        return 1
    name = name or data_set
    given: dict[str, Any] = {"data_set": data_set, "source": source, "image_folder": image_folder}
    given |= {"clip": TextConfig(**clip)} if clip.get("checkpoint") or clip.get("download") else {}
    stage = _imported(name, add_with_text, **given, **options)
    card, problems = read_json(stage / "card.json"), (stage / "problems.txt").read_text(encoding="utf-8")
    page = write_data_card(reports_folder() / "data" / f"{name}.html", found.known.title, card, problems)
    print(f"data card: {page}")
    return 0


def simulate_data(name: str | None, vocabulary: Path | None, replace: bool, **options: Any) -> None:
    """``workbench data simulate``."""
    from simulated_scenes.prepare import SimulationConfig, simulate

    config = SimulationConfig(**options)
    name = name or f"simulated-{config.like}"
    _imported(name, simulate, replace, vocabulary=vocabulary, config=config)


def draw_data(folder: Path, **options: Any) -> None:
    """``workbench data draw``."""
    from drawn_scenes.prepare import DrawnScenesConfig, draw_scenes

    if folder.exists() and any(folder.iterdir()):
        raise WorkbenchError(f"{folder}: the folder is not empty. Give another, or remove it first.")
    _print_numbers(draw_scenes(folder, config=DrawnScenesConfig(**options)), folder)


def import_features(source: Path, name: str, replace: bool) -> None:
    """``workbench features import``."""
    _imported(name, import_with_text, replace, source=source)


def list_features() -> None:
    """``workbench features list``."""
    stages = [Stage(path.parent, read_json(path)) for path in sorted(imported_folder().glob(f"[!.]*/{MANIFEST}"))]
    if not stages:
        print("no features are imported: workbench features import FOLDER --name NAME")
    for stage in stages:
        print(f"{stage.folder.name:<24} {stage.manifest['finished'][:16]}  {stage.parameters['source']['path']}")


def import_recogniser(output: Path, **options: Any) -> None:
    """``workbench recogniser import``."""
    from workbench.recognition.upstream import write_imported

    _print_numbers(write_imported(output, **options), output)


def _imported(name: str, build: Any, replace: bool, **parameters: Any) -> Stage:
    """The stage ``data/imported/NAME``, its numbers printed."""
    stage = import_stage(name, build, replace=Replace.CHANGED if replace else False, **parameters)
    _print_numbers(stage.metrics, stage.folder)
    return stage


def _print_numbers(numbers: dict[str, Any], place: Path) -> None:
    """Each number on a line, named by the words of its key; a list item by item, a dict in one line."""
    for name, value in numbers.items():
        items = [one for one in value if one] if isinstance(value, list) else [value]
        said = [escaped(formatted(one), 400) for one in items] or ["none"]
        mark = " " if len(said) == 1 else "\n  "
        print(f"{escaped(name.replace('_', ' '))}:{mark}" + "\n  ".join(said))
    print(f"in {place}")


def import_with_text(folder: Path, *, source: Path) -> dict[str, Any]:
    """Stage builder: import ``source`` and learn an embedding of each relation that brings no text vector.

    Without object vectors there is no text at all: the notebooks then say what is missing. Returns the counts of
    both steps.
    """
    from own_features.prepare import import_features
    from workbench.language.learned_relations import complete_text_folder
    from workbench.regions.features import FeaturesFolder

    metrics = import_features(folder, source=source)
    if (folder / "text").is_dir():
        metrics["text"] = complete_text_folder(folder / "text", FeaturesFolder(folder).train)
    else:
        metrics["text"] = (
            "none: notebooks 02 to 06 need them. Put objects_clip_text.npy, one row a name, beside objects.json, and "
            "import again with --replace."
        )
    return metrics
