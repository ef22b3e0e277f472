"""The RelTransformer head: upstream's numbers in "upstream" mode, and what "clean" mode promises."""

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from tests.recognition.conftest import LOGITS, assert_gradients_are, assert_logits_are, derived, derived_words
from tests.refusals import refused
from workbench.recognition.lsvru import Scenes
from workbench.recognition.reltransformer import RelTransformerHead
from workbench.recognition.scene_encoder import RelTransformerConfig

BLOCKS = {"rtol": 1e-4, "atol": 1e-4}
STORED_IN_OUT = ("c_attn", "c_proj", "mem_attn", "c_fc")
UNUSED = ("multi_head_attention.language_fc.", ".enc_dec_attn.c_attn.")
PADDING_BIASES = ("image_encoder.fc.bias", "image_encoder.layer_norm.bias")


def derived_parameter(expected, key, shape):
    if key.endswith("memory_features"):
        return derived(expected, key, shape)
    if len(shape) == 1:
        return derived(expected, key, shape, 0.01) + float(key.endswith(".weight"))
    fan_in = shape[0] if key.split(".")[-2] in STORED_IN_OUT else shape[-1]
    return derived(expected, key, shape, 1 / np.sqrt(fan_in))


def whole_scene(features) -> Scenes:
    tokens = torch.cat(features, dim=1)[:100]
    return Scenes(tokens, torch.tensor([len(tokens)]), torch.zeros(len(features[0]), dtype=int))


@pytest.fixture(scope="module")
def upstream(reference_fixtures):
    expected = dict(np.load(reference_fixtures / "reltransformer_head.npz", allow_pickle=False))
    words = derived_words(expected)
    with torch.device("meta"):
        head = RelTransformerHead(RelTransformerConfig(4096, 300, 1703, 310, compat="upstream"), *words)
    weights = {key: derived_parameter(expected, key, tuple(value.shape)) for key, value in head.named_parameters()}
    head.load_state_dict(weights | dict(zip(("object_vectors", "relation_vectors"), words, strict=True)), assign=True)
    return head.requires_grad_(True).eval(), expected


def case_inputs(expected, case):
    number = case.removesuffix("_masked")
    return [derived(expected, f"reltransformer.{number}.input.{name}", (int(number[1:]), 4096))
            for name in ("f_s", "f_r", "f_o")]  # fmt: skip


@pytest.fixture(scope="module", params=["n17", "n120", "n1", "n17_masked"])
def case(request, upstream):
    head, expected = upstream
    features, seen = case_inputs(expected, request.param), {}
    watched = {"scenes": head.image_encoder, "block0": head.multi_head_attention.h[0],
               "block1": head.multi_head_attention.h[1], "out": head.multi_head_attention}  # fmt: skip
    hooks = [module.register_forward_hook(lambda _module, _inputs, output, name=name: seen.update({name: output}))
             for name, module in watched.items()]  # fmt: skip
    biases = {key: value for key, value in head.named_parameters() if key in PADDING_BIASES}
    kept = {key: value.detach().clone() for key, value in biases.items()}
    with torch.no_grad():
        if request.param.endswith("_masked"):
            [bias.zero_() for bias in biases.values()]
        seen["logits"] = head(*features, whole_scene(features))
        [bias.copy_(kept[key]) for key, bias in biases.items()]
    [hook.remove() for hook in hooks]
    prefix = f"{request.param}."
    return seen, {key.removeprefix(prefix): value for key, value in expected.items() if key.startswith(prefix)}


def test_activations_logits_and_probabilities_are_upstreams(case):
    seen, expected = case
    assert_logits_are(seen["logits"], expected)
    np.testing.assert_array_equal(~seen["scenes"].visible[0].numpy(), expected["mask"])
    levels = torch.stack(seen["scenes"].levels)[None]
    every = levels.shape[2] // expected["encoder"].shape[2]
    np.testing.assert_allclose(levels[:, :, ::every].numpy(), expected["encoder"], **LOGITS)
    for name in ("block0", "block1", "out"):
        np.testing.assert_allclose(seen[name][:2].numpy(), expected[f"{name}_first2"], **BLOCKS, err_msg=name)


def test_gradients_are_upstreams(upstream):
    head, expected = upstream
    features = case_inputs(expected, "n17")
    assert_gradients_are(head, head(*features, whole_scene(features)), expected)


def test_the_head_has_as_many_numbers_as_upstreams():
    """Names and shapes are compared by the numbers above, which are drawn by name."""
    with torch.device("meta"):
        head = RelTransformerHead.empty(RelTransformerConfig(4096, 300, 1703, 310))
    assert len(dict(head.named_parameters())) == 124
    assert sum(parameter.numel() for parameter in head.parameters()) == 78_016_768


