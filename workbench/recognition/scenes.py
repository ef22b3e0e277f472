"""Scenes: the relations of an image, as RelTransformer's scene encoder reads them.

A scene token is one relation, its three features side by side. A generated relation has no image. Two choices: its own
triplet is the whole scene ("own"), or it joins the scene of the image that the box of its kept entity was drawn from
("image"). Source: reference `ltvrr.md` section 4 ("Scene tokens").
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch

from workbench.errors import WorkbenchError
from workbench.recognition.config import GENERATED_SCENES
from workbench.regions.feature_rows import Regions

MOST_TOKENS = 100

ReadRows = Callable[[np.ndarray], Regions]


class Scenes(NamedTuple):
    """Scenes of a batch of relations, their tokens one after the other without padding.

    ``tokens`` (P, 3 D): the features [subject | union | object] of up to 100 relations of each of S scenes, scene by
    scene; ``lengths`` (S,) int64, how many tokens a scene has, maybe none; ``of_row`` (N,) int64, the scene of each
    relation. One scene of 100 tokens beside many of one would make padding of 12,288 numbers most of a batch: scenes
    are padded behind the first layer only.
    """

    tokens: torch.Tensor
    lengths: torch.Tensor
    of_row: torch.Tensor


class SceneRows(NamedTuple):
    """The same as row numbers: ``rows`` (S, T) int64 with -1 where there is none, ``of_row`` (N,) int64."""

    rows: np.ndarray
    of_row: np.ndarray


class SceneIndex:
    """Which rows of a table of relations share an image.

    ``image`` (N,) integer image of each relation. Only the first 100 relations of an image become tokens, in the
    order of the table, as upstream; all of them are classified.
    """

    def __init__(self, image: np.ndarray):
        images, self._image_of_row = np.unique(np.asarray(image), return_inverse=True)
        self._images = images
        self._order = np.argsort(self._image_of_row, kind="stable")
        counts = np.bincount(self._image_of_row, minlength=len(images))
        self._starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self._lengths = np.minimum(counts, MOST_TOKENS)

    def __len__(self) -> int:
        return len(self._lengths)

    def positions_of(self, images: np.ndarray) -> np.ndarray:
        """The position (n,) int64 of each image (n,) among the sorted images, -1 where it has no relation."""
        place = np.searchsorted(self._images, images).clip(max=len(self) - 1)
        return np.where(self._images[place] == images, place, -1)

    def rows_of_images(self, images: np.ndarray) -> list[np.ndarray]:
        """All rows of each image (a position among the sorted images), however many."""
        ends = np.append(self._starts, len(self._order))
        return [self._order[ends[image] : ends[image + 1]] for image in images]

    def scenes_of(self, rows: np.ndarray) -> SceneRows:
        """The scenes that ``rows`` (n,) lie in, each once."""
        images, of_row = np.unique(self._image_of_row[np.asarray(rows)], return_inverse=True)
        return SceneRows(self.token_rows(images), of_row.reshape(-1))

    def token_rows(self, images: np.ndarray) -> np.ndarray:
        """Rows (S, T) of the scene tokens of images, -1 where an image has fewer than the longest.

        ``images`` (S,) are positions among the sorted images; -1 is an image without relations.
        """
        lengths = np.where(images < 0, 0, self._lengths[images])
        places = np.arange(lengths.max(initial=1))[None, :]
        there = places < lengths[:, None]
        found = self._order[np.where(there, self._starts[images][:, None] + places, 0)]
        return np.where(there, found, -1)


class SceneFeatures(NamedTuple):
    """`Scenes` in NumPy: tokens (P, 3 D) float32 or float16, lengths (S,) int64, of_row (N,) int64."""

    tokens: np.ndarray
    lengths: np.ndarray
    of_row: np.ndarray

    def on(self, device: torch.device) -> Scenes:
        """The same as tensors on a device, the tokens as float32."""
        tokens, lengths, of_row = (torch.from_numpy(array).to(device) for array in self)
        return Scenes(tokens.float(), lengths, of_row)


class Table(Protocol):
    """Relations by row, as `batches.RelationRows`: called with row numbers it gives their three features."""

    name: str
    relations: pd.DataFrame

    def __call__(self, rows: np.ndarray) -> Regions:
        """Features of subject, union and object, (n, D) each."""
        ...


class ScenesOfRows(Protocol):
    """The scenes that a head is shown of some rows."""

    def __call__(self, rows: np.ndarray, features: ReadRows | None = None) -> SceneFeatures:
        """The scenes of ``rows`` (n,); ``features`` gives those of `rows_needed`, where they have been read already."""
        ...

    def rows_needed(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the same table whose features the scenes of ``rows`` are made of, maybe with repeats."""
        ...


