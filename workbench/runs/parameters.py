"""A notebook's parameters: read from its cell without running it, and every value checked against it."""

import ast
import contextlib
import dataclasses
import functools
import re
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.configuration import arms_of, as_values, checked_value, config_class_in, kind_text, kinds_of, merged
from workbench.errors import WorkbenchError, unknown
from workbench.files import read_json
from workbench.registry import NotYetRegistered, imported, names_to_come

TAG = "parameters"
_REGISTERED = re.compile(r"""\.register\(\s*["']([^"']+)["']""")
_NONE_TEXTS = ("none", "null", "")
_PLAIN = (bool, int, float, str, list[bool], list[int], list[float], list[str], list, dict)
KINDS = {kind_text(kind): kind for kind in _PLAIN}


@dataclass(frozen=True)
class Parameter:
    """One entry of a parameters cell, ``name: type = value``; ``kind`` may be a config dataclass.

    ``own`` are the names that cells of the notebook register: a config that has one of them is checked there.
    """

    name: str
    kind: Any
    default: Any
    own: frozenset[str] = frozenset()

    @property
    def config_class(self) -> type | None:
        """The dataclass that the notebook makes of the value, a dict; None for a plain value."""
        return config_class_in(self.kind)

    def all_values(self, value: Any) -> Any:
        """``value``, of a config with all its fields."""
        return as_values(self.checked(value, self.name)) if self.config_class else value

    def checked(self, value: Any, place: str) -> Any:
        """The config that the notebook will make of ``value``; what is no config, or not known here, as it is."""
        with names_to_come(self.own):
            try:
                return checked_value(value, self.kind, place)
            except NotYetRegistered:
                return value

    def laid_over(self, before: Any, change: Any, place: str) -> Any:
        """``change`` in place of ``before``, of a config field by field; checked as the notebook will check it."""
        if self.config_class is None:
            return self.checked(change, place)
        with names_to_come(self.own):
            values = merged(self.config_class, before, change, place)
        self.checked(values, place)
        return values

    def change_to(self, given: Any, fields: Sequence[str], place: str, before: Any) -> Any:
        """What `laid_over` takes, so that the nested field ``fields`` becomes ``given``, a text of the command line.

        ``before`` is the value so far, which may choose the class of a nested field. The last of ``fields`` may be keys
        of a dict, whose others are kept.
        """

        def nested(kind: Any, fields: Sequence[str], what: str, before: Any) -> Any:
            if not fields:
                return value_from_text(given, kind, place) if isinstance(given, str) else given
            field = fields[0]
            others: Mapping[str, Any] = {}
            config, items = config_class_in(kind), typing.get_args(kind) or (str, Any)
            if config is not None:
                kinds = kinds_of(config, before or {}, what)
                if field not in kinds:
                    raise WorkbenchError(f"{what}: {unknown('field', field, kinds)}")
                kind = kinds[field]
            elif (typing.get_origin(kind) or kind) is dict:
                others, kind = before or {}, items[1]
            elif not (kind is Any and self.own):  # a config class of the notebook's own
                raise WorkbenchError(f"{what} has no fields to set.")
            return {**others, field: nested(kind, fields[1:], f"{what}.{field}", (before or {}).get(field))}

        with names_to_come(self.own):
            return nested(self.kind, fields, f"{place}: {self.name}", before)


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """The declared parameters of a notebook, in order; WorkbenchError with the line that is not a declaration.

    The dataclasses of its config parameters are imported, as the cells above say; nothing of the notebook is run.
    """
    content = read_json(notebook)
    try:
        cells = [(cell, "".join(cell["source"])) for cell in content["cells"]]
        tagged = [place for place, (cell, _) in enumerate(cells) if TAG in cell.get("metadata", {}).get("tags", [])]
        above = [source for cell, source in cells[: tagged[0]] if cell["cell_type"] == "code"] if tagged else []
        own = {name for cell, source in cells if cell["cell_type"] == "code" for name in _REGISTERED.findall(source)}
    except (KeyError, TypeError, AttributeError) as error:
        raise WorkbenchError(f"{notebook}: not a valid notebook ({error!r}).") from error
    if len(tagged) != 1:
        raise WorkbenchError(f"{notebook}: {len(tagged)} cells are tagged {TAG!r}; exactly one must be.")
    with modules_in(notebook.parent):
        return parse_parameters(cells[tagged[0]][1], str(notebook), above, own)


