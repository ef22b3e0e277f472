"""The map of real and generated features: its stage, its neighbours, and the browser through state and callbacks."""

import html
import json
import re
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from tests.refusals import refused
from tests.synthetic import long_tailed, write_split
from workbench.browsers import map_browser, map_stage
from workbench.browsers.map_browser import FIDELITY_METRICS
from workbench.browsers.map_points import BY_RIGHT, COLOURS, MOST_CLASSES, MOST_GROUPS, inside_lasso, lasso_corners
from workbench.browsers.map_stage import joint_layout, real_components
from workbench.browsers.panel import Panel
from workbench.errors import WorkbenchError
from workbench.regions.features import FeaturesFolder, GeneratedFeatures
from workbench.regions.nearest import nearest_rows
from workbench.scenes.bands import band_of_class
from workbench.scenes.vocabulary import ROLES

from .conftest import DIMENSION, OBJECTS, REAL, VOCABULARY


@pytest.fixture(scope="module")
def stage(browsed, tmp_path_factory):
    """The folder of a map and what the stage told; UMAP itself is compiled for half a minute."""
    folder = tmp_path_factory.mktemp("stage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_stage, "joint_layout", lambda reduced, **_: reduced[:, :2])
        yield folder, map_stage.write_feature_map(folder, **inputs(browsed), rows=60, neighbours=8, seed=3)


def inputs(browsed) -> dict:
    return {name: browsed / name for name in ("features", "generated", "triplets")}


def fidelity_table() -> pd.DataFrame:
    names = list(FIDELITY_METRICS)
    return pd.DataFrame(np.arange(2.0 * len(names)).reshape(2, -1), ["generated", "floor"], names)


@pytest.fixture
def open_map(browsed, stage):
    """A function from the browser's options, or another train ``store``, to the browser."""

    def opened(store=None, **options):
        features = FeaturesFolder(browsed / "features")
        samples = GeneratedFeatures(browsed / "generated", features.train)
        features.train = store or features.train
        given = {"fidelity": fidelity_table(), "map_metrics": stage[1]} | options
        return map_browser.FeatureMap(pd.read_parquet(stage[0] / map_stage.POINTS), features, samples, **given)

    return opened


@pytest.fixture
def browser(open_map):
    return open_map()


@pytest.fixture
def figure(browser):
    """The live figure of ``browser``."""
    return browser.widget().children[1]


@pytest.fixture(scope="module")
def store(browsed):
    return FeaturesFolder(browsed / "features").train


def test_the_stage_writes_equal_numbers_of_both_sources_with_their_own_rows(browsed, stage, store):
    points, metrics = pd.read_parquet(stage[0] / map_stage.POINTS), stage[1]
    assert points["source"].value_counts().to_dict() == {"real": 60, "generated": 60}
    generated = pd.read_parquet(browsed / "generated/generated.parquet")
    for source, table in (("real", store.relations), ("generated", generated)):
        own = points[points["source"] == source]
        assert own["row"].is_unique and (own[list(ROLES)].to_numpy() == table[list(ROLES)].to_numpy()[own["row"]]).all()
    counts = FeaturesFolder(browsed / "features").counts
    for role in ROLES:
        assert (points[f"{role}_band"] == band_of_class(counts.of_role(role))[points[role]]).all()
    assert points["entropy"].between(0, np.log(5) + 1e-9).all() and points["x"].dtype == np.float32
    assert 0 < metrics["trustworthiness"] <= 1 and 0 < metrics["variance_share"] <= 1 + 1e-6


def test_smaller_blocks_change_nothing(browsed, stage, tmp_path, monkeypatch):
    monkeypatch.setattr(map_stage, "ROWS_PER_BLOCK", 7)
    map_stage.write_feature_map(tmp_path, **inputs(browsed), rows=60, neighbours=8, seed=3)
    first, second = (pd.read_parquet(folder / map_stage.POINTS) for folder in (stage[0], tmp_path))
    pd.testing.assert_frame_equal(first, second, rtol=1e-4, atol=1e-5)


def test_a_map_of_too_few_rows_or_of_unknown_captions_is_refused(browsed, tmp_path, monkeypatch):
    refused("shows nothing", map_stage.write_feature_map, tmp_path, **inputs(browsed), rows=2, seed=0)
    known = map_stage.read_triplets(browsed / "triplets")
    few = replace(known, captions=known.captions[:1], caption_embeddings=known.caption_embeddings[:1])
    monkeypatch.setattr(map_stage, "read_triplets", lambda folder: few)
    refused(r"captions\.parquet", map_stage.write_feature_map, tmp_path, **inputs(browsed), rows=20, seed=0)


@pytest.mark.parametrize("rows", [6, 100, REAL])
def test_neighbours_are_scikit_learns_one_for_each_image(store, monkeypatch, rows):
    from sklearn.neighbors import NearestNeighbors

    monkeypatch.setattr("workbench.regions.nearest.ROWS_PER_BLOCK", 32)
    chosen = np.random.default_rng(rows).permutation(REAL)[:rows]
    images = store.relations["image"].to_numpy()
    reference = NearestNeighbors(n_neighbors=rows, algorithm="brute").fit(store.union(chosen))
    for query in np.random.default_rng(1).standard_normal((4, DIMENSION)).astype(np.float32):
        distances, order = (found[0] for found in reference.kneighbors(query[None]))
        _, first = np.unique(images[chosen[order]], return_index=True)
        expected = np.sort(first)[:5]
        found, found_distances = nearest_rows(store, chosen, query)
        assert found.tolist() == chosen[order[expected]].tolist()
        assert np.allclose(found_distances, distances[expected], atol=1e-4)
    copied, distances = nearest_rows(store, chosen, store.union(chosen[3:4])[0])
    assert (copied[0], distances[0]) == (chosen[3], 0.0)


@pytest.mark.parametrize("colour_by", [*COLOURS, *BY_RIGHT])
def test_every_colour_shows_every_point_once_with_counts_in_the_legend(open_map, colour_by):
    random = np.random.default_rng(0)
    right = {role: random.random(120) < 0.5 for role in ROLES}
    browser = open_map(right=lambda points: right)
    browser.set(colour_by=colour_by)
    figure = browser.figure()
    assert isinstance(figure, go.Figure) and not isinstance(figure, go.FigureWidget) and len(figure.data) <= MOST_GROUPS
    assert sorted(number for trace in figure.data for number in trace.customdata) == list(range(120))
    for trace in figure.data:
        assert trace.name.endswith(f"({len(trace.x):,})") and "<" not in trace.name + "".join(trace.text)
    if colour_by.endswith("band"):
        shown = {trace.name.split(" ")[0]: len(trace.x) for trace in figure.data}
        counts = browser.points.table[colour_by.replace(" ", "_")].value_counts()
        assert shown == counts[counts > 0].to_dict()


def test_right_or_wrong_is_offered_with_a_recogniser_alone_and_asked_once(open_map, browser):
    refused("right or wrong' is not known", browser.set, colour_by="relation right or wrong")
    right = Mock(return_value=dict.fromkeys(ROLES, np.ones(120, dtype=bool)))
    browser = open_map(right=right)
    browser.set(colour_by="relation right or wrong")
    browser.set(colour_by="object right or wrong")
    right.assert_called_once_with(browser.points.table)
    assert [trace.name for trace in browser.figure().data] == ["right (120)"]


def test_sources_and_classes_are_switched_by_events(browser):
    browser.handle("source", "real")
    assert browser.state.sources == ("generated",)
    assert [trace.name for trace in browser.figure().data] == ["generated (60)"]
    refused("sources", browser.handle, "source", "generated")
    browser.handle("colour", "object class")
    first = browser.figure().data[1].name
    browser.handle("class-search", "A &")
    assert html.escape("A & B") in browser.regions()["controls"]
    browser.set(classes=["A & B"])
    assert [trace.name.split(" (")[0] for trace in browser.figure().data] == ["other classes", "A &amp; B"]
    browser.handle("class", str(OBJECTS.index("A & B")))
    assert browser.figure().data[1].name == first  # none chosen: the most frequent again


def test_figures_follow_the_theme_by_the_style_of_the_panel_and_stand_on_white_elsewhere(browser):
    assert ".js-plotly-plot .main-svg" in Panel._css and "--jp-content-font-color1" in Panel._css
    assert browser.figure().layout.template.layout.paper_bgcolor == "white"


def test_widget_keeps_its_traces_when_colours_change(browser, figure):
    traces = figure.data
    figure.update_layout(xaxis_range=[0, 1])  # as zooming does
    for colour_by in ("relation band", "hardness", "subject class", "source"):
        browser.set(colour_by=colour_by)
        drawn = [trace for trace in figure.data if trace.visible]
        assert [trace.name for trace in drawn] == [trace.name for trace in browser.figure().data]
        assert sum(len(trace.x) for trace in drawn) == 120
    assert figure.data == traces and browser.widget().children[1] is figure
    assert tuple(figure.layout.xaxis.range) == (0, 1) and figure.layout.uirevision == "map"
    assert len(figure.get_state()["_widget_data"][0]["x"]["shape"]) == 1
    browser.handle("opacity", "0.3")
    assert {trace.marker.opacity for trace in drawn} == {0.3}


def from_page(figure, event: str, points: list[tuple[int, int]]) -> None:
    """A message as plotly sends it: points as (trace, place)."""
    traces, places = ([point[side] for point in points] for side in (0, 1))
    zeros = [0.0] * len(points)
    told = {"trace_indexes": traces, "point_indexes": places, "xs": zeros, "ys": zeros}
    figure._js2py_pointsCallback = {"event_type": event, "selector": None, "device_state": None, "points": told}


def lasso_of(points: np.ndarray) -> str:
    """A lasso close round a rectangle that holds the points, as a page sends it."""
    (left, low), (right, high) = points.min(axis=0) - 1e-4, points.max(axis=0) + 1e-4
    return json.dumps([[float(x), float(y)] for x, y in ((left, low), (right, low), (right, high), (left, high))])


def test_lasso_fills_selection_and_table_and_survives_new_colours(browser, figure):
    xy = browser.points.xy
    assert browser.selection.empty and "Nothing is selected" in browser.regions()["selection"]
    around = xy[[1, 62]]
    browser.handle("lasso", lasso_of(around))
    inside = ((xy >= around.min(axis=0) - 1e-4) & (xy <= around.max(axis=0) + 1e-4)).all(axis=1)
    assert inside[[1, 62]].all() and browser.selection.index.tolist() == np.flatnonzero(inside).tolist()
    assert html.escape(browser.selection["caption"].iloc[0]) in browser.regions()["selection"]
    for colour_by in ("source", "relation band"):
        browser.set(colour_by=colour_by)
        marked = [int(t.customdata[place]) for t in figure.data if t.visible for place in t.selectedpoints]
        assert sorted(marked) == browser.selection.index.tolist()
    browser.set(sources=("real",))
    browser.handle("lasso", lasso_of(around))
    assert set(browser.selection["source"]) == {"real"}  # what is hidden is not caught
    browser.handle("clear", None)
    assert browser.selection.empty and all(trace.selectedpoints is None for trace in figure.data)
    browser.handle("lasso", lasso_of(xy.max(axis=0) + np.array([[1, 1], [2, 2]])))
    assert "No point lies in the lasso" in browser.regions()["selection"]
    from_page(figure, "plotly_deselect", [])
    assert "Nothing is selected" in browser.regions()["selection"]


@pytest.mark.parametrize("corners", [3, 4, 7, 60])
def test_inside_a_lasso_is_what_lies_on_the_inner_side_of_all_edges(corners):
    random = np.random.default_rng(corners)
    angles = np.sort(random.uniform(0, 2 * np.pi, corners))
    convex = np.stack([np.cos(angles), np.sin(angles)], axis=1) * [3, 1] + [5, -2]
    points = random.normal([5, -2], [2, 0.8], (4000, 2))
    edges = np.roll(convex, -1, axis=0) - convex
    ways = points[:, None] - convex
    inner = (edges[:, 0] * ways[..., 1] - edges[:, 1] * ways[..., 0] > 0).all(axis=1)
    np.testing.assert_array_equal(inside_lasso(points, convex), inner)
    np.testing.assert_array_equal(inside_lasso(points, convex[::-1]), inner)


def test_a_lasso_may_be_hollow():
    horseshoe = np.array([[0, 0], [4, 0], [4, 4], [3, 4], [3, 1], [1, 1], [1, 4], [0, 4]], dtype=float)
    assert inside_lasso(np.array([[2.0, 3.0], [0.5, 3.0], [2.0, 0.5]]), horseshoe).tolist() == [False, True, True]


@pytest.mark.parametrize("text", ["", "{}", "[[0, 1], [1, 1]]", "[[0, 1, 2], [1, 1, 2], [3, 3, 2]]",
                                  "[[0, 1], [1, NaN], [2, 2]]", '[["a", 1], [1, 1], [2, 2]]'])  # fmt: skip
def test_a_lasso_that_is_none_is_refused(text):
    refused("lasso", lasso_corners, text)


def test_selection_is_paged_and_counted_by_source_and_band(browser):
    browser.set(selected=range(25))
    assert browser.regions()["selection"].count('data-event="point"') == 10
    browser.handle("page", "last")
    text = browser.regions()["selection"]
    assert text.count('data-event="point"') == 5
    assert all(f">{count}<" in text for count in browser.selection["relation_band"].value_counts())


def test_click_on_a_generated_point_shows_its_nearest_real_rows_and_its_seeds(browser, figure):
    from_page(figure, "plotly_click", [(1, 7)])
    assert browser.state.point == 67, browser.regions()["problem"]
    points = browser.points
    query = points.samples.union([points.row[67]])[0]
    expected, _ = nearest_rows(points.features.train, points.row[~points.generated], query)
    shown = browser.regions()["point"]
    assert re.findall(r"train row (\d+)", shown) == [str(row) for row in expected]
    assert re.findall(r"initialisation of the (\w+)", shown) == ["subject", "object"]
    assert html.escape(str(points.captions[67])) in shown and shown.count("<svg") == 7 and "<script>" not in shown
    browser.handle("point", "3")
    assert browser.regions()["point"].count("<svg") == 1


def test_an_error_of_a_click_is_told_below_the_map_and_goes_again(browser, figure, monkeypatch):
    monkeypatch.setattr(map_browser, "nearest_rows", Mock(side_effect=WorkbenchError("the disk <is> gone.")))
    from_page(figure, "plotly_click", [(1, 2)])
    assert "the disk &lt;is&gt; gone." in browser.regions()["problem"] and browser.state.point is None
    refused("gone", browser.handle, "point", "62")
    browser.handle("opacity", "0.5")
    assert browser.regions()["problem"] == ""


def test_numbers_are_always_there_beside_their_floor(open_map, browser):
    shown, table = browser.view(), fidelity_table()
    for name, title in FIDELITY_METRICS.items():
        assert title in shown and all(f">{table.loc[row, name]:.4g}<" in shown for row in table.index)
    assert "one joint fit of 60 + 60 rows, seed 3, 8 neighbours" in shown
    assert "No fidelity numbers" in open_map(fidelity=None).view()


def test_the_static_map_is_a_figure_and_numbers_without_controls(browser, monkeypatch):
    shown = []
    monkeypatch.setenv("WORKBENCH_HEADLESS", "1")
    monkeypatch.setattr("IPython.display.display", shown.append)
    assert "one joint fit" in browser._repr_mimebundle_()["text/html"]
    assert [type(thing).__name__ for thing in shown] == ["Figure"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"colour_by": "mood"}, "colour_by 'mood' is not known"), ({"colours": 1}, "has no"),
        ({"opacity": 3}, "opacity"), ({"opacity": "x"}, "opacity"), ({"sources": ["made"]}, "sources"),
        ({"point": 120}, "no point"), ({"point": "x"}, "numbers"),
        ({"selected": [1, 500]}, "no point"), ({"selected": ["a"]}, "numbers"),
        ({"classes": ["dog"]}, "coloured by"), ({"colour_by": "object class", "classes": ["unicorn"]}, "unicorn"),
        ({"colour_by": "object class", "classes": OBJECTS[:8]}, f"at most {MOST_CLASSES}"),
    ],
)  # fmt: skip
def test_changes_that_make_no_sense_are_refused_and_change_nothing(browser, change, told):
    before = browser.state
    refused(told, browser.set, **change)
    assert browser.state is before


