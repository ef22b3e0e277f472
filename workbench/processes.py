"""One piece of work shared by several processes, one a GPU, that ``torchrun`` or ``accelerate launch`` started.

Every process runs the same code and differs in its ``rank`` alone. What is drawn is a function of (seed, step), never
of the rank, so that the same seed gives the same result however many processes share the work.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """The ``rank`` of this process among ``count``; alone unless a launcher said otherwise."""

    rank: int = 0
    count: int = 1

    @classmethod
    def current(cls) -> "Processes":
        """Join the processes that a launcher started together (``WORLD_SIZE`` is set), or stand alone."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes)

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes logs, checkpoints and manifests."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.count > 1:
            torch.distributed.barrier()

    def part(self, rows: int) -> slice:
        """The share of this process of ``rows`` consecutive rows; the shares differ by one row at most."""
        bounds = np.linspace(0, rows, self.count + 1).astype(int)
        return slice(int(bounds[self.rank]), int(bounds[self.rank + 1]))

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process; all must call it."""
        if self.count == 1:
            return flag
        told = torch.tensor(float(flag), device=self._device())
        torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
        return bool(told.item())

    def sum(self, value: Tensor) -> Tensor:
        """The sum of the processes' tensors, in every process."""
        if self.count > 1:
            torch.distributed.all_reduce(value)
        return value

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes, in one message."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.count == 1 or not gradients:
            return
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        torch.distributed.all_reduce(flat)
        for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def joined(self, rows: Tensor) -> Tensor:
        """The rows (n_rank, ...) of all processes one after the other, (n, ...); gradients flow back to each part.

        Each process then computes the same loss from the same rows, so the gradient that a part receives is that loss's
        times ``count``; dividing the loss by ``count`` and ``sum_gradients`` give the gradient of one process.
        """
        if self.count == 1:
            return rows
        return _Joined.apply(rows, self)

    def _device(self) -> torch.device:
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


class _Joined(torch.autograd.Function):
    """All-gather of parts of any length; the backward pass sums what all processes ask of this one's part."""

    @staticmethod
    def forward(context, rows: Tensor, processes: Processes) -> Tensor:
        lengths = torch.zeros(processes.count, dtype=torch.int64, device=rows.device)
        lengths[processes.rank] = len(rows)
        counts = processes.sum(lengths).tolist()
        whole = rows.new_zeros((sum(counts), *rows.shape[1:]))
        start = sum(counts[: processes.rank])
        whole[start : start + len(rows)] = rows
        context.own, context.processes = slice(start, start + len(rows)), processes
        return processes.sum(whole)

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None]:
        return context.processes.sum(gradient.contiguous().clone())[context.own], None
