"""The machines that a plan knows: arithmetic, memory and disk, each with its source.

Arithmetic is the vendor's figure for dense matrices (without sparsity); the share of it that real training reaches, and
what is said of disks, decoding and kernel launches, are assumptions.
"""

import os
import time
from dataclasses import dataclass, replace

from workbench.errors import WorkbenchError

GB = 1e9
TERA = 1e12
MEASURED_SIDE = 1024
MEASURED_SECONDS = 0.2


@dataclass(frozen=True)
class Machine:
    """A GPU, or this machine's CPU, with its host.

    ``bfloat16`` and ``float32`` in operations a second (``bfloat16`` 0 where the hardware has none), ``memory`` in
    bytes (0: that of the host), ``utilisation`` the share of arithmetic that is reached. ``disk`` in bytes a second;
    ``pictures_a_core`` decoded a second; ``host`` operations a second of the CPU; ``launch`` seconds that a step of
    training takes at least.
    """

    name: str
    title: str
    bfloat16: float
    float32: float
    memory: float
    source: str
    utilisation: float = 0.35
    disk: float = 1.0 * GB
    pictures_a_core: float = 100.0
    host: float = 0.5 * TERA
    launch: float = 0.004

    def speed(self, precision: str = "auto") -> float:
        """Operations a second that are reached; "auto" is bfloat16 where there is one."""
        peak = self.float32 if precision == "float32" or not self.bfloat16 else self.bfloat16
        return self.utilisation * peak


def _gpu(name: str, title: str, bfloat16: float, float32: float, gigabytes: float, source: str) -> Machine:
    return Machine(name, title, bfloat16 * TERA, float32 * TERA, gigabytes * GB, source)


MACHINES = {
    machine.name: machine
    for machine in (
        _gpu("h100", "NVIDIA H100 SXM", 989.4, 66.9, 80, "NVIDIA H100 data sheet"),
        _gpu("h200", "NVIDIA H200 SXM", 989.4, 66.9, 141, "NVIDIA H200 data sheet"),
        _gpu("a100", "NVIDIA A100 SXM 80 GB", 312.0, 19.5, 80, "NVIDIA A100 data sheet"),
        _gpu("v100", "NVIDIA V100 SXM2 32 GB", 0.0, 15.7, 32, "NVIDIA V100 data sheet; it has no bfloat16"),
        _gpu("rtx4090", "NVIDIA GeForce RTX 4090", 165.2, 82.6, 24, "NVIDIA Ada architecture white paper"),
    )
}
NAMES = (*MACHINES, "cpu")


def machine_called(name: str) -> Machine:
    """The machine of that name; "cpu" is this one, measured now in half a second; WorkbenchError for another name."""
    if name == "cpu":
        return _this_machine()
    if name not in MACHINES:
        raise WorkbenchError(f"machine {name!r} is not known; expected one of {', '.join(NAMES)}.")
    return MACHINES[name]


def _this_machine() -> Machine:
    import torch

    from workbench.devices import network_precision

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    single = _matmul_speed(torch.float32)
    half = _matmul_speed(torch.bfloat16) if network_precision(torch.device("cpu")) == "bfloat16" else 0.0
    measured = Machine(
        "cpu", f"this CPU, {cores} cores", half, single, 0.0,
        f"a product of {MEASURED_SIDE} x {MEASURED_SIDE} matrices, measured now on {torch.get_num_threads()} threads",
    )  # fmt: skip
    return replace(measured, utilisation=0.5, host=single, launch=0.0, disk=0.5 * GB)


def _matmul_speed(dtype) -> float:
    import torch

    matrix = torch.ones(MEASURED_SIDE, MEASURED_SIDE, dtype=dtype)
    matrix @ matrix  # the first product chooses a kernel
    began, products = time.perf_counter(), 0
    while (seconds := time.perf_counter() - began) < MEASURED_SECONDS:
        matrix @ matrix
        products += 1
    return products * 2.0 * MEASURED_SIDE**3 / seconds
