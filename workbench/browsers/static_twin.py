"""The static twin of a page: its present state as HTML that needs neither a kernel nor the network."""

import html
import re
from base64 import b64encode
from typing import Protocol

from workbench.browsers.templates import stylesheet
from workbench.browsers.thumbnails import Thumbnails
from workbench.errors import WorkbenchError

_REGION = re.compile(r'(<(\w+)\b[^>]*\bdata-region="([\w-]+)"[^>]*>)(</\2>)')
_PICTURE = re.compile(r'data-picture="([0-9a-f]+)"')


class Page(Protocol):
    """What a panel shows, and its twin.

    ``frame``: HTML with an empty element with ``data-region="NAME"`` for each region. ``regions()``: their HTML by name
    for the present state. ``handle(event, value)``: one act of the user changes the state. ``pictures``: where the
    tokens of ``<image data-picture="TOKEN">`` lead.
    """

    frame: str
    pictures: Thumbnails | None

    def regions(self) -> dict[str, str]:
        """The HTML of every region."""

    def handle(self, event: str, value: str | None) -> None:
        """Carry out one act of the user; WorkbenchError where it cannot be."""


def static_html(page: Page) -> str:
    """The page's present state by itself: without what has the class ``wb-live``, pictures inside."""
    regions = page.regions()
    body = _REGION.sub(lambda found: f"{found[1]}{regions.get(found[3], '')}{found[4]}", page.frame)
    return sheet_html(body, page.pictures)


def sheet_html(body: str, pictures: Thumbnails | None) -> str:
    """HTML of ours in the browsers' style, with the pictures that its tokens name; those unreadable are told below."""
    problems: list[str] = []
    body = body.replace(' tabindex="0" role="button"', "")
    if pictures is not None:
        body = _PICTURE.sub(lambda found: _embedded(found[1], pictures, problems), body)
    told = "".join(f'<p class="wb-problem">{html.escape(problem)}</p>' for problem in dict.fromkeys(problems))
    return f'<style>{stylesheet()}</style><div class="wb wb-static">{body}{told}</div>'


def _embedded(token: str, pictures: Thumbnails, problems: list[str]) -> str:
    try:
        return f'href="data:image/jpeg;base64,{b64encode(pictures.jpeg(token)).decode()}"'
    except WorkbenchError as error:
        problems.append(str(error))
        return 'data-failed="true"'
