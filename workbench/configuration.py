"""Config dataclasses from what people write: nested dicts and lists, with every name and type checked.

A notebook, a profile or ``-p`` gives ``{"epochs": 4, "network": {"width": 384}}``; `configured` makes the frozen
dataclass of it, `as_values` goes the way back, `merged` lays one such dict over another.
"""

import dataclasses
import math
import sys
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from workbench.errors import WorkbenchError, unknown
from workbench.paths import project_root
from workbench.registry import NotYetRegistered, Registry

T = TypeVar("T")
CHOSEN_BY = "chosen_by"
SET_IN_CODE = {"set_in_code": True}  # metadata of a field that no notebook, profile or command line sets


def configured(config_class: type[T], values: Any = None, place: str = "", **defaults: Any) -> T:
    """``config_class`` with ``values`` in place of its defaults; a config that is one already is returned.

    Fields may be bool, int, float, str, None, Path, lists, tuples, dicts, literals and unions of these, names in a
    `Registry`, callables, classes, and dataclasses, given as dicts of the fields that shall differ from their default.
    An int is taken for a float, a list for a tuple, a text for a path (a relative one starts at the project's folder);
    nothing else is converted. ``defaults`` count where ``values`` does not give the field.

    WorkbenchError names the ``place`` (what is configured), the field and the remedy: an unknown name with the nearest
    known one, a value of another type, and what the dataclass itself refuses.
    """
    if isinstance(values, config_class):
        return values
    place = place or config_class.__name__
    return _built(config_class, defaults | _mapping(config_class, values or {}, place), place)


def chosen_by(field: str, class_of: Callable[[Any], type]) -> dict[str, Any]:
    """Metadata of a field whose dataclass depends on another field: ``class_of(value of the field)``.

    ``network: Any = field(default=None, metadata=chosen_by("denoiser", lambda name: DENOISERS[name].config))``
    makes ``{"denoiser": "unet", "network": {"channels": [32, 64]}}`` a config with a nested ``UNetConfig``, and one
    of all defaults where nothing is given.
    """
    return {CHOSEN_BY: (field, class_of)}


def as_values(config: Any) -> Any:
    """A config as nested dicts and lists, from which `configured` makes it again; code as ``module:name``."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {field.name: as_values(getattr(config, field.name)) for field in _settable(config)}
    if isinstance(config, Mapping):
        return {key: as_values(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [as_values(value) for value in config]
    if isinstance(config, Path):
        return str(config)
    return f"{config.__module__}:{config.__qualname__}" if hasattr(config, "__qualname__") else config


def merged(config_class: type, values: Mapping, changes: Any, place: str) -> dict[str, Any]:
    """``values`` with ``changes`` laid over them field by field, down through nested dataclasses.

    Where a change chooses another class for a field (see `chosen_by`), what ``values`` had there is left out.
    """
    changes = _mapping(config_class, changes, place)
    before, after = kinds_of(config_class, values, place), kinds_of(config_class, {**values, **changes}, place)
    result = {name: value for name, value in values.items() if before.get(name) == after.get(name)}
    for name, value in changes.items():
        if name not in after:
            raise WorkbenchError(f"{place}: {unknown('field', name, after)}")
        nested = config_class_in(after[name])
        if nested and isinstance(value, Mapping) and isinstance(result.get(name), Mapping):
            value = merged(nested, result[name], value, f"{place}.{name}")
        result[name] = value
    return result


def kinds_of(config_class: type, values: Mapping, place: str) -> dict[str, Any]:
    """The type of each field, given ``values`` of the fields that choose another's class."""
    kinds = dict(typing.get_type_hints(config_class))
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    for field in fields.values():
        if CHOSEN_BY in field.metadata:
            chooser, class_of = field.metadata[CHOSEN_BY]
            chosen = values.get(chooser, _default(fields[chooser]))
            try:
                kinds[field.name] = class_of(checked_value(chosen, kinds[chooser], f"{place}.{chooser}"))
            except NotYetRegistered:
                kinds[field.name] = Any
    return {field.name: kinds[field.name] for field in _settable(config_class)}


def _settable(config: Any) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(config) if not field.metadata.get("set_in_code")]


