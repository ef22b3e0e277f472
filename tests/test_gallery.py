"""The gallery: pages of a finished run that open from a clone, light, with links that lead somewhere and no paths."""

import re
import runpy
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.refusals import refused

DOCS = Path(__file__).resolve().parents[1] / "docs"
GALLERY = runpy.run_path(str(DOCS / "gallery.py"))
PAGES = sorted((DOCS / "gallery").glob("*.html"))


def test_it_is_light_and_whole():
    assert sum(path.stat().st_size for path in (DOCS / "gallery").iterdir()) <= GALLERY["MOST_BYTES"]
    assert [path.stem[:2] for path in PAGES] == ["00", "01", "02", "03", "04", "05", "06", "in"]
    index = (DOCS / "gallery" / "index.html").read_text(encoding="utf-8")
    assert 'class="verdict"' in index and 'class="gains"' in index and index.count("<image ") == 6


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_links_lead_somewhere_and_nothing_names_a_machine(page):
    text = page.read_text(encoding="utf-8")
    addresses = re.findall(r'<(?:a|script|img|link)\b[^>]*?(?:href|src)="([^"]*)"', text)
    inside = {unquote(address) for address in addresses if not address.startswith(("data:", "#"))}
    assert {"index.html"} <= inside or page.stem == "index"
    assert all((page.parent / address).is_file() for address in inside), inside
    assert GALLERY["paths_of_a_machine"](text) == [] and ": building" not in text


def test_a_page_with_a_path_or_too_much_is_refused_and_the_gallery_stays(tmp_path):
    report, place = tmp_path / "report", tmp_path / "gallery"
    report.mkdir()
    refused("no index.html.*make demo", GALLERY["build"], report, place)
    (report / "index.html").write_text(f"<p>{GALLERY['UP']} AB/tmp/c =/work and ;base64,AAAA/tmp/BBBB</p>")
    assert "make demo" in GALLERY["build"](report, place).read_text()
    named = {"see /home/ann/x.png": "names /home/ann/x.png", "C:\\Users\\ann": "names C:", "x" * 2**23: "at most"}
    for text, told in named.items():
        (report / "01.html").write_text(f"<p>{text}</p>")
        refused(told, GALLERY["build"], report, place)
    assert [path.name for path in place.iterdir()] == ["index.html"]
