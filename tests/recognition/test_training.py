"""Training from stored features: it learns, resumes to the same weights, and stops where it must."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.recognition.conftest import NARROW, SMALL, stopped_at
from tests.refusals import refused
from tests.test_training import HostReads
from workbench.errors import WorkbenchError
from workbench.files import save_array
from workbench.recognition.config import FineTuningConfig, RebalancingConfig, RecogniserConfig
from workbench.recognition.finetuning import finetune_recogniser
from workbench.recognition.losses import LOSSES, LossConfig
from workbench.recognition.objective import RecogniserObjective
from workbench.recognition.rebalancing import rebalance_recogniser
from workbench.recognition.recogniser import RECOGNISERS, load_recogniser
from workbench.recognition.training import train_recogniser
from workbench.stopping import Stopped


def train(folder, data, edge=None, **changes):
    config = RecogniserConfig(**{**SMALL, **changes})
    return train_recogniser(folder, features=data.features, text=data.text, config=config, edge=edge)


def weights(folder):
    return load_recogniser(folder).head.state_dict()


@pytest.mark.parametrize(("loss", "relmix"), [("ce", "none"), ("wce", "clean"), ("logit_adjusted", "upstream")])
@pytest.mark.parametrize("architecture", RECOGNISERS)
def test_no_step_waits_for_the_device(small_data, tmp_path, monkeypatch, architecture, loss, relmix):
    sizes = NARROW if architecture == "reltransformer" else {}
    with HostReads(RecogniserObjective, monkeypatch) as reads:
        train(tmp_path, small_data, architecture=architecture, sizes=sizes, loss=LossConfig(loss, relmix=relmix,
              vilhub_scale=1.0), epochs=1)  # fmt: skip
    assert len(reads.after_step) == 5 and len(set(reads.after_step)) == 1


@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss_learns(small_data, tmp_path, loss):
    metrics = train(tmp_path, small_data, loss=LossConfig(loss), epochs=5)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [5, 10, 15, 20, 25] and log[-1]["loss"] < 0.9 * log[0]["loss"]
    assert metrics["validation_combined"] == max(line["validation_combined"] for line in log) > 30
    assert log[metrics["best_epoch"] - 1]["validation_combined"] == metrics["validation_combined"]
    recogniser = load_recogniser(tmp_path)
    assert (recogniser.loss, recogniser.encoder, recogniser.word_source) == (loss, "made-up", "text tower made-up text")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log.jsonl", "recogniser.safetensors"]


@pytest.mark.parametrize("sizes", [{}, NARROW])
def test_a_stopped_run_ends_with_the_same_weights(small_data, tmp_path, sizes):
    """With dropout too; epochs by SGD, which the loop's own tests do not take."""
    changes = {"epochs": 3, "sizes": sizes, "architecture": "reltransformer" if sizes else "lsvru",
               "training": replace(SMALL["training"], optimiser="sgd"), "loss": LossConfig(relmix="clean")}  # fmt: skip
    train(tmp_path / "alone", small_data, **changes)
    with pytest.raises(Stopped):
        train(tmp_path / "stopped", small_data, stopped_at(1), **changes)
    assert not (tmp_path / "stopped" / "recogniser.safetensors").exists()
    train(tmp_path / "stopped", small_data, **changes)
    alone, stopped = weights(tmp_path / "alone"), weights(tmp_path / "stopped")
    assert all(torch.equal(alone[name], stopped[name]) for name in alone)


def test_memory_does_not_change_the_result_and_the_seed_does(small_data, tmp_path):
    changes = {"disk": {"memory_gigabytes": 0.0}, "memory": {"memory_gigabytes": 1.0}, "seed": {"seed": 1}}
    for name, change in changes.items():
        train(tmp_path / name, small_data, epochs=2, **change)
    disk, memory, seed = (weights(tmp_path / name) for name in changes)
    assert all(torch.equal(disk[name], memory[name]) for name in disk)
    assert not torch.equal(disk["prd_feats.0.weight"], seed["prd_feats.0.weight"])


def test_test_rows_are_never_read(small_data, tmp_path):
    features = shutil.copytree(small_data.features, tmp_path / "features", ignore=shutil.ignore_patterns("test"))
    train(tmp_path / "plain", replace(small_data, features=features), epochs=1)
    given = {"recogniser": tmp_path / "plain", "features": features}
    tuning = FineTuningConfig(learning_rates=(1e-3,), epochs=1)
    finetune_recogniser(tmp_path / "tuned", generated=small_data.generated, config=tuning, **given)
    rebalance_recogniser(tmp_path / "adjusted", config=RebalancingConfig(), **given)


def test_features_that_are_not_finite_are_named(small_data, tmp_path):
    features = shutil.copytree(small_data.features, tmp_path / "features")
    path = features / "train" / "union_features.npy"
    union = np.load(path)
    union[17, 3] = np.inf
    save_array(path, union)
    for gigabytes in (0.0, 1.0):
        with pytest.raises(WorkbenchError, match=r"train, row 17: the union feature .*not finite"):
            train(tmp_path / "run", replace(small_data, features=features), epochs=1, memory_gigabytes=gigabytes)


def test_text_of_another_vocabulary_is_refused(small_data, tmp_path):
    text = shutil.copytree(small_data.text, tmp_path / "text")
    names = json.loads((text / "objects.json").read_text())
    (text / "objects.json").write_text(json.dumps(names[::-1]))
    refused("same vocabulary", train, tmp_path / "run", replace(small_data, text=text))


def test_losses_are_trained_by_name_and_at_least_one():
    configs = RecogniserConfig(hidden=7, loss=LossConfig(tau=2.0)).with_losses(["ce", "wce"])
    assert {name: (config.hidden, config.loss.name, config.loss.tau) for name, config in configs.items()} == {
        "ce": (7, "ce", 2.0), "wce": (7, "wce", 2.0)}  # fmt: skip
    refused(r"losses is \[\]; give at least one of: ce, wce", RecogniserConfig().with_losses, [])
