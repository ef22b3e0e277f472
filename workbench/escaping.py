"""Names and messages that came out of files, escaped so that no reader mistakes them for commands."""

import unicodedata

WITHOUT_INFLUENCE = True  # on any result: how it is reported, watched or stopped

# Control characters, invisible formatting (right-to-left marks), halves of surrogate pairs, line separators.
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Without these two, words of Persian, of Indian scripts and emoji of several parts are written differently.
_JOINERS = "\u200c\u200d"
ELLIPSIS = "…"


def escaped(text: str, longest: int | None = None) -> str:
    r"""``text`` on one line: a character that is not seen becomes its escape, a newline ``\n``.

    ``longest`` is the most characters that are kept, the last of them an ellipsis where more are there. Printed to a
    terminal, the result moves no cursor and changes no colour; in a file it is valid UTF-8.
    """
    if not text.isprintable():
        text = "".join(map(_seen, text))
    return text if longest is None or len(text) <= longest else text[: longest - 1] + ELLIPSIS


def escaped_lines(text: str) -> str:
    """``text`` with every line `escaped` and the line ends left as they are; tabs stay."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(character if character in "\n\t" else _seen(character) for character in text)


def _seen(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN or character in _JOINERS:
        return character
    return character.encode("unicode_escape").decode("ascii")
