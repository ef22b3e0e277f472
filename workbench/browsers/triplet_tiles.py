"""What the TripletBrowser shows of one triplet: its picture, its counts, and where an augmented one comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.browsers.drawing import Thumbnails, scene_of, scene_of_boxes, scene_svg
from workbench.browsers.triplet_index import TripletIndex
from workbench.scenes.bands import BANDS
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import ROLES


@dataclass(frozen=True)
class TripletSources:
    """What a triplet's pictures and origin are read from.

    ``tables``: the training split. ``augmented``: augmented.parquet, or None. ``seeds``: generated.parquet, whose
    columns augmented_row, subject_box and object_box name the boxes that a generated row started from, or None.
    """

    tables: RelationTables
    thumbnails: Thumbnails
    augmented: pd.DataFrame | None = None
    seeds: pd.DataFrame | None = None


def tile(index: TripletIndex, sources: TripletSources, place: int, *, crop: bool = False) -> dict[str, Any]:
    """The facts of one tile: ``parts`` of the caption, numbers, the drawing, and the origin of an augmented triplet."""
    examples, rows = index.examples(place), index.augmented_rows(place)
    origin = origin_of(index, sources, int(rows[0])) if len(rows) and not len(examples) else None
    # Not always the first: a picture often shows several triplets, and would be seen for each of them.
    shown = origin["source_row"] if origin else int(examples[place % len(examples)])
    return {
        "place": place,
        "caption": index.caption(place),
        "parts": parts(index, place),
        "count": int(index["count"][place]),
        "augmented": len(rows),
        "hardness": float(index["hardness"][place]),
        "origin": origin,
        "drawing": scene_svg(scene_of(sources.tables, shown), sources.thumbnails, crop=crop),
    }


def parts(index: TripletIndex, place: int) -> list[dict[str, Any]]:
    """Name, band and training count of the three classes."""
    ids = index.triplets(place)
    return [
        {
            "role": role,
            "name": index.vocabulary.names(role)[number],
            "band": BANDS[int(index[f"{role}_band"][place])],
            "count": int(index.counts.of_role(role)[number]),
        }
        for role, number in zip(ROLES, ids, strict=True)
    ]


def origin_of(index: TripletIndex, sources: TripletSources, row: int) -> dict[str, Any]:
    """Where one augmented row comes from: the training triplet, the replaced word, its LCH and the way in WordNet."""
    vocabulary, augmented = index.vocabulary, sources.augmented.iloc[row]
    source = sources.tables.relations.iloc[int(augmented["source_row"])]
    replaced = str(augmented["replaced"])
    old, new = int(augmented["replaced_class"]), int(augmented[replaced])
    return {
        "row": row,
        "source_row": int(augmented["source_row"]),
        "source": vocabulary.caption(*(int(source[role]) for role in ROLES)),
        "replaced": replaced,
        "old": vocabulary.objects[old],
        "new": vocabulary.objects[new],
        "lch": float(augmented["lch"]),
        "path": index.wordnet_path(old, new),
        "band": str(augmented["band"]),
        "because": str(augmented["because"]),
    }


def seed_drawings(sources: TripletSources, augmented_row: int, crop: bool = True) -> list[tuple[str, Markup]]:
    """The subject's and the object's box that the generated feature of an augmented row started from; none without."""
    if sources.seeds is None:
        return []
    found = np.flatnonzero(sources.seeds["augmented_row"].to_numpy() == augmented_row)
    if not len(found):
        return []
    seed = sources.seeds.iloc[int(found[0])]
    scenes = scene_of_boxes(sources.tables, int(seed["subject_box"]), int(seed["object_box"]))
    return [
        (role, scene_svg(scene, sources.thumbnails, crop=crop, roles=()))
        for role, scene in zip(("subject", "object"), scenes, strict=True)
    ]


def triplet_table(index: TripletIndex, places: np.ndarray) -> pd.DataFrame:
    """The triplets at ``places`` for the next cell: names, ids, bands, counts, LCH and hardness, one row each."""
    places = np.asarray(places, dtype=np.int64)
    ids = index.triplets(places)
    columns: Mapping[str, Any] = {
        role: np.array(index.vocabulary.names(role), dtype=object)[ids[:, at]] for at, role in enumerate(ROLES)
    }
    columns |= {f"{role}_class": ids[:, at] for at, role in enumerate(ROLES)}
    columns |= {f"{role}_band": np.array(BANDS, dtype=object)[index[f"{role}_band"][places]] for role in ROLES}
    columns |= {name: index[name][places] for name in ("count", "augmented", "lch", "hardness")}
    return pd.DataFrame(columns, index=pd.Index(places, name="place"))
