"""The objective adds its terms as the reference does, weighs generated rows as told, and mixes rows as RelMix does."""

import numpy as np
import pytest
import torch

from tests.recognition.conftest import LOGITS, ROLE_OF, derived, upstream_lsvru
from workbench.randomness import generator
from workbench.recognition.batches import Batch
from workbench.recognition.losses import LossConfig, role_classes, role_losses, vilhub
from workbench.recognition.lsvru import LsvruConfig, LsvruHead, VisualEmbeddings
from workbench.recognition.objective import (
    Mixing,
    RecogniserObjective,
    RelMix,
    draw_mixing,
    mix,
    mix_labels,
    mixed_terms,
)
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import ROLES

VARIANTS = {"default": RelMix("upstream"), "aug50": RelMix("upstream", share=0.5),
            "aug70": RelMix("upstream", share=0.7), "mixup": RelMix("upstream", n_partners=2),
            "beta": RelMix("upstream", first_weight_beta=0.8)}  # fmt: skip
COUNTS = Counts(objects=np.array([40, 9, 3, 1, 0]), relations=np.array([30, 4, 1]))


def made(n=12, seed=0):
    draw = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(shape, generator=draw)  # noqa: E731
    head = LsvruHead(LsvruConfig(6, 4, 5, 3, hidden=8), normal(5, 4), normal(4, 4)).initialise(seed)
    visual = head.visual_embeddings(normal(n, 6), normal(n, 6), normal(n, 6))
    labels = {role: torch.randint(3, (n,), generator=draw).numpy() for role in ROLES}
    active = {role: np.ones(n, dtype=bool) for role in ROLES}
    return head, visual, head.logits(visual), Batch((), labels, active, np.arange(n) < 4)


def targets(batch, role):
    """Labels as the head's logits count them."""
    return torch.from_numpy(batch.labels[role] + (role == "relation"))


def parts_of(head, visual, logits, batch, step=0, *, synthetic_weight=1.0, **loss):
    objective = RecogniserObjective(head, LossConfig(**loss), COUNTS, synthetic_weight=synthetic_weight)
    return objective.parts(visual, logits, batch, step)


def test_vilhub_and_relmix_are_added():
    head, visual, logits, batch = made()
    plain, hub, mixed = (
        parts_of(head, visual, logits, batch, vilhub_scale=scale, relmix=rule)
        for scale, rule in ((0.0, "none"), (50.0, "none"), (0.0, "clean"))
    )
    for role in ROLES:
        term = vilhub(getattr(logits, role), 50.0).item()
        assert hub[role].item() - plain[role].item() == pytest.approx(term, rel=1e-4)
        assert mixed[role].item() > plain[role].item()
    again = parts_of(head, visual, logits, batch, relmix="clean")
    other = parts_of(head, visual, logits, batch, 1, relmix="clean")
    assert again["relation"].item() == mixed["relation"].item() != other["relation"].item()


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 1.0 - 1e-6, 2.0])
@pytest.mark.parametrize("name", ["ce", "wce", "focal"])
def test_generated_rows_weigh_what_they_are_told(weight, name):
    head, visual, logits, batch = made(n=10)
    generated = batch.generated
    parts = parts_of(head, visual, logits, batch, synthetic_weight=weight, name=name)
    for role in ROLES:
        found, labels = getattr(logits, role).detach(), targets(batch, role)
        loss = role_losses(LossConfig(name), COUNTS)[role]
        row = np.array([loss(found[[k]], labels[[k]]).item() for k in range(10)])
        share = role_classes(COUNTS)[role].weights()[labels].numpy() if name == "wce" else np.ones(10)
        told = np.where(generated, weight, 1.0)
        assert parts[role].item() == pytest.approx((told * share * row).sum() / share.sum(), rel=1e-5)


def test_a_role_without_active_rows_counts_nothing():
    head, visual, logits, batch = made()
    batch.active = {role: np.full(12, role == "relation") for role in ROLES}
    parts = parts_of(head, visual, logits, batch)
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


