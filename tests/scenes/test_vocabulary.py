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


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], "empty list"),
        ({"man": 0}, "not a list"),
        (["man", 3], "entry 1: 3"),
        (["man", " "], "entry 1"),
        (["man", "hat", "man"], "'man' again"),
        (["man", "half \ud800"], "half of a surrogate pair"),
    ],
)
def test_bad_names_are_named(tmp_path, names, found):
    Vocabulary(("man",), ("on",)).write(tmp_path)
    (tmp_path / "objects.json").write_text(json.dumps(names))
    with pytest.raises(WorkbenchError, match=found) as raised:
        Vocabulary.read(tmp_path)
    assert "objects.json" in str(raised.value)


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(WorkbenchError, match=r"objects\.json"):
        Vocabulary.read(tmp_path)
