"""Contact sheets: tiles of pictures with their boxes, as HTML that needs nothing outside itself."""

import html
from dataclasses import dataclass

from workbench.spelling import spelt
from workbench.studio.browsers.scene_drawing import Scene, blank_note, scene_svg
from workbench.studio.browsers.static_twin import sheet_html
from workbench.studio.browsers.templates import render
from workbench.studio.browsers.thumbnails import Thumbnails


@dataclass(frozen=True)
class Tile:
    """One picture to show; ``lines`` are HTML already escaped by `text_line` or Markup."""

    scene: Scene
    thumbnails: Thumbnails
    lines: tuple[str, ...]


def tiles_html(tiles: list[Tile]) -> str:
    """A grid of tiles under the legend of the boxes; where there are no pictures it is said once."""
    note = next(filter(None, (blank_note(tile.thumbnails) for tile in tiles)), "")
    drawings = [scene_svg(tile.scene, tile.thumbnails) for tile in tiles]
    sheet = render("contact_sheet.html.j2", tiles=list(zip(drawings, tiles, strict=True)), note=note)
    return sheet_html(sheet, tiles[0].thumbnails if tiles else None)


def text_line(text: str) -> str:
    """A plain line; text from data is escaped, and what cannot be seen is spelt."""
    return html.escape(spelt(text))
