"""WordNet without a network: the noun database that comes with the project, opened by NLTK.

The package carries WordNet 3.0 nouns without glosses (``data/wordnet_nouns.tar.xz``, under ``data/LICENSE.wordnet``).
They are unpacked once into a cache folder. NLTK reads corpora only below ``nltk.data.path``, so the folder that holds
``corpora/wordnet`` is put there.
"""

import errno
import functools
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import WorkbenchError
from workbench.files import sha256_of_file

if TYPE_CHECKING:
    from nltk.corpus.reader import WordNetCorpusReader

ARCHIVE = Path(__file__).parent / "data" / "wordnet_nouns.tar.xz"
LICENCE = Path(__file__).parent / "data" / "LICENSE.wordnet"

# NLTK opens all of these, some of them only to find them empty.
DATABASE_FILES = (
    "data.noun",
    "index.noun",
    "noun.exc",
    "lexnames",
    *(f"{kind}.{part}" for part in ("verb", "adj", "adv") for kind in ("data", "index")),
    *(f"{part}.exc" for part in ("verb", "adj", "adv")),
    "cntlist.rev",
    "index.sense",
)
LARGEST_FILE_BYTES = 64 << 20


@functools.cache
def open_wordnet(folder: Path | None = None) -> "WordNetCorpusReader":
    """NLTK's WordNet reader on the shipped nouns, or on the WordNet in ``folder``, an ``nltk_data`` folder.

    The reader is shared by later calls. WorkbenchError where NLTK cannot read what is there.
    """
    import nltk.data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    root = unpack_nouns() if folder is None else Path(folder)
    if str(root) not in nltk.data.path:
        nltk.data.path.insert(0, str(root))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The multilingual functions are not available")
        try:
            return WordNetCorpusReader(str(root / "corpora" / "wordnet"), None)
        except (OSError, LookupError, ValueError, AssertionError) as error:
            raise WorkbenchError(
                f"{root / 'corpora' / 'wordnet'}: NLTK cannot read this WordNet ({error}). "
                "Delete the folder if it is a cache, or name another WordNet folder."
            ) from error


def noun_senses(name: str, reader, max_senses: int | None = None) -> tuple[str, list]:
    """The noun synsets of a class name, most frequent sense first, and the form of the name that has them.

    Tried in turn: the words joined by underscores, by hyphens, and the head noun alone (the last word; before "of",
    the word there). NLTK's morphy takes plurals off each. No form with a noun sense: ("", []), never a guess.
    """
    for form in name_forms(name):
        if synsets := reader.synsets(form, "n"):
            # A plural may have two base forms (cookie, cooky) of the same synsets. Cut first, as plain NLTK code does.
            return form, list(dict.fromkeys(synsets[:max_senses]))
    return "", []


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
    unpacking nor a new archive can leave a wrong database behind. Only the expected names are taken from the archive.
    """
    if not archive.is_file():
        raise WorkbenchError(f"{archive}: the shipped WordNet is missing. Install the package again.")
    name = f"nouns-{sha256_of_file(archive)[:12]}"
    root = _cache_folder(cache) / name
    if all((root / "corpora" / "wordnet" / file).is_file() for file in DATABASE_FILES):
        return root
    partial = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=root.parent))
    try:
        (partial / "corpora" / "wordnet").mkdir(parents=True)
        _extract(archive, partial / "corpora" / "wordnet")
        if root.exists():  # a folder that lost files; another process may be mending it too
            shutil.rmtree(root, ignore_errors=True)
        _publish(partial, root)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WorkbenchError(
                f"{root}: the disk is full. Free about 12 MB and run the same command again."
            ) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def _extract(archive: Path, target: Path) -> None:
    # Names are looked up, never joined from the archive: no member can write outside the folder.
    try:
        with tarfile.open(archive, mode="r:xz") as tar:
            members = {member.name: member for member in tar if member.isfile()}
            for name in DATABASE_FILES:
                content = tar.extractfile(members[name])
                if content is None or members[name].size > LARGEST_FILE_BYTES:
                    raise tarfile.TarError(f"{name} is no file of at most {LARGEST_FILE_BYTES} bytes")
                (target / name).write_bytes(content.read())
    except (tarfile.TarError, lzma.LZMAError, EOFError, KeyError) as error:
        raise WorkbenchError(f"{archive}: not a whole WordNet archive ({error}). Install the package again.") from error


def _publish(partial: Path, root: Path) -> None:
    try:
        partial.rename(root)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise  # otherwise another process was first, with the same content


def _cache_folder(cache: Path | None) -> Path:
    home = os.environ.get("WORKBENCH_HOME")
    project = Path(__file__).resolve().parents[2]
    choices = [Path(home).expanduser() / "data" / "cache" / "wordnet"] if home else []
    if not home and (project / "pyproject.toml").is_file():
        choices.append(project / "data" / "cache" / "wordnet")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    choices.append(user / "workbench" / "wordnet")
    for folder in [cache] if cache else choices:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    tried = ", ".join(str(folder) for folder in ([cache] if cache else choices))
    raise WorkbenchError(f"No folder for the unpacked WordNet can be written ({tried}). Set WORKBENCH_HOME to one.")
