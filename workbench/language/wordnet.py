"""WordNet without a network: the nouns that come with the project, and the senses of class names.

The package carries WordNet 3.0 nouns without glosses (``data/wordnet_nouns.tar.xz``, under ``data/LICENSE.wordnet``).
They are unpacked once into a cache folder and read by NLTK.
"""

import contextlib
import functools
import lzma
import os
import re
import tarfile
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import WorkbenchError
from workbench.file_errors import writing
from workbench.files import sha256_of_file
from workbench.locks import temporary_folder
from workbench.paths import HOME_VARIABLE, project_root
from workbench.scenes.vocabulary import plain_name

if TYPE_CHECKING:
    from nltk.corpus.reader import WordNetCorpusReader
    from nltk.corpus.reader.wordnet import Synset

ARCHIVE = Path(__file__).parent / "data" / "wordnet_nouns.tar.xz"


@functools.cache
def open_wordnet(folder: Path | None = None) -> "WordNetCorpusReader":
    """NLTK's WordNet reader on the shipped nouns, or on the WordNet in ``folder``, an ``nltk_data`` folder.

    The reader is shared by later calls, and by threads. WorkbenchError where NLTK cannot read what is there, or where
    the irregular plurals are missing, without which "feet" and "geese" have no sense.
    """
    import nltk.data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class SharedReader(WordNetCorpusReader):
        """NLTK goes to a synset by seek and readline in one open file, without a lock."""

        _lock = threading.RLock()

        def synset_from_pos_and_offset(self, pos: str, offset: int) -> "Synset":
            with self._lock:
                return super().synset_from_pos_and_offset(pos, offset)

    root = unpack_nouns() if folder is None else Path(folder)
    plurals = root / "corpora" / "wordnet" / "noun.exc"
    if (plurals.parent / "data.noun").is_file() and not (plurals.is_file() and plurals.stat().st_size):
        remedy = f"Delete {root}, which is unpacked again."
        if folder is not None:
            remedy = "Copy it from WordNet's folder dict/, or leave the folder out to take the project's nouns."
        what = f"{plurals}: missing or empty, expected the irregular plurals"
        raise WorkbenchError(f"{what}; without them feet, children and geese have no sense. {remedy}")
    if str(root) not in nltk.data.path:
        nltk.data.path.insert(0, str(root))  # NLTK reads corpora only below these folders
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The multilingual functions are not available")
        try:
            return SharedReader(str(root / "corpora" / "wordnet"), None)
        except (OSError, LookupError, ValueError, AssertionError) as error:
            raise WorkbenchError(
                f"{root / 'corpora' / 'wordnet'}: NLTK cannot read this WordNet ({error}). "
                "Delete the folder if it is a cache, or name another WordNet folder."
            ) from error


def noun_senses(name: str, reader: "WordNetCorpusReader", max_senses: int | None = None) -> list["Synset"]:
    """The noun synsets of a class name, most frequent sense first.

    Tried in turn: the words joined by underscores, by hyphens, and the head noun alone (the last word; before "of",
    the word there). NLTK's morphy takes plurals off each. The name is read as `plain_name` says it; what stands in
    brackets chooses the senses. No form with a noun sense, or several of which none is meant: [], never a guess.
    """
    words, _, meaning = plain_name(name).partition("(")
    for form in name_forms(words):
        if synsets := _meant(reader.synsets(form, "n"), meaning):
            # A plural may have two base forms (cookie, cooky) of the same synsets. Cut first, as plain NLTK code does.
            return list(dict.fromkeys(synsets[:max_senses]))
    return []


def _meant(synsets: list["Synset"], kind: str) -> list["Synset"]:
    """The senses that share most words with the ``kind`` in brackets, by lemmas of their own and above them."""
    if not kind or len(synsets) < 2:
        return synsets
    above = [(synset, *synset.closure(lambda s: s.hypernyms())) for synset in synsets]
    texts = [kind, *(" ".join(name for s in senses for name in s.lemma_names()) for senses in above)]
    words, *own = ({word.rstrip("s") for word in re.findall(r"[a-z]{3,}", text.lower())} for text in texts)
    # What a thing is for, or on, is not what it is.
    shared = [0 if re.match("(for|on|in|with) ", kind) else len(words & lemmas) for lemmas in own]
    return [synset for synset, count in zip(synsets, shared, strict=True) if count == max(shared) > 0]


def name_forms(name: str) -> list[str]:
    """The spellings under which WordNet may hold a class name, in the order of trust."""
    words = re.split(r"[\s_]+", name.strip().lower())
    parts = re.split(r"[\s_-]+", name.strip().lower().strip("-_"))
    head = parts[parts.index("of") - 1] if "of" in parts[1:] else parts[-1]
    forms = ["_".join(words), "_".join(parts), "-".join(parts), head]
    return [form for form in dict.fromkeys(forms) if form]


def unpack_nouns(cache: Path | None = None, archive: Path = ARCHIVE) -> Path:
    """Unpack the shipped nouns once and return the folder that holds ``corpora/wordnet``.

    ``cache``: where to, by default ``data/cache/wordnet`` of the project or, where that cannot be written, the user's
    cache. The folder's name carries the archive's digest, and it appears in one rename, so that neither an interrupted
    unpacking nor a new archive can leave a wrong database behind.
    """
    if not archive.is_file():
        raise WorkbenchError(f"{archive}: the shipped WordNet is missing. Install the package again.")
    root = _cache_folder(cache) / f"nouns-{sha256_of_file(archive)[:12]}"
    if root.is_dir():
        return root
    with writing(root), temporary_folder(".nouns-", str(root.parent)) as temporary:
        partial = Path(temporary) / "nouns"
        _extract(archive, partial / "corpora" / "wordnet")
        try:
            partial.rename(root)
        except OSError:
            if not root.is_dir():
                raise  # otherwise another process was first, with the same content
    return root


def _extract(archive: Path, target: Path) -> None:
    target.mkdir(parents=True)
    try:
        with tarfile.open(archive, mode="r:xz") as tar:
            for member in tar:
                if content := tar.extractfile(member):
                    # By the last part of its name alone, so that no member can be written outside the folder.
                    (target / Path(member.name).name).write_bytes(content.read())
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise WorkbenchError(f"{archive}: not a whole WordNet archive ({error}). Install the package again.") from error


def _cache_folder(cache: Path | None) -> Path:
    choices = [cache] if cache else [Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "workbench"]
    if not cache:
        with contextlib.suppress(WorkbenchError):  # installed without a project
            choices.insert(0, project_root() / "data" / "cache" / "wordnet")
    for folder in choices:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    tried = ", ".join(map(str, choices))
    raise WorkbenchError(f"No folder for the unpacked WordNet can be written ({tried}). Set {HOME_VARIABLE} to one.")
