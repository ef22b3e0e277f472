"""One piece of work shared by several processes, one a GPU, that ``torchrun`` or ``accelerate launch`` started.

Extraction and sampling share out ranges of rows; training shares batches through accelerate (`workbench.training`).
"""

import os
from dataclasses import dataclass

import torch


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
