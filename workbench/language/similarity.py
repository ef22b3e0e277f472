"""How alike object classes are: what decides which class may take another's place in an augmented triplet.

``SIMILARITIES`` has those with a name: "lch" of WordNet. A table of class pairs, or any function of the class names
that returns a (classes, classes) array, can stand in its place; see ``docs/own-similarity.md``.
"""

import difflib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.language.wordnet_similarity import WordNetSimilarity, wordnet_similarity
from workbench.registry import Registry

SIMILARITIES: Registry[Callable[..., Any]] = Registry("similarity", {"lch": wordnet_similarity})
PAIR_COLUMNS = ["first", "second", "similarity"]


class Similarity(Protocol):
    """Similarity of C classes: ``values`` (C, C) float64, of a class (row) and what may replace it (column).

    It is nan where nothing is known. `path` explains a pair to people.
    """

    @property
    def names(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def values(self) -> np.ndarray: ...  # noqa: D102

    @property
    def unknown(self) -> list[str]: ...  # noqa: D102

    def path(self, i: int, j: int) -> list[str]: ...  # noqa: D102

    def save(self, path: Path) -> None: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class ClassSimilarity:
    """Similarity given as numbers alone, by a table or a function."""

    names: tuple[str, ...]
    values: np.ndarray

    @property
    def unknown(self) -> list[str]:
        """The names that can be compared with no other."""
        others = np.where(np.eye(len(self.names), dtype=bool), np.nan, self.values)
        return [self.names[place] for place in np.flatnonzero(np.isnan(others).all(axis=1))]

    def path(self, i: int, j: int) -> list[str]:
        """Nothing: numbers do not explain themselves."""
        return []

    def save(self, path: Path) -> None:
        """Write names and values to an ``.npz`` file, without pickling."""
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, names=np.array(self.names, dtype=str), values=self.values)


def class_similarity(
    names: Sequence[str], choice: str | Path | Callable[..., Any] = "lch", *, max_senses: int = 4
) -> Similarity:
    """The similarity of class names by ``choice`` (see ``AugmentationConfig.similarity``).

    WorkbenchError for an unknown choice, a table that names other classes, or a function that returns something else
    than one number for each pair.
    """
    names = tuple(names)
    if isinstance(choice, Path):
        return read_similarity_table(choice, names)
    function = SIMILARITIES.resolve(choice)
    if function is wordnet_similarity:
        return wordnet_similarity(names, max_senses)
    result = function(names)
    if hasattr(result, "values") and hasattr(result, "path"):
        return result
    values = np.asarray(result, dtype=np.float64)
    if values.shape != (len(names), len(names)):
        raise WorkbenchError(
            f"similarity {getattr(function, '__name__', choice)!r} returned an array of shape {values.shape}; expected "
            f"{(len(names), len(names))}, one number for each pair of the names that it was given."
        )
    return ClassSimilarity(names, values)


def read_similarity_table(path: Path, names: Sequence[str]) -> ClassSimilarity:
    """A table of class pairs for the classes ``names``; pairs that it lacks are not alike.

    CSV and Parquet have the columns first, second and similarity: how well the second takes the first's place, and the
    first the second's where no row says otherwise. An ``.npz`` has ``names`` (C,) and ``values`` (C, C).
    """
    path, names = Path(path), tuple(names)
    if path.suffix == ".npz":
        stored = load_similarity(path)
        place = _places(path, stored.names, names)
        values = np.full((len(names), len(names)), np.nan)
        values[np.ix_(place, place)] = stored.values
        return ClassSimilarity(names, values)
    try:
        table = pd.read_csv(path, keep_default_na=False) if path.suffix == ".csv" else pd.read_parquet(path)
        pairs = table[PAIR_COLUMNS].astype({"similarity": float})
    except (OSError, ValueError, KeyError) as error:
        raise WorkbenchError(
            f"{path}: not a table of class pairs ({error}). Expected CSV or Parquet with the columns "
            f"{', '.join(PAIR_COLUMNS)}, the last of numbers."
        ) from error
    first, second = (_places(path, pairs[column], names) for column in PAIR_COLUMNS[:2])
    values = np.full((len(names), len(names)), np.nan)
    values[second, first] = pairs["similarity"]
    values[first, second] = pairs["similarity"]
    return ClassSimilarity(names, values)


def load_similarity(path: Path) -> Similarity:
    """Read what a similarity's ``save`` wrote; WorkbenchError where the file is something else or cut short."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if "values" not in file:
                return WordNetSimilarity.from_arrays(file)
            return ClassSimilarity(tuple(file["names"].tolist()), file["values"])
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise WorkbenchError(f"{path}: not a class similarity ({error}). Compute it again.") from error


def _places(path: Path, asked: Sequence[str], names: tuple[str, ...]) -> np.ndarray:
    place = {name: number for number, name in enumerate(names)}
    for row, name in enumerate(asked):
        if name not in place:
            near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)
            raise WorkbenchError(
                f"{path}, row {row}: {name!r} is not an object class of this data set, expected one such as "
                f"{near[0] if near else 'none'!r}. Leave such rows out, or spell the name as the data set does."
            )
    return np.array([place[name] for name in asked], dtype=np.int64)
