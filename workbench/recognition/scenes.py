"""Scenes: the relations of an image, as RelTransformer's scene encoder reads them.

A scene token is one relation, its three features side by side. A generated relation has no image. Two choices: its own
triplet is the whole scene ("own"), or it joins the scene of the image that the box of its kept entity was drawn from
("image"). Source: reference `ltvrr.md` section 4 ("Scene tokens").
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch

from workbench.errors import WorkbenchError
from workbench.recognition.config import GENERATED_SCENES
from workbench.regions.feature_rows import Regions

MOST_TOKENS = 100

Read = Callable[[np.ndarray], Regions]
Array = Any  # np.ndarray, or a tensor to compute with


class Scenes(NamedTuple):
    """Scenes of a batch of relations, their tokens one after the other without padding; arrays, or tensors to compute.

    ``tokens`` (P, 3 D): the features [subject | union | object] of up to 100 relations of each of S scenes, scene by
    scene; ``lengths`` (S,) int64, how many tokens a scene has, maybe none; ``of_row`` (N,) int64, the scene of each
    relation. One scene of 100 tokens beside many of one would make padding of 12,288 numbers most of a batch: scenes
    are padded behind the first layer only.
    """

    tokens: Array
    lengths: Array
    of_row: Array

    def on(self, device: torch.device) -> "Scenes":
        """The same as tensors on a device, the tokens as float32."""
        tokens, lengths, of_row = (torch.as_tensor(array).to(device) for array in self)
        return Scenes(tokens.float(), lengths, of_row)


class Table(Protocol):
    """Relations by row, as `batches.RelationRows`: called with row numbers it gives their three features."""

    name: str
    relations: pd.DataFrame

    def __call__(self, rows: np.ndarray) -> Regions:
        """Features of subject, union and object, (n, D) each."""
        ...


class SceneIndex:
    """Which rows of a table of relations share an image.

    ``image`` (N,) integer image of each relation. Only the first 100 relations of an image become tokens, in the
    order of the table, as upstream; all of them are classified. Images are numbered by their place among the sorted.
    """

    def __init__(self, image: np.ndarray):
        self._images, self.image_of_row = np.unique(np.asarray(image), return_inverse=True)
        self._order = np.argsort(self.image_of_row, kind="stable")
        self._counts = np.bincount(self.image_of_row, minlength=len(self._images))
        self._starts = np.cumsum(self._counts) - self._counts

    def __len__(self) -> int:
        return len(self._images)

    def positions_of(self, images: np.ndarray) -> np.ndarray:
        """The number (n,) int64 of each image (n,), -1 where it has no relation."""
        place = np.searchsorted(self._images, images).clip(max=len(self) - 1)
        return np.where(self._images[place] == images, place, -1)

    def rows_of_images(self, images: np.ndarray, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Rows (P,) of images (S,), image by image, and how many each has (S,), at most ``most``; -1 has none."""
        counts = np.where(images < 0, 0, self._counts[images])
        counts = counts if most is None else np.minimum(counts, most)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return self._order[np.repeat(self._starts[images], counts) + within], counts

    def scenes_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The scenes that ``rows`` (n,) lie in: rows of tokens (P,), lengths (S,), and the scene of each row (n,)."""
        images, of_row = np.unique(self.image_of_row[np.asarray(rows)], return_inverse=True)
        return *self.rows_of_images(images, MOST_TOKENS), of_row.reshape(-1)


class ImageScenes:
    """Scenes of real relations: up to 100 relations of the same image, in the order of the table."""

    def __init__(self, table: Table):
        self._table, self.index = table, SceneIndex(table.relations["image"].to_numpy())

    def __call__(self, rows: np.ndarray, read: Read | None = None) -> Scenes:
        """The scenes of ``rows`` (n,); ``read`` gives features of `rows_needed`, where they have been read already."""
        tokens, lengths, of_row = self.index.scenes_of(rows)
        return Scenes(_tokens(read or self._table, tokens), lengths, of_row)

    def rows_needed(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the table whose features the scenes of ``rows`` are made of: all tokens of their images."""
        return self.index.scenes_of(rows)[0]


