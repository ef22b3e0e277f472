import numpy as np
import pytest
import torch

from workbench.diffusion.conditions import ConditionTable
from workbench.diffusion.denoiser import Denoiser, DenoiserConfig
from workbench.diffusion.token_bank import TokenBank
from workbench.errors import WorkbenchError


def small(layout="tokens", n_centres=3, seed=0, conditions=5, skip=False):
    draw = np.random.default_rng(seed)
    table = ConditionTable.from_tokens(
        draw.standard_normal((conditions, 4, 6)), hardness=draw.random((conditions, 3)).astype(np.float32)
    )
    config = DenoiserConfig(10, 6, n_centres, layout, width=16, blocks=2, heads=2, token_width=8, skip=skip)
    torch.manual_seed(seed)
    model = Denoiser(config).eval()
    for parameter in model.parameters():  # away from the zero start, where nothing can be seen
        torch.nn.init.normal_(parameter, std=0.3)
    return model, TokenBank(table, layout=layout, hardness=n_centres > 0)


def run(model, bank, index, x, level=0.0, region=0):
    memory = model.encode(bank.batch(bank.ids[index], "cpu"))
    region = torch.full((len(x),), region)
    return model(x, model.modulation(torch.full((1,), level)), memory, region)


@pytest.mark.parametrize("layout", ["tokens", "pooled"])
@pytest.mark.parametrize("n_centres", [0, 3])
@torch.no_grad()
def test_rows_do_not_see_each_other_and_every_input_counts(layout, n_centres):
    model, bank = small(layout, n_centres)
    x, index = torch.randn(7, 10), np.array([0, 1, 2, 3, 4, 0, 1])
    together = run(model, bank, index, x)
    alone = torch.cat([run(model, bank, index[i : i + 1], x[i : i + 1]) for i in range(7)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together, run(model, bank, np.roll(index, 1), x))
    assert not torch.allclose(together, run(model, bank, index, x, level=1.0))
    assert not torch.allclose(together, run(model, bank, index, x, region=1))


@pytest.mark.parametrize("skip", [False, True])
@torch.no_grad()
def test_levels_belong_to_equal_groups_of_rows(skip):
    model, bank = small(skip=skip)
    x, index, levels = torch.randn(6, 10), np.arange(6) % 5, torch.tensor([-1.0, 0.5, 2.0])
    memory = model.encode(bank.batch(bank.ids[index], "cpu"))
    grouped = model(x, model.modulation(levels), memory, torch.zeros(6, dtype=torch.long))
    for level in range(3):
        rows = slice(2 * level, 2 * level + 2)
        alone = run(model, bank, index[rows], x[rows], levels[level].item())
        torch.testing.assert_close(grouped[rows], alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_attention_against_a_plain_softmax():
    model, _ = small()
    block, x = model.blocks[0], torch.randn(4, 16)
    key_value = torch.randn(4, 5, 32)
    q, k, v = block.query(x).view(4, 2, 8), key_value[..., :16].view(4, 5, 2, 8), key_value[..., 16:].view(4, 5, 2, 8)
    weights = torch.softmax((q[:, None] * k).sum(-1) / 8**0.5, dim=1)
    expected = (weights[..., None] * v).sum(1).reshape(4, 16)
    torch.testing.assert_close(block._attend(x, key_value), expected)


def test_an_untrained_denoiser_predicts_the_mean():
    model = Denoiser(DenoiserConfig(10, 6, width=16, heads=2, token_width=8))
    _, bank = small(n_centres=0)
    assert not run(model, bank, np.arange(5), torch.randn(5, 10)).any()


def test_token_statistics_centre_text_and_standardise_hardness_per_dimension():
    model, bank = small(conditions=50)
    model.fit_token_statistics(bank)
    text, hardness = (model.tokens[slot] for slot in (3, 4))
    assert len(text.scale.unique()) == 1 and len(hardness.scale.unique()) == 3
    standardised = (torch.from_numpy(bank.vectors[4]) - hardness.centre) / hardness.scale
    torch.testing.assert_close(standardised.std(0, correction=0), torch.ones(3), rtol=1e-3, atol=1e-3)


def test_sizes_that_cannot_be_built_are_refused():
    with pytest.raises(WorkbenchError, match="multiple of heads"):
        DenoiserConfig(10, 6, width=30, heads=4)
    with pytest.raises(WorkbenchError, match="layout"):
        DenoiserConfig(10, 6, layout="other")
