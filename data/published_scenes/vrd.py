"""Visual Relationship Detection (Lu et al., 2016) in its own files, converted to the annotation layout.

Its ``annotations_<split>.json`` are already what the layout calls ``rel_annotations_<split>.json`` (LTVRR reference,
1.2); image ids, sizes and detections are added. There are two splits, train and test; a val can be drawn from train.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from annotated_scenes.annotation_files import (
    JsonFile,
    Pixels,
    Relation,
    UnusableJson,
    decoded,
    note_repeated,
    noting_unreadable,
    opened,
    read_relation_ends,
    read_vocabulary,
)
from annotated_scenes.annotations import detections_path, relations_path
from workbench.errors import WorkbenchError
from workbench.files import inside, write_json
from workbench.randomness import generator
from workbench.scenes.problems import FileProblems, Problem, format_report

OFFICIAL_SPLITS = ("train", "test")


class _Size(msgspec.Struct):
    width: Pixels
    height: Pixels


@dataclass(frozen=True)
class _Image:
    entry: dict[str, Any]  # of the detections file
    relations: Any  # in VRD's own words; None where the annotations do not name the image
    boxes: dict[tuple[float, ...], None]  # category, ymin, ymax, xmin, xmax: distinct, in order of first use


def convert_vrd(
    folder: Path, *, source: Path, images: Path | None = None, validation_images: int = 0, seed: int = 0
) -> list[Problem]:
    """Write an annotation folder from VRD's own files in ``source``.

    Image ids count train, then test, in the files' order. An image's name is its path below ``images`` where the
    file is there, in ``images`` itself, ``sg_train_images`` or ``sg_test_images``, else its name in the
    annotations. Sizes come from ``<split>_image_metadata.json``, which the original release lacks, else from the
    image files' headers. A name whose suffix differs there (one .gif) is found by the rest of the name. The distinct
    annotated boxes become the detections. Images without relations stay. ``validation_images`` of the train images
    with relations, drawn by ``seed``, leave train and become val. Raises WorkbenchError with a report of all problems
    where a file is missing or not in VRD's layout, or a size cannot be found; warnings are returned.
    """
    problems: list[Problem] = []
    vocabulary = read_vocabulary(source, problems)
    found: dict[str, list[_Image]] = {}
    for split in OFFICIAL_SPLITS:
        file = FileProblems(Path(source) / f"annotations_{split}.json", problems)
        sizes_file = FileProblems(Path(source) / f"{split}_image_metadata.json", problems)
        ends = read_relation_ends(file, None, vocabulary)
        if ends is not None and not any(one.blocks_reading and one.file == str(file.path) for one in problems):
            found[split] = list(_images(file, sizes_file, split, images, sum(map(len, found.values())) + 1))
    if any(problem.severity == "error" for problem in problems):
        raise WorkbenchError(format_report(problems))
    if validation_images:
        candidates = [image.entry["id"] for image in found["train"] if image.relations]
        if not 0 < validation_images < len(candidates):
            raise WorkbenchError(
                f"{source}: {validation_images} validation images of {len(candidates)} train images with relations; "
                f"expected 1 to {len(candidates) - 1}."
            )
        draw = generator(seed, "VRD validation images")
        chosen = set(draw.choice(candidates, size=validation_images, replace=False).tolist())
        found["val"] = [image for image in found["train"] if image.entry["id"] in chosen]
        found["train"] = [image for image in found["train"] if image.entry["id"] not in chosen]
    vocabulary.write(folder)
    categories = [{"id": place, "name": name} for place, name in enumerate(vocabulary.objects, start=1)]
    for split, entries in found.items():
        coco = {"images": [image.entry for image in entries], "annotations": _detections(entries)}
        write_json(detections_path(folder, split), coco | {"categories": categories})
        by_name = {image.entry["file_name"]: image.relations for image in entries if image.relations is not None}
        write_json(relations_path(folder, split), by_name)
    return problems


def _images(
    file: FileProblems, sizes_file: FileProblems, split: str, folder: Path | None, first_id: int
) -> Iterator[_Image]:
    """The images of a split: those with an entry among its relations, then those with a size alone."""
    sizes: dict[str, _Size] = {}
    if os.path.lexists(sizes_file.path):
        with noting_unreadable(sizes_file, "an object: image file name to width and height"):
            for name, size in opened(sizes_file).members.items():
                with noting_unreadable(sizes_file, "its size: width and height in whole pixels", f"image {name!r}"):
                    sizes[name] = decoded(size, _Size)
                    note_repeated(bytes(size), f"image {name!r}, ", sizes_file)
    elif folder is None:
        remedy = "Without it the sizes of the images come from the image files: give their folder (images=...)."
        sizes_file.blocking("missing file", "whole file", "no file", "the sizes of the images", remedy)
        return
    annotations, size_of_stem = JsonFile(file.path).members, {Path(name).stem: size for name, size in sizes.items()}
    annotated = {Path(name).stem for name in annotations}
    paths = _image_paths(folder, split)
    names = [*annotations, *(name for name in sizes if Path(name).stem not in annotated)]
    for image_id, name in enumerate(names, start=first_id):
        stem = Path(name).stem
        path = paths.get(name, paths.get(stem))
        found = sizes.get(name, size_of_stem.get(stem)) or _size_in_file(file, f"image {name!r}", folder, path)
        entry = {"id": image_id, "file_name": path or name, "width": found.width, "height": found.height}
        try:
            relations = decoded(annotations.get(name, b"[]"), list[Relation])
        except UnusableJson:
            continue  # noted when the relations were read
        ends = [end for r in relations for end in (r.subject, r.object)]
        boxes = dict.fromkeys((end.category, *end.bbox) for end in ends)
        yield _Image(entry, decoded(annotations[name], Any) if name in annotations else None, boxes)


def _image_paths(folder: Path | None, split: str) -> dict[str, str]:
    """Paths below ``folder`` of the image files there, by name and by name without suffix; the name goes first."""
    paths: dict[str, str] = {}
    if folder is None:
        return paths
    for place in (Path(folder) / f"sg_{split}_images", Path(folder)):
        for file in sorted(place.iterdir()) if place.is_dir() else ():
            if file.is_file():
                below = file.relative_to(folder).as_posix()
                paths[file.name] = below
                paths.setdefault(file.stem, below)
    return paths


def _size_in_file(file: FileProblems, record: str, folder: Path | None, path: str | None) -> _Size:
    from workbench.regions.images import FAULTS, image_size

    try:
        if folder is not None and path is not None:
            return _Size(*image_size(inside(folder, path)))
        found, remedy = "none", "Add its size or its file, or take the image out of the annotations."
    except FAULTS as error:
        found, remedy = f"not a readable image ({error})", "Get the image file again."
    file.blocking("unknown size", record, found, "a size in the image metadata, or an image file", remedy)
    return _Size(0, 0)


def _detections(entries: list[_Image]) -> list[dict[str, Any]]:
    """COCO entries of the distinct boxes: [x, y, width, height] of inclusive corners, 1-based category ids."""
    detections: list[dict[str, Any]] = []
    for image in entries:
        for category, *box in image.boxes:
            y1, y2, x1, x2 = (int(side) if side.is_integer() else side for side in box)
            width, height = x2 - x1 + 1, y2 - y1 + 1
            entry = {"id": len(detections) + 1, "image_id": image.entry["id"], "category_id": int(category) + 1}
            detections.append(entry | {"bbox": [x1, y1, width, height], "area": width * height, "iscrowd": 0})
    return detections
