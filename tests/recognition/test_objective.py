"""The objective adds its terms as the reference does, and weighs generated rows as it is told."""

import numpy as np
import pytest
import torch

from workbench.errors import WorkbenchError
from workbench.recognition.hubness import vilhub
from workbench.recognition.losses import role_losses
from workbench.recognition.lsvru import LsvruConfig, LsvruHead
from workbench.recognition.objective import Objective, ObjectivePlan, Targets
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


@pytest.mark.parametrize("loss", ["ce", "wce", "logit_adjusted", "focal"])
def test_without_further_terms_it_is_the_loss_itself(loss):
    head, visual, logits, labels = made()
    parts = Objective(ObjectivePlan(loss), COUNTS, 0)(head, visual, logits, Targets(labels), 0)
    expected = role_losses(loss, COUNTS)
    for role in ROLES:
        assert parts[role].item() == pytest.approx(expected[role](getattr(logits, role), labels[role]).item())


def test_vilhub_and_relmix_are_added():
    head, visual, logits, labels = made()
    plain, hub, mixed = (
        Objective(ObjectivePlan(vilhub_scale=scale, relmix=rule), COUNTS, 0)(head, visual, logits, Targets(labels), 0)
        for scale, rule in ((0.0, "none"), (50.0, "none"), (0.0, "clean"))
    )
    for role in ROLES:
        term = vilhub(getattr(logits, role), 50.0).item()
        assert hub[role].item() - plain[role].item() == pytest.approx(term, rel=1e-4)
        assert mixed[role].item() > plain[role].item()
    again = Objective(ObjectivePlan(relmix="clean"), COUNTS, 0)(head, visual, logits, Targets(labels), 0)
    other = Objective(ObjectivePlan(relmix="clean"), COUNTS, 0)(head, visual, logits, Targets(labels), 1)
    assert again["relation"].item() == mixed["relation"].item() != other["relation"].item()


def test_a_synthetic_weight_of_one_is_no_weight():
    head, visual, logits, labels = made(n=10)
    parts = [
        Objective(ObjectivePlan("wce", synthetic_weight=weight), COUNTS, 0)(
            head, visual, logits, Targets(labels, None, np.arange(10) < 4), 0
        )
        for weight in (1.0, 1.0 - 1e-6)
    ]
    for role in ROLES:
        assert parts[0][role].item() == pytest.approx(parts[1][role].item(), rel=1e-4)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 2.0])
def test_generated_rows_weigh_what_they_are_told(weight):
    head, visual, logits, labels = made(n=10)
    generated = np.arange(10) < 4
    parts = Objective(ObjectivePlan(synthetic_weight=weight), COUNTS, 0)(
        head, visual, logits, Targets(labels, None, generated), 0
    )
    for role in ROLES:
        row = torch.nn.functional.cross_entropy(getattr(logits, role), labels[role], reduction="none").detach().numpy()
        expected = (weight * row[generated].sum() + row[~generated].sum()) / 10
        assert parts[role].item() == pytest.approx(expected, rel=1e-5)


def test_a_role_without_active_rows_counts_nothing():
    head, visual, logits, labels = made()
    active = {role: np.full(12, role == "relation") for role in ROLES}
    parts = Objective(ObjectivePlan(), COUNTS, 0)(head, visual, logits, Targets(labels, active), 0)
    assert parts["subject"].item() == 0 and parts["object"].item() == 0 and parts["relation"].item() > 0
    sum(parts.values()).backward()


@pytest.mark.parametrize("plan", [{"relmix": "dirty"}, {"vilhub_scale": -1.0}, {"synthetic_weight": -0.1}])
def test_values_outside_their_range_are_refused(plan):
    with pytest.raises(WorkbenchError, match=next(iter(plan))):
        Objective(ObjectivePlan(**plan), COUNTS, 0)
