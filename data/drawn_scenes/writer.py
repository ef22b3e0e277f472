"""The data set on disk: images drawn by several processes, annotations in the LTVRR layout, written last."""

import csv
import io
import json
import os
import shutil
import zlib
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path

from PIL import Image

from drawn_scenes.catalogue import FAMILY_OF
from drawn_scenes.config import DrawnScenesConfig
from drawn_scenes.image import draw_image
from drawn_scenes.long_tail import evaluation_targets, training_targets
from drawn_scenes.plan import ImagePlan, plan_images
from drawn_scenes.processes import mapped
from drawn_scenes.rules import RELATION_NAMES
from workbench.file_errors import writing
from workbench.files import atomic_path, write_json
from workbench.progress import track
from workbench.randomness import generator

SPLITS = ("train", "val", "test")
IMAGES_PER_CHUNK = 50
IMAGES_WORTH_A_POOL = 200
JPEG_QUALITY = 92
# Raise it when an image drawn from the same plan and seed would look different.
DRAWING_VERSION = 1
Chunk = tuple[str, int, list[ImagePlan], int, int, str]


def draw_scenes(folder: Path, *, config: DrawnScenesConfig, workers: int = 0) -> dict:
    """Draw the data set into ``folder``: images/, and the files of the LTVRR layout.

    ``workers``: processes, 0 for one per core. The bytes depend on ``config``, not on the workers. A killed run keeps
    its whole chunks of images. Returns counts, imbalances and families.
    """
    from workbench.language.synset_tables import SENSES_TABLE  # with pandas, for which no drawing process should wait

    folder = Path(folder)
    counts = config.images
    train = training_targets(config.train_images, config.classes)
    targets = {
        "train": train,
        "val": evaluation_targets("val", config.val_images, config.val_per_class, len(train.classes)),
        "test": evaluation_targets("test", config.test_images, config.test_per_class, len(train.classes)),
    }
    plans = {split: plan_images(targets[split], counts[split], config.seed, split) for split in SPLITS}
    boxes = _draw_all(folder, plans, config, workers)
    objects, relations, frequencies = _vocabulary(plans["train"], train.classes)
    for name, content in (("objects", objects), ("predicates", relations)):
        write_json(folder / f"{name}.json", content)
    for name, counted in (("objects", frequencies[0]), ("predicates", frequencies[1])):
        write_json(folder / f"{name}_freqs.json", counted)
    shutil.copyfile(Path(__file__).with_name(SENSES_TABLE), folder / SENSES_TABLE)
    first_id = 1
    for split in SPLITS:
        _write_split(folder, split, plans[split], boxes[split], objects, relations, config.size, first_id)
        first_id += counts[split]
    shutil.rmtree(folder / "images" / ".chunks", ignore_errors=True)
    return _summary(plans, frequencies, train.classes)


def _draw_all(folder: Path, plans, config: DrawnScenesConfig, workers: int) -> dict[str, list[list]]:
    """Draw every chunk that is not there yet; returns per split and image its boxes as [group, role, box]."""
    stamp = json.dumps([DRAWING_VERSION, asdict(config)])
    images = folder / "images"
    (images / ".chunks").mkdir(parents=True, exist_ok=True)
    for left_behind in images.glob(".*.jpg"):
        left_behind.unlink()
    chunks: list[Chunk] = [
        (split, start, plans[split][start : start + IMAGES_PER_CHUNK], config.seed, config.size, stamp)
        for split in SPLITS
        for start in range(0, len(plans[split]), IMAGES_PER_CHUNK)
    ]
    boxes: dict[str, list] = {split: [None] * len(plans[split]) for split in SPLITS}
    missing = []
    for chunk in chunks:
        record = _kept_chunk(images, chunk)
        if record is None:
            missing.append(chunk)
        else:
            boxes[chunk[0]][chunk[1] : chunk[1] + len(record)] = record
    many = sum(len(chunk[2]) for chunk in missing) >= IMAGES_WORTH_A_POOL
    drawn = mapped(partial(_draw_chunk, images), missing, workers, pool=many)
    for split, start, record in track(drawn, "Drawing scenes", total=len(missing)):
        boxes[split][start : start + len(record)] = record
    return boxes


def _draw_chunk(images: Path, chunk: Chunk) -> tuple[str, int, list]:
    split, start, plans, seed, size, stamp = chunk
    record, sums = [], []
    for offset, plan in enumerate(plans):
        # The key is part of the bytes: another word would draw other images.
        drawn = draw_image(plan, generator(seed, "picture", split, start + offset), size)
        buffer = io.BytesIO()
        Image.fromarray(drawn.pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        _write_bytes(images / _file_name(split, start + offset), buffer.getvalue())
        sums.append(zlib.crc32(buffer.getvalue()))
        record.append([[group, role, list(box)] for (group, role), box in sorted(drawn.boxes.items())])
    kept = json.dumps({"stamp": stamp, "boxes": record, "crc32": sums})
    _write_bytes(_chunk_file(images, split, start), kept.encode())
    return split, start, record


def _kept_chunk(images: Path, chunk: Chunk) -> list | None:
    """The boxes of a chunk that an earlier run has drawn whole with the same settings, else None."""
    split, start, plans, _, _, stamp = chunk
    path = _chunk_file(images, split, start)
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_bytes())
    except ValueError:
        return None  # Torn by a power cut: its images are drawn again.
    if kept["stamp"] != stamp or len(kept["boxes"]) != len(plans):
        return None
    for offset, checksum in enumerate(kept["crc32"]):
        file = images / _file_name(split, start + offset)
        if not file.exists() or zlib.crc32(file.read_bytes()) != checksum:
            return None
    return kept["boxes"]


