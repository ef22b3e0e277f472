"""Contact sheets: tiles of pictures with their boxes, as HTML that needs nothing outside itself."""

import html
from dataclasses import dataclass
from pathlib import Path

from workbench.browsers.static_twin import sheet_html
from workbench.browsers.templates import render
from workbench.figures.scene_drawing import Scene, blank_note, scene_svg
from workbench.figures.thumbnails import Thumbnails
from workbench.spelling import spelt


@dataclass(frozen=True)
class Tile:
    """One picture to show; ``lines`` are HTML already escaped by `text_line` or Markup."""

    scene: Scene
    lines: tuple[str, ...]


def tiles_html(tiles: list[Tile], image_folder: Path | None) -> str:
    """A grid of tiles under the legend of the boxes; where there are no pictures it is said once."""
    pictures = Thumbnails(image_folder)
    drawn = [(scene_svg(tile.scene, pictures), tile.lines) for tile in tiles]
    sheet = render("contact_sheet.html.j2", tiles=drawn, note=blank_note(pictures))
    return sheet_html(sheet, pictures)


def text_line(text: str) -> str:
    """A plain line; text from data is escaped, and what cannot be seen is spelt."""
    return html.escape(spelt(text))
