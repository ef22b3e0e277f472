"""Region features of annotated images: every box and every union once, into a feature store for each split."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from annotated_scenes.annotations import Annotations, copy_synset_tables, read_annotations, splits_of
from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.launching import Processes
from workbench.progress import track
from workbench.regions.config import ExtractionConfig
from workbench.regions.encoders import RegionEncoder, chosen_encoder
from workbench.regions.feature_writer import FeatureStoreWriter, remove_notes
from workbench.regions.features import MANIFEST, FeatureStore
from workbench.regions.images import UnreadableImage, decoded
from workbench.scenes.vocabulary import SPLITS
from workbench.stopping import StopRequest, stop_on_sigterm

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
    summaries: dict[str, dict[str, Any]] = {}
    with stop_on_sigterm() as stop:
        for split in present:
            annotations = read_annotations(scenes, split, image_folder)
            if split not in finished:
                _extract_split(folder / split, annotations, encoder, config, stop)
            if processes.main:
                remove_notes(folder / split)  # which a kill at the very end has left
                annotations.vocabulary.write(folder)
                copy_synset_tables(folder, (Path(scenes), Path(scenes).parent))  # for evaluation
            store = FeatureStore(folder / split, encoder.identity, encoder.dimension)
            summaries[split] = {
                "images": len(store.images), "boxes": len(store.boxes), "relations": len(store.relations),
                "relations_left_out": len(annotations.relations) - len(store.relations),
                "unreadable_images": store.facts["unreadable_images"],
                "images_of_unexpected_size": store.facts["images_of_unexpected_size"],
            }  # fmt: skip
    processes.wait()  # a caller may move the folder now
    return {
        "encoder": encoder.identity, "dimension": encoder.dimension, "splits": summaries,
        "unreadable_images": [name for summary in summaries.values() for name in summary["unreadable_images"]],
        "seconds": time.monotonic() - started,
    }  # fmt: skip


def _extract_split(
    folder: Path, annotations: Annotations, encoder: RegionEncoder, config: ExtractionConfig, stop: StopRequest
) -> None:
    """Compute a split's features, resuming what a killed run left; each process takes every so many-th batch."""
    work = _SplitExtraction(folder, annotations, encoder)
    writer, done, size = work.writer, work.images_done(), config.batch_images
    batches = [np.arange(start, min(start + size, len(done))) for start in range(0, len(done), size)]
    own = [batch for batch in batches[writer.processes.rank :: writer.processes.count] if not done[batch].all()]
    # A GPU asks for more images than two threads give; a CPU has the network to run as well.
    threads = config.threads or (2 if chosen_device(config.device).type == "cpu" else 8)
    reading = decoded(([annotations.image_path(image) for image in batch.tolist()] for batch in own), threads)
    for batch, images in track(zip(own, reading, strict=True), f"region features, {annotations.split}", len(own)):
        work.encode(batch, images)
        if stop.asked or time.monotonic() - work.flushed > SECONDS_BETWEEN_FLUSHES:
            work.flush()
        writer.raise_if_asked(stop)
    work.flush()
    writer.wait_for_all(lambda: bool(work.images_done().all()), stop)
    work.finish()


class _SplitExtraction:
    """The features of one split on their way into the store ``folder``.

    Beside the rows, a note of the writer says which ``images`` (ranges) they belong to, which of these were
    ``unreadable`` (row number and reason) and which had another size than annotated (``resized``).
    """

    def __init__(self, folder: Path, annotations: Annotations, encoder: RegionEncoder):
        self.annotations, self.encoder = annotations, encoder
        made: Any = {"dimension": encoder.dimension, "encoder": encoder.identity, "support": encoder.support}
        self.writer = FeatureStoreWriter(folder, tables=annotations.tables, **made)
        images = np.arange(len(annotations.images) + 1)
        # Both tables are in image order, so an image's rows are one run.
        self._first_box = np.searchsorted(annotations.boxes["image"].to_numpy(), images)
        self._first_union = np.searchsorted(annotations.relations["image"].to_numpy(), images)
        self._boxes, self._unions = annotations.boxes_xyxy(), annotations.unions_xyxy()
        self._sizes = annotations.images[["height", "width"]].to_numpy()
        self._new_note()

    def images_done(self) -> np.ndarray:
        """Whether the features of each image are on disk, or noted as impossible, (images,) bool."""
        done = np.zeros(len(self._sizes), dtype=bool)
        for start, stop in (part for note in self.writer.notes for part in note.get("images", [])):
            done[start:stop] = True
        return done

    def encode(self, batch: np.ndarray, images: list[np.ndarray | UnreadableImage]) -> None:
        """Compute and write the features of a batch of images."""
        usable: dict[int, np.ndarray] = {}
        for number, image in zip(batch.tolist(), images, strict=True):
            if isinstance(image, UnreadableImage):
                self._note["unreadable"].append([number, image.reason])
            elif reason := self.encoder.refusal(*image.shape[:2]):
                self._note["unreadable"].append([number, reason])
            else:
                usable[number] = image
                if image.shape[:2] != tuple(self._sizes[number]):
                    self._note["resized"].append(number)
        boxes = {number: own for number in usable if len(own := self._regions(number))}
        features = self.encoder.encode([usable[number] for number in boxes], list(boxes.values())) if boxes else []
        for number, rows in zip(boxes, features, strict=True):
            self._write(number, rows, (len(boxes[number]), self.encoder.dimension))
        self._note["images"].append([int(batch[0]), int(batch[-1]) + 1])

    def flush(self) -> None:
        """Bring what was written to the disk and note it."""
        if self._note["images"]:
            self.writer.flush(**self._note)
        self._new_note()

    def finish(self) -> None:
        """Write the manifest; WorkbenchError where no image with relations could be read."""
        annotations, notes = self.annotations, self.writer.notes
        unreadable = dict(sorted((number, why) for note in notes for number, why in note.get("unreadable", [])))
        if annotations.relations["image"].isin(list(unreadable)).all():
            remove_notes(self.writer.folder)
            raise WorkbenchError(
                f"{annotations.image_folder}: no image with relations of split {annotations.split!r} "
                f"({len(annotations.images)} images) can be read. Give the folder that holds the images."
            )
        names = annotations.images["file_name"].tolist()
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

    def _write(self, image: int, features: np.ndarray, shape: tuple[int, int]) -> None:
        boxes = self._first_box[image + 1] - self._first_box[image]
        try:
            if np.shape(features) != shape:
                found = f"returned features of shape {np.shape(features)}, expected {shape}"
                raise WorkbenchError(f"the encoder {self.encoder.name!r} {found}.")
            self.writer.write("box_features", self._first_box[image], features[:boxes])
            self.writer.write("union_features", self._first_union[image], features[boxes:])
        except WorkbenchError as error:
            raise WorkbenchError(f"{self.annotations.image_path(image)}: {error}") from error

    def _new_note(self) -> None:
        self._note: dict[str, list] = {"images": [], "unreadable": [], "resized": []}
        self.flushed = time.monotonic()