def flat(values: Mapping, prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one with dotted names; an empty dict stays a value."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        full_name = f"{prefix}{name}"
        found |= flat(value, f"{full_name}.") if isinstance(value, Mapping) and value else {full_name: value}
    return found


def arms_of(kind: Any) -> tuple:
    """The types that a union may be, of another type itself alone, without the range of a number."""
    kind = getattr(kind, "__origin__", kind) if hasattr(kind, "__metadata__") else kind
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def config_class_in(kind: Any) -> type | None:
    """The dataclass that ``kind`` is or may be, or None."""
    return next((arm for arm in arms_of(kind) if isinstance(arm, type) and dataclasses.is_dataclass(arm)), None)


def _built(config_class: Any, values: Mapping, place: str, base: Any = None) -> Any:
    """A config of ``values``, over the fields of ``base`` or else the defaults."""
    fields = dataclasses.fields(config_class)
    arguments = {field.name: getattr(base, field.name, _default(field)) for field in fields}
    kinds = kinds_of(config_class, {**arguments, **values}, place)
    for name, value in values.items():
        if name not in kinds:
            raise WorkbenchError(f"{place}: {unknown('field', name, kinds)}")
        arguments[name] = checked_value(value, kinds[name], f"{place}.{name}", arguments[name])
    for field in fields:
        name = field.name
        # None was given, or the base's is of another kind.
        if CHOSEN_BY in field.metadata and kinds[name] is not Any and not isinstance(arguments[name], kinds[name]):
            arguments[name] = _built(kinds[name], {}, f"{place}.{name}")
        if arguments[name] is dataclasses.MISSING:
            raise WorkbenchError(f"{place}: the field {name!r} is missing. Give it a value.")
    try:
        return config_class(**arguments)
    except WorkbenchError as error:
        if isinstance(error, NotYetRegistered) or str(error).startswith(place):
            raise
        raise WorkbenchError(f"{place}: {error}") from error


def _default(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _mapping(config_class: type, values: Any, place: str) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        wanted = f"'name: value' pairs for {config_class.__name__}"
        raise WorkbenchError(f"{place}: expected {wanted}, got {_formatted(values)}.")
    return dict(values)


def checked_value(value: Any, kind: Any, place: str, default: Any = None) -> Any:
    """``value`` if it is of type ``kind``, converted as `configured` says; a nested dict changes ``default``."""
    if hasattr(kind, "__metadata__"):  # a number with a range, see workbench.ranges
        number = checked_value(value, kind.__origin__, place)
        kind.__metadata__[0].check(number, kind.__origin__, place)
        return number
    nested, arms, items = config_class_in(kind), arms_of(kind), typing.get_args(kind)
    origin = typing.get_origin(kind) or kind
    if nested and (isinstance(value, Mapping) or (len(arms) == 1 and not isinstance(value, nested))):
        base = default if isinstance(default, nested) else None
        return _built(nested if base is None else type(base), _mapping(nested, value, place), place, base)
    if len(arms) > 1:
        return _one_of(value, arms, kind, place)
    if isinstance(kind, Registry):
        kind[checked_value(value, str, place)]
        return value
    if kind in (Any, object) or (origin is Callable and isinstance(value, str)):
        return value
    if origin is typing.Literal:
        if any(value == choice and type(value) is type(choice) for choice in items):
            return value
        raise WorkbenchError(f"{place}: expected {' or '.join(map(repr, items))}, got {value!r}.")
    if origin in (list, tuple, dict):
        return _collection(value, origin, items, kind, place)
    return _plain(value, origin, place)


def _collection(value: Any, origin: type, items: tuple, kind: Any, place: str) -> Any:
    fixed = origin is tuple and items and items[-1] is not Ellipsis
    fits = isinstance(value, Mapping if origin is dict else list | tuple)
    if not fits or (fixed and len(value) != len(items)):
        raise WorkbenchError(f"{place}: expected {kind_text(kind)}, got {_formatted(value)}.")
    if not value and items and isinstance(items[0], Registry):
        raise WorkbenchError(f"{place} is {value!r}; give at least one {items[0]!r}.")
    if origin is dict:
        item = items[1] if items else Any
        return {key: checked_value(entry, item, f"{place}.{key}") for key, entry in value.items()}
    kinds = items if fixed else [items[0] if items else Any] * len(value)
    places = (f"{place}[{number}]" for number in range(len(value)))
    return origin(map(checked_value, value, kinds, places))


def _one_of(value: Any, arms: tuple, kind: Any, place: str) -> Any:
    given = [arm for arm in arms if arm is not type(None)]
    if value is None and len(given) < len(arms):
        return None
    if len(given) == 1:
        return checked_value(value, given[0], place)
    # An arm that takes the value as it is comes before one that converts it.
    for arm in sorted(given, key=lambda arm: type(value) is not arm):
        try:
            return checked_value(value, arm, place)
        except WorkbenchError:
            continue
    raise WorkbenchError(f"{place}: expected {kind_text(kind)}, got {_formatted(value)}.")


def _plain(value: Any, kind: Any, place: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > sys.float_info.max:
            raise WorkbenchError(f"{place}: expected a number of at most {sys.float_info.max:g}.")
        return float(value)
    if kind is Path and isinstance(value, str):
        path = Path(value).expanduser()
        return path if path.is_absolute() else project_root() / path
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise WorkbenchError(f"{place}: expected {kind_text(kind)}, got {_formatted(value)}.{_remedy(value, kind)}")
    if kind is float and math.isnan(value):
        raise WorkbenchError(f"{place}: expected a number, got nan.")
    return value


def _remedy(value: Any, kind: type) -> str:
    """How to write what was probably meant."""
    if kind is float and isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return ""
        mantissa, mark, exponent = value.lower().partition("e")
        if mark and "." not in mantissa:
            return f" YAML reads {value} as a text: write {mantissa}.0e{exponent}."
        return f" Write {number!r} without quotes."
    if kind is bool and isinstance(value, str | int):
        return " Write true or false without quotes."
    if kind is int and isinstance(value, float) and value.is_integer():
        return f" Write {int(value)}."
    if kind is str and not isinstance(value, list | dict):
        return f' Write it in quotes: "{value}".'
    return ""


def kind_text(kind: Any) -> str:
    """A type as people write it: ``list[int]``."""
    (kind,) = arms_of(kind) if len(arms_of(kind)) == 1 else (kind,)
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind).replace("typing.", "")


def _formatted(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"
