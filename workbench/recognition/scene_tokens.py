"""Scene tokens: the relations of an image, as RelTransformer's scene encoder reads them.

Source: reference `ltvrr.md` section 4 ("Scene tokens").
"""

from typing import NamedTuple

import numpy as np
import torch

MOST_TOKENS = 100


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
