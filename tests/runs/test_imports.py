"""The import that makes features complete."""

import json

import numpy as np
import pytest

from workbench.errors import WorkbenchError
from workbench.language.text_embedding import TextEmbeddings
from workbench.runs.data_commands import import_with_text
from workbench.stages import Run, import_stage


@pytest.fixture
def project(tmp_path):
    (tmp_path / "notebooks").mkdir()
    return tmp_path


def write_source(folder, rng, dimension=6, text=True):
    folder.mkdir()
    (folder / "objects.json").write_text(json.dumps(["cat", "dog", "mat"]))
    (folder / "predicates.json").write_text(json.dumps(["on", "near"]))
    if text:
        np.save(folder / "objects_clip_text.npy", rng.standard_normal((3, dimension)).astype(np.float32))
    for number, split in enumerate(("train", "val", "test")):
        ids = {"subject": 3, "relation": 2, "object": 3}
        np.savez(
            folder / f"{split}.npz", feature=rng.standard_normal((8, dimension)).astype(np.float16),
            image_id=np.arange(8) + 10 * number, subject_box=np.tile([0, 0, 5, 5], (8, 1)),
            object_box=np.tile([2, 2, 9, 9], (8, 1)), **{role: rng.integers(0, n, 8) for role, n in ids.items()},
        )  # fmt: skip
    return folder


def test_imported_features_have_a_text_vector_for_every_class(project):
    source = write_source(project / "source", np.random.default_rng(0))
    import_stage("mine", import_with_text, root=project, source=source)
    run = Run.open("r", data="mine", root=project)
    text = TextEmbeddings.open(run.text)
    assert text.objects.shape == (3, 6) and text.relations.shape == (2, 6) and text.learned_relations
    assert run.features.metrics["relations"] == {"train": 8, "val": 8, "test": 8}
    assert run.images is None


def test_imported_features_without_any_text_import_all_the_same(project):
    source = write_source(project / "source", np.random.default_rng(1), text=False)
    stage = import_stage("bare", import_with_text, root=project, source=source)
    assert "text" not in stage.metrics


def test_what_is_missing_is_named_with_its_command(project):
    with pytest.raises(WorkbenchError, match="workbench features import"):
        _ = Run.open("r", data="absent", root=project).features
