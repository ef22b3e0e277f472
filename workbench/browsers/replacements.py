"""The augmented rows by what was replaced: what filters them, and how many a veto takes away."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workbench.browsers.triplet_index import TripletIndex
from workbench.browsers.triplet_search import TripletState
from workbench.language.senses import noun_glosses
from workbench.language.wordnet import noun_senses, open_wordnet
from workbench.scenes.vocabulary import REPLACEMENT

MOST_STEPS = 12


@dataclass(frozen=True, eq=False)
class Replacements:
    """N augmented rows: ``replaced`` and ``by`` object classes, ``similarity`` in three digits, a triplet's ``place``.

    ``words`` (N,) numbers the ways through WordNet, whose words ``ways`` holds: those between both ends, or both.
    """

    replaced: np.ndarray
    by: np.ndarray
    similarity: np.ndarray
    place: np.ndarray
    words: np.ndarray
    ways: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, index: TripletIndex, augmented: pd.DataFrame | None) -> "Replacements":
        """Those of the table that the index was made with."""
        if augmented is None:
            none = np.empty(0, dtype=np.int64)
            return cls(none, none, none, none, none, ())
        place = np.empty(len(augmented), dtype=np.int64)
        place[index.augmented.rows] = np.repeat(np.arange(len(index)), np.diff(index.augmented.first))
        by = np.where(augmented["replaced"] == "subject", augmented["subject"], augmented["object"])
        words, ways = pd.factorize(augmented["path"])
        inner = [tuple(way.split(", ")[1:-1] or filter(None, way.split(", "))) for way in ways]
        similarity = augmented["similarity"].to_numpy().round(3)
        return cls(augmented["replaced_class"].to_numpy(), by, similarity, place, words, tuple(inner))

    def fits(self, state: TripletState, triplets: int) -> np.ndarray | None:
        """(triplets,) bool: which have a row that the state's filters of replacements let through; None without one."""
        rows = self._through(state)
        return None if rows is None else np.bincount(self.place[rows], minlength=triplets) > 0

    def _through(self, state: TripletState, but: str = "") -> np.ndarray | None:
        """(N,) bool: the rows that the state's filters, all ``but`` one, let through; None without a filter."""
        through = {end: getattr(self, end) == state.classes[end] for end in REPLACEMENT if end in state.classes}
        if state.similarity:
            through["similarity"] = self._between(*state.similarity)
        if state.via:
            through["via"] = np.array([state.via in way for way in self.ways], dtype=bool)[self.words]
        through.pop(but, None)
        return np.logical_and.reduce(list(through.values())) if through else None

    def rows(self, replaced: int, by: int) -> int:
        """How many rows have this replacement."""
        return int(((self.replaced == replaced) & (self.by == by)).sum())

    def going(self, ticked: Iterable[int], never: Iterable[tuple[int, int]]) -> int:
        """How many rows are of the ``ticked`` triplets or have a replacement of ``never``."""
        pairs = [first << 32 | second for first, second in never]
        return int((np.isin(self.place, list(ticked)) | np.isin(self.replaced << 32 | self.by, pairs)).sum())

    def menus(self, names: tuple[str, ...], state: TripletState) -> dict[str, list[tuple[Any, str]]]:
        """What each filter may choose, with the rows that the others leave it: classes by name, words by number."""

        def left(filter_name: str) -> np.ndarray:
            through = self._through(state, but=filter_name)
            return np.arange(len(self.place)) if through is None else np.flatnonzero(through)

        menus: dict[str, list[tuple[Any, str]]] = {}
        for name in REPLACEMENT:
            counts = np.bincount(getattr(self, name)[left(name)], minlength=len(names))
            found = sorted(np.flatnonzero(counts).tolist(), key=lambda own: names[own].casefold())
            menus[name] = [(own, f"{names[own]} ({counts[own]:,})") for own in found]
        steps = np.unique(self.similarity[~np.isnan(self.similarity)])
        if many := len(steps) > MOST_STEPS:
            steps = np.unique(np.quantile(steps, np.linspace(0, 1, MOST_STEPS + 1)).round(3))
        ranges, rows = list(itertools.pairwise(steps) if many else zip(steps, steps, strict=True)), left("similarity")
        menus["similarity"] = [
            (f"{low},{high}", f"{low:.3f}{f' to {high:.3f}' * many} ({count:,})")
            for low, high in ranges if (count := self._between(low, high)[rows].sum())
        ]  # fmt: skip
        tally = Counter[str]()
        for way, count in zip(
            self.ways, np.bincount(self.words[left("via")], minlength=len(self.ways)).tolist(), strict=True
        ):
            tally.update(dict.fromkeys(way, count))
        menus["via"] = [(word, f"{word} ({count:,})") for word, count in tally.most_common() if count]
        return menus

    def _between(self, low: float, high: float) -> np.ndarray:
        return (self.similarity >= low) & (self.similarity <= high)


def meanings(name: str, taken: pd.DataFrame, chosen: Mapping[str, str]) -> list[dict[str, Any]]:
    """The noun senses of a class name, those ``taken`` (columns name, synset) first, with their glosses.

    ``chosen``: the synset that a person chose for a name.
    """
    reader, own = open_wordnet(), taken.loc[taken["name"] == name, "synset"].tolist()
    synsets = [reader.synset(synset) for synset in filter(None, own)] + noun_senses(name, reader)
    return [
        {"synset": synset.name(), "lemmas": ", ".join(synset.lemma_names()).replace("_", " "),
         "gloss": noun_glosses(reader)[synset.offset()], "taken": synset.name() in own,
         "chosen": chosen.get(name) == synset.name()}
        for synset in dict.fromkeys(synsets)
    ]  # fmt: skip
