"""The PredictionBrowser through its state: filters, counts, order, pages, confusions, text that is data, bad input."""

import html
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.refusals import refused
from tests.synthetic import write_features
from workbench.browsers.prediction_browser import PredictionBrowser
from workbench.browsers.predictions import PLACES, ROLE_CHOICES, WHAT_CHOICES
from workbench.errors import WorkbenchError
from workbench.recognition.evaluation import TOP, prediction_table
from workbench.scenes.bands import BANDS, band_of_class
from workbench.scenes.vocabulary import ROLES, Vocabulary

from .conftest import write_images

TITLES = ("plain", "augmented", "third")
ROWS = 300
THINGS = tuple(f"thing {number}" for number in range(9))


def write_predictions(folder: Path, tables, vocabulary: Vocabulary, seed: int) -> Path:
    """Predictions of random scores, right in about half of the rows, in a random order of the rows."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(tables))
    truth = {role: tables.relations[role].to_numpy()[rows] for role in ROLES}
    scores = {}
    for role in ROLES:
        scores[role] = rng.random((len(rows), len(vocabulary.names(role)))).astype(np.float32)
        scores[role][np.arange(len(rows)), truth[role]] += 0.4
        scores[role] /= scores[role].sum(axis=1, keepdims=True)
    folder.mkdir(parents=True)
    prediction_table(rows, truth, scores).to_parquet(folder / "predictions.parquet", index=False)
    return folder


@pytest.fixture
def made(tmp_path):
    """A function (objects, relations, rows) -> tables, vocabulary, train counts and folders of three evaluations."""

    def make(objects=THINGS, relations=("on", "by", "in", "under"), rows=ROWS):
        vocabulary = Vocabulary(tuple(objects), tuple(relations))
        made = write_features(tmp_path / "features", vocabulary, {"train": 500, "test": rows}, dimension=1)
        tables = made.test
        folders = {title: write_predictions(tmp_path / title, tables, vocabulary, n) for n, title in enumerate(TITLES)}
        return SimpleNamespace(tables=tables, vocabulary=vocabulary, counts=made.counts, predictions=folders)

    return make


@pytest.fixture
def data(made):
    return made()


@pytest.fixture
def browser(data):
    return browser_of(data)


def read_predictions(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "predictions.parquet").set_index("row", drop=False).sort_index()


def browser_of(made: SimpleNamespace, **options) -> PredictionBrowser:
    options = {"images": None, "before": "plain", "after": "augmented"} | options
    return PredictionBrowser(made.tables, made.vocabulary, made.counts, made.predictions, **options)


def matching_rows(made: SimpleNamespace, state) -> set[int]:
    """The rows that match, from the tables themselves."""
    before, after = (read_predictions(made.predictions[title]) for title in (state.before, state.after))
    happened = pd.Series(False, before.index)
    for role in ROLES if state.role == "any" else [state.role]:
        was, now = before[f"{role}_correct"], after[f"{role}_correct"]
        moved = before[f"{role}_predicted"] != after[f"{role}_predicted"]
        happened |= {
            "all": was | ~was, "wrong": ~now, "fixed": ~was & now, "broken": was & ~now,
            "changed": ~was & ~now & moved, "wrong in both": ~was & ~now, "unchanged": ~moved,
        }[state.what]  # fmt: skip
    role = state.class_role
    band = pd.Series(band_of_class(made.counts.of_role(role)))[before[role]].to_numpy()
    happened &= np.isin(band, state.bands or BANDS)
    if state.true_class is not None:
        happened &= before[role] == state.true_class
    if state.cell is not None:
        taken = [table[f"{role}_predicted"] == state.cell[1] for table in (before, after)]
        happened &= (before[role] == state.cell[0]) & (taken[0] | taken[1])
    return set(happened.index[happened])


CHOICES = [
    {"role": role, "what": what, "bands": bands, "true_class": true_class, "cell": cell}
    for number, role in enumerate(ROLE_CHOICES)
    for what, bands, true_class, cell in [
        ("all", (), None, None), ("wrong", ("few",), None, None), ("fixed", ("many", "few"), number, None),
        ("broken", (), 0, (0, 1)), ("changed", ("many", "medium"), None, None),
        ("wrong in both", (), None, (1, 2)), ("unchanged", ("few",), 1, None),
    ]
]  # fmt: skip


def test_filters_against_the_tables(data, browser):
    for number, choice in enumerate(CHOICES):
        browser.set(before=TITLES[number % 2], after=TITLES[1 + number % 2], **choice)
        rows = browser.selection["row"].tolist()
        assert len(rows) == len(set(rows)) and set(rows) == matching_rows(data, browser.state), choice


@pytest.mark.parametrize("choice", CHOICES[::3], ids=str)
def test_the_counts_of_filters_are_what_a_click_leaves(browser, choice):
    browser.set(**choice)
    controls = browser.regions()["controls"]
    chips = re.findall(r'data-event="(\w+)" data-value="([\w ]+)".*?wb-count">(\d+)<', controls)
    told = {(event, value): int(count) for event, value, count in chips}
    assert len(told) == len(ROLE_CHOICES) + len(WHAT_CHOICES) + len(BANDS)
    for (event, value), count in told.items():
        browser.set(**choice)
        if event == "band":
            browser.set(bands=(value,))
        else:
            browser.handle(event, value)
        assert len(browser.selection) == count, (event, value)


def test_the_menu_counts_classes_and_starts_with_the_most_frequent(browser):
    browser.set(role="subject", what="wrong")
    options = re.findall(r'<option value="(\d+)".*?\((\d+)\)</option>', browser.regions()["classes"])
    counts = [int(count) for _, count in options]
    assert counts == sorted(counts, reverse=True) and sum(counts) == len(browser.selection)
    browser.handle("true_class", options[-1][0])
    assert len(browser.selection) == counts[-1] and set(browser.selection["subject"]) == {THINGS[int(options[-1][0])]}


def test_selection_agrees_with_the_tables_of_predictions(data, browser):
    browser.set(what="fixed", role="object")
    selection = browser.selection.set_index("row")
    for suffix, title in (("before", "plain"), ("after", "augmented")):
        table = read_predictions(data.predictions[title]).loc[selection.index]
        for role in ROLES:
            names = np.array(data.vocabulary.names(role))
            assert selection[role].tolist() == names[table[role]].tolist()
            assert selection[f"{role}_{suffix}"].tolist() == names[table[f"{role}_predicted"]].tolist()
            assert selection[f"{role}_correct_{suffix}"].tolist() == table[f"{role}_correct"].tolist()
    assert selection["object_correct_after"].all() and not selection["object_correct_before"].any()


def test_orders(data):
    browser = browser_of(data, seed=3)
    drawn = browser.selection["row"].tolist()
    assert sorted(drawn) == list(range(ROWS)) and drawn != sorted(drawn)
    for seed in (3, 4):
        assert (browser_of(data, seed=seed).selection["row"].tolist() == drawn) == (seed == 3)
    after = read_predictions(data.predictions["augmented"])
    for role, of_role in (("any", "relation"), ("object", "object")):
        browser.set(role=role, sort="surest")
        assert (np.diff(after.loc[browser.selection["row"], f"{of_role}_probability1"]) <= 0).all()
        browser.set(sort="rarest")
        true = after.loc[browser.selection["row"], of_role].to_numpy()
        counts = data.counts.of_role(of_role)[true]
        assert (np.diff(counts) >= 0).all()
        first = browser.selection["row"][counts == counts[0]].tolist()
        assert first == [row for row in drawn if row in set(first)]  # ties stay in the drawn order


def test_a_change_of_the_filters_starts_at_page_one(browser):
    assert f"of {ROWS} test rows" in browser.regions()["grid"]
    assert browser.regions()["grid"].count('class="wb-tile"') == 6
    browser.handle("page", "last")
    browser.handle("compact", "true")
    assert browser.state.page == ROWS / 6
    browser.handle("what", "fixed")
    assert browser.state.page == 1


def test_five_places_or_one(made):
    assert PLACES == TOP  # of an evaluation
    browser = browser_of(made(rows=1))
    assert browser.regions()["grid"].count("<li") == 2 * (5 + 4 + 5)  # there are four relations
    browser.set(compact=True)
    assert browser.regions()["grid"].count("<li") == 2 * 3


def test_tiles_say_what_changed_and_mark_the_true_class(browser):
    for role in ROLES:
        for what in ("fixed", "broken"):
            browser.set(role=role, what=what, compact=True)
            for tile in browser.regions()["grid"].split('class="wb-tile"')[1:]:
                block = tile.split(f'class="wb-prediction-role wb-prediction-{role}"')[1].split("<li")
                assert f'<strong class="wb-prediction-{what}">' in block[0]
                assert ["✓" in place.split("</li>")[0] for place in block[1:3]] == [what == "broken", what == "fixed"]


def test_an_empty_choice_says_what_to_do(data):
    browser = browser_of(data, after="plain")
    browser.set(what="fixed")
    assert browser.selection.empty
    regions = browser.regions()
    assert "No test row matches these filters." in regions["grid"] and "Clear all filters" in regions["classes"]
    browser.handle("clear", None)
    assert len(browser.selection) == ROWS and "Clear all filters" not in browser.regions()["classes"]
    assert "Nothing was fixed or broken" in browser.view()


def test_a_cell_of_the_confusions_filters_and_is_removed_again(browser):
    browser.handle("role", "subject")
    value, before, after = re.search(r'data-value="(\d+,\d+)" aria-pressed="false".*?>(?:✓ )?(\d+) → (\d+)<',
                                     browser.regions()["confusion"]).groups()  # fmt: skip
    browser.handle("cell", value)
    true, given = (THINGS[int(one)] for one in value.split(","))
    selection = browser.selection
    assert set(selection["subject"]) == {true} and (selection["subject_before"] == given).sum() == int(before)
    assert (selection["subject_after"] == given).sum() == int(after)
    assert ((selection["subject_before"] == given) | (selection["subject_after"] == given)).all()
    regions = browser.regions()
    told = (
        f"{before} of [0-9]+ rows before, {after} after, {len(selection)} before or after ✕"  # why the numbers differ
    )
    assert (
        re.search(told, regions["classes"])
        and "before or after ✕" in regions["classes"]
        and "Who takes the" in regions["confusion"]
    )
    browser.handle("cell", value)  # a second click, or the filter's own button
    assert browser.state.cell is None and len(browser.selection) == ROWS
    browser.set(cell=(true, given))
    browser.handle("cell", "")
    assert browser.state.cell is None


@pytest.mark.parametrize("classes", [3, 12])
def test_confusions_are_scikit_learns(made, classes):
    from sklearn.metrics import confusion_matrix

    data = made(objects=[f"thing {number}" for number in range(classes)])
    browser = browser_of(data)
    browser.set(role="object")
    tables = [read_predictions(data.predictions[title]) for title in TITLES[:2]]
    ends = [(table["object"], table["object_predicted"]) for table in tables]
    before, after = (confusion_matrix(*pair, labels=range(classes)) for pair in ends)
    band, rows = band_of_class(data.counts.objects), before.sum(axis=1)
    tail_first = sorted(np.flatnonzero(rows), key=lambda own: (-BANDS.index(band[own]), -rows[own], own))
    for page in range(2):
        text = browser.regions()["confusion"]
        shown = [int(one) for one in re.findall(r'data-event="true_class" data-value="(\d+)"', text)]
        assert shown == tail_first[10 * page :][:10] or page * 10 >= classes
        taken = (before + after)[shown].sum(axis=0)
        largest = [f"thing {given}" for given in np.argsort(-taken, kind="stable")[:8] if taken[given]]
        assert re.findall(r'<th class="wb-number">(thing \d+)</th>', text) == largest
        for true, line in zip(shown, text.split("</tbody>")[0].split("<tr>")[2:], strict=True):
            assert int(re.search(r'wb-number">(\d+)</td>', line)[1]) == before[true].sum()
            cells = re.findall(r'data-value="\d+,(\d+)".*?>(?:✓ )?(\d+) → (\d+)<', line)
            counted = [(given, str(before[true, int(given)]), str(after[true, int(given)])) for given, _, _ in cells]
            assert cells and cells == counted
            others = [int(number) for number in re.search(r"(\d+) → (\d+)</td></tr>", line).groups()]
            known = [sum(int(cell[side]) for cell in cells) for side in (1, 2)]
            assert [a + b for a, b in zip(known, others, strict=True)] == [before[true].sum(), after[true].sum()]
        browser.handle("confusion_page", "next")


def test_confusions_follow_band_and_class_and_are_paged(made):
    data = made(objects=[f"thing {number}" for number in range(25)])
    browser = browser_of(data)
    browser.set(role="object", bands=["few"])
    band, present = band_of_class(data.counts.objects), set(data.tables.relations["object"])
    ids: list[str] = []
    for _ in range(2):
        ids += re.findall(r'data-event="true_class" data-value="(\d+)"', browser.regions()["confusion"])
        browser.handle("confusion_page", "next")
    assert sorted(map(int, ids)) == sorted(number for number in present if band[number] == "few") and len(ids) > 10
    browser.handle("cell", "24,2")
    assert browser.state.confusion_page == 2
    browser.set(true_class=int(ids[0]))
    assert browser.state.confusion_page == 1
    shown = re.findall(r'data-event="true_class" data-value="(\d+)"', browser.regions()["confusion"])
    assert shown == ids[:1]


def test_another_role_or_class_drops_what_no_longer_fits(browser):
    browser.set(true_class="by", cell=("by", "on"))
    browser.handle("role", "relation")  # of "any", classes are the relation's
    assert (browser.state.true_class, browser.state.cell) == (1, (1, 0))
    browser.handle("true_class", "2")
    assert (browser.state.true_class, browser.state.cell) == (2, None)
    browser.handle("role", "object")
    assert browser.state.true_class is None
    browser.handle("band", "few")
    browser.handle("band", "many")
    assert browser.state.bands == ("many", "few")
    browser.handle("band", "few")
    assert browser.state.bands == ("many",)


def test_names_are_data(made):
    names = ["<script>alert(1)</script>", "a\"b'c&", "</select>", "{{ 7 * 7 }}"]
    browser = browser_of(made(objects=names, relations=["<img src=x onerror=alert(1)>", "'\"><b>"]))
    browser.set(role="subject", true_class=names[0], cell=(names[0], names[1]))
    page = "".join(browser.regions().values()) + browser.view()
    assert not re.search(r"""<script>|<img|<b>|a"b| 49 """, page) and "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_twin_shows_as_many_fixed_as_broken_rows(data, browser):
    page = browser.view()
    assert "What happened from plain to augmented" in page and 'data-event="' not in page
    assert "boxes on a blank canvas" in page
    tiles = page.split('class="wb-tile"')[1:]
    outcomes = [set(re.findall(r'<strong class="wb-prediction-(\w+)', tile)) & {"fixed", "broken"} for tile in tiles]
    assert outcomes == 3 * [{"fixed"}] + 3 * [{"broken"}]
    captions = {html.escape(data.vocabulary.caption(*row)) for row in data.tables.relations[list(ROLES)].to_numpy()}
    assert {" ".join(re.findall(r'wb-prediction-name">([^<]+)</span>', tile)) for tile in tiles} <= captions
    assert browser_of(data).view() == page != browser_of(data, seed=1).view()
    browser.set(role="relation", what="broken", true_class="on")
    assert "relation role: broken; relation: on" in browser.view()


