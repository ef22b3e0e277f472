"""Simulated annotations on disk: the LTVRR layout (reference 1.1 to 1.4), written picture by picture."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from tests.scale.geometry import box_places, picture_sizes
from tests.scale.plan import SimulationPlan, SplitPlan
from tests.scale.sizes import known_size
from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, write_json
from workbench.progress import track
from workbench.randomness import generator
from workbench.scenes.annotations import SPLITS, detections_path, relations_path
from workbench.scenes.vocabulary import Vocabulary

RECORD = "simulation.json"
IMAGES_PER_BLOCK = 512
# Raise it when the same seed would give other files.
SIMULATION_VERSION = 1


def simulate_annotations(
    folder: Path,
    *,
    vocabulary: Vocabulary,
    like: str = "gqa-lt",
    scale: float = 1.0,
    seed: int = 0,
    flaws: float = 0.0,
) -> dict[str, Any]:
    """Write an annotation folder as large and as imbalanced as a real one; there are no pictures.

    ``vocabulary``: names in descending order of frequency; their number is the number of classes. ``scale`` in (0, 1]
    multiplies pictures and relations, never classes. Train has exactly the fitted class counts, val and test are drawn
    from them. ``flaws``: share of boxes that are thin or reach outside. The bytes depend on the arguments alone; a
    killed call goes on with the split that it was writing. WorkbenchError where the folder holds another simulation.
    Returns the numbers of each split and the imbalance.
    """
    if not 0 <= flaws <= 1:
        raise WorkbenchError(f"flaws {flaws:g}: expected a share of boxes, 0 to 1.")
    folder = Path(folder)
    size = known_size(like).scaled(scale).with_classes(len(vocabulary.objects), len(vocabulary.relations))
    plan = SimulationPlan(size, seed)
    _begin(folder, vocabulary, {"like": like, "scale": scale, "seed": seed, "flaws": flaws})
    vocabulary.write(folder)
    summary: dict[str, Any] = {"classes": {"objects": size.object_classes, "relations": size.relation_classes}}
    for name, names, counts in (
        ("objects", vocabulary.objects, plan.object_counts),
        ("predicates", vocabulary.relations, plan.relation_counts),
    ):
        write_json(folder / f"{name}_freqs.json", dict(zip(names, counts.tolist(), strict=True)))
        summary[f"{name}_extremes"] = [int(counts.max()), int(counts.min())]
    first_id = 1
    for split in SPLITS:
        planned = plan.split(split)
        if not relations_path(folder, split).is_file():  # written last of the two
            _write_split(folder, split, planned, vocabulary, first_id, seed, flaws)
        first_id += planned.images
        summary[split] = _numbers(planned)
    return summary


def _begin(folder: Path, vocabulary: Vocabulary, arguments: dict[str, Any]) -> None:
    record = arguments | {"version": SIMULATION_VERSION}
    record |= {"objects": list(vocabulary.objects), "relations": list(vocabulary.relations)}
    if (folder / RECORD).is_file():
        if read_json(folder / RECORD) != record:
            raise WorkbenchError(f"{folder}: holds another simulation. Give another folder, or remove this one.")
    elif folder.is_dir() and any(folder.iterdir()):
        raise WorkbenchError(f"{folder}: the folder is not empty. Give another, or remove it first.")
    else:
        write_json(folder / RECORD, record)


def _numbers(plan: SplitPlan) -> dict[str, int]:
    counts = np.bincount(plan.relation), np.bincount(plan.object_class)
    return {
        "images": plan.images,
        "boxes": len(plan.object_class),
        "relations": len(plan.relation),
        "distinct_triplets": plan.distinct_triplets(),
        "relation_classes": int((counts[0] > 0).sum()),
        "object_classes": int((counts[1] > 0).sum()),
    }


def _write_split(
    folder: Path, split: str, plan: SplitPlan, vocabulary: Vocabulary, first_id: int, seed: int, flaws: float
) -> None:
    categories = [{"id": place, "name": name} for place, name in enumerate(vocabulary.objects, start=1)]
    with (
        atomic_path(relations_path(folder, split)) as relations_file,
        atomic_path(detections_path(folder, split)) as detections_file,
        open(relations_file, "w", encoding="utf-8") as relations,
        open(detections_file, "w", encoding="utf-8") as detections,
    ):
        sizes = []
        relations.write("{")
        detections.write(f'{{"categories": {json.dumps(categories)},\n"annotations": [')
        first_detection = 1
        for block in _blocks(plan, split, seed, flaws):
            sizes.append(block.size)
            block.write_relations(relations, first_id)
            first_detection = block.write_detections(detections, first_id, first_detection)
        relations.write("\n}\n")
        detections.write('],\n"images": [')
        for image, (width, height) in enumerate(np.concatenate(sizes).tolist()):
            entry = {
                "id": first_id + image,
                "file_name": _file_name(first_id + image),
                "width": width,
                "height": height,
            }
            detections.write(("," if image else "") + "\n" + json.dumps(entry))
        detections.write("]}\n")


def _file_name(image_id: int) -> str:
    return f"{image_id:07d}.jpg"


class _Block:
    """Some pictures with their coordinates; the arrays of the plan are sliced to their boxes and relations."""

    def __init__(self, plan: SplitPlan, images: slice, split: str, seed: int, flaws: float):
        random = generator(seed, "simulated geometry", split, images.start)
        self.images = range(images.start, images.stop)
        self.size = picture_sizes(random, len(self.images))
        edges = np.arange(images.start, images.stop + 1)
        box_edge = np.searchsorted(plan.image_of_box, edges)
        boxes = slice(box_edge[0], box_edge[-1])
        self._image = plan.image_of_box[boxes] - images.start
        self._box_size = self.size[self._image]
        self._xyxy = box_places(random, self._box_size, flaws)
        self._class = plan.object_class[boxes]
        edge = np.searchsorted(plan.image, edges)
        self._edge = (edge - edge[0]).tolist()
        relations = slice(edge[0], edge[-1])
        self._subject, self._object = (b[relations] - boxes.start for b in (plan.subject_box, plan.object_box))
        self._relation = plan.relation[relations]

    def write_relations(self, file: TextIO, first_id: int) -> None:
        """One line a picture: its name and its relations; a box is [ymin, ymax, xmin, xmax]."""
        ends = [
            f'{{"bbox": [{y1}, {y2}, {x1}, {x2}], "category": {label}}}'
            for (x1, y1, x2, y2), label in zip(self._xyxy.tolist(), self._class.tolist(), strict=True)
        ]
        found = zip(self._subject.tolist(), self._object.tolist(), self._relation.tolist(), strict=True)
        lines = [f'{{"subject": {ends[s]}, "object": {ends[o]}, "predicate": {r}}}' for s, o, r in found]
        for place, image in enumerate(self.images):
            here = ", ".join(lines[self._edge[place] : self._edge[place + 1]])
            file.write(f'{"," if image else ""}\n"{_file_name(first_id + image)}": [{here}]')

    def write_detections(self, file: TextIO, first_id: int, first_detection: int) -> int:
        """One COCO annotation a box that lies in its picture; returns the next free annotation id."""
        inside = ((self._xyxy[:, 2:] < self._box_size) & (self._xyxy[:, :2] < self._xyxy[:, 2:])).all(axis=1)
        rows = zip(self._xyxy[inside].tolist(), self._image[inside].tolist(), self._class[inside].tolist(), strict=True)
        for number, ((x1, y1, x2, y2), image, label) in enumerate(rows, start=first_detection):
            width, height = x2 - x1 + 1, y2 - y1 + 1
            file.write(
                f'{"," if number > 1 else ""}\n{{"id": {number}, "image_id": {first_id + self.images[image]}, '
                f'"category_id": {label + 1}, "bbox": [{x1}, {y1}, {width}, {height}], "area": {width * height}, '
                '"iscrowd": 0}'
            )
        return first_detection + int(inside.sum())


def _blocks(plan: SplitPlan, split: str, seed: int, flaws: float) -> Iterator[_Block]:
    starts = range(0, plan.images, IMAGES_PER_BLOCK)
    for start in track(starts, f"Writing {split} annotations, in blocks of {IMAGES_PER_BLOCK} pictures"):
        yield _Block(plan, slice(start, min(start + IMAGES_PER_BLOCK, plan.images)), split, seed, flaws)
