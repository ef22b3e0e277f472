"""What a person looks for among the distinct triplets, what fits, and what each toggle would show.

A caption is "subject relation object", so what a person types is looked for in two thousand class names instead of half
a million captions; a phrase may also run over the borders of its names.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from workbench.browsers.triplet_index import SORTS, TripletIndex, folded
from workbench.browsers.widgets import class_id, require_fields, require_one_of
from workbench.errors import WorkbenchError
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import ROLES, Vocabulary

# Origins by whether a triplet has training examples and augmented rows: bit 0 and bit 1 of its code.
ORIGINS = {"any": (1, 2, 3), "original": (1, 3), "augmented": (2, 3)}
ORIGIN = "origin"
_SHAPE = (len(BANDS), len(BANDS), len(BANDS), 4)  # of the toggles: band of each role, origin code
# An underscore separates words as a space does.
_NO_LETTER_BEFORE, _NO_LETTER_AFTER = r"(?<![^\W_])", r"(?![^\W_])"
_PHRASE_OR_WORD = re.compile(r'"(?P<phrase>[^"]*)(?P<closed>"|$)|(?P<word>[^\s"]+)')


@dataclass(frozen=True, eq=False)
class TripletQuery:
    """Filters that must all hold, and an order.

    ``text``: every word must start a word of the caption, a phrase in double quotes must stand there as whole words;
    case and accents do not matter. ``bands`` and ``classes``: role to names of bands, or to class ids, of which a
    triplet must have one; no role or an empty one is all. ``origin``: one of ORIGINS. ``ids``: places (m,) of an index,
    None is all. ``sort``: one of SORTS; ``seed``: of the random order. WorkbenchError for a name that is not known.
    """

    text: str = ""
    bands: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    classes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: MappingProxyType({}))
    origin: str = "any"
    sort: str = "frequency"
    seed: int = 0
    ids: np.ndarray | None = None

    def __post_init__(self):
        for role in (*self.bands, *self.classes):
            require_one_of("role", role, ROLES)
        for band in (band for bands in self.bands.values() for band in bands):
            require_one_of("band", band, BANDS)
        require_one_of("origin", self.origin, ORIGINS)
        require_one_of("sort", self.sort, SORTS)


@dataclass(frozen=True, eq=False)
class Matches:
    """``places`` (m,) of the index in the order asked for, and the number of training ``relations`` they stand for."""

    places: np.ndarray
    relations: int

    @property
    def triplets(self) -> int:
        """Number of distinct triplets."""
        return len(self.places)

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True)
class TripletState:
    """The filters, the order, and what is open.

    ``bands``: role to the bands that are switched on, none means all. ``classes``: role to one class id. ``chart``: the
    role of the rank-frequency chart, ``bar`` the number of its bar that was clicked. ``crop``: tiles show the union
    region alone. ``opened``: a triplet's place.
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

    def changed(self, vocabulary: Vocabulary, bars: int, /, **changes: Any) -> "TripletState":
        """The state with ``changes``; other filters start at page 1 again. WorkbenchError for a name or value unknown.

        ``classes`` may hold names in place of ids; ``bars``: how many bars the chart has.
        """
        require_fields("the TripletBrowser", changes, TripletState)
        if "bands" in changes:
            for role, band in ((role, band) for role, bands in changes["bands"].items() for band in bands):
                require_one_of("role", role, ROLES)
                require_one_of("band", band, BANDS)
            given = {role: set(bands) for role, bands in changes["bands"].items() if bands}
            changes["bands"] = {role: tuple(band for band in BANDS if band in given[role]) for role in given}
        if "classes" in changes:
            for role in changes["classes"]:
                require_one_of("role", role, ROLES)
            wanted = {role: value for role, value in changes["classes"].items() if value is not None}
            changes["classes"] = {role: class_id(vocabulary, role, value) for role, value in wanted.items()}
        require_one_of("origin", changes.get("origin", self.origin), ORIGINS)
        require_one_of("sort", changes.get("sort", self.sort), SORTS)
        require_one_of("chart", changes.get("chart", self.chart), ROLES)
        if changes.get("chart", self.chart) != self.chart:
            changes.setdefault("bar", None)
        bar = changes.get("bar")
        if bar is not None and not 0 <= bar < bars:
            raise WorkbenchError(f"the chart has no bar {bar}; it has 0 to {bars - 1}.")
        if not changes.keys() <= {"page", "opened", "examples_page", "crop"}:
            changes.setdefault("page", 1)
        if "opened" in changes:
            changes.setdefault("examples_page", 1)
        return replace(self, **changes)

    def query(self, bars: pd.DataFrame, seed: int, selected: np.ndarray) -> TripletQuery:
        """The query over an index: what the clicked bar holds counts beside the menus; ``selected``: ticked places."""
        classes = {role: (number,) for role, number in self.classes.items()}
        ids = selected if self.only_selected else None
        if self.bar is not None:
            clicked, own = tuple(bars["classes"].iloc[self.bar]), self.classes.get(self.chart)
            if own is None:
                classes[self.chart] = clicked
            elif own not in clicked:
                ids = np.zeros(0, dtype=np.int64)  # no triplet has a class of the menu and one of the bar
        return TripletQuery(
            text=self.search, bands=self.bands, classes=classes, origin=self.origin, sort=self.sort, seed=seed, ids=ids
        )

    @property
    def filtered(self) -> bool:
        """Whether anything is filtered out."""
        kept = ("sort", "chart", "crop", "page", "opened", "examples_page")
        return self != replace(TripletState(), **{name: getattr(self, name) for name in kept})


