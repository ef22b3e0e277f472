"""What a person has chosen in the PredictionBrowser."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from workbench.browsers.choices import class_id, require_fields, require_one_of
from workbench.errors import WorkbenchError
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import ROLES, Vocabulary

ANY = "any"
ALL = "all"
ROLE_CHOICES = (ANY, *ROLES)
# What happened, as people read it; all but the first are names of `changes.change_masks`.
WHAT_CHOICES = {
    ALL: "all",
    "wrong": "wrong after",
    "fixed": "fixed",
    "broken": "broken",
    "changed": "wrong to wrong",
    "wrong in both": "wrong in both",
    "unchanged": "unchanged",
}
SORT_CHOICES = {"random": "random", "surest": "surest first (after)", "rarest": "rarest class first"}
_PAGES = ("page", "confusion_page")
_SAME_ROWS = {*_PAGES, "compact"}


@dataclass(frozen=True)
class PredictionState:
    """Two recognisers by title, the filters, the order, the pages (from 1), and whether only top-1 is shown.

    ``what`` is one of WHAT_CHOICES, of the role, or for the role "any" in at least one. Of "any", band, class and cell
    mean the relation. ``bands``: those switched on, none means all. ``true_class``: an id. ``cell`` (true, given): rows
    of the true class that either recogniser took for the given one.
    """

    before: str
    after: str
    role: str = ANY
    what: str = ALL
    bands: tuple[str, ...] = ()
    true_class: int | None = None
    cell: tuple[int, int] | None = None
    sort: str = "random"
    page: int = 1
    confusion_page: int = 1
    compact: bool = False

    @property
    def class_role(self) -> str:
        """The role whose classes bands, menus and confusions are about."""
        return "relation" if self.role == ANY else self.role

    @property
    def filtered(self) -> bool:
        """Whether any filter is set."""
        return self != replace(self.unfiltered(), page=self.page, confusion_page=self.confusion_page)

    def unfiltered(self) -> "PredictionState":
        """The same recognisers and order without a filter, on the first page."""
        return PredictionState(self.before, self.after, sort=self.sort, compact=self.compact)

    def in_role(self, role: str) -> "PredictionState":
        """The state in another role, without class and cell unless they stay what they are."""
        new = replace(self, role=role)
        return new if new.class_role == self.class_role else replace(new, true_class=None, cell=None)

    def changed(self, vocabulary: Vocabulary, titles: Iterable[str], /, **changes: Any) -> "PredictionState":
        """The state with ``changes``; WorkbenchError for a name or value unknown.

        Classes may be given by name. Another role drops the class and the cell, another class a cell of a third one;
        a change of the rows that match starts at page 1 again.
        """
        require_fields("the PredictionBrowser", changes, PredictionState)
        choices = {"before": titles, "after": titles, "role": ROLE_CHOICES, "what": WHAT_CHOICES, "sort": SORT_CHOICES}
        for name in choices.keys() & changes.keys():
            require_one_of(name, changes[name], choices[name])
        new = replace(self.in_role(changes.get("role", self.role)), **changes)._with_ids(vocabulary)
        if new.cell is not None and new.true_class not in (None, new.cell[0]) and "cell" not in changes:
            new = replace(new, cell=None)
        back = set() if changes.keys() <= _SAME_ROWS else set(_PAGES) - changes.keys()
        if changes.keys() <= {"cell", "what", "sort"}:  # none of them changes the confusions
            back -= {"confusion_page"}
        return replace(new, **dict.fromkeys(back, 1))

    def _with_ids(self, vocabulary: Vocabulary) -> "PredictionState":
        for band in self.bands:
            require_one_of("band", band, BANDS)
        for name in _PAGES:
            if not isinstance(getattr(self, name), int):
                raise WorkbenchError(f"{name} {getattr(self, name)!r} is no number; expected 1 or more.")
        if not isinstance(self.compact, bool):
            raise WorkbenchError(f"compact {self.compact!r} is not known; expected True or False.")
        if self.cell is not None and len(self.cell) != 2:
            raise WorkbenchError(
                f"cell {self.cell!r} is not known; expected a true class and the one it was taken for."
            )

        def ids(values: Iterable[int | str]) -> tuple[int, ...]:
            return tuple(class_id(vocabulary, self.class_role, value) for value in values)

        return replace(
            self,
            bands=tuple(band for band in BANDS if band in self.bands),
            true_class=None if self.true_class is None else ids([self.true_class])[0],
            cell=None if self.cell is None else ids(self.cell),
        )
