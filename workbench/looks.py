"""What a config or a notebook says of the files that it names, so that they are looked at before anything runs.

A field ``word_vectors: WordVectorFile | None`` names the function that looks: it takes the path, the vocabulary of the
data or None where that is not known yet, and the config, or the first of these. It raises a WorkbenchError; NotHereYet
for what a plan may lack.
"""

import dataclasses
import sys
import typing
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from workbench.errors import NotHereYet, WorkbenchError
from workbench.file_kinds import FileKind, file_kind
from workbench.paths import list_file
from workbench.registry import imported


def _given(root: Path, value: Any) -> Path:
    return root / Path(value).expanduser()


def _itself(root: Path, value: Any) -> Any:
    return value


def _data(root: Path, value: Any, inside: str = "features") -> Any:
    from workbench.stages import Run

    return getattr(Run("any", root, value), inside)


_text = partial(_data, inside="text")


class LookedAt(NamedTuple):
    """The function that looks at a file, as ``module:name``, so that nothing is imported before it is needed.

    ``place`` makes what is looked at of the project's root and the value; it is the look itself where there is no
    function. That ``takes`` so much, and ``always`` looks at None too.
    """

    function: str
    place: Callable[[Path, Any], Any] = _given
    takes: int = 1
    always: bool = False

    def check(self, value: Any, kind: type, place: str) -> None:
        """A name says nothing by itself."""


WordVectorFile = Annotated[Path, LookedAt("workbench.recognition.word_vectors:look", takes=3)]
PairTable = Annotated[Path, LookedAt("workbench.language.similarity:look", takes=2)]
SensesTable = Annotated[Path, LookedAt("workbench.language.senses:look", takes=2)]
ClipWeights = Annotated[Path, LookedAt("workbench.language.caption_encoder:look", takes=3, always=True)]
Annotations = Annotated[str, LookedAt("workbench.scenes.vocabulary:Vocabulary.read")]
DataSet = Annotated[str, LookedAt("", _data)]
TextOfDataSet = Annotated[str, LookedAt("workbench.language.text_embedding:TextEmbeddings.open", _text)]
Synsets = Annotated[str, LookedAt("workbench.language.synset_tables:read_synsets", _itself, takes=2)]
TripletList = Annotated[str, LookedAt("workbench.scenes.vocabulary:read_triplet_list", list_file, takes=2)]
TypedTriplets = Annotated[list, LookedAt("workbench.scenes.vocabulary:look", _itself, takes=2)]
TablesFile = Annotated[str, LookedAt("workbench.tables.results:read_tables")]
Device = Annotated[str, LookedAt("workbench.devices:chosen_device", _itself)]
ImageFolder = Annotated[str, LookedAt("workbench.looks:look_at_images")]


def look_at_images(path: Path) -> None:
    """Refuse a folder without an image among its first files."""
    files = (file for file in islice(path.rglob("*"), 1000) if file.is_file())
    if not path.is_dir() or not any(file_kind(file) in (FileKind.IMAGE, FileKind.BINARY) for file in files):
        raise WorkbenchError(f"{path}: expected a folder of images, found none in it. Correct the path.")


@dataclasses.dataclass
class FirstLook:
    """Looks once at each file below ``root``; what is missing is told on standard error where it ``may_be_absent``."""

    root: Path
    may_be_absent: bool
    vocabulary: Any = None
    looked: set[tuple[str, str]] = dataclasses.field(default_factory=set)

    def at(self, place: str, kind: Any, value: Any, config: Any = None) -> None:
        """Look at what ``value`` of type ``kind`` names; WorkbenchError with the ``place``, and the field's name."""
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            kinds = typing.get_type_hints(type(value), include_extras=True)
            for field in dataclasses.fields(value):
                self.at(f"{place}.{field.name}", kinds[field.name], getattr(value, field.name), value)
            return
        for arm in (kind, *typing.get_args(kind)):
            look = getattr(arm, "__metadata__", (None,))[0]
            if isinstance(look, LookedAt) and (look.always or (value and isinstance(value, arm.__origin__))):
                self._look(look, value, place, config)

    def _look(self, look: LookedAt, value: Any, place: str, config: Any) -> None:
        if (look.function, str(value)) in self.looked:
            return
        self.looked.add((look.function, str(value)))
        try:
            path = look.place(self.root, value) if value else None
            if self.may_be_absent and isinstance(path, Path) and not path.exists():
                raise NotHereYet(str(path))
            if look.function:
                imported(look.function, place)(*(path, self.vocabulary, config)[: look.takes])
        except WorkbenchError as error:
            if not (self.may_be_absent and isinstance(error, NotHereYet)):
                raise WorkbenchError(f"{place}: {error}") from error
            print(f"not here yet, {place}: {error}", file=sys.stderr)
