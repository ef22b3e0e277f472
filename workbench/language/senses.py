"""What a class name means: the WordNet senses by which classes are compared.

Of a data set's own table, of a lexicon of everyday things that comes with the project, or by rule. A mouse on a desk
is no animal, a dish on a wall no meal: over all senses of a name half of the pairs that LCH finds alike are nonsense,
and of those with the right senses a third meet at an ancestor that says little (a cup and a napkin dispenser are both
containers). So classes that meet at a general ancestor alone are alike only where they are in one everyday group.

The lexicon and the groups were written by hand; ``tests/language/gqa_pairs.csv`` holds the labelled pairs by which they
are measured.
"""

import csv
import functools
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.language.noun_paths import EverydayGroups, everyday_groups
from workbench.language.synset_tables import (
    OBJECTS_TABLE,
    SENSES_TABLE,
    SYNSET_TABLES,
    WORDS_TABLE,
    gap,
    read_rows,
    read_synsets,
    read_words,
    require_class,
)
from workbench.language.wordnet import noun_senses, open_wordnet
from workbench.scenes.vocabulary import Vocabulary, plain_name

if TYPE_CHECKING:
    from nltk.corpus.reader import WordNetCorpusReader
    from nltk.corpus.reader.wordnet import Synset

SENSES_BY_RULE, SENSES_LOOKED_AT = 2, 4
LOOKED_UP = "They are looked up as without a table."
_DATA = Path(__file__).parent / "data"
# Lexicographer files of nouns that no picture shows.
_UNSEEN = {
    f"noun.{what}"
    for what in (
        "act", "attribute", "cognition", "communication", "event", "feeling", "motive", "possession", "process",
        "quantity", "relation", "state", "time",
    )
}  # fmt: skip
Chosen = Literal["table", "everyday", "rule", "all", "none"]


class Sense(NamedTuple):
    """The synsets of one class name, and what chose them."""

    synsets: tuple["Synset", ...]
    chosen_by: Chosen


@dataclass(frozen=True, eq=False)
class ClassSenses:
    """The ``senses`` of the classes ``names`` in one ``reader``'s WordNet.

    ``groups``: where classes that meet at a general ancestor are alike; None: everywhere.
    """

    names: tuple[str, ...]
    senses: tuple[Sense, ...]
    reader: "WordNetCorpusReader"
    groups: EverydayGroups | None = None

    @property
    def synsets(self) -> list[tuple["Synset", ...]]:
        """Of each class in order."""
        return [sense.synsets for sense in self.senses]

    @property
    def gaps(self) -> str:
        """What the table of senses lacks, where one chose some, in words."""
        by_table = [name for name, sense in zip(self.names, self.senses, strict=True) if sense.chosen_by == "table"]
        return gap(by_table, self.names, "objects", "table of senses", LOOKED_UP) if by_table else ""

    def save(self, path: Path) -> None:
        """Write a table that :func:`read_senses` reads: a row for each sense, with what chose it."""
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["name", "synset", "chosen_by"])
            for name, sense in zip(self.names, self.senses, strict=True):
                synsets = [synset.name() for synset in sense.synsets] or [""]
                writer.writerows([name, synset, sense.chosen_by] for synset in synsets)


def class_senses(
    names: Sequence[str],
    choice: str | Path | Mapping[str, str] = "automatic",
    folder: Path | None = None,
    *,
    max_senses: int = SENSES_LOOKED_AT,
    wordnet: "WordNetCorpusReader | None" = None,
) -> ClassSenses:
    """The senses of class names by ``choice`` (see ``AugmentationConfig.senses``).

    "automatic", and whatever a mapping or a table leaves open, takes the table of the data set in ``folder`` where
    there is one. ``wordnet``: NLTK's reader, by default the shipped nouns. WorkbenchError for a table that is none, or
    that names no class.
    """
    reader = open_wordnet() if wordnet is None else wordnet
    if choice == "all":
        found = (tuple(noun_senses(name, reader, max_senses)) for name in names)
        return ClassSenses(
            tuple(names), tuple(Sense(synsets, "all" if synsets else "none") for synsets in found), reader
        )
    paths = filter(None, (own_table(folder), choice if isinstance(choice, Path) else None))
    table = {name: senses for path in paths for name, senses in read_senses(path, names, reader).items()}
    for name, synset in choice.items() if isinstance(choice, Mapping) else ():
        Vocabulary(tuple(names), ()).class_id("object", name)  # refuses a name that is no class
        table[name] = (known_synset(synset, reader, f"senses, {name!r}"),) if synset else ()
    senses = tuple(Sense(table[name], "table") if name in table else _looked_up(name, reader) for name in names)
    return ClassSenses(tuple(names), senses, reader, everyday_groups(reader))


def own_table(folder: Path | None) -> Path | None:
    """The table of senses that a data set has: of its own, GQA-LT's or VG8K-LT's."""
    places = [] if folder is None else [Path(folder) / name for name in (SENSES_TABLE, OBJECTS_TABLE, WORDS_TABLE)]
    return next((path for path in places if path.is_file()), None)