@pytest.fixture(scope="module")
def upstream(reference_fixtures):
    expected = dict(np.load(reference_fixtures / "losses.npz", allow_pickle=False))
    head = upstream_lsvru(expected)
    features = [derived(expected, f"relmix.input.{name}", (43, 4096)) for name in ("f_s", "f_r", "f_o")]
    with torch.no_grad():
        visual = head.visual_embeddings(*features)
    labels = {role: expected[f"relmix_labels_{name}"].astype(np.int64) for name, role in ROLE_OF.items()}
    return head, visual, labels, expected


def stored_mixing(expected, variant):
    indices = [expected[f"relmix_{variant}_idx{part}"] for part in (1, 2, 3)]
    coin = expected[f"relmix_{variant}_a"].astype(bool) if variant != "mixup" else np.ones(len(indices[0]), bool)
    first_weight = (
        expected["relmix_beta_lambda"] if variant == "beta" else np.full(len(coin), expected["relmix_lambda"])
    )
    return Mixing(*indices, coin, first_weight.astype(np.float32))


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_embeddings_labels_logits_terms_and_totals_are_upstreams(upstream, variant):
    head, visual, labels, expected = upstream
    mixing, rows, total = stored_mixing(expected, variant), "" if variant == "default" else "_first3", 0.0
    with torch.no_grad():
        logits = head.logits(visual)
        terms, mixed = mixed_terms(head, visual, labels, mixing)
    for name, role in ROLE_OF.items():
        found, wanted = getattr(mixed, role), expected[f"relmix_{variant}_logits_{name}{rows}"]
        np.testing.assert_allclose(found[: len(wanted)].numpy(), wanted, **LOGITS)
        soft = mix_labels(labels[role], found.shape[1], mixing, found.device)[: len(wanted)]
        np.testing.assert_allclose(soft.numpy(), expected[f"relmix_{variant}_softlabels_{name}{rows}"], atol=1e-6)
        if variant == "default":
            vectors = mix(getattr(visual, role), mixing)[:4].numpy()
            np.testing.assert_allclose(vectors, expected[f"relmix_default_vec_{name}_first4"], **LOGITS)
        weight = torch.from_numpy(expected["weights_prd" if role == "relation" else "weights_obj"])
        weight = weight if variant == "aug70" else None
        base = torch.nn.functional.cross_entropy(getattr(logits, role), torch.from_numpy(labels[role]), weight=weight)
        hub, mixed_hub = vilhub(getattr(logits, role), 1e5), vilhub(found, 1e5)
        values = {"softce": terms[role], "vilhub_mixed": mixed_hub, "base": base, "vilhub_base": hub,
                  "total_loss_cls": base + terms[role], "total_loss_hubness": hub + mixed_hub}  # fmt: skip
        for key, value in values.items():
            assert value.item() == pytest.approx(float(expected[f"relmix_{variant}_{key}_{name}"]), rel=1e-4), key
        total += (base + terms[role] + hub + mixed_hub).item()
    assert total == pytest.approx(float(expected[f"relmix_{variant}_total"]), rel=1e-4)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_upstreams_rule_picks_rows_of_upstreams_weights(upstream, variant):
    _, _, labels, expected = upstream
    weight = expected["weights_prd"][labels["relation"]]
    settings = VARIANTS[variant]
    found = draw_mixing(labels["relation"], expected["weights_prd"], settings, generator(0))[:3]
    for part, rows in enumerate(found, start=1):
        wanted = expected[f"relmix_{variant}_idx{part}"]
        # The order within equal weights and the permutations are upstream's own.
        assert np.array_equal(np.sort(weight[rows]), np.sort(weight[wanted]))
        if settings.share <= 1 / 3 or part == 1:
            assert np.array_equal(weight[rows], weight[wanted])


def relmix_batch(n, seed, background=0.5, n_relations=6):
    random = np.random.default_rng(seed)
    relation = random.integers(1, n_relations + 1, n) * (random.random(n) >= background)
    weights = np.r_[0.1, random.permutation(np.linspace(0.2, 3, n_relations))].astype(np.float32)
    return relation, weights


