"""Which points of a feature map a recogniser gets right, from the points' own features."""

from pathlib import Path

import numpy as np
import pandas as pd

from workbench.devices import chosen_device
from workbench.progress import track
from workbench.recognition.checkpoint import Recogniser, load_recogniser
from workbench.recognition.prediction import ROWS_PER_BATCH, probability_batches
from workbench.recognition.stored_features import FeatureRows
from workbench.regions.feature_store import FeatureStore
from workbench.regions.features import Dtype, Features
from workbench.regions.generated_features import GeneratedFeatures
from workbench.scenes.vocabulary import ROLES, Vocabulary


class _ChosenRows:
    """Some rows of a store or of generated features, as features of their own."""

    def __init__(self, source: Features, rows: np.ndarray):
        self._source, self._rows = source, rows
        self.relations = source.relations.iloc[rows].reset_index(drop=True)
        self.dimension, self.entity_region = source.dimension, source.entity_region

    def __len__(self) -> int:
        return len(self._rows)

    def subject(self, rows: np.ndarray, dtype: Dtype = np.float32) -> np.ndarray:
        return self._source.subject(self._rows[rows], dtype)

    def union(self, rows: np.ndarray, dtype: Dtype = np.float32) -> np.ndarray:
        return self._source.union(self._rows[rows], dtype)

    def object(self, rows: np.ndarray, dtype: Dtype = np.float32) -> np.ndarray:
        return self._source.object(self._rows[rows], dtype)


def right_or_wrong(recogniser: Path, features: Path, generated: Path, points: pd.DataFrame) -> dict[str, np.ndarray]:
    """Whether the best class of each role is the label, (N,) bool by role, for the points of a feature map.

    A head that reads scenes is shown the whole image of a real row, as in training; a generated row is its own scene
    (`workbench.recognition.scene_features`). WorkbenchError where the recogniser was trained on other features.
    """
    store, vocabulary = FeatureStore.open(Path(features) / "train"), Vocabulary.read(features)
    loaded = load_recogniser(recogniser)
    loaded.check_fits(store, vocabulary, store.folder)
    own = (points["source"] == "generated").to_numpy()
    right = {role: np.zeros(len(points), dtype=bool) for role in ROLES}
    for source, here in ((store, ~own), (GeneratedFeatures.open(generated, store), own)):
        if here.any():
            for role, hits in _hits(loaded, source, points.loc[here, "row"].to_numpy()).items():
                right[role][here] = hits
    return right


def _hits(loaded: Recogniser, source: FeatureStore | GeneratedFeatures, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Hits (n,) bool by role of rows (n,) of one source."""
    read = np.unique(rows)
    if loaded.head.reads_scenes and "image" in source.relations:
        images = source.relations["image"].to_numpy()
        read = np.flatnonzero(np.isin(images, images[read]))
    chosen = FeatureRows(_ChosenRows(source, read), str(source.folder), memory_gigabytes=0.0)
    device = chosen_device()
    hits = {role: np.zeros(len(read), dtype=bool) for role in ROLES}
    batches = probability_batches(loaded.head.to(device), chosen, device)
    for numbers, scores in track(batches, "Recognising the points", total=-(-len(read) // ROWS_PER_BATCH)):
        for role in ROLES:
            hits[role][numbers] = scores[role].argmax(axis=1) == chosen.labels[role][numbers]
    place = np.searchsorted(read, rows)
    return {role: found[place] for role, found in hits.items()}
