"""Breaks inputs of every reader and looks at what becomes of them: ``make test-faults``, minutes, a seed a run.

A broken input must give the same result, a warning, or a WorkbenchError that names a file. Anything else is a fault and
printed with the command that repeats it: a raw exception, a message without a file, another result, no end.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

from tests.faults.readers import READERS, Reader
from workbench.errors import WorkbenchError

LONGEST = 120  # seconds for one input
NESTED: Any = {"a": [[[1]]]}
ODD = (float("nan"), 1e30, -1, "x", None, NESTED, True, 10**400, "\x1b[2J", 2**63)
REPEATED = "repeated key"
PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>"


EXPECTED: dict[str, tuple[str, Any, str]] = {}  # what the valid inputs give, by reader


class Unfit(Exception):
    """This mutation cannot be made of this file."""


def cut(path: Path, draw: random.Random) -> str:
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data))])
    return f"cut after {path.stat().st_size} of {len(data)} bytes"


def flipped(path: Path, draw: random.Random) -> str:
    data = bytearray(path.read_bytes())
    place, bit = draw.randrange(len(data)), draw.randrange(8)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    return f"bit {bit} of byte {place} flipped"


def exchanged(path: Path, draw: random.Random) -> str:
    data = path.read_bytes()
    a, b, c = sorted(draw.randrange(len(data) + 1) for _ in range(3))
    path.write_bytes(data[:a] + data[b:c] + data[a:b] + data[c:])
    return f"bytes {a}:{b} and {b}:{c} exchanged"


def another_file(path: Path, draw: random.Random) -> str:
    kinds = {"empty": b"", "a web page": PAGE, "noise": draw.randbytes(500), "UTF-16": "\ufeff[1]".encode("utf-16"),
             "deep JSON": b"[" * 200_000, "a huge number": b"[" + b"9" * 5000 + b"]", "null": b"null",
             "a list": b"[[]]", "a pointer": b"version https://git-lfs.github.com/spec/v1\n"}  # fmt: skip
    kind = draw.choice([*kinds, "a folder", "a circle of links"])
    path.unlink()
    if kind in kinds:
        path.write_bytes(kinds[kind])
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to(path.name)
    return f"replaced by {kind}"


def swapped(path: Path, draw: random.Random) -> str:
    others = [other for other in sorted(path.parent.iterdir()) if other.is_file() and other.suffix == path.suffix]
    other = draw.choice(others)
    if other == path:
        raise Unfit
    kept, new = path.read_bytes(), other.read_bytes()
    path.write_bytes(new), other.write_bytes(kept)
    return f"swapped with {other.name}"


def value_replaced(path: Path, draw: random.Random) -> str:
    """A value of a JSON or YAML file or, in a table of text, a field."""
    if path.suffix in (".csv", ".txt"):
        return _field_replaced(path, draw)
    tree, write = _tree(path)
    holder, key = draw.choice(list(_places(tree)))
    before, after = holder[key], draw.choice(ODD)
    holder[key] = after
    write(tree)
    return f"{_obvious(before, after)}{key!r}: {str(before)[:30]!r} replaced by {str(after)[:30]!r}"


def key_changed(path: Path, draw: random.Random) -> str:
    tree, write = _tree(path)
    places = [(holder, key) for holder, key in _places(tree) if isinstance(holder, dict)]
    if not places:
        raise Unfit
    holder, key = draw.choice(places)
    how = draw.choice(("dropped", "renamed", "repeated"))
    value = holder[key]
    mark = "!" if how == "repeated" or "." not in str(key) else ""  # a dropped image is a smaller data set
    if how == "repeated":
        holder[REPEATED] = draw.choice([other for at, name in places if (other := at[name]) != value])
        write(tree, lambda text: text.replace(REPEATED, str(key)))
    else:
        holder.pop(key)
        holder |= {f"{key}_": value} if how == "renamed" else {}
        write(tree)
    return f"{mark}key {key!r} {how}"


def array_changed(path: Path, draw: random.Random) -> str:
    """An array, tensor or column: dropped, renamed, of another type or shape, or with a value that cannot be."""
    arrays, write = _arrays(path)
    name = draw.choice(list(arrays))
    array, old = arrays[name], arrays[name]
    how = draw.choice(("dropped", "renamed", "text", "complex", "shorter", "deeper", "nan", "1e30", "-1", "zeros"))
    if how in ("dropped", "renamed"):
        del arrays[name]
        arrays |= {f"{name}_": array} if how == "renamed" else {}
    elif how == "text":
        array = array.astype(str)
    elif how == "complex":
        array = array.astype(complex)
    elif how in ("shorter", "deeper"):
        array = array[:-1] if how == "shorter" else array[None]
    else:
        array = np.array(array, dtype=array.dtype if array.dtype.kind in "fiu" else object)
        value = {"nan": np.nan, "1e30": 1e30, "-1": -1, "zeros": 0}[how]
        if array.dtype.kind in "iu":
            value = {"nan": np.iinfo(array.dtype).max, "1e30": np.iinfo(array.dtype).min}.get(how, value)
        with np.errstate(all="ignore"):
            array[draw.randrange(len(array))] = value
    if array is not old:
        arrays[name] = array
    try:
        write(arrays)
    except Exception as error:  # this form cannot hold such an array
        raise Unfit from error
    meant = how in ("-1", "zeros") or (how == "1e30" and old.dtype.kind == "f" and old.dtype.itemsize > 2)
    meant |= how == "shorter" and name == "centroids"
    return f"{'' if meant else '!'}{name!r} ({old.dtype} {old.shape}): {how}"


def facts_changed(path: Path, draw: random.Random) -> str:
    """A value of the JSON that a checkpoint carries."""
    if path.suffix != ".safetensors":
        raise Unfit
    with safe_open(path, "pt") as file:
        tensors, facts = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118
    tree = {key: json.loads(text) for key, text in facts.items()}
    holder, key = draw.choice(list(_places(tree)))
    before, after = holder[key], draw.choice((*ODD, "dropped"))
    holder.pop(key) if after == "dropped" and isinstance(holder, dict) else holder.__setitem__(key, after)
    save_file(tensors, path, {key: json.dumps(value) for key, value in tree.items()})
    return f"fact {key!r}: {str(before)[:30]!r} replaced by {str(after)[:30]!r}"


def _field_replaced(path: Path, draw: random.Random) -> str:
    lines = path.read_text().splitlines()
    by = "," if path.suffix == ".csv" else " "
    row = draw.randrange(len(lines))
    fields = lines[row].split(by)
    column = draw.randrange(len(fields))
    how = draw.choice(("replaced", "dropped", "added", "line repeated", "line dropped", "not UTF-8"))
    before, after = fields[column], str(draw.choice(ODD))[:30]
    if how == "replaced":
        fields[column] = after
    elif how == "dropped":
        del fields[column]
    elif how == "added":
        fields.insert(column, "7")
    lines[row : row + 1] = {"line repeated": [lines[row]] * 2, "line dropped": []}.get(how, [by.join(fields)])
    text = "\n".join(lines).encode() + b"\n"
    path.write_bytes(text.replace(lines[-1][:3].encode(), b"\xff\xfe") if how == "not UTF-8" else text)
    numeric = before.replace(".", "").replace("-", "").isdigit()
    mark = "!" if how in ("dropped", "added") or (how == "replaced" and numeric and after != "-1") else ""
    return f"{mark}line {row + 1}, field {column + 1} ({before!r}): {how}, {after!r}"


MUTATIONS = (
    *(cut, flipped, exchanged, another_file, swapped),
    *(value_replaced, value_replaced, value_replaced, key_changed, key_changed),
    *(array_changed, array_changed, array_changed, facts_changed),
)


def _obvious(before: Any, after: Any) -> str:
    """A mark where no reader may take ``after`` for ``before``: -1 and another text may be meant."""
    return "" if isinstance(after, type(before)) and (isinstance(after, str) or after == -1) else "!"


def _tree(path: Path) -> tuple[Any, Callable]:
    if path.suffix not in (".json", ".ipynb", ".yml"):
        raise Unfit
    text = path.read_text()
    tree = {"top": yaml.safe_load(text) if path.suffix == ".yml" else json.loads(text)}

    def write(tree: dict, change: Callable[[str], str] = str) -> None:
        dump = yaml.safe_dump if path.suffix == ".yml" else json.dumps
        path.write_text(change(dump(tree["top"])))

    return tree, write


def _places(tree: Any) -> Any:
    """Every (holder, key) below ``tree``."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if key != "top":
            yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _arrays(path: Path) -> tuple[dict[str, np.ndarray], Callable[[dict], Any]]:
    """The arrays of a file by name, and what writes them back."""
    if path.suffix == ".npy":
        return {"": np.load(path)}, lambda arrays: np.save(path, *arrays.values())
    if path.suffix == ".npz":
        with np.load(path) as file:
            return dict(file), lambda arrays: np.savez(path, **arrays)
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        return {name: table[name].to_numpy() for name in table}, lambda arrays: _written_table(path, arrays)
    if path.suffix == ".pth":
        tensors = torch.load(path, weights_only=True)
        write = lambda arrays: torch.save({key: torch.from_numpy(value) for key, value in arrays.items()}, path)  # noqa: E731
        return {key: value.numpy() for key, value in tensors.items()}, write
    if path.suffix == ".safetensors":
        with safe_open(path, "np") as file:
            arrays, facts = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
        return arrays, lambda arrays: save_file({k: torch.from_numpy(v.copy()) for k, v in arrays.items()}, path, facts)
    raise Unfit


