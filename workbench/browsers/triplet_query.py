"""What a person looks for among the distinct triplets, what fits, and what each toggle would show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from workbench.browsers.caption_text import needles, occurrences
from workbench.browsers.triplet_index import SORTS, TripletIndex
from workbench.errors import WorkbenchError
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import ROLES

# Origins by whether a triplet has training examples and augmented rows: bit 0 and bit 1 of its code.
ORIGINS = {"any": (1, 2, 3), "original": (1, 3), "augmented": (2, 3)}
ORIGIN = "origin"
_SHAPE = (len(BANDS), len(BANDS), len(BANDS), 4)  # of the toggles: band of each role, origin code


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
        _require("role", [*self.bands, *self.classes], ROLES)
        _require("band", [band for bands in self.bands.values() for band in bands], BANDS)
        _require("origin", [self.origin], ORIGINS)
        _require("sort", [self.sort], SORTS)


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
        fits &= _at_places(index, np.asarray(query.ids, dtype=np.int64))
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


def _at_places(index: TripletIndex, places: np.ndarray) -> np.ndarray:
    _require_inside("triplet", places, len(index))
    here = np.zeros(len(index), dtype=bool)
    here[places] = True
    return here


def _require(kind: str, values: list[str], known) -> None:
    for value in values:
        if value not in known:
            raise WorkbenchError(f"the query has {kind} {value!r}; expected one of {', '.join(known)}.")


def _require_inside(kind: str, numbers: np.ndarray, size: int) -> None:
    wrong = numbers[(numbers < 0) | (numbers >= size)]
    if len(wrong):
        raise WorkbenchError(
            f"the query has {kind} {wrong[0]}; expected 0 to {size - 1}. It belongs to another index: choose again."
        )
