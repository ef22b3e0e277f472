"""Pages of a list: which one is shown, and where the keys lead."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import WorkbenchError


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

    def of(self, things: Sequence[Any]) -> Sequence[Any]:
        """What the page shows of ``things``."""
        start = (self.page - 1) * self.size
        return things[start : start + self.size]

    def turned(self, value: str | None) -> int:
        """The page that "first", "previous", "next" or "last" leads to; WorkbenchError for another word."""
        leads = {"first": 1, "previous": self.page - 1, "next": self.page + 1, "last": self.pages}
        if value not in leads:
            raise WorkbenchError(f"page {value!r} is not known; expected one of {', '.join(leads)}.")
        return min(max(leads[value], 1), self.pages)

    def told(self) -> dict[str, int]:
        """What the macro ``pager`` needs: page, pages, first, last, total."""
        first = (self.page - 1) * self.size
        last = min(first + self.size, self.total)
        return {"page": self.page, "pages": self.pages, "first": min(first + 1, self.total), "last": last,
                "total": self.total}  # fmt: skip
