"""What all pages are made of: templates that escape all text, pages of a list, and refusals that name what there is."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.figures.pages import environment
from workbench.scenes.vocabulary import Vocabulary

FOLDER = Path(__file__).parent


def render(template: str, **values: Any) -> str:
    """The template of this folder with ``values``; every text is escaped unless it is Markup of our own."""
    return environment(FOLDER).get_template(template).render(**values)


def stylesheet() -> str:
    """The CSS of all browsers."""
    return (FOLDER / "browsers.css").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Paging:
    """``total`` things, ``size`` a page; ``page`` counts from 1 and is moved to the nearest there is."""

    total: int
    size: int
    wanted: int = 1

    @property
    def pages(self) -> int:
        """Number of pages, at least one."""
        return max(1, -(-self.total // self.size))

    @property
    def page(self) -> int:
        """The page that is shown."""
        return min(max(self.wanted, 1), self.pages)

    def of(self, things: Any) -> Any:
        """What the page shows of ``things``, a sequence or an array."""
        start = (self.page - 1) * self.size
        return things[start : start + self.size]

    def turned(self, value: str | None) -> int:
        """The page that "first", "previous", "next" or "last" leads to; WorkbenchError for another word."""
        leads = {"first": 1, "previous": self.page - 1, "next": self.page + 1, "last": self.pages}
        require_one_of("page", value, leads)
        return min(max(leads[str(value)], 1), self.pages)

    def values(self) -> dict[str, int]:
        """What the macro ``pager`` needs: page, pages, first, last, total."""
        start = (self.page - 1) * self.size
        last = min(start + self.size, self.total)
        return {
            "page": self.page,
            "pages": self.pages,
            "first": min(start + 1, self.total),
            "last": last,
            "total": self.total,
        }


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
