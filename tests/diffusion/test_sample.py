import json
import os
import signal
from unittest.mock import DEFAULT, Mock

import numpy as np
import pytest
import torch

from tests.diffusion.cases import checkpoint, condition_tokens
from tests.diffusion.conftest import trained
from tests.refusals import refused
from tests.synthetic import folder_bytes
from workbench.diffusion import generators, sample
from workbench.diffusion.checkpoint import DenoiserCheckpoint
from workbench.diffusion.config import SamplingConfig
from workbench.diffusion.generators import wanted_triplets
from workbench.diffusion.sample import generate_features, sample_features, sample_triplets
from workbench.diffusion.schedule import solve
from workbench.errors import WorkbenchError
from workbench.launching import PROCESSES_VARIABLE, shared_by_processes
from workbench.randomness import row_normal
from workbench.regions.feature_writer import IDENTITY
from workbench.regions.features import FeaturesFolder, GeneratedFeatures
from workbench.scenes.vocabulary import ROLES
from workbench.stopping import Stopped

TOKENS = condition_tokens(6)


def sampling(**options):
    return SamplingConfig(**{"steps": 5, "precision": "float32"} | options)


@pytest.mark.parametrize(("kind", "solver", "guidance", "begun"), [
    ("mlp", "dpm++", 1.0, False), ("mlp", "dpm++", 2.0, True), ("mlp", "ddpm", 1.0, True), ("mlp", "ddpm", 2.0, False),
    ("unet", "dpm++", 1.5, True),
])  # fmt: skip
def test_samples_belong_to_seed_purpose_and_row_whatever_the_batch_size(kind, solver, guidance, begun):
    index, ours = np.arange(23) % 6, checkpoint(kind, std=0.2 if kind == "mlp" else 0.1)
    init = np.random.default_rng(0).standard_normal((23, 10)).astype(np.float32) if begun else None
    config = sampling(seed=4, solver=solver, guidance=guidance)
    at_once = sample_features(ours, TOKENS, index, config, init=init)
    for ours.network.rows_at_once in (1, 7):
        in_pieces = sample_features(ours, TOKENS, index, config, init=init)
        np.testing.assert_allclose(in_pieces, at_once, rtol=1e-2, atol=1e-3)
    rows = np.array([3, 20, 11])
    some = sample_features(ours, TOKENS, index[rows], config, init=None if init is None else init[rows], rows=rows)
    np.testing.assert_allclose(some, at_once[rows], rtol=1e-2, atol=1e-3)
    for other in ({"purpose": "box"}, {"config": sampling(seed=5, solver=solver, guidance=guidance)}):
        given = {"config": config, "init": init} | other
        assert not np.allclose(sample_features(ours, TOKENS, index, **given), at_once, atol=1e-2)


def test_noise_belongs_to_rows_in_any_part_and_order_and_number_of_threads(monkeypatch):
    whole, rows = row_normal(1, "x", np.arange(1000), 300), np.array([999, 3, 256, 255, 3, 4, 5])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(row_normal(1, "x", rows, 300), whole[rows])
    assert torch.equal(row_normal(1, "x", np.arange(250, 520), 300), whole[250:520])
    assert row_normal(1, "x", rows[:0], 300).shape == (0, 300)
    for others in (
        whole.roll(1, 0),
        whole.roll(256, 0),
        *(row_normal(*key, np.arange(1000), 300) for key in ((2, "x"), (1, "y"))),
    ):
        assert abs((whole * others).mean()) < 0.01
    assert abs(whole.mean()) < 0.01 and abs(whole.std() - 1) < 0.01


def test_caching_changes_nothing_against_a_plain_loop():
    ours, index, config = checkpoint(std=0.2), np.arange(8) % 6, sampling(seed=1, steps=6, guidance=1.7)
    sampled = sample_features(ours, TOKENS, index, config)
    timesteps, made, batch = ours.schedule.grid(config.steps), ours.network, TOKENS.batch(index)

    @torch.no_grad()
    def predict(x, step):
        levels = made.modulation(ours.schedule.half_log_snr[[timesteps[step]]])
        nothing = TOKENS.batch(index, np.ones((8, 5), dtype=bool))
        outputs = [made(x, levels, made.encode(conditions)) for conditions in (batch, nothing)]
        return outputs[1] + 1.7 * (outputs[0] - outputs[1])

    noise = row_normal(1, "sample/start", np.arange(8), 10)
    expected = made.restore(solve(ours.schedule, noise, timesteps, predict)).numpy()
    np.testing.assert_allclose(sampled, expected, rtol=1e-3, atol=1e-4)


