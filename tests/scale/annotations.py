"""Simulated annotations on disk: the LTVRR layout, written image by image."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.scale.plan import SIZES, SplitPlan, plan_split
from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, write_json
from workbench.progress import track
from workbench.randomness import generator
from workbench.scenes.annotations import detections_path, relations_path
from workbench.scenes.vocabulary import SPLITS, Vocabulary

RECORD = "simulation.json"
# Width and height, roughly as in a collection of photographs shown at 500 to 1024 pixels.
IMAGE_SIZES = np.array([(500, 375), (375, 500), (640, 480), (480, 640), (500, 333), (800, 600), (1024, 768)])
MEDIAN_SIDE, SIDE_SPREAD, SMALLEST_SIDE = 0.22, 0.75, 4  # of a box: share of the image's side, of its logarithm, pixels


def simulate_annotations(
    folder: Path,
    *,
    vocabulary: Vocabulary,
    like: str = "gqa-lt",
    scale: float = 1.0,
    seed: int = 0,
    flaws: float = 0.0,
) -> dict[str, Any]:
    """Write an annotation folder as large and as imbalanced as a real one; there are no images.

    ``vocabulary``: names in descending order of frequency; their number is the number of classes. ``scale`` in (0, 1]
    multiplies images and relations, never classes. ``flaws``: share of boxes that are thin or reach outside. The bytes
    depend on the arguments alone; a killed call resumes with the split that it was writing. Returns the numbers of
    each split.
    """
    if not 0 <= flaws <= 1:
        raise WorkbenchError(f"flaws {flaws:g}: expected a share of boxes, 0 to 1.")
    if like not in SIZES:
        raise WorkbenchError(f"like {like!r} is not known; expected one of {', '.join(SIZES)}.")
    folder = Path(folder)
    size = SIZES[like].scaled(scale).with_classes(len(vocabulary.objects), len(vocabulary.relations))
    _begin(
        folder,
        {
            "like": like,
            "scale": scale,
            "seed": seed,
            "flaws": flaws,
            "names": [list(vocabulary.objects), list(vocabulary.relations)],
        },
    )
    vocabulary.write(folder)
    summary: dict[str, Any] = {}
    first_id = 1
    for split in SPLITS:
        plan = plan_split(size, split, seed)
        if not relations_path(folder, split).is_file():  # written last of the two
            boxes = _boxes(generator(seed, "simulated geometry", split), plan, flaws)
            _write_split(folder, split, plan, boxes, vocabulary, first_id)
        first_id += plan.images
        rows = {"images": plan.images, "boxes": len(plan.object_class), "relations": len(plan.relation)}
        summary[split] = rows | {"distinct_triplets": plan.distinct_triplets()}
    return summary


def _begin(folder: Path, arguments: dict[str, Any]) -> None:
    if (folder / RECORD).is_file():
        if read_json(folder / RECORD) != arguments:
            raise WorkbenchError(f"{folder}: holds another simulation. Give another folder, or remove this one.")
    elif folder.is_dir() and any(folder.iterdir()):
        raise WorkbenchError(f"{folder}: the folder is not empty. Give another, or remove it first.")
    else:
        write_json(folder / RECORD, arguments)


def _boxes(random: np.random.Generator, plan: SplitPlan, flaws: float) -> tuple[np.ndarray, np.ndarray]:
    """Sizes of images (I, 2), and boxes (B, 4), inclusive x1, y1, x2, y2.

    Of the ``flaws`` some are a pixel thin, some reach out of the image, and some lie beyond it.
    """
    sizes = IMAGE_SIZES[random.integers(len(IMAGE_SIZES), size=plan.images)]
    size = sizes[plan.image_of_box]
    side = MEDIAN_SIDE * np.exp(SIDE_SPREAD * random.standard_normal(size.shape)) * size
    side = np.clip(side.astype(np.int64), SMALLEST_SIDE, size)
    low = (random.random(size.shape) * (size - side + 1)).astype(np.int64)
    xyxy = np.concatenate([low, low + side - 1], axis=1)
    kind = np.where(random.random(len(size)) < flaws, random.integers(1, 4, len(size)), 0)
    thin, partly, beyond = (kind == number for number in (1, 2, 3))
    xyxy[thin, 2] = xyxy[thin, 0]
    xyxy[partly, 3] = size[partly, 1] + side[partly, 1] // 2
    xyxy[beyond, 0::2] += size[beyond, :1]
    return sizes, xyxy


def _write_split(folder: Path, split: str, plan: SplitPlan, boxes, vocabulary: Vocabulary, first_id: int) -> None:
    sizes, xyxy = boxes
    names = [f"{first_id + image:07d}.jpg" for image in range(plan.images)]
    box_edges, edges = (
        np.searchsorted(column, np.arange(plan.images + 1)) for column in (plan.image_of_box, plan.image)
    )
    inside = ((xyxy[:, 2:] < sizes[plan.image_of_box]) & (xyxy[:, :2] < xyxy[:, 2:])).all(axis=1)
    numbers = np.cumsum(inside)  # of the annotation
    categories = [{"id": number, "name": name} for number, name in enumerate(vocabulary.objects, start=1)]
    images = [
        {"id": first_id + image, "file_name": name, "width": width, "height": height}
        for image, (name, (width, height)) in enumerate(zip(names, sizes.tolist(), strict=True))
    ]
    with (
        atomic_path(relations_path(folder, split)) as relations_file,
        atomic_path(detections_path(folder, split)) as detections_file,
        open(relations_file, "w", encoding="utf-8") as relations,
        open(detections_file, "w", encoding="utf-8") as detections,
    ):
        relations.write("{")
        detections.write(
            f'{{"categories": {json.dumps(categories)},\n"images": {json.dumps(images)},\n"annotations": ['
        )
        for image in track(range(plan.images), f"Writing {split} annotations"):
            own = slice(box_edges[image], box_edges[image + 1])
            ends, found = [], []
            rows = (xyxy[own], plan.object_class[own], inside[own], numbers[own])
            for (x1, y1, x2, y2), label, kept, number in zip(*(row.tolist() for row in rows), strict=True):
                ends.append(f'{{"bbox": [{y1}, {y2}, {x1}, {x2}], "category": {label}}}')
                if kept:
                    width, height = x2 - x1 + 1, y2 - y1 + 1
                    found.append(
                        f'{"," if number > 1 else ""}\n{{"id": {number}, "image_id": {first_id + image}, '
                        f'"category_id": {label + 1}, "bbox": [{x1}, {y1}, {width}, {height}], '
                        f'"area": {width * height}, "iscrowd": 0}}'
                    )
            detections.write("".join(found))
            joined = slice(edges[image], edges[image + 1])
            subjects, objects = (column[joined] - own.start for column in (plan.subject_box, plan.object_box))
            lines = [
                f'{{"subject": {ends[s]}, "object": {ends[o]}, "predicate": {r}}}'
                for s, o, r in zip(subjects.tolist(), objects.tolist(), plan.relation[joined].tolist(), strict=True)
            ]
            relations.write(f'{"," if image else ""}\n"{names[image]}": [{", ".join(lines)}]')
        detections.write("]}\n")
        relations.write("\n}\n")
