"""A refusal: what the workbench says to input that it cannot take."""

from collections.abc import Callable
from typing import Any

import pytest

from workbench.errors import WorkbenchError


def refused(told: str | None, call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """The call raises a WorkbenchError whose text has what the pattern ``told`` describes; returns its text."""
    __tracebackhide__ = True
    with pytest.raises(WorkbenchError, match=told) as caught:
        call(*arguments, **options)
    return str(caught.value)
