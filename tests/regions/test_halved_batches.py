"""Two halves of a batch give the gradient of the whole."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from workbench.regions.halved_batches import HalvedBatches


def squared_share(network, inputs, targets, rows):
    return functional.mse_loss(network(inputs), targets, reduction="sum") / rows


@pytest.mark.parametrize(("rows", "first"), [(2, 1), (9, 4), (33, 32)])
def test_gradients_and_loss_are_those_of_the_whole_batch(rows, first):
    torch.manual_seed(rows)
    network = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    inputs, targets = torch.randn(rows, 5), torch.randn(rows, 3)
    whole = squared_share(network, inputs, targets, rows)
    expected = torch.autograd.grad(whole, list(network.parameters()))
    with HalvedBatches(network) as halved:
        parts = [(inputs[:first], targets[:first], rows), (inputs[first:], targets[first:], rows)]
        loss = halved.backward(squared_share, parts)
    assert loss == pytest.approx(whole.item(), rel=1e-5)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


def test_weights_are_shared_and_statistics_are_merged():
    network = nn.BatchNorm1d(4)
    with HalvedBatches(network) as halved:
        halved.train()
        with torch.no_grad():
            network.weight.fill_(3.0)
        assert torch.equal(halved.replica.weight, network.weight)
        network(torch.randn(8, 4)), halved.replica(torch.randn(8, 4) + 5)
        mean = (network.running_mean + halved.replica.running_mean) / 2
        halved.merge_statistics()
    assert torch.allclose(network.running_mean, mean) and torch.equal(network.running_mean, halved.replica.running_mean)


def test_an_error_in_either_half_is_raised():
    def loss_of(network, value):
        if value < 0:
            raise ValueError("bad half")
        return network(torch.ones(1, 2)).sum()

    for halves in ([(1.0,), (-1.0,)], [(-1.0,), (1.0,)]):
        with HalvedBatches(nn.Linear(2, 1)) as halved, pytest.raises(ValueError, match="bad half"):
            halved.backward(loss_of, halves)


def test_thread_count_is_put_back():
    before = torch.get_num_threads()
    with HalvedBatches(nn.Linear(2, 1)):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
