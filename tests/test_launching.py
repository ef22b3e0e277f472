"""Stages that several processes build together."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from workbench.diffusion.sampling import generate_features
from workbench.errors import WorkbenchError
from workbench.launching import PROCESSES_VARIABLE, as_json, build_in_processes, from_json, shared_by_processes
from workbench.recognition.training import train_recogniser
from workbench.runs.importing import import_with_text
from workbench.stages import Run
from workbench.stopping import Stopped


def test_parameters_survive_the_way_to_another_process():
    given = {"features": Path("/a/b"), "rates": [1e-5, 3e-4], "sizes": {"width": 8, "at": Path("c")}, "loss": "ce"}
    assert from_json(as_json(given)) == given


def test_only_stages_that_can_share_their_work_are_launched(monkeypatch):
    monkeypatch.delenv(PROCESSES_VARIABLE, raising=False)
    assert shared_by_processes(generate_features) is generate_features
    monkeypatch.setenv(PROCESSES_VARIABLE, "2")
    assert shared_by_processes(generate_features) is not generate_features
    assert shared_by_processes(partial(generate_features, callback=print)) is not generate_features
    assert shared_by_processes(np.sum) is np.sum
    monkeypatch.setenv("WORLD_SIZE", "2")  # one of several processes already
    assert shared_by_processes(generate_features) is generate_features


@pytest.mark.parametrize("text", ["0", "two", "-1"])
def test_a_wrong_number_of_processes_is_refused(monkeypatch, text):
    monkeypatch.setenv(PROCESSES_VARIABLE, text)
    with pytest.raises(WorkbenchError, match=PROCESSES_VARIABLE):
        shared_by_processes(generate_features)


def test_an_error_of_the_processes_arrives_with_its_own_text(tmp_path):
    missing = tmp_path / "nowhere"
    parameters = dict.fromkeys(("features", "text", "triplets", "diffusion"), missing)
    with pytest.raises(WorkbenchError, match="nowhere") as error:
        build_in_processes("workbench.diffusion.sampling:generate_features", tmp_path / "out", parameters, 2)
    assert not isinstance(error.value, Stopped)


def features_folder(folder: Path) -> Path:
    """Random features of 40 relations a split, imported, with text vectors of the names."""
    random, source = np.random.default_rng(0), folder / "source"
    source.mkdir()
    (source / "objects.json").write_text('["man", "dog", "hat"]')
    (source / "predicates.json").write_text('["on", "near"]')
    np.save(source / "objects_clip_text.npy", random.standard_normal((3, 16)).astype(np.float32))
    np.save(source / "predicates_clip_text.npy", random.standard_normal((2, 16)).astype(np.float32))
    for place, split in enumerate(("train", "val", "test")):
        corners = random.integers(0, 100, (2, 40, 2))
        subject_box, object_box = (np.concatenate([corner, corner + 20], axis=1) for corner in corners)
        classes = {"subject": random.integers(0, 3, 40), "object": random.integers(0, 3, 40)}
        features = random.standard_normal((40, 8)).astype(np.float16)
        np.savez(
            source / f"{split}.npz", feature=features, image_id=100 * place + np.arange(40) // 4,
            relation=random.integers(0, 2, 40), subject_box=subject_box, object_box=object_box, **classes,
        )  # fmt: skip
    import_with_text(folder / "features", source=source)
    return folder / "features"


def test_a_stage_built_by_two_processes_is_that_of_one(tmp_path, monkeypatch):
    features = features_folder(tmp_path)
    given = {"features": features, "text": features / "text", "hidden": 16, "epochs": 2, "batch_size": 16}
    alone, shared = (Run.open(name, root=tmp_path) for name in ("alone", "shared"))
    monkeypatch.delenv(PROCESSES_VARIABLE, raising=False)
    one = alone.stage("recogniser", train_recogniser, **given, precision="float32")
    monkeypatch.setenv(PROCESSES_VARIABLE, "2")
    two = shared.stage("recogniser", partial(train_recogniser, on_epoch=print), **given, precision="float32")
    assert one.identity == two.identity and two.metrics["epochs"] == 2
    weights, others = (load_file(stage / "recogniser.safetensors") for stage in (one, two))
    for name, weight in weights.items():
        np.testing.assert_allclose(others[name], weight, rtol=1e-3, atol=1e-5)
