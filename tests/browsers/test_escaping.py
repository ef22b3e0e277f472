"""Text of data is never markup: hostile class names and texts in every figure, table and page."""

import json
import re
from collections import Counter
from html.parser import HTMLParser

import nbformat
import numpy as np
import pandas as pd
import pytest

from annotated_scenes.annotations import Annotations
from published_scenes.data_card import data_card
from published_scenes.data_card_page import write_data_card
from tests.synthetic import long_tailed, split_writer
from workbench.escaping import escaped, escaped_lines
from workbench.figures import fidelity, language, long_tail, results, training
from workbench.figures.pages import page_link
from workbench.figures.style import LONGEST_NAME, LONGEST_TICK, SMALL_FONT_PX, plain_text
from workbench.runs.report_index import write_overview
from workbench.runs.reports import PLOTLY_MIME, write_report
from workbench.scenes.bands import BANDS, count_classes
from workbench.scenes.problems import Problem, format_report
from workbench.scenes.vocabulary import ROLES, Vocabulary
from workbench.tables import page, paper
from workbench.tables.results import TableResults, checked_results
from workbench.training import read_log

HOSTILE = (
    "javascript:alert(1)//",
    *("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", "a&b", "&lt;b&gt;", "'quote\"", "=1+1"),
    *("Ünï 猫 🐈 שלום", "long " * 60, "\x1b[31mred\x07", "two\nlines", "\u202eevil", "$x^2$", "007", "%{x}", "a < b"),
    *("on the left <b>side</b>", "<a href='javascript:alert(1)'>x</a>", "a,b|c\r\n;d", "2020-01-01"),
)
TAME = tuple(f"name {number} left" if "left" in name else f"name {number}" for number, name in enumerate(HOSTILE))
VALUES = {f"{m} {r} {b}": 30.0 for m in ("exact", "synset") for r in ("subject/object", "relation", "combined")
          for b in (*BANDS, "all")}  # fmt: skip


class Page(HTMLParser):
    """The elements with their attributes' names, and the text that a reader sees."""

    def __init__(self, page: str):
        super().__init__()
        self.elements, self.text, self.addresses = Counter(), "", []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements[tag, *sorted(name for name, _ in attributes)] += 1
        self.addresses += [value for name, value in attributes if name in ("href", "src")]

    def handle_data(self, data):
        self.text += data


def shown(text: str) -> str:
    """What plotly draws of ``text``: tags taken out, its few entities and all numbers decoded."""
    entities = {"mu": "µ", "amp": "&", "lt": "<", "gt": ">", "nbsp": "\xa0", "times": "×", "plusmn": "±", "deg": "°"}

    def decoded(found: re.Match) -> str:
        number = re.fullmatch(r"#(\d+)", found[1])
        return chr(int(number[1])) if number else entities.get(found[1], found[0])

    return re.sub(r"&(#\d+|[a-z]+);", decoded, re.sub(r"<[^<>]*>", "", text))


