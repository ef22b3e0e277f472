"""Numbers with a range: types that a config dataclass declares for its fields, and what refuses all others."""

import functools
import math
import sys
import typing
from dataclasses import fields
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from workbench.configuration import checked_value
from workbench.errors import WorkbenchError

LARGEST_WHOLE, LARGEST = 2**63 - 1, sys.float_info.max
MOST = 10**6  # a float of a config


class Range(NamedTuple):
    """Finite numbers from ``least`` to ``most``, without the ends that are ``open``."""

    least: float = -math.inf
    most: float = math.inf
    open: Literal["", "below", "above"] = ""

    def __contains__(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            return False
        number: Any = value
        above = number > self.least if self.open == "below" else number >= self.least
        below = number < self.most if self.open == "above" else number <= self.most
        return bool(abs(number) <= LARGEST and above and below)

    def check(self, value: Any, kind: type, place: str) -> None:
        """Refuse a ``value`` that is no number of ``kind``, int or float, in this range."""
        if value in self and (kind is float or (isinstance(value, int | np.integer) and value <= LARGEST_WHOLE)):
            return
        raise WorkbenchError(f"{place} is {value!r}; expected {self.words(kind)}.")

    def words(self, kind: type) -> str:
        """What is expected of a number of ``kind``, int or float."""
        words = ["a whole number" if kind is int else "a finite number"]
        if self.least > -math.inf:
            words.append(f"above {self.least}" if self.open == "below" else f"of at least {self.least}")
        if self.most < math.inf:
            words.append(f"and {'below' if self.open == 'above' else 'of at most'} {self.most}")
        return " ".join(words)


Whole = Annotated[int, Range(0)]
Seed = Annotated[int, Range(0, 2**32 - 1)]  # what scikit-learn takes
Count = Annotated[int, Range(1)]
NonNegative = Annotated[float, Range(0, MOST)]
Positive = Annotated[float, Range(0, MOST, open="below")]
Rate = Annotated[float, Range(0, 100, open="below")]  # of learning
Factor = Annotated[float, Range(0, 100, open="below")]  # times the width of a network
Share = Annotated[float, Range(0, 1)]
PositiveShare = Annotated[float, Range(0, 1, open="below")]
ShareBelowOne = Annotated[float, Range(0, 1, open="above")]


class Ranged:
    """A config dataclass that refuses a field that is none of its literals, or a number outside its range."""

    def __post_init__(self) -> None:
        kinds = _kinds(type(self))  # type: ignore[arg-type]
        for field in fields(self):  # type: ignore[arg-type]
            _check(getattr(self, field.name), kinds[field.name], field.name)


_kinds = functools.lru_cache(maxsize=256)(functools.partial(typing.get_type_hints, include_extras=True))


def _check(value: Any, kind: Any, place: str) -> None:
    """Whether ``value`` is in the ranges that ``kind`` has, in tuples, lists, dicts and beside None too."""
    arms = [arm for arm in typing.get_args(kind) if arm is not type(None)]
    if type(None) in typing.get_args(kind) and len(arms) == 1:
        if value is None:
            return
        kind = arms[0]
    origin, items = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        checked_value(value, kind, place)
    elif kind in (int, float) or origin is Annotated:
        number, allowed = items if items else (kind, Range(-MOST, MOST))
        allowed.check(value, number, place)
    elif origin in (tuple, list) and items:
        if not value and items[-1] is Ellipsis and typing.get_origin(items[0]) is Annotated:
            number, allowed = typing.get_args(items[0])
            raise WorkbenchError(f"{place} is []; give at least one: {allowed.words(number)}.")
        for place_of, item in enumerate(value):
            _check(item, items[0] if items[-1] is Ellipsis else items[place_of % len(items)], f"{place}[{place_of}]")
    elif origin is dict and items:
        for key, item in value.items():
            _check(item, items[1], f"{place}.{key}")
