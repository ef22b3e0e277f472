"""Where a recogniser's rows come from: feature stores, folders of generated features, memory."""

from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.recognition.feature_window import REGIONS, FeatureWindow, HeldRegion, Regions, three_regions
from workbench.regions.feature_store import FeatureStore
from workbench.regions.features import Features
from workbench.scenes.bands import count_classes
from workbench.scenes.vocabulary import ROLES, Vocabulary

ROWS_PER_CHUNK = 4096
# Two windows are in memory at a time; boxes that relations share make them smaller than this.
BYTES_PER_WINDOW = 384 << 20


def check_classes(relations: pd.DataFrame, vocabulary: Vocabulary, place: Path) -> None:
    """Refuse a table of relations with a class id that the vocabulary does not know."""
    try:
        count_classes(relations, vocabulary)
    except WorkbenchError as error:
        raise WorkbenchError(f"{place}: {error}") from error


class FeatureRows:
    """Features by row, with a copy in memory where it fits in ``memory_gigabytes`` (of each process, if several).

    No value depends on whether it fits: half precision is kept only where it is exact, as it is for stores. Rows that
    neither fit nor are few enough for one window are ``by_blocks``: they are shuffled in blocks of neighbours and read
    through `window`, and ``order`` (a text) says so, since that is another order. ``name`` says in messages where a
    row is. Raises WorkbenchError on values that are not finite.
    """

    def __init__(self, features: Features, name: str, memory_gigabytes: float = 2.0):
        self.name, self._features, self.relations = name, features, features.relations
        self.labels = {role: features.relations[role].to_numpy().astype(np.int64) for role in ROLES}
        self._shared = features.entity_region == "union"
        self._memory: dict[str, HeldRegion] = {}
        if len(features) == 0:
            raise WorkbenchError(f"{name}: no relations. A recogniser needs at least one row.")
        self._dimension = features.union(np.array([0])).shape[1]
        regions = ("union",) if self._shared else REGIONS
        bytes_per_row = len(regions) * self._dimension * 2
        # Sized as float32: the halves are only known to be exact when they are read.
        if 2 * bytes_per_row * len(features) <= memory_gigabytes * 1e9:
            every = np.arange(len(features))
            self._memory = {region: HeldRegion(self._kept(region, every)) for region in regions}
        self.rows_per_window = max(1, BYTES_PER_WINDOW // bytes_per_row)
        self.by_blocks = not self._memory and len(features) > self.rows_per_window
        self.order = f"blocks in windows of {self.rows_per_window} rows" if self.by_blocks else "rows"

    def __len__(self) -> int:
        return len(self._features)

    def __call__(self, rows: np.ndarray) -> Regions:
        """Features (n, D) of subject, union and object; where there is one region only, the same array."""
        if self._memory:
            return three_regions(self._memory, rows)
        regions = ("union",) if self._shared else REGIONS
        found = [self._checked(region, rows) for region in regions]
        return (found[0],) * 3 if self._shared else tuple(found)

    def window(self, rows: np.ndarray) -> FeatureWindow:
        """Read ``rows`` (n,), ascending and distinct, into memory: each box once, however many relations share it."""
        held = {"union": HeldRegion(self._kept("union", rows))}
        if isinstance(self._features, FeatureStore) and not self._shared:
            ends = [self.relations[f"{role}_box"].to_numpy()[rows] for role in ("subject", "object")]
            boxes, place = np.unique(np.concatenate(ends), return_inverse=True)
            values = self._kept("box", boxes)
            subject_place, object_place = np.split(place.reshape(-1), 2)
            held |= {"subject": HeldRegion(values, subject_place), "object": HeldRegion(values, object_place)}
        elif not self._shared:
            held |= {role: HeldRegion(self._kept(role, rows)) for role in ("subject", "object")}
        return FeatureWindow(rows, held)

    def _kept(self, region: str, rows: np.ndarray) -> np.ndarray:
        """Features (n, D) of ascending rows (of boxes for region "box"), float16 where that loses nothing."""
        whole = np.empty((len(rows), self._dimension), dtype=np.float16)
        for start in range(0, len(rows), ROWS_PER_CHUNK):
            part = slice(start, start + ROWS_PER_CHUNK)
            chunk = self._checked(region, rows[part])
            if whole.dtype == np.float16 and chunk.dtype != np.float16:
                with np.errstate(over="ignore"):
                    exact = np.array_equal(chunk.astype(np.float16), chunk)
                whole = whole if exact else whole.astype(np.float32)
            whole[part] = chunk
        return whole

    def _checked(self, region: str, rows: np.ndarray) -> np.ndarray:
        """Features (n, D), float16 where they are stored so and float32 elsewhere."""
        values = getattr(self._features, region)(rows, np.float16)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            kind = "box row" if region == "box" else "row"
            raise WorkbenchError(
                f"{self.name}, {kind} {int(np.asarray(rows)[~finite][0])}: the {region} feature holds values that are "
                "not finite. Make the features of this row again."
            )
        return values
