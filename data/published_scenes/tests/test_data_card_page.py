"""The page of a data card: all numbers, nothing from outside."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from annotated_scenes.annotations import Annotations
from published_scenes.data_card import data_card
from published_scenes.data_card_page import write_data_card
from tests.synthetic import long_tailed, split_writer
from workbench.scenes.vocabulary import SPLITS, Vocabulary


def made_card(folder, seed, classes):
    vocabulary = Vocabulary(tuple(f"o{k}" for k in range(classes)), tuple(f"r{k}" for k in range(classes)))
    annotations = {}
    for place, split in enumerate(SPLITS):
        relations = long_tailed(40, vocabulary, seed=seed + place)
        tables = split_writer(folder / split, relations, seed=seed).tables
        annotations[split] = Annotations(split, vocabulary, **tables, image_folder=folder)
    return data_card(annotations, vocabulary)


@pytest.mark.parametrize(("seed", "classes"), [(0, 1), (1, 4), (2, 300)])
def test_the_page_holds_the_numbers_and_loads_nothing(tmp_path, seed, classes):
    card = made_card(tmp_path, seed, classes)
    text = write_data_card(tmp_path / "card.html", "Data", card, "Mend it.").read_text()
    assert not re.search(r"https?://", text) and "prefers-color-scheme: dark" in text and "Mend it." in text
    rows = re.findall(r"<tr><td>(.*?)</td>(.*?)</tr>", text)
    cells = {name: re.findall(r"<td[^>]*>(.*?)</td>", rest) for name, rest in rows}
    assert cells["relations that repeat another one"] == [
        str(card["splits"][split]["duplicate_relations"]) for split in SPLITS
    ]
    assert cells["subject"][0] == str(len(card["absent"]["subject"]["without_train_rows"]))
    # Sorted keys, as a file has them, change nothing.
    stored = json.loads(json.dumps(card, sort_keys=True))
    assert write_data_card(tmp_path / "again.html", "Data", stored, "Mend it.").read_text() == text


@pytest.mark.parametrize(("seed", "classes"), [(0, 1), (1, 4), (2, 300)])
def test_the_curves_fall_and_stay_inside(tmp_path, seed, classes):
    card = made_card(tmp_path, seed, classes)
    text = write_data_card(tmp_path / "card.html", "Data", card, "").read_text()
    drawings = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(drawings) == 2
    for kind, drawing in zip(("objects", "relations"), drawings, strict=True):
        root = ElementTree.fromstring(drawing)
        width, height = (float(number) for number in root.get("viewBox").split()[2:])
        points = {p for line in root.findall("polyline") for p in line.get("points").split()}
        xy = np.array(sorted(tuple(map(float, p.split(","))) for p in points))
        present = sum(count > 0 for count in card["classes"][kind]["counts_by_rank"])
        assert len(xy) <= present and (xy >= 0).all() and (xy <= [width, height]).all()
        # A lower point is a rarer class: y grows downwards.
        assert (np.diff(xy[:, 1]) >= 0).all()
