"""A part of a batch is dropped out as it is in the whole."""

import pytest
import torch
import torch.nn.functional as F

from workbench.row_dropout import RowDropout, row_dropout, rows_of_batch, with_row_dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(10, 7), (6, 3, 4, 4)])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_parts_are_the_rows_of_the_whole(dtype, shape, rate):
    x = torch.randn(shape).to(dtype)
    torch.manual_seed(3)
    whole = F.dropout(x, rate)
    for rows in (slice(0, 2), slice(2, 5), slice(5, shape[0]), slice(0, shape[0])):
        torch.manual_seed(3)
        with rows_of_batch(rows, shape[0]):
            part = row_dropout(x[rows], rate, True)
        assert torch.equal(part, whole[rows]) and part.dtype == dtype


def test_one_seed_leaves_the_generator_where_the_whole_leaves_it():
    torch.manual_seed(0)
    F.dropout(torch.ones(9, 5), 0.3)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with rows_of_batch(slice(4, 6), 9):
        row_dropout(torch.ones(2, 5), 0.3, True)
    assert torch.equal(torch.rand(3), expected)


def test_without_training_or_rate_nothing_is_dropped_or_drawn():
    x, state = torch.randn(3, 4), torch.get_rng_state()
    with rows_of_batch(slice(0, 3), 6):
        assert torch.equal(row_dropout(x, 0.5, False), x) and torch.equal(row_dropout(x, 0.0, True), x)
    assert torch.equal(torch.get_rng_state(), state)


def test_layers_are_replaced_and_keep_their_weights_names():
    network = torch.nn.Sequential(
        torch.nn.Linear(4, 4), torch.nn.Sequential(torch.nn.Dropout(0.4), torch.nn.Linear(4, 2))
    )
    names = list(network.state_dict())
    replaced = with_row_dropout(network)
    assert list(replaced.state_dict()) == names and isinstance(replaced[1][0], RowDropout)
    x = torch.randn(8, 4)
    torch.manual_seed(1)
    whole = replaced(x)
    torch.manual_seed(1)
    with rows_of_batch(slice(3, 8), 8):
        torch.testing.assert_close(replaced(x[3:]), whole[3:])
    assert torch.equal(replaced.eval()(x), replaced(x))
