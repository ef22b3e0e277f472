"""The objective adds its terms as the reference does, weighs generated rows as told, and mixes rows as RelMix does."""

import numpy as np
import pytest
import torch

from tests.recognition.conftest import LOGITS, ROLE_OF, derived, upstream_lsvru
from workbench.randomness import generator
from workbench.recognition.batches import Batch
from workbench.recognition.losses import LossConfig, role_classes, role_losses, vilhub
from workbench.recognition.lsvru import LsvruConfig, LsvruHead, VisualEmbeddings
from workbench.recognition.objective import Mixing, RecogniserObjective, draw_mixing, mix, mixed_terms
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import ROLES

COUNTS = Counts(np.array([40, 9, 3, 1, 0]), np.array([30, 4, 1]), np.zeros(5, int))


def made(n=12, seed=0):
    draw = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(shape, generator=draw)  # noqa: E731
    head = LsvruHead(LsvruConfig(6, 4, 5, 3, hidden=8), normal(5, 4), normal(4, 4)).initialise(seed)
    features = normal(n, 6), normal(n, 6), normal(n, 6)
    labels = {role: torch.randint(3, (n,), generator=draw).numpy() for role in ROLES}
    active = {role: np.ones(n, dtype=bool) for role in ROLES}
    batch = Batch(tuple(part.numpy() for part in features), labels, active, np.arange(n) < 4)
    return head, head(*features), batch


def parts_of(head, batch, step=0, *, synthetic_weight=1.0, **loss):
    return RecogniserObjective(head, LossConfig(**loss), COUNTS, synthetic_weight=synthetic_weight)(batch, step)


def test_vilhub_and_relmix_are_added():
    head, logits, batch = made()
    added = ({}, {"vilhub_scale": 50.0}, {"relmix": "clean"})
    plain, hub, mixed = (parts_of(head, batch, **{"vilhub_scale": 0.0, "relmix": "none"} | one) for one in added)
    for role in ROLES:
        term = vilhub(getattr(logits, role), 50.0).item()
        assert hub[role].item() - plain[role].item() == pytest.approx(term, rel=1e-4)
        assert mixed[role].item() > plain[role].item()
    again = parts_of(head, batch, relmix="clean")
    other = parts_of(head, batch, 1, relmix="clean")
    assert again["relation"].item() == mixed["relation"].item() != other["relation"].item()


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 1.0 - 1e-6, 2.0])
@pytest.mark.parametrize("name", ["ce", "wce", "focal"])
def test_generated_rows_weigh_what_they_are_told(weight, name):
    head, logits, batch = made(n=10)
    parts = parts_of(head, batch, synthetic_weight=weight, name=name)
    for role in ROLES:
        found, labels = getattr(logits, role).detach(), torch.from_numpy(batch.labels[role] + (role == "relation"))
        loss = role_losses(LossConfig(name), COUNTS)[role]
        row = np.array([loss(found[[k]], labels[[k]]).item() for k in range(10)])
        share = role_classes(COUNTS)[role].weights()[labels].numpy() if name == "wce" else np.ones(10)
        told = np.where(batch.generated, weight, 1.0)
        assert parts[role].item() == pytest.approx((told * share * row).sum() / share.sum(), rel=1e-5)


def test_a_role_without_active_rows_counts_nothing():
    head, _, batch = made()
    batch.active = {role: np.full(12, role == "relation") for role in ROLES}
    parts = parts_of(head, batch)
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
    first, second, third = (expected[f"relmix_{variant}_idx{part}"] for part in (1, 2, 3))
    coin = expected[f"relmix_{variant}_a"].astype(bool) if variant != "mixup" else np.ones(len(first), bool)
    weight = expected["relmix_beta_lambda" if variant == "beta" else "relmix_lambda"]
    return Mixing(first, np.where(coin, second, third), np.broadcast_to(weight, len(first)).astype(np.float32))


@pytest.mark.parametrize("variant", ["default", "aug50", "aug70", "mixup", "beta"])
def test_embeddings_labels_logits_terms_and_totals_are_upstreams(upstream, variant):
    head, visual, labels, expected = upstream
    mixing, rows, total = stored_mixing(expected, variant), "" if variant == "default" else "_first3", 0.0
    with torch.no_grad():
        logits = head.logits(visual)
        terms, mixed = mixed_terms(head, visual, labels, mixing)
    for name, role in ROLE_OF.items():
        found, wanted = getattr(mixed, role), expected[f"relmix_{variant}_logits_{name}{rows}"]
        np.testing.assert_allclose(found[: len(wanted)].numpy(), wanted, **LOGITS)
        soft = mix(torch.nn.functional.one_hot(torch.from_numpy(labels[role]), found.shape[1]), mixing)[: len(wanted)]
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


