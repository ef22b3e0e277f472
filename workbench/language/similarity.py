"""How alike object classes are: what decides which class may take another's place in an augmented triplet.

``SIMILARITIES`` has those with a name: "lch" of WordNet. A table of class pairs, or any function of the class names
that returns a (classes, classes) array, can stand in its place; see ``docs/own-similarity.md``.

LCH is Leacock and Chodorow's similarity with exactly NLTK's values: -ln((d + 1) / (2 * depth)), d the fewest edges
between two senses over a common ancestor (hypernyms and instance hypernyms), depth 19 for the nouns of WordNet 3.0. Two
classes are as similar as their most similar senses, which :mod:`workbench.language.senses` chooses.
"""

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.file_errors import reading
from workbench.files import atomic_path
from workbench.language.noun_paths import LARGEST_DEPTH, fewest_edges, noun_hierarchy, shortest_path
from workbench.language.senses import ClassSenses, class_senses
from workbench.registry import Registry

PAIR_COLUMNS = ["first", "second", "similarity"]


@dataclass(frozen=True, eq=False)
class ClassSimilarity:
    """Similarity of C classes: ``values`` (C, C) float64, of a class (row) and what may replace it (column).

    It is nan where nothing is known. ``senses`` are those that were compared, None where the similarity is no LCH.
    """

    names: tuple[str, ...]
    values: np.ndarray
    senses: ClassSenses | None = None

    @property
    def unknown(self) -> list[str]:
        """The names that can be compared with none."""
        return [self.names[place] for place in np.flatnonzero(np.isnan(self.values).all(axis=1))]

    def paths(self, pairs: Sequence[tuple[int, int]]) -> list[str]:
        """What makes classes alike, for people: the words along the shortest path, "cake, baked goods, cookie".

        ``pairs`` (n, 2): class ids. Of equally short paths, that of the more frequent senses. "" where no ancestor is
        common, and where the similarity is another than LCH: numbers do not explain themselves.
        """
        if self.senses is None:
            return [""] * len(pairs)
        nouns, groups, synsets = noun_hierarchy(self.senses.reader), self.senses.groups, self.senses.synsets
        path = {(i, j): ", ".join(shortest_path(synsets[i], synsets[j], nouns, groups)) for i, j in set(pairs)}
        return [path[pair] for pair in pairs]

    def save(self, path: Path) -> None:
        """Write names and values to an ``.npz`` file, without pickling."""
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, names=np.array(self.names, dtype=str), values=self.values)

    @classmethod
    def load(cls, path: Path) -> "ClassSimilarity":
        """Read what ``save`` wrote; WorkbenchError where the file is something else or cut short."""
        with reading(path, "a class similarity", "Compute it again."):
            with np.load(path, allow_pickle=False) as file:
                names, values = tuple(file["names"].tolist()), file["values"].astype(np.float64, casting="safe")
            if values.shape != (len(names), len(names)):
                raise ValueError(f"values of shape {values.shape} for {len(names)} names")
            return cls(names, values)


def class_similarity(
    names: Sequence[str], choice: str | Path | Callable[..., Any] = "lch", senses: ClassSenses | None = None
) -> ClassSimilarity:
    """The similarity of class names by ``choice`` (see ``AugmentationConfig.similarity``).

    ``senses``: what LCH compares, by default as `class_senses` says. WorkbenchError for an unknown choice, a table that
    names other classes, or a function that returns something else than one number for each pair.
    """
    names = tuple(names)
    if isinstance(choice, Path):
        return read_similarity_table(choice, names)
    function = SIMILARITIES.resolve(choice)
    if compares_senses(choice):
        senses = senses or class_senses(names)
        return ClassSimilarity(names, lch_similarity(senses), senses)
    values = np.asarray(function(names), dtype=np.float64)
    if values.shape != (len(names), len(names)):
        raise WorkbenchError(
            f"similarity {getattr(function, '__name__', choice)!r} returned an array of shape {values.shape}; expected "
            f"{(len(names), len(names))}, one number for each pair of the names that it was given."
        )
    return ClassSimilarity(names, values)


