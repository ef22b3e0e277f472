"""Importing nbformat without the four-second grammar that it would never use."""

import sys
from types import ModuleType

# jsonschema compiles a grammar of internationalised addresses at import where this package is installed, as
# JupyterLab has it; notebooks hold no such addresses. Without it jsonschema leaves out that one format check.
_UNUSED_GRAMMAR = "rfc3987_syntax"


def import_nbformat() -> ModuleType:
    """The nbformat module; the first import in a process takes a fifth of the usual time."""
    blocked = _UNUSED_GRAMMAR not in sys.modules
    if blocked:
        sys.modules[_UNUSED_GRAMMAR] = None  # type: ignore[assignment]
    try:
        import nbformat

        return nbformat
    finally:
        if blocked:
            del sys.modules[_UNUSED_GRAMMAR]
