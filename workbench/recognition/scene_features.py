"""The features of scene tokens: of the image that a real relation lies in, or one made up for a generated relation.

Source: reference `ltvrr.md` section 4. A generated relation has no image. Two choices: its own triplet is the whole
scene ("own"), or it joins the scene of the image that the box of its kept entity was drawn from ("image").
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from workbench.errors import WorkbenchError
from workbench.recognition.scene_tokens import MOST_TOKENS, SceneIndex, Scenes
from workbench.recognition.stored_features import FeatureRows, GeneratedRows

GENERATED_SCENES = ("own", "image")


class SceneFeatures(NamedTuple):
    """`Scenes` in NumPy: tokens (S, T, 3 D) float32, present (S, T) bool, of_row (N,) int64."""

    tokens: np.ndarray
    present: np.ndarray
    of_row: np.ndarray

    def on(self, device: torch.device) -> Scenes:
        """The same as tensors on a device."""
        return Scenes(*(torch.from_numpy(array).to(device) for array in self))


class ImageScenes:
    """Scenes of real relations: up to 100 relations of the same image, in the order of the table."""

    def __init__(self, features: FeatureRows):
        self._features = features
        self.index = SceneIndex(features.relations["image"].to_numpy())

    def __call__(self, rows: np.ndarray) -> SceneFeatures:
        """The scenes of ``rows`` (n,)."""
        found = self.index.scenes_of(rows)
        return SceneFeatures(tokens_of(self._features, found.rows), found.rows >= 0, found.of_row)


class OwnScenes:
    """Each relation is its own scene of one token."""

    def __init__(self, features: FeatureRows):
        self._features = features

    def __call__(self, rows: np.ndarray) -> SceneFeatures:
        """The scenes of ``rows`` (n,)."""
        tokens = tokens_of(self._features, np.asarray(rows)[:, None])
        return SceneFeatures(tokens, np.ones(tokens.shape[:2], dtype=bool), np.arange(len(tokens)))


class SeedImageScenes:
    """A generated relation first, then the real relations of the image where the box of its kept entity lies.

    The kept entity is the one that augmentation did not replace (column "replaced"). At most 100 tokens in all.
    """

    def __init__(self, generated: FeatureRows, real: FeatureRows, image_of_box: np.ndarray):
        self._generated, self._real = generated, ImageScenes(real)
        images, relations = np.unique(real.relations["image"].to_numpy()), generated.relations
        kept = np.where(relations["replaced"] == "subject", relations["object_box"], relations["subject_box"])
        image = image_of_box[kept]
        # A box may lie in an image without a relation in train; then the relation is its own scene.
        place = np.searchsorted(images, image).clip(max=len(images) - 1)
        self._image = np.where(images[place] == image, place, -1)
        self._real_features = real

    def __call__(self, rows: np.ndarray) -> SceneFeatures:
        """The scenes of ``rows`` (n,)."""
        rows = np.asarray(rows)
        own = tokens_of(self._generated, rows[:, None])  # (n, 1, 3 D)
        images, scene = np.unique(self._image[rows], return_inverse=True)
        token_rows = self._real.index.token_rows(np.maximum(images, 0))[:, : MOST_TOKENS - 1]
        token_rows = np.where(images[:, None] < 0, -1, token_rows)  # (S, T)
        real = tokens_of(self._real_features, token_rows)
        tokens = np.concatenate([own, real[scene.reshape(-1)]], axis=1)  # (n, 1 + T, 3 D)
        present = np.concatenate([np.ones((len(rows), 1), bool), (token_rows >= 0)[scene.reshape(-1)]], axis=1)
        return SceneFeatures(tokens, present, np.arange(len(rows)))


def scenes_of(features: FeatureRows) -> ImageScenes | OwnScenes:
    """Scenes by image where the rows have one, else each row by itself."""
    return ImageScenes(features) if "image" in features.relations else OwnScenes(features)


def generated_scenes(choice: str, generated: FeatureRows, rows: GeneratedRows, real: FeatureRows, image_of_box):
    """The scenes of generated rows by name, "own" or "image"; ``image_of_box`` (boxes of train,) image numbers."""
    if choice not in GENERATED_SCENES:
        raise WorkbenchError(f"scenes {choice!r} is not known. Choose one of: {', '.join(GENERATED_SCENES)}.")
    if choice == "own":
        return OwnScenes(generated)
    missing = {"replaced", "subject_box", "object_box"} - set(rows.relations)
    if missing:
        raise WorkbenchError(
            f"{rows.folder / 'generated.parquet'}: no column {', '.join(sorted(missing))}, which scenes='image' needs. "
            "Use scenes='own'."
        )
    return SeedImageScenes(generated, real, image_of_box)


def images_of_boxes(entity_region: str, boxes: pd.DataFrame, relations: pd.DataFrame) -> np.ndarray:
    """The image of each box row; where unions stand in for boxes, a box row is a row of relations."""
    return (boxes if entity_region == "box" else relations)["image"].to_numpy()


def tokens_of(features: FeatureRows, rows: np.ndarray) -> np.ndarray:
    """Token features (S, T, 3 D) float32 of rows (S, T), zero where a row is -1."""
    there = rows >= 0
    found = np.concatenate(features(rows[there]), axis=1)  # (tokens, 3 D)
    tokens = np.zeros((*rows.shape, found.shape[1]), dtype=np.float32)
    tokens[there] = found
    return tokens


def joined(first: SceneFeatures, second: SceneFeatures) -> SceneFeatures:
    """The scenes of two parts of a batch, one after the other."""
    longest = max(first.tokens.shape[1], second.tokens.shape[1])
    parts = [_padded(part, longest) for part in (first, second)]
    return SceneFeatures(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.present for part in parts]),
        np.concatenate([first.of_row, second.of_row + len(first.tokens)]),
    )


def _padded(scenes: SceneFeatures, length: int) -> SceneFeatures:
    missing = length - scenes.tokens.shape[1]
    if not missing:
        return scenes
    tokens = np.pad(scenes.tokens, ((0, 0), (0, missing), (0, 0)))
    return SceneFeatures(tokens, np.pad(scenes.present, ((0, 0), (0, missing))), scenes.of_row)
