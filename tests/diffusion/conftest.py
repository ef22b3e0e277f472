import pytest

from tests.synthetic import write_features, write_text
from workbench.language.config import AugmentationConfig
from workbench.language.triplets import write_triplets


@pytest.fixture(scope="session")
def small_features(tmp_path_factory):
    """Folders features, text and triplets of a small long-tailed data set with boxes."""
    return _stages(tmp_path_factory.mktemp("small"), "box")


@pytest.fixture(scope="session")
def union_features(tmp_path_factory):
    """The same for a data set that brings union features alone."""
    return _stages(tmp_path_factory.mktemp("unions"), "union")


def _stages(folder, entity_region):
    write_features(folder / "features", entity_region=entity_region)
    inputs = {"features": folder / "features", "text": write_text(folder / "text")}
    config = AugmentationConfig(medium_quota=40, few_quota=60, centroids=5, seed=1)
    write_triplets(folder / "triplets", **inputs, config=config)
    return inputs | {"triplets": folder / "triplets"}