def compares_senses(choice: str | Path | Callable[..., Any]) -> bool:
    """Whether the similarity ``choice`` is LCH, which alone asks what names mean."""
    return not isinstance(choice, Path) and SIMILARITIES.resolve(choice) is lch_similarity


def look(path: Path, vocabulary: Any) -> None:
    """Refuse a table of pairs that is none, or that names classes which ``vocabulary`` lacks."""
    if vocabulary:
        read_similarity_table(path, vocabulary.objects)


def read_similarity_table(path: Path, names: tuple[str, ...]) -> ClassSimilarity:
    """A table of class pairs for the classes ``names``; pairs that it lacks are not alike.

    CSV and Parquet have the columns first, second and similarity: how well the second takes the first's place, and the
    first the second's where no row says otherwise. An ``.npz`` has ``names`` (C,) and ``values`` (C, C).
    """
    values = np.full((len(names), len(names)), np.nan)
    if path.suffix == ".npz":
        stored = ClassSimilarity.load(path)
        place = _places(path, stored.names, names)
        values[np.ix_(place, place)] = stored.values
        return ClassSimilarity(names, values)
    remedy = f"Give the columns {', '.join(PAIR_COLUMNS)}, in CSV with commas between them and points in numbers."
    with reading(path, "a table of class pairs", remedy):
        table = pd.read_csv(path, keep_default_na=False) if path.suffix == ".csv" else pd.read_parquet(path)
        if path.suffix == ".csv" and not isinstance(table.index, pd.RangeIndex):
            raise ValueError("row 0 has more fields than the header")
        pairs = table[PAIR_COLUMNS].astype({"first": str, "second": str})
        pairs["similarity"] = pd.to_numeric(table["similarity"], errors="coerce").astype(float)
        for row in np.flatnonzero(~np.isfinite(pairs["similarity"]))[:1]:
            found = f"{table['similarity'].tolist()[row]!r} of {' and '.join(pairs.iloc[row, :2])}"
            raise ValueError(f"row {row}: the similarity {found} is no finite number; leave the row out or correct it")
    first, second = (_places(path, pairs[column], names) for column in PAIR_COLUMNS[:2])
    again = pairs.duplicated(PAIR_COLUMNS[:2]) & ~pairs.duplicated()
    for row in np.flatnonzero(again)[:1]:
        pair = " and ".join(pairs[name].iloc[row] for name in PAIR_COLUMNS[:2])
        raise WorkbenchError(f"{path}, row {row}: {pair} stand above with another similarity. Keep one of the rows.")
    values[second, first] = pairs["similarity"]
    values[first, second] = pairs["similarity"]
    return ClassSimilarity(names, values)


def _places(path: Path, asked: Iterable[str], names: tuple[str, ...]) -> np.ndarray:
    place = {name: number for number, name in enumerate(names)}
    for row, name in enumerate(asked):
        if name not in place:
            near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)
            raise WorkbenchError(
                f"{path}, row {row}: {name!r} is not an object class of this data set, expected one such as "
                f"{near[0] if near else 'none'!r}. Leave such rows out, or spell the name as the data set does."
            )
    return np.array([place[name] for name in asked], dtype=np.int64)


def lch_similarity(senses: ClassSenses) -> np.ndarray:
    """LCH (C, C) float64 of the most similar senses of each two classes, bit for bit NLTK's; nan where none meet."""
    nouns = noun_hierarchy(senses.reader)
    lch = [-math.log((d + 1) / (2.0 * nouns.depth)) for d in range(2 * LARGEST_DEPTH)]
    table = np.array(lch + [math.nan] * (256 - len(lch)))
    return table[fewest_edges(senses.synsets, nouns, senses.groups)]


SIMILARITIES: Registry[Callable[..., Any]] = Registry("similarity", {"lch": lch_similarity})
