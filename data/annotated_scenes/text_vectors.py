"""Text vectors that come with a data set, one a class name: what cannot be used is named by file, entry and class."""

import difflib
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.file_errors import reading
from workbench.files import read_json
from workbench.scenes.problems import FileProblems, shown

EMBED_AGAIN = "Embed this name again, with the encoder of the others."
LACKING = " A row of NaN marks a relation without a vector."
IN_ORDER = "Give one vector for each name, in the order of the names, from one encoder for both lists."


def read_text_vectors(
    file: FileProblems, names: tuple[str, ...], *, may_lack: bool = False, dimension: int | None = None
) -> np.ndarray | None:
    """The vectors (classes, T) float32 of ``names``, of an npy array or of JSON; None where they cannot be used.

    JSON is a list of vectors in the order of the names, or an object from name to vector. With ``may_lack`` a row of
    NaN stands for a name without one. ``dimension`` is the T of the other list. All that is wrong goes to ``file``.
    """
    try:
        with reading(file.path, "text vectors of class names", "Save them as plain numbers."):
            values = np.load(file.path, allow_pickle=False) if file.path.suffix == ".npy" else read_json(file.path)
    except WorkbenchError as error:
        file.blocking("unreadable file", "whole file", str(error), "an array of numbers", EMBED_AGAIN)
        return None
    if isinstance(values, dict):
        values = {name.strip(): vector for name, vector in values.items()}  # as the names are read
        if lacking := [name for name in names if name not in values]:
            near = difflib.get_close_matches(lacking[0], values, n=1, cutoff=0.0)
            found = f"none ({len(lacking)} such names); the nearest is {', '.join(map(repr, near)) or 'none'}"
            remedy = "Spell it as the class, or add it."
            file.blocking("missing vector", f"name {lacking[0]!r}", found, "a vector", remedy)
            return None
        values = [values[name] for name in names]
    if not isinstance(values, np.ndarray):
        values = _rows_of_lists(file, values, names)
    elif values.dtype.kind not in "iuf":
        file.blocking("wrong type", "whole file", f"{values.dtype}", "plain numbers", "Save the array as float32.")
        return None
    if values is None:
        return None
    fits = values.ndim == 2 and values.shape[1] > 0 and len(values) == (len(names) or len(values))
    if not fits or dimension not in (None, values.shape[1]):
        expected = f"({len(names) or 'names'}, {dimension or 'T'})"
        file.blocking("wrong shape", "whole file", str(values.shape), expected, IN_ORDER)
        return None
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is refused
        vectors = values.astype(np.float32)
        usable = np.isfinite(np.linalg.norm(vectors, axis=1))
    lacking = may_lack & np.isnan(vectors).all(axis=1)
    for row in np.flatnonzero(lacking):
        file.warning("no vector", _record(row, names), "a row of NaN", "a vector", "It is learned from the features.")
    finite = usable | lacking
    for kind, bad in (("non-finite number", ~finite), ("zero vector", ~vectors.any(axis=1))):
        zero = kind == "zero vector"
        found, expected = ("zeros", "a vector with a direction") if zero else ("nan, inf or a huge number", "numbers")
        for row in np.flatnonzero(bad):
            file.blocking(kind, _record(row, names), found, expected, EMBED_AGAIN + LACKING * may_lack)
    first: dict[bytes, int] = {}
    for place in np.flatnonzero(usable & vectors.any(axis=1)).tolist():
        other = first.setdefault(vectors[place].tobytes(), place)
        if other != place:
            found, remedy = f"that of {_record(other, names)}", "Is it that of unknown words? Embed the name itself."
            file.warning("one vector for two names", _record(place, names), found, "one of its own", remedy)
    return vectors


def _rows_of_lists(file: FileProblems, lists: Any, names: tuple[str, ...]) -> np.ndarray | None:
    if not isinstance(lists, list) or not lists:
        file.blocking("wrong type", "whole file", shown(lists), "a list of vectors", IN_ORDER)
        return None
    usual = max(lengths := [len(row) if isinstance(row, list) else 0 for row in lists], key=lengths.count)
    good = True
    for place, row in enumerate(lists):
        numbers = [_is_number(value) for value in row] if isinstance(row, list) else []
        if not numbers or not all(numbers) or len(numbers) != usual:
            found = shown(row[numbers.index(False)]) if False in numbers else f"{len(numbers)} numbers"
            expected = f"{usual} numbers, as the others"
            file.blocking("unusable vector", _record(place, names), found, expected, EMBED_AGAIN)
            good = False
    return np.array(lists, dtype=np.float64) if good else None


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**1000)  # beyond it is no float


def _record(place: int | np.integer, names: tuple[str, ...]) -> str:
    return f"row {place} ({names[place]!r})" if place < len(names) else f"row {place}"