def search(index: TripletIndex, query: TripletQuery) -> Matches:
    """The triplets that fit ``query``, in its order."""
    toggled = np.zeros(_SHAPE, dtype=bool)
    toggled[np.ix_(*_chosen(query))] = True
    fits = _without_toggles(index, query) & toggled.reshape(-1)[_toggle_codes(index)]
    order = index.order(query.sort, query.seed)
    return Matches(order[fits[order]], int(index["count"][fits].sum(dtype=np.int64)))


def facets(index: TripletIndex, query: TripletQuery) -> dict[str, dict[str, int]]:
    """How many triplets each toggle would show alone, given all filters of other groups than its own.

    Returns {"subject": {band: triplets}, "relation": ..., "object": ..., "origin": {origin: triplets}}.
    """
    codes = _toggle_codes(index)[_without_toggles(index, query)]
    triplets = np.bincount(codes, minlength=np.prod(_SHAPE)).reshape(_SHAPE)
    chosen, shown = _chosen(query), {}
    for axis, group in enumerate((*ROLES, ORIGIN)):
        others = [np.arange(size) if at == axis else chosen[at] for at, size in enumerate(_SHAPE)]
        here = triplets[np.ix_(*others)].sum(axis=tuple(at for at in range(len(_SHAPE)) if at != axis))
        values = ORIGINS if group == ORIGIN else {band: [code] for code, band in enumerate(BANDS)}
        shown[group] = {value: int(here[list(codes)].sum()) for value, codes in values.items()}
    return shown


def _chosen(query: TripletQuery) -> list[list[int]]:
    """The codes that each group of toggles lets through, in the order of the axes of _SHAPE."""
    bands = [[BANDS.index(band) for band in query.bands.get(role) or BANDS] for role in ROLES]
    return [*bands, list(ORIGINS[query.origin])]


def _toggle_codes(index: TripletIndex) -> np.ndarray:
    """(n,) uint8: one number for the bands of the three roles and the origin, which is a cell of _SHAPE."""

    def codes() -> np.ndarray:
        origin = (index["count"] > 0) + 2 * (index["augmented"] > 0)
        return np.ravel_multi_index([*(index[f"{role}_band"] for role in ROLES), origin], _SHAPE).astype(np.uint8)

    return index.kept("toggle codes", codes)


def _without_toggles(index: TripletIndex, query: TripletQuery) -> np.ndarray:
    """(n,) bool: what fits the text, the classes and the selection."""
    fits = _fits_text(index, query.text).copy()
    for role, classes in query.classes.items():
        if len(classes):
            fits &= _fits_classes(index, role, tuple(map(int, classes)))
    if query.ids is not None:
        places = np.asarray(query.ids, dtype=np.int64)
        _require_inside("triplet", places, len(index))
        fits &= np.isin(np.arange(len(index)), places)
    return fits


