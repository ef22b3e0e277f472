"""TripletBrowser: what each act of the user leaves on the page and in the selection."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.refusals import refused
from workbench.browsers.triplet_browser import TripletBrowser
from workbench.browsers.triplet_index import TripletIndex, write_triplet_index
from workbench.browsers.triplet_page import TripletSources
from workbench.errors import WorkbenchError
from workbench.language.triplets import read_triplets
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import REPLACEMENT, ROLES, listed, read_triplet_list


@pytest.fixture
def browser(browsed, tmp_path):
    triplets = read_triplets(browsed / "triplets")
    augmented = len(triplets.augmented)
    seeds = pd.DataFrame({"augmented_row": range(augmented), "subject_box": 3, "object_box": 10})
    return TripletBrowser(
        TripletIndex.open(browsed / "index"),
        TripletSources(RelationTables.open(browsed / "features" / "train"), triplets.augmented,
                       triplets.caption_embeddings, seeds=seeds),
        images=browsed / "images", lists_folder=tmp_path / "lists",
    )  # fmt: skip


def tiles(browser) -> list[str]:
    return re.findall(r'<div class="wb-tile".*?(?=<div class="wb-tile"|\Z)', browser.regions()["grid"], re.S)


def test_at_first_everything_is_there_the_most_frequent_in_front(browser):
    assert len(browser.matches) == len(browser.index) and browser.matches["count"].is_monotonic_decreasing
    assert len(tiles(browser)) == 12
    assert f"{browser.matches['count'].sum():,}</strong> training relations" in browser.regions()["status"]
    browser.handle("sort", "rarity")
    assert browser.matches["count"].is_monotonic_increasing


def test_typing_searches_and_starts_at_page_one(browser):
    browser.handle("page", "next")
    assert browser.state.page == 2
    browser.handle("search", "mug")
    assert browser.state.page == 1 and len(browser.matches)
    assert all(re.search(r"\bmug", " ".join(names)) for names in browser.matches[list(ROLES)].to_numpy())


def test_bands_toggle_and_their_counts_are_what_they_lead_to(browser):
    for role in ROLES:
        for band in ("many", "few"):
            chip = re.search(rf'data-value="{role}:{band}".*?wb-count">([\d,]+)', browser.regions()["toggles"], re.S)
            browser.handle("band", f"{role}:{band}")
            assert len(browser.matches) == int(chip[1].replace(",", ""))
            assert set(browser.matches[f"{role}_band"]) <= {band}
            browser.handle("band", f"{role}:{band}")
    assert len(browser.matches) == len(browser.index)


def test_a_clicked_bar_filters_and_a_second_click_lets_go(browser):
    browser.handle("chart", "object")
    browser.handle("bar", "2")
    assert set(browser.matches["object_class"]) <= set(browser.bars["object"]["classes"].iloc[2])
    browser.handle("class_object", str(browser.bars["object"]["classes"].iloc[0][0]))
    assert not len(browser.matches) and "No triplet matches" in browser.regions()["grid"]
    browser.handle("class_object", "")
    browser.handle("bar", "2")
    assert len(browser.matches) == len(browser.index)


def test_an_augmented_tile_tells_where_it_comes_from(browser):
    browser.set(origin="augmented", sort="similarity")
    augmented = browser.page.sources.augmented.iloc[browser.index.augmented[int(browser.matches.index[0])][0]]
    tile = tiles(browser)[0]
    old = browser.index.vocabulary.objects[augmented["replaced_class"]]
    assert f"<s>{old}</s>" in tile.replace("&lt;", "<")
    assert f"similarity {augmented['similarity']:.3f}: {augmented['path']}<" in tile  # the way through WordNet
    browser.handle("open", str(browser.matches.index[0]))
    detail = browser.regions()["detail"]
    assert "initialisation, subject" in detail and "initialisation, object" in detail and "Nearest triplets" in detail
    assert detail.count("data-image") >= 3


def test_nearest_triplets_open_by_a_click(browser):
    browser.handle("open", "0")
    other = re.search(r'wb-triplet-near" data-event="open" data-value="(\d+)"', browser.regions()["detail"])
    browser.handle("open", other[1])
    assert browser.state.opened == int(other[1])
    browser.handle("open", "")
    assert browser.regions()["detail"] == ""


def test_examples_of_a_triplet_are_paged(browser):
    place = int(browser.matches.index[0])
    browser.handle("open", str(place))
    seen = []
    for _ in range(-(-browser.index["count"][place] // 4)):
        seen += re.findall(r'data-image="(\w+)"', browser.regions()["detail"].split("<h4>")[0])
        browser.handle("examples", "next")
    assert len(seen) == browser.index["count"][place]


def test_tiles_show_the_region_alone_and_the_page_stays(browser):
    browser.handle("page", "next")
    whole = browser.regions()["grid"]
    browser.handle("crop", "")
    cut = browser.regions()["grid"]
    assert browser.state.page == 2 and whole.count("data-image") == cut.count("data-image") == 12
    assert not set(re.findall(r'data-image="(\w+)"', whole)) & set(re.findall(r'data-image="(\w+)"', cut))


def test_ticked_triplets_are_a_table_and_a_list_for_notebook_02(browser):
    places = [int(place) for place in browser.matches.index[[3, 0]]]
    for place in places:
        browser.handle("tick", str(place))
    assert browser.selection.index.tolist() == places
    browser.handle("list_name", "odd-ones")
    browser.handle("save", None)
    assert "exclude = &#34;odd-ones&#34;" in browser.regions()["picked"]
    written = read_triplet_list(browser.lists_folder / "odd-ones.csv", browser.index.vocabulary)
    np.testing.assert_array_equal(written[list(ROLES)], browser.index.triplets(np.array(places)))
    browser.handle("only_selected", "")
    assert sorted(browser.matches.index) == sorted(places)
    browser.handle("untick", "")
    assert browser.selection.empty and len(browser.matches) == len(browser.index)


def test_replacements_are_vetoed_at_a_click_and_senses_chosen(browser):
    rows, vocabulary = browser.page.sources.augmented, browser.index.vocabulary
    by = rows["subject"].where(rows["replaced"] == "subject", rows["object"])
    pair = (int(rows["replaced_class"][0]), int(by[0]))
    going = int(((rows["replaced_class"] == pair[0]) & (by == pair[1])).sum())
    browser.handle("class_replaced", str(pair[0]))
    browser.handle("class_by", str(pair[1]))
    assert browser.index["augmented"][browser.matches.index].sum() >= going and len(browser.matches) <= going
    browser.handle("open", str(browser.matches.index[0]))
    click = f'data-event="never" data-value="{pair[0]},{pair[1]}" aria-pressed="false">'
    assert re.search(rf"{click}[^<]*<span class=\"wb-count\">{going}<", browser.regions()["detail"])
    browser.handle("never", f"{pair[0]},{pair[1]}")
    assert f"<strong>{going}</strong> of {len(rows)} augmented rows go" in browser.regions()["picked"]
    browser.handle("meant", str(vocabulary.class_id("object", "mug")))
    browser.set(senses={"mug": "mug.n.04"})
    refused("no noun sense 'cup'", browser.set, senses={"mug": "cup"})
    browser.handle("save", None)
    assert "implausible-senses.csv" in browser.regions()["picked"] and browser.selection.empty
    assert browser.senses_file("implausible").read_text() == "name,synset\nmug,mug.n.04\n"
    assert listed(read_triplet_list(browser.lists_folder / "implausible.csv", vocabulary), REPLACEMENT).tolist() == [
        list(pair)
    ]
    browser.handle("never", f"{pair[0]},{pair[1]}")
    assert not browser.state.never


def test_augmented_rows_are_found_by_similarity_and_by_their_way_through_wordnet(browser):
    rows, menus = (
        browser.page.sources.augmented,
        browser.page.replacements.menus(browser.index.vocabulary.objects, browser.state),
    )
    for name in ("similarity", "via"):
        value = str(menus[name][0][0])
        browser.handle(name, value)
        similar = rows["similarity"].round(3) == float(value.split(",")[0]) if name == "similarity" else None
        fits = rows["path"].str.contains(value) if similar is None else similar
        wanted = {tuple(row) for row in rows.loc[fits, list(ROLES)].to_numpy().tolist()}
        assert wanted and {tuple(row) for row in browser.index.triplets(browser.matches.index).tolist()} >= wanted
        browser.handle("reset", "")
    refused("there is no", browser.set, places=[10**6])
    browser.set(places=[3, 1])
    assert sorted(browser.matches.index) == [1, 3] and "in the map" in browser.regions()["status"]


def test_menus_of_replacements_count_the_rows_that_the_other_filters_leave(browser):
    rows, objects = browser.page.replacements, browser.index.vocabulary.objects
    replaced = int(rows.replaced[0])
    browser.set(classes={"replaced": replaced})
    menus, here = rows.menus(objects, browser.state), rows.replaced == replaced
    assert {own for own, _ in menus["by"]} == set(rows.by[here].tolist())
    assert len(menus["replaced"]) == len(set(rows.replaced.tolist()))  # its own choice does not narrow a menu
    assert sum(int(text.rpartition("(")[2][:-1]) for _, text in menus["by"]) == here.sum()


def test_a_lasso_of_the_map_leaves_its_triplets_alone(browser):
    feature_map = SimpleNamespace(followers=[], state=SimpleNamespace(selected=None))
    browser.follow(feature_map)
    triplets = browser.index.triplets(np.array([5, 2, 2]))
    feature_map.followers[0](pd.DataFrame(triplets, columns=list(ROLES)))
    assert sorted(browser.matches.index) == [2, 5]
    browser.handle("places", "")
    assert len(browser.matches) == len(browser.index)


def test_a_page_or_all_matches_are_ticked_at_once(browser):
    browser.handle("tick_page", "")
    assert len(browser.selection) == 12
    browser.set(search="dog")
    browser.handle("tick_all", "")
    assert set(browser.matches.index) <= set(browser.selection.index)


def test_names_from_data_are_never_markup(browser):
    browser.set(search="script")
    page = "".join(browser.regions().values()) + browser.view()
    assert len(browser.matches) and "&lt;script&gt;" in page and "<script" not in page and "<img" not in page


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"colour": "red"}, "has no colour"), ({"page": "two"}, "expected int"), ({"sort": "beauty"}, "of frequency"),
        ({"origin": "moon"}, "origin 'moon'"), ({"bands": {"object": ["rare"]}}, "band 'rare'"),
        ({"bands": {"verb": ()}}, "role 'verb'"), ({"classes": {"object": "unicorn"}}, "no object class 'unicorn'"),
        ({"classes": {"subject": 99}}, "no subject class 99; expected 0 to 10"), ({"opened": 10**5}, "no triplet"),
        ({"bar": 999}, "no bar 999"),
    ],
)  # fmt: skip
def test_refused_values_say_what_is_known(browser, changes, told):
    state = browser.state
    refused(told, browser.set, **changes)
    assert browser.state is state


def test_refused_acts_leave_all_as_it_is(browser):
    for event, value in (("page", "12"), ("bar", "x"), ("open", "99999"), ("tick", "99999"), ("dance", "")):
        refused("expected", browser.handle, event, value)
    refused("no place -1", browser.select, [-1])
    browser.select([0])
    refused("letters, digits", browser.save_selection, "../evil")
    assert len(browser.matches) == len(browser.index) and len(browser.selection) == 1


def test_without_pictures_and_triplets_it_still_shows_boxes_and_says_so_once(browsed, tmp_path):
    write_triplet_index(tmp_path / "index", features=browsed / "features")
    tables = RelationTables.open(browsed / "features" / "train")
    bare = TripletBrowser(TripletIndex.open(tmp_path / "index"), TripletSources(tables))
    page = "".join(bare.regions().values())
    assert page.count("blank canvas") == 1 and "data-image" not in page and 'data-event="origin"' not in page
    assert 'value="similarity"' not in page and "Save for notebook" not in page


def test_an_index_of_other_relations_is_refused(browsed):
    tables = RelationTables.open(browsed / "features" / "train")
    fewer = RelationTables(tables.folder, tables.images, tables.boxes, tables.relations.iloc[:-1])
    with pytest.raises(WorkbenchError, match="Build the stage triplet_index again"):
        TripletBrowser(TripletIndex.open(browsed / "index"), TripletSources(fewer))