def read_senses(path: Path, names: Sequence[str], reader: "WordNetCorpusReader") -> dict[str, tuple["Synset", ...]]:
    """The senses of the names that a table has: CSV with the columns name (or object_name) and synset, or VG8K's JSON.

    A name may have several rows; one without a synset is compared with no other. A data set's synset tables, made for
    evaluation, may name verbs and synsets of another WordNet: such names are left to the lexicon, where a table of
    senses is refused. WorkbenchError for another file, or where none of ``names`` is in it.
    """
    rows, made_for_this = _rows(path), path.name not in (OBJECTS_TABLE, WORDS_TABLE)
    known: dict[str, tuple[Synset, ...]] = {}
    for number, (name, synset) in enumerate(rows, start=1):
        found: tuple[Synset, ...] = ()
        if synset and name in names:
            try:
                found = (known_synset(synset, reader, f"{path}, row {number} ({name!r})"),)
            except WorkbenchError:
                if made_for_this:
                    raise
                continue
        known[name] = (*known.get(name, ()), *found)
    require_class(known, names, "objects", path)
    return known


def table_gaps(folder: Path, vocabulary: Any) -> list[str]:
    """What the tables of synsets and of senses of a data set in ``folder`` lack; WorkbenchError for a wrong one."""
    folder, told = Path(folder), []
    if any((place / name).is_file() for place in (folder, folder.parent) for name in SYNSET_TABLES):
        told = read_synsets(folder, vocabulary).gaps(vocabulary)
    if (own := folder / SENSES_TABLE).is_file():
        known = read_senses(own, vocabulary.objects, open_wordnet())
        told.append(gap(known, vocabulary.objects, "objects", own, LOOKED_UP))
    return list(filter(None, told))


def look(path: Path, vocabulary: Any) -> None:
    """Refuse a table of senses that is none, or that names no class of ``vocabulary``."""
    read_senses(path, vocabulary.objects, open_wordnet()) if vocabulary is not None else _rows(path)


def _rows(path: Path) -> list[tuple[str, str]]:
    return read_words(path)["nouns"] if path.suffix == ".json" else read_rows(path, "name", "object_name")


def known_synset(name: str, reader: "WordNetCorpusReader", place: str) -> "Synset":
    """The synset of a name such as cup.n.01; WorkbenchError that says at which ``place`` another one stands."""
    from nltk.corpus.reader.wordnet import WordNetError

    try:
        return reader.synset(name)
    except (WordNetError, ValueError) as error:
        raise WorkbenchError(
            f"{place}: WordNet 3.0 has no noun sense {name!r}. Write one such as cup.n.01, or leave it empty."
        ) from error


def _looked_up(name: str, reader: "WordNetCorpusReader") -> Sense:
    """By the lexicon or by rule: the whole name first, then ever fewer of its last words ("red wine bottle")."""
    said, bracket, _ = plain_name(name).lower().partition("(")
    if bracket:  # "mouse (computer equipment)" says which
        meant = noun_senses(name, reader)
        return Sense(visible_senses(meant), "rule" if meant else "none")
    words, lexicon = said.split(), everyday_senses()
    of = words.index("of") if "of" in words[1:] else None
    for part in [words, *(words[at:of] for at in range(int(of is None), of or len(words)))]:
        for form in (" ".join(part), *_singulars(part, reader)):
            if form in lexicon:
                synsets = tuple(reader.synset(synset) for synset in lexicon[form])
                return Sense(synsets, "everyday" if synsets else "none")
        if len(part) > 1 or part is words:
            for mark in "_-":
                if found := reader.synsets(mark.join(part), "n"):
                    return Sense(visible_senses(list(dict.fromkeys(found))), "rule")
    rest = noun_senses(name, reader)
    return Sense(visible_senses(rest), "rule" if rest else "none")


def _singulars(words: list[str], reader: "WordNetCorpusReader") -> list[str]:
    *first, last = words
    bases = [base for base in reader._morphy(last, "n") if base != last]
    # Also of nouns that WordNet lacks and the lexicon has: nightstands.
    bases += [last.removesuffix(end) + new for end, new in (("ies", "y"), ("es", ""), ("s", "")) if last.endswith(end)]
    return [" ".join([*first, base]) for base in dict.fromkeys(bases)]


def visible_senses(synsets: Sequence["Synset"]) -> tuple["Synset", ...]:
    """The rule: of the first four senses the first two that a picture can show.

    A person counts only where the first sense and most of the four are persons ("shark" is an expert, too). Where
    nothing is left, the first sense.
    """
    looked_at = list(synsets)[:SENSES_LOOKED_AT]
    person = [synset.lexname() == "noun.person" for synset in looked_at]
    persons = person[:1] == [True] and 2 * sum(person) > len(person)
    seen = [synset for synset, is_person in zip(looked_at, person, strict=True)
            if synset.lexname() not in _UNSEEN and (persons or not is_person)]  # fmt: skip
    return tuple(seen[:SENSES_BY_RULE] or looked_at[:1])


@functools.cache
def noun_glosses(reader: "WordNetCorpusReader") -> dict[int, str]:
    """What the shipped WordNet's nouns are, in its words, by byte offset; the nouns themselves come without."""
    with lzma.open(_DATA / "noun_glosses.txt.xz", "rt", encoding="utf-8") as glosses, reader.open("data.noun") as nouns:
        offsets = [int(line[:8]) for line in nouns.read().splitlines() if line[:1] not in ("", " ")]
        return dict(zip(offsets, glosses.read().splitlines(), strict=True))


@functools.cache
def everyday_senses() -> dict[str, list[str]]:
    """The lexicon: names of synsets by singular noun, none where WordNet has no sense that fits."""
    lexicon: dict[str, list[str]] = {}
    for name, synset in _rows(_DATA / "everyday_senses.csv"):
        lexicon.setdefault(name, []).extend([synset] if synset else [])
    return lexicon
