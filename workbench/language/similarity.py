"""How alike object classes are: what decides which class may take another's place in an augmented triplet.

``SIMILARITIES`` has those with a name: "lch" of WordNet. A table of class pairs, or any function of the class names
that returns a (classes, classes) array, can stand in its place; see ``docs/own-similarity.md``.

LCH is Leacock and Chodorow's similarity with exactly NLTK's values: -ln((d + 1) / (2 * depth)), d the fewest edges
between two senses over a common ancestor (hypernyms and instance hypernyms), depth 19 for the nouns of WordNet 3.0. Two
classes are as similar as their most similar senses. The shortest path between any senses of two classes runs over an
ancestor that minimises the sum of the two classes' own distances to it, so one table (classes x ancestors) gives all
pairs, without a loop over pairs of senses.
"""

import difflib
import functools
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.file_errors import reading
from workbench.files import atomic_path
from workbench.language.wordnet import noun_senses, open_wordnet
from workbench.registry import Registry

if TYPE_CHECKING:
    from nltk.corpus.reader import WordNetCorpusReader
    from nltk.corpus.reader.wordnet import Synset

PAIR_COLUMNS = ["first", "second", "similarity"]
UNREACHED = np.uint8(255)
LARGEST_DEPTH = 100  # distances must fit into uint8; WordNet's chains are about 20 deep
CELLS_PER_CHUNK = 16 << 20


@dataclass(frozen=True, eq=False)
class ClassSimilarity:
    """Similarity of C classes: ``values`` (C, C) float64, of a class (row) and what may replace it (column).

    It is nan where nothing is known.
    """

    names: tuple[str, ...]
    values: np.ndarray

    @property
    def unknown(self) -> list[str]:
        """The names that can be compared with none."""
        return [self.names[place] for place in np.flatnonzero(np.isnan(self.values).all(axis=1))]

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
    names: Sequence[str], choice: str | Path | Callable[..., Any] = "lch", *, max_senses: int = 4
) -> ClassSimilarity:
    """The similarity of class names by ``choice`` (see ``AugmentationConfig.similarity``).

    WorkbenchError for an unknown choice, a table that names other classes, or a function that returns something else
    than one number for each pair.
    """
    names = tuple(names)
    if isinstance(choice, Path):
        return read_similarity_table(choice, names)
    function = SIMILARITIES.resolve(choice)
    given = (names, max_senses) if function is lch_similarity else (names,)
    values = np.asarray(function(*given), dtype=np.float64)
    if values.shape != (len(names), len(names)):
        raise WorkbenchError(
            f"similarity {getattr(function, '__name__', choice)!r} returned an array of shape {values.shape}; expected "
            f"{(len(names), len(names))}, one number for each pair of the names that it was given."
        )
    return ClassSimilarity(names, values)


def look(path: Path, config: Any, vocabulary: Any) -> None:
    """Refuse a table of pairs that is none, or that names classes which ``vocabulary`` lacks."""
    if vocabulary is not None:
        read_similarity_table(path, vocabulary.objects)
    elif not path.is_file():
        raise WorkbenchError(f"{path}: there is no table of class pairs here. Correct the path.")


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
    expected = f"Expected CSV or Parquet with the columns {', '.join(PAIR_COLUMNS)}, the last of numbers."
    with reading(path, "a table of class pairs", expected):
        table = pd.read_csv(path, keep_default_na=False) if path.suffix == ".csv" else pd.read_parquet(path)
        pairs = table[PAIR_COLUMNS].astype({"first": str, "second": str, "similarity": float})
    first, second = (_places(path, pairs[column], names) for column in PAIR_COLUMNS[:2])
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


def lch_similarity(
    names: Sequence[str], max_senses: int = 4, wordnet: "WordNetCorpusReader | None" = None
) -> np.ndarray:
    """LCH (C, C) float64 of class names over the first ``max_senses`` noun senses of each, bit for bit NLTK's.

    It is nan for a name without a noun synset. ``wordnet``: NLTK's reader, by default the shipped nouns.
    """
    reader = open_wordnet() if wordnet is None else wordnet
    nouns = noun_hierarchy(reader)
    lch = [-math.log((d + 1) / (2.0 * nouns.depth)) for d in range(2 * LARGEST_DEPTH)]
    table = np.array(lch + [math.nan] * (256 - len(lch)))
    return table[fewest_edges([noun_senses(name, reader, max_senses) for name in names], nouns)]


SIMILARITIES: Registry[Callable[..., Any]] = Registry("similarity", {"lch": lch_similarity})


@dataclass(frozen=True, eq=False)
class NounHierarchy:
    """All nouns of a WordNet: first lemma and hypernyms by byte offset, and the greatest depth."""

    lemmas: dict[int, str]
    hypernyms: dict[int, list[int]]
    depth: int

    def climb(self, senses: Iterable["Synset"]) -> dict[int, tuple[int, int]]:
        """Breadth first upwards: each ancestor's distance from the nearest sense, and the node below it on the way."""
        reached = {sense.offset(): (0, sense.offset()) for sense in senses}
        queue = deque(reached)
        while queue:
            node = queue.popleft()
            for above in self.hypernyms[node]:
                if above not in reached:
                    reached[above] = (reached[node][0] + 1, node)
                    queue.append(above)
        return reached


