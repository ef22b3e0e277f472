"""Contact sheets: tiles of images with their boxes, as HTML that needs nothing outside itself."""

import html
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.browsers.drawing import Scene, Thumbnails, blank_note, scene_of, scene_svg
from workbench.browsers.panel import sheet_html
from workbench.browsers.widgets import render
from workbench.escaping import escaped
from workbench.randomness import generator
from workbench.regions.features import FeatureStore
from workbench.scenes.bands import BANDS, Counts, band_of_class
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import ROLES, Vocabulary

MOST_ROWS = 20_000


@dataclass(frozen=True)
class Tile:
    """One image to show; ``lines`` are HTML already escaped by `text_line` or Markup."""

    scene: Scene
    lines: tuple[str, ...]


def tiles_html(tiles: list[Tile], image_folder: Path | None) -> str:
    """A grid of tiles under the legend of the boxes; where there are no images it is said once."""
    thumbnails = Thumbnails(image_folder)
    drawn = [(scene_svg(tile.scene, thumbnails), tile.lines) for tile in tiles]
    sheet = render("contact_sheet.html.j2", tiles=drawn, note=blank_note(thumbnails))
    return sheet_html(sheet, thumbnails)


def text_line(text: str) -> str:
    """A plain line; text from data is escaped, and what cannot be seen is an escape."""
    return html.escape(escaped(text))


def band_tiles(
    tables: RelationTables,
    vocabulary: Vocabulary,
    counts: Counts,
    *,
    per_band: int,
    seed: int,
) -> list[Tile]:
    """Random train relations whose relation class lies in each band, with the counts of their classes."""
    band = band_of_class(counts.relations)[tables.relations["relation"].to_numpy()]
    chosen = []
    for name in BANDS:
        rows = np.flatnonzero(band == name)
        draw = generator(seed, "band tiles", name)
        chosen += [(name, row) for row in draw.permutation(rows)[:per_band]]
    return [_band_tile(tables, vocabulary, counts, name, row) for name, row in chosen]


def _band_tile(tables: RelationTables, vocabulary: Vocabulary, counts: Counts, band: str, row: int) -> Tile:
    subject, relation, obj = (int(tables.relations.iloc[row][role]) for role in ROLES)
    in_train = f"{counts.objects[subject]:,} / {counts.relations[relation]:,} / {counts.objects[obj]:,} in train"
    lines = (f"<b>{band}</b>", text_line(vocabulary.caption(subject, relation, obj)), in_train)
    return Tile(scene_of(tables, row), lines)


def neighbour_tiles(
    store: FeatureStore, vocabulary: Vocabulary, *, queries: int, neighbours: int, seed: int
) -> list[Tile]:
    """Groups of tiles: a random relation, then its nearest neighbours from other images."""
    rows = generator(seed, "neighbours").permutation(len(store))[:MOST_ROWS]
    features, images = store.union(rows), store.relations["image"].to_numpy()[rows]
    tiles = []
    for number in range(min(queries, len(rows))):
        near = nearest_rows(features, features[number], images, images[number], neighbours)
        for place, row in enumerate([number, *near]):
            title = f"<b>query {number + 1}</b>" if place == 0 else f"neighbour {place}"
            triplet = (int(store.relations.iloc[rows[row]][role]) for role in ROLES)
            tiles.append(Tile(scene_of(store, int(rows[row])), (title, text_line(vocabulary.caption(*triplet)))))
    return tiles


def sample_tiles(samples: np.ndarray, captions: list[str], store: FeatureStore, *, neighbours: int) -> list[Tile]:
    """For each generated feature (n, D), of a caption each, the real relations nearest to it, one an image."""
    rows = generator(0, "sample tiles").permutation(len(store))[:MOST_ROWS]
    features, images = store.union(rows), store.relations["image"].to_numpy()[rows]
    tiles = []
    for caption, sample in zip(captions, samples, strict=True):
        for place, row in enumerate(nearest_rows(features, sample, images, -1, neighbours), 1):
            title = f"nearest to <b>{text_line(caption)}</b>" if place == 1 else f"neighbour {place}"
            tiles.append(Tile(scene_of(store, int(rows[row])), (title,)))
    return tiles


def nearest_rows(features: np.ndarray, query: np.ndarray, images: np.ndarray, own_image: int, count: int) -> np.ndarray:
    """Rows of ``features`` (N, D) nearest to ``query`` (D,) by cosine, one per image and none of ``own_image``."""
    lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(query)
    similarity = features @ query / np.maximum(lengths, 1e-12)
    similarity[images == own_image] = -np.inf
    order = np.argsort(-similarity, kind="stable")
    _, first = np.unique(images[order], return_index=True)
    return order[np.sort(first)][:count]