def _written_table(path: Path, arrays: dict[str, np.ndarray]) -> None:
    shortest = min(map(len, arrays.values()))
    pd.DataFrame({name: list(array[:shortest]) for name, array in arrays.items()}).to_parquet(path, index=False)


def plain(value: Any) -> Any:
    """A result as something that can be compared."""
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, pd.DataFrame):
        return {name: plain(value[name].to_numpy()) for name in value}
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.kind, repr(value.tolist()) if value.dtype == object else value.tobytes()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return list(map(plain, value)) if isinstance(value, list | tuple) else repr(value)


def outcome(reader: Reader, folder: Path) -> tuple[str, Any, str]:
    """What a reader does: "read", "refused", "nameless", "raw" or "stuck"; the result or message; what it said."""

    def stop(*_: Any) -> None:
        raise TimeoutError("too long")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(io.StringIO()) as printed:
        warnings.simplefilter("always")
        try:
            result = plain(reader.read(folder))
            kind = "read"
        except WorkbenchError as error:
            result = str(error)
            kind = "refused" if str(folder) in result else "nameless"
        except TimeoutError as error:
            kind, result = "stuck", repr(error)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)
            ours = [each for each in frame if "/workbench/" in each.filename or "/data/" in each.filename] or frame
            where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
            kind, result = "raw", f"{type(error).__name__}: {str(error)[:150]} at {where}"
        finally:
            signal.alarm(0)
    return kind, result, printed.getvalue() + "".join(str(each.message) for each in caught)


