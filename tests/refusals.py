"""A refusal: what the workbench says to input that it cannot take."""

from collections.abc import Callable
from typing import Any

import pytest

from workbench.errors import WorkbenchError


def refused(told: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """The call raises a WorkbenchError whose text has what the pattern ``told`` describes."""
    __tracebackhide__ = True
    with pytest.raises(WorkbenchError, match=told):
        call(*arguments, **options)
