"""Leacock-Chodorow similarity of all pairs of class names at once, with exactly NLTK's values.

NLTK compares two senses by LCH = -ln((d + 1) / (2 * depth)), d the fewest edges over a common ancestor (hypernyms and
instance hypernyms), depth 19 for the nouns of WordNet 3.0. Two classes are as similar as their most similar senses.
The shortest path between any senses of two classes runs over an ancestor that minimises the sum of the two classes'
own distances to it, so one table (classes x ancestors) gives all pairs, without a loop over pairs of senses.
"""

import functools
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.language.wordnet import noun_senses, open_wordnet

UNREACHED = np.uint8(255)
LARGEST_DEPTH = 100  # distances must fit into uint8; WordNet's chains are about 20 deep
CELLS_PER_CHUNK = 16 << 20


@dataclass(frozen=True, eq=False)
class WordNetSimilarity:
    """Similarity of C class names, with the part of WordNet that explains it.

    ``distance`` (C, C) uint8: fewest edges between any two senses, 255 where a name has no noun synset.
    ``sense_class``, ``sense_node`` (S,) int32: the class and the node of each sense, in order of class and rank.
    ``sense_name`` (S,) str: the synset's name in NLTK. ``node_lemma`` (V,) str: first lemma of each ancestor.
    ``edges`` (E, 2) int32: node and hypernym. ``depth``: depth of the noun hierarchy as NLTK computes it.
    """

    names: tuple[str, ...]
    distance: np.ndarray
    sense_class: np.ndarray
    sense_node: np.ndarray
    sense_name: np.ndarray
    node_lemma: np.ndarray
    edges: np.ndarray
    depth: int

    @functools.cached_property
    def values(self) -> np.ndarray:
        """LCH (C, C) float64, bit for bit NLTK's of the best sense pair; nan for a name without a noun synset."""
        table = np.full(256, np.nan)
        table[: 2 * LARGEST_DEPTH] = [-math.log((d + 1) / (2.0 * self.depth)) for d in range(2 * LARGEST_DEPTH)]
        return table[self.distance]

    @property
    def unknown(self) -> list[str]:
        """The names that have no noun synset, in order of class."""
        known = np.isin(np.arange(len(self.names)), self.sense_class)
        return [name for name, has in zip(self.names, known, strict=True) if not has]

    def path(self, i: int, j: int) -> list[str]:
        """Lemmas along the shortest path from class ``i`` to ``j``, for people: cake, baked goods, cookie.

        Its length is the number of edges plus one; it is empty where a class has no noun synset.
        """
        best = self._best_pair(i, j)
        if best is None:
            return []
        up, down = self._climb(int(self.sense_node[best[0]])), self._climb(int(self.sense_node[best[1]]))
        top = min(up.keys() & down.keys(), key=lambda node: (up[node][0] + down[node][0], up[node][0], node))
        nodes = [*reversed(_walk(up, top)), *_walk(down, top)[1:]]
        return [str(self.node_lemma[node]).replace("_", " ") for node in nodes]

    def save(self, path: Path) -> None:
        """Write everything to an ``.npz`` file, without pickling."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, names=np.array(self.names, dtype=str), depth=self.depth, **arrays)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "WordNetSimilarity":
        """From the arrays that :meth:`save` wrote."""
        own = {name: arrays[name] for name in _ARRAYS}
        return cls(names=tuple(arrays["names"].tolist()), depth=int(arrays["depth"]), **own)

    def _best_pair(self, i: int, j: int) -> tuple[int, int] | None:
        if self.distance[i, j] == UNREACHED:
            return None
        own, others = np.flatnonzero(self.sense_class == i), np.flatnonzero(self.sense_class == j)
        climbs = {sense: self._climb(int(self.sense_node[sense])) for sense in {*own.tolist(), *others.tolist()}}

        def order(pair: tuple[int, int]) -> tuple[int, int, int]:
            up, down = climbs[pair[0]], climbs[pair[1]]
            edges = min((up[node][0] + down[node][0] for node in up.keys() & down.keys()), default=int(UNREACHED))
            return edges, pair[0] - int(own[0]) + pair[1] - int(others[0]), pair[0]

        return min(((a, b) for a in own.tolist() for b in others.tolist()), key=order)

    def _climb(self, node: int) -> dict[int, tuple[int, int]]:
        """Each ancestor's distance from ``node``, and the node below it on a shortest way."""
        return _climb(node, self._hypernyms)

    @functools.cached_property
    def _hypernyms(self) -> list[list[int]]:
        hypernyms: list[list[int]] = [[] for _ in self.node_lemma]
        for node, hypernym in self.edges.tolist():
            hypernyms[node].append(hypernym)
        return hypernyms


_ARRAYS = ("distance", "sense_class", "sense_node", "sense_name", "node_lemma", "edges")


def wordnet_similarity(names: Sequence[str], max_senses: int = 4, wordnet=None) -> WordNetSimilarity:
    """Similarity of all pairs of class names over the first ``max_senses`` noun senses of each.

    ``wordnet``: NLTK's reader, by default the shipped nouns. Names without a noun synset are listed in
    ``unknown`` and have nan everywhere. WorkbenchError for ``max_senses`` below 1 or a name that is empty.
    """
    names = tuple(names)
    if max_senses < 1:
        raise WorkbenchError(f"max_senses is {max_senses}; expected at least one sense for each class name.")
    if empty := [place for place, name in enumerate(names) if not isinstance(name, str) or not name.strip()]:
        raise WorkbenchError(f"class {empty[0]} has no name ({names[empty[0]]!r}); expected a word. Name every class.")
    reader = open_wordnet() if wordnet is None else wordnet
    return similarity_of_senses(names, [noun_senses(name, reader, max_senses)[1] for name in names], reader)


