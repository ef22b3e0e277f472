"""Which device a network runs on, and in which number format its matrix products are computed."""

import contextlib
import os
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from accelerate import Accelerator


def chosen_device(name: str = "auto") -> torch.device:
    """A GPU when there is one, else the CPU; or the device that is named, WorkbenchError where that is none.

    Each of several processes that a launcher started together takes the GPU of its place on the machine.
    """
    if name != "auto":
        with contextlib.suppress(RuntimeError, AssertionError, NotImplementedError):
            torch.zeros(1, device=name).item()
            return torch.device(name)
        raise WorkbenchError(f"device {name!r}: this machine has no such one. Give auto, cpu, or one such as cuda:1.")
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return torch.device("cuda")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def network_precision(device: torch.device, precision: str = "auto") -> str:
    """The format of the network's matrix products, "bfloat16" or "float32"; state and schedule are float32 always.

    "auto" asks what the hardware has (AMX tiles or AVX512-BF16 on a CPU) and does not time anything: two runs on one
    kind of machine must make the same choice.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    has_bfloat16 = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if has_bfloat16 else "float32"


def network_autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """The context in which the network runs, for a ``precision`` that ``network_precision`` returned."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def full_precision(device: torch.device) -> contextlib.AbstractContextManager:
    """A context in which matrix products are float32 again, for losses within a network's autocast."""
    return torch.autocast(device.type, enabled=False)


def dropped_out(values: torch.Tensor, share: float, training: bool) -> torch.Tensor:
    """Dropout as torch's; on a CPU a mask takes a quarter of the time, 16 random bits a value instead of 64."""
    if not (training and share) or values.device.type != "cpu":
        return F.dropout(values, share, training)
    bits = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    kept = bits[: values.numel()].view(values.shape) >= round(share * 2**16) - 2**15
    return values * kept.to(values.dtype).mul_(1.0 / (1.0 - share))


def accelerator_for(device: str = "auto", precision: str = "auto", accumulation: int = 1) -> "Accelerator":
    """An accelerate ``Accelerator`` on a device and in a precision as `chosen_device` and `network_precision` say.

    A notebook trains several models one after the other, each on a device and in a precision of its own, but accelerate
    keeps both for the whole process; so what it keeps is reset first (not the group of processes, if there are any).
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    chosen = chosen_device(device)
    AcceleratorState._reset_state(reset_partial_state=int(os.environ.get("WORLD_SIZE", "1")) == 1)
    mixed = {"bfloat16": "bf16", "float32": "no"}[network_precision(chosen, precision)]
    return Accelerator(cpu=chosen.type == "cpu", mixed_precision=mixed, gradient_accumulation_steps=accumulation)
