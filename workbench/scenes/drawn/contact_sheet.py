"""One picture of every class, with names: the quickest check that they can be told apart."""

from PIL import Image, ImageDraw, ImageFont

from workbench.randomness import generator
from workbench.scenes.drawn.catalogue import FAMILIES, draw_object, pixels_of

CELL = 92


def contact_sheet(seed: int = 0, columns: int = 12) -> Image.Image:
    """All object classes, family by family, drawn once each at about 60 pixels; RGB."""
    names = [name for members in FAMILIES.values() for name in members]
    rows = -(-len(names) // columns)
    sheet = Image.new("RGB", (columns * CELL, rows * (CELL + 14)), (232, 230, 224))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, name in enumerate(names):
        rng = generator(seed, "contact sheet", name)
        sprite = draw_object(name, rng, 66 / pixels_of(name))
        fit = min(1.0, (CELL - 8) / max(sprite.width, sprite.height))
        sprite = sprite.resized(fit) if fit < 1 else sprite
        left, top = index % columns * CELL, index // columns * (CELL + 14)
        sheet.paste(sprite.image, (left + (CELL - sprite.width) // 2, top + CELL - sprite.height - 2), sprite.image)
        pen.text((left + CELL / 2, top + CELL + 5), name, fill=(50, 46, 46), font=font, anchor="mm")
    return sheet
