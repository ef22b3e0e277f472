"""One piece of an extraction: successive images whose features fill one file of boxes and one of unions."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import read_json, sha256_of_file, write_json
from workbench.regions.encoder import EncoderConfig
from workbench.regions.picture_files import UnreadablePicture
from workbench.regions.pictures import batches_of_equal_shape, resize_scale, resized_shape
from workbench.regions.region_rows import RegionsByImage
from workbench.regions.shard_files import FILE_NAMES, KINDS, ShardFile, copy_runs, halved

RECORD = "shard-{:05d}.json"
# Keeps conv1_2 of a batch near 1 GB at width 1; smaller widths have room for more.
PIXELS_PER_BATCH = 4_000_000
# A mark waits for the disk, which a GPU's batches would feel.
SECONDS_BETWEEN_MARKS = 5.0


@dataclass
class ShardRecord:
    """How far a shard is, and what is needed to make it again to the same bytes.

    ``shapes`` (height, width) of each image by its file's header, None where that cannot be read; ``unreadable`` the
    left-out images (row number, reason); ``files`` the manifest's lines, once all is done.
    """

    identity: str
    first: int
    stop: int
    shapes: list[list[int] | None]
    unreadable: list[list] = field(default_factory=list)
    batches_done: int = 0
    files: dict[str, dict[str, Any]] | None = None

    @property
    def left_out(self) -> set[int]:
        """Row numbers of the images that cannot be read."""
        return {image for image, _ in self.unreadable}


class ImageShard:
    """The images ``first`` to ``stop`` of a split, resumed where a record of the same ``identity`` says it was.

    ``again`` is the record of a finished shard whose files of ``kinds`` are made once more: the same images are left
    out then, and another that cannot be read is an error.
    """

    def __init__(
        self,
        folder: Path,
        number: int,
        images: range,
        regions: RegionsByImage,
        *,
        dimension: int,
        identity: str,
        kinds: Sequence[str] = KINDS,
        again: ShardRecord | None = None,
    ):
        self.folder, self.number, self.images, self.regions = Path(folder), number, images, regions
        self._dimension, self._identity, self._kinds, self._again = dimension, identity, kinds, again
        self._files: dict[str, ShardFile] = {}
        self._marked = time.monotonic()

    @property
    def record_path(self) -> Path:
        """Where the record lies while the split is unfinished."""
        return self.folder / RECORD.format(self.number)

    def record(self) -> ShardRecord | None:
        """The record on disk, None before the first; WorkbenchError where it belongs to other features."""
        if not self.record_path.exists():
            return None
        record = ShardRecord(**read_json(self.record_path))
        if record.identity != self._identity:
            raise WorkbenchError(
                f"{self.record_path}: holds unfinished features of other annotations, pictures per shard or batch, "
                "precision or encoder. Delete the folder and run the command again."
            )
        return record

    @property
    def finished(self) -> bool:
        """Whether the files are complete."""
        record = self.record()
        return record is not None and record.files is not None

    def begin(
        self, survey: Callable[[range], list], config: EncoderConfig, batch_images: int
    ) -> list[tuple[int, np.ndarray]]:
        """Open the files and return the batches (number, row numbers of images) that are still to be done.

        ``survey`` gives the shapes of images, or why their headers cannot be read; it is not asked again after a kill.
        A batch holds images of one shape after resizing.
        """
        found = self.record()
        self._record = found or self._new_record(survey)
        self._batches = self._planned(config, batch_images)
        if found is not None and not self._files_are_there():
            found, self._record = None, self._new_record(survey)
            self._batches = self._planned(config, batch_images)
        for kind in self._kinds:
            if found is None or self._partial(kind).exists():
                start, stop = self._rows(kind)
                self._files[kind] = ShardFile(self._partial(kind), stop - start, self._dimension, new=found is None)
        if found is None:
            self._write_record()
        return list(enumerate(self._batches))[self._record.batches_done :]

    def keeps(self, image: int, picture: np.ndarray | UnreadablePicture, path: Path) -> bool:
        """Whether an image belongs into the files; one that cannot be read is noted as left out."""
        if self._again is not None:
            if image not in self._again.left_out and isinstance(picture, UnreadablePicture):
                raise WorkbenchError(f"{path}: the picture cannot be read any more ({picture.reason}). Restore it.")
            return image not in self._again.left_out
        if isinstance(picture, UnreadablePicture):
            self._record.unreadable.append([image, picture.reason])
            return False
        return True

    def write(self, image: int, features: np.ndarray, path: Path) -> None:
        """Write the features (n, D) of an image, in the order of ``RegionsByImage.xyxy``."""
        half = halved(features, f"{path}: feature")
        for kind in KINDS:
            start, stop = self.regions.rows(kind, image, image + 1)
            if kind in self._files:
                self._files[kind].write(start - self._rows(kind)[0], half[: stop - start])
            half = half[stop - start :]

    def done(self, number: int, *, mark: bool) -> None:
        """Note that the batches up to ``number`` are written: on the disk every few seconds, with ``mark`` at once."""
        self._record.batches_done = number + 1
        if number + 1 == len(self._batches):
            self.finish()
        elif mark or time.monotonic() - self._marked > SECONDS_BETWEEN_MARKS:
            for file in self._files.values():
                file.sync()
            self._write_record()
            self._marked = time.monotonic()

    def finish(self) -> None:
        """Give the files their names and checksums; images that were left out have no rows in them."""
        self._record.batches_done = len(self._batches)
        for file in self._files.values():
            file.sync()
        self._write_record()
        for kind, file in self._files.items():
            self._place(kind, file)
        self._files.clear()
        files = {kind: self._described(kind) for kind in KINDS}
        self._record.files = files
        self._write_record()

    def _place(self, kind: str, partial: ShardFile) -> None:
        target = self.path(kind)
        runs = self._kept_runs(kind)
        if self._record.unreadable:
            compact = target.with_suffix(".compact")
            copy = ShardFile(compact, sum(stop - start for start, stop in runs), self._dimension, new=True)
            copy_runs(partial, copy, runs)
            copy.sync()
            copy.close()
            compact.replace(target)
            partial.close()
            partial.path.unlink()
        else:
            partial.close()
            partial.path.replace(target)

    def _kept_runs(self, kind: str) -> list[tuple[int, int]]:
        first, left_out = self._rows(kind)[0], self._record.left_out
        rows = [self.regions.rows(kind, image, image + 1) for image in self.images if image not in left_out]
        return [(start - first, stop - first) for start, stop in rows]

    def path(self, kind: str) -> Path:
        """The finished file of a kind."""
        return self.folder / FILE_NAMES[kind].format(self.number)

    def _partial(self, kind: str) -> Path:
        return self.path(kind).with_suffix(".partial")

    def _rows(self, kind: str) -> tuple[int, int]:
        return self.regions.rows(kind, self.images.start, self.images.stop)

    def _described(self, kind: str) -> dict[str, Any]:
        rows = sum(stop - start for start, stop in self._kept_runs(kind))
        return {"file": self.path(kind).name, "rows": rows, "sha256": sha256_of_file(self.path(kind))}

    def _files_are_there(self) -> bool:
        # Once all batches are done, the files get their names one after the other.
        placed = self._record.batches_done == len(self._batches)
        return all(self._partial(kind).exists() or (placed and self.path(kind).exists()) for kind in self._kinds)

    def _new_record(self, survey: Callable[[range], list]) -> ShardRecord:
        if self._again is not None:
            shapes, unreadable = self._again.shapes, self._again.unreadable
        else:
            found = survey(self.images)
            shapes = [None if isinstance(item, UnreadablePicture) else list(item) for item in found]
            unreadable = [
                [image, item.reason]
                for image, item in zip(self.images, found, strict=True)
                if isinstance(item, UnreadablePicture)
            ]
        return ShardRecord(self._identity, self.images.start, self.images.stop, shapes, unreadable)

    def _planned(self, config: EncoderConfig, batch_images: int) -> list[np.ndarray]:
        shapes = {
            image: resized_shape(*shape, resize_scale(*shape, config.short_side, config.longest_side))
            for image, shape in zip(self.images, self._record.shapes, strict=True)
            if shape is not None and len(self.regions.xyxy(image))
        }
        images = np.array(list(shapes), dtype=np.int64)
        pixels = int(PIXELS_PER_BATCH / config.width)
        return [images[members] for members in batches_of_equal_shape(list(shapes.values()), batch_images, pixels)]

    def _write_record(self) -> None:
        write_json(self.record_path, asdict(self._record))