def test_the_pictures_are_the_rows_of_the_twin_with_one_class_each(browser):
    twin, before, pictures = browser.view(), browser.state, browser.pictures()
    captions = r'<p class="wb-prediction-caption">.*?</p>'
    assert re.findall(captions, pictures) == re.findall(captions, twin) and len(re.findall(captions, pictures)) == 6
    assert 0 < pictures.count("<li") < twin.count("<li") and "Confusions" not in pictures and browser.state == before


def test_pictures_come_by_token_and_lie_in_the_twin(made, tmp_path):
    data = made(rows=8)
    browser = browser_of(data, images=write_images(tmp_path / "images", data.tables.images["file_name"]))
    grid, twin = browser.regions()["grid"], browser.view()
    assert grid.count("data-image=") == 6 and "base64" not in grid and "blank canvas" not in grid
    assert twin.count("data:image/jpeg;base64,") == twin.count('class="wb-tile"') > 0


def test_the_table_of_changes_is_the_one_of_changes(data, browser):
    before, after = (read_predictions(data.predictions[title]) for title in TITLES[:2])
    rows = browser.regions()["counts"].split("<tbody>")[1].split("<tr>")[1:]
    for role, row in zip(ROLES, rows, strict=True):
        was, now = before[f"{role}_correct"], after[f"{role}_correct"]
        moved = before[f"{role}_predicted"] != after[f"{role}_predicted"]
        counted = (was, now, ~was & now, was & ~now, moved & ~was & ~now, ~was & ~now, ~moved)
        assert [int(number) for number in re.findall(r">(\d+)</td>", row)] == [mask.sum() for mask in counted]


