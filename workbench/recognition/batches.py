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
from workbench.scenes.relations import rows_by_class
from workbench.scenes.vocabulary import ROLES, Vocabulary

RowsOfStep = Callable[[int], np.ndarray]
NO_ROWS = np.empty(0, dtype=np.int64)
ByRole = dict[str, np.ndarray]


class RelationRows:
    """Relations with their labels by role (N,) int64 and their features; ``features(rows)`` gives those of some rows.

    Features that take more than ``memory_gigabytes`` stay on disk. WorkbenchError for a class id that the vocabulary
    does not know.
    """

    def __init__(self, features: Features, vocabulary: Vocabulary, memory_gigabytes: float = 2.0):
        self.name, self.relations = str(features.folder), features.relations
        count_classes(features.relations, vocabulary, f"{self.name}: ")
        self.labels = {role: features.relations[role].to_numpy().astype(np.int64) for role in ROLES}
        self.features = FeatureRows.of_relations(features, self.name, memory_gigabytes=memory_gigabytes)

    def __len__(self) -> int:
        return len(self.relations)


class OwnScenes:
    """Each relation is its own scene of one token."""

    def __init__(self, table: RelationRows):
        self._table = table

    def __call__(self, rows: np.ndarray, read: Read | None = None) -> Scenes:
        """The scenes of ``rows`` (n,), each once; ``read`` gives features of `rows_needed`, if they have been read."""
        scenes, of_row = self._scenes(rows)
        lengths = np.array([len(scene) for scene in scenes], dtype=np.int64)
        return Scenes(_tokens(read or self._table.features, np.concatenate([NO_ROWS, *scenes])), lengths, of_row)

    def rows_needed(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the table whose features the scenes of ``rows`` are made of."""
        return np.concatenate([NO_ROWS, *self._scenes(rows)[0]])

    def _scenes(self, rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The rows of each scene that ``rows`` (n,) lie in, and the scene of each row (n,)."""
        return list(rows[:, None]), np.arange(len(rows))


class ImageScenes(OwnScenes):
    """Scenes of real relations, which are those of the same image.

    Only the first 100 relations of an image become tokens, in the order of the table, as upstream; all are classified.
    """

    def __init__(self, table: RelationRows):
        super().__init__(table)
        self._image = table.relations["image"].to_numpy()
        self.rows_of_image = rows_by_class(self._image)

    def _scenes(self, rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        images, of_row = np.unique(self._image[rows], return_inverse=True)
        return [self.rows_of_image[image][:MOST_TOKENS] for image in images.tolist()], of_row.reshape(-1)


class BoxImageScenes(OwnScenes):
    """A generated relation first, then the real relations of the image where the box of its kept entity lies.

    The kept entity is the one that augmentation did not replace (column "replaced"). At most 100 tokens in all.
    ``image_of_box`` (boxes of train,) are image numbers. The images are wherever their relations lie in the train
    split, so these are read at random where they are not in memory.
    """

    def __init__(self, generated: RelationRows, real: RelationRows, image_of_box: np.ndarray):
        super().__init__(generated)
        relations = generated.relations
        missing = {"replaced", "subject_box", "object_box"} - set(relations)
        if missing:
            what = f"{generated.name}: no column {', '.join(sorted(missing))}, which scenes='image' needs"
            raise WorkbenchError(f"{what}. Use scenes='own'.")
        kept = np.where(relations["replaced"] == "subject", relations["object_box"], relations["subject_box"])
        self._image, self._real = image_of_box[kept], real
        self._rows_of_image = rows_by_class(real.relations["image"].to_numpy())

    def __call__(self, rows: np.ndarray, read: Read | None = None) -> Scenes:
        """The scenes of ``rows`` (n,)."""
        images, of_row = np.unique(self._image[rows], return_inverse=True)
        # A box may lie in an image without a relation in train; then the relation is its own scene.
        others = [self._rows_of_image.get(image, NO_ROWS)[: MOST_TOKENS - 1] for image in images.tolist()]
        # Each image is read once, however many relations join it.
        real = _tokens(self._real.features, np.concatenate([NO_ROWS, *others]))
        real_of_image = np.split(real, np.cumsum([len(image) for image in others])[:-1])
        own = _tokens(read or self._table.features, rows)[:, None]  # (n, 1, 3 D)
        tokens, lengths = [real[:0]], []
        for token, image in zip(own, of_row.reshape(-1), strict=True):
            tokens += [token, real_of_image[image]]
            lengths.append(1 + len(real_of_image[image]))
        return Scenes(np.concatenate(tokens), np.array(lengths, dtype=np.int64), np.arange(len(rows)))


def scenes_of(head: LsvruHead, rows: RelationRows) -> OwnScenes | None:
    """What a head that reads scenes is shown of rows: their images where they have some, else each row by itself."""
    if not head.reads_scenes:
        return None
    return ImageScenes(rows) if "image" in rows.relations else OwnScenes(rows)


def _tokens(read: Read, rows: np.ndarray) -> np.ndarray:
    """Tokens (P, 3 D) of rows (P,)."""
    return np.concatenate(read(rows), axis=1)


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
            order = _image_order(rows, scenes, size, seed)
        super().__init__(rows, order, size, scenes)


def _image_order(rows: RelationRows, scenes: ImageScenes, size: int, seed: int) -> RowsOfStep:
    """Which rows a step takes where images are shuffled; the last step of an epoch may be smaller."""
    rows_of_image = list(scenes.rows_of_image.values())
    steps, n_images = math.ceil(len(rows) / size), len(rows_of_image)
    window, block = (max(1, n * n_images // len(rows)) for n in (rows.features.rows_per_window, ROWS_PER_BLOCK))
    images = BlockOrder(
        seed, rows=n_images, rows_per_window=window if rows.features.by_blocks else n_images, rows_per_block=block,
        purpose="recogniser images",
    )  # fmt: skip

    # The reader ahead may be in the next epoch already.
    @functools.lru_cache(maxsize=2)
    def rows_of_epoch(epoch: int) -> np.ndarray:
        return np.concatenate([rows_of_image[image] for image in images.draws(epoch * n_images, n_images)])

    def rows_of_step(step: int) -> np.ndarray:
        epoch, number = divmod(step, steps)
        return rows_of_epoch(epoch)[number * size : (number + 1) * size]

    return rows_of_step
