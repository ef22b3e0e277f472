"""What may be chosen: refusals that name what there is."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from workbench.errors import WorkbenchError
from workbench.scenes.vocabulary import Vocabulary


def require_one_of(kind: str, value: Any, known: Iterable[str]) -> None:
    """WorkbenchError unless ``value`` is one of ``known``; ``kind`` says what it is."""
    known = list(known)
    if value not in known:
        raise WorkbenchError(f"{kind} {value!r} is not known; expected one of {', '.join(known)}.")


def require_fields(title: str, names: Iterable[str], state: type) -> None:
    """WorkbenchError unless all ``names`` are fields of the dataclass ``state``; ``title`` says what has them."""
    known = [field.name for field in fields(state)]
    if unknown := sorted(set(names) - set(known)):
        raise WorkbenchError(f"{title} has no {', '.join(unknown)}; it has {', '.join(known)}.")


def class_id(vocabulary: Vocabulary, role: str, value: int | str) -> int:
    """The id of a class of ``role`` that is given by id or by name; WorkbenchError where there is none."""
    names = vocabulary.names(role)
    if isinstance(value, str):
        if value not in names:
            raise WorkbenchError(f"there is no {role} class {value!r}. Choose one of the {len(names):,} classes.")
        return names.index(value)
    if not 0 <= value < len(names):
        raise WorkbenchError(f"there is no {role} class {value}; expected 0 to {len(names) - 1}.")
    return int(value)