def _chunk_file(images: Path, split: str, start: int) -> Path:
    return images / ".chunks" / f"{split}_{start:05d}.json"


def _file_name(split: str, index: int) -> str:
    return f"{split}_{index:05d}.jpg"


def _write_bytes(path: Path, content: bytes) -> None:
    """Atomic, but without waiting for the disk: the chunk's checksums tell a torn image."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with writing(path):
            temporary.write_bytes(content)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _vocabulary(plans: list[ImagePlan], classes: tuple[str, ...]):
    """Names by training frequency, and the frequencies."""
    objects, relations = Counter(dict.fromkeys(classes, 0)), Counter(dict.fromkeys(RELATION_NAMES, 0))
    for plan in plans:
        for subject, relation, object_ in plan.triplets():
            objects.update((subject, object_))
            relations.update((relation,))
    present = Counter({name: count for name, count in relations.items() if count})
    # most_common keeps the planned order among equals.
    names = [name for name, _ in objects.most_common()], [name for name, _ in present.most_common()]
    return *names, (dict(objects), dict(present))


def _write_split(folder: Path, split: str, plans, boxes, objects, relations, size: int, first_id: int) -> None:
    object_id = {name: index for index, name in enumerate(objects)}
    relation_id = {name: index for index, name in enumerate(relations)}
    detections = {
        "images": [],
        "annotations": [],
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(objects)],
    }
    annotations, rows = {}, []
    for index, (plan, placed) in enumerate(zip(plans, boxes, strict=True)):
        things = {(group, role): box for group, role, box in placed}
        names = {(i, role): name for i, group in enumerate(plan.groups) for role, name in group.things()}
        detections["images"].append(
            {"id": first_id + index, "file_name": _file_name(split, index), "width": size, "height": size}
        )
        for key, (x1, y1, x2, y2) in sorted(things.items()):
            width, height = x2 - x1 + 1, y2 - y1 + 1
            detections["annotations"].append({
                "id": len(detections["annotations"]) + 1, "image_id": first_id + index, "iscrowd": 0,
                "category_id": object_id[names[key]] + 1, "bbox": [x1, y1, width, height], "area": width * height,
            })  # fmt: skip
        ends = {
            key: {"bbox": [y1, y2, x1, x2], "category": object_id[names[key]]}
            for key, (x1, y1, x2, y2) in things.items()
        }
        told = [row for row in plan.relations() if row[1] in relation_id]
        annotations[_file_name(split, index)] = [
            {"subject": ends[subject], "predicate": relation_id[relation], "object": ends[object_]}
            for subject, relation, object_ in told
        ]
        rows += [(names[subject], names[object_], relation) for subject, relation, object_ in told]
    write_json(folder / f"detections_{split}.json", detections)
    if split == "train":
        with atomic_path(folder / "rel_annotations_train.csv") as temporary, open(temporary, "w", newline="") as file:
            csv.writer(file).writerows([("sbj_gt", "obj_gt", "rel_gt"), *rows])
    write_json(folder / f"rel_annotations_{split}.json", annotations)


def _summary(plans: dict[str, list[ImagePlan]], frequencies, classes) -> dict:
    triplets = {split: [row for plan in plans[split] for row in plan.triplets()] for split in SPLITS}
    seen = set(triplets["train"])
    counted = [Counter(row[role] for row in triplets["test"]) for role in range(3)]
    objects, relations = frequencies
    families = sorted({FAMILY_OF[name] for name in classes})
    return {
        "images": {split: len(plans[split]) for split in SPLITS},
        "relations": {split: len(triplets[split]) for split in SPLITS},
        "object_classes": len(objects),
        "relation_classes": len(relations),
        "families": {family: sum(FAMILY_OF[name] == family for name in classes) for family in families},
        "rarest_object": min(objects.values()),
        "rarest_relation": min(relations.values()),
        "object_imbalance": max(objects.values()) / max(1, min(objects.values())),
        "relation_imbalance": max(relations.values()) / max(1, min(relations.values())),
        "least_in_test": {
            "subject": min(counted[0][name] for name in objects),
            "relation": min(counted[1][name] for name in relations),
            "object": min(counted[2][name] for name in objects),
        },
        "test_triplets_unseen_in_train": len(set(triplets["test"]) - seen),
        "test_triplets": len(set(triplets["test"])),
    }
