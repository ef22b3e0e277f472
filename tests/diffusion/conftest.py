from types import SimpleNamespace

import pytest

from tests.diffusion.cases import TINY
from tests.synthetic import write_features, write_text
from workbench.configuration import configured
from workbench.diffusion.config import DiffusionConfig
from workbench.diffusion.train import train_diffusion
from workbench.language.config import AugmentationConfig
from workbench.language.triplets import write_triplets
from workbench.regions.features import FeaturesFolder


@pytest.fixture(scope="session")
def small_features(tmp_path_factory):
    """Folders features, text and triplets of a small long-tailed data set with boxes."""
    return _stages(tmp_path_factory.mktemp("small"), "box")


@pytest.fixture(scope="session")
def union_features(tmp_path_factory):
    """The same for a data set that brings union features alone."""
    return _stages(tmp_path_factory.mktemp("unions"), "union")


@pytest.fixture(scope="session")
def stages(tmp_path_factory, small_features):
    """Folders of trained denoisers on the small store, "boxes" for unions alone and "generated" for all regions."""
    return trained(tmp_path_factory.mktemp("stages"), small_features, "boxes", "generated")


def trained(folder, inputs, *kinds):
    """Denoisers of a few steps, each in a folder of its kind."""
    for kind in kinds:
        values = {"network": TINY, "batch_size": 64, "entity_features": kind, "training": {"steps": 20}}
        train_diffusion(folder / kind, **inputs, config=configured(DiffusionConfig, values))
    return SimpleNamespace(folder=folder, inputs=inputs, store=FeaturesFolder(inputs["features"]).train)


def _stages(folder, entity_region):
    write_features(folder / "features", entity_region=entity_region)
    inputs = {"features": folder / "features", "text": write_text(folder / "text")}
    config = AugmentationConfig(medium_quota=40, few_quota=60, centroids=5, seed=1, senses="all")
    write_triplets(folder / "triplets", **inputs, config=config)
    return inputs | {"triplets": folder / "triplets"}
