"""The one checkpoint format, tensors and a JSON object in a safetensors file; and what others wrote, read with care."""

import json
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from pickle import UnpicklingError  # what torch.load(weights_only=True) raises; nothing here unpickles
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from workbench.errors import WorkbenchError
from workbench.files import atomic_path

METADATA_KEY = "workbench"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write ``tensors`` and ``facts`` (JSON) to ``path``; a full disk is a WorkbenchError and keeps the old file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Through bytes, so that a full disk is an OSError with its number and becomes our message.
    content = save(plain, metadata={METADATA_KEY: json.dumps(facts)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: Path, remedy: str = "Delete it and run its stage again.") -> tuple[dict[str, Tensor], dict]:
    """Tensors (on the CPU) and facts of a file that ``save_tensors`` wrote.

    WorkbenchError where it is missing, truncated or something else; ``remedy`` says what makes it again.
    """
    if not Path(path).is_file():
        raise WorkbenchError(f"{path}: there is no checkpoint here. Correct the path, or run the stage that makes it.")
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[METADATA_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WorkbenchError(f"{path}: the file is truncated or not a checkpoint ({error}). {remedy}") from error
    except (KeyError, json.JSONDecodeError) as error:
        raise WorkbenchError(f"{path}: a safetensors file without the workbench's metadata. {remedy}") from error
    if not isinstance(facts, dict):
        raise WorkbenchError(f"{path}: its metadata is a {type(facts).__name__}, expected a JSON object. {remedy}")
    return tensors, facts


def read_foreign(path: Path) -> Any:
    """What somebody else's ``torch.save`` or safetensors file holds, on the CPU, mapped where the format allows it.

    No code of the file is run. WorkbenchError where it is missing, cut short, or holds other objects than plain ones.
    """
    if not path.is_file():
        raise WorkbenchError(f"{path}: there is no checkpoint here. Correct the path.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    # All are what torch and safetensors raise for a cut file, by format and by where it is cut.
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        # Torch's first line advises loading without the safeguard; the cause stands further down, before other advice.
        cause = next((line.strip() for line in lines if "WeightsUnpickler error" in line), lines[0])
        raise WorkbenchError(
            f"{path}: not a whole checkpoint of plain tensors ({cause.split(' Please use ')[0]}). If it was cut short, "
            "copy it again; if it holds other objects, which could run code, write its weights alone where it was "
            "trained: torch.save(model.state_dict(), 'model.pth')."
        ) from error


def weight_faults(wanted: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor]) -> list[str]:
    """One line for each tensor that is missing, extra, misshapen or not finite; ``wanted`` are shapes by name."""
    faults = [f"missing {name} {tuple(shape)}" for name, shape in wanted.items() if name not in tensors]
    for name, tensor in tensors.items():
        if name not in wanted:
            faults.append(f"extra {name} {tuple(tensor.shape)}")
        elif tuple(tensor.shape) != tuple(wanted[name]):
            faults.append(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(wanted[name])}")
        elif tensor.is_floating_point() and not torch.isfinite(tensor).all():
            faults.append(f"{name} holds values that are not finite")
    return faults


def load_weights(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    path: Path,
    remedy: str = "Run the stage that makes it again.",
    without: Collection[str] = (),
) -> None:
    """Put ``tensors`` into ``module``, or a WorkbenchError that names every one that does not fit.

    ``without`` names weights of the module that the file does not hold; they stay as they are. A module on the device
    "meta", which takes no memory, gets the tensors themselves.
    """
    own = module.state_dict()
    wanted = {name: tuple(value.shape) for name, value in own.items() if name not in without}
    faults = weight_faults(wanted, tensors)
    if faults:
        raise WorkbenchError(f"{path}: {len(faults)} tensors do not fit: {'; '.join(faults)}. {remedy}")
    module.load_state_dict(dict(tensors), strict=not without, assign=any(value.is_meta for value in own.values()))
