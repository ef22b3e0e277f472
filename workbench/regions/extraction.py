"""Region features of annotated images: every box and every union once, into a feature store for each split."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.launching import Processes
from workbench.progress import track
from workbench.regions.config import ExtractionConfig
from workbench.regions.encoders import RegionEncoder, checked_features, chosen_encoder
from workbench.regions.feature_writer import FeatureStoreWriter, remove_notes
from workbench.regions.features import MANIFEST, FeatureStore
from workbench.regions.images import UnreadableImage, decoded, decoding_threads
from workbench.scenes.annotations import Annotations, copy_synset_tables, read_annotations, splits_of
from workbench.scenes.vocabulary import SPLITS
from workbench.stopping import Stopped, StopRequest, stop_on_sigterm

# A flush waits for the disk, which a GPU's batches would feel.
SECONDS_BETWEEN_FLUSHES = 5.0


def extract_features(
    folder: Path,
    *,
    scenes: Path,
    detector: Path | None = None,
    image_folder: Path | None = None,
    config: ExtractionConfig | None = None,
) -> dict[str, Any]:
    """Write a features folder: the vocabulary and one feature store per split that ``scenes`` has; train is required.

    ``scenes`` is an annotation folder in the LTVRR layout, ``detector`` a checkpoint (or a folder with
    ``detector.safetensors``) for the encoders that need one. The number of processes that share the work
    (``Processes``) changes no bit, the batch size nothing beyond float16's rounding.

    An image that cannot be read is left out with its relations and named in the summary under ``unreadable_images``.
    One of another size than annotated is used as it is, with the boxes as they are annotated, in its own pixels, and
    named under ``images_of_unexpected_size``. A killed run resumes where it stopped, to the same bytes; SIGTERM ends
    the run after the current batch by ``Stopped``. A full disk is a WorkbenchError, and what was finished stays.
    """
    started, config = time.monotonic(), config or ExtractionConfig()
    folder, processes = Path(folder), Processes.current()
    encoder = chosen_encoder(config, None if detector is None else Path(detector))
    present = [split for split in config.splits if split == SPLITS[0] or split in splits_of(scenes)]
    finished = {split for split in present if (folder / split / MANIFEST).exists()}
    processes.wait()  # so that all have seen the same
    summaries = {}
    with stop_on_sigterm() as stop:
        for split in present:
            annotations = read_annotations(scenes, split, image_folder)
            if split not in finished:
                _extract_split(folder / split, annotations, encoder, config, stop)
            if processes.main:
                remove_notes(folder / split)  # which a kill at the very end has left
                annotations.vocabulary.write(folder)
                copy_synset_tables(folder, (Path(scenes), Path(scenes).parent))  # for evaluation
            store = FeatureStore.open(folder / split, encoder.identity, encoder.dimension)
            summaries[split] = _summary(store, annotations)
    processes.wait()  # a caller may move the folder now
    return {
        "encoder": encoder.identity,
        "dimension": encoder.dimension,
        "unreadable_images": [name for summary in summaries.values() for name in summary["unreadable_images"]],
        "splits": summaries,
        "seconds": time.monotonic() - started,
    }


def _extract_split(
    folder: Path, annotations: Annotations, encoder: RegionEncoder, config: ExtractionConfig, stop: StopRequest
) -> None:
    """Compute a split's features, resuming what a killed run left; each process takes every so many-th batch."""
    work = _SplitExtraction(folder, annotations, encoder)
    processes = work.writer.processes
    batches = _batches(len(annotations.images), config.batch_images)
    own = [batch for batch in batches[processes.rank :: processes.count] if not work.done(batch)]
    threads = config.threads or decoding_threads(chosen_device(config.device))

    def paths_of(batch: range) -> list[Path]:
        return [annotations.image_path(image) for image in batch]

    reading = decoded(own, paths_of, threads)
    for batch, images in track(reading, f"region features, {annotations.split}", len(own)):
        work.encode(batch, paths_of(batch), images)
        if work.seconds_since_flush() > SECONDS_BETWEEN_FLUSHES or stop.asked:
            work.flush()
        _raise_if_stopped(stop, folder)
    work.flush()
    work.writer.wait_for_all(lambda: all(map(work.done, batches)), lambda: _raise_if_stopped(stop, folder))
    work.finish()


