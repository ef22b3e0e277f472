"""Ways between noun senses in WordNet: how many edges apart classes are over a common ancestor, and along which words.

The shortest path between any senses of two classes runs over an ancestor that minimises the sum of the two classes' own
distances to it, so one table (classes x ancestors) gives all pairs, without a loop over pairs of senses.
"""

import functools
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench.errors import WorkbenchError
from workbench.language.synset_tables import read_rows

if TYPE_CHECKING:
    from nltk.corpus.reader import WordNetCorpusReader
    from nltk.corpus.reader.wordnet import Synset

UNREACHED = np.uint8(255)
LARGEST_DEPTH = 100  # distances must fit into uint8; WordNet's chains are about 20 deep
CELLS_PER_CHUNK = 16 << 20
MOST_GROUPS = 1 << 12
_DATA = Path(__file__).parent / "data"


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


@dataclass(frozen=True, eq=False)
class EverydayGroups:
    """``general`` ancestors, by byte offset, and the groups in which classes are alike although they meet there.

    A synset is in the groups of its own rows, else in those of its hypernyms below the first general one.
    """

    general: frozenset[int]
    rows: dict[int, frozenset[str]]
    hypernyms: Mapping[int, list[int]]

    @functools.cached_property
    def number(self) -> dict[str, int]:
        """The groups, numbered from 1."""
        return {group: n for n, group in enumerate(sorted(frozenset().union(*self.rows.values())), start=1)}

    def of(self, node: int) -> frozenset[str]:
        """The groups of a synset."""
        if node in self.rows:
            return self.rows[node]
        return frozenset().union(*(self.of(above) for above in self.hypernyms[node] if above not in self.general))

    def meet(self, first: int, second: int, ancestor: int) -> bool:
        """Whether two synsets may be alike over an ancestor of both."""
        return ancestor not in self.general or first == second or bool(self.of(first) & self.of(second))


@functools.lru_cache(maxsize=4)
def everyday_groups(reader: "WordNetCorpusReader") -> EverydayGroups:
    """The groups that come with the project."""
    rows: dict[int, frozenset[str]] = defaultdict(frozenset)
    for group, synset in read_rows(_DATA / "everyday_groups.csv", "group"):
        rows[reader.synset(synset).offset()] |= {group}
    general = (reader.synset(synset).offset() for synset, _ in read_rows(_DATA / "general_ancestors.csv", "synset"))
    return EverydayGroups(frozenset(general), dict(rows), noun_hierarchy(reader).hypernyms)


def fewest_edges(
    senses: Sequence[Sequence["Synset"]], nouns: NounHierarchy, groups: EverydayGroups | None = None
) -> np.ndarray:
    """(C, C) uint8: the fewest edges between any senses of two classes over a common ancestor; 255 where none is.

    ``groups``: classes meet at a general ancestor only in a group that both are in, or with the same sense.
    """
    climbs = [_reached(found, nouns, groups) for found in senses]
    owner = np.repeat(np.arange(len(climbs)), [len(climb) for climb in climbs])
    ancestor = np.array([node for climb in climbs for node in climb], dtype=np.int64)
    steps = np.array([distance for climb in climbs for distance in climb.values()], dtype=np.uint8)
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


def _reached(senses: Sequence["Synset"], nouns: NounHierarchy, groups: EverydayGroups | None) -> dict[int, int]:
    """The distance of each ancestor of a class; of a general one, of each of its groups as if they were ancestors."""
    if groups is None:
        return {node: distance for node, (distance, _) in nouns.climb(senses).items()}
    reached: dict[int, int] = {}
    for sense in senses:
        own = [groups.number[group] for group in groups.of(sense.offset())]
        for node, (distance, _) in nouns.climb([sense]).items():
            numbers = own if node in groups.general else [0]
            for number in numbers if distance else {0, *numbers}:  # 0, too: equal senses are alike in any group
                place = node * MOST_GROUPS + number
                reached[place] = min(distance, reached.get(place, distance))
    return reached


def shortest_path(
    first: Sequence["Synset"], second: Sequence["Synset"], nouns: NounHierarchy, groups: EverydayGroups | None = None
) -> list[str]:
    """The words along the shortest path that ``fewest_edges`` counts; of equal ones that of the earlier senses."""
    ups, downs = ([nouns.climb([sense]) for sense in senses] for senses in (first, second))
    found = (
        ((up[top][0] + down[top][0], i + j, i, up[top][0], top), (i, j, top))
        for i, up in enumerate(ups)
        for j, down in enumerate(downs)
        for top in up.keys() & down.keys()
        if groups is None or groups.meet(first[i].offset(), second[j].offset(), top)
    )
    order, (i, j, top) = min(found, default=(None, (0, 0, 0)))
    if order is None:
        return []
    nodes = [*reversed(_walk(ups[i], top)), *_walk(downs[j], top)[1:]]
    return [nouns.lemmas[node].replace("_", " ") for node in nodes]


def _walk(climbed: dict[int, tuple[int, int]], node: int) -> list[int]:
    """From ``node`` down to where the climb started, both included."""
    nodes = [node]
    while climbed[nodes[-1]][0]:
        nodes.append(climbed[nodes[-1]][1])
    return nodes
