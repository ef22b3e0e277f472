"""Training from stored features: it learns, resumes to the same weights, and stops where it must."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from workbench.errors import WorkbenchError
from workbench.files import save_array
from workbench.recognition.checkpoint import load_recogniser
from workbench.recognition.fitting import FitPlan, learning_rate_factor
from workbench.recognition.losses import LOSSES
from workbench.recognition.training import RealBatches, train_recogniser

SMALL = {"hidden": 24, "batch_size": 64, "learning_rate": 3e-3, "seconds_between_states": 0.0}


class Killed(BaseException):
    pass


def kill_after(epochs):
    def on_epoch(entry):
        if entry["epoch"] == epochs:
            raise Killed

    return on_epoch


def train(folder, data, **options):
    return train_recogniser(folder, features=data.features, text=data.text, **{**SMALL, **options})


def weights(folder):
    return load_recogniser(folder).head.state_dict()


@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss_learns(small_data, tmp_path, loss):
    metrics = train(tmp_path, small_data, loss=loss, epochs=5)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log] == [1, 2, 3, 4, 5]
    assert log[-1]["loss"] < 0.9 * log[0]["loss"]
    assert metrics["validation_combined"] == max(entry["validation_combined"] for entry in log) > 30
    recogniser = load_recogniser(tmp_path)
    assert (recogniser.loss, recogniser.encoder, recogniser.word_source) == (loss, "made-up", "text tower made-up text")
    assert not (tmp_path / "training_state.safetensors").exists()


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("killed_after", [1, 3])
def test_a_killed_run_ends_with_the_same_weights(small_data, tmp_path, optimiser, killed_after):
    options = {"optimiser": optimiser, "epochs": 4}
    train(tmp_path / "alone", small_data, **options)
    with pytest.raises(Killed):
        train(tmp_path / "killed", small_data, on_epoch=kill_after(killed_after), **options)
    assert not (tmp_path / "killed" / "recogniser.safetensors").exists()
    train(tmp_path / "killed", small_data, **options)
    alone, killed = weights(tmp_path / "alone"), weights(tmp_path / "killed")
    assert all(torch.equal(alone[name], killed[name]) for name in alone)
    lines = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("alone", "killed")]
    strip = lambda line: {k: v for k, v in json.loads(line).items() if k != "seconds"}  # noqa: E731
    assert list(map(strip, lines[0])) == list(map(strip, lines[1]))


def test_memory_does_not_change_the_result(small_data, tmp_path):
    for name, gigabytes in (("mapped", 0.0), ("memory", 1.0)):
        train(tmp_path / name, small_data, epochs=2, memory_gigabytes=gigabytes)
    mapped, memory = weights(tmp_path / "mapped"), weights(tmp_path / "memory")
    assert all(torch.equal(mapped[name], memory[name]) for name in mapped)


def test_another_seed_is_another_recogniser(small_data, tmp_path):
    for seed in (0, 1):
        train(tmp_path / str(seed), small_data, epochs=1, seed=seed)
    first, second = (weights(tmp_path / str(seed))["prd_feats.0.weight"] for seed in (0, 1))
    assert not torch.equal(first, second)


def test_a_state_of_other_parameters_is_refused(small_data, tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, small_data, epochs=3, on_epoch=kill_after(1))
    with pytest.raises(WorkbenchError, match=r"training_state.*other parameters"):
        train(tmp_path, small_data, epochs=2)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(small_data, tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, small_data, epochs=3, on_epoch=kill_after(1), precision="float32")
    state = tmp_path / "training_state.safetensors"
    before = state.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LOSSES, "ce", lambda counts, **_: lambda logits, labels: logits.sum() * torch.nan)
        with pytest.raises(
            WorkbenchError, match=r"epoch 2, step 1 of 5: the loss is not finite.*after epoch 1 is kept"
        ):
            train(tmp_path, small_data, epochs=3, precision="float32")
    assert state.read_bytes() == before
    assert train(tmp_path, small_data, epochs=3, precision="float32")["epochs"] == 3


def test_features_that_are_not_finite_are_named(small_data, tmp_path):
    features = tmp_path / "features"
    shutil.copytree(small_data.features, features)
    path = features / "train" / "union_features.npy"
    union = np.load(path)
    union[17, 3] = np.inf
    save_array(path, union)
    for gigabytes in (0.0, 1.0):
        with pytest.raises(WorkbenchError, match=r"train, row 17: the union feature .*not finite"):
            train(tmp_path / "run", replace(small_data, features=features), epochs=1, memory_gigabytes=gigabytes)


def test_splits_of_two_encoders_are_refused(small_data, tmp_path):
    features = tmp_path / "features"
    shutil.copytree(small_data.features, features)
    manifest = features / "val" / "features.json"
    manifest.write_text(manifest.read_text().replace('"made-up"', '"another"'))
    with pytest.raises(WorkbenchError, match=r"val.*'another'"):
        train(tmp_path / "run", replace(small_data, features=features))


def test_text_of_another_vocabulary_is_refused(small_data, tmp_path):
    text = tmp_path / "text"
    shutil.copytree(small_data.text, text)
    names = json.loads((text / "objects.json").read_text())
    (text / "objects.json").write_text(json.dumps(names[::-1]))
    with pytest.raises(WorkbenchError, match="same vocabulary"):
        train(tmp_path / "run", replace(small_data, text=text))


@pytest.mark.parametrize(("name", "value"), [("optimiser", "adam"), ("schedule", "linear"), ("precision", "half"),
                                             ("epochs", 0), ("learning_rate", -1.0)])  # fmt: skip
def test_wrong_parameters_are_named(small_data, tmp_path, name, value):
    with pytest.raises(WorkbenchError, match=name):
        train(tmp_path, small_data, **{name: value})


def test_an_epoch_shows_every_row_once_whatever_the_batch_size():
    class Rows:
        name, order, by_blocks = "rows", "rows", False
        labels = {role: np.arange(23) for role in ("subject", "relation", "object")}  # noqa: RUF012
        __len__ = lambda self: 23  # noqa: E731
        __call__ = lambda self, rows: (rows, rows, rows)  # noqa: E731

    orders = []
    for batch_size in (1, 5, 23, 40):
        batches = list(RealBatches(Rows(), batch_size, 3).batches(2))
        orders.append(np.concatenate([batch.labels["subject"] for batch in batches]))
        assert len(batches) == RealBatches(Rows(), batch_size, 3).steps_per_epoch
    assert all(np.array_equal(order, orders[0]) for order in orders) and sorted(orders[0]) == list(range(23))


def test_learning_rate_follows_the_reference_schedule():
    plan = FitPlan(12, 256, 0.01, 0, schedule="step", warm_up_steps=500)
    factors = [learning_rate_factor(step, 12_000, plan) for step in (0, 250, 500, 5329, 5331, 7109, 7111, 11_999)]
    np.testing.assert_allclose(factors, [1 / 3, 2 / 3, 1, 1, 0.1, 0.1, 0.01, 0.01])
    cosine = [learning_rate_factor(s, 100, replace(plan, schedule="cosine", warm_up_steps=0)) for s in (0, 50, 99)]
    np.testing.assert_allclose(cosine, [1, 0.5, 0], atol=1e-3)
