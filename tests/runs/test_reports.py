"""Pages: every figure there, code folded, nothing from outside, text of data escaped."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import nbformat
import numpy as np
import plotly.graph_objects as go
import pytest

from tests.refusals import refused
from workbench.figures.pages import formatted
from workbench.runs.report_index import gain_figure, write_overview
from workbench.runs.reports import PLOTLY_MIME, write_page, write_report
from workbench.runs.run_records import NotebookRecord, RunRecord

HOSTILE = "</script><script>document.title='attacked'</script>"


class Addresses(HTMLParser):
    """What a browser would load, and the elements."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag in ("script", "img", "iframe", "link", "source", "video", "audio", "embed", "object"):
            self.loaded += [value for name, value in attributes if name in ("src", "href", "data") and value]


def executed_notebook(path, n_figures=2):
    code = nbformat.v4.new_code_cell("answer = 41 + 1  # secret source")
    points = go.Scatter(x=np.arange(30.0), y=np.arange(30.0) ** 2, mode="markers", name=HOSTILE)
    figures = [go.Figure(points, layout={"title": f"Figure {number}"}) for number in range(n_figures)]
    shown = [{PLOTLY_MIME: json.loads(figure.to_json())} for figure in figures]
    shown.append({"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/plain": "a slider"})
    shown.append({"text/html": "<table class='dataframe'><tr><td>7</td></tr></table>"})
    shown.append({"application/javascript": "fetch('http://example.org')"})
    code.outputs = [nbformat.v4.new_output("display_data", data) for data in shown]
    code.outputs.append(nbformat.v4.new_output("stream", name="stdout", text=f"told {HOSTILE}\n"))
    code.outputs.append(nbformat.v4.new_output("stream", name="stderr", text="a warning"))
    failed = nbformat.v4.new_code_cell("1 / 0")
    error = {"ename": "ZeroDivisionError", "evalue": HOSTILE, "traceback": ["\x1b[31mx"]}
    failed.outputs = [nbformat.v4.new_output("error", **error)]
    texts = ["# What is\n\nText & more.", "An Exception was encountered", "![a dot](dot.png)"]
    first, banner, picture = map(nbformat.v4.new_markdown_cell, texts)
    banner.metadata["tags"] = ["papermill-error-cell-tag"]
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    nbformat.write(nbformat.v4.new_notebook(cells=[first, banner, code, failed, picture]), path)
    return path


def run_folder(root, name="trial"):
    folder = root / "reports" / name
    done = NotebookRecord("done", {"x": HOSTILE}, seconds=3.25, peak_memory_mb=1234)
    failed = NotebookRecord("failed", seconds=200.0, error=f"WorkbenchError: {HOSTILE}")
    record = RunRecord(name, "demo", "unfinished", {"torch": "2"}, "2030-01-02T03:04:05+00:00", seconds=203.25)
    record.notebooks = {"01_a": done, "02_b": failed, "03_c": NotebookRecord()}
    for notebook in ("01_a", "02_b"):
        executed_notebook(folder / f"{notebook}.ipynb")
    record.write(folder)
    numbers = {"headline": {f"few, {HOSTILE}": 12.3456}, "rows": 12345, "none": None, "list": list(range(20))}
    numbers["variants"] = {"ce": {"few": 1.0}, "da": {"few": 2.0, "many": 3.0}}
    numbers["deep"] = {"a": {"b": {"c": 1}}, "d": 2}
    numbers["headline"] |= {"of images": {"train": 80}, "of nothing": {}}
    (folder / "metrics.json").write_text(json.dumps({"01_a": numbers}))
    return folder


@pytest.fixture
def report(tmp_path):
    return write_report(run_folder(tmp_path)).parent


@pytest.fixture
def page(tmp_path):
    return write_page(executed_notebook(tmp_path / "trial" / "01_a.ipynb")).read_text()


