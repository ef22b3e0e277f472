from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workbench.errors import WorkbenchError
from workbench.regions.features import GeneratedFeatures, finish_generated

BOXES = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
STORE = SimpleNamespace(
    dimension=5,
    encoder="vgg",
    support="signed",
    entity_region="box",
    boxes=range(12),
    box=lambda rows, dtype: BOXES[rows],
)


def write(folder, n=10, regions=("union",)):
    draw = np.random.default_rng(1)
    features = {region: draw.standard_normal((n, 5)).astype(np.float32) for region in regions}
    for region in regions:
        np.save(folder / f"{region}_features.npy", features[region].astype(np.float16))
    table = pd.DataFrame({"subject": 0, "relation": 1, "object": 2, "subject_box": np.arange(n), "object_box": 11})
    finish_generated(folder, table, STORE, "seed" if len(regions) == 1 else "generated")
    return features


@pytest.mark.parametrize("n", [1, 4, 10])
@pytest.mark.parametrize("regions", [("union",), ("union", "subject", "object")])
def test_what_is_written_is_read_by_row(tmp_path, n, regions):
    features = write(tmp_path, n, regions)
    generated = GeneratedFeatures.open(tmp_path, STORE)
    rows = np.random.default_rng(2).integers(0, n, 7)
    assert len(generated) == n and generated.dimension == 5
    np.testing.assert_allclose(generated.union(rows), features["union"][rows], rtol=1e-3, atol=1e-3)
    subject = features["subject"][rows] if len(regions) > 1 else BOXES[rows]
    np.testing.assert_allclose(generated.subject(rows), subject, rtol=1e-3, atol=1e-3)
    if len(regions) == 1:
        np.testing.assert_array_equal(generated.object(rows), np.tile(BOXES[11], (7, 1)))


@pytest.mark.parametrize(
    ("name", "value"), [("dimension", 6), ("encoder", "clip"), ("support", "rectified"), ("boxes", range(11))]
)
def test_a_store_that_does_not_fit_is_refused(tmp_path, name, value):
    write(tmp_path)
    with pytest.raises(WorkbenchError, match=f"with {name} "):
        GeneratedFeatures.open(tmp_path, SimpleNamespace(**(vars(STORE) | {name: value})))


def test_damaged_folders_are_named(tmp_path):
    with pytest.raises(WorkbenchError, match="no finished generated features"):
        GeneratedFeatures.open(tmp_path, STORE)
    write(tmp_path)
    array = tmp_path / "union_features.npy"
    content = array.read_bytes()
    array.write_bytes(content[:-20])
    with pytest.raises(WorkbenchError, match=r"union_features.npy.*cut short"):
        GeneratedFeatures.open(tmp_path, STORE)
    np.save(array, np.zeros((9, 5), dtype=np.float16))
    with pytest.raises(WorkbenchError, match="expected float16"):
        GeneratedFeatures.open(tmp_path, STORE)
    (tmp_path / "generated.parquet").write_bytes(b"PAR1")
    with pytest.raises(WorkbenchError, match="not a readable table"):
        GeneratedFeatures.open(tmp_path, STORE)