@functools.lru_cache(maxsize=4)
def noun_hierarchy(reader: "WordNetCorpusReader") -> NounHierarchy:
    """Read the hypernyms of every noun from ``data.noun`` in one pass; making NLTK's objects takes 20 times as long."""
    with reader.open("data.noun") as file:
        lines = [line.split("|", 1)[0].split() for line in file.read().splitlines() if line[:1] not in ("", " ")]
    hypernyms = {}
    for fields in lines:
        first = 5 + 2 * int(fields[3], 16)
        found = [int(fields[at + 1]) for at in range(first, len(fields) - 3, 4) if fields[at] in ("@", "@i")]
        hypernyms[int(fields[0])] = found
    lemmas = {int(fields[0]): fields[4] for fields in lines}
    return NounHierarchy(lemmas, hypernyms, _greatest_depth(hypernyms))


def _greatest_depth(hypernyms: dict[int, list[int]]) -> int:
    @functools.cache
    def depth(node: int) -> int:
        return max((depth(above) + 1 for above in hypernyms[node]), default=0)

    try:
        if (greatest := max(map(depth, hypernyms), default=0)) <= LARGEST_DEPTH:
            return greatest
    except RecursionError:
        pass
    raise WorkbenchError(f"WordNet's nouns are more than {LARGEST_DEPTH} deep: a cycle. Use an unchanged WordNet.")


def fewest_edges(senses: Sequence[Sequence["Synset"]], nouns: NounHierarchy) -> np.ndarray:
    """(C, C) uint8: the fewest edges between any senses of two classes over a common ancestor; 255 where none is."""
    climbs = [nouns.climb(found) for found in senses]
    owner = np.repeat(np.arange(len(climbs)), [len(climb) for climb in climbs])
    ancestor = np.array([node for climb in climbs for node in climb], dtype=np.int64)
    steps = np.array([distance for climb in climbs for distance, _ in climb.values()], dtype=np.uint8)
    order = np.lexsort((owner, ancestor))
    owner, ancestor, steps = owner[order], ancestor[order], steps[order]
    distance = np.full((len(senses), len(senses)), UNREACHED, dtype=np.uint8)
    bounds = np.flatnonzero(np.r_[True, ancestor[1:] != ancestor[:-1], True]) if len(owner) else np.array([0])
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        below, step = owner[first:last], steps[first:last]  # the classes under one ancestor
        chunk = max(1, CELLS_PER_CHUNK // len(below))
        for at in range(0, len(below), chunk):
            cells = np.ix_(below[at : at + chunk], below)
            distance[cells] = np.minimum(distance[cells], step[at : at + chunk, None] + step[None, :])
    return distance


def similarity_paths(
    names: Sequence[str], pairs: Sequence[tuple[int, int]], choice: Any = "lch", max_senses: int = 4, wordnet=None
) -> list[str]:
    """What makes classes alike, for people: the words along the shortest path in WordNet, "cake, baked goods, cookie".

    ``pairs`` (n, 2): numbers of ``names``. Of equally short paths, that of the more frequent senses. "" where no
    ancestor is common, and where the similarity is another ``choice`` than LCH: numbers do not explain themselves.
    """
    if SIMILARITIES.resolve(choice) is not lch_similarity:
        return [""] * len(pairs)
    reader = open_wordnet() if wordnet is None else wordnet
    nouns = noun_hierarchy(reader)
    climbs = {
        place: [nouns.climb([sense]) for sense in noun_senses(names[place], reader, max_senses)]
        for place in {place for pair in pairs for place in pair}
    }
    path = {(i, j): ", ".join(_shortest_path(climbs[i], climbs[j], nouns.lemmas)) for i, j in set(pairs)}
    return [path[pair] for pair in pairs]


def _shortest_path(ups: list[dict], downs: list[dict], lemmas: dict[int, str]) -> list[str]:
    found = (
        ((up[top][0] + down[top][0], i + j, i, up[top][0], top), (i, j, top))
        for i, up in enumerate(ups)
        for j, down in enumerate(downs)
        for top in up.keys() & down.keys()
    )
    order, (i, j, top) = min(found, default=(None, (0, 0, 0)))
    if order is None:
        return []
    nodes = [*reversed(_walk(ups[i], top)), *_walk(downs[j], top)[1:]]
    return [lemmas[node].replace("_", " ") for node in nodes]


def _walk(climbed: dict[int, tuple[int, int]], node: int) -> list[int]:
    """From ``node`` down to where the climb started, both included."""
    nodes = [node]
    while climbed[nodes[-1]][0]:
        nodes.append(climbed[nodes[-1]][1])
    return nodes
