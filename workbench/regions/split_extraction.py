"""The pictures of one split on their way into a feature store, shard by shard, by one process or several."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import file_inside, read_json, write_json
from workbench.processes import Processes
from workbench.progress import track
from workbench.regions.feature_store import FeatureStore
from workbench.regions.feature_store_manifest import (
    MANIFEST,
    described_store,
    identity_of,
    write_manifest,
    write_tables,
)
from workbench.regions.image_shard import ImageShard, ShardRecord
from workbench.regions.picture_files import UnreadablePicture
from workbench.regions.picture_loading import Picture, decoded, picture_shapes
from workbench.regions.region_features import RegionNetwork, region_features, usable
from workbench.regions.region_rows import RegionsByImage, without_images
from workbench.regions.shard_files import KINDS
from workbench.scenes.annotations import Annotations
from workbench.scenes.relations import TABLES
from workbench.stopping import Stopped, StopRequest

# What was found about each picture; it makes a damaged shard again to the same bytes.
EXTRACTION = "extraction.json"
SECONDS_BETWEEN_LOOKS = 0.5
PICTURES_LOOKED_FOR = 64


@dataclass(frozen=True)
class ExtractionSettings:
    """What the bytes of the features depend on besides pictures, annotations and encoder."""

    batch_images: int
    images_per_shard: int
    precision: str


@dataclass(frozen=True)
class Step:
    """One batch of pictures: batch ``number`` of a shard, row numbers of images."""

    shard: ImageShard
    number: int
    images: np.ndarray


class SplitExtraction:
    """Computes the features of ``annotations``' boxes and unions into the store ``folder``."""

    def __init__(
        self,
        folder: Path,
        annotations: Annotations,
        network: RegionNetwork,
        settings: ExtractionSettings,
        *,
        stop: StopRequest,
        processes: Processes,
        workers: int,
    ):
        self.folder, self.annotations, self.settings = Path(folder), annotations, settings
        self._network, self._encoder = network, network.encoder
        self._stop, self._processes, self._workers = stop, processes, workers
        self._regions = RegionsByImage(annotations)
        self._images = len(annotations.images)
        self.identity = identity_of(
            asdict(settings) | {"encoder": network.identity}, {name: getattr(annotations, name) for name in TABLES}
        )

    def shard(self, number: int, kinds: Sequence[str] = KINDS, again: ShardRecord | None = None) -> ImageShard:
        """A piece of the split by its number, see ``ImageShard``."""
        start = number * self.settings.images_per_shard
        return ImageShard(
            self.folder,
            number,
            range(start, min(start + self.settings.images_per_shard, self._images)),
            self._regions,
            dimension=self._encoder.dimension,
            identity=self.identity,
            kinds=kinds,
            again=again,
        )

    def make_store(self) -> None:
        """Compute all shards, continuing what a killed run left; the first of the processes writes the manifest last.

        Returns in each process when the store is whole. Raises Stopped after a batch when SIGTERM has come, and a
        WorkbenchError where no picture with relations can be read.
        """
        self._require_pictures()
        self.folder.mkdir(parents=True, exist_ok=True)
        count = -(-self._images // self.settings.images_per_shard)
        self.compute([self.shard(number) for number in range(count)])
        self._processes.wait()  # until all have seen the records, which are removed now
        if self._processes.main:
            self._finish([self.shard(number) for number in range(count)])
        self._processes.wait()

    def compute(self, shards: list[ImageShard]) -> None:
        """Compute this process's part of some shards, and wait until all are complete."""
        own = [shard for shard in shards[self._processes.rank :: self._processes.count] if not shard.finished]
        images = sum(len(shard.images) for shard in own)
        for _ in track(self._images_done(own), f"region features, {self.annotations.split}", images):
            pass
        # Seen on the disk, since others may need longer than a collective operation may take.
        while shards := [shard for shard in shards if not shard.finished]:
            self._raise_if_stopped()
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _images_done(self, shards: list[ImageShard]) -> Iterator[int]:
        pinned = next(self._encoder.parameters()).is_cuda
        for step, pictures in decoded(self._steps(shards), self._paths, workers=self._workers, pinned=pinned):
            self._write(step, pictures)
            step.shard.done(step.number, mark=self._stop.asked)
            self._raise_if_stopped()
            yield from step.images.tolist()

    def _steps(self, shards: list[ImageShard]) -> Iterator[Step]:
        for shard in shards:
            batches = shard.begin(self._survey, self._encoder.config, self.settings.batch_images)
            for number, images in batches:
                yield Step(shard, number, images)
            if not batches:
                shard.finish()

    def _write(self, step: Step, pictures: list[Picture]) -> None:
        paths = dict(zip(step.images.tolist(), self._paths(step), strict=True))
        kept = {}
        for (image, path), picture in zip(paths.items(), pictures, strict=True):
            picture = usable(self._encoder, picture, path.name)
            if step.shard.keeps(image, picture, path):
                kept[image] = picture
        if not kept:
            return
        boxes = [self._regions.xyxy(image) for image in kept]
        features = region_features(self._encoder, list(kept.values()), boxes, self.settings.precision)
        for image, rows in zip(kept, features, strict=True):
            step.shard.write(image, rows, paths[image])

    def _paths(self, step: Step) -> list[Path]:
        return [self.annotations.image_path(image) for image in step.images]

    def _survey(self, images: range) -> list[tuple[int, int] | UnreadablePicture]:
        return picture_shapes([self.annotations.image_path(image) for image in images])

    def _raise_if_stopped(self) -> None:
        if self._stop.asked:
            raise Stopped(f"{self.folder}: stopped. What was finished is kept; the same command goes on with it.")

    def _require_pictures(self) -> None:
        """A wrong folder is found out before the disk is filled with files for features."""
        sample = np.unique(np.linspace(0, self._images - 1, PICTURES_LOOKED_FOR).astype(int))
        names = self.annotations.images["file_name"].iloc[sample]
        if not any(file_inside(self.annotations.image_folder, name) for name in names):
            raise WorkbenchError(self._no_pictures())

    def _finish(self, shards: list[ImageShard]) -> None:
        records = [shard.record() for shard in shards]
        left_out = set().union(*(record.left_out for record in records))
        kept = without_images(self.annotations, left_out)
        if not len(kept.relations):
            for shard in shards:
                shard.record_path.unlink()
            raise WorkbenchError(self._no_pictures())
        tables = {name: getattr(kept, name) for name in TABLES}
        write_json(self.folder / EXTRACTION, [asdict(record) for record in records])
        write_tables(self.folder, tables)
        encoder = {"dimension": self._encoder.dimension, "encoder": self._network.identity}
        manifest = described_store(tables, **encoder, support="signed", entity_region="box")
        manifest["shards"] = {kind: [record.files[kind] for record in records] for kind in KINDS}
        manifest["extraction"] = {**asdict(self.settings), "identity": self.identity}
        write_manifest(self.folder, manifest)
        remove_records(self.folder)

    def _no_pictures(self) -> str:
        return (
            f"{self.annotations.image_folder}: no picture with relations of split {self.annotations.split!r} "
            f"({self._images} pictures) can be read. Give the folder that holds the pictures."
        )


def remove_records(folder: Path) -> None:
    """Remove the shards' records of a finished store, also those that a kill amid their removal has left."""
    for path in Path(folder).glob("shard-*.json"):
        path.unlink()


def extraction_records(folder: Path) -> list[ShardRecord]:
    """What was found about the pictures of a finished store, shard by shard; empty for a store made otherwise."""
    path = Path(folder) / EXTRACTION
    return [ShardRecord(**record) for record in read_json(path)] if path.exists() else []


def split_summary(store: FeatureStore, annotations: Annotations) -> dict[str, Any]:
    """Counts of a finished store, and its pictures that are left out or of another size than annotated."""
    names = annotations.images["file_name"].tolist()
    sizes = annotations.images[["height", "width"]].to_numpy().tolist()
    records = extraction_records(store.folder)
    unreadable = sorted((image, reason) for record in records for image, reason in record.unreadable)
    shapes = [shape for record in records for shape in record.shapes]
    return {
        "images": len(store.images),
        "boxes": len(store.boxes),
        "relations": len(store.relations),
        "relations_left_out": len(annotations.relations) - len(store.relations),
        "unreadable_images": [{"file_name": names[image], "reason": reason} for image, reason in unreadable],
        "images_of_unexpected_size": [
            name for name, shape, size in zip(names, shapes, sizes, strict=False) if shape is not None and shape != size
        ],
    }


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a whole store."""
    return (Path(folder) / MANIFEST).exists()
