"""Visual Relationship Detection (Lu et al., 2016) in its own files, converted to the annotation layout.

Its ``annotations_<split>.json`` are already what the layout calls ``rel_annotations_<split>.json`` (LTVRR reference,
1.2); image ids, sizes and detections are added. There are two splits, train and test; a val can be drawn from train.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.files import inside, read_json, write_json
from workbench.randomness import generator
from workbench.scenes.annotations import detections_path, relations_path
from workbench.scenes.vocabulary import Vocabulary

OFFICIAL_SPLITS = ("train", "test")


@dataclass(frozen=True)
class _Image:
    name: str
    image_id: int
    width: int
    height: int
    relations: list[dict] | None  # None where the annotations do not name the image


def annotations_path(source: Path, split: str) -> Path:
    """Where VRD keeps a split's relations."""
    return Path(source) / f"annotations_{split}.json"


def sizes_path(source: Path, split: str) -> Path:
    """Where the sizes of a split's images are, in releases that bring them: name to {"width", "height"}."""
    return Path(source) / f"{split}_image_metadata.json"


def convert_vrd(
    folder: Path, *, source: Path, images: Path | None = None, validation_images: int = 0, seed: int = 0
) -> dict[str, Any]:
    """Write an annotation folder from VRD's own files in ``source``; returns counts by split.

    Image ids count train, then test, in the files' order. An image's name is its path below ``images`` where the
    file is there, in ``images`` itself, ``sg_train_images`` or ``sg_test_images``, else its name in the
    annotations. Sizes come from ``<split>_image_metadata.json``, which the original release lacks, else from the
    image files' headers. A name whose suffix differs there (one .gif) is found by the rest of the name. The distinct
    annotated boxes become the detections. Images without relations stay. ``validation_images`` of the train images
    with relations, drawn by ``seed``, leave train and become val. Raises WorkbenchError where a file is missing or
    not in VRD's layout, or a size cannot be found.
    """
    folder, source = Path(folder), Path(source)
    vocabulary = Vocabulary.read(source)
    found, first_id = {}, 1
    for split in OFFICIAL_SPLITS:
        found[split] = _read_split(source, split, images, first_id)
        first_id += len(found[split])
    if validation_images:
        found = _with_validation(found, validation_images, seed, annotations_path(source, "train"))
    vocabulary.write(folder)
    counts: dict[str, Any] = {"objects": len(vocabulary.objects), "relation_classes": len(vocabulary.relations)}
    for split, entries in found.items():
        coco = {"images": _image_entries(entries), "annotations": _detections(entries, annotations_path(source, split))}
        coco["categories"] = [{"id": place, "name": name} for place, name in enumerate(vocabulary.objects, start=1)]
        write_json(detections_path(folder, split), coco)
        by_name = {image.name: image.relations for image in entries if image.relations is not None}
        write_json(relations_path(folder, split), by_name)
        counts[split] = {
            "images": len(entries),
            "images_without_relations": sum(not image.relations for image in entries),
            "relations": sum(map(len, by_name.values())),
            "boxes": len(coco["annotations"]),
        }
    return counts


def _read_split(source: Path, split: str, image_folder: Path | None, first_id: int) -> list[_Image]:
    path = annotations_path(source, split)
    annotations = _object_of(path, list, "image file name to list of relations")
    sizes = {}
    if sizes_path(source, split).is_file():
        sizes = _object_of(sizes_path(source, split), dict, 'image file name to {"width", "height"}')
    elif image_folder is None:
        raise WorkbenchError(
            f"{sizes_path(source, split)}: the file is missing, and without it the sizes of the images come from the "
            "image files. Give their folder (images=...)."
        )
    size_of_stem = {Path(name).stem: size for name, size in sizes.items()}
    annotated = {Path(name).stem for name in annotations}
    names = [*annotations, *(name for name in sizes if Path(name).stem not in annotated)]
    paths = _image_paths(image_folder, split)
    found = []
    for image_id, name in enumerate(names, start=first_id):
        file = paths.get(name, paths.get(Path(name).stem))
        size = _size(sizes.get(name, size_of_stem.get(Path(name).stem)), image_folder, file, f"{path}, image {name!r}")
        found.append(_Image(file or name, image_id, *size, annotations.get(name)))
    return found