@pytest.mark.parametrize(("changed", "message"), [
    ({"colour": 1}, "has no colour"), ({"role": "verb"}, "role 'verb' is not known"),
    ({"what": "lost"}, "what 'lost' is not known"), ({"bands": ["tail"]}, "band 'tail' is not known"),
    ({"after": "absent"}, "after 'absent' is not known; expected one of plain, augmented, third"),
    ({"true_class": "beside"}, "no relation class 'beside'"), ({"compact": "yes"}, "expected bool"),
    ({"true_class": 4}, "no relation class 4; expected 0 to 3"), ({"cell": (0,)}, "expected a true class and"),
    ({"page": "two"}, "page 'two' is not known; expected int"),
])  # fmt: skip
def test_unknown_choices_change_nothing(browser, changed, message):
    state = browser.state
    refused(re.escape(message), browser.set, **changed)
    assert browser.state is state


@pytest.mark.parametrize(("event", "value"), [("explode", ""), ("cell", "1"), ("true_class", "x"), ("role", None),
                                              ("page", "sideways")])  # fmt: skip
def test_unknown_events_are_refused(browser, event, value):
    refused("is not known", browser.handle, event, value)


@pytest.mark.parametrize(("change", "message"), [
    (lambda table: table.assign(row=table["row"] + 5), "augmented: predictions of row .*has rows 0 to"),
    (lambda table: table.assign(row=0), "augmented: predictions of row 0, expected each row once"),
    (lambda table: table.assign(subject_top1=99), "augmented: row 0 .* taken for class 99; expected .* from 0 to 8"),
    (lambda table: table.assign(relation=(table["relation"] + 1) % 4), "augmented: row 0 has the true relation class"),
    (lambda table: table.assign(object=-1), "augmented: row 0 has the true object class -1"),
    (lambda table: table[table["row"] != 7], "plain and .*augmented predict different rows.*row 7 is in one alone"),
    (lambda table: table[:0], "augmented: no predictions"),
    (lambda table: table.drop(columns="object_top1"), r"augmented.predictions\.parquet: not a readable table"),
    (None, r"augmented.predictions\.parquet: the file is missing"),
])  # fmt: skip
def test_predictions_of_another_split_or_vocabulary_are_refused(made, change, message):
    data = made(rows=20)
    path = data.predictions["augmented"] / "predictions.parquet"
    table = pd.read_parquet(path)
    path.unlink()
    if change:
        change(table).to_parquet(path, index=False)
    refused(message, browser_of, data)
    browser = browser_of(data, after="third")
    with pytest.raises(WorkbenchError):
        browser.handle("after", "augmented")
    assert browser.state.after == "third" and browser.regions()
