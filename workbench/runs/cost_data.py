"""How large the data of a profile are: counted where they are there, else as the profile states them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.paths import imported_folder, runs_folder
from workbench.scenes.annotations import SPLITS
from workbench.scenes.relations import MANIFESTS
from workbench.scenes.vocabulary import OBJECTS_FILE, ROLES, Vocabulary

TABLES = ("images", "boxes", "relations")
STATED = (*TABLES, "object_classes", "relation_classes", "distinct_triplets")
# The drawn scenes of the profile demo: 3,000 pictures, 14,126 boxes, 15,915 relations, 2,356 distinct triplets.
DRAWN_BOXES, DRAWN_RELATIONS, DRAWN_TRIPLETS = 4.7, 5.3, 0.8
DRAWN_CLASSES = (108, 25)


@dataclass(frozen=True)
class DataSize:
    """``images``, ``boxes`` and ``relations`` by split, numbers of classes, and where the numbers come from.

    ``distinct_triplets`` of train; ``dimension`` of features that are there, 0 where none are; ``boxes_of_their_own``
    is False where only unions have features.
    """

    images: dict[str, int]
    boxes: dict[str, int]
    relations: dict[str, int]
    object_classes: int
    relation_classes: int
    distinct_triplets: int
    source: str
    dimension: int = 0
    boxes_of_their_own: bool = True
    assumed: tuple[str, ...] = field(default=())

    def total(self, table: str) -> int:
        """The sum over all splits of "images", "boxes" or "relations"."""
        return sum(getattr(self, table).values())


def data_size(profile: str, values: Mapping[str, Any], stated: Mapping[str, Any], run: str, root: Path) -> DataSize:
    """The size of the data that a profile works on.

    ``values`` are parameters of the notebooks by name, ``stated`` the profile's section ``size``. In this order:
    imported or added data, features of the run, data added under the profile's name, tables in or beside the annotation
    folder, the section, what notebook 00 will draw. WorkbenchError where
    nothing says it.
    """
    annotations = Path(root) / Path(values.get("annotations_folder") or ".")
    folders = [imported_folder(root) / values["data"]] if values.get("data") else []
    folders += [runs_folder(root) / run / "features" / "default", imported_folder(root) / profile]
    folders += [annotations, annotations.parent] if values.get("annotations_folder") else []
    for folder in folders:
        if _manifest(folder / "train") is not None and (folder / OBJECTS_FILE).is_file():
            return _counted(folder)
    if stated:
        return _stated(profile, stated)
    if values.get("train_images") and not values.get("annotations_folder"):
        return _drawn(values)
    raise WorkbenchError(
        f"profile {profile!r}: its data are not here and it does not say how large they are. Add them (workbench data "
        f"add, workbench features import), or give the profile a section 'size:' with {', '.join(STATED)}."
    )


def _manifest(folder: Path) -> dict[str, Any] | None:
    path = next((folder / name for name in MANIFESTS if (folder / name).is_file()), None)
    return None if path is None else read_json(path)


def _counted(folder: Path) -> DataSize:
    import pandas as pd

    manifests = {split: found for split in SPLITS if (found := _manifest(folder / split)) is not None}
    vocabulary = Vocabulary.read(folder)
    rows = {table: {split: int(found["rows"][table]) for split, found in manifests.items()} for table in TABLES}
    train = pd.read_parquet(folder / "train" / "relations.parquet", columns=list(ROLES))
    subject, relation, object_ = (train[role].to_numpy(dtype=np.int64) for role in ROLES)
    objects, relations = len(vocabulary.objects), len(vocabulary.relations)
    distinct = len(np.unique((subject * relations + relation) * objects + object_))
    of_store = manifests["train"]
    return DataSize(
        **rows,
        object_classes=objects,
        relation_classes=relations,
        distinct_triplets=distinct,
        source=f"counted in {folder}",
        dimension=int(of_store.get("dimension", 0)),
        boxes_of_their_own=of_store.get("entity_region", "box") == "box",
    )


def _stated(profile: str, stated: Mapping[str, Any]) -> DataSize:
    place = f"profile {profile!r}, size"
    missing, unknown = [key for key in STATED if key not in stated], sorted(set(stated) - set(STATED))
    if missing or unknown:
        what = f"{', '.join(missing)} missing" if missing else f"{', '.join(unknown)} not known"
        raise WorkbenchError(f"{place}: {what}; expected {', '.join(STATED)}.")
    for key in STATED:
        by_split = isinstance(stated[key], Mapping)
        numbers = stated[key].values() if by_split else [stated[key]]
        whole = all(type(number) is int and number > 0 for number in numbers)
        if by_split != (key in TABLES) or not whole or (by_split and not {"train"} <= set(stated[key]) <= set(SPLITS)):
            expected = "whole numbers of train, val and test" if key in TABLES else "a whole number"
            raise WorkbenchError(f"{place}: {key} is {stated[key]!r}; expected {expected}.")
    given = {key: dict(value) if isinstance(value, Mapping) else value for key, value in stated.items()}
    return DataSize(**given, source=f"stated in the profile {profile!r}")


def _drawn(values: Mapping[str, Any]) -> DataSize:
    images = {split: int(values[f"{split}_images"]) for split in SPLITS}
    relations = {split: round(DRAWN_RELATIONS * number) for split, number in images.items()}
    return DataSize(
        images=images,
        boxes={split: round(DRAWN_BOXES * number) for split, number in images.items()},
        relations=relations,
        object_classes=DRAWN_CLASSES[0],
        relation_classes=DRAWN_CLASSES[1],
        distinct_triplets=round(DRAWN_TRIPLETS * images["train"]),
        source="the drawn scenes that notebook 00 asks for",
        assumed=(
            f"a drawn picture has {DRAWN_BOXES} boxes, {DRAWN_RELATIONS} relations, {DRAWN_TRIPLETS} new triplets",
        ),
    )
