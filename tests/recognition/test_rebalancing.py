"""Re-balancing without generated features: what stays, what changes, and that choices fall on validation."""

import pytest
import torch

from tests.recognition.conftest import SMALL, train_small
from tests.refusals import refused
from workbench.recognition.config import RebalancingConfig
from workbench.recognition.losses import role_classes
from workbench.recognition.rebalancing import CLASSIFIER_PARTS, adjustable, rebalance_recogniser
from workbench.recognition.recogniser import load_recogniser
from workbench.regions.features import FeaturesFolder
from workbench.scenes.bands import count_classes


@pytest.fixture(scope="module")
def linear(small_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("linear")
    return train_small(small_data, folder, epochs=4, sizes={"classifier": "linear"}, **SMALL)


def rebalance(folder, data, recogniser, method, **options):
    config = RebalancingConfig(method, **{"epochs": 2, "batch_size": 60, **options})
    metrics = rebalance_recogniser(folder, recogniser=recogniser, features=data.features, config=config)
    return metrics, load_recogniser(folder).head


@pytest.mark.parametrize("method", ["crt", "lws"])
@pytest.mark.parametrize("kind", ["trained", "linear"])
def test_retraining_touches_the_classifier_alone(small_data, tmp_path, request, method, kind):
    before = load_recogniser(request.getfixturevalue(kind)).head.state_dict()
    _, head = rebalance(tmp_path, small_data, request.getfixturevalue(kind), method)
    after = head.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    if method == "crt":
        assert moved and all(name.startswith(CLASSIFIER_PARTS) for name in moved)
    else:
        assert not moved and any((after[f"class_factor.{role}"] != 1).any() for role in ("subject", "relation"))


def test_tau_normalisation_divides_rows_by_their_norm(small_data, linear, tmp_path):
    before = load_recogniser(linear).head
    metrics, head = rebalance(tmp_path, small_data, linear, "tau_norm", strengths=(1.0,))
    assert metrics["tau"] == {"subject/object": 1.0, "relation": 1.0}
    assert torch.allclose(head.so_classifier.weight.norm(dim=1), torch.ones(7), atol=1e-5)
    direction = torch.nn.functional.normalize(before.so_classifier.weight, dim=1)
    assert torch.allclose(head.so_classifier.weight, direction, atol=1e-5) and not head.so_classifier.bias.any()


def test_a_word_classifier_has_no_norms_to_take_away(small_data, trained, tmp_path):
    refused("tau-normalisation needs a linear one", rebalance, tmp_path, small_data, trained, "tau_norm")


def test_logits_are_adjusted_by_the_train_prior(small_data, trained, tmp_path):
    _, head = rebalance(tmp_path, small_data, trained, "logit_adjustment", strengths=(0.5,))
    before, draw = load_recogniser(trained).head, torch.Generator().manual_seed(0)
    features = [torch.randn((9, 12), generator=draw) for _ in range(3)]
    counts = count_classes(FeaturesFolder(small_data.features).train.relations, small_data.vocabulary)
    with torch.no_grad():
        was, now = before(*features), head(*features)
    for role, classes in role_classes(counts).items():
        assert torch.allclose(getattr(now, role), getattr(was, role) - 0.5 * classes.log_priors(), atol=1e-5)


@pytest.mark.parametrize("method", ["logit_adjustment", "tau_norm"])
def test_strengths_are_chosen_on_validation_and_never_hurt_it(small_data, linear, tmp_path, method):
    metrics, _ = rebalance(tmp_path, small_data, linear, method, strengths=(0.0, 0.5, 1.0))
    if method == "logit_adjustment":  # tau-normalisation drops the bias, so its 0 is not the recogniser before
        assert metrics["validation_combined"] >= metrics["validation_before_combined"]
    for part, tau in metrics["tau"].items():
        key = f"validation_{part.replace('/', '_')}"
        single = [rebalance(tmp_path / f"{part[0]}{value}", small_data, linear, method, strengths=(value,))[0][key]
                  for value in (0.0, 0.5, 1.0)]  # fmt: skip
        assert single[[0.0, 0.5, 1.0].index(tau)] == pytest.approx(max(single))


def test_an_adjustable_head_starts_with_the_same_logits(trained):
    head = load_recogniser(trained).head
    wider, draw = adjustable(head), torch.Generator().manual_seed(1)
    features = [torch.randn((5, 12), generator=draw) for _ in range(3)]
    with torch.no_grad():
        for one, other in zip(head(*features), wider(*features), strict=True):
            assert torch.equal(one, other)
    assert adjustable(wider) is wider