class _SplitExtraction:
    """The features of one split on their way into the store ``folder``.

    Beside the rows, a note of the writer says which ``images`` (ranges) they belong to, which of these were
    ``unreadable`` (row number and reason) and which had another size than annotated (``resized``).
    """

    def __init__(self, folder: Path, annotations: Annotations, encoder: RegionEncoder):
        self.annotations, self.encoder = annotations, encoder
        self.writer = FeatureStoreWriter(
            folder,
            images=annotations.images,
            boxes=annotations.boxes,
            relations=annotations.relations,
            dimension=encoder.dimension,
            encoder=encoder.identity,
            support=encoder.support,
        )
        images = np.arange(len(annotations.images) + 1)
        # Both tables are in image order, so an image's rows are one run.
        self._first_box = np.searchsorted(annotations.boxes["image"].to_numpy(), images)
        self._first_union = np.searchsorted(annotations.relations["image"].to_numpy(), images)
        self._boxes, self._unions = annotations.boxes_xyxy(), annotations.unions_xyxy()
        self._sizes = annotations.images[["height", "width"]].to_numpy()
        self._notes_seen, self._done = -1, np.zeros(len(self._sizes), dtype=bool)
        self._new_note()

    def done(self, batch: range) -> bool:
        """Whether the features of a batch of images are on disk, or noted as impossible."""
        notes = self.writer.notes
        if len(notes) != self._notes_seen:
            self._notes_seen = len(notes)
            for start, stop in (part for note in notes for part in note.get("images", [])):
                self._done[start:stop] = True
        return bool(self._done[batch.start : batch.stop].all())

    def encode(self, batch: range, paths: Sequence[Path], images: Sequence[np.ndarray | UnreadableImage]) -> None:
        """Compute and write the features of a batch of images."""
        usable = {}
        for number, path, image in zip(batch, paths, images, strict=True):
            if isinstance(image, UnreadableImage):
                self._note["unreadable"].append([number, image.reason])
            elif reason := self.encoder.refusal(*image.shape[:2]):
                self._note["unreadable"].append([number, reason])
            else:
                usable[number] = (path, image)
                if tuple(image.shape[:2]) != tuple(self._sizes[number]):
                    self._note["resized"].append(number)
        with_boxes = {number: found for number, found in usable.items() if len(self._regions(number))}
        if with_boxes:
            boxes = [self._regions(number) for number in with_boxes]
            features = self.encoder.encode([image for _, image in with_boxes.values()], boxes)
            for (number, (path, _)), own, rows in zip(with_boxes.items(), boxes, features, strict=True):
                self._write(number, checked_features(self.encoder, rows, len(own), path), path)
        self._note["images"].append([batch.start, batch.stop])

    def flush(self) -> None:
        """Bring what was written to the disk and note it."""
        if self._note["images"]:
            self.writer.flush(**self._note)
        self._new_note()

    def seconds_since_flush(self) -> float:
        """How long ago that was."""
        return time.monotonic() - self._flushed

    def finish(self) -> None:
        """Write the manifest; WorkbenchError where no image with relations could be read."""
        notes = self.writer.notes
        unreadable = dict(sorted((number, why) for note in notes for number, why in note.get("unreadable", [])))
        if self.annotations.relations["image"].isin(list(unreadable)).all():
            remove_notes(self.writer.folder)
            raise WorkbenchError(_no_images(self.annotations))
        names = self.annotations.images["file_name"].tolist()
        resized = sorted(number for note in notes for number in note.get("resized", []))
        self.writer.finish(
            left_out=unreadable.keys(),
            unreadable_images=[{"file_name": names[number], "reason": reason} for number, reason in unreadable.items()],
            images_of_unexpected_size=[names[number] for number in resized],
        )

    def _regions(self, image: int) -> np.ndarray:
        """The boxes of an image, then the union boxes of its relations, (n, 4) float32."""
        boxes = self._boxes[self._first_box[image] : self._first_box[image + 1]]
        return np.concatenate([boxes, self._unions[self._first_union[image] : self._first_union[image + 1]]])

    def _write(self, image: int, features: np.ndarray, path: Path) -> None:
        boxes = self._first_box[image + 1] - self._first_box[image]
        try:
            self.writer.write("box_features", int(self._first_box[image]), features[:boxes])
            self.writer.write("union_features", int(self._first_union[image]), features[boxes:])
        except WorkbenchError as error:
            raise WorkbenchError(f"{path}: {error}") from error

    def _new_note(self) -> None:
        self._note: dict[str, list] = {"images": [], "unreadable": [], "resized": []}
        self._flushed = time.monotonic()


def _batches(images: int, batch_images: int) -> list[range]:
    return [range(start, min(start + batch_images, images)) for start in range(0, images, batch_images)]


def _raise_if_stopped(stop: StopRequest, folder: Path) -> None:
    if stop.asked:
        raise Stopped(f"{folder}: stopped. What was finished is kept; the same command resumes it.")


def _no_images(annotations: Annotations) -> str:
    return (
        f"{annotations.image_folder}: no image with relations of split {annotations.split!r} "
        f"({len(annotations.images)} images) can be read. Give the folder that holds the images."
    )


def _summary(store: FeatureStore, annotations: Annotations) -> dict[str, Any]:
    """Counts of a finished store, and its images that are left out or of another size than annotated."""
    return {
        "images": len(store.images),
        "boxes": len(store.boxes),
        "relations": len(store.relations),
        "relations_left_out": len(annotations.relations) - len(store.relations),
        "unreadable_images": store.facts.get("unreadable_images", []),
        "images_of_unexpected_size": store.facts.get("images_of_unexpected_size", []),
    }