def test_a_weak_start_stays_near_its_initial_features():
    init = np.random.default_rng(0).standard_normal((6, 10)).astype(np.float32) * 5

    ours = checkpoint()
    ours.network.forward = lambda noisy, levels, memory: noisy  # a network that believes what it sees

    def distance(strength):
        config = sampling(strength=strength, steps=8)
        return np.abs(sample_features(ours, TOKENS, np.arange(6), config, init=init) - init).mean()

    assert distance(0.02) < 0.3 * distance(0.9)
    refused("initial features are", sample_features, checkpoint(), TOKENS, np.arange(5), sampling(), init=init)


def test_rectified_features_are_cut_at_zero_and_signed_ones_are_not():
    made = [checkpoint(std=0.2, identity={"support": support}) for support in ("signed", "rectified")]
    signed, rectified = (sample_features(one, TOKENS, np.arange(6), sampling()) for one in made)
    assert (signed < 0).any()
    np.testing.assert_array_equal(rectified, np.maximum(signed, 0))


def test_conditions_and_samples_that_do_not_fit_are_refused():
    with pytest.raises(WorkbenchError, match="cannot generate boxes"):
        sample_features(checkpoint(), condition_tokens(6, boxes=2), np.arange(2), sampling())
    broken = checkpoint()
    torch.nn.init.constant_(broken.network.leave.bias, float("nan"))
    refused("6 of 6 sampled features are not finite", sample_features, broken, TOKENS, np.arange(6), sampling())


def test_wanted_triplets_go_round_or_are_a_part(small_features):
    store = FeaturesFolder(small_features["features"]).train
    augmented = store.relations[list(ROLES)].iloc[:10]
    assert wanted_triplets(store, augmented, 0, 0)["augmented_row"].tolist() == list(range(10))
    assert wanted_triplets(store, augmented, 25, 0)["augmented_row"].value_counts().max() == 3
    part, larger = (wanted_triplets(store, augmented, samples, 0) for samples in (4, 7))
    assert part["augmented_row"].is_monotonic_increasing and part["augmented_row"].nunique() == 4
    assert (part[list(ROLES)].to_numpy() == augmented.iloc[part["augmented_row"]].to_numpy()).all()
    assert set(part["augmented_row"]) < set(larger["augmented_row"])
    for table, samples in ((augmented[:0], 0), (augmented, -1)):
        refused("notebook 02", wanted_triplets, store, table, samples, 0)


def generate(stages, folder, kind="boxes", **options):
    config = SamplingConfig(**{"steps": 3, "seed": 2} | options)
    return generate_features(folder, **stages.inputs, diffusion=stages.folder / kind, config=config)


@pytest.mark.parametrize("init", ["random", "subject-object", "subject-relation-object"])
@pytest.mark.parametrize("kind", ["boxes", "generated"])
def test_the_stage_leaves_a_readable_folder(stages, tmp_path, init, kind):
    metrics = generate(stages, tmp_path, kind, init=init, samples=50, guidance=1.5)
    assert json.loads(json.dumps(metrics)) == metrics
    store, rows, generated = stages.store, np.array([49, 0, 7]), GeneratedFeatures(tmp_path, stages.store)
    assert len(generated) == metrics["samples"] == 50
    for role in ("subject", "object"):
        boxes = generated.relations[f"{role}_box"].to_numpy()
        assert (store.boxes["object_class"].to_numpy()[boxes] == generated.relations[role]).all()
        same = np.array_equal(getattr(generated, role)(rows), store.box(boxes[rows]))
        assert same == (kind == "boxes")
    assert generated.union(rows).shape == (3, store.dimension) and generated.union(rows).dtype == np.float32