def test_a_map_of_other_features_is_refused(open_map, stage, tmp_path):
    for fact, other in (("dimension", 99), ("encoder", "another")):
        refused(fact, open_map, map_metrics=stage[1] | {fact: other})
    for rows, dimension, told in ((REAL, 20, "dimension"), (REAL, DIMENSION, "as on the map"),
                                  (9, DIMENSION, "9 real rows, of which")):  # fmt: skip
        store = write_split(tmp_path / told[:4], long_tailed(rows, VOCABULARY, seed=5), dimension=dimension)
        refused(told, open_map, store)


@pytest.mark.parametrize("offset", [0, 100, 10_000])
def test_components_do_not_depend_on_where_the_rows_lie(offset):
    directions = np.linalg.qr(np.random.default_rng(1).standard_normal((64, 64)))[0][:60]
    spread = np.random.default_rng(0).standard_normal((2000, 60)) * np.geomspace(1, 0.02, 60)
    rows = (spread @ directions + offset * np.linspace(1, 2, 64)).astype(np.float32)
    found = real_components(rows, seed=0)
    assert (np.abs(np.sum(found.components_[:3] * directions[:3], axis=1)) > 0.95).all()
    kept = found.transform(rows.astype(np.float64))[:, :3]
    assert (np.abs(np.diag(np.corrcoef(kept.T, spread[:, :3].T)[:3, 3:])) > 0.95).all()


@pytest.mark.slow
def test_joint_map_keeps_clusters_together():
    rng = np.random.default_rng(4)
    centres = 20 * np.eye(3, 12)[np.repeat(np.arange(3), 20)]
    real, generated = (centres + rng.standard_normal(centres.shape) for _ in range(2))
    reduced = real_components(real, seed=0).transform(np.concatenate([real, generated]))
    points = joint_layout(reduced, seed=0, neighbours=10)
    cluster = np.tile(np.repeat(np.arange(3), 20), 2)
    nearest = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(len(points))
    assert (cluster[nearest.argmin(axis=1)] == cluster).mean() > 0.95