def _object_of(path: Path, kind: type, expected: str) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict) or not all(isinstance(entry, kind) for entry in value.values()):
        raise WorkbenchError(f"{path}: not in VRD's layout. Expected an object: {expected}.")
    return value


def _image_paths(folder: Path | None, split: str) -> dict[str, str]:
    """Paths below ``folder`` of the image files there, by name and by name without suffix; the name goes first."""
    paths: dict[str, str] = {}
    if folder is None:
        return paths
    for part in (f"sg_{split}_images", ""):
        place = Path(folder) / part
        for file in sorted(place.iterdir()) if place.is_dir() else ():
            if file.is_file():
                below = file.relative_to(folder).as_posix()
                paths[file.name] = below
                paths.setdefault(file.stem, below)
    return paths


def _size(entry: dict | None, folder: Path | None, file: str | None, record: str) -> tuple[int, int]:
    if entry is not None:
        width, height = entry.get("width"), entry.get("height")
        if type(width) is type(height) is int and width > 0 and height > 0:
            return width, height
        raise WorkbenchError(f"{record}: the size {entry} where width and height in whole pixels belong.")
    if file is None or folder is None:
        raise WorkbenchError(
            f"{record}: its size is unknown: it is neither in the image metadata nor among the image files. "
            "Add one of the two, or take the image out of the annotations."
        )
    from PIL import Image

    path = inside(folder, file)
    try:
        with Image.open(path) as opened:
            return opened.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise WorkbenchError(f"{path}: not a readable image ({error}). Get it again.") from error


def _with_validation(found: dict[str, list[_Image]], number: int, seed: int, path: Path) -> dict[str, list[_Image]]:
    candidates = [image.image_id for image in found["train"] if image.relations]
    if not 0 < number < len(candidates):
        raise WorkbenchError(
            f"{path}: {number} validation images of {len(candidates)} train images with relations; "
            f"expected 1 to {len(candidates) - 1}."
        )
    drawn = generator(seed, "VRD validation images").choice(candidates, size=number, replace=False).tolist()
    chosen = set(drawn)
    train = [image for image in found["train"] if image.image_id not in chosen]
    return {"train": train, "val": [i for i in found["train"] if i.image_id in chosen], "test": found["test"]}


def _image_entries(entries: list[_Image]) -> list[dict[str, Any]]:
    return [{"id": i.image_id, "file_name": i.name, "width": i.width, "height": i.height} for i in entries]


def _detections(entries: list[_Image], path: Path) -> list[dict[str, Any]]:
    """COCO entries of the distinct boxes: [x, y, width, height] of inclusive corners, 1-based category ids."""
    detections: list[dict[str, Any]] = []
    for image in entries:
        try:
            ends = (relation[role] for relation in image.relations or () for role in ("subject", "object"))
            distinct = dict.fromkeys((end["category"], *end["bbox"]) for end in ends)
            for category, y1, y2, x1, x2 in distinct:
                width, height = x2 - x1 + 1, y2 - y1 + 1
                entry = {"id": len(detections) + 1, "image_id": image.image_id, "category_id": category + 1}
                entry |= {"bbox": [x1, y1, width, height], "area": width * height, "iscrowd": 0}
                detections.append(entry)
        except (LookupError, TypeError, ValueError) as error:
            raise WorkbenchError(
                f"{path}, image {image.name!r}: not in VRD's layout ({error!r}). Expected relations with predicate, "
                "subject and object, each with category and bbox [ymin, ymax, xmin, xmax]."
            ) from error
    return detections
