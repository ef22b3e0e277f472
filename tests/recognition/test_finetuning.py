"""Fine-tuning on generated rows: which rows and roles count, the choice on validation, resuming."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.recognition.conftest import NARROW, stopped_at, train_small
from tests.synthetic import write_generated
from workbench.errors import WorkbenchError
from workbench.recognition.batches import RelationRows
from workbench.recognition.config import FineTuningConfig
from workbench.recognition.finetuning import MixedBatches, active_roles, finetune_recogniser, shown_counts
from workbench.recognition.recogniser import load_recogniser
from workbench.regions.features import FeaturesFolder, GeneratedFeatures
from workbench.scenes.bands import count_classes
from workbench.scenes.vocabulary import ROLES
from workbench.stopping import Stopped


def finetune(folder, data, trained, edge=None, **changes):
    config = FineTuningConfig(**{"learning_rates": (1e-3, 1e-2), "epochs": 3, "batch_size": 64, **changes})
    return finetune_recogniser(folder, recogniser=trained, generated=data.generated, features=data.features,
                               config=config, edge=edge)  # fmt: skip


def test_roles_that_the_loss_looks_at(tmp_path):
    relations = pd.DataFrame({"replaced": ["subject", "object"], "because": ["relation", "subject"]})
    assert all(active_roles(relations, "all", tmp_path)[role].all() for role in ROLES)
    kept, tail = (active_roles(relations, roles, tmp_path) for roles in ("kept", "tail"))
    assert [kept[role].tolist() for role in ROLES] == [[False, True], [True, True], [True, False]]
    assert [tail[role].tolist() for role in ROLES] == [[False, True], [True, False], [False, False]]
    with pytest.raises(WorkbenchError, match="no column 'because'"):
        active_roles(relations.drop(columns="because"), "tail", tmp_path)


@pytest.mark.parametrize(("roles", "real_replay"), [("all", 0.0), ("kept", 0.5), ("tail", 0.25)])
def test_the_best_epoch_on_validation_is_kept(small_data, trained, tmp_path, roles, real_replay):
    metrics = finetune(tmp_path, small_data, trained, roles=roles, real_replay=real_replay)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(log) == 6 and [entry["trial"] for entry in log] == [0, 0, 0, 1, 1, 1]
    assert len({entry["step"] for entry in log}) == 6
    assert metrics["validation_combined"] == max(entry["validation_combined"] for entry in log)
    chosen = next(e for e in log if e["validation_combined"] == metrics["validation_combined"])
    assert metrics["learning_rate"] == chosen["learning_rate"] and metrics["best_epoch"] == log.index(chosen) % 3 + 1
    assert metrics["validation_before_combined"] > 0
    before, after = (load_recogniser(place).head.state_dict() for place in (trained, tmp_path))
    assert not torch.equal(before["prd_feats.0.weight"], after["prd_feats.0.weight"])
    assert torch.equal(before["object_vectors"], after["object_vectors"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log.jsonl", "recogniser.safetensors"]


def test_the_union_feature_stands_in_where_there_is_nothing_else(small_data, tmp_path):
    train, rows = FeaturesFolder(small_data.features).train, np.array([3, 1])
    stored = GeneratedFeatures(small_data.generated, train)
    assert not np.array_equal(stored.subject(rows), stored.union(rows))
    train.entity_region = "union"
    write_generated(tmp_path / "made", train, stored.relations)
    made = GeneratedFeatures(tmp_path / "made", train)
    assert np.array_equal(made.object(rows), made.union(rows)) and made.entity_region == "union"


def test_interpolated_weights_are_chosen_on_validation(small_data, trained, tmp_path):
    shares = (0.25, 0.5, 1.0)
    metrics = finetune(tmp_path / "mixed", small_data, trained, weight_interpolation=shares)
    plain = finetune(tmp_path / "plain", small_data, trained)
    assert metrics["weight_share"] in shares and plain["weight_share"] == 1.0
    assert metrics["validation_combined"] >= plain["validation_combined"]
    states = [load_recogniser(place).head.state_dict() for place in (trained, tmp_path / "plain", tmp_path / "mixed")]
    before, after, mixed = (state["prd_feats.0.weight"] for state in states)
    share = metrics["weight_share"]
    torch.testing.assert_close(mixed, (1 - share) * before + share * after)
    with pytest.raises(WorkbenchError, match=r"weight_interpolation\[0\] is 0\.0; expected a finite number above 0"):
        finetune(tmp_path / "wrong", small_data, trained, weight_interpolation=(0.0,))


def test_generated_rows_that_no_training_can_use_are_named(small_data, trained, tmp_path):
    broken = shutil.copytree(small_data.generated, tmp_path / "broken")
    table = pd.read_parquet(broken / "generated.parquet")
    table.assign(relation=table["relation"].where(table.index != 3, 99)).to_parquet(broken / "generated.parquet")
    with pytest.raises(WorkbenchError, match=r"broken: .*'relation': class id 99 is unknown"):
        finetune(tmp_path / "run", replace(small_data, generated=broken), trained)


def test_shown_counts_are_those_of_the_batches(small_data, tmp_path):
    train = FeaturesFolder(small_data.features).train
    rows = GeneratedFeatures(small_data.generated, train)
    real, everything = RelationRows(train, small_data.vocabulary), {role: np.ones(len(rows), bool) for role in ROLES}
    counts = count_classes(train.relations, small_data.vocabulary)
    for share in (0.25, 0.5):
        config = FineTuningConfig(batch_size=40, real_replay=share)
        batches = MixedBatches(RelationRows(rows, small_data.vocabulary), real, everything, config)
        seen = [batches(step).labels["relation"] for step in range(60 * batches.steps_per_epoch)]
        found = np.bincount(np.concatenate(seen), minlength=4)
        expected = shown_counts(counts, rows.relations, everything, share).relation
        assert np.allclose(found / found.sum(), expected / expected.sum(), atol=0.02)
    nothing = {role: np.zeros(len(rows), bool) for role in ROLES}
    only_real = shown_counts(counts, rows.relations, nothing, 0.5)
    assert np.allclose(only_real.objects, counts.objects / 2)


@pytest.mark.parametrize("scenes", ["own", "image"])
def test_a_stopped_run_ends_with_the_same_weights(small_data, reltransformer, tmp_path, scenes):
    """Stopped within the second of two learning rates, by a head that reads scenes and has dropout."""
    changes = {"epochs": 2, "learning_rates": (1e-3, 1e-2), "real_replay": 0.5, "scenes": scenes}
    alone = finetune(tmp_path / "alone", small_data, reltransformer, **changes)
    with pytest.raises(Stopped):
        finetune(tmp_path / "stopped", small_data, reltransformer, stopped_at(3), **changes)
    stopped = finetune(tmp_path / "stopped", small_data, reltransformer, **changes)
    assert {**alone, "seconds": 0} == {**stopped, "seconds": 0}
    first, second = (load_recogniser(tmp_path / name).head.state_dict() for name in ("alone", "stopped"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.fixture(scope="module")
def reltransformer(small_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reltransformer")
    return train_small(small_data, folder, "reltransformer", hidden=16, sizes=NARROW, epochs=1)
