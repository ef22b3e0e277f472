"""Processes that share work: the parts, and one process as the simplest case."""

import numpy as np
import pytest
import torch

from workbench.processes import Processes


@pytest.mark.parametrize("rows", [0, 1, 7, 1024])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_parts_cover_all_rows_once_and_evenly(rows, count):
    parts = [np.arange(rows)[Processes(rank, count).part(rows)] for rank in range(count)]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_changes_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = Processes.current()
    values = torch.randn(3, 2, requires_grad=True)
    assert alone == Processes(0, 1) and alone.main and alone.any(True) and not alone.any(False)
    assert alone.joined(values) is values and torch.equal(alone.sum(values.detach()), values)
    values.square().sum().backward()
    before = values.grad.clone()
    alone.sum_gradients([values])
    assert torch.equal(values.grad, before)
    alone.wait()