class OwnScenes:
    """Each relation is its own scene of one token."""

    def __init__(self, table: Table):
        self._table = table

    def __call__(self, rows: np.ndarray, read: Read | None = None) -> Scenes:
        """The scenes of ``rows`` (n,)."""
        return Scenes(_tokens(read or self._table, rows), np.ones(len(rows), dtype=np.int64), np.arange(len(rows)))

    def rows_needed(self, rows: np.ndarray) -> np.ndarray:
        """The rows themselves."""
        return rows


class BoxImageScenes(OwnScenes):
    """A generated relation first, then the real relations of the image where the box of its kept entity lies.

    The kept entity is the one that augmentation did not replace (column "replaced"). At most 100 tokens in all. The
    images are wherever their relations lie in the train split, so these are read at random where they are not in
    memory.
    """

    def __init__(self, generated: Table, real: Table, image_of_box: np.ndarray):
        super().__init__(generated)
        self._real, self._index = real, SceneIndex(real.relations["image"].to_numpy())
        relations = generated.relations
        kept = np.where(relations["replaced"] == "subject", relations["object_box"], relations["subject_box"])
        # A box may lie in an image without a relation in train; then the relation is its own scene.
        self._image = self._index.positions_of(image_of_box[kept])

    def __call__(self, rows: np.ndarray, read: Read | None = None) -> Scenes:
        """The scenes of ``rows`` (n,)."""
        own = _tokens(read or self._table, rows)  # (n, 3 D)
        images, scene = np.unique(self._image[rows], return_inverse=True)
        scene = scene.reshape(-1)
        real_rows, counts = self._index.rows_of_images(images, MOST_TOKENS - 1)  # (Q,), (images,)
        real = _tokens(self._real, real_rows)  # each image once, however many relations join it
        lengths = 1 + counts[scene]
        starts = np.cumsum(lengths) - lengths
        tokens = np.empty((lengths.sum(), own.shape[1]), dtype=np.result_type(own, real))
        tokens[starts] = own
        # The token after the start of a scene is its image's first.
        source = np.repeat((np.cumsum(counts) - counts)[scene] - starts - 1, lengths) + np.arange(len(tokens))
        others = np.delete(np.arange(len(tokens)), starts)
        tokens[others] = real[source[others]]
        return Scenes(tokens, lengths, np.arange(len(rows)))


ScenesOfRows = ImageScenes | OwnScenes


def scenes_of(table: Table) -> ScenesOfRows:
    """Scenes by image where the rows have one, else each row by itself."""
    return ImageScenes(table) if "image" in table.relations else OwnScenes(table)


def generated_scenes(choice: str, generated: Table, real: Table, image_of_box: np.ndarray) -> ScenesOfRows:
    """The scenes of generated rows by name, "own" or "image"; ``image_of_box`` (boxes of train,) image numbers."""
    if choice not in GENERATED_SCENES:
        raise WorkbenchError(f"scenes {choice!r} is not known. Choose one of: {', '.join(GENERATED_SCENES)}.")
    if choice == "own":
        return OwnScenes(generated)
    missing = {"replaced", "subject_box", "object_box"} - set(generated.relations)
    if missing:
        raise WorkbenchError(
            f"{generated.name}: no column {', '.join(sorted(missing))}, which scenes='image' needs. Use scenes='own'."
        )
    return BoxImageScenes(generated, real, image_of_box)


def joined(first: Scenes, second: Scenes) -> Scenes:
    """The scenes of two parts of a batch, one after the other."""
    return Scenes(
        np.concatenate([first.tokens, second.tokens]),
        np.concatenate([first.lengths, second.lengths]),
        np.concatenate([first.of_row, second.of_row + len(first.lengths)]),
    )


def _tokens(read: Read, rows: np.ndarray) -> np.ndarray:
    """Tokens (P, 3 D) of rows (P,)."""
    return np.concatenate(read(np.asarray(rows)), axis=1)
