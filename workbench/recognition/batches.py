"""Relations by row with their features and scenes, and the batches that the steps of a training make of them.

What a step shows is a function of (seed, step). ``batches(step, part, parts)`` gives one of ``parts`` equal shares of
it, as the training loop asks for; features that are not in memory are read a window of steps ahead.

A scene token is one relation, its three features side by side. Source: reference `ltvrr.md` section 4 ("Scene tokens").
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from workbench.errors import WorkbenchError
from workbench.recognition.lsvru import MOST_TOKENS, LsvruHead, Scenes
from workbench.regions.feature_rows import ROWS_PER_BLOCK, BlockOrder, FeatureRows, Read, Regions, StepFeatures
from workbench.regions.features import Features
from workbench.scenes.bands import count_classes
from workbench.scenes.vocabulary import ROLES, Vocabulary

RowsOfStep = Callable[[int], np.ndarray]
ByRole = dict[str, np.ndarray]


class RelationRows:
    """Relations with their labels by role (N,) int64 and their features; called with row numbers it gives features.

    Features that take more than ``memory_gigabytes`` stay on disk. WorkbenchError for a class id that the vocabulary
    does not know.
    """

    def __init__(self, features: Features, vocabulary: Vocabulary, memory_gigabytes: float = 2.0):
        self.name, self.relations = str(features.folder), features.relations
        try:
            count_classes(features.relations, vocabulary)
        except WorkbenchError as error:
            raise WorkbenchError(f"{self.name}: {error}") from error
        self.labels = {role: features.relations[role].to_numpy().astype(np.int64) for role in ROLES}
        self.features = FeatureRows.of_relations(features, self.name, memory_gigabytes)

    def __len__(self) -> int:
        return len(self.relations)

    def __call__(self, rows: np.ndarray) -> Regions:
        """Features of subject, union and object of rows (n,) in any order, (n, D) float16 each."""
        return self.features(rows)


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


class OwnScenes:
    """Each relation is its own scene of one token."""

    def __init__(self, table: RelationRows):
        self._table = table

    def __call__(self, rows: np.ndarray, read: Read | None = None) -> Scenes:
        """The scenes of ``rows`` (n,); ``read`` gives features of `rows_needed`, where they have been read already."""
        return Scenes(_tokens(read or self._table, rows), np.ones(len(rows), dtype=np.int64), np.arange(len(rows)))

    def rows_needed(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the table whose features the scenes of ``rows`` are made of."""
        return rows


class ImageScenes(OwnScenes):
    """Scenes of real relations: up to 100 relations of the same image, in the order of the table."""

    def __init__(self, table: RelationRows):
        super().__init__(table)
        self.index = SceneIndex(table.relations["image"].to_numpy())

    def __call__(self, rows: np.ndarray, read: Read | None = None) -> Scenes:
        """The scenes of ``rows`` (n,), each image once."""
        tokens, lengths, of_row = self.index.scenes_of(rows)
        return Scenes(_tokens(read or self._table, tokens), lengths, of_row)

    def rows_needed(self, rows: np.ndarray) -> np.ndarray:
        """All tokens of the images of ``rows``."""
        return self.index.scenes_of(rows)[0]


class BoxImageScenes(OwnScenes):
    """A generated relation first, then the real relations of the image where the box of its kept entity lies.

    The kept entity is the one that augmentation did not replace (column "replaced"). At most 100 tokens in all.
    ``image_of_box`` (boxes of train,) are image numbers. The images are wherever their relations lie in the train
    split, so these are read at random where they are not in memory.
    """

    def __init__(self, generated: RelationRows, real: RelationRows, image_of_box: np.ndarray):
        super().__init__(generated)
        self._real, self._index = real, SceneIndex(real.relations["image"].to_numpy())
        relations = generated.relations
        missing = {"replaced", "subject_box", "object_box"} - set(relations)
        if missing:
            raise WorkbenchError(
                f"{generated.name}: no column {', '.join(sorted(missing))}, which scenes='image' needs. "
                "Use scenes='own'."
            )
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


