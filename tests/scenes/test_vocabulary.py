import json

import pytest

from workbench.errors import WorkbenchError
from workbench.scenes.vocabulary import Vocabulary


def test_write_and_read_back(tmp_path):
    vocabulary = Vocabulary(("café", "t-shirt"), ("to the left of",))
    vocabulary.write(tmp_path)
    assert Vocabulary.read(tmp_path) == vocabulary


def test_caption_and_names_of_roles():
    vocabulary = Vocabulary(("man", "hat"), ("wearing",))
    assert vocabulary.caption(0, 0, 1) == "man wearing hat"
    assert vocabulary.names("subject") == vocabulary.names("object") == ("man", "hat")
    assert vocabulary.names("relation") == ("wearing",)


@pytest.mark.parametrize("names", [[], {"man": 0}, ["man", 3], ["man", "hat", "man"], None])
def test_a_damaged_list_is_named(tmp_path, names):
    Vocabulary(("man",), ("on",)).write(tmp_path)
    (tmp_path / "objects.json").write_text(json.dumps(names)) if names is not None else (
        tmp_path / "objects.json"
    ).unlink()
    with pytest.raises(WorkbenchError, match=r"objects\.json"):
        Vocabulary.read(tmp_path)
