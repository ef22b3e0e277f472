"""Fine-tuning on generated rows: which rows and roles count, the choice on validation, resuming."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.errors import WorkbenchError
from workbench.files import save_array, write_json
from workbench.recognition.checkpoint import load_recogniser
from workbench.recognition.finetuning import active_roles, finetune_recogniser, shown_counts
from workbench.recognition.mixed_batches import MixedBatches
from workbench.recognition.stored_features import FeatureRows
from workbench.recognition.training import train_recogniser
from workbench.regions.feature_store import FeatureStore
from workbench.regions.generated_features import GeneratedFeatures, finish_generated
from workbench.scenes.bands import count_classes
from workbench.scenes.vocabulary import ROLES


class Rows:
    """Features that are their own row numbers, with a sign for the source."""

    def __init__(self, rows, sign):
        self.name, self.rows, self.sign, self.by_blocks, self.order = "rows", rows, sign, False, "rows"
        self.labels = {role: np.arange(rows) for role in ROLES}

    def __len__(self):
        return self.rows

    def __call__(self, rows):
        return (self.sign * (np.asarray(rows, dtype=np.float32) + 1)[:, None],) * 3


class Killed(BaseException):
    pass


def finetune(folder, data, trained, **options):
    options = {"learning_rates": [1e-3, 1e-2], "epochs": 3, "batch_size": 64, "seconds_between_states": 0.0} | options
    return finetune_recogniser(folder, recogniser=trained, generated=data.generated, features=data.features,
                               **options)  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize(("generated", "real"), [(23, 50), (40, 7), (8, 8)])
def test_an_epoch_shows_every_generated_row_once_and_the_share_of_real_rows(share, generated, real):
    active = {role: np.zeros(generated, dtype=bool) for role in ROLES}
    source = MixedBatches(Rows(generated, 1), Rows(real, -1), active, batch_size=8, real_share=share, seed=0)
    batches = list(source.batches(1))
    assert len(batches) == source.steps_per_epoch
    shown = np.concatenate([batch.features[1][:, 0] for batch in batches])
    once, other = (-shown[shown < 0], shown[shown > 0]) if share == 1 else (shown[shown > 0], -shown[shown < 0])
    assert sorted(once) == list(range(1, (real if share == 1 else generated) + 1))
    assert len(other) / len(shown) == pytest.approx(share % 1.0, abs=0.1)
    if len(other) >= real:
        # Real rows go round and round; an epoch's smaller last batch cuts one round short.
        times = np.bincount(other.astype(int), minlength=real + 1)[1:]
        assert times.max() - times.min() <= 2
    for batch in batches:
        is_real = batch.features[0][:, 0] < 0
        assert all(np.array_equal(batch.active[role], is_real) for role in ROLES)
        assert np.array_equal(np.abs(batch.features[0][:, 0]) - 1, batch.labels["object"])
    again = np.concatenate([batch.features[1][:, 0] for batch in source.batches(1)])
    assert np.array_equal(shown, again)


def test_roles_that_the_loss_looks_at(tmp_path):
    relations = pd.DataFrame({"replaced": ["subject", "object"], "because": ["relation", "subject"]})
    assert all(active_roles(relations, "all", tmp_path)[role].all() for role in ROLES)
    kept, tail = (active_roles(relations, roles, tmp_path) for roles in ("kept", "tail"))
    assert [kept[role].tolist() for role in ROLES] == [[False, True], [True, True], [True, False]]
    assert [tail[role].tolist() for role in ROLES] == [[False, True], [True, False], [False, False]]
    with pytest.raises(WorkbenchError, match=r"'some'.*all, entities, kept, tail"):
        active_roles(relations, "some", tmp_path)
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
    assert (metrics["learning_rate"], metrics["best_epoch"]) == (chosen["learning_rate"], chosen["epoch"])
    assert metrics["validation_before_combined"] > 0 and metrics["changed"]
    before, after = (load_recogniser(place).head.state_dict() for place in (trained, tmp_path))
    assert not torch.equal(before["prd_feats.0.weight"], after["prd_feats.0.weight"])
    assert torch.equal(before["object_vectors"], after["object_vectors"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log.jsonl", "recogniser.safetensors"]


def test_test_rows_are_never_read(small_data, trained, tmp_path):
    features = tmp_path / "features"
    shutil.copytree(small_data.features, features)
    shutil.rmtree(features / "test")
    finetune_recogniser(tmp_path / "run", recogniser=trained, generated=small_data.generated, features=features,
                        learning_rates=[1e-3], epochs=1)  # fmt: skip


def test_a_worse_result_is_dropped_on_request_only(small_data, trained, tmp_path):
    # So fast that it can only hurt.
    options = {"learning_rates": [3.0], "epochs": 1}
    kept = finetune(tmp_path / "kept", small_data, trained, **options)
    dropped = finetune(tmp_path / "dropped", small_data, trained, keep_if_worse=False, **options)
    assert kept["validation_combined"] < kept["validation_before_combined"]
    assert kept["changed"] and not dropped["changed"]
    before, after = (load_recogniser(place).head.state_dict() for place in (trained, tmp_path / "dropped"))
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("killed_at", [2, 4])
def test_a_killed_run_ends_with_the_same_weights(small_data, trained, tmp_path, killed_at):
    seen = []

    def kill(entry):
        seen.append(entry)
        if len(seen) == killed_at:
            raise Killed

    alone = finetune(tmp_path / "alone", small_data, trained, real_replay=0.5)
    with pytest.raises(Killed):
        finetune(tmp_path / "killed", small_data, trained, real_replay=0.5, on_epoch=kill)
    killed = finetune(tmp_path / "killed", small_data, trained, real_replay=0.5)
    assert {**alone, "seconds": 0} == {**killed, "seconds": 0}
    first, second = (load_recogniser(tmp_path / name).head.state_dict() for name in ("alone", "killed"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_generated_rows_read_boxes_or_their_own_features(small_data, tmp_path):
    train = FeatureStore.open(small_data.features / "train")
    rows, chosen = GeneratedFeatures.open(small_data.generated, train), np.array([5, 0, 199])
    assert np.array_equal(rows.subject(chosen), train.box(rows.relations["subject_box"].to_numpy()[chosen]))
    shutil.copytree(small_data.generated, tmp_path / "own")
    own = np.random.default_rng(0).standard_normal((200, train.dimension)).astype(np.float16)
    save_array(tmp_path / "own" / "object_features.npy", own)
    assert np.array_equal(GeneratedFeatures.open(tmp_path / "own", train).object(chosen), own[chosen])


def test_the_union_feature_stands_in_where_there_is_nothing_else(small_data, tmp_path):
    train = FeatureStore.open(small_data.features / "train")
    stored, union = (GeneratedFeatures.open(small_data.generated, train, entities) for entities in ("stored", "union"))
    rows = np.array([3, 1])
    assert np.array_equal(union.subject(rows), stored.union(rows)) and union.entity_region == "union"
    assert not np.array_equal(stored.subject(rows), stored.union(rows))
    train.entity_region = "union"
    finish_generated(shutil.copytree(small_data.generated, tmp_path / "made"), stored.relations, train, "seed")
    assert np.array_equal(GeneratedFeatures.open(tmp_path / "made", train).object(rows), stored.union(rows))
    with pytest.raises(WorkbenchError, match="'boxes' is not known"):
        GeneratedFeatures.open(small_data.generated, train, "boxes")


def test_interpolated_weights_are_chosen_on_validation(small_data, trained, tmp_path):
    shares = [0.25, 0.5, 1.0]
    metrics = finetune(tmp_path / "mixed", small_data, trained, weight_interpolation=shares)
    plain = finetune(tmp_path / "plain", small_data, trained)
    assert metrics["weight_share"] in shares and plain["weight_share"] == 1.0
    assert metrics["validation_combined"] >= plain["validation_combined"]
    before, after, mixed = (
        load_recogniser(place).head.state_dict()["prd_feats.0.weight"]
        for place in (trained, tmp_path / "plain", tmp_path / "mixed")
    )
    share = metrics["weight_share"]
    torch.testing.assert_close(mixed, (1 - share) * before + share * after)
    with pytest.raises(WorkbenchError, match="weight_interpolation is"):
        finetune(tmp_path / "wrong", small_data, trained, weight_interpolation=[0.0])


def test_generated_folders_that_do_not_fit_are_named(small_data, trained, tmp_path):
    train = FeatureStore.open(small_data.features / "train")
    with pytest.raises(WorkbenchError, match=r"no finished generated features \(no generated\.json\)"):
        GeneratedFeatures.open(tmp_path, train)
    broken = tmp_path / "broken"
    shutil.copytree(small_data.generated, broken)
    union = np.load(broken / "union_features.npy")
    save_array(broken / "union_features.npy", union[:, :-1])
    with pytest.raises(
        WorkbenchError, match=r"union_features\.npy: is float16 \(200, 11\), expected float16 \(200, 12"
    ):
        GeneratedFeatures.open(broken, train)
    union[3] = np.nan
    save_array(broken / "union_features.npy", union)
    with pytest.raises(WorkbenchError, match="row 3: the union feature"):
        finetune_recogniser(tmp_path / "run", recogniser=trained, generated=broken, features=small_data.features)
    pd.read_parquet(broken / "generated.parquet").drop(columns="subject_box").to_parquet(broken / "generated.parquet")
    with pytest.raises(WorkbenchError, match="no column subject_box"):
        GeneratedFeatures.open(broken, train)
    manifest = json.loads((broken / "generated.json").read_text())
    write_json(broken / "generated.json", manifest | {"encoder": "another"})
    with pytest.raises(WorkbenchError, match="for a store with encoder 'another', but this one has 'made-up'"):
        GeneratedFeatures.open(broken, train)


def test_generated_rows_of_other_classes_or_support_are_refused(small_data, trained, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(small_data.generated, broken)
    table = pd.read_parquet(broken / "generated.parquet")
    table.assign(relation=table["relation"].where(table.index != 3, 99)).to_parquet(broken / "generated.parquet")
    with pytest.raises(WorkbenchError, match=r"broken: .*'relation': class id 99 is unknown"):
        finetune_recogniser(tmp_path / "run", recogniser=trained, generated=broken, features=small_data.features)
    manifest = json.loads((broken / "generated.json").read_text())
    write_json(broken / "generated.json", manifest | {"support": "rectified"})
    with pytest.raises(WorkbenchError, match="for a store with support 'rectified', but this one has 'signed'"):
        GeneratedFeatures.open(broken, FeatureStore.open(small_data.features / "train"))


@pytest.mark.parametrize(("options", "message"), [({"learning_rates": []}, "learning_rates is empty"),
                                                  ({"real_replay": 1.5}, "real_replay is 1.5")])  # fmt: skip
def test_wrong_parameters_are_named(small_data, trained, tmp_path, options, message):
    with pytest.raises(WorkbenchError, match=message):
        finetune(tmp_path, small_data, trained, **options)


def test_shown_counts_are_those_of_the_batches(small_data, tmp_path):
    train = FeatureStore.open(small_data.features / "train")
    rows = GeneratedFeatures.open(small_data.generated, train)
    real, everything = FeatureRows(train, "real"), {role: np.ones(len(rows), bool) for role in ROLES}
    counts = count_classes(train.relations, small_data.vocabulary)
    for share in (0.25, 0.5):
        batches = MixedBatches(FeatureRows(rows, "made"), real, everything, batch_size=40, real_share=share, seed=0)
        seen = [batch.labels for epoch in range(1, 60) for batch in batches.batches(epoch)]
        found = np.bincount(np.concatenate([labels["relation"] for labels in seen]), minlength=4)
        expected = shown_counts(counts, rows.relations, everything, share, small_data.vocabulary).relations
        assert np.allclose(found / found.sum(), expected / expected.sum(), atol=0.02)
    nothing = {role: np.zeros(len(rows), bool) for role in ROLES}
    only_real = shown_counts(counts, rows.relations, nothing, 0.5, small_data.vocabulary)
    assert np.allclose(only_real.objects, counts.objects / 2)


@pytest.mark.parametrize("scenes", ["own", "image"])
def test_a_head_that_reads_scenes_is_finetuned_and_resumed(small_data, tmp_path, scenes):
    sizes = {"width": 16, "heads": 2, "memory": 4, "scene_hidden": 16, "block_hidden": 16}
    train_recogniser(tmp_path / "base", features=small_data.features, text=small_data.text, epochs=1, hidden=16,
                     architecture="reltransformer", sizes=sizes)  # fmt: skip

    def kill(entry):
        if entry["epoch"] == 1:
            raise Killed

    options = {"epochs": 2, "learning_rates": [1e-3], "real_replay": 0.5, "scenes": scenes}
    finetune(tmp_path / "whole", small_data, tmp_path / "base", **options)
    with pytest.raises(Killed):
        finetune(tmp_path / "killed", small_data, tmp_path / "base", on_epoch=kill, seconds_between_states=0, **options)
    finetune(tmp_path / "killed", small_data, tmp_path / "base", **options)
    whole, killed = (load_recogniser(tmp_path / name).head.state_dict() for name in ("whole", "killed"))
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())