def texts_of(value) -> list[str]:
    """All strings in decoded JSON but the keys of legend groups, which nobody sees."""
    if isinstance(value, dict):
        return [text for name, each in value.items() if name != "legendgroup" for text in texts_of(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts_of(each)]
    return [value] if isinstance(value, str) else []


def made_results(names) -> TableResults:
    keys = [f"system {number}" for number in range(len(names))]
    rows = {
        key: {"title": name, "architecture": "LSVRU" if number % 2 else name, "training": name, "group": "loss",
              "generated": number > 0, "compared_with": keys[0] if number else None, "curve": name,
              "values": {"0": VALUES, "1": VALUES}, "validation": {"0": {"combined": 1.0}}, "failed": {}}
        for number, (key, name) in enumerate(zip(keys, names, strict=True))
    }  # fmt: skip
    rows["failed"] = rows[keys[1]] | {"values": {}, "validation": {}, "failed": {"0": names[0]}}
    rows["lsvru_ce"] = rows[keys[0]]
    return checked_results({"profile": names[0], "seeds": [0, 1], "rows": rows}, "made")


def made_figures(tmp_path, names) -> dict:
    """Every figure about classes, trainings and sample sets that are called ``names``."""
    rng, count = np.random.default_rng(1), len(names)
    vocabulary = Vocabulary(names, names)
    relations = pd.DataFrame({role: np.arange(3 * count) % count for role in ROLES})
    classes = long_tail.class_table(count_classes(relations, vocabulary), vocabulary)
    vectors = rng.standard_normal((count, 5))
    roles = np.repeat(["subject", "object", "relation"], count)
    change = pd.DataFrame({"role": roles, "name": names * 3, "band": np.resize(BANDS, 3 * count)})
    change = change.assign(n_train=9, n_test=3, before=1.0, after=np.arange(3.0 * count))
    roles = ("subject/object", "relation")
    bars = [(name, role, band, 5.0) for name in names for role in roles for band in (*BANDS, "all")]
    bars = pd.DataFrame(bars, columns=["training", "role", "band", "accuracy"]).assign(metric="exact")
    (tmp_path / "log.jsonl").write_text('{"step": 1, "epoch": 1, "validation_combined": 2.0, "loss": 1.0}')
    log = read_log(tmp_path)
    report = pd.DataFrame({name: rng.random(count) for name in names}, index=list(names))
    every, trade = dict.fromkeys(names, tmp_path), page.trade_table(made_results(names), "exact")
    return {
        "rank_frequency": long_tail.rank_frequency(classes),
        "triplet_matrix": long_tail.triplet_matrix(relations, vocabulary),
        "similarity_matrix": language.similarity_matrix(vectors @ vectors.T, names, np.arange(count), -9.0),
        "name_similarity": language.name_similarity(vectors, names),
        "augmented_by_class": language.augmented_by_class(relations.assign(band="few"), names, "subject"),
        "per_class_change": results.per_class_figure(change),
        "band_bars": results.band_bars(bars, "exact"),
        "training_curves": training.training_curves(every),
        "fidelity_bars": fidelity.fidelity_bars(report, {name: name for name in names}),
        "norm_distribution": fidelity.norm_distribution(dict.fromkeys(names, np.arange(9.0))),
        "trade_off": page.trade_off(trade, "exact"),
        "loss_curves": training.loss_curves(log, names[0], names[1]),
    }


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    return made_figures(tmp_path_factory.mktemp("figures"), HOSTILE)


def test_figures_show_names_as_they_are_spelt(figures):
    wanted = {name: {escaped(name, longest) for longest in (None, LONGEST_NAME, LONGEST_TICK)} for name in HOSTILE}
    for title, figure in figures.items():
        texts = texts_of(json.loads(figure.to_json()))
        # Our own markup is all there is, and a dollar would begin a formula.
        assert {tag for text in texts for tag in re.findall(r"<[^<>]*>?", text)} <= {"<br>", "<extra>", "</extra>"}
        assert not any("$" in text for text in texts) and all(escaped(text) == text for text in texts), title
        drawn = "\0".join(map(shown, texts))
        for name in HOSTILE[:2] if title == "loss_curves" else HOSTILE:
            assert any(spelling in drawn for spelling in wanted[name]), (title, name)


def test_axes_of_names_hold_every_name_of_their_traces(figures):
    for title in ("triplet_matrix", "similarity_matrix", "name_similarity", "augmented_by_class", "fidelity_bars"):
        layout, traces = figures[title].layout, figures[title].data
        for letter in "xy" if "_matrix" in title or title == "name_similarity" else "x":
            axis = layout[f"{letter}axis"]
            assert axis.type == "category"
            assert set(axis.tickvals) == {name for trace in traces for name in trace[letter]}
            assert max(len(shown(text)) for text in axis.ticktext) == LONGEST_TICK


def test_nothing_is_written_small(figures):
    for title, figure in figures.items():
        sizes = re.findall(r'"\w*font":\{[^{}]*"size":([\d.]+)', figure.to_json())
        assert sizes and min(map(float, sizes)) >= SMALL_FONT_PX, title


@pytest.mark.parametrize("pattern", ["*.css", "*.j2", "*.py"])
def test_no_style_is_small(pattern, pytestconfig):
    for path in (pytestconfig.rootpath / "workbench").rglob(pattern):
        for size in re.findall(r"font(?:-size)?[:=]\s*\"?(\d+)px", path.read_text(encoding="utf-8")):
            assert int(size) >= SMALL_FONT_PX, path


def test_a_name_is_escaped_once_and_a_link_cannot_begin_a_scheme():
    assert page_link("javascript:alert(1)//", "index.html") == "javascript%3Aalert%281%29%2F%2F/index.html"
    assert plain_text("a&b") == "a&amp;b" and shown(plain_text("&amp;")) == "&amp;"
    assert escaped("a\tb\u200fc\ud800") == "a\\tb\\u200fc\\ud800"
    assert all(escaped(text) == text for text in ("नेपाली\u200d", "👩\u200d🚀"))
    assert escaped("x" * 9, 4) == "xxx…" and escaped_lines("a\x1b[2J\n\tb\r") == "a\\x1b[2J\n\tb\\r"


def table_pages(tmp_path, names) -> str:
    results = made_results(names)
    compared = paper.comparisons_table(results, "exact").assign(later=names[0], gap=names[1])
    written = [page.paper_table(number, results, "exact") for number in (1, 5)]
    written += [page.extended(results, "exact"), page.aims(results, "exact")]
    return "".join([*written, page.claims(compared)])


def card_page(tmp_path, names) -> str:
    vocabulary = Vocabulary(names, names)
    tables = split_writer(tmp_path / "train", long_tailed(200, vocabulary, tail=0)).tables
    annotations = {"train": Annotations("train", vocabulary, **tables, image_folder=tmp_path)}
    card = data_card(annotations, vocabulary) | {"left_right": list(names)}
    report = format_report([Problem(name, name, "odd", name, name, name) for name in names])
    assert not re.search(r"[^\n -~\u00a0-\U0010ffff]", report) and "\u202e" not in report
    return write_data_card(tmp_path / "card.html", names[0], card, report).read_text(encoding="utf-8")


def report_pages(tmp_path, names) -> str:
    folder = tmp_path / "reports" / "run"
    folder.mkdir(parents=True)
    code = nbformat.v4.new_code_cell("1", outputs=[
        nbformat.v4.new_output("display_data", {PLOTLY_MIME: json.loads(figure.to_json())})
        for figure in made_figures(folder, names).values()
    ])  # fmt: skip
    with pd.option_context("display.max_colwidth", None):
        frame = pd.DataFrame({"name": names}, index=names)._repr_html_()
    code.outputs += [
        nbformat.v4.new_output("stream", name="stdout", text="\n".join(map(escaped, names))),
        nbformat.v4.new_output("display_data", {"text/html": frame}),
        nbformat.v4.new_output("display_data", {"text/plain": repr(names)}),
        nbformat.v4.new_output("error", ename=names[0], evalue=" ".join(names), traceback=list(map(escaped, names))),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=[code]), folder / "05.ipynb")
    entry = {"status": names[1], "error": "\n".join(names), "parameters": {name: list(names) for name in names}}
    record = {"run": names[0], "profile": names[1], "status": names[2], "notebooks": {"05": entry, names[3]: entry}}
    metrics = {names[0]: {"headline": dict.fromkeys(names, 1.0), names[1]: {name: {name: name} for name in names}}}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    pages = [write_report(folder), folder / "05.html", write_overview(tmp_path)]
    return "".join(page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize("pages", [table_pages, card_page, report_pages])
def test_pages_have_the_elements_of_their_templates_alone(tmp_path, pages):
    # The same page about harmless names has the same elements, whatever the hostile ones spell.
    tame, hostile = (Page(pages(tmp_path / kind, names)) for kind, names in (("tame", TAME), ("hostile", HOSTILE)))
    # A run is linked by its folder, whatever its record says.
    assert all(re.fullmatch(r"[\w%.-]+(/index\.html)?|\.\./index\.html|data:,", link) for link in hostile.addresses)
    assert hostile.elements == tame.elements
    text = " ".join(hostile.text.split())
    for name in map(escaped, HOSTILE):
        assert " ".join(name.split()) in text, name
