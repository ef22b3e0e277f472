"""Cost plans: counts equal those of the real modules, scale with the data, and name what is missing."""

import json

import pytest
import torch
from torch import nn

from tests.scale import simulate_annotations
from workbench.diffusion.denoiser_kinds import build_denoiser
from workbench.diffusion.diffusion_config import DiffusionConfig
from workbench.errors import WorkbenchError
from workbench.regions.encoder import RegionEncoder
from workbench.regions.feature_store import FeatureStoreWriter
from workbench.runs import cost_networks
from workbench.runs.cost_data import DataSize, data_size
from workbench.runs.cost_machines import MACHINES, machine_called
from workbench.runs.cost_networks import denoiser_cost, encoder_cost, head_cost, text_cost
from workbench.runs.cost_plan import plan_costs
from workbench.runs.cost_stages import Setting, features_cost
from workbench.runs.cost_trainings import diffusion_cost, finetuning_cost, generated_cost, training_cost
from workbench.scenes.annotations import read_annotations
from workbench.scenes.vocabulary import Vocabulary

SPLITS = ("train", "val", "test")
STATED = {
    "images": dict.fromkeys(SPLITS, 100),
    "boxes": dict.fromkeys(SPLITS, 900),
    "relations": {"train": 2000, "val": 200, "test": 300},
    "object_classes": 40,
    "relation_classes": 10,
    "distinct_triplets": 700,
}


def parameters_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def setting_of(times: int = 1, gpus: int = 1) -> Setting:
    rows = {table: {split: times * number for split, number in STATED[table].items()} for table in list(STATED)[:3]}
    data = DataSize(**STATED | rows, source="test")
    return Setting(data, 64, 16, MACHINES["h100"], gpus)


TRAINED = {"epochs": 3, "batch_size": 50, "hidden": 32, "learning_rates": [1e-4, 1e-3]}
DENOISER = {"width": 32, "blocks": 2, "epochs": 4, "batch_size": 64, "n_centres": 5}


def test_operations_of_a_linear_layer_are_those_by_hand():
    layer, rows = nn.Linear(7, 5), 11
    cost = cost_networks._training_cost(layer, lambda: layer(torch.zeros(rows, 7)), rows)
    # Forwards 2 x 7 x 5; backwards the gradient of the weight as many again, that of the input is not asked for.
    assert (cost.parameters, cost.forward, cost.training) == (40, 70, 140)


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({"width": 48, "blocks": 3}, None),
        ({"denoiser": "unet", "unet_channels": (8, 16), "layout": "pooled"}, None),
        ({"denoiser": "unet", "unet_channels": (320, 640, 1280, 1280), "layout": "pooled"}, 847_296_833),
    ],
)
def test_denoisers_have_the_parameters_of_the_real_ones(options, parameters):
    sizes = {"dimension": 4096 if parameters else 64, "text_dimension": 768, "centres": 1200}
    cost = denoiser_cost(**sizes, batch_size=8, **options)
    if parameters is None:
        named = {"feature_dimension": 64, "text_dimension": 768, "n_centres": 1200}
        parameters = parameters_of(build_denoiser(DiffusionConfig(**options).network_config(**named)))
    assert cost.parameters == parameters
    # The input of a network needs no gradient, so its first layer takes less than three times its forward pass.
    assert 2.2 * cost.forward < cost.training < 3.1 * cost.forward


def test_heads_have_the_parameters_of_the_checkpoints():
    sizes = {"dimension": 4096, "words": 300, "objects": 1703, "relations": 310, "batch_size": 256}
    lsvru = head_cost("lsvru", **sizes)
    assert lsvru.parameters == 23_691_264
    assert head_cost("reltransformer", **sizes).parameters == 78_016_768
    # By hand: embeddings of two boxes, the union's three inputs, the relation's, and the cosines.
    row = 2 * 4096 * 1024 + 3 * 4096 * 1024 + 3 * 1024 * 1024 + 1024 * 1024 + 1024 * (2 * 1703 + 311)
    names = (1703 + 311) * (300 * 1024 + 1024 * 1024)
    assert lsvru.forward == pytest.approx(2 * (row + names / 256))


def test_the_encoder_is_counted_by_picture_and_region():
    cost = encoder_cost(0.125, 64, 96)
    assert cost.parameters == parameters_of(RegionEncoder(0.125))
    assert cost.region == 2 * (64 * 49 * 512 + 512 * 512)
    assert encoder_cost(0.125, 128, 96).picture == pytest.approx(2 * cost.picture)


