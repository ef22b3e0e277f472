"""What a person looks for among the distinct triplets, what fits, and what each toggle would show."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from workbench.browsers.panel import in_order, places, require_changes, require_one_of
from workbench.browsers.triplet_index import SORTS, TripletIndex, folded
from workbench.errors import WorkbenchError
from workbench.language.senses import known_synset
from workbench.language.wordnet import open_wordnet
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import REPLACEMENT, ROLES

# Origins by whether a triplet has training examples and augmented rows: bit 0 and bit 1 of its code.
ORIGINS = {"any": (1, 2, 3), "original": (1, 3), "augmented": (2, 3)}
ORIGIN = "origin"
FILTERS = (
    "search", "bands", "classes", "origin", "bar", "only_selected", "similarity", "via", "places",
)  # fmt: skip
# What leaves the matches and their page as they are.
STILL = {"page", "opened", "examples_page", "crop", "ticked", "never", "senses", "meant"}
_SHAPE = (len(BANDS), len(BANDS), len(BANDS), 4)  # of the toggles: band of each role, origin code
# An underscore separates words as a space does.
_NO_LETTER_BEFORE, _NO_LETTER_AFTER = r"(?<![^\W_])", r"(?![^\W_])"
_PHRASE_OR_WORD = re.compile(r'"(?P<phrase>[^"]*)(?P<closed>"|$)|(?P<word>[^\s"]+)')


@dataclass(frozen=True)
class TripletState:
    """The filters, the order, and what is open.

    ``search``: every word must start a word of the caption, a phrase in double quotes must stand there as whole words;
    case and accents do not matter. ``bands``: role to the bands that are switched on, none means all. ``classes``: role
    to one class id. ``origin``: one of ORIGINS. ``chart``: the role of the rank-frequency chart, ``bar`` the number of
    its bar that was clicked. ``crop``: tiles show the union region alone. ``opened``: a triplet's place.

    Of augmented rows: ``classes`` also has the class that was "replaced", and the one that stands there ("by");
    ``similarity`` the least and the most; ``via`` a word of the way through WordNet. ``places``: triplets to choose
    from, as a lasso of the map gives them. What a person decides: ``ticked`` places, replacements that shall ``never``
    be, and ``senses``, the synset of a class name; ``meant`` is the class whose senses are open.
    """

    search: str = ""
    bands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    origin: str = "any"
    sort: str = "frequency"
    chart: str = "relation"
    bar: int | None = None
    only_selected: bool = False
    crop: bool = False
    page: int = 1
    opened: int | None = None
    examples_page: int = 1
    similarity: tuple[float, float] | None = None
    via: str = ""
    places: tuple[int, ...] | None = None
    ticked: tuple[int, ...] = ()
    never: tuple[tuple[int, int], ...] = ()
    senses: Mapping[str, str] = field(default_factory=dict)
    meant: int | None = None

    def changed(self, index: TripletIndex, bars: Mapping[str, pd.DataFrame], /, **changes: Any) -> "TripletState":
        """The state with ``changes``; other filters start at page 1 again. WorkbenchError for a name or value unknown.

        ``classes`` may hold names in place of ids; ``bars``: those of each role's chart.
        """
        require_changes("TripletBrowser", TripletState, changes, origin=ORIGINS, sort=SORTS, chart=ROLES)
        for role in changes.get("bands", ()):
            require_one_of("role", role, ROLES)
        for role in changes.get("classes", ()):
            require_one_of("role", role, (*ROLES, *REPLACEMENT))
        if "bands" in changes:
            given = {role: in_order("band", bands, BANDS) for role, bands in changes["bands"].items()}
            changes["bands"] = {role: bands for role, bands in given.items() if bands}
        if "classes" in changes:
            wanted = {role: value for role, value in changes["classes"].items() if value is not None}
            changes["classes"] = {role: index.vocabulary.class_id(role, value) for role, value in wanted.items()}
        changes |= self._decisions(index, changes)
        if not changes.keys() <= STILL:
            changes.setdefault("page", 1)
        if changes.get("chart", self.chart) != self.chart:
            changes.setdefault("bar", None)
        if "opened" in changes:
            changes.setdefault("examples_page", 1)
        sizes = {"bar": len(bars[changes.get("chart", self.chart)]), "opened": len(index)}
        for name in sizes.keys() & changes.keys():
            if changes[name] is not None:
                changes[name] = int(places("bar" if name == "bar" else "triplet", [changes[name]], sizes[name])[0])
        return replace(self, **changes)

    def _decisions(self, index: TripletIndex, changes: dict[str, Any]) -> dict[str, Any]:
        """Of ``changes`` those that are of replacements, senses and single triplets, with ids in place of names."""
        made: dict[str, Any] = {}
        own = partial(index.vocabulary.class_id, "object")
        if changes.get("similarity"):
            made["similarity"] = tuple(map(float, changes["similarity"]))
        if "never" in changes:
            made["never"] = tuple(dict.fromkeys((own(replaced), own(by)) for replaced, by in changes["never"]))
        if "senses" in changes:
            for name, synset in changes["senses"].items():
                own(name), known_synset(synset, open_wordnet(), f"senses, {name!r}")
        for name in {"ticked", "places"} & changes.keys():
            if changes[name] is not None:
                made[name] = tuple(dict.fromkeys(places("place", changes[name], len(index)).tolist()))
        return made

    @property
    def filtered(self) -> bool:
        """Whether anything is filtered out."""
        return any(getattr(self, name) != getattr(TripletState(), name) for name in FILTERS)

    @property
    def toggled(self) -> list[list[int]]:
        """The codes that each group of toggles lets through, in the order of the axes of _SHAPE."""
        bands = [[BANDS.index(band) for band in self.bands.get(role) or BANDS] for role in ROLES]
        return [*bands, list(ORIGINS[self.origin])]


def without_toggles(
    index: TripletIndex,
    state: TripletState,
    bar: tuple[int, ...] | None = None,
    selected: Sequence[int] | None = None,
    replaced: np.ndarray | None = None,
) -> np.ndarray:
    """(n,) bool: what fits the text, the menus' classes and the clicked ``bar``'s, is ``selected`` and ``replaced``.

    ``selected`` are places, as the state's own are; ``replaced`` (n,) bool.
    """
    fits = index.kept(_fits_text, state.search).copy()
    wanted = [(role, (number,)) for role, number in state.classes.items() if role in ROLES]
    # Where the menu has a class that is not in the bar no triplet fits.
    for role, classes in wanted if bar is None else [*wanted, (state.chart, bar)]:
        fits &= np.isin(index[role], classes)
    for chosen in (selected, state.places):
        if chosen is not None:
            fits &= np.isin(np.arange(len(index)), chosen)
    return fits if replaced is None else fits & replaced


def search(index: TripletIndex, state: TripletState, fits: np.ndarray) -> np.ndarray:
    """Of the triplets that ``fits`` (n,) leaves those that the toggles let through: their places (m,) in order."""
    toggled = np.zeros(_SHAPE, dtype=bool)
    toggled[np.ix_(*state.toggled)] = True
    fits = fits & toggled.reshape(-1)[index.kept(_toggle_codes)]
    order = index.order(state.sort)
    return order[fits[order]]


def facets(index: TripletIndex, state: TripletState, fits: np.ndarray) -> dict[str, dict[str, int]]:
    """How many of the triplets that ``fits`` (n,) leaves each toggle would show alone, given those of other groups.

    Returns {"subject": {band: triplets}, "relation": ..., "object": ..., "origin": {origin: triplets}}.
    """
    codes = index.kept(_toggle_codes)[fits]
    triplets = np.bincount(codes, minlength=np.prod(_SHAPE)).reshape(_SHAPE)
    shown = {}
    for axis, group in enumerate((*ROLES, ORIGIN)):
        others = [np.arange(_SHAPE[at]) if at == axis else chosen for at, chosen in enumerate(state.toggled)]
        here = triplets[np.ix_(*others)].sum(axis=tuple(at for at in range(len(_SHAPE)) if at != axis))
        values = ORIGINS if group == ORIGIN else {band: [code] for code, band in enumerate(BANDS)}
        shown[group] = {value: int(here[list(codes)].sum()) for value, codes in values.items()}
    return shown


def _toggle_codes(index: TripletIndex) -> np.ndarray:
    """(n,) uint8: one number for the bands of the three roles and the origin, which is a cell of _SHAPE."""
    origin = (index["count"] > 0) + 2 * (index["augmented"] > 0)
    return np.ravel_multi_index([*(index[f"{role}_band"] for role in ROLES), origin], _SHAPE).astype(np.uint8)


def _fits_text(index: TripletIndex, text: str) -> np.ndarray:
    """(n,) bool: what has all words of a search text, and its quoted phrases; an open quotation need not end a word."""
    fits = np.ones(len(index), dtype=bool)
    for match in _PHRASE_OR_WORD.finditer(text):
        if plain := folded(match["phrase"] or match["word"] or ""):
            fits &= _occurrences(index, plain, bool(match["closed"]))
    return fits


def _occurrences(index: TripletIndex, text: str, whole: bool) -> np.ndarray:
    """(n,) bool: which captions have folded ``text`` from the start of a word on; a ``whole`` one also ends with one.

    Looked for in two thousand class names instead of half a million captions. The text lies in one name or runs over
    two or three: then it ends the first, is all of the middle one, and begins the last.
    """
    found, words, names = np.zeros(len(index), dtype=bool), text.split(" "), index.folded_names
    border_before = _NO_LETTER_BEFORE if text[0].isalnum() else ""
    border_after = _NO_LETTER_AFTER if whole and text[-1].isalnum() else ""
    runs = [ROLES[first:end] for first, end in itertools.combinations(range(len(ROLES) + 1), 2)]
    for roles in runs:
        for cuts in itertools.combinations(range(1, len(words)), len(roles) - 1):
            fits = {}
            for role, start, end in zip(roles, (0, *cuts), (*cuts, len(words)), strict=True):
                before, after = r"\A" if start else border_before, r"\Z" if end < len(words) else border_after
                search = re.compile(before + re.escape(" ".join(words[start:end])) + after).search
                fits[role] = np.array([search(name) is not None for name in names[role]], dtype=bool)
            if all(own.any() for own in fits.values()):
                found |= np.logical_and.reduce([own[index[role]] for role, own in fits.items()])
    return found


def nearest_triplets(
    index: TripletIndex, place: int, embeddings: np.ndarray | None = None, most: int = 5
) -> pd.DataFrame:
    """At most ``most`` training triplets that share two of the three classes with the one at ``place``.

    Ranked by the cosine of their caption embeddings, where ``embeddings`` (n, T) of all places are given (those of
    captions.parquet; only the rows needed are read), else by count. Columns subject, relation, object (class ids),
    count, similarity (cosine, nan without embeddings); the index is the place.
    """
    equal = np.stack([index[role] == own for role, own in zip(ROLES, index.triplets(place), strict=True)])  # (3, n)
    found = np.flatnonzero((equal.sum(axis=0) == 2) & (index["count"] > 0))
    similarity = np.full(len(found), np.nan)
    if embeddings is not None:
        if len(embeddings) != len(index):
            what = f"{index.folder}: {len(index):,} triplets but {len(embeddings):,} caption embeddings"
            raise WorkbenchError(f"{what}. Give the embeddings of the stage triplets that the index was built from.")
        own, others = (np.asarray(embeddings[at], dtype=np.float64) for at in (place, found))
        lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(own)
        np.divide(others @ own, lengths, out=similarity, where=lengths > 0)
    table = pd.DataFrame(index.triplets(found), columns=list(ROLES), index=pd.Index(found, name="place"))
    table = table.assign(count=index["count"][found], similarity=similarity)
    return table.sort_values(["similarity", "count"], ascending=False, kind="stable")[:most]