class ImageScenes:
    """Scenes of real relations: up to 100 relations of the same image, in the order of the table."""

    def __init__(self, features: Table):
        self._features = features
        self.index = SceneIndex(features.relations["image"].to_numpy())

    def __call__(self, rows: np.ndarray, features: ReadRows | None = None) -> SceneFeatures:
        """The scenes of ``rows`` (n,)."""
        found = self.index.scenes_of(rows)
        return SceneFeatures(*_tokens(features or self._features, found.rows), found.of_row)

    def rows_needed(self, rows: np.ndarray) -> np.ndarray:
        """All tokens of the images of ``rows``."""
        found = self.index.scenes_of(rows).rows
        return found[found >= 0]


class OwnScenes:
    """Each relation is its own scene of one token."""

    def __init__(self, features: Table):
        self._features = features

    def __call__(self, rows: np.ndarray, features: ReadRows | None = None) -> SceneFeatures:
        """The scenes of ``rows`` (n,)."""
        return SceneFeatures(*_tokens(features or self._features, np.asarray(rows)[:, None]), np.arange(len(rows)))

    def rows_needed(self, rows: np.ndarray) -> np.ndarray:
        """The rows themselves."""
        return rows


class SeedImageScenes:
    """A generated relation first, then the real relations of the image where the box of its kept entity lies.

    The kept entity is the one that augmentation did not replace (column "replaced"). At most 100 tokens in all. The
    images are wherever their relations lie in the train split, so these are read at random where they are not in
    memory.
    """

    def __init__(self, generated: Table, real: Table, image_of_box: np.ndarray):
        self._generated, self._real = generated, real
        self._index, relations = SceneIndex(real.relations["image"].to_numpy()), generated.relations
        kept = np.where(relations["replaced"] == "subject", relations["object_box"], relations["subject_box"])
        # A box may lie in an image without a relation in train; then the relation is its own scene.
        self._image = self._index.positions_of(image_of_box[kept])

    def __call__(self, rows: np.ndarray, features: ReadRows | None = None) -> SceneFeatures:
        """The scenes of ``rows`` (n,)."""
        rows = np.asarray(rows)
        own, _ = _tokens(features or self._generated, rows[:, None])  # (n, 3 D)
        images, scene = np.unique(self._image[rows], return_inverse=True)
        scene = scene.reshape(-1)
        real, counts = _tokens(self._real, self._index.token_rows(images)[:, : MOST_TOKENS - 1])  # (Q, 3 D), (images,)
        lengths = 1 + counts[scene]
        starts = np.cumsum(lengths) - lengths
        tokens = np.empty((lengths.sum(), own.shape[1]), dtype=np.result_type(own, real))
        tokens[starts] = own
        # The token after the start of a scene is its image's first.
        source = np.repeat((np.cumsum(counts) - counts)[scene] - starts - 1, lengths) + np.arange(len(tokens))
        others = np.delete(np.arange(len(tokens)), starts)
        tokens[others] = real[source[others]]
        return SceneFeatures(tokens, lengths, np.arange(len(rows)))

    def rows_needed(self, rows: np.ndarray) -> np.ndarray:
        """The generated rows themselves."""
        return rows


def scenes_of(features: Table) -> ImageScenes | OwnScenes:
    """Scenes by image where the rows have one, else each row by itself."""
    return ImageScenes(features) if "image" in features.relations else OwnScenes(features)


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
    return SeedImageScenes(generated, real, image_of_box)


def images_of_boxes(entity_region: str, boxes: pd.DataFrame, relations: pd.DataFrame) -> np.ndarray:
    """The image of each box row; where unions stand in for boxes, a box row is a row of relations."""
    return (boxes if entity_region == "box" else relations)["image"].to_numpy()


def joined(first: SceneFeatures, second: SceneFeatures) -> SceneFeatures:
    """The scenes of two parts of a batch, one after the other."""
    return SceneFeatures(
        np.concatenate([first.tokens, second.tokens]),
        np.concatenate([first.lengths, second.lengths]),
        np.concatenate([first.of_row, second.of_row + len(first.lengths)]),
    )


def _tokens(features: ReadRows, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (P, 3 D) of the rows (S, T) that are not -1, scene by scene, and how many each scene has, (S,)."""
    there = rows >= 0
    return np.concatenate(features(rows[there]), axis=1), there.sum(axis=1)
