import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.diffusion import sampling
from workbench.diffusion.checkpoint import DenoiserCheckpoint, DenoiserIdentity
from workbench.diffusion.conditions import ConditionTable
from workbench.diffusion.denoiser import Denoiser, DenoiserConfig
from workbench.diffusion.reverse_process import ReverseProcess
from workbench.diffusion.sampling import chosen_triplets, generate_features, sample_features
from workbench.diffusion.schedule import NoiseSchedule, solve
from workbench.diffusion.standardisation import Standardisation
from workbench.diffusion.training import train_diffusion
from workbench.diffusion.training_batches import ConditionDropout
from workbench.errors import WorkbenchError
from workbench.randomness import row_normal
from workbench.regions.generated_features import GeneratedFeatures

DROPOUT = ConditionDropout()
DRAW = np.random.default_rng(3)
TABLE = ConditionTable.from_tokens(DRAW.standard_normal((6, 4, 6)), hardness=DRAW.random((6, 4)).astype(np.float32))


def checkpoint(support="signed", dropout=DROPOUT):
    torch.manual_seed(0)
    model = Denoiser(DenoiserConfig(10, 6, 4, width=16, blocks=2, heads=2, token_width=8))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    standard = Standardisation(np.zeros(10, dtype=np.float32), np.arange(1, 11, dtype=np.float32))
    identity = DenoiserIdentity(support=support)
    return DenoiserCheckpoint(model.eval(), standard, NoiseSchedule(), dropout, identity)


