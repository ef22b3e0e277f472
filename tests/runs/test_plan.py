"""A plan's counts are those of the real modules; sizes are counted, stated or known, or what is missing is named."""

import numpy as np
import pytest
import torch
from torch import nn

from annotated_scenes.annotations import read_annotations
from simulated_scenes.annotations import simulate_annotations
from tests.refusals import refused
from workbench.runs.plan import data_size, network_size, plan_resources, plan_text
from workbench.runs.profiles import make_plan
from workbench.scenes.relations import write_relation_tables
from workbench.scenes.vocabulary import SPLITS, Vocabulary

STATED = {
    "images": dict.fromkeys(SPLITS, 100), "boxes": dict.fromkeys(SPLITS, 900),
    "relations": {"train": 2000, "val": 200, "test": 300}, "object_classes": 40, "relation_classes": 10,
    "distinct_triplets": 700,
}  # fmt: skip


def test_operations_of_a_linear_layer_are_those_by_hand():
    layer, rows = nn.Linear(7, 5), 11
    size = network_size(layer, lambda: layer(torch.zeros(rows, 7)), rows)
    # Forwards 2 x 7 x 5; backwards the gradient of the weight as many again, that of the input is not asked for.
    assert (size.parameters, size.forward, size.training) == (40, 70, 140)


def test_the_paper_s_networks_and_files():
    plan = plan_resources(make_plan("gqa-lt"))
    networks = plan.networks
    assert networks["denoiser, a row"].parameters == 146_486_016
    assert networks["recogniser, a relation"].parameters == 23_691_264
    # By hand: embeddings of two boxes, the union's three inputs, the relation's, the cosines, and the names' share.
    row = 2 * 4096 * 1024 + 3 * 4096 * 1024 + 3 * 1024 * 1024 + 1024 * 1024 + 1024 * (2 * 1703 + 311)
    names = (1703 + 311) * (300 * 1024 + 1024 * 1024)
    assert networks["recogniser, a relation"].forward == pytest.approx(2 * (row + names / 256))
    region = networks["region encoder, a region"]
    assert region.forward == 2 * (512 * 49 * 4096 + 4096 * 4096)
    for size in networks.values():
        assert 2 * size.forward < size.training <= 3.1 * size.forward
    store = next(size for name, size in plan.files.items() if name.startswith("features"))
    assert store == (1_370_213 + 3_882_268) * (2 * 4096 + 24)
    text = plan_text(plan)
    assert "43.2 GB" in text and "146,486,016" in text and "stated in the profile" in text


def test_parameters_of_the_notebooks_reach_the_networks():
    unet = {"denoiser": "unet", "network.channels": "[320, 640, 1280, 1280]", "network.layout": "pooled"}
    overrides = {f"diffusion.{name}": value for name, value in unet.items()}
    plan = plan_resources(make_plan("gqa-lt", parameters=overrides | {"recogniser.architecture": "reltransformer"}))
    assert {847_296_833, 78_016_768} <= {size.parameters for size in plan.networks.values()}


@pytest.mark.parametrize("profile", ["smoke", "demo"])
def test_drawn_scenes_are_as_large_as_their_profile_states(profile):
    plan = make_plan(profile)
    (drawing,) = (notebook.values["drawing"] for notebook in plan.notebooks if "drawing" in notebook.values)
    images = plan_resources(plan).data.images
    assert {f"{split}_images": rows for split, rows in images.items()}.items() >= drawing.items()


def test_sizes_that_a_profile_states_are_checked():
    found = data_size("mine", [], STATED)
    assert sum(found.relations.values()) == 2500 and found.object_classes == 40
    for change, words in (
        ({"boxes": 5}, "size.boxes: expected"), ({"boxes": {"val": 5}}, "boxes is"),
        ({"object_classes": {"train": 1}}, "size.object_classes: expected"), ({"image": 1}, "Did you mean 'images'"),
    ):  # fmt: skip
        refused(words, data_size, "mine", [], STATED | change)
    refused("section 'size:'", data_size, "mine", [], {})


def test_data_that_are_here_are_counted(tmp_path):
    names = Vocabulary(tuple(f"o{n}" for n in range(1702)), tuple(f"r{n}" for n in range(310)))
    simulate_annotations(tmp_path / "annotations", vocabulary=names, scale=0.002)
    for split in ("train", "val"):
        write_relation_tables(tmp_path / "own" / split, read_annotations(tmp_path / "annotations", split).tables)
    names.write(tmp_path / "own")
    found = data_size("mine", [tmp_path / "nowhere", tmp_path / "own"], STATED)
    assert found.relations == {"train": 6800, "val": 234} and found.relation_classes == 310
    train = read_annotations(tmp_path / "annotations", "train").relations[["subject", "relation", "object"]]
    assert found.distinct_triplets == len(np.unique(train.to_numpy(), axis=0))
