"""What a config or a notebook says of the files that it names, so that they are looked at before anything runs.

A field ``word_vectors: WordVectorFile | None`` names the function that looks: it takes the path, the config, and the
vocabulary of the data or None where that is not known yet, and raises a WorkbenchError.
"""

import dataclasses
import typing
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from workbench.errors import WorkbenchError
from workbench.registry import imported


class LookedAt(NamedTuple):
    """The function that looks at a file, as ``module:name``, so that nothing is imported before it is needed."""

    function: str

    def check(self, value: Any, kind: type, place: str) -> None:
        """A path says nothing by itself."""


WordVectorFile = Annotated[Path, LookedAt("workbench.recognition.word_vectors:look")]
PairTable = Annotated[Path, LookedAt("workbench.language.similarity:look")]
SensesTable = Annotated[Path, LookedAt("workbench.language.senses:look")]
ClipWeights = Annotated[Path, LookedAt("workbench.language.caption_encoder:look")]
DetectorWeights = Annotated[str, LookedAt("workbench.regions.vgg:look")]
Folder = Annotated[str, LookedAt("workbench.looks:look_at_folder")]


def look_at_folder(path: Path, config: Any, vocabulary: Any) -> None:
    """Refuse a folder in which nothing is."""
    if not path.is_dir() or not any(path.iterdir()):
        raise WorkbenchError(f"{path}: expected a folder with files in it. Correct the path.")


@dataclasses.dataclass
class FirstLook:
    """Looks once at each file below ``root``; what is missing is added to ``absent`` where that is a list."""

    root: Path
    vocabulary: Any = None
    absent: list[str] | None = None
    looked: set[tuple[str, Path]] = dataclasses.field(default_factory=set)

    def at(self, kind: Any, value: Any, place: str, config: Any = None) -> None:
        """Look at what ``value`` of type ``kind`` names; WorkbenchError with the ``place``, and the field's name."""
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            kinds = typing.get_type_hints(type(value), include_extras=True)
            for field in dataclasses.fields(value):
                self.at(kinds[field.name], getattr(value, field.name), f"{place}.{field.name}", value)
            return
        for arm in (kind, *typing.get_args(kind)):
            look = getattr(arm, "__metadata__", (None,))[0]
            if isinstance(look, LookedAt) and value and isinstance(value, arm.__origin__):
                self._open(look.function, self.root / Path(value).expanduser(), place, config)

    def _open(self, function: str, path: Path, place: str, config: Any) -> None:
        if (function, path) in self.looked:
            return
        self.looked.add((function, path))
        if self.absent is not None and not path.exists():
            self.absent.append(f"{place}: {path}")
            return
        try:
            imported(function, place)(path, config, self.vocabulary)
        except WorkbenchError as error:
            raise WorkbenchError(f"{place}: {error}") from error
