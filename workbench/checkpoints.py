"""The one checkpoint format, tensors and a JSON object in a safetensors file; and what others wrote, read with care."""

import argparse
import contextlib
import json
import re
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PosixPath
from pickle import UnpicklingError  # what torch.load(weights_only=True) raises; nothing here unpickles
from typing import IO, Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from workbench.errors import WorkbenchError
from workbench.escaping import escaped
from workbench.file_errors import reading
from workbench.file_kinds import FileKind, file_kind, refuse_kind
from workbench.files import atomic_path

METADATA_KEY = "workbench"
EXPECTED = "a whole checkpoint of plain tensors"
# Under which a training puts the weights beside its own state, in the order in which they are looked for.
_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "network")
PREFIXES = ("module.", "model.")  # of DataParallel and Lightning, before every name
_INSERTED = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Plain objects that trainings keep beside the weights; making one of them runs no code of the file. NumPy has had two
# names for the module that makes its arrays and numbers.
_NUMPY = [np.ndarray, np.dtype, *{type(np.dtype(kind)) for kind in "?bhilqBHILQefd"}]
_MAKERS: dict[str, Any] = {"_reconstruct": np.zeros(0).__reduce__()[0], "scalar": np.float64(0).__reduce__()[0]}
_PLAIN_OBJECTS: list[Any] = [argparse.Namespace, *_NUMPY, (PosixPath, "pathlib.PosixPath")]
for _core in ("core", "_core"):
    _PLAIN_OBJECTS += [(maker, f"numpy.{_core}.multiarray.{name}") for name, maker in _MAKERS.items()]
