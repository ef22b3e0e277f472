"""All classes and all relations in one image each: the quickest check that they can be told apart."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from drawn_scenes.arrangement import arrange
from drawn_scenes.catalogue import FAMILIES, OBJECT_NAMES, draw_object, pixels_of
from drawn_scenes.placement import Group
from drawn_scenes.pose import Pose
from drawn_scenes.rules import RELATION_NAMES, allowed
from workbench.randomness import generator

CELL = 92
RELATION_CELL = (128, 96)
CAPTION = 14
PAPER, INK = (232, 230, 224), (50, 46, 46)


def contact_sheet(seed: int = 0, columns: int = 12) -> Image.Image:
    """All object classes, family by family, drawn once each at about 60 pixels; RGB."""
    names = [name for members in FAMILIES.values() for name in members]
    rows = -(-len(names) // columns)
    sheet = Image.new("RGB", (columns * CELL, rows * (CELL + CAPTION)), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, name in enumerate(names):
        rng = generator(seed, "contact sheet", name)
        sprite = draw_object(name, rng, 66 / pixels_of(name), Pose())
        fit = min(1.0, (CELL - 8) / max(sprite.width, sprite.height))
        sprite = sprite.resized(fit) if fit < 1 else sprite
        left, top = index % columns * CELL, index // columns * (CELL + CAPTION)
        sheet.paste(sprite.image, (left + (CELL - sprite.width) // 2, top + CELL - sprite.height - 2), sprite.image)
        pen.text((left + CELL / 2, top + CELL + 5), name, fill=INK, font=font, anchor="mm")
    return sheet


def relation_sheet(seed: int = 0, examples: int = 6) -> Image.Image:
    """All relations, one a row, each with ``examples`` random pairs that the rules allow; RGB."""
    width, height = RELATION_CELL
    sheet = Image.new("RGB", (examples * width, len(RELATION_NAMES) * (height + CAPTION)), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(9)
    for row, relation in enumerate(RELATION_NAMES):
        table = allowed(relation)
        for column in range(examples):
            rng = generator(seed, "relation sheet", relation, column)
            subject = int(rng.choice(np.flatnonzero(table.any(axis=1))))
            object_ = int(rng.choice(np.flatnonzero(table[subject])))
            cell = _cell(arrange(OBJECT_NAMES[subject], relation, OBJECT_NAMES[object_], rng))
            left, top = column * width, row * (height + CAPTION)
            sheet.paste(cell, (left + (width - cell.width) // 2, top + height - cell.height))
            caption = f"{OBJECT_NAMES[subject]} {relation} {OBJECT_NAMES[object_]}"
            pen.text((left + width / 2, top + height + 6), caption, fill=INK, font=font, anchor="mm")
    return sheet


def _cell(group: Group) -> Image.Image:
    x1, y1, x2, y2 = group.box
    cell = Image.new("RGB", (int(x2 - x1) + 4, int(y2 - y1) + 4), PAPER)
    for item in group.placed:
        cell.paste(item.sprite.image, (round(item.left - x1) + 2, round(item.top - y1) + 2), item.sprite.image)
    cell.thumbnail((RELATION_CELL[0] - 4, RELATION_CELL[1] - 4))
    return cell
