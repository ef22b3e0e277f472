"""The region encoder and the text tower that come with the drawn scenes, and the recipe that made them.

    python -m drawn_scenes.shipped_weights      makes both anew and puts them into the package

As a published detector or CLIP has, they have seen other pictures than those of an experiment: the recipe draws its
own, from a seed that is theirs, in the same long-tailed distribution. A command that was stopped goes on.
"""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from drawn_scenes.catalogue import OBJECT_NAMES
from drawn_scenes.config import DrawnScenesConfig
from drawn_scenes.detector import pretrain_detector
from drawn_scenes.detector_config import DetectorConfig
from drawn_scenes.rules import RELATION_NAMES
from drawn_scenes.text_tower import TowerConfig, train_text_tower
from drawn_scenes.writer import draw_scenes
from workbench.checksums import FILES, with_sums
from workbench.errors import WorkbenchError
from workbench.files import read_json, write_json
from workbench.folders import MANIFEST, check_files
from workbench.identity import sha256_of_json
from workbench.looks import LookedAt
from workbench.regions.vgg import open_detector
from workbench.scenes.vocabulary import Vocabulary
from workbench.stages import Run, Stage

WEIGHTS = Path(__file__).with_name("weights")
SHIPPED, TRAIN = "shipped", "train"
SEED = 271_828  # of the recipe's pictures, crops and trainings; an experiment counts its seeds from 0
PICTURES = {"val_images": 1000, "test_images": 1, "seed": SEED}
KEPT = ("stage", "builder", "metrics", "seconds", "threads", "finished")
VERSIONS = ("workbench", "python", "torch", "numpy", "open_clip_torch")


class Recipe(NamedTuple):
    """What is drawn, and how both are trained."""

    drawing: DrawnScenesConfig
    detector: DetectorConfig
    tower: TowerConfig


RECIPES = {
    # A run in small before the whole one: a test repeats it and compares.
    "rehearsal": Recipe(
        DrawnScenesConfig(train_images=3000, **PICTURES),
        DetectorConfig(epochs=2, seed=SEED),
        TowerConfig(crops=9000, epochs=2, seed=SEED),
    ),
    "default": Recipe(
        DrawnScenesConfig(train_images=12_000, **PICTURES),
        DetectorConfig(epochs=4, seed=SEED),
        TowerConfig(crops=18_000, epochs=6, seed=SEED),
    ),
}


def _source(root: Path, value: str) -> Path | str:
    return value if value in (SHIPPED, TRAIN) else root / Path(value).expanduser()


def look(source: Path | str) -> None:
    """Refuse a checkpoint that is no detector, and shipped weights that are damaged."""
    if source != TRAIN:
        open_detector(shipped("detector").folder if source == SHIPPED else Path(source))


# "shipped", "train", or the path of a checkpoint.
DetectorSource = Annotated[str, LookedAt("drawn_scenes.shipped_weights:look", _source)]
TowerSource = Literal["shipped", "train"]


def shipped(name: str, vocabulary: Vocabulary | None = None) -> Stage:
    """The shipped "detector" or "tower" as a stage; WorkbenchError where a file is not the one that was shipped.

    And of a ``vocabulary`` with names that cannot be drawn: the weights have seen drawn scenes alone.
    """
    foreign = [one for one in vocabulary.objects if one not in OBJECT_NAMES] if vocabulary else []
    if foreign:
        other = "the path of a detector's checkpoint" if name == "detector" else "a published CLIP (clip.model)"
        raise WorkbenchError(
            f"{name}: the shipped weights have seen drawn scenes alone, and {foreign[0]!r} ({len(foreign)} such names) "
            f"is not drawn. Give {name}: {TRAIN}, or {other}."
        )
    folder = WEIGHTS / name
    remedy = f"install the package again (in a clone: git checkout -- {folder}), or give {name}: {TRAIN}."
    if not (folder / MANIFEST).is_file():
        raise WorkbenchError(f"{folder}: the shipped weights are not here: {remedy}")
    manifest = read_json(folder / MANIFEST)
    check_files(folder, manifest, remedy)
    return Stage(folder, manifest)


def told(stage: Stage) -> str:
    """Where the weights of a region encoder or text tower come from, and how good they are, in one line."""
    drawing, crops = stage.parameters.get("drawing"), stage.metrics.get("crops")
    where = "trained here"
    if drawing:
        shown = f"{crops:,} crops" if crops else f"{drawing['train_images']:,} pictures"
        where = f"shipped, trained on {shown} of their own"
    shares = {key: value for key, value in stage.metrics.items() if isinstance(value, float) and key != "seconds"}
    numbers = ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in shares.items())
    return f"{stage.manifest['stage']} weights: {where}; {numbers}"


def follow(recipe: str, run: Run) -> dict[str, Stage]:
    """Both trainings of the recipe of this name, as stages of a run."""
    drawing, detector, tower = RECIPES[recipe]
    scenes = run.stage("scenes", draw_scenes, recipe, config=drawing)
    return {
        "detector": run.stage("detector", pretrain_detector, recipe, scenes=scenes, config=detector),
        "tower": run.stage("tower", train_text_tower, recipe, scenes=run.stage("names", write_names), config=tower),
    }


def write_names(folder: Path) -> None:
    """Stage builder: the names of all classes that can be drawn."""
    Vocabulary(OBJECT_NAMES, RELATION_NAMES).write(folder)


def publish(stage: Stage, folder: Path, drawing: DrawnScenesConfig, rehearsal: dict[str, Any]) -> None:
    """Copy a stage's files, with a manifest of recipe, log, quality and checksums; known by their content."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in stage.manifest[FILES]:
        shutil.copyfile(stage / name, folder / name)
    manifest = {key: stage.manifest[key] for key in KEPT} | {
        "parameters": {"config": stage.parameters["config"], "drawing": asdict(drawing)},
        "rehearsal": rehearsal,
        "versions": {key: stage.manifest["versions"][key] for key in VERSIONS},
    }
    manifest["identity"] = sha256_of_json(with_sums(folder, {})[FILES])
    write_json(folder / MANIFEST, with_sums(folder, manifest))


def main() -> None:
    """Rehearse, follow the recipe, and put the weights into the package."""
    run = Run.open("shipped-weights")
    rehearsed, made = (follow(recipe, run) for recipe in RECIPES)
    for name, stage in made.items():
        publish(stage, WEIGHTS / name, RECIPES["default"].drawing, rehearsed[name].metrics)
        print(told(shipped(name)))


if __name__ == "__main__":
    # By its own name, which stages are known by.
    from drawn_scenes import shipped_weights

    shipped_weights.main()
