"""Pictures with subject, object and union boxes, as HTML that needs nothing outside itself."""

import base64
import html
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.errors import WorkbenchError
from workbench.scenes.boxes import union_boxes
from workbench.studio.palette import RIGHT_WRONG_COLOURS, ROLE_COLOURS

TILE_WIDTH_PX = 230

STYLE = """<style>
.tiles{display:flex;flex-wrap:wrap;gap:14px;font:13px/1.35 system-ui,sans-serif}
.tile{width:230px;background:#fff;color:#222;border:1px solid #ccc;border-radius:6px;padding:6px}
.tile svg{display:block;width:100%;height:auto}.tile p{margin:4px 0 0}
.tile .right{color:#00694a;font-weight:600}.tile .wrong{color:#b04a00;font-weight:600}
</style>"""


@dataclass(frozen=True)
class Tile:
    """One picture to show: boxes are xyxy pixels, ``lines`` are HTML already escaped by `text_line` and its kin."""

    picture: Path | None
    width: int
    height: int
    subject_xyxy: np.ndarray
    object_xyxy: np.ndarray
    lines: tuple[str, ...]


def tiles_html(tiles: list[Tile]) -> str:
    """A grid of tiles; where there is no picture file the boxes stand on a blank canvas, said once."""
    if not tiles:
        return "<p>Nothing to show here: no row fits the choice above.</p>"
    blank = any(tile.picture is None for tile in tiles)
    note = "<p>No picture files with these features: boxes on a blank canvas.</p>" if blank else ""
    return STYLE + note + '<div class="tiles">' + "".join(_tile(tile) for tile in tiles) + "</div>"


def text_line(text: str) -> str:
    """A plain line; text from data is escaped."""
    return html.escape(text)


def prediction_line(role: str, truth: str, before: str, after: str) -> str:
    """One role's change, before to after, each marked right or wrong by colour, weight and sign."""

    def marked(name: str) -> str:
        right = name == truth
        return f'<span class="{"right" if right else "wrong"}">{"✓" if right else "✗"} {html.escape(name)}</span>'

    change = marked(before) if before == after else f"{marked(before)} → {marked(after)}"
    colour = ROLE_COLOURS[role]
    return f'<span style="border-left:4px solid {colour};padding-left:5px">{role}: {change}</span>'


def picture_path(image_folder: Path | None, file_name: str) -> Path | None:
    """The picture's path, or None where there is none; a name that leaves the folder is refused."""
    if image_folder is None or not file_name:
        return None
    path = (Path(image_folder) / file_name).resolve()
    if not path.is_relative_to(Path(image_folder).resolve()):
        raise WorkbenchError(f"image name {file_name!r} leads outside {image_folder}. Correct it in the annotations.")
    return path if path.is_file() else None


def _tile(tile: Tile) -> str:
    union = union_boxes(tile.subject_xyxy[None], tile.object_xyxy[None])[0]
    stroke = max(tile.width, tile.height) / 110
    boxes = (
        _box(union, ROLE_COLOURS["relation"], stroke, dashed=True)
        + _box(tile.subject_xyxy, ROLE_COLOURS["subject"], stroke)
        + _box(tile.object_xyxy, ROLE_COLOURS["object"], stroke)
    )
    ground = f'<rect width="{tile.width}" height="{tile.height}" fill="#eee"/>'
    if tile.picture is not None:
        data = base64.b64encode(tile.picture.read_bytes()).decode()
        kind = "png" if tile.picture.suffix.lower() == ".png" else "jpeg"
        ground = f'<image width="{tile.width}" height="{tile.height}" href="data:image/{kind};base64,{data}"/>'
    drawing = (
        f'<svg viewBox="0 0 {tile.width} {tile.height}" style="max-height:{TILE_WIDTH_PX}px" role="img">'
        f"{ground}{boxes}</svg>"
    )
    return f'<div class="tile">{drawing}{"".join(f"<p>{line}</p>" for line in tile.lines)}</div>'


def _box(box_xyxy: np.ndarray, colour: str, stroke: float, dashed: bool = False) -> str:
    x1, y1, x2, y2 = (float(value) for value in box_xyxy)
    dash = f' stroke-dasharray="{3 * stroke:.1f} {2 * stroke:.1f}"' if dashed else ""
    # Inclusive corners: a box from 3 to 5 is three pixels wide.
    return (
        f'<rect x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1 + 1:.1f}" height="{y2 - y1 + 1:.1f}" fill="none" '
        f'stroke="{colour}" stroke-width="{stroke:.2f}"{dash}/>'
    )


LEGEND = " ".join(
    f'<span style="border-left:12px solid {colour};padding-left:4px;margin-right:12px">{name}</span>'
    for name, colour in {**{"subject": ROLE_COLOURS["subject"], "object": ROLE_COLOURS["object"]},
                         "union (dashed)": ROLE_COLOURS["relation"], "right": RIGHT_WRONG_COLOURS["right"],
                         "wrong": RIGHT_WRONG_COLOURS["wrong"]}.items()
)  # fmt: skip