@pytest.mark.parametrize("solver", ["dpm++", "ddpm"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("seeded", [True, False])
def test_samples_do_not_depend_on_the_batch_size(solver, guidance, seeded):
    index = np.arange(23) % 6
    start = np.random.default_rng(0).standard_normal((23, 10)).astype(np.float32) if seeded else None
    options = {"seed": 4, "start": start, "steps": 5, "solver": solver, "guidance": guidance, "precision": "float32"}
    at_once = sample_features(checkpoint(), TABLE, index, **options)
    for batch_size in (1, 7):
        in_pieces = sample_features(checkpoint(), TABLE, index, batch_size=batch_size, **options)
        np.testing.assert_allclose(in_pieces, at_once, rtol=1e-3, atol=1e-4)
    rows = np.array([3, 20, 11])
    options["start"] = None if start is None else start[rows]
    some = sample_features(checkpoint(), TABLE, index[rows], rows=rows, **options)
    np.testing.assert_allclose(some, at_once[rows], rtol=1e-3, atol=1e-4)


def test_caching_changes_nothing_against_a_plain_loop():
    ours, index = checkpoint(), np.arange(8) % 6
    sampled = sample_features(ours, TABLE, index, seed=1, steps=6, guidance=1.7, precision="float32")
    process = ReverseProcess(ours, TABLE, 1.0, sampling.SamplerSettings(6, 1.7, precision="float32"))
    model, bank, region = ours.model, process.bank, torch.zeros(8, dtype=torch.long)

    @torch.no_grad()
    def predict(x, step):
        levels = model.modulation(ours.schedule.half_log_snr[[process.timesteps[step]]])
        outputs = [
            model(x, levels, model.encode(bank.batch(ids, "cpu")), region)
            for ids in (bank.ids[index], np.repeat(bank.null_ids, 8, axis=0))
        ]
        return outputs[1] + 1.7 * (outputs[0] - outputs[1])

    noise = torch.from_numpy(row_normal(1, "sample/start", np.arange(8), 10))
    expected = ours.standardisation.restore(solve(ours.schedule, noise, process.timesteps, predict).numpy())
    np.testing.assert_allclose(sampled, expected, rtol=1e-3, atol=1e-4)


def test_guidance_interval_and_seed_and_purpose_matter():
    def sample(**options):
        return sample_features(checkpoint(), TABLE, np.arange(6), **({"seed": 1, "steps": 5} | options))

    plain, guided = sample(), sample(guidance=2.0)
    np.testing.assert_array_equal(sample(guidance=2.0, guidance_interval=(0.0, 0.0)), plain)
    for other in (guided, sample(guidance=2.0, guidance_interval=(0.0, 0.5)), sample(seed=2), sample(purpose="box")):
        assert not np.allclose(other, plain)
    assert not np.allclose(sample(guidance=2.0, guidance_interval=(0.0, 0.5)), guided)


def test_a_late_start_stays_near_its_seed():
    start = np.random.default_rng(0).standard_normal((6, 10)).astype(np.float32) * 5

    def distance(start_time):
        sampled = sample_features(
            checkpoint(), TABLE, np.arange(6), seed=0, start=start, start_time=start_time, steps=8
        )
        return np.abs(sampled - start).mean()

    assert distance(0.02) < distance(0.9)
    with pytest.raises(WorkbenchError, match="seed features are"):
        sample_features(checkpoint(), TABLE, np.arange(5), seed=0, start=start)


def test_rectified_features_are_cut_at_zero_and_signed_ones_are_not():
    signed, rectified = (
        sample_features(checkpoint(support), TABLE, np.arange(6), seed=0, steps=4)
        for support in ("signed", "rectified")
    )
    assert (signed < 0).any()
    np.testing.assert_array_equal(rectified, np.maximum(signed, 0))


def test_conditions_that_do_not_fit_are_refused():
    def sample(table, **options):
        return sample_features(checkpoint(**options), table, np.arange(2), seed=0, steps=2)

    tokens = TABLE.tokens
    with pytest.raises(WorkbenchError, match="5-D text vectors"):
        sample(ConditionTable.from_tokens(tokens[..., :5], hardness=TABLE.hardness))
    with pytest.raises(WorkbenchError, match="3 entries"):
        sample(ConditionTable.from_tokens(tokens, hardness=TABLE.hardness[:, :3]))
    with pytest.raises(WorkbenchError, match="cannot generate boxes"):
        sample(ConditionTable.from_tokens(tokens, hardness=TABLE.hardness, region=np.ones(6)))
    bare = ConditionTable.from_tokens(tokens)
    assert np.isfinite(sample(bare)).all()  # hardness was dropped now and then, so its null token stands in
    with pytest.raises(WorkbenchError, match="never saw them dropped"):
        sample(bare, dropout=ConditionDropout(hardness=0.0))


def test_samples_that_are_not_finite_are_named():
    broken = checkpoint()
    torch.nn.init.constant_(broken.model.leave.bias, float("nan"))
    with pytest.raises(WorkbenchError, match="6 of 6 sampled features are not finite"):
        sample_features(broken, TABLE, np.arange(6), seed=0, steps=2)


def test_chosen_triplets_go_round_or_are_a_part():
    augmented = pd.DataFrame({"subject": np.arange(10)})
    assert chosen_triplets(augmented, 0, 0)["subject"].tolist() == list(range(10))
    assert chosen_triplets(augmented, 25, 0)["augmented_row"].value_counts().max() == 3
    part = chosen_triplets(augmented, 4, 0)
    assert part["subject"].is_monotonic_increasing and part["subject"].nunique() == 4
    assert (part["subject"] == part["augmented_row"]).all()
    for table, samples in ((augmented[:0], 0), (augmented, -1)):
        with pytest.raises(WorkbenchError, match="notebook 02"):
            chosen_triplets(table, samples, 0)


@pytest.fixture(scope="module")
def stages(tmp_path_factory, small_features):
    """Folders of a trained denoiser on a small store, for unions alone and for all three regions."""
    folder = tmp_path_factory.mktemp("stages")
    options = {"steps": 30, "width": 32, "heads": 2, "blocks": 1, "token_width": 16, "batch_size": 64, "seed": 1}
    metrics = {
        kind: train_diffusion(folder / kind, **small_features, entity_features=kind, hardness=kind == "seed", **options)
        for kind in ("seed", "generated")
    }
    return SimpleNamespace(folder=folder, inputs=small_features, metrics=metrics)


def generate(stages, folder, kind="seed", **options):
    defaults = {"entity_features": kind, "steps": 3, "seed": 2}
    return generate_features(folder, **stages.inputs, diffusion=stages.folder / kind, **(defaults | options))


def store_of(stages):
    from workbench.regions.feature_store import FeatureStore

    return FeatureStore.open(stages.inputs["features"] / "train")


def test_the_training_stage_reports_what_it_did(stages):
    for kind, metrics in stages.metrics.items():
        json.dumps(metrics)
        assert metrics["steps"] == 30 and np.isfinite(metrics["held_out_loss"])
        assert (metrics["rows"] > len(store_of(stages))) == (kind == "generated")
        checkpoint = DenoiserCheckpoint.load(stages.folder / kind / "denoiser.safetensors")
        assert (checkpoint.hardness_model() is None) == (kind == "generated")
        checkpoint.require_store(store_of(stages))


@pytest.mark.parametrize("start", ["random", "subject-object"])
@pytest.mark.parametrize("kind", ["seed", "generated"])
def test_the_generation_stage_leaves_a_readable_folder(stages, tmp_path, start, kind):
    metrics = generate(stages, tmp_path, kind, start=start, samples=50, guidance=1.5)
    json.dumps(metrics)
    store, rows = store_of(stages), np.array([49, 0, 7])
    generated = GeneratedFeatures.open(tmp_path, store)
    assert len(generated) == metrics["samples"] == 50 and metrics["network_evaluations_per_sample"] == 6
    for role in ("subject", "object"):
        boxes = generated.relations[f"{role}_box"].to_numpy()
        assert (store.boxes["object_class"].to_numpy()[boxes] == generated.relations[role]).all()
        same = np.array_equal(getattr(generated, role)(rows), store.box(boxes[rows]))
        assert same == (kind == "seed")
    assert generated.union(rows).shape == (3, store.dimension) and generated.union(rows).dtype == np.float32


@pytest.mark.parametrize("seed_map", ["none", "affine"])
def test_a_killed_generation_goes_on_to_the_same_bytes(stages, tmp_path, monkeypatch, seed_map):
    monkeypatch.setattr(sampling, "ROWS_PER_PART", 16)
    generate(stages, tmp_path / "alone", samples=40, seed_map=seed_map)
    honest, calls = sampling.sample_features, []

    def killed(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return honest(*arguments, **options)

    monkeypatch.setattr(sampling, "sample_features", killed)
    with pytest.raises(KeyboardInterrupt):
        generate(stages, tmp_path / "killed", samples=40, seed_map=seed_map)
    with pytest.raises(WorkbenchError, match="no finished generated features"):
        GeneratedFeatures.open(tmp_path / "killed", store_of(stages))
    generate(stages, tmp_path / "killed", samples=40, seed_map=seed_map)
    assert len(calls) == 4  # two parts before the kill, the kill, and the one part that was missing
    for name in ("union_features.npy", "generated.parquet"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    assert not list((tmp_path / "killed").glob("*.part-*"))
    with pytest.raises(WorkbenchError, match="another chosen"):
        generate(stages, tmp_path / "killed", samples=41, seed_map=seed_map)


def test_a_data_set_of_unions_alone_trains_and_generates_all_three_regions(union_features, tmp_path):
    options = {"steps": 4, "width": 16, "heads": 2, "blocks": 1, "batch_size": 32, "entity_features": "generated"}
    train_diffusion(tmp_path / "diffusion", **union_features, **options)
    inputs = SimpleNamespace(inputs=union_features, folder=tmp_path)
    folders = union_features | {"diffusion": tmp_path / "diffusion"}
    generate_features(tmp_path / "generated", **folders, entity_features="generated", steps=2, seed=0)
    generated = GeneratedFeatures.open(tmp_path / "generated", store_of(inputs))
    assert np.isfinite(generated.subject(np.arange(5))).all() and len(generated) == 100


@pytest.mark.parametrize("option", [{"start": "noise"}, {"entity_features": "real"}, {"seed_map": "linear"}])
def test_unknown_choices_are_named(stages, tmp_path, option):
    with pytest.raises(WorkbenchError, match=next(iter(option))):
        generate(stages, tmp_path, **option)


def test_boxes_from_a_denoiser_of_unions_are_refused(stages, tmp_path):
    with pytest.raises(WorkbenchError, match="cannot generate boxes"):
        generate_features(
            tmp_path, **stages.inputs, diffusion=stages.folder / "seed", entity_features="generated", steps=2
        )
