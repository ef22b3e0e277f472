import json
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from tests.diffusion.cases import IDENTITY, clusters, hardness_centroids, text, training_rows
from tests.refusals import refused
from tests.test_training import HostReads
from workbench.configuration import configured
from workbench.diffusion.checkpoint import CHECKPOINT, DenoiserCheckpoint
from workbench.diffusion.conditions import ABSENT
from workbench.diffusion.config import ConditionDropout, DiffusionConfig, SamplingConfig
from workbench.diffusion.objective import DenoisingObjective
from workbench.diffusion.sample import sample_features
from workbench.diffusion.train import denoising_batches, dropped_slots, region_rows, train_denoiser, train_diffusion
from workbench.language.text_embedding import TextEmbeddings
from workbench.language.triplets import read_triplets
from workbench.launching import PROCESSES_VARIABLE, shared_by_processes
from workbench.regions.features import FeaturesFolder
from workbench.scenes.vocabulary import ROLES
from workbench.training import read_log
from workbench.training_config import TrainingEdge
from workbench.training_state import STATE

NETWORKS = {
    "mlp": {"width": 32, "blocks": 2, "heads": 2, "token_width": 16},
    "unet": {"channels": [8, 16], "layers": 1, "heads": 2, "token_width": 32},
}
FAST = {"learning_rate": 1e-2, "ema_decay": 0.9, "precision": "float32"}


def config(steps, denoiser="mlp", network=(), training=(), **values):
    given = {"denoiser": denoiser, "network": NETWORKS[denoiser] | dict(network), "batch_size": 32, "seed": 1}
    return configured(DiffusionConfig, given | {"training": {"steps": steps, **dict(training)}} | values)


def train(folder, rows, config, **options):
    return train_denoiser(folder, rows, text(), hardness_centroids(), IDENTITY, config=config, **options)


@pytest.mark.parametrize("denoiser", NETWORKS)
def test_no_step_waits_for_the_device(tmp_path, monkeypatch, denoiser):
    chosen = config(6, denoiser, training={"gradient_clip": 1.0, "ema_decay": 0.9}, class_balancing=0.1)
    with HostReads(DenoisingObjective, monkeypatch) as reads:
        train(tmp_path, clusters()[0], chosen)
    assert len(reads.after_step) == 6 and len(set(reads.after_step)) == 1


@pytest.mark.parametrize(("denoiser", "network", "hardness", "learned", "found"), [
    ("mlp", {}, True, 0.25, 0.9), ("mlp", {"layout": "pooled"}, False, 0.25, 0.9),
    ("mlp", {"target": "epsilon"}, True, 0.6, 0.5), ("unet", {"channels": [8]}, True, 0.6, 0.25),
    ("unet", {"target": "x0", "layout": "pooled", "channels": [8]}, True, 0.4, 0.6),
])  # fmt: skip
def test_training_lowers_the_loss_and_samples_find_their_class(tmp_path, denoiser, network, hardness, learned, found):
    rows, means = clusters()
    chosen = config(
        150 if denoiser == "mlp" else 120, denoiser, {"dropout": 0.0} | network, FAST, hardness=hardness,
        schedule="scaled_linear" if "target" in network or denoiser == "unet" else "squaredcos_cap_v2",
    )  # fmt: skip
    metrics = train(tmp_path, rows, chosen, held_out=rows)
    assert json.loads(json.dumps(metrics)) == metrics and metrics["denoiser"] == denoiser
    assert metrics["held_out_loss"] < learned * read_log(tmp_path)[0]["loss"] or metrics["held_out_loss"] < learned
    trained, index = DenoiserCheckpoint.load(tmp_path / CHECKPOINT), np.arange(60) % 6
    assert trained.network.sizes.centroids == 3 * hardness
    init = np.repeat(means.mean(0)[None], 60, axis=0).astype(np.float32)
    for start in (None, init):
        sampling = SamplingConfig(strength=0.6, steps=8, precision="float32")
        sampled = sample_features(trained, rows.conditions, index, sampling, init=start)
        distances = np.linalg.norm(sampled[:, None] - means, axis=2)  # (60, classes)
        assert (distances.argmin(1) == index).mean() > found  # chance is 0.17


