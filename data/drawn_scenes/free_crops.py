"""Labelled crops of freely drawn pairs and single things, every class as often as every other."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from drawn_scenes.catalogue import OBJECT_NAMES
from drawn_scenes.image import draw_image
from drawn_scenes.plan import GroupPlan, ImagePlan
from drawn_scenes.processes import mapped
from drawn_scenes.rules import LEFT, RELATION_NAMES, RIGHT, allowed
from workbench.errors import WorkbenchError
from workbench.progress import track
from workbench.randomness import generator

PAIRS_PER_CHUNK = 64
PAIRS_WORTH_A_POOL = 600
CANVAS = 112
NO_CLASS = -1


def draw_free_crops(
    n_pairs: int,
    seed: int,
    *,
    crop_size: int = 64,
    singles: int = 1,
    workers: int = 0,
    object_names: Sequence[str] = OBJECT_NAMES,
    relation_names: Sequence[str] = RELATION_NAMES,
) -> tuple[np.ndarray, np.ndarray]:
    """Crops of ``n_pairs`` union regions, each followed by ``singles`` (0 to 2) crops of its single things.

    Returns images (n, crop_size, crop_size, 3) uint8, the regions resized to squares, and triplets (n, 3) int64,
    positions in ``object_names`` and ``relation_names``; a single thing has -1 as relation and object. Relations
    are equally frequent, and objects as nearly as the rules for the relations allow. Crops depend on the seed and
    the row, not on ``workers`` (0: one per core).
    """
    plans = balanced_pairs(n_pairs, seed, object_names, relation_names)
    chunks = [
        (plans[start : start + PAIRS_PER_CHUNK], start, seed, crop_size, singles)
        for start in range(0, len(plans), PAIRS_PER_CHUNK)
    ]
    objects = {name: index for index, name in enumerate(object_names)}
    relations = {name: index for index, name in enumerate(relation_names)}
    images = np.empty((n_pairs * (1 + singles), crop_size, crop_size, 3), dtype=np.uint8)
    rows: list[tuple[int, int, int]] = []
    chunks_drawn = mapped(_draw_chunk, chunks, workers, pool=n_pairs >= PAIRS_WORTH_A_POOL)
    for drawn, names in track(chunks_drawn, "Drawing free crops", total=len(chunks)):
        images[len(rows) : len(rows) + len(names)] = drawn
        rows += [(objects[s], relations[r] if r else NO_CLASS, objects[o] if o else NO_CLASS) for s, r, o in names]
    return images, np.array(rows, dtype=np.int64).reshape(-1, 3)


def balanced_pairs(
    count: int, seed: int, object_names: Sequence[str] = OBJECT_NAMES, relation_names: Sequence[str] = RELATION_NAMES
) -> list[tuple[str, str, str]]:
    """Triplets in which relations take turns and the least used allowed classes come first."""
    foreign = [*(set(object_names) - set(OBJECT_NAMES)), *(set(relation_names) - set(RELATION_NAMES))]
    if foreign:
        raise WorkbenchError(
            f"{sorted(foreign)[0]!r} ({len(foreign)} such names) is not a class that can be drawn. Take the names of a "
            "folder that `draw_scenes` wrote; other data sets take a published open_clip model for their texts."
        )
    rng = generator(seed, "free pairs")
    positions = [OBJECT_NAMES.index(name) for name in object_names]
    tables = {name: allowed(name)[np.ix_(positions, positions)] for name in relation_names}
    turns = [name for name in relation_names if tables[name].any()]
    used = np.zeros(len(object_names))
    triplets = []
    for row in range(count):
        relation = turns[row % len(turns)]
        table = tables[relation]
        subject = _least_used(used, np.asarray(table.any(axis=1)), rng)
        object_ = _least_used(used, table[subject], rng)
        used[[subject, object_]] += 1
        triplets.append((object_names[subject], relation, object_names[object_]))
    order = rng.permutation(count)
    return [triplets[row] for row in order]


def _least_used(used: np.ndarray, choices: np.ndarray, rng: np.random.Generator) -> int:
    return int(np.argmin(np.where(choices, used + rng.random(len(used)), np.inf)))


def _draw_chunk(chunk) -> tuple[np.ndarray, list[tuple[str, str, str]]]:
    triplets, start, seed, crop_size, singles = chunk
    crops, names = [], []
    for offset, triplet in enumerate(triplets):
        rng = generator(seed, "free crop", start + offset)
        pixels, boxes = _drawn_pair(triplet, rng)
        regions = [("union", triplet)]
        roles = rng.permutation(["subject", "object"])[:singles]
        regions += [(role, (triplet[0] if role == "subject" else triplet[2], "", "")) for role in roles]
        for region, name in regions:
            crops.append(_crop(pixels, boxes, str(region), rng, crop_size))
            names.append(name)
    return np.stack(crops), names


def _drawn_pair(triplet: tuple[str, str, str], rng: np.random.Generator):
    subject, relation, object_ = triplet
    if relation in (LEFT, RIGHT):
        orders = (0.0, 1.0) if relation == LEFT else (1.0, 0.0)
        plan = ImagePlan([GroupPlan(subject, order=orders[0]), GroupPlan(object_, order=orders[1])])
        left, right = (0, 1) if relation == LEFT else (1, 0)
        plan.mirrored = [(left, "subject", right, "subject")]
        keys = {"subject": (0, "subject"), "object": (1, "subject")}
    else:
        plan = ImagePlan([GroupPlan(subject, relation, object_)])
        keys = {"subject": (0, "subject"), "object": (0, "object")}
    drawn = draw_image(plan, rng, CANVAS)
    return drawn.pixels, {role: drawn.boxes[key] for role, key in keys.items()}


def _crop(pixels: np.ndarray, boxes, region: str, rng: np.random.Generator, size: int) -> np.ndarray:
    chosen = np.array(list(boxes.values()) if region == "union" else [boxes[region]], dtype=np.float64)
    (x1, y1), (x2, y2) = chosen[:, :2].min(axis=0), chosen[:, 2:].max(axis=0) + 1
    jitter = rng.normal(0, 0.025, 4) * [x2 - x1, y2 - y1, x2 - x1, y2 - y1]
    x1, y1, x2, y2 = np.clip(np.array([x1, y1, x2, y2]) + jitter, 0, len(pixels)).tolist()
    box = (x1, y1, max(x2, x1 + 2), max(y2, y1 + 2))
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box=box))