def test_the_text_tower_is_clips():
    cost = text_cost("ViT-L-14", 12)
    assert cost.parameters == 123_650_304  # 768 wide, 12 layers, 49,408 tokens
    assert text_cost("ViT-L-14", 24).forward == 2 * cost.forward


def test_costs_grow_with_the_rows():
    once, thrice = setting_of(), setting_of(3)
    values = {"width": 0.125, "short_side": 64}
    for cost in (
        lambda setting: features_cost(setting, values),
        lambda setting: training_cost(setting, TRAINED),
        lambda setting: diffusion_cost(setting, DENOISER),
    ):
        one, three = cost(once), cost(thrice)
        assert three.operations == pytest.approx(3 * one.operations, rel=0.01)
        assert three.read == pytest.approx(3 * one.read, rel=0.01)
        assert three.gpu_bytes == one.gpu_bytes
    assert features_cost(once, values).written > 2 * 64 * (2700 + 2500)


def test_parts_of_a_plan_multiply():
    setting = setting_of()
    tuned = finetuning_cost(setting, TRAINED | {"real_replay": 0.0}, TRAINED, samples=400)
    mixed = finetuning_cost(setting, TRAINED | {"real_replay": 0.5}, TRAINED, samples=400)
    one_rate = finetuning_cost(setting, TRAINED | {"learning_rates": [1e-4]}, TRAINED, samples=400)
    assert mixed.operations > 1.5 * tuned.operations > 2 * one_rate.operations
    sampled = [
        generated_cost(setting, {"steps": 10, "guidance": guidance}, 100, DENOISER).operations
        for guidance in (1.0, 2.0)
    ]
    assert sampled[1] == 2 * sampled[0]
    shared = diffusion_cost(setting_of(gpus=4), DENOISER)
    assert shared.gpu_bytes < diffusion_cost(setting, DENOISER).gpu_bytes


def test_sizes_that_a_profile_states_are_checked(tmp_path):
    found = data_size("mine", {}, STATED, "mine", tmp_path)
    assert found.total("relations") == 2500 and found.object_classes == 40
    for change, words in (
        ({"boxes": 5}, "boxes is 5"),
        ({"object_classes": {"train": 1}}, "object_classes is"),
        ({"picture": 1}, "picture not known"),
    ):
        with pytest.raises(WorkbenchError, match=words):
            data_size("mine", {}, STATED | change, "mine", tmp_path)
    with pytest.raises(WorkbenchError, match="section 'size:'"):
        data_size("mine", {}, {}, "mine", tmp_path)


def test_data_that_are_here_are_counted(tmp_path):
    names = Vocabulary(tuple(f"o{n}" for n in range(1702)), tuple(f"r{n}" for n in range(310)))
    simulate_annotations(tmp_path / "annotations", vocabulary=names, scale=0.001)
    folder = tmp_path / "data" / "imported" / "own"
    for split in ("train", "val"):
        tables = read_annotations(tmp_path / "annotations", split)
        writer = FeatureStoreWriter(
            folder / split, images=tables.images, boxes=tables.boxes, relations=tables.relations, dimension=8,
            encoder="none", sparse=True,
        )  # fmt: skip
        writer.finish()
    names.write(folder)
    found = data_size("mine", {"data": "own"}, STATED, "mine", tmp_path)
    assert found.relations == {"train": 3400, "val": 140} and found.dimension == 8
    assert 1000 < found.distinct_triplets <= 3400 and found.relation_classes == 310


@pytest.mark.parametrize("profile", ["gqa-lt", "smoke"])
def test_profiles_are_planned_before_anything_is_there(profile):
    plan = plan_costs(profile, machine="a100", gpus=2)
    told, text = json.loads(json.dumps(plan.as_json())), plan.text()
    assert {entry["stage"] for entry in told["stages"]} >= {"features", "text", "diffusion", "recogniser", "evaluation"}
    assert told["total"]["written"] == pytest.approx(sum(entry["written"] for entry in told["stages"]))
    assert plan.tables and "one seed" in text and "assumed:" in text
    if profile == "gqa-lt":
        store = next(entry for entry in told["stages"] if entry["stage"] == "features")
        assert 38e9 < store["written"] < 46e9  # 3.9 M unions and 1.4 M boxes of 4096 float16
        assert all(entry["host_bytes"] < 6e9 for entry in told["stages"])


def test_machines_are_named():
    with pytest.raises(WorkbenchError, match="h100, h200, a100, v100, rtx4090, cpu"):
        machine_called("abacus")
    assert MACHINES["v100"].speed() == MACHINES["v100"].speed("float32") > 0
    assert MACHINES["a100"].speed() > MACHINES["a100"].speed("float32")
    here = machine_called("cpu")
    assert here.speed("float32") > 0 and here.memory == 0