def test_samples_of_different_classes_come_closer_the_stronger_the_balancing(tmp_path):
    rows, _ = clusters()
    spread = []
    for tau in (0.0, 20.0):
        chosen = config(100, network={"dropout": 0.0}, training=FAST, class_balancing=tau)
        train(tmp_path / str(tau), rows, chosen)
        trained = DenoiserCheckpoint.load(tmp_path / str(tau) / CHECKPOINT)
        same_noise = {"rows": np.zeros(6, dtype=int)}
        sampled = sample_features(trained, rows.conditions, np.arange(6), SamplingConfig(), **same_noise)
        spread.append(sampled.std(0).mean())
    assert spread[1] < 0.5 * spread[0]


def test_a_killed_training_resumes_to_the_same_result(tmp_path):
    rows, kill = clusters()[0], Mock(side_effect=KeyboardInterrupt)
    chosen = config(52, network={"dropout": 0.2}, class_balancing=1.0)

    def run(name, **edge):
        return train(tmp_path / name, rows, chosen, held_out=rows, edge=TrainingEdge(**edge))

    run("alone")
    with pytest.raises(KeyboardInterrupt):
        run("killed", on_log=kill, checkpoint_seconds=0.0)
    assert (tmp_path / "killed" / STATE).exists() and not (tmp_path / "killed" / CHECKPOINT).exists()
    resumed = []
    metrics = run("killed", on_log=resumed.append)
    assert [line["step"] for line in resumed] == [chosen.training.steps]
    paths = [tmp_path / name / CHECKPOINT for name in ("alone", "killed")]
    alone, again = (DenoiserCheckpoint.load(path, "cpu").network for path in paths)
    torch.testing.assert_close(again.state_dict(), alone.state_dict(), rtol=1e-4, atol=1e-6)
    assert not (tmp_path / "killed" / STATE).exists()
    assert run("killed", on_log=kill) == metrics  # it is finished


def test_a_single_row_is_refused_before_anything_is_trained(tmp_path):
    rows, _ = clusters(1)
    refused("at least 2", train, tmp_path, rows, config(2))
    assert not list(tmp_path.iterdir())


def test_rows_are_drawn_by_their_weights():
    rows, drawn_by = clusters(n=100)[0], np.array([96**-0.5] * 96 + [0.5] * 3 + [1.0])
    rows = training_rows(np.arange(100.0)[:, None].astype(np.float32), rows.index, rows.conditions, drawn_by)
    with denoising_batches(rows, config(2, batch_size=1000), 1000) as batches:
        drawn = np.concatenate([batches(step, 0, 1).features[:, 0].numpy() for step in range(50)]).astype(int)
    np.testing.assert_allclose(np.bincount(drawn, minlength=100) / 50_000, drawn_by / drawn_by.sum(), atol=0.005)


