"""The stage that samples for held-out triplets and measures the samples."""

import numpy as np
import pandas as pd
import pytest

from workbench.diffusion.fidelity import SAMPLE_SETS
from workbench.diffusion.fidelity_study import _known_rows, study_fidelity
from workbench.diffusion.training import train_diffusion
from workbench.errors import WorkbenchError


@pytest.fixture(scope="module")
def trained(small_features, tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffusion")
    train_diffusion(
        folder, **small_features, steps=4, batch_size=16, width=16, blocks=1, heads=2, token_width=8, seed=0
    )
    return folder


@pytest.mark.parametrize("start", ["random", "subject-object"])
def test_every_sample_set_is_measured_against_the_validation_split(small_features, trained, tmp_path, start):
    metrics = study_fidelity(
        tmp_path, **small_features, diffusion=trained, start=start, steps=2, most_rows=30, neighbours=3, seed=1
    )
    report = pd.read_parquet(tmp_path / "fidelity.parquet")
    assert tuple(report.index) == SAMPLE_SETS and set(SAMPLE_SETS) <= set(metrics)
    assert (report["rows"] == metrics["rows"]).all() and metrics["rows"] <= 30
    # Rows of real data are nearer to real data than what a model of four steps paints.
    assert report.loc["floor", "frechet_full"] < report.loc["generated", "frechet_full"]
    with np.load(tmp_path / "norms.npz") as norms:
        assert len(norms["real"]) == len(norms["generated"]) == metrics["rows"]


def test_held_out_rows_with_a_class_that_train_lacks_are_left_out():
    train = pd.DataFrame({"subject": [0, 1], "relation": [0, 0], "object": [1, 2]})
    held_out = pd.DataFrame({"subject": [0, 2, 1], "relation": [0, 0, 1], "object": [1, 1, 2]})
    assert _known_rows(train, held_out, 10, 0).tolist() == [0]


@pytest.mark.parametrize(("name", "value"), [("start", "randon"), ("seed_map", "afine")])
def test_a_misspelt_choice_is_refused_and_not_taken_for_another(small_features, trained, tmp_path, name, value):
    with pytest.raises(WorkbenchError, match=value):
        study_fidelity(tmp_path, **small_features, diffusion=trained, steps=2, seed=1, **{name: value})
