"""What there is to know of one point of a feature map: its triplet, its pictures, the real rows nearest to it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from workbench.browsers.map_neighbours import RealNeighbours
from workbench.browsers.map_points import MapPoints
from workbench.browsers.scene_drawing import scene_of, scene_of_boxes, scene_svg
from workbench.browsers.thumbnails import Thumbnails
from workbench.scenes.bands import BANDS, Counts
from workbench.scenes.vocabulary import ROLES

if TYPE_CHECKING:
    from workbench.regions.feature_store import FeatureStore
    from workbench.regions.generated_features import GeneratedFeatures

NEIGHBOURS = 5


@dataclass(frozen=True)
class PictureOf:
    """One drawing with what stands below it; ``distance`` is Euclidean, in the space of the features."""

    drawing: Markup
    caption: str
    row: int
    distance: float | None = None


@dataclass(frozen=True)
class PointDetails:
    """Of a point: ``roles`` as (role, class name, band, count in train), ``entropy`` in nats, and its pictures.

    A real point has its own ``picture``; a generated one ``neighbours`` (the nearest real rows of the map), ``seeds``
    (the boxes that it was started from) and ``origin``, the training triplet that was augmented.
    """

    source: str
    row: int
    caption: str
    roles: tuple[tuple[str, str, str, int], ...]
    entropy: float
    picture: PictureOf | None = None
    neighbours: tuple[PictureOf, ...] = ()
    seeds: tuple[tuple[str, PictureOf], ...] = ()
    origin: tuple[str, str] | None = None


def point_details(
    number: int,
    points: MapPoints,
    store: "FeatureStore",
    generated: "GeneratedFeatures",
    counts: Counts,
    near: RealNeighbours,
    pictures: Thumbnails,
) -> PointDetails:
    """The details of a point by its number; those of a generated one ask all real rows of the map for the nearest."""
    row, made = int(points.row[number]), bool(points.generated[number])
    facts = {
        "source": "generated" if made else "real",
        "row": row,
        "caption": str(points.captions[number]),
        "roles": tuple(_role(points, counts, role, number) for role in ROLES),
        "entropy": float(points.entropy[number]),
    }
    if not made:
        return PointDetails(**facts, picture=_picture(points, store, pictures, row, crop=False))
    rows, distances = near.nearest(generated.union([row])[0], NEIGHBOURS)
    neighbours = [_picture(points, store, pictures, int(own), crop=True, distance=float(distance))
                  for own, distance in zip(rows, distances, strict=True)]  # fmt: skip
    made_of = generated.relations.iloc[row]
    return PointDetails(
        **facts, neighbours=tuple(neighbours), seeds=_seeds(points, store, pictures, made_of),
        origin=_origin(points, store, made_of),
    )  # fmt: skip


def _role(points: MapPoints, counts: Counts, role: str, number: int) -> tuple[str, str, str, int]:
    own = int(points.classes[role][number])
    name, band = points.vocabulary.names(role)[own], BANDS[points.bands[role][number]]
    return role, name, band, int(counts.of_role(role)[own])


def _picture(
    points: MapPoints,
    store: "FeatureStore",
    pictures: Thumbnails,
    row: int,
    *,
    crop: bool,
    distance: float | None = None,
) -> PictureOf:
    drawing = scene_svg(scene_of(store, row), pictures, crop=crop)
    return PictureOf(drawing, _caption(points, store, row), row, distance)


def _caption(points: MapPoints, store: "FeatureStore", row: int) -> str:
    return points.vocabulary.caption(*(int(store.relations[role].iat[row]) for role in ROLES))


def _seeds(
    points: MapPoints, store: "FeatureStore", pictures: Thumbnails, made_of
) -> tuple[tuple[str, PictureOf], ...]:
    """The subject's and the object's seed box; where unions stand in for boxes, a box row is a row of relations."""
    if not {"subject_box", "object_box"} <= set(made_of.index):
        return ()
    boxes = {role: int(made_of[f"{role}_box"]) for role in ("subject", "object")}
    if store.entity_region == "union":
        return tuple((role, _picture(points, store, pictures, row, crop=True)) for role, row in boxes.items())
    scenes = dict(zip(boxes, scene_of_boxes(store, *boxes.values()), strict=True))
    return tuple(
        (role, PictureOf(scene_svg(scene, pictures, crop=True, roles=(role,)), _box_name(points, store, boxes[role]),
                         boxes[role]))
        for role, scene in scenes.items()
    )  # fmt: skip


def _box_name(points: MapPoints, store: "FeatureStore", box: int) -> str:
    return points.vocabulary.objects[int(store.boxes["object_class"].iat[box])]


def _origin(points: MapPoints, store: "FeatureStore", made_of) -> tuple[str, str] | None:
    """The caption of the training triplet that augmentation changed, and the role that it replaced."""
    if not {"source_row", "replaced"} <= set(made_of.index):
        return None
    return _caption(points, store, int(made_of["source_row"])), str(made_of["replaced"])