def scenes_of(head: LsvruHead, rows: RelationRows) -> OwnScenes | None:
    """What a head that reads scenes is shown of rows: their images where they have some, else each row by itself."""
    if not head.reads_scenes:
        return None
    return ImageScenes(rows) if "image" in rows.relations else OwnScenes(rows)


def _tokens(read: Read, rows: np.ndarray) -> np.ndarray:
    """Tokens (P, 3 D) of rows (P,)."""
    return np.concatenate(read(np.asarray(rows)), axis=1)


@dataclass
class Batch:
    """Features of subject, union and object (n, D) float16, and labels by role (n,) int64, counted from 0.

    ``active`` (n,) bool by role says which rows a role's loss looks at; ``generated`` (n,) bool which are not real.
    ``scenes`` is given where the head reads them.
    """

    features: Regions
    labels: ByRole
    active: ByRole
    generated: np.ndarray
    scenes: Scenes | None = None


class StepRows:
    """The rows that each step takes from one table, read ahead where they are on disk.

    ``active`` (N,) bool by role are the rows that a role's loss looks at, all where it is not given.
    """

    def __init__(
        self,
        rows: RelationRows,
        rows_of_step: RowsOfStep,
        rows_per_step: int,
        scenes: OwnScenes | None,
        active: ByRole | None = None,
        *,
        generated: bool = False,
    ):
        self._rows, self._rows_of_step, self._scenes = rows, rows_of_step, scenes
        self._active = active or dict.fromkeys(ROLES, np.ones(len(rows), dtype=bool))
        self._generated = generated
        self._ahead = StepFeatures(rows.features, self._needed, rows_per_step)

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> Batch:
        """One of ``parts`` shares of a step's batch."""
        numbers = self._rows_of_step(step)[part::parts]
        read = self._ahead.at(step)
        labels, active = ({role: of[role][numbers] for role in ROLES} for of in (self._rows.labels, self._active))
        scenes = None if self._scenes is None else self._scenes(numbers, read)
        return Batch(read(numbers), labels, active, np.full(len(numbers), self._generated), scenes)

    def close(self) -> None:
        """Stop reading ahead."""
        self._ahead.close()

    def _needed(self, step: int) -> np.ndarray:
        numbers = self._rows_of_step(step)
        return numbers if self._scenes is None else np.concatenate([numbers, self._scenes.rows_needed(numbers)])


class RealBatches(StepRows):
    """Real rows, each once an epoch in a new order.

    With scenes images are shuffled instead of rows, so that the relations of an image share a batch and its scene
    is encoded once (or twice, where a batch ends inside it).
    """

    def __init__(self, rows: RelationRows, batch_size: int, seed: int, scenes: OwnScenes | None = None):
        size = min(batch_size, len(rows))
        self.steps_per_epoch = math.ceil(len(rows) / size)
        order: RowsOfStep = rows.features.order(seed, size, purpose="recogniser").rows_of_step
        if isinstance(scenes, ImageScenes):
            order = _image_order(rows, scenes.index, size, seed)
        super().__init__(rows, order, size, scenes)


def _image_order(rows: RelationRows, index: SceneIndex, size: int, seed: int) -> RowsOfStep:
    """Which rows a step takes where images are shuffled; the last step of an epoch may be smaller."""
    steps, rows_per_image = math.ceil(len(rows) / size), len(rows) / len(index)
    window, block = (max(1, int(n / rows_per_image)) for n in (rows.features.rows_per_window, ROWS_PER_BLOCK))
    images = BlockOrder(
        seed, rows=len(index), rows_per_window=window if rows.features.by_blocks else len(index),
        rows_per_block=block, purpose="recogniser images",
    )  # fmt: skip

    # The reader ahead may be in the next epoch already.
    @functools.lru_cache(maxsize=2)
    def rows_of_epoch(epoch: int) -> np.ndarray:
        return index.rows_of_images(images.draws(epoch * len(index), len(index)))[0]

    def rows_of_step(step: int) -> np.ndarray:
        epoch, number = divmod(step, steps)
        return rows_of_epoch(epoch)[number * size : (number + 1) * size]

    return rows_of_step
