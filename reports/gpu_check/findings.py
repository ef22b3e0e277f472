"""What a section of the check writes down: numbers, and what was required of some of them."""

import gc
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from workbench.devices import chosen_device


class SkippedSectionError(Exception):
    """A section that this machine cannot run, and why."""


@dataclass
class Findings:
    """Numbers of one section, kept in ``path`` as they come, so that a section that is stopped leaves those it had.

    ``work`` is a folder that all sections share. In a rehearsal on a CPU (``small``) sizes are reduced, and speeds are
    written down but not judged.
    """

    path: Path
    work: Path
    small: bool
    numbers: dict[str, Any] = field(default_factory=dict)
    required: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the section runs."""
        return chosen_device()

    def size(self, full: int, small: int) -> int:
        """A number of the check, and the one that a rehearsal takes."""
        return small if self.small else full

    def note(self, **numbers: Any) -> None:
        """Keep numbers."""
        self.numbers |= numbers
        self.write("running")

    def require(
        self, name: str, value: float, most: float | None = None, least: float | None = None, speed: bool = False
    ) -> None:
        """Keep a number and whether it lies where it should; NaN does not."""
        met = (most is None or value <= most) and (least is None or value >= least)
        limits = {key: limit for key, limit in (("at_most", most), ("at_least", least)) if limit is not None}
        self.required[name] = {"value": value, **limits, "met": None if speed and self.small else met}
        self.write("running")

    def missed(self) -> list[str]:
        """The names of what was not met."""
        return [name for name, entry in self.required.items() if entry["met"] is False]

    def write(self, status: str, reason: str = "") -> None:
        """Write the section's entry."""
        entry = {"status": status, "reason": reason, "numbers": self.numbers, "required": self.required}
        self.path.write_text(json.dumps(entry, indent=1), encoding="utf-8")


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Wall-clock seconds of ``call(*arguments)`` with all that it asked of the GPU, and what it gives."""
    _wait()
    began = time.perf_counter()
    made = call(*arguments)
    _wait()
    return time.perf_counter() - began, made


def products_per_second(found: Findings) -> float:
    """Operations a second of the machine's own bfloat16 matrix product, the median of ten; noted."""
    side = found.size(8192, 512)
    left, right = (torch.randn(side, side, device=found.device, dtype=torch.bfloat16) for _ in range(2))
    times = [timed(torch.matmul, left, right)[0] for _ in range(13)][3:]
    rate = 2 * side**3 / statistics.median(times)
    found.note(matrix_product_tflops=rate / 1e12)
    return rate


def forget_peak() -> None:
    """Give memory back, and let the peak begin anew."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gigabytes() -> float:
    """The GPU's peak memory of tensors, 0 on a CPU."""
    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
