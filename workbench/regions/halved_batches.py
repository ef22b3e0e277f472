"""Gradients of a batch as the sum of its two halves', each on one core.

Layers as narrow as those of a scaled VGG-16 gain little from two threads inside an operation, and lose much while the
machine does anything else; two halves side by side use both cores and never wait for each other inside an operation.
"""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn


class HalvedBatches:
    """Runs forward and backward of two halves of a batch in two threads with one replica of the network each.

    The replicas share their weights with ``network`` and own their gradients and running statistics. The result does
    not depend on how many threads there are.
    """

    def __init__(self, network: nn.Module):
        self.network, self.replica = network, copy.deepcopy(network)
        for shared, own in zip(network.parameters(), self.replica.parameters(), strict=True):
            own.data = shared.data
        self._threads = torch.get_num_threads()
        self._second = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))

    def __enter__(self) -> "HalvedBatches":
        torch.set_num_threads(1)
        return self

    def __exit__(self, *error: object) -> None:
        self._second.shutdown()
        torch.set_num_threads(self._threads)

    def train(self) -> None:
        """Both replicas in training mode."""
        self.network.train()
        self.replica.train()

    def backward(self, loss_of: Callable[..., Tensor], halves: list[tuple]) -> float:
        """Sum of ``loss_of(network, *half)`` over one or two halves; leaves the summed gradients in the network."""
        for module in (self.network, self.replica):
            module.zero_grad(set_to_none=True)
        later = [self._second.submit(_backward, loss_of, self.replica, half) for half in halves[1:]]
        try:
            total = _backward(loss_of, self.network, halves[0])
        finally:
            others = [result.result() for result in later]
        for own, other in zip(self.network.parameters(), self.replica.parameters(), strict=True):
            if other.grad is not None:
                own.grad = other.grad if own.grad is None else own.grad.add_(other.grad)
        return total + sum(others)

    @torch.no_grad()
    def merge_statistics(self, from_network: bool = False) -> None:
        """Give both replicas the mean of their running statistics, or the network's own after it was loaded.

        Called wherever training may be interrupted, so that a resumed run has the same statistics.
        """
        for own, other in zip(self.network.buffers(), self.replica.buffers(), strict=True):
            if own.is_floating_point() and not from_network:
                own.copy_((own + other) / 2)
            other.copy_(own)


def _backward(loss_of: Callable[..., Tensor], network: nn.Module, half: tuple) -> float:
    loss = loss_of(network, *half)
    loss.backward()
    return loss.item()