def config_of(**changes) -> RelTransformerConfig:
    sizes = {"hidden": 12, "width": 24, "heads": 3, "memory": 6, "scene_hidden": 20, "block_hidden": 28}
    return RelTransformerConfig(**({"feature_dimension": 7, "word_dimension": 5, "n_objects": 6, "n_relations": 4}
                                   | sizes | changes))  # fmt: skip


def small(seed: int = 0, **changes) -> RelTransformerHead:
    config, random = config_of(**changes), torch.Generator().manual_seed(seed)
    words = [torch.randn(rows, 5, generator=random) for rows in (config.n_objects, config.n_relations + 1)]
    head = RelTransformerHead(config, *words).initialise(seed).eval()
    with torch.no_grad():  # away from the zero biases, where padding would hide itself
        for parameter in head.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return head


def batch(lengths, of_row, seed: int = 0, dimension: int = 7):
    random, of_row = torch.Generator().manual_seed(seed), torch.tensor(of_row, dtype=torch.int64)
    tokens = torch.randn(sum(lengths), 3 * dimension, generator=random)
    features = [torch.randn(len(of_row), dimension, generator=random) for _ in range(3)]
    return features, Scenes(tokens, torch.tensor(lengths, dtype=torch.int64), of_row)


def assert_same(one, other, **tolerance):
    for role, found in one._asdict().items():
        torch.testing.assert_close(found, getattr(other, role), **tolerance)


def padded(scenes: Scenes, length: int) -> Scenes:
    """With one more scene of ``length`` tokens, to which no row belongs: all others are padded to its length."""
    further = torch.randn(length, scenes.tokens.shape[1], generator=torch.Generator().manual_seed(length))
    lengths = torch.cat([scenes.lengths, torch.tensor([length])])
    return scenes._replace(tokens=torch.cat([scenes.tokens, further]), lengths=lengths)


def by_scene(scenes: Scenes) -> list[torch.Tensor]:
    return list(scenes.tokens.split(scenes.lengths.tolist()))


@pytest.mark.parametrize("changes", [{}, {"classifier": "linear"}, {"adjusted": True}, {"separate_roles": True},
                                     {"scene_layers": 3, "blocks": 1}])  # fmt: skip
@pytest.mark.parametrize(("lengths", "of_row"), [([4, 1, 9], [2, 0, 2, 1, 2, 0]), ([3], [0])])
def test_clean_mode_sees_neither_padding_nor_batch_mates(changes, lengths, of_row):
    head = small(**changes)
    features, scenes = batch(lengths, of_row)
    whole = head(*features, scenes)
    assert whole.subject.shape == whole.object.shape == (len(of_row), 6) and whole.relation.shape == (len(of_row), 5)
    assert_same(whole, head(*features, padded(scenes, 17)), rtol=1e-4, atol=1e-5)
    for row, scene in enumerate(of_row):
        alone = Scenes(by_scene(scenes)[scene], scenes.lengths[[scene]], torch.tensor([0]))
        single = head(*(feature[row, None] for feature in features), alone)
        assert_same(type(whole)(*(logits[row, None] for logits in whole)), single, rtol=1e-4, atol=1e-5)


def test_upstream_mode_sees_padding_as_tokens_and_only_then():
    features, scenes = batch([4, 2], [1, 0, 0])
    upstream, clean = small(compat="upstream"), small()
    assert not torch.allclose(upstream(*features, scenes).relation, clean(*features, scenes).relation)
    assert_same(upstream(*features, scenes), upstream(*features, padded(scenes, 9)), rtol=1e-4, atol=1e-5)
    levels = {}
    for name, head in {"upstream": upstream, "clean": clean}.items():
        for key, parameter in head.named_parameters():
            if key in PADDING_BIASES:
                parameter.data.zero_()
        found = head.image_encoder(scenes)
        levels[name] = found.packing.padded(found.levels[-1])[:, :4]
        assert found.visible[:, :4].sum(dim=1).tolist() == [4, 2] and found.visible[1, :2].all()
        assert not found.visible[:, 4:].any()
    torch.testing.assert_close(levels["upstream"][0], levels["clean"][0])
    torch.testing.assert_close(levels["upstream"][1, :2], levels["clean"][1, :2])
    refused("101 tokens", upstream, *features, padded(scenes, 101))


@pytest.mark.parametrize("compat", ["clean", "upstream"])
def test_rows_may_come_in_any_order_and_scenes_matter(compat):
    head, of_row = small(compat=compat), [2, 0, 2, 1, 2]
    features, scenes = batch([4, 3, 5], of_row)
    whole, order = head(*features, scenes), torch.tensor([3, 0, 4, 2, 1])
    shuffled = head(*(feature[order] for feature in features), scenes._replace(of_row=scenes.of_row[order]))
    assert_same(type(whole)(*(logits[order] for logits in whole)), shuffled, rtol=1e-4, atol=1e-5)
    turned = head(*features, scenes._replace(tokens=torch.cat(by_scene(scenes)[::-1]), lengths=scenes.lengths.flip(0)))
    for role, logits in whole._asdict().items():
        changed = (logits - getattr(turned, role)).abs().amax(dim=1) > 1e-4
        assert changed.tolist() == [scene != 1 for scene in of_row]  # the middle scene stays in its place