def test_typed_triplets_may_begin_at_real_features(stages):
    checkpoint = DenoiserCheckpoint.load(stages.folder / "boxes" / "denoiser.safetensors")
    typed, config = ["dog on car", "cup near mug"], SamplingConfig(strength=0.05, steps=3)
    begun, at_noise = (sample_triplets(checkpoint, typed, config, store=store) for store in (stages.store, None))
    assert begun.shape == (2, 8) and not np.allclose(begun, at_noise)


def test_boxes_are_taken_from_the_store_where_that_is_asked_and_refused_where_never_learnt(stages, tmp_path):
    generate(stages, tmp_path / "boxes", "generated", entity_features="boxes", samples=5)
    assert not (tmp_path / "boxes" / "subject_features.npy").exists()
    refused("cannot generate boxes", generate, stages, tmp_path / "never", entity_features="generated")


@pytest.mark.parametrize("init_map", ["none", "affine"])
def test_a_killed_generation_resumes_to_the_same_bytes(stages, tmp_path, monkeypatch, init_map):
    monkeypatch.setattr(generators, "ROWS_PER_PART", 16)
    generate(stages, tmp_path / "alone", samples=40, init_map=init_map)
    killed_in_the_third = [DEFAULT, DEFAULT, KeyboardInterrupt, DEFAULT]
    sampling = Mock(wraps=sample.sample_features, side_effect=killed_in_the_third)
    monkeypatch.setattr(sample, "sample_features", sampling)
    with pytest.raises(KeyboardInterrupt):
        generate(stages, tmp_path / "killed", samples=40, init_map=init_map)
    refused("no finished generated features", GeneratedFeatures, tmp_path / "killed", stages.store)
    refused("other inputs or settings", generate, stages, tmp_path / "killed", samples=41, init_map=init_map)
    claim = tmp_path / "killed" / IDENTITY
    claim.write_text((begun := claim.read_text()).replace('"noise": "cpu"', '"noise": "cuda"'))
    refused("other inputs or settings", generate, stages, tmp_path / "killed", samples=40, init_map=init_map)
    claim.write_text(begun)
    generate(stages, tmp_path / "killed", samples=40, init_map=init_map)
    assert sampling.call_count == 4  # two parts before the kill, the kill, and the one part that was missing
    alone = folder_bytes(tmp_path / "alone")
    assert list(alone) == ["generated.json", "generated.parquet", "union_features.npy"]
    assert folder_bytes(tmp_path / "killed") == alone


def test_sigterm_ends_a_generation_after_the_part_at_hand(stages, tmp_path, monkeypatch):
    monkeypatch.setattr(generators, "ROWS_PER_PART", 16)
    honest = sample.sample_features

    def terminated(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return honest(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(Stopped, match=r"What was finished is kept.*resumes"):
        patch.setattr(sample, "sample_features", terminated)
        generate(stages, tmp_path, samples=40)
    assert generate(stages, tmp_path, samples=40)["samples"] == 40


@pytest.mark.slow
def test_two_processes_write_the_bytes_of_one(stages, tmp_path, monkeypatch):
    monkeypatch.delenv(PROCESSES_VARIABLE, raising=False)
    generate(stages, tmp_path / "one", samples=45)
    parameters = {**stages.inputs, "diffusion": stages.folder / "boxes"}
    parameters["config"] = SamplingConfig(steps=3, seed=2, samples=45)
    monkeypatch.setenv(PROCESSES_VARIABLE, "2")
    shared_by_processes(generate_features)(tmp_path / "two", **parameters)
    for name in ("union_features.npy", "generated.parquet", "generated.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_data_set_of_unions_alone_trains_and_generates_all_three_regions(union_features, tmp_path):
    stages = trained(tmp_path, union_features, "generated")
    assert generate(stages, tmp_path / "samples", "generated")["regions"] == ["union", "subject", "object"]
    generated = GeneratedFeatures(tmp_path / "samples", stages.store)
    assert np.isfinite(generated.subject(np.arange(5))).all() and len(generated) == 100
