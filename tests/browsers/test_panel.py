"""The panel: what changed is sent, errors are shown, pictures come when asked for; its static twin; its colours."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.refusals import refused
from workbench.browsers.drawing import Scene, Thumbnails, scene_svg
from workbench.browsers.panel import FOLDER, Browser, Paging
from workbench.errors import WorkbenchError
from workbench.figures import style

FRAME = '<p data-region="count"></p><div data-region="image"></div><div class="wb-live" data-region="bar"></div>'


class Counter(Browser):
    """A page that counts clicks beside a picture."""

    def __init__(self, images=None, name=""):
        super().__init__(FRAME, images)
        self.name, self.count = name, 0

    def regions(self):
        scene = Scene(self.name, 40, 30, np.array([1, 2, 10, 12.0]), np.array([5, 0, 20, 8.0]))
        return {"count": f"{self.count}", "image": scene_svg(scene, self.thumbnails), "bar": "<button>more</button>"}

    def acts(self, value):
        return {"refused": self.refuse, "broken": lambda: {}["a<b"], "add": lambda: {"more": int(value)}}

    def refuse(self):
        raise WorkbenchError("no. <b>Ask</b> for something else.")

    def change(self, more=0):
        self.count += more
        self.state = self.state and Clicks(self.count)


@dataclass(frozen=True)
class Clicks:
    count: int = 0


@pytest.fixture
def talk(monkeypatch):
    """A function (page) -> (tell, said): what the page's panel is told and what it says."""

    def start(page):
        panel, said = page.widget(), []
        monkeypatch.setattr(panel, "send", lambda message, buffers=None: said.append((message, buffers)))

        def tell(kind, **content):
            panel._receive(panel, {"kind": kind, **content}, [])
            return said[-1][0]

        return tell, said, panel

    return start


def test_all_regions_come_first_and_then_only_those_that_changed(talk):
    tell, _, _ = talk(Counter())
    assert set(tell("ready")["regions"]) == {"count", "image", "bar", "error"}
    assert tell("event", name="add", value="2")["regions"] == {"count": "2"}
    assert tell("event", name="add", value="0") == {"kind": "regions", "regions": {}, "answer": True}
    assert set(tell("ready")["regions"]) == {"count", "image", "bar", "error"}  # the page was loaded again


def test_an_error_is_shown_escaped_and_goes_away_with_the_next_act(talk):
    tell, _, _ = talk(Counter())
    tell("ready")
    ours, other = (tell("event", name=name, value="1")["regions"]["error"] for name in ("refused", "broken"))
    assert "&lt;b&gt;Ask&lt;/b&gt; for something else." in ours and "Traceback" not in ours
    assert "KeyError" in other and "Traceback" in other and "a<b" not in other
    assert tell("event", name="add", value="1")["regions"] == {"count": "1", "error": ""}


def test_refresh_from_python_raises_what_goes_wrong(talk, tmp_path):
    page = Counter(tmp_path)
    _, _, panel = talk(page)
    page.name = "../outside.jpg"
    refused("leads outside", panel.refresh)


def test_pictures_are_sent_as_bytes_and_failures_by_name(talk, tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    page = Counter(tmp_path, "a.jpg")
    tell, said, _ = talk(page)
    good, bad = page.thumbnails.token("a.jpg"), page.thumbnails.token("b.jpg")
    message = tell("images", tokens=[bad, good])
    assert message["tokens"] == [good] and list(message["failures"]) == [bad] and said[-1][1][0].startswith(b"\xff\xd8")


def test_twin_holds_the_picture_and_no_token(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    twin = Counter(tmp_path, "a.jpg").view()
    assert "data:image/jpeg;base64," in twin and "data-image" not in twin and '<p data-region="count">0</p>' in twin


def test_headless_runs_show_the_twin_alone_and_a_person_gets_the_widget_with_it(monkeypatch, talk):
    monkeypatch.setenv("WORKBENCH_HEADLESS", "1")
    assert set(Counter()._repr_mimebundle_()) == {"text/plain", "text/html"}
    monkeypatch.delenv("WORKBENCH_HEADLESS", raising=False)
    twins, page = [], Counter()
    monkeypatch.setattr("IPython.display.display", lambda shown, display_id: twins.append(shown) or Kept(twins))
    bundle, _ = page._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle and "wb-static" in bundle["text/html"]
    assert "wb-static" in twins[0].data and ">0</p>" in twins[0].data
    talk(page)
    page.state = page.count = 3
    for _ in range(2):
        page.widget()._receive(None, {"kind": "still"}, [])
    assert ">3</p>" in twins[1].data and len(twins) == 2  # what a person left is what the saved notebook shows


class Kept:
    """An output that can be written again."""

    def __init__(self, shown):
        self.update = shown.append


def test_the_address_of_a_page_of_its_own_holds_what_was_changed(talk):
    page = Counter()
    page.place, page.state = "counter", Clicks()
    tell, _, _ = talk(page)
    assert tell("ready", link=None)["link"] == "{}"
    assert tell("event", name="add", value="2")["link"] == '{"count": 2}'
    other = Counter()
    other.place, other.state = "counter", Clicks()
    tell, _, _ = talk(other)
    assert tell("ready", link='{"more": 2}')["regions"]["count"] == "2"
    wrong = tell("ready", link='{"less": 2}')["regions"]
    assert "less" in wrong["error"] and wrong["count"] == "2"


def test_what_is_shown_is_downloaded_as_csv(talk, monkeypatch):
    monkeypatch.setattr(Counter, "shown", lambda page: pd.DataFrame({"count": [page.count]}), raising=False)
    tell, said, _ = talk(Counter())
    tell("event", name="csv", value="")
    assert said[0] == ({"kind": "file", "name": "table.csv"}, [b"count\n0\n"])


@pytest.mark.parametrize("total", [0, 5, 12])
def test_pages_hold_all_and_end_where_the_list_does(total):
    page, seen = Paging(total, 5), []
    for _ in range(page.pages):
        seen += page.of(range(total))
        assert page.span == f"{min(total, 5 * page.page - 4)}–{len(seen)} of {total}"
        page = Paging(total, 5, page.turned("next"))
    assert seen == list(range(total)) and page.page == page.turned("last") == page.pages
    assert Paging(total, 5, page.turned("first")).turned("previous") == Paging(total, 5, -3).page == 1
    refused("'sideways' is not known", page.turned, "sideways")


def test_union_box_is_the_smallest_around_both_and_inclusive():
    scene = Scene("", 40, 30, np.array([1, 2, 10, 12.0]), np.array([5, 0, 20, 8.0]))
    found = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" class="wb-box wb-(\w+)"',
                       scene_svg(scene, Thumbnails(None)))  # fmt: skip
    boxes = {role: tuple(map(float, values)) for *values, role in found}
    assert boxes == {"relation": (1, 0, 20, 13), "subject": (1, 2, 10, 11), "object": (5, 0, 16, 9)}


def test_css_has_the_palette_of_the_figures():
    css = (FOLDER / "browsers.css").read_text(encoding="utf-8")
    meant = style.BAND_COLOURS | style.SOURCE_COLOURS | style.RIGHT_WRONG_COLOURS
    found = dict(re.findall(r"--wb-([a-z]+): (#[0-9A-F]{6});", css))
    common = found.keys() & meant.keys()
    assert len(common) == 9 and all(found[name] == meant[name] for name in common)