def test_dropout_shares_are_as_said():
    lost = dropped_slots(ConditionDropout(0.2, 0.3, 0.1), np.random.default_rng(0), 40_000)
    assert abs(lost.all(1).mean() - 0.2) < 0.01
    np.testing.assert_allclose(lost.mean(0), [0.28] * 4 + [0.44], atol=0.01)
    assert not dropped_slots(ConditionDropout(0, 0, 0), np.random.default_rng(0), 100).any()


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_parts_of_a_batch_are_the_batch(parts):
    rows, _ = clusters()
    with denoising_batches(rows, config(9, class_balancing=1.0), 1000) as batches:
        for step in (0, 1, 7, 3):
            whole, shares = batches(step, 0, 1), [batches(step, part, parts) for part in range(parts)]
            for name in ("features", "timesteps"):
                assert torch.equal(torch.cat([getattr(share, name) for share in shares]), getattr(whole, name))
            for name in ("conditions", "balanced"):
                counts = [len(getattr(share, name)) for share in shares]
                assert counts == [32 // parts] * parts
                lost = torch.cat([getattr(share, name).place for share in shares]) == ABSENT
                assert torch.equal(lost, getattr(whole, name).place == ABSENT)
        assert (whole.timesteps // 125).tolist() == list(range(8))  # one in each eighth
        refused(r"32 rows has 8 noise levels.*3 processes.*multiple of 12", batches, 0, 0, 3)


@pytest.mark.parametrize("data", ["small_features", "union_features"])
def test_a_store_gives_unions_then_every_box_under_each_of_its_classes(request, data):
    inputs = request.getfixturevalue(data)
    store, names = FeaturesFolder(inputs["features"]).train, TextEmbeddings.open(inputs["text"])
    rows = region_rows(store, names, read_triplets(inputs["triplets"]), boxes=True, power=0.5)
    n, relations = len(store), store.relations
    pairs = [relations[[f"{role}_box", role]].to_numpy() for role in ("subject", "object")]
    boxes, classes = np.unique(np.concatenate(pairs), axis=0).T
    np.testing.assert_array_equal(rows.conditions.region[rows.index], [0] * n + [1] * len(boxes))
    expected = np.concatenate([store.union(np.arange(n)), store.box(boxes)])
    np.testing.assert_array_equal(rows.features(np.arange(len(expected)))[0], expected.astype(np.float16))
    rarest = np.min([relations.groupby(role)[role].transform("size") for role in ROLES], axis=0)
    often = np.concatenate([rows.weights[:n] * rarest**0.5, rows.weights[n:] * np.bincount(classes)[classes] ** 0.5])
    np.testing.assert_allclose(often, np.repeat(often[[0, n]], [n, len(boxes)]))
    captions = rows.conditions.embeddings(rows.conditions.caption[rows.index[n:]])
    np.testing.assert_array_equal(captions, names.objects[classes])


@pytest.mark.parametrize(("denoiser", "entities"), [("mlp", "boxes"), ("mlp", "generated"), ("unet", "generated")])
def test_the_stage_trains_on_a_features_folder(small_features, tmp_path, denoiser, entities):
    chosen = config(3, denoiser, class_balancing=0.5, entity_features=entities, hardness=entities == "boxes")
    edge = TrainingEdge(tracker="tensorboard", device="cpu")
    metrics = train_diffusion(tmp_path, **small_features, config=chosen, edge=edge)
    assert json.loads(json.dumps(metrics)) == metrics and np.isfinite(metrics["held_out_loss"])
    checkpoint = DenoiserCheckpoint.load(tmp_path / CHECKPOINT)
    store = FeaturesFolder(small_features["features"]).train
    checkpoint.require_store(store)
    assert (metrics["rows"] > len(store)) == (entities == "generated") == ("box" in checkpoint.identity.regions)
    assert (checkpoint.network.sizes.centroids > 0) == (entities == "boxes") and (tmp_path / "tracking").is_dir()


@pytest.mark.slow
def test_two_processes_share_a_training(small_features, tmp_path, monkeypatch):
    monkeypatch.setenv(PROCESSES_VARIABLE, "2")
    shared = shared_by_processes(train_diffusion)
    metrics = shared(tmp_path / "two", **small_features, config=config(20, training={"precision": "float32"}))
    monkeypatch.delenv(PROCESSES_VARIABLE)
    alone = train_diffusion(tmp_path / "one", **small_features, config=config(20, training={"precision": "float32"}))
    assert metrics["held_out_loss"] == pytest.approx(alone["held_out_loss"], rel=0.1)
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["denoiser.safetensors", "log.jsonl"]


def test_steps_follow_from_the_epochs_and_warm_up_is_a_share_of_them(tmp_path):
    rows, _ = clusters()
    chosen = config(0, epochs=1.5)
    assert chosen.steps_for(200) == 10 and config(7).steps_for(200) == 7 and config(0, epochs=0.001).steps_for(200) == 1
    metrics = train(tmp_path, rows, chosen)
    assert metrics["steps"] == 10 and metrics["epochs"] == pytest.approx(1.6)