def tried(number: int, seed: int, base: Path) -> tuple[str, str]:
    """Break the input ``number`` and read it: how that ended, and what was done."""
    reader, draw = READERS[number % len(READERS)], random.Random(f"{seed} {number}")
    whole, case = base / f"whole{id(reader.make)}", base / "case"
    if not whole.exists():
        whole.mkdir()
        with contextlib.redirect_stderr(io.StringIO()):
            reader.make(whole)
    if reader.name not in EXPECTED:
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(whole, case)
        EXPECTED[reader.name] = outcome(reader, case)
    kind, expected, said = EXPECTED[reader.name]
    assert kind == "read", f"{reader.name}: the valid input is not read: {expected}"
    while True:
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(whole, case)
        path = draw.choice([path for path in sorted(case.glob(reader.files)) if path.is_file()])
        mutation = draw.choice(MUTATIONS)
        with contextlib.suppress(Unfit, IndexError, ValueError, TypeError):
            done = mutation(path, draw)
            break
    kind, result, now_said = outcome(reader, case)
    if kind == "read" and result != expected:
        must = reader.summed or (done.startswith("!") and not reader.free)
        kind = "warned" if now_said != said else "wrong" if must else "other"
        result = ""
    told = f"{reader.name}, {path.name}: {mutation.__name__}, {done.lstrip('!')}."
    return kind, told if kind == "read" else f"{told} {result}"


def main() -> int:
    """Print the counts and one line a fault; 1 where there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--case", type=int, help="this one alone")
    given = parser.parse_args()
    counts: Counter[str] = Counter()
    sys.set_int_max_str_digits(0)
    with tempfile.TemporaryDirectory(prefix="workbench-faults-") as base:
        for number in range(given.count) if given.case is None else [given.case]:
            kind, told = tried(number, given.seed, Path(base))
            counts[kind] += 1
            if kind in ("raw", "nameless", "wrong", "stuck") or given.case is not None:
                again = f"python -m tests.faults.mutating --seed {given.seed} --case {number}"
                print(f"{kind}: {told.replace(base, '')!s}\n    again: {again}", flush=True)
    names = {"read": "read as before", "other": "read as another valid input", "warned": "read with a warning",
             "refused": "refused", "nameless": "refused without a file's name", "raw": "raw exceptions",
             "wrong": "wrong values accepted", "stuck": "without an end"}  # fmt: skip
    print(f"{counts.total()} broken inputs: " + ", ".join(f"{counts[kind]} {name}" for kind, name in names.items()))
    return int(any(counts[kind] for kind in ("raw", "nameless", "wrong", "stuck")))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
