"""The objective adds its terms as the reference does, and weighs generated rows as it is told."""

import numpy as np
import pytest
import torch

from workbench.errors import WorkbenchError
from workbench.recognition.config import LossConfig
from workbench.recognition.losses import role_losses, vilhub
from workbench.recognition.lsvru import LsvruConfig, LsvruHead
from workbench.recognition.objective import RecogniserObjective, Targets
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import ROLES

COUNTS = Counts(objects=np.array([40, 9, 3, 1, 0]), relations=np.array([30, 4, 1]))


def made(n=12, seed=0):
    draw = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(shape, generator=draw)  # noqa: E731
    head = LsvruHead(LsvruConfig(6, 4, 5, 3, hidden=8), normal(5, 4), normal(4, 4)).initialise(seed)
    visual = head.visual_embeddings(normal(n, 6), normal(n, 6), normal(n, 6))
    labels = {role: torch.randint(1 if role == "relation" else 0, 4, (n,), generator=draw) for role in ROLES}
    return head, visual, head.logits(visual), labels


def parts_of(head, visual, logits, targets, step=0, *, synthetic_weight=1.0, **loss):
    objective = RecogniserObjective(head, LossConfig(**loss), COUNTS, synthetic_weight=synthetic_weight)
    return objective.parts(visual, logits, targets, step)


@pytest.mark.parametrize("loss", ["ce", "wce", "logit_adjusted", "focal"])
def test_without_further_terms_it_is_the_loss_itself(loss):
    head, visual, logits, labels = made()
    parts = parts_of(head, visual, logits, Targets(labels), name=loss)
    expected = role_losses(LossConfig(loss), COUNTS)
    for role in ROLES:
        assert parts[role].item() == pytest.approx(expected[role](getattr(logits, role), labels[role]).item())


def test_vilhub_and_relmix_are_added():
    head, visual, logits, labels = made()
    plain, hub, mixed = (
        parts_of(head, visual, logits, Targets(labels), vilhub_scale=scale, relmix=rule)
        for scale, rule in ((0.0, "none"), (50.0, "none"), (0.0, "clean"))
    )
    for role in ROLES:
        term = vilhub(getattr(logits, role), 50.0).item()
        assert hub[role].item() - plain[role].item() == pytest.approx(term, rel=1e-4)
        assert mixed[role].item() > plain[role].item()
    again = parts_of(head, visual, logits, Targets(labels), relmix="clean")
    other = parts_of(head, visual, logits, Targets(labels), 1, relmix="clean")
    assert again["relation"].item() == mixed["relation"].item() != other["relation"].item()


def test_a_synthetic_weight_of_one_is_no_weight():
    head, visual, logits, labels = made(n=10)
    parts = [
        parts_of(head, visual, logits, Targets(labels, None, np.arange(10) < 4), name="wce", synthetic_weight=weight)
        for weight in (1.0, 1.0 - 1e-6)
    ]
    for role in ROLES:
        assert parts[0][role].item() == pytest.approx(parts[1][role].item(), rel=1e-4)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 2.0])
def test_generated_rows_weigh_what_they_are_told(weight):
    head, visual, logits, labels = made(n=10)
    generated = np.arange(10) < 4
    parts = parts_of(head, visual, logits, Targets(labels, None, generated), synthetic_weight=weight)
    for role in ROLES:
        row = torch.nn.functional.cross_entropy(getattr(logits, role), labels[role], reduction="none").detach().numpy()
        expected = (weight * row[generated].sum() + row[~generated].sum()) / 10
        assert parts[role].item() == pytest.approx(expected, rel=1e-5)


def test_a_role_without_active_rows_counts_nothing():
    head, visual, logits, labels = made()
    active = {role: np.full(12, role == "relation") for role in ROLES}
    parts = parts_of(head, visual, logits, Targets(labels, active))
    assert parts["subject"].item() == 0 and parts["object"].item() == 0 and parts["relation"].item() > 0
    sum(parts.values()).backward()


def test_biases_learn_without_decay_and_frozen_weights_not_at_all():
    head = made()[0]
    head.prd_feats.requires_grad_(False)
    matrices, biases = RecogniserObjective(head, LossConfig(), COUNTS, bias_rate=2.0).parameter_groups()
    assert all(weight.ndim == 2 for weight in matrices["params"]) and all(bias.ndim == 1 for bias in biases["params"])
    assert (biases["weight_decay"], biases["multiple"]) == (0.0, 2.0) and "weight_decay" not in matrices
    found = {id(weight) for weight in (*matrices["params"], *biases["params"])}
    assert found == {id(weight) for name, weight in head.named_parameters() if not name.startswith("prd_feats")}


@pytest.mark.parametrize("loss", [{"relmix": "dirty"}, {"vilhub_scale": -1.0}])
def test_values_outside_their_range_are_refused(loss):
    with pytest.raises(WorkbenchError, match=next(iter(loss))):
        LossConfig(**loss)