@pytest.mark.parametrize("n", [1, 7, 43, 300, 999])
@pytest.mark.parametrize("share", [0.2, 1 / 3, 0.5, 0.6, 0.7, 1.0])
@pytest.mark.parametrize("rule", ["clean", "upstream"])
def test_partners_are_equal_parts_with_the_rarest_first(n, share, rule):
    relation, weights = relmix_batch(n, n)
    first, second, third = draw_mixing(relation, weights, RelMix(rule, share), generator(n))[:3]
    usable = np.flatnonzero(relation) if rule == "clean" else np.arange(n)
    m = int(share * len(usable) + 1e-9) if len(usable) >= 3 else 0
    assert len(first) == len(second) == len(third) == m
    assert np.isin(np.r_[first, second, third], usable).all()
    rarest = np.sort(weights[relation[usable]])[::-1][:m]
    assert np.array_equal(weights[relation[first]], rarest)
    if share <= 1 / 3:
        assert len({*first, *second, *third}) == 3 * m
        assert not m or weights[relation[second]].min() >= weights[relation[third]].max()
    else:
        assert sorted(second) == sorted(first)
        assert sorted(third) == sorted(first) if share > 1 / 2 else not set(third) & set(first)


def test_equal_weights_take_every_place_under_the_clean_rule():
    relation, weights = np.array([0, 1, 1, 1, 0]), np.array([0.1, 1.0], np.float32)
    firsts = [int(draw_mixing(relation, weights, RelMix(), generator(seed)).first[0]) for seed in range(300)]
    assert all(70 < firsts.count(row) < 130 for row in (1, 2, 3))


def test_draws_are_a_function_of_the_generator():
    relation, weights = relmix_batch(600, 0, background=0.0)
    settings = RelMix(first_weight_beta=0.8)
    one, same, other = (draw_mixing(relation, weights, settings, generator(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(*pair) for pair in zip(one, same, strict=True))
    assert not np.array_equal(one.first, other.first) and not np.array_equal(one.first_weight, other.first_weight)
    assert 0.35 < one.coin.mean() < 0.65 and 0.4 < one.first_weight.mean() < 0.6
    constant = draw_mixing(relation, weights, RelMix(first_weight=0.4, n_partners=2), generator(1))
    assert constant.coin.all() and (constant.first_weight == np.float32(0.4)).all()


@pytest.mark.parametrize(("n", "width"), [(5, 3), (40, 17)])
def test_mixing_is_its_formula_and_keeps_labels_a_distribution(n, width):
    relation, weights = relmix_batch(n, n, background=0.0)
    mixing = draw_mixing(relation, weights, RelMix(first_weight_beta=0.8), generator(n))
    values = torch.randn(n, width, generator=torch.Generator().manual_seed(n))
    a, first_weight = mixing.coin[:, None].astype(float), mixing.first_weight[:, None]
    x1, x2, x3 = (values.numpy()[rows] for rows in mixing[:3])
    np.testing.assert_allclose(
        mix(values, mixing).numpy(), first_weight * x1 + (1 - first_weight) * (a * x2 + (1 - a) * x3), atol=1e-6
    )
    soft = mix_labels(relation, 7, mixing, torch.device("cpu"))
    assert torch.allclose(soft.sum(1), torch.ones(len(soft))) and (soft >= 0).all()


@pytest.mark.parametrize(("n", "background"), [(2, 0.0), (30, 1.0), (1, 1.0), (3, 0.0), (50, 0.0)])
def test_mixed_rows_teach_the_head_and_nothing_to_mix_adds_nothing(n, background):
    source = torch.Generator().manual_seed(n)
    head = LsvruHead(LsvruConfig(4, 5, 8, 6, 7), *(torch.randn(k, 5, generator=source) for k in (8, 7))).initialise(0)
    visual = VisualEmbeddings(*(torch.randn(n, 7, generator=source) for _ in range(4)))
    relation, weights = relmix_batch(n, n, background)
    mixing = draw_mixing(relation, weights, RelMix(), generator(n))
    terms, logits = mixed_terms(head, visual, dict.fromkeys(ROLES, relation), mixing)
    sum(terms.values()).backward()
    mixed = n // 3 if background == 0.0 else 0
    assert logits.relation.shape == (mixed, 7) and logits.subject.shape == (mixed, 8)
    assert [term.item() > 0 for term in terms.values()] == [mixed > 0] * 3
    assert (head.prd_sem_embeddings[0].weight.grad.norm() > 0) == (mixed > 0)
