import pytest

from tests.synthetic import write_features, write_text


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """The folders ``features`` and ``text`` of a small long-tailed data set, all that augmentation needs."""
    folder = tmp_path_factory.mktemp("language")
    write_features(folder / "features", rows={"train": 300})
    return {"features": folder / "features", "text": write_text(folder / "text")}