def test_a_page_has_its_figures_its_code_folded_and_twins_of_what_is_live(page):
    assert page.count('class="figure"') == 2
    found = re.findall(r'<script type="application/json" id="figure-\d-data">(.*?)</script>', page)
    figures = [json.loads(text) for text in found]
    assert [figure["layout"]["title"]["text"] for figure in figures] == ["Figure 0", "Figure 1"]
    assert figures[0]["data"][0]["name"] == HOSTILE and figures[0]["data"][0]["x"]
    assert '"showSendToCloud":false' in page and '"displaylogo":false' in page
    before, _, after = page.partition("secret source")
    assert after and before.rpartition("<details")[2].startswith(' class="code"')
    assert before.count("<details") > before.count("</details")
    assert "a slider" in page and "widget-view" not in page and "example.org" not in page
    assert "<td>7</td>" in page and "An Exception was encountered" not in page and "ZeroDivisionError" in page


def test_nothing_is_loaded_from_outside(page, report):
    for text in (page, *(path.read_text() for path in report.glob("*.html"))):
        parsed = Addresses(text)
        assert all(address == "plotly.min.js" or address.startswith("data:") for address in parsed.loaded)
        assert "http://" not in text and "https://" not in text and "@import" not in text
    assert "iframe" not in Addresses(page).tags
    assert any(address.startswith("data:image/png") for address in Addresses(page).loaded)


def test_plotly_lies_once_beside_the_pages_or_in_them(report, tmp_path):
    assert (report / "plotly.min.js").stat().st_size > 1_000_000
    assert all(path.stat().st_size < 300_000 for path in report.glob("*.html"))
    write_report(report, inline_plotly=True)
    inline = (report / "01_a.html").read_text()
    assert len(inline) > 1_000_000 and "plotly.min.js</" not in inline and 'src="plotly' not in inline
    bare = write_page(executed_notebook(tmp_path / "bare" / "01_a.ipynb", n_figures=0))
    assert not (bare.parent / "plotly.min.js").exists() and "Plotly" not in bare.read_text()


def test_pages_lead_to_their_neighbours(report):
    first, second = ((report / f"{name}.html").read_text() for name in ("01_a", "02_b"))
    assert 'href="02_b.html"' in first and 'rel="prev"' not in first
    assert 'href="01_a.html"' in second and "03_c" not in second
    assert "1,234 MB" in first and "This notebook stopped" in second


def test_the_index_holds_numbers_and_states(report):
    text = (report / "index.html").read_text()
    for part in ("12.35", "12,345", "20 values", "–", "3 min 20 s", "failed", "waiting", "demo", "2030-01-02 03:04"):
        assert part in text, part
    rows = re.findall(r"<tr>(?:<t[dh][^>]*>(?:ce|da)</t[dh]>)(.*?)</tr>", text)
    assert [re.findall(r">([^<>]+)</td>", row) for row in rows] == [["1", "–"], ["2", "3"]]
    assert 'href="01_a.html"' in text and 'href="03_c.html"' not in text


def test_the_index_answers_at_a_glance(tmp_path):
    folder = run_folder(tmp_path)
    few, many = {"CE": 10.0, "best": 12.0, HOSTILE: None}, {"CE": 70.0, "best": 66.0, HOSTILE: 71.0}
    columns = {"all": dict(zip(few, (20.0, 21.0, 22.0), strict=True)), "few": few, "many": many}
    rows = {title: {f"exact combined {band}": of[title] for band, of in columns.items()} for title in few}
    claims = {"6. More samples are better.": "not run", "3. Hardness": "holds"}
    numbers = {"variants": rows, "baseline": "CE", "verdict": f"It rises. {HOSTILE}", "claims": claims}
    numbers |= {"snake_case": 8000.0}
    numbers |= {"one": {"norm_mean": 1.0}, "other": {"norm_mean": 2.0}, "pictures": [["CE", "ce"], ["best", "da"]]}
    (folder / "metrics.json").write_text(json.dumps({"01_a": numbers}))
    text = write_report(folder).read_text()
    assert "attacked" not in text.replace("document.title=&#39;attacked&#39;", "")
    assert '<p class="verdict">It rises.' in text and text.index(">best</th>") < text.index("CE <small>baseline")
    assert '>+1.00</td><td class="number">+2.00</td><td class="number">−4.00</td>' in text
    assert "1 not run" in text and text.index("3. Hardness") < text.index("1 not run") < text.index("6. More samples")
    assert "snake case" in text and ">8,000<" in text and "<td>mean norm</td>" in text
    assert "There are no pictures: run &#39;trial&#39; has no scenes/default" in text


