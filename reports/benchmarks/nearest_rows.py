"""How long the nearest of a full-size data set's training rows take to find, beside reading all of them."""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from reports.benchmarks.running import timed
from simulated_scenes.prepare import SimulatedFeatures, default_names
from tests.synthetic import long_tailed, split_writer
from workbench.paths import project_root
from workbench.randomness import generator
from workbench.regions.features import FeaturesFolder, FeatureStore
from workbench.regions.nearest import NearestRows, nearest_rows, write_nearest
from workbench.scenes.vocabulary import ROLES

_ROWS, _DIMENSION = 3_400_000, 512
_OBJECT_CLASSES, _RELATION_CLASSES = 1703, 310
_ROWS_PER_IMAGE = 50
_QUERIES, _NEAREST = 10, 5
_DECIDED = 1000
_ROWS_PER_CHUNK = 32_768


def benchmark_nearest_rows(rows: int = _ROWS) -> dict[str, Any]:
    """Seconds to build the stage and to answer, its bytes, and the recall of the five nearest against reading all rows.

    Simulated union features, prototypes of the classes plus noise, of which no two rows are alike; a question is a
    feature of some row's classes with noise of its own. The store lies in a temporary folder beside ``data/``.
    """
    with tempfile.TemporaryDirectory(dir=project_root(), prefix=".nearest_rows-") as folder:
        features, questions = simulated(Path(folder), rows)
        build, facts = timed(lambda: write_nearest(Path(folder) / "nearest", features=features.folder))
        index = NearestRows(features.train, Path(folder) / "nearest")
        first, _ = timed(index.find, questions[:1], _NEAREST)
        alone = [timed(index.find, question[None], _NEAREST) for question in questions]
        four, _ = timed(index.find, questions[:4], _NEAREST)
        reading, _ = timed(exact, features.train, questions[:1])
        expected = exact(features.train, questions)
    found = [set(answer[0][0].tolist()) for _, answer in alone]
    hits = sum(len(ours & set(true.tolist())) for ours, true in zip(found, expected, strict=True))
    seconds = sorted(taken for taken, _ in alone)
    return facts | {
        "build_seconds": build, "first_seconds": first, "query_seconds": statistics.median(seconds),
        "slowest_seconds": seconds[-1], "four_samples_seconds": four, "recall": hits / (_QUERIES * _NEAREST),
        "reading_all_seconds": reading,
    }  # fmt: skip


def simulated(folder: Path, rows: int) -> tuple[FeaturesFolder, np.ndarray]:
    """A features folder whose train split has so many rows, and questions (n, D) float32."""
    vocabulary = default_names(_OBJECT_CLASSES, _RELATION_CLASSES)
    relations = long_tailed(rows, vocabulary).assign(image=np.arange(rows) // _ROWS_PER_IMAGE)
    made, classes = SimulatedFeatures(vocabulary, _DIMENSION), relations[list(ROLES)].to_numpy()
    vocabulary.write(folder)
    options = {"dimension": _DIMENSION, "entity_region": "union", "encoder": made.encoder}
    writer = split_writer(folder / "train", relations, **options)
    for start in range(0, rows, _ROWS_PER_CHUNK):
        own = np.arange(start, min(rows, start + _ROWS_PER_CHUNK))
        fresh = generator(start, "nearest rows").standard_normal((len(own), _DIMENSION), dtype=np.float32)
        writer.write("union_features", start, made.unions(own, *classes[own].T) + 0.1 * fresh)
    writer.finish()
    draw = generator(0, "questions")
    own = draw.integers(0, rows, _QUERIES)
    noise = 0.5 * draw.standard_normal((_QUERIES, _DIMENSION), dtype=np.float32)
    return FeaturesFolder(folder), made.unions(own, *classes[own].T) + noise


def exact(store: FeatureStore, questions: np.ndarray) -> list[np.ndarray]:
    """The rows nearest to each question (n, D), each of another image, by reading every row.

    A product of matrices ranks all rows; of the first thousand the distances themselves decide.
    """
    ranks = np.empty((len(questions), len(store)), dtype=np.float32)
    for start in range(0, len(store), _ROWS_PER_CHUNK):
        features = store.union(np.arange(start, min(len(store), start + _ROWS_PER_CHUNK)))
        lengths = np.einsum("nd,nd->n", features, features)
        ranks[:, start : start + len(features)] = lengths - 2 * questions @ features.T
    best = np.argpartition(ranks, _DECIDED, axis=1)[:, :_DECIDED]
    return [nearest_rows(store, np.sort(rows), one, _NEAREST)[0] for rows, one in zip(best, questions, strict=True)]
