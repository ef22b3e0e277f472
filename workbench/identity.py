"""What a result depends on, as JSON: parameters by value, inputs by identity, differences in words."""

import dataclasses
import functools
import hashlib
import json
import math
import os
import platform
import subprocess
import types
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import workbench
from workbench.configuration import flat
from workbench.errors import WorkbenchError
from workbench.files import plain, sha256_of_file

LARGE_FOLDER_BYTES = 512 * 2**20
_PACKAGES = ("torch", "numpy", "pandas", "scikit-learn", "diffusers", "open_clip_torch", "nltk", "umap-learn")


def described(value: Any, place: str = "value") -> Any:
    """``value`` as JSON; stages and paths become {"stage" or "path": where, "identity": sha256}, code its name.

    An object with an ``identity`` or a ``name`` becomes its class and that text. Dataclasses become dicts, without the
    fields whose metadata has ``influence=False`` and those that hold what `has_influence` denies. Raises WorkbenchError
    for what cannot be recorded; ``place`` names it.
    """
    if hasattr(value, "identity") and hasattr(value, "folder"):
        return {"stage": value.label, "identity": value.identity}
    if isinstance(value, Path):
        return {"path": str(value), "identity": identity_of_path(value, place)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        counting = [f.name for f in dataclasses.fields(value) if f.metadata.get("influence", True)]
        return described({name: getattr(value, name) for name in counting}, place)
    if isinstance(value, dict):
        return {str(key): described(item, f"{place}.{key}") for key, item in value.items() if has_influence(item)}
    if isinstance(value, list | tuple):
        return [described(item, f"{place}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, functools.partial):
        return described({"code": value.func, "arguments": value.args, **value.keywords}, place)
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        return f"{value.__module__}:{value.__qualname__}"
    own_name = getattr(value, "identity", getattr(value, "name", None))
    if isinstance(own_name, str):  # an object that says what it is, such as a region encoder
        return f"{type(value).__module__}:{type(value).__qualname__} {own_name}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    what = f"{place}: a {type(value).__name__} cannot be recorded"
    remedy = "Pass numbers, texts, lists, config dataclasses, functions, classes, stages or paths."
    raise WorkbenchError(f"{what}. {remedy}")


def has_influence(value: Any) -> bool:
    """Whether a result can depend on ``value``; its class says ``WITHOUT_INFLUENCE = True`` where it cannot."""
    return getattr(type(value), "WITHOUT_INFLUENCE", False) is not True


def identity_of_path(path: Path, place: str = "path") -> str:
    """SHA-256 of a file's bytes, or of the names and contents of a folder's files; of a large folder, names and sizes.

    Contents count up to 512 MB, which takes a second or two; a folder of images would take minutes at every start.
    """
    if path.is_file():
        return sha256_of_file(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        small = sum(file.stat().st_size for file in files) <= LARGE_FOLDER_BYTES
        marks = [sha256_of_file(file) if small else file.stat().st_size for file in files]
        return sha256_of_json([[f.relative_to(path).as_posix(), mark] for f, mark in zip(files, marks, strict=True)])
    raise WorkbenchError(f"{place}: {path} does not exist. Give the path of an existing file or folder.")


def sha256_of_json(value: Any) -> str:
    """Hexadecimal SHA-256 of ``value`` written as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def without_places(value: Any) -> Any:
    """Described parameters without where their stages and paths lie: what a result depends on."""
    if isinstance(value, dict):
        if set(value) in ({"stage", "identity"}, {"path", "identity"}):
            return {"identity": value["identity"]}
        return {key: without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_places(item) for item in value]
    return value


def differences(stored: dict[str, Any], asked: dict[str, Any]) -> dict[str, str]:
    """Name to ``10 -> 20`` of each of the described parameters that differs; empty when results would be the same."""
    stored, asked = flat(without_places(stored)), flat(without_places(asked))
    found = {}
    for name in sorted(stored.keys() | asked.keys()):
        before, after = stored.get(name, "(absent)"), asked.get(name, "(absent)")
        if before != after or type(before) is not type(after):
            found[name] = f"{_shown(name, before)} -> {_shown(name, after)}"
    return found


def _shown(name: str, value: Any) -> str:
    if name.endswith("identity") and isinstance(value, str):
        return value[:12]
    return value if value == "(absent)" else repr(value)


def without_nan(value: Any) -> Any:
    """``value`` as plain JSON in which a number that is not finite has become null."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=plain))


@functools.cache
def versions() -> dict[str, Any]:
    """Versions of what computes, read without importing it."""
    found: dict[str, Any] = {"workbench": workbench.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        found[package] = next((each.version for each in metadata.distributions(name=package)), None)
    return found | {"system": platform.platform(), "cores": available_cores(), "commit": _commit()}


def available_cores() -> int:
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _commit() -> str | None:
    above = Path(__file__).resolve().parents[1]
    if not (above / ".git").exists():
        return None
    command = ["git", "-C", str(above), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None  # without git, or in a checkout that git refuses: the version alone has to do