def test_gains_are_against_the_baseline_best_first():
    rows = {"A": {"all": 5.0, "few": 1.0, "many": 9.0}, "B": {"all": 7.0, "few": None, "many": 8.0}, "C": {"all": None}}
    variants = {title: {f"exact combined {band}": value for band, value in row.items()} for title, row in rows.items()}
    figure = gain_figure({"variants": variants, "baseline": "A"})
    assert figure["rows"][0] == {"title": "B", "combined": 7.0, "all": 2.0, "few": None, "many": -1.0}
    assert [row["title"] for row in figure["rows"]] == ["B", "A"] and figure["ticks"] == [-1, 0]
    assert gain_figure({"variants": variants, "baseline": "C"}) is gain_figure({"rows": 3}) is None


def test_the_overview_lists_runs_newest_first_and_one_whose_record_is_broken(tmp_path):
    run_folder(tmp_path, "one")
    later = run_folder(tmp_path, "two") / "run.json"
    later.write_text(later.read_text().replace("2030", "2031"))
    text = write_overview(tmp_path).read_text()
    assert text.index("two/index.html") < text.index("one/index.html") and "1 of 3" in text
    later.write_text("{")
    text = write_overview(tmp_path).read_text()
    assert "two/index.html" in text and "broken" in text and "run.json: " in text and "1 of 3" in text
    assert "Nothing here yet" in write_overview(tmp_path / "elsewhere").read_text()


def test_a_broken_notebook_is_named(tmp_path):
    (tmp_path / "01_a.ipynb").write_text("{")
    refused(r"01_a.ipynb", write_page, tmp_path / "01_a.ipynb")


def test_numbers_are_told_as_people_read_them():
    values = [None, float("nan"), True, 1234567, 0.12345, 54321.9, "a"]
    assert list(map(formatted, values)) == ["–", "–", "yes", "1,234,567", "0.1235", "54,322", "a"]


def test_a_browser_draws_every_figure(tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    page = write_page(executed_notebook(tmp_path / "trial" / "01_a.ipynb"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += [f"--user-data-dir={tmp_path / 'browser'}", "--virtual-time-budget=8000", "--dump-dom"]
    done = subprocess.run([chromium, *options, page.as_uri()], capture_output=True, text=True, timeout=120)
    assert len(re.findall(r'<g class="points"', done.stdout)) == 2
    assert "could not be drawn" not in done.stdout.split("<script")[0] and "<title>What is" in done.stdout


def test_progress_is_gone_from_a_page_once_its_cell_is_done(tmp_path):
    told = [
        "features/default: building\n",
        "Reading: 40 of 80, 30 s\n",
        "! a warning: 3 of 4\n",
        "features/default: built in 61.0 s\n",
    ]
    bar = "  50%|#####     | 3/6 [00:01<00:01,  2.9it/s]\r"
    cells = [nbformat.v4.new_code_cell("build()") for _ in range(2)]
    for cell in cells:
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in told]
        cell.outputs.append(nbformat.v4.new_output("stream", name="stderr", text=bar))
    cells[1].outputs.append(nbformat.v4.new_output("error", ename="E", evalue="e", traceback=["t"]))
    for name, cell in zip(("done", "failed"), cells, strict=True):
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / f"{name}.ipynb")
    done, failed = (write_page(tmp_path / f"{name}.ipynb").read_text() for name in ("done", "failed"))
    assert '<pre class="stream">! a warning: 3 of 4\nfeatures/default: built in 61.0 s\n</pre>' in done
    assert "building" not in done and "50%" not in done and "Messages" not in done
    assert "features/default: building\nReading: 40 of 80" in failed and "50%" in failed
