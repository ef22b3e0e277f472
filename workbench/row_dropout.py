"""Dropout whose mask belongs to a whole batch, of which the rows at hand are a part.

Processes and micro-batches each compute some rows of a batch. With the mask drawn for the whole batch and cut to these
rows, the result does not depend on how the batch is shared out.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_part: ContextVar[tuple[slice, int] | None] = ContextVar("part of a batch", default=None)


@contextlib.contextmanager
def rows_of_batch(rows: slice, batch_size: int) -> Iterator[None]:
    """Within the block the rows of every ``row_dropout`` are ``rows`` of a batch of ``batch_size``."""
    # The whole batch needs no cutting, and takes torch's own way.
    token = _part.set(None if rows == slice(0, batch_size) else (rows, batch_size))
    try:
        yield
    finally:
        _part.reset(token)


def row_dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """``torch.nn.functional.dropout`` of ``x`` (n, ...), with the mask of the whole batch inside ``rows_of_batch``.

    The mask is drawn from torch's global generator of the device, at the size of the whole batch: one activation of
    that size lives for a moment.
    """
    part = _part.get()
    if part is None or not training or rate <= 0.0:
        return F.dropout(x, rate, training)
    rows, batch_size = part
    mask = F.dropout(torch.ones((batch_size, *x.shape[1:]), dtype=x.dtype, device=x.device), rate)[rows]
    # Torch's dropout scales in the format of x on a CPU, but in float32 on a GPU.
    return torch.where(mask > 0, x / (1.0 - rate), 0.0) if x.is_cuda else x * mask


class RowDropout(nn.Module):
    """``row_dropout`` as a layer, in the place of ``torch.nn.Dropout``."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (n, ...) to the same shape."""
        return row_dropout(x, self.rate, self.training)


def with_row_dropout(network: nn.Module) -> nn.Module:
    """``network`` itself, each ``torch.nn.Dropout`` in it replaced by ``RowDropout``; weights keep their names."""
    for name, layer in network.named_children():
        if isinstance(layer, nn.Dropout):
            setattr(network, name, RowDropout(layer.p))
        else:
            with_row_dropout(layer)
    return network
