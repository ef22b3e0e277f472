"""A notebook's parameters: read from its cell without running it, and every value checked against it."""

import ast
import difflib
import io
import math
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.runs.notebook_format import import_nbformat

TAG = "parameters"
_PLAIN = ("bool", "int", "float", "str")


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: ``name: type = value  # help``."""

    name: str
    type: str
    default: Any
    help: str


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """The declared parameters of a notebook, in order; WorkbenchError with the line that is not a declaration."""
    nbformat = import_nbformat()
    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except FileNotFoundError as error:
        raise WorkbenchError(f"{notebook}: there is no such notebook.") from error
    except Exception as error:  # nbformat raises several kinds for a broken file
        raise WorkbenchError(f"{notebook}: not a valid notebook ({error}).") from error
    tagged = [cell for cell in cells if TAG in cell.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise WorkbenchError(f"{notebook}: {len(tagged)} cells are tagged {TAG!r}; exactly one must be.")
    return parse_parameters(tagged[0].source, str(notebook))


def parse_parameters(source: str, place: str) -> dict[str, Parameter]:
    """The declarations in ``source``; ``place`` names it in errors."""
    try:
        statements, comments = ast.parse(source).body, _comments(source)
    except (SyntaxError, tokenize.TokenError) as error:
        raise WorkbenchError(f"{place}: the parameters cell is not valid Python ({error}).") from error
    declared: dict[str, Parameter] = {}
    for statement in statements:
        where = f"{place}: parameters cell, line {statement.lineno}"
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
            raise WorkbenchError(f"{where}: write one 'name: type = value  # help' a line, and nothing else.")
        name, kind = statement.target.id, ast.unparse(statement.annotation)
        if name in declared:
            raise WorkbenchError(f"{where}: {name} is declared twice.")
        try:
            default = ast.literal_eval(statement.value)
        except ValueError as error:
            raise WorkbenchError(
                f"{where}: the value of {name} must be a literal; derive values in the next cell."
            ) from error
        _known_type(kind, where)
        help_text = comments.get(statement.end_lineno or statement.lineno, "")
        declared[name] = Parameter(name, kind, checked_value(default, kind, f"{where}: {name}"), help_text)
    return declared


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}


def _known_type(kind: str, where: str) -> None:
    item = kind[5:-1] if kind.startswith("list[") and kind.endswith("]") else kind
    if item not in _PLAIN and kind not in ("list", "dict"):
        raise WorkbenchError(f"{where}: type {kind}; use bool, int, float, str, list, list[one of these] or dict.")


def checked_value(value: Any, kind: str, place: str) -> Any:
    """``value`` if it is of type ``kind``; an int is taken for a float, nothing else is converted."""
    if kind.startswith("list["):
        if not isinstance(value, list):
            raise WorkbenchError(f"{place}: expected {kind}, got {_told(value)}.")
        return [checked_value(item, kind[5:-1], f"{place}[{number}]") for number, item in enumerate(value)]
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = {"bool": bool, "int": int, "float": float, "str": str, "list": list, "dict": dict}[kind]
    if not isinstance(value, expected) or (kind == "int" and isinstance(value, bool)):
        raise WorkbenchError(f"{place}: expected {kind}, got {_told(value)}.{_remedy(value, kind)}")
    if kind == "float" and math.isnan(value):
        raise WorkbenchError(f"{place}: expected a number, got nan.")
    return value


def _told(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"


def _remedy(value: Any, kind: str) -> str:
    """How to write what was probably meant."""
    if kind == "float" and isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return ""
        mantissa, mark, exponent = value.lower().partition("e")
        if mark and "." not in mantissa:
            return f" YAML reads {value} as a text: write {mantissa}.0e{exponent}."
        return f" Write {number!r} without quotes."
    if kind == "bool" and isinstance(value, str | int):
        return " Write true or false without quotes."
    if kind == "int" and isinstance(value, float) and value.is_integer():
        return f" Write {int(value)}."
    if kind == "str" and not isinstance(value, list | dict):
        return f' Write it in quotes: "{value}".'
    return ""


def value_from_text(text: str, kind: str, place: str) -> Any:
    """A command-line value as ``kind``, the type of the parameter's default."""
    if kind == "str":
        return text
    if kind == "bool":
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise WorkbenchError(f"{place}: expected bool, got {text!r}. Write true or false.")
    if kind in ("int", "float"):
        try:
            return checked_value(int(text) if kind == "int" else float(text), kind, place)
        except ValueError as error:
            if isinstance(error, WorkbenchError):
                raise
            raise WorkbenchError(f"{place}: expected {kind}, got {text!r}.") from error
    import yaml

    try:
        return checked_value(yaml.safe_load(text), kind, place)
    except yaml.YAMLError as error:
        raise WorkbenchError(f"{place}: expected {kind}, for example [1, 2]; got {text!r}.") from error


def unknown(kind: str, name: str, declared: Iterable[str]) -> str:
    """The text that refuses an undeclared name: the nearest one, and all."""
    names = list(declared)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}.{meant} Declared: {', '.join(names) or 'none'}."