@pytest.mark.parametrize("compat", ["clean", "upstream"])
def test_gradient_reaches_every_used_parameter(compat):
    head = small(compat=compat).train()
    features, scenes = batch([4, 0, 5], [2, 0, 2, 1])
    logits = head(*features, scenes)
    sum(functional.cross_entropy(part, torch.arange(4)) for part in logits).backward()
    unused = {name for name, parameter in head.named_parameters() if parameter.grad is None}
    assert unused == {name for name, _ in head.named_parameters() if any(part in name for part in UNUSED)}
    for name, parameter in head.named_parameters():
        assert name in unused or name.endswith("fc_k.bias") or parameter.grad.abs().max() > 1e-8, name
        assert name in unused or parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("compat", ["clean", "upstream"])
def test_a_scene_without_tokens_gives_finite_logits(compat):
    head = small(compat=compat)
    with torch.no_grad():
        [parameter.zero_() for key, parameter in head.named_parameters() if key in PADDING_BIASES]
    features, scenes = batch([0, 3], [0, 1, 0])
    assert all(part.isfinite().all() for part in head(*features, scenes))
    nothing = head(*features, batch([0], [0, 0, 0])[1])
    assert_same(type(nothing)(*(part[[0, 2]] for part in nothing)),
                type(nothing)(*(part[[0, 2]] for part in head(*features, scenes))), rtol=1e-4, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("compat", ["clean", "upstream"])
def test_no_rows_give_no_logits_and_no_gradient(compat):
    head = small(compat=compat).train()
    logits = head(*batch([], [])[0], batch([], [])[1])
    assert [len(part) for part in logits] == [0, 0, 0]
    sum(part.sum() for part in logits).backward()
    for name, parameter in head.named_parameters():
        # Every process of several must have the same gradients to add up, also one whose part of a batch is empty.
        assert (parameter.grad is None) == any(part in name for part in UNUSED), name
        assert parameter.grad is None or not parameter.grad.any(), name


def test_dropout_on_self_attention_weights_is_the_clean_modes_only():
    features, scenes = batch([4, 3], [1, 0, 1])
    for compat in ("clean", "upstream"):
        head = small(compat=compat, dropout=0.5)
        head.multi_head_attention.h[0].attn.train()
        torch.manual_seed(0)
        changed = not torch.allclose(head(*features, scenes).relation, head.eval()(*features, scenes).relation)
        assert changed == (compat == "clean")


@pytest.mark.parametrize("compat", ["clean", "upstream"])
def test_bfloat16_autocast_is_close_to_float32(compat):
    head = small(compat=compat)
    features, scenes = batch([4, 7, 2], [2, 0, 1, 1, 1])
    exact = head(*features, scenes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = head(*features, scenes)
    for part, expected in zip(rounded, exact, strict=True):
        assert part.dtype == torch.float32 and (part - expected).abs().max() < 0.05 * expected.abs().max()


def test_initial_weights_follow_the_seed_and_upstreams_rule():
    words = torch.randn(6, 5), torch.randn(5, 5)
    heads = [RelTransformerHead(config_of(), *words).initialise(seed) for seed in (0, 0, 1)]
    for (name, one), same, other in zip(heads[0].named_parameters(), heads[1].parameters(), heads[2].parameters(),
                                        strict=True):  # fmt: skip
        assert torch.equal(one, same)
        if one.ndim == 1:
            assert torch.equal(one, torch.full_like(one, name.endswith(".weight")))
            continue
        assert not torch.equal(one, other)
        fans = one[0].numel() + one.shape[0] * one[0, 0].numel()
        transformer = name.startswith(("multi_head_attention.", "image_encoder."))
        bound = (6 / fans if transformer else 3 / one.shape[1]) ** 0.5
        assert 0.5 * bound < one.detach().abs().max().item() <= bound, name


def test_one_visual_feature_for_all_roles_still_tells_subject_from_object():
    head = small()
    features, scenes = batch([3], [0, 0])
    logits = head(features[1], features[1], features[1], scenes)
    assert not torch.allclose(logits.subject, logits.object)


def test_missing_or_foreign_scenes_are_refused():
    head, (features, scenes) = small(), batch([3], [0, 0])
    assert head.reads_scenes
    refused("no scenes", head, *features)
    refused("dimension 20 for 2 rows, expected 21", head, *features, scenes._replace(tokens=scenes.tokens[:, 1:]))
    refused("21 for 1 rows", head, *features, scenes._replace(of_row=scenes.of_row[:1]))