def parse_parameters(
    source: str, place: str, above: Sequence[str] = (), own: Iterable[str] = ()
) -> dict[str, Parameter]:
    """The declarations in ``source``; ``place`` names it in errors, ``above`` are the cells that import its types.

    ``own`` are the names that the notebook registers.
    """
    try:
        statements = ast.parse(source).body
        importing = [statement for cell in above for statement in ast.parse(cell).body]
    except SyntaxError as error:
        raise WorkbenchError(f"{place}: the parameters cell is not valid Python ({error}).") from error
    # What ``from module import name`` would bind, imported when it is asked for.
    imports = {
        alias.asname or alias.name: f"{statement.module}:{alias.name}"
        for statement in importing
        if isinstance(statement, ast.ImportFrom) and not statement.level
        for alias in statement.names
    }
    declared: dict[str, Parameter] = {}
    for statement in statements:
        where = f"{place}: parameters cell, line {statement.lineno}"
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
            raise WorkbenchError(f"{where}: write one 'name: type = value  # help' a line, and nothing else.")
        name = statement.target.id
        if name in declared:
            raise WorkbenchError(f"{where}: {name} is declared twice.")
        try:
            default = ast.literal_eval(statement.value)
        except ValueError as error:
            raise WorkbenchError(
                f"{where}: the value of {name} must be a literal; derive values in the next cell."
            ) from error
        kind = _kind(ast.unparse(statement.annotation), imports, where)
        parameter = Parameter(name, kind, default, frozenset(own))
        checked = parameter.checked(default, f"{where}: {name}")
        declared[name] = parameter if parameter.config_class else dataclasses.replace(parameter, default=checked)
    return declared


def _kind(annotation: str, imports: Mapping[str, str], where: str) -> Any:
    found = imported(imports[annotation], f"{where}: type") if annotation in imports else KINDS.get(annotation)
    if annotation not in KINDS and not (dataclasses.is_dataclass(found) or typing.get_args(found)):
        raise WorkbenchError(
            f"{where}: type {annotation}; use bool, int, float, str, list, list[one of these], dict, or a dataclass "
            "that a cell above imports (or a list type like recognition.losses.LossNames)."
        )
    return found


@contextlib.contextmanager
def modules_in(notebooks: Path) -> Iterator[None]:
    """Within the block modules beside the notebooks can be imported, as in their kernels."""
    sys.path.insert(0, str(notebooks))
    try:
        yield
    finally:
        sys.path.remove(str(notebooks))


@functools.cache
def plain_loader() -> Any:
    """YAML's safe loader without what is other than it looks: of equal keys the last, 010 is 8 and 1:30 is 90."""
    import yaml

    class Loader(yaml.SafeLoader):
        def number(self, node: Any) -> int | float:
            read = self.construct_yaml_float if node.tag.endswith(":float") else self.construct_yaml_int
            if re.match(r"[-+]?0[0-9_]+$|[^:]*:", node.value):
                raise yaml.YAMLError(f"{node.value!r} would be read as {read(node)}; write plain digits or quote it")
            return read(node)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            if twice := {str(key) for key in keys if keys.count(key) > 1}:
                raise yaml.YAMLError(f"given twice: {', '.join(sorted(twice))}")
            return super().construct_mapping(node, deep)

    for kind in ("int", "float"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", Loader.number)
    return Loader


def value_from_text(text: str, kind: Any, place: str) -> Any:
    """A command-line value as ``kind``, read as YAML where it is no text."""
    import yaml

    arms = arms_of(kind)
    if type(None) in arms and text.lower() in _NONE_TEXTS:
        return None
    if arms == (str,):
        return text
    try:
        value = yaml.load(text, plain_loader())
        if float in arms and isinstance(value, str):  # 1e-4, which is a text in YAML
            value = float(text)
        return value if config_class_in(kind) else checked_value(value, kind, place)
    except NotYetRegistered:
        return value
    except (yaml.YAMLError, ValueError) as error:
        if str in arms:
            return text
        if isinstance(error, WorkbenchError):
            raise
        example = ", for example [1, 2]" if isinstance(error, yaml.YAMLError) else ""
        raise WorkbenchError(f"{place}: expected {kind_text(kind)}{example}, got {text!r}.") from error
