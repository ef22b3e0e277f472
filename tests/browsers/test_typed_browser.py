"""Typed triplets: what is suggested, sampled and refused, and what the page says beside the pictures."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest

from tests.refusals import refused
from workbench.browsers.typed_browser import NEIGHBOURS, TypedBrowser
from workbench.diffusion.fidelity import RELATIONS
from workbench.regions.features import FeaturesFolder
from workbench.regions.nearest import NearestRows, nearest_rows, write_nearest
from workbench.scenes.vocabulary import ROLES
from workbench.stages import Run

from .conftest import DIMENSION, OBJECTS, REAL, VOCABULARY
from .conftest import RELATIONS as RELATION_NAMES


@pytest.fixture(scope="module")
def found(browsed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nearest")
    write_nearest(folder, features=browsed / "features")
    return NearestRows(FeaturesFolder(browsed / "features").train, folder)


@pytest.fixture
def browser(browsed, found):
    """The browser on a denoiser that draws noise; ``.asked`` lists what it was asked for."""
    asked = []

    def sample(triplets):
        asked.append((triplets[0], len(triplets)))
        return np.random.default_rng(triplets[0]).standard_normal((len(triplets), DIMENSION)).astype(np.float32)

    made = TypedBrowser(FeaturesFolder(browsed / "features"), found, sample, images=browsed / "images")
    made.asked = asked
    return made


def test_words_are_completed_by_frequency_and_misspelt_ones_get_near_spellings(browser):
    counts = browser._counts
    by_count = [OBJECTS[own] for own in np.argsort(-counts.objects, kind="stable")]
    assert browser.suggestions("") == by_count[:12]
    assert browser.suggestions("c") == [name for name in by_count if name.casefold().startswith("c")]
    assert browser.suggestions("dog next") == ["dog next to"]
    assert browser.suggestions("DOG next to ho") == ["dog next to horse"]
    assert browser.suggestions("mgu on plate") == ["mug on plate"]
    assert browser.suggestions("dog on plat ")[0] == "dog on plate" and browser.suggestions("qqq") == []
    assert "No class has a name like this" in (browser.handle("words", "qqq") or browser.regions()["ask"])


def test_a_sampled_triplet_shows_the_nearest_of_all_rows_with_distance_and_names(browser):
    browser.handle("words", "dog on plate")
    assert browser.asked == [] and "No triplet is typed yet" in browser.regions()["answer"]
    browser.handle("sample", "")
    triplet = (OBJECTS.index("dog"), 0, OBJECTS.index("plate"))
    assert browser.asked == [(triplet, 4)]
    shown, features = browser.regions()["answer"], browser._sample([triplet] * 4)
    expected = [nearest_rows(browser._nearest.store, np.arange(REAL), feature, NEIGHBOURS)[0] for feature in features]
    assert re.findall(r"train row (\d+)", shown) == [str(row) for rows in expected for row in rows]
    table = browser.shown()
    assert table["row"].tolist() == np.concatenate(expected).tolist() and table["sample"].value_counts().eq(5).all()
    assert shown.count("<image ") == 4 * NEIGHBOURS and "Not measured by relation" in shown
    browser.handle("words", "dog on p")
    assert browser.regions()["answer"] == shown and len(browser.asked) == 2  # typing samples nothing
    browser.handle("samples", "2")
    assert browser.asked[-1] == (triplet, 2) and browser.regions()["answer"].count("<image ") == 2 * NEIGHBOURS
    assert 'data-region="ask"' in browser.view() and "Sample 2" in browser.view()


def test_counts_in_train_and_the_warning_where_no_two_classes_stand_together(browser):
    relations = browser._nearest.store.relations[list(ROLES)]
    pairs = (ROLES[:2], ROLES[1:], ROLES[::2])
    together = {some: set(map(tuple, relations[list(some)].to_numpy())) for some in pairs}
    for triplet in relations.iloc[[0, 7]].to_numpy():
        browser.set(triplet=triplet.tolist())
        same, shown = relations == triplet, browser.regions()["answer"]
        expected = [same[list(some)].all(axis=1).sum() for some in (ROLES, *together)]
        told = re.findall(r'<tr><td>[^<]*</td><td class="wb-number">(\d+)</td></tr>', shown)
        assert list(map(int, told)) == expected and "Far from" not in shown
    everything = [dict(zip(ROLES, ids, strict=True)) for ids in product(range(11), range(5), range(11))]
    far = next(one for one in everything if not any(tuple(one[r] for r in some) in together[some] for some in together))
    browser.set(triplet=tuple(far.values()))
    assert "Far from training" in browser.regions()["answer"]


def test_unknown_words_are_refused_and_what_was_shown_stays(browser):
    browser.set(triplet="dog on plate")
    before = browser.state
    refused("no subject class 'dgo' among 11. The nearest name is 'dog'", browser.handle, "sample", "dgo on plate")
    refused("is no triplet", browser.handle, "sample", "dog")
    refused("number of samples 3", browser.set, samples=3)
    assert browser.state == before


def test_what_goes_wrong_while_sampling_leaves_the_page_usable(browser):
    told = []
    browser._panels = (type("Panel", (), {"refresh": lambda self: told.append(browser.regions()["answer"])})(),)
    browser._sample = lambda triplets: 1 / 0
    with pytest.raises(ZeroDivisionError):
        browser.handle("sample", "dog on plate")
    assert "Sampling 4 and looking through 400 real rows" in told[0] and browser.state.triplet == ()
    assert "No triplet is typed yet" in browser.regions()["answer"]


def test_fidelity_of_the_relation_stands_beside_the_pictures(browsed, found, tmp_path):
    table = pd.DataFrame({"samples": ["generated", "floor", "floor"], "relation": [0, 0, 1], "rows": [12, 12, 3],
                          "recognised": [0.25, 0.5, 1.0],
                          "spread": [0.7, 0.9, 1.0], "overall": [0.31, 0.62, 0.62]})  # fmt: skip
    table.to_parquet(tmp_path / RELATIONS)

    def sample(triplets):
        return np.zeros((len(triplets), DIMENSION), dtype=np.float32)

    browser = TypedBrowser(FeaturesFolder(browsed / "features"), found, sample, fidelity=tmp_path)
    browser.set(triplet="dog on plate")
    shown = browser.view()
    assert all(text in shown for text in ("25.0 %", "50.0 %", "31.0 %", "62.0 %", "Of so few rows"))
    browser.set(triplet=(0, 3, 1))
    assert "No held-out row has this relation" in browser.view()


def test_hostile_names_are_escaped(browser):
    browser.set(triplet=(OBJECTS.index("<script>alert(1)</script>"), 3, OBJECTS.index("A & B")))
    page = browser.view()
    assert RELATION_NAMES[3] not in page and "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "A &amp; B" in page
    assert "<script>" not in browser.regions()["ask"] and VOCABULARY.relations[3] not in browser.regions()["ask"]


def test_a_run_without_a_denoiser_says_what_makes_one(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    refused("has no diffusion/default", TypedBrowser.of_run, Run.open("toy"))
