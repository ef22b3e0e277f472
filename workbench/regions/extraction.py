"""Region features of annotated pictures: every box and every union once, into a feature bank per split."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.files import read_json, write_json
from workbench.progress import track
from workbench.regions.bank import FeatureBank, FeatureBankWriter
from workbench.regions.detector_checkpoint import open_detector
from workbench.regions.encoder import RegionEncoder
from workbench.regions.pictures import (
    PictureReader,
    UnreadablePicture,
    batches_of_equal_shape,
    prepare,
    resize_scale,
    scaled_boxes,
)
from workbench.regions.region_rows import RegionsByImage, without_images
from workbench.scenes.annotations import SPLITS, Annotations, read_annotations

# Batches are formed within a window of successive images, so that a bank is filled in order and can be resumed.
IMAGES_PER_WINDOW = 512
# Keeps conv1_2 of a batch near 1 GB at width 1; smaller widths have room for more.
PIXELS_PER_BATCH = 4_000_000
READABLE_FILE = "readable_{split}.json"


def extract_features(
    folder: Path,
    *,
    scenes: Path,
    detector: Path,
    splits: tuple[str, ...] = SPLITS,
    image_folder: Path | None = None,
    imagenet: bool = False,
    short_side: int | None = None,
    longest_side: int | None = None,
    batch_images: int = 32,
    device: str = "auto",
) -> dict:
    """Write a features folder: the vocabulary and one feature bank per split.

    ``scenes`` is an annotation folder in the LTVRR layout, ``detector`` a checkpoint (or a folder with
    ``detector.safetensors``). Features are fc7 before its ReLU, float16, computed in float32 on a CPU and in
    bfloat16 on a GPU. A killed run continues where it stopped, to the same bytes; the batch size changes
    nothing beyond float16's rounding. Pictures that cannot be read are left out with their relations and named
    in the returned summary under ``unreadable_images``.
    """
    started = time.monotonic()
    preparation = {"short_side": short_side, "longest_side": longest_side}
    encoder, coverage = open_detector(
        detector, imagenet=imagenet, **{name: value for name, value in preparation.items() if value is not None}
    )
    identity = encoder.identity
    encoder = encoder.to(chosen_device(device), memory_format=torch.channels_last)
    summaries = {}
    for split in splits:
        annotations = read_annotations(scenes, split, image_folder)
        annotations.vocabulary.write(folder)
        summaries[split] = _extract_split(Path(folder), annotations, encoder, identity, batch_images)
    return {
        "encoder": identity,
        "dimension": encoder.dimension,
        "ignored_checkpoint_keys": list(coverage.ignored),
        "unreadable_images": [name for summary in summaries.values() for name in summary["unreadable_images"]],
        "splits": summaries,
        "seconds": time.monotonic() - started,
    }


def region_features(encoder: RegionEncoder, pictures: np.ndarray, boxes: list[np.ndarray]) -> list[np.ndarray]:
    """Features (n_i, D) float32 of the boxes of each picture.

    ``pictures`` (B, H, W, 3) uint8 blue-green-red; ``boxes`` B arrays (n_i, 4) xyxy in pixels of the original.
    Equal boxes of a picture are computed once.
    """
    device = next(encoder.parameters()).device
    distinct, places = zip(*(_distinct(xyxy) for xyxy in boxes), strict=True)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        images, scale = prepare(torch.from_numpy(pictures).to(device), encoder.config)
        features = encoder(images, [scaled_boxes(xyxy, scale).to(device) for xyxy in distinct])
    counts = [len(xyxy) for xyxy in distinct]
    per_picture = np.split(features.float().cpu().numpy(), np.cumsum(counts)[:-1])
    return [rows[place] for rows, place in zip(per_picture, places, strict=True)]


def _extract_split(
    folder: Path, annotations: Annotations, encoder: RegionEncoder, identity: str, batch_images: int
) -> dict:
    reader, shapes, unreadable = _read_all(folder, annotations)
    kept = without_images(annotations, set(unreadable))
    if not len(kept.relations):
        raise WorkbenchError(
            f"{annotations.image_folder}: no picture with relations of split {annotations.split!r} "
            f"({len(annotations.images)} pictures) can be read. Give the folder that holds the pictures."
        )
    bank_folder = folder / annotations.split
    if (bank_folder / "bank.json").exists():
        FeatureBank.open(bank_folder, expect_dimension=encoder.dimension, expect_encoder=identity)
    else:
        readable = np.setdiff1d(np.arange(len(annotations.images)), list(unreadable))
        _fill_bank(bank_folder, kept, readable, shapes, reader, encoder, identity, batch_images)
    sizes = annotations.images[["height", "width"]].to_numpy().tolist()
    return {
        "images": len(kept.images),
        "boxes": len(kept.boxes),
        "relations": len(kept.relations),
        "relations_left_out": len(annotations.relations) - len(kept.relations),
        "unreadable_images": [{"file_name": f.file_name, "reason": f.reason} for f in unreadable.values()],
        "images_of_unexpected_size": [
            annotations.images["file_name"].iloc[index]
            for index, shape in shapes.items()
            if list(shape) != [int(side) for side in sizes[index]]
        ],
    }


def _read_all(
    folder: Path, annotations: Annotations
) -> tuple[PictureReader, dict[int, tuple[int, int]], dict[int, UnreadablePicture]]:
    """Which pictures can be read, and their shapes; remembered, so that a resumed run does not ask again."""
    paths = [annotations.image_path(index) for index in range(len(annotations.images))]
    reader = PictureReader(paths)
    remembered = folder / READABLE_FILE.format(split=annotations.split)
    if remembered.exists():
        found = [UnreadablePicture(**item) if isinstance(item, dict) else tuple(item) for item in read_json(remembered)]
    else:
        found = reader.survey(f"reading {annotations.split} pictures")
        write_json(remembered, [vars(item) if isinstance(item, UnreadablePicture) else item for item in found])
    shapes = {index: item for index, item in enumerate(found) if not isinstance(item, UnreadablePicture)}
    return reader, shapes, {index: item for index, item in enumerate(found) if isinstance(item, UnreadablePicture)}


def _fill_bank(
    bank_folder: Path,
    kept: Annotations,
    readable: np.ndarray,
    shapes: dict[int, tuple[int, int]],
    reader: PictureReader,
    encoder: RegionEncoder,
    identity: str,
    batch_images: int,
) -> None:
    """``kept`` has only readable images; ``readable[i]`` is the reader's number of its image i."""
    writer = FeatureBankWriter(
        bank_folder,
        images=kept.images,
        boxes=kept.boxes,
        relations=kept.relations,
        dimension=encoder.dimension,
        encoder=identity,
        support="signed",
        entity_region="box",
    )
    regions = RegionsByImage(kept)
    windows = [
        np.arange(start, min(start + IMAGES_PER_WINDOW, len(readable)))
        for start in range(0, len(readable), IMAGES_PER_WINDOW)
    ]
    unfinished = [window for window in windows if not regions.are_written(writer, window)]
    batches, window_ends = [], set()
    for window in unfinished:
        batches += _batches(window, readable, shapes, regions, encoder, batch_images)
        window_ends.add(len(batches))
    pictures = reader.batches([readable[batch] for batch in batches])
    steps = zip(batches, pictures, strict=True)
    for done, (batch, pixels) in enumerate(track(steps, f"region features, {kept.split}", len(batches)), start=1):
        regions.write(writer, batch, region_features(encoder, pixels, [regions.xyxy(image) for image in batch]))
        if done in window_ends:
            writer.flush()
    writer.finish()


def _batches(
    window: np.ndarray,
    readable: np.ndarray,
    shapes: dict[int, tuple[int, int]],
    regions: RegionsByImage,
    encoder: RegionEncoder,
    batch_images: int,
) -> Iterator[np.ndarray]:
    config = encoder.config
    with_boxes = np.array([image for image in window if len(regions.xyxy(image))], dtype=np.int64)
    by_shape = batches_of_equal_shape([shapes[int(readable[image])] for image in with_boxes], batch_images)
    for members in by_shape:
        height, width = shapes[int(readable[with_boxes[members[0]]])]
        scale = resize_scale(height, width, config.short_side, config.longest_side)
        most = max(1, int(PIXELS_PER_BATCH / config.width / (height * width * scale**2)))
        for start in range(0, len(members), most):
            yield with_boxes[members[start : start + most]]


def _distinct(xyxy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distinct, place = np.unique(xyxy, axis=0, return_inverse=True)
    return distinct, place.reshape(-1)