_PIECE = 1 << 24  # bytes
_LISTED = 30  # faults in a message


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write ``tensors`` and ``facts`` (JSON) to ``path``; a full disk is a WorkbenchError and keeps the old file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # One entry: safetensors writes several in any order. Through bytes, so that a full disk is an OSError with its
    # number and becomes our message.
    content = save(plain, metadata={METADATA_KEY: json.dumps(facts)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: Path, remedy: str = "Delete it and run its stage again.") -> tuple[dict[str, Tensor], dict]:
    """Tensors (on the CPU) and facts of a file that ``save_tensors`` wrote.

    WorkbenchError where it is missing, truncated or something else; ``remedy`` says what makes it again.
    """
    if not Path(path).is_file():
        raise WorkbenchError(f"{path}: there is no checkpoint here. Correct the path, or run the stage that makes it.")
    with reading(path, "a whole checkpoint of the workbench", remedy), safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if METADATA_KEY not in metadata:
            raise WorkbenchError(f"{path}: a safetensors file without the workbench's metadata. {remedy}")
        facts = json.loads(metadata[METADATA_KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if not isinstance(facts, dict):
        raise WorkbenchError(f"{path}: its metadata is a {type(facts).__name__}, expected a JSON object. {remedy}")
    return tensors, facts


@dataclass(frozen=True)
class ForeignWeights:
    """Tensors of a file by name, on the CPU, and what the file has ``beside`` them.

    ``changes`` says in words what was taken off or is computed with otherwise. ``facts`` are those of `save_tensors`
    where the file is one of our own, which is left as it is.
    """

    tensors: dict[str, Tensor]
    beside: Mapping[str, Any] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    facts: dict[str, Any] | None = None


def read_foreign(path: Path, published: str = "") -> ForeignWeights:
    """The weights of somebody's ``torch.save`` or safetensors file, whatever its name, mapped where that is possible.

    What a training wraps them in is taken off (``{"state_dict": ...}``, "module." before names) and printed. No code
    of the file is run. WorkbenchError where it is missing, cut short, something else, or holds objects; of TorchScript
    with ``published``, where such weights are published as tensors.
    """
    path = Path(path)
    kind = _required_kind(path, published)
    if kind is FileKind.SAFETENSORS:
        with reading(path, EXPECTED, "Copy or download it again."), safe_open(path, framework="pt") as file:
            facts = (file.metadata() or {}).get(METADATA_KEY)
            content: Any = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if facts is not None:
                return ForeignWeights(content, facts=json.loads(facts))
    else:
        content = _unpickled(path, kind)
    found = _plain_weights(path, content)
    if found.changes:
        print(escaped(f"{path.name}: {'; '.join(found.changes)}"))
    return found


def _required_kind(path: Path, published: str) -> FileKind:
    """The kind of a file that may be a checkpoint, by its first bytes; WorkbenchError for whatever else it is."""
    if not path.exists():
        raise WorkbenchError(f"{path}: there is no checkpoint here. Correct the path.")
    with reading(path, EXPECTED):
        kind = file_kind(path)
        zipped = kind is FileKind.TORCH and zipfile.is_zipfile(path)
        with zipfile.ZipFile(path) if zipped else contextlib.nullcontext() as archive:
            members = archive.namelist() if archive else []
    if any(name.endswith("/constants.pkl") for name in members):
        written = path.with_name(f"{path.stem}_weights.pt")
        raise WorkbenchError(
            f"{path}: a TorchScript archive, which runs code of its own when it is read, so it is not read here. "
            f"{published} If you trust this file, convert it once with "
            f"`python -c \"import torch; torch.save(torch.jit.load('{path}', map_location='cpu').state_dict(), "
            f"'{written}')\"`. Then give the new file."
        )
    if kind not in (FileKind.SAFETENSORS, FileKind.TORCH, FileKind.PICKLE):
        raise refuse_kind(path, kind, EXPECTED, _remedy_of_kind(path, kind))
    return kind


def _remedy_of_kind(path: Path, kind: FileKind) -> str:
    if kind is FileKind.NPZ:
        return (
            f'Its arrays as tensors: python -c "import numpy, torch; torch.save({{k: torch.from_numpy(v) for k, v in '
            f"numpy.load('{path}').items()}}, '{path.with_suffix('.pth')}')\""
        )
    if kind is FileKind.FOLDER:
        files = (file for file in islice(path.rglob("*"), 1000) if file.is_file())
        found = [file for file in files if file_kind(file) in (FileKind.SAFETENSORS, FileKind.TORCH)]
        return f"Give a file in it: {', '.join(map(str, sorted(found)[:3]))}" if found else "It holds no checkpoint."
    return "Copy or download it again." if kind is FileKind.BINARY else ""


def _unpickled(path: Path, kind: FileKind) -> Any:
    alone = "Write its weights alone where it was trained: torch.save(model.state_dict(), 'model.pth')"
    with reading(path, EXPECTED, alone if kind is FileKind.PICKLE else f"Copy or download it again. {alone}"):
        try:
            with torch.serialization.safe_globals(_PLAIN_OBJECTS), open(path, "rb") as file:
                # Torch takes whatever is named .safetensors for one, but maps only what it opens itself.
                mapped = path.suffix != ".safetensors" and zipfile.is_zipfile(path)
                if zipfile.is_zipfile(path):
                    _compare_sums(file)
                return torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
        except UnpicklingError as error:
            named = re.search(r"GLOBAL ([\w.]+) was not|unsupported GLOBAL ([\w.]+)", str(error))
            if named is None:
                raise
            objects = f"Python objects ({named[1] or named[2]}), and reading these could run code"
            raise WorkbenchError(f"{path}: holds {objects}. {alone}") from error


def _compare_sums(file: IO[bytes]) -> None:
    """Raise zipfile.BadZipFile where a part of an archive is not what was written, which torch does not look at."""
    with zipfile.ZipFile(file) as archive:
        for part in archive.infolist():
            with archive.open(part) as content:
                while part.CRC and content.read(_PIECE):  # 0 where torch was told to leave the sums out
                    pass
    file.seek(0)


def _plain_weights(path: Path, content: Any) -> ForeignWeights:
    beside: dict[str, Any] = {}
    changes: list[str] = []
    for _ in range(len(WRAPPERS)):  # one in another, as Lightning's and DeepSpeed's; never in a circle
        inner = next((name for name in WRAPPERS if isinstance(content, Mapping) and _holds(content.get(name))), None)
        if inner is None:
            break
        beside |= {name: value for name, value in content.items() if name != inner}
        content = content[inner]
        changes.append(f"the weights are those under {inner!r}")
    if not _holds(content, 1) or not all(isinstance(name, str) for name in content):
        keys = f": at its top are {', '.join(map(repr, islice(content, 5)))}" if isinstance(content, Mapping) else ""
        raise WorkbenchError(
            f"{path}: expected names and tensors, or a dict with them under {' or '.join(map(repr, WRAPPERS[:3]))}, "
            f"found a {type(content).__name__}{escaped(keys, 200)}. "
            "Write the weights alone where it was trained: torch.save(model.state_dict(), 'model.pth')"
        )
    arrays = {name: torch.from_numpy(value) for name, value in content.items() if _is_array(value)}
    tensors = {name: value.detach() for name, value in content.items() if isinstance(value, Tensor)} | arrays
    if others := [name for name in content if name not in tensors]:
        changes.append(f"no tensors and left out: {', '.join(others[:5])}{' ...' * (len(others) > 5)}")
    tensors, taken = _without_wrapping(path, tensors)
    changes += [f"{part!r} is taken off the names" for part in taken]
    dtypes = {str(value.dtype).removeprefix("torch.") for value in tensors.values() if value.is_floating_point()}
    if rounded := sorted(dtypes - {"float32"}):
        changes.append(f"{' and '.join(rounded)} is computed with as float32")
    dense = {name: value for name, value in tensors.items() if value.ndim > 1 and value.layout == torch.strided}
    if empty := [name for name, value in dense.items() if value.dtype in _PRECISIONS and not value.any()]:
        changes.append(f"{len(empty)} all zeros, as an unfinished download leaves them: {', '.join(empty[:5])}")
    return ForeignWeights(tensors, beside, tuple(changes))


def _without_wrapping(path: Path, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors without what wrappers of a network put before its names or within, and what that was."""
    count = len(tensors)
    taken = sorted({f"{part}." for name in tensors for part in _INSERTED.findall(name)})
    tensors = {_INSERTED.sub("", name): value for name, value in tensors.items()}
    if "n_averaged" in tensors and any(name.startswith("module.") for name in tensors):  # torch's AveragedModel
        del tensors["n_averaged"]
        count -= 1
    while prefix := next((one for one in PREFIXES if all(name.startswith(one) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
        taken.append(prefix)
    if len(tensors) < count:
        raise WorkbenchError(f"{path}: two tensors have one name without {', '.join(taken)}. Write one network alone.")
    return tensors, taken


def _holds(content: Any, deep: int = len(WRAPPERS)) -> bool:
    """Whether weights are in a mapping, or in one that it holds under the name of a wrapper."""
    if not isinstance(content, Mapping) or not deep:
        return False
    plain = any(isinstance(value, Tensor) or _is_array(value) for value in content.values())
    return plain or any(_holds(content.get(name), deep - 1) for name in WRAPPERS)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiubc"


def weight_faults(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """One line for each tensor that is missing, extra, misshapen, of another kind of number or not finite.

    ``wanted`` are the network's own tensors, on any device, "meta" too. Floating-point numbers of any precision fit.
    """
    faults = [f"missing {name} {tuple(own.shape)}" for name, own in wanted.items() if name not in tensors]
    for name, tensor in tensors.items():
        dtype, own = str(tensor.dtype).removeprefix("torch."), wanted.get(name)
        if own is None:
            faults.append(f"extra {name} {tuple(tensor.shape)}")
        elif tensor.shape != own.shape:
            faults.append(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(own.shape)}")
        elif tensor.dtype != own.dtype and not (tensor.is_floating_point() and own.is_floating_point()):
            faults.append(f"{name} holds {dtype}, expected {str(own.dtype).removeprefix('torch.')}")
        elif tensor.layout != torch.strided or tensor.is_meta:
            faults.append(f"{name} is {'without numbers' if tensor.is_meta else 'sparse'}, expected dense numbers")
        elif own.is_floating_point() and not torch.isfinite(tensor.to(own.dtype)).all():
            faults.append(f"{name} holds values that are not finite in {str(own.dtype).removeprefix('torch.')}")
    return [escaped(fault, 200) for fault in faults]


def load_weights(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    path: Path | str,
    remedy: str = "Run the stage that makes it again.",
    without: Collection[str] = (),
) -> None:
    """Put ``tensors`` into ``module``, or a WorkbenchError that names every one that does not fit.

    ``without`` names weights of the module that the file does not hold; they stay as they are. A module on the device
    "meta", which takes no memory, gets the tensors themselves.
    """
    own = module.state_dict()
    faults = weight_faults({name: value for name, value in own.items() if name not in without}, tensors)
    if faults:
        listed = "; ".join(faults[:_LISTED]) + f"; and {len(faults) - _LISTED} more" * (len(faults) > _LISTED)
        raise WorkbenchError(f"{path}: {len(faults)} tensors do not fit: {listed}. {remedy}")
    tensors = {name: tensor.to(own[name].dtype) for name, tensor in tensors.items()}
    module.load_state_dict(tensors, strict=not without, assign=any(value.is_meta for value in own.values()))
