import numpy as np
import pytest
import torch

from workbench.errors import WorkbenchError
from workbench.regions.encoder import RegionEncoder
from workbench.regions.pictures import prepare, scaled_boxes
from workbench.regions.region_features import feature_precision, region_features


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return RegionEncoder(1 / 64, short_side=48, longest_side=96).eval()


def random_boxes(random, count):
    low = random.uniform(0, 20, (count, 2))
    return np.concatenate([low, low + random.uniform(1, 20, (count, 2))], axis=1).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_of_mixed_shapes_gives_what_each_picture_gives_alone(encoder, seed):
    random = np.random.default_rng(seed)
    shapes = [[(30, 40), (60, 80), (48, 48), (24, 32), (90, 30)][place] for place in random.integers(0, 5, 7)]
    pictures = [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    boxes = [random_boxes(random, count) for count in random.integers(1, 6, 7)]
    for picture, xyxy, found in zip(pictures, boxes, region_features(encoder, pictures, boxes), strict=True):
        image, scale = prepare(picture[None], encoder.config)
        with torch.no_grad():
            expected = encoder(image, [scaled_boxes(xyxy, scale)]).numpy()
        assert found.dtype == np.float32 and found.shape == (len(xyxy), 64)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_equal_boxes_of_a_picture_are_computed_once(encoder, monkeypatch):
    random, computed = np.random.default_rng(0), []
    boxes = [random_boxes(random, 3)[[0, 1, 0, 2, 2, 0]], random_boxes(random, 2)]
    heads = encoder.heads
    monkeypatch.setitem(encoder._modules, "heads", lambda pooled: computed.append(len(pooled)) or heads(pooled))
    found = region_features(encoder, random.integers(0, 256, (2, 48, 48, 3), dtype=np.uint8), boxes)
    assert computed == [5]
    for one, other in ((0, 2), (0, 5), (3, 4)):
        assert np.array_equal(found[0][one], found[0][other])
    assert len(found[0]) == 6 and not np.array_equal(found[0][0], found[0][1])


def test_precisions():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert (feature_precision(cpu), feature_precision(gpu)) == ("float32", "bfloat16")
    for name in ("float32", "bfloat16", "float16"):
        assert feature_precision(cpu, name) == feature_precision(gpu, name) == name
    with pytest.raises(WorkbenchError, match="'half'"):
        feature_precision(cpu, "half")
