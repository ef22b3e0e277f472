"""Simulated annotations on disk: the LTVRR layout, written image by image."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.json import encode

from annotated_scenes.annotations import detections_path, relations_path
from simulated_scenes.plan import SIZES, SplitPlan, plan_split
from workbench.files import atomic_path
from workbench.progress import track
from workbench.randomness import generator
from workbench.scenes.vocabulary import SPLITS, Vocabulary

# Width and height, roughly as in a collection of photographs shown at 500 to 1024 pixels.
IMAGE_SIZES = np.array([(500, 375), (375, 500), (640, 480), (480, 640), (500, 333), (800, 600), (1024, 768)])
MEDIAN_SIDE, SIDE_SPREAD, SMALLEST_SIDE = 0.22, 0.75, 4  # of a box: share of the image's side, of its logarithm, pixels


def simulate_annotations(
    folder: Path, *, vocabulary: Vocabulary, like: str = "gqa-lt", scale: float = 1.0, seed: int = 0
) -> dict[str, Any]:
    """Write an annotation folder as large and as imbalanced as a real one; there are no images.

    ``vocabulary``: names in descending order of frequency; their number is the number of classes. ``scale`` in (0, 1]
    multiplies images and relations, never classes. The bytes depend on the arguments alone; a killed call of the same
    arguments resumes with the split that it was writing. Returns the numbers of each split.
    """
    folder, names = Path(folder), (vocabulary.objects, vocabulary.relations)
    size = replace(SIZES[like].scaled(scale), object_classes=len(names[0]), relation_classes=len(names[1]))
    vocabulary.write(folder)
    summary: dict[str, Any] = {}
    first_id = 1
    for split in SPLITS:
        plan = plan_split(size, split, seed)
        if not relations_path(folder, split).is_file():  # written last of the two
            sizes, boxes = _boxes(generator(seed, "simulated geometry", split), plan)
            _write_split(folder, split, plan, sizes, boxes, vocabulary, first_id)
        first_id += plan.images
        rows = {"images": plan.images, "boxes": len(plan.object_class), "relations": len(plan.relation)}
        summary[split] = rows | {"distinct_triplets": plan.distinct_triplets()}
    return summary


def _boxes(random: np.random.Generator, plan: SplitPlan) -> tuple[np.ndarray, np.ndarray]:
    """Sizes of images (I, 2), and boxes (B, 4) within them, inclusive x1, y1, x2, y2."""
    sizes = IMAGE_SIZES[random.integers(len(IMAGE_SIZES), size=plan.images)]
    size = sizes[plan.image_of_box]
    side = MEDIAN_SIDE * np.exp(SIDE_SPREAD * random.standard_normal(size.shape)) * size
    side = np.clip(side.astype(np.int64), SMALLEST_SIDE, size)
    low = (random.random(size.shape) * (size - side + 1)).astype(np.int64)
    return sizes, np.concatenate([low, low + side - 1], axis=1)


def _write_split(
    folder: Path, split: str, plan: SplitPlan, sizes: np.ndarray, xyxy: np.ndarray, names: Vocabulary, first_id: int
) -> None:
    edges, box_edges = (np.searchsorted(of, np.arange(plan.images + 1)) for of in (plan.image, plan.image_of_box))
    images = [
        {"id": first_id + image, "file_name": f"{first_id + image:07d}.jpg", "width": width, "height": height}
        for image, (width, height) in enumerate(sizes.tolist())
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(names.objects, start=1)]
    with (
        atomic_path(relations_path(folder, split)) as relations_file,
        atomic_path(detections_path(folder, split)) as detections_file,
        open(relations_file, "wb") as relations,
        open(detections_file, "wb") as detections,
    ):
        detections.write(encode({"categories": categories, "images": images, "annotations": []}).removesuffix(b"]}"))
        between_relations, between_detections = b"{", b""
        for image in track(range(plan.images), f"Writing {split} annotations"):
            own, joined = (slice(*of[image : image + 2]) for of in (box_edges, edges))
            corners, labels = xyxy[own], plan.object_class[own].tolist()
            bbox_and_class = zip(corners[:, [1, 3, 0, 2]].tolist(), labels, strict=True)
            ends = [{"bbox": bbox, "category": label} for bbox, label in bbox_and_class]
            found = [
                {
                    "id": int(own.start) + place + 1,
                    "image_id": first_id + image,
                    "category_id": labels[place] + 1,
                    "bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1],
                    "area": (x2 - x1 + 1) * (y2 - y1 + 1),
                    "iscrowd": 0,
                }
                for place, (x1, y1, x2, y2) in enumerate(corners.tolist())
            ]
            detections.write(between_detections + encode(found)[1:-1])
            pairs = (plan.subject_box[joined] - own.start, plan.object_box[joined] - own.start, plan.relation[joined])
            lines = [
                {"subject": ends[subject], "object": ends[object_], "predicate": relation}
                for subject, object_, relation in zip(*(column.tolist() for column in pairs), strict=True)
            ]
            relations.write(between_relations + encode({images[image]["file_name"]: lines})[1:-1])
            between_relations = between_detections = b",\n"
        detections.write(b"]}\n")
        relations.write(b"}\n")