def _fits_text(index: TripletIndex, text: str) -> np.ndarray:
    def found() -> np.ndarray:
        ids, fits = {role: index[role] for role in ROLES}, np.ones(len(index), dtype=bool)
        for needle in needles(text):
            fits &= occurrences(needle, index.folded_names, ids)
            if not fits.any():
                break
        return fits

    return index.kept(("text", text), found)


def _fits_classes(index: TripletIndex, role: str, classes: tuple[int, ...]) -> np.ndarray:
    chosen = np.zeros(len(index.vocabulary.names(role)), dtype=bool)
    _require_inside(f"{role} class", np.array(classes), len(chosen))
    chosen[list(classes)] = True
    return index.kept(("classes", role, classes), lambda: chosen[index[role]])


def _require_inside(kind: str, numbers: np.ndarray, size: int) -> None:
    wrong = numbers[(numbers < 0) | (numbers >= size)]
    if len(wrong):
        raise WorkbenchError(
            f"the query has {kind} {wrong[0]}; expected 0 to {size - 1}. It belongs to another index: choose again."
        )


@dataclass(frozen=True)
class Needle:
    """Folded text that a caption must have, from the start of a word on; a ``whole`` one also ends with a word."""

    text: str
    whole: bool

    @property
    def start(self) -> str:
        """The expression of what may stand before it."""
        return _NO_LETTER_BEFORE if self.text[0].isalnum() else ""

    @property
    def end(self) -> str:
        """The expression of what may stand after it."""
        return _NO_LETTER_AFTER if self.whole and self.text[-1].isalnum() else ""


def needles(text: str) -> tuple[Needle, ...]:
    """The words of a search text, and its quoted phrases, each once; a quotation still open need not end a word."""
    found: dict[Needle, None] = {}
    for match in _PHRASE_OR_WORD.finditer(text):
        phrase = match["phrase"] is not None
        if plain := folded(match["phrase"] if phrase else match["word"]):
            found[Needle(plain, phrase and bool(match["closed"]))] = None
    return tuple(found)


def occurrences(needle: Needle, names: Mapping[str, Sequence[str]], ids: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) bool: which captions have the needle; ``names``: folded class names of each role, ``ids``: (n,) of each."""
    literal = re.escape(needle.text)
    found = np.zeros(len(ids["subject"]), dtype=bool)
    for role in ROLES:
        _add(found, ids, {role: _matching(f"{needle.start}{literal}{needle.end}", names[role])})
    words = needle.text.split(" ")
    for cut in range(1, len(words)):
        before, after = " ".join(words[:cut]), " ".join(words[cut:])
        for left, right in (("subject", "relation"), ("relation", "object")):
            ends, begins = _ending(needle, before, names[left]), _beginning(needle, after, names[right])
            _add(found, ids, {left: ends, right: begins})
        for second in range(cut + 1, len(words)):
            whole = np.array([name == " ".join(words[cut:second]) for name in names["relation"]])
            if whole.any():
                ends = _ending(needle, before, names["subject"])
                begins = _beginning(needle, " ".join(words[second:]), names["object"])
                _add(found, ids, {"subject": ends, "relation": whole, "object": begins})
    return found


def _add(found: np.ndarray, ids: Mapping[str, np.ndarray], classes: Mapping[str, np.ndarray]) -> None:
    """Mark in ``found`` (n,) the captions whose class fits in every role of ``classes`` (role to (K,) bool)."""
    if all(fits.any() for fits in classes.values()):
        found |= np.logical_and.reduce([fits[ids[role]] for role, fits in classes.items()])


def _ending(needle: Needle, text: str, names: Iterable[str]) -> np.ndarray:
    return _matching(rf"{needle.start}{re.escape(text)}\Z", names)


def _beginning(needle: Needle, text: str, names: Iterable[str]) -> np.ndarray:
    return _matching(rf"\A{re.escape(text)}{needle.end}", names)


def _matching(pattern: str, names: Iterable[str]) -> np.ndarray:
    search = re.compile(pattern).search
    return np.array([search(name) is not None for name in names], dtype=bool)
