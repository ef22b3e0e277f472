"""Contact sheets: tiles of images with their boxes, as HTML that needs nothing outside itself."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from workbench.browsers.drawing import Scene, Thumbnails, scene_of, scene_svg, sheet_html
from workbench.browsers.panel import render
from workbench.randomness import generator
from workbench.regions.features import FeatureStore
from workbench.regions.nearest import NearestRows, nearest_rows
from workbench.scenes.bands import BANDS, Counts, band_of_class
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import ROLES, Vocabulary

MOST_ROWS = 20_000
# An image to show and the lines below it: plain text, or Markup of our own.
Tile = tuple[Scene, Sequence[str]]


def tiles_html(tiles: Sequence[Tile], image_folder: Path | None) -> str:
    """A grid of tiles under the legend of the boxes; where there are no images it is said once."""
    thumbnails = Thumbnails(image_folder)
    drawn = [(scene_svg(scene, thumbnails), lines) for scene, lines in tiles]
    return sheet_html(render("contact_sheet.html.j2", tiles=drawn, note=thumbnails.note()), thumbnails)


def band_tiles(
    tables: RelationTables, vocabulary: Vocabulary, counts: Counts, *, per_band: int, seed: int
) -> Sequence[Tile]:
    """Random train relations whose relation class lies in each band, with the counts of their classes."""
    band, tiles = band_of_class(counts.relation)[tables.relations["relation"].to_numpy()], []
    for name in BANDS:
        rows = np.flatnonzero(band == name)
        for row in generator(seed, "band tiles", name).permutation(rows)[:per_band]:
            subject, relation, obj = tables.relations[list(ROLES)].iloc[row]
            seen = f"{counts.objects[subject]:,} / {counts.relation[relation]:,} / {counts.objects[obj]:,} in train"
            lines = (Markup("<b>{}</b>").format(name), vocabulary.caption(subject, relation, obj), seen)
            tiles.append((scene_of(tables, row), lines))
    return tiles


def neighbour_tiles(
    store: FeatureStore, vocabulary: Vocabulary, *, queries: int, neighbours: int, seed: int
) -> Sequence[Tile]:
    """Groups of tiles: a random relation, then its nearest neighbours from other images."""
    rows, tiles = generator(seed, "neighbours").permutation(len(store))[:MOST_ROWS], []
    # Nearest of all is the relation itself, and of its image there is no other one.
    for number, feature in enumerate(store.union(rows[:queries]), 1):
        for place, row in enumerate(nearest_rows(store, rows, feature, 1 + neighbours)[0]):
            title = f"neighbour {place}" if place else Markup("<b>query {}</b>").format(number)
            lines = (title, vocabulary.caption(*store.relations[list(ROLES)].iloc[row]))
            tiles.append((scene_of(store, row), lines))
    return tiles


def sample_tiles(samples: np.ndarray, captions: list[str], nearest: NearestRows, *, neighbours: int) -> Sequence[Tile]:
    """For each generated feature (n, D), of a caption each, the real relations nearest to it, one an image."""
    tiles = []
    for caption, (rows, distances) in zip(captions, nearest.find(samples, neighbours), strict=True):
        for place, (row, distance) in enumerate(zip(rows, distances, strict=True), 1):
            title = f"neighbour {place}" if place > 1 else Markup("nearest to <b>{}</b>").format(caption)
            tiles.append((scene_of(nearest.store, row), (title, f"distance {distance:.4g}")))
    return tiles
