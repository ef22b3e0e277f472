"""Where words and phrases occur in captions, found on the few class names that captions are made of.

A caption is "subject relation object", so what a person types is looked for in two thousand names instead of half a
million captions; a phrase may also run over the borders of its names.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.scenes.vocabulary import ROLES

# An underscore separates words as a space does.
_NO_LETTER_BEFORE, _NO_LETTER_AFTER = r"(?<![^\W_])", r"(?![^\W_])"
_PHRASE_OR_WORD = re.compile(r'"(?P<phrase>[^"]*)(?P<closed>"|$)|(?P<word>[^\s"]+)')


def folded(text: str) -> str:
    """Text without case, accents and repeated spaces."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in apart if unicodedata.category(letter) != "Mn")
    return " ".join(plain.casefold().split())


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
    found = _in_any_role(f"{needle.start}{literal}{needle.end}", names, ids)
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


def _in_any_role(pattern: str, names: Mapping, ids: Mapping) -> np.ndarray:
    found = np.zeros(len(ids["subject"]), dtype=bool)
    for role in ROLES:
        _add(found, ids, {role: _matching(pattern, names[role])})
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