def similarity_of_senses(names: Sequence[str], senses: Sequence[Sequence], wordnet) -> WordNetSimilarity:
    """The same for senses chosen by hand: ``senses`` holds, for each name, noun synsets of the reader ``wordnet``."""
    offsets, owners = [s.offset() for found in senses for s in found], [i for i, f in enumerate(senses) for _ in f]
    hierarchy = noun_hierarchy(wordnet)
    start = np.array([hierarchy.node_of_offset[offset] for offset in offsets], dtype=np.int32)
    rows, ancestors, steps = _ancestor_distances(start, np.array(owners, dtype=np.int32), hierarchy.hypernyms)
    used = np.unique(ancestors)
    edges = [(node, hypernym) for node in used.tolist() for hypernym in hierarchy.hypernyms[node]]
    return WordNetSimilarity(
        names=tuple(names),
        distance=_class_distances(len(names), rows, ancestors, steps),
        sense_class=np.array(owners, dtype=np.int32),
        sense_node=np.searchsorted(used, start).astype(np.int32),
        sense_name=np.array([s.name() for found in senses for s in found], dtype=str),
        node_lemma=np.array([hierarchy.lemmas[node] for node in used.tolist()], dtype=str),
        edges=np.searchsorted(used, np.array(edges, dtype=np.int64).reshape(-1, 2)).astype(np.int32),
        depth=hierarchy.depth,
    )


@dataclass(frozen=True, eq=False)
class NounHierarchy:
    """All nouns of a WordNet: first lemma and hypernyms by node, node by byte offset, and the greatest depth."""

    lemmas: list[str]
    hypernyms: list[list[int]]
    node_of_offset: dict[int, int]
    depth: int


@functools.lru_cache(maxsize=4)
def noun_hierarchy(reader) -> NounHierarchy:
    """Read the hypernyms of every noun from ``data.noun`` in one pass; making NLTK's objects takes 20 times as long."""
    with reader.open("data.noun") as file:
        lines = [line.split("|", 1)[0].split() for line in file.read().splitlines() if line[:1] not in ("", " ")]
    node_of_offset = {int(fields[0]): node for node, fields in enumerate(lines)}
    hypernyms = []
    for fields in lines:
        first = 5 + 2 * int(fields[3], 16)
        found = [int(fields[at + 1]) for at in range(first, len(fields) - 3, 4) if fields[at] in ("@", "@i")]
        hypernyms.append([node_of_offset[offset] for offset in dict.fromkeys(found)])
    return NounHierarchy([fields[4] for fields in lines], hypernyms, node_of_offset, _greatest_depth(hypernyms))


def _greatest_depth(hypernyms: list[list[int]]) -> int:
    edges = np.array([(node, above) for node, found in enumerate(hypernyms) for above in found], dtype=np.int64)
    depth = np.zeros(len(hypernyms), dtype=np.int64)
    for _ in range(LARGEST_DEPTH):
        deeper = depth.copy()
        if len(edges):
            np.maximum.at(deeper, edges[:, 0], depth[edges[:, 1]] + 1)
        if np.array_equal(deeper, depth):
            return int(depth.max(initial=0))
        depth = deeper
    raise WorkbenchError(f"WordNet's nouns are more than {LARGEST_DEPTH} deep: a cycle. Use an unchanged WordNet.")


def _ancestor_distances(
    start: np.ndarray, owners: np.ndarray, hypernyms: list[list[int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sparse table (class, ancestor, fewest edges from any sense of the class), a sense being its own ancestor."""
    classes: list[int] = []
    nodes: list[int] = []
    steps: list[int] = []
    by_class: dict[int, list[int]] = {}
    for node, owner in zip(start.tolist(), owners.tolist(), strict=True):
        by_class.setdefault(owner, []).append(node)
    for owner, own in by_class.items():
        reached = _climb(own, hypernyms)
        classes += [owner] * len(reached)
        nodes += reached
        steps += [distance for distance, _ in reached.values()]
    return np.array(classes, dtype=np.int64), np.array(nodes, dtype=np.int64), np.array(steps, dtype=np.uint8)


def _class_distances(classes: int, rows: np.ndarray, ancestors: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """(C, C) uint8: the minimum over common ancestors of the sum of both distances; 255 where there is none."""
    distance = np.full((classes, classes), UNREACHED, dtype=np.uint8)
    order = np.lexsort((rows, ancestors))
    rows, ancestors, steps = rows[order], ancestors[order], steps[order]
    bounds = np.flatnonzero(np.r_[True, ancestors[1:] != ancestors[:-1], True]) if len(rows) else np.array([0])
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        below, step = rows[first:last], steps[first:last]  # the classes under one ancestor
        chunk = max(1, CELLS_PER_CHUNK // len(below))
        for at in range(0, len(below), chunk):
            cells = np.ix_(below[at : at + chunk], below)
            distance[cells] = np.minimum(distance[cells], step[at : at + chunk, None] + step[None, :])
    return distance


def _climb(start: int | Iterable[int], hypernyms: list[list[int]]) -> dict[int, tuple[int, int]]:
    """Breadth first upwards: each ancestor's distance from the nearest start, and the node below it on the way."""
    starts = [start] if isinstance(start, int) else start
    reached = {node: (0, node) for node in starts}
    queue = deque(reached)
    while queue:
        node = queue.popleft()
        for above in hypernyms[node]:
            if above not in reached:
                reached[above] = (reached[node][0] + 1, node)
                queue.append(above)
    return reached


def _walk(climbed: dict[int, tuple[int, int]], node: int) -> list[int]:
    """From ``node`` down to where the climb started, both included."""
    nodes = [node]
    while climbed[nodes[-1]][0]:
        nodes.append(climbed[nodes[-1]][1])
    return nodes