def assert_partners_are(mixing, weights, thirds):
    """Rows of weights (n,): the first those of the first of ``thirds`` (3, m), the other of one of the other two."""
    other = weights[mixing.other]
    assert np.array_equal(weights[mixing.first], thirds[0]) and ((other == thirds[1]) | (other == thirds[2])).all()


def test_upstreams_rule_picks_rows_of_upstreams_weights(upstream):
    _, _, labels, expected = upstream
    weights = expected["weights_prd"][labels["relation"]]
    thirds = weights[np.stack([expected[f"relmix_default_idx{part}"] for part in (1, 2, 3)])]
    for seed in range(4):
        mixing = draw_mixing(labels["relation"], expected["weights_prd"], "upstream", generator(seed))
        assert_partners_are(mixing, weights, thirds)
        assert np.array_equal(mixing.first_weight, stored_mixing(expected, "default").first_weight)


def relmix_batch(n, seed, background=0.5, n_relations=6):
    random = np.random.default_rng(seed)
    relation = random.integers(1, n_relations + 1, n) * (random.random(n) >= background)
    weights = np.r_[0.1, random.permutation(np.linspace(0.2, 3, n_relations))].astype(np.float32)
    return relation, weights


@pytest.mark.parametrize("n", [1, 2, 7, 43, 300, 999])
@pytest.mark.parametrize("rule", ["clean", "upstream"])
def test_partners_are_equal_parts_with_the_rarest_first(n, rule):
    relation, weights = relmix_batch(n, n)
    mixing = draw_mixing(relation, weights, rule, generator(n))
    usable = np.flatnonzero(relation) if rule == "clean" else np.arange(n)
    m = len(usable) // 3
    assert len({*mixing.first, *mixing.other}) == 2 * m and np.isin([mixing.first, mixing.other], usable).all()
    assert_partners_are(mixing, weights[relation], -np.sort(-weights[relation[usable]])[: 3 * m].reshape(3, m))


def test_equal_weights_take_every_place_under_the_clean_rule():
    relation, weights = np.array([0, 1, 1, 1, 0]), np.array([0.1, 1.0], np.float32)
    firsts = [int(draw_mixing(relation, weights, "clean", generator(seed)).first[0]) for seed in range(300)]
    assert all(70 < firsts.count(row) < 130 for row in (1, 2, 3))


def test_draws_are_a_function_of_the_generator():
    relation, weights = relmix_batch(600, 0, background=0.0)
    one, same, other = (draw_mixing(relation, weights, "clean", generator(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(*pair) for pair in zip(one, same, strict=True))
    assert not np.array_equal(one.first, other.first)
    alike = draw_mixing(np.zeros(600, int), weights, "upstream", generator(1))
    assert 0.35 < (alike.other < 400).mean() < 0.65


@pytest.mark.parametrize(("n", "background"), [(2, 0.0), (30, 1.0), (1, 1.0), (3, 0.0), (50, 0.0)])
def test_mixed_rows_teach_the_head_and_nothing_to_mix_adds_nothing(n, background):
    source = torch.Generator().manual_seed(n)
    head = LsvruHead(LsvruConfig(4, 5, 8, 6, 7), *(torch.randn(k, 5, generator=source) for k in (8, 7))).initialise(0)
    visual = VisualEmbeddings(*(torch.randn(n, 7, generator=source) for _ in ROLES))
    relation, weights = relmix_batch(n, n, background)
    mixing = draw_mixing(relation, weights, "clean", generator(n))
    terms, logits = mixed_terms(head, visual, dict.fromkeys(ROLES, relation), mixing)
    sum(terms.values()).backward()
    first, other = (visual.subject[torch.from_numpy(rows)] for rows in mixing[:2])
    torch.testing.assert_close(mix(visual.subject, mixing), 0.65 * first + 0.35 * other)
    mixed = n // 3 if background == 0.0 else 0
    assert logits.relation.shape == (mixed, 7) and logits.subject.shape == (mixed, 8)
    assert [term.item() > 0 for term in terms.values()] == [mixed > 0] * 3
    assert (head.prd_sem_embeddings[0].weight.grad.norm() > 0) == (mixed > 0)
