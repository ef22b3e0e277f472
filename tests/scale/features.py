"""Simulated feature stores: features of real size and dimension for annotations that have no pictures."""

from pathlib import Path

import numpy as np

from workbench.errors import WorkbenchError
from workbench.progress import track
from workbench.randomness import generator
from workbench.regions.feature_writer import FeatureStoreWriter
from workbench.regions.features import FeatureStore
from workbench.scenes.annotations import Annotations, read_annotations
from workbench.scenes.vocabulary import SPLITS, Vocabulary

DIMENSION = 4096
PIECES = 16
VERSIONS = 4
ROWS_PER_CHUNK = 2048
ROWS_PER_FLUSH = 1 << 17
CLASS_SHARE = 0.7  # standard deviation of the class part of a feature; the noise makes the sum's 1


class SparseWriter(FeatureStoreWriter):
    """A writer of features of full size that take no place on the disk."""

    sparse = True


class SimulatedFeatures:
    """Features as a function of (seed, dimension, classes, row): class prototypes plus noise, signed, float16.

    A feature is ``PIECES`` pieces side by side, each one of ``VERSIONS`` noisy versions of a class's prototype, chosen
    by a hash of the row: copying is all that a row costs. All pieces of a box's feature are of its class; those of a
    union's are of subject, relation and object in turn. ``dimension`` is a multiple of ``PIECES``.
    """

    def __init__(self, *, objects: int, relations: int, dimension: int = DIMENSION, seed: int = 0):
        if dimension < PIECES or dimension % PIECES:
            raise WorkbenchError(f"dimension {dimension}: simulated features have a multiple of {PIECES} numbers.")
        self.dimension = dimension
        self.encoder = f"simulated dimension={dimension} seed={seed}"
        pieces = [_noisy_pieces(seed, *kind, dimension) for kind in (("objects", objects), ("relations", relations))]
        self._pieces = np.concatenate(pieces)  # ((C + R) * PIECES * VERSIONS, D / PIECES)
        self._first_relation = objects

    def boxes(self, rows: np.ndarray, object_class: np.ndarray) -> np.ndarray:
        """Features (n, D) float16 of box rows with their classes."""
        return self._joined(rows, 0, [object_class])

    def unions(self, rows: np.ndarray, subject: np.ndarray, relation: np.ndarray, object_: np.ndarray) -> np.ndarray:
        """Features (n, D) float16 of relation rows with their classes."""
        return self._joined(rows, 1, [subject, relation + self._first_relation, object_])

    def _joined(self, rows: np.ndarray, kind: int, classes: list[np.ndarray]) -> np.ndarray:
        bits = _hashed(rows.astype(np.uint64) * np.uint64(2) + np.uint64(kind))
        chosen = np.empty((len(rows), PIECES), dtype=np.int64)
        for place in range(PIECES):
            version = (bits >> np.uint64(2 * place)).astype(np.int64) % VERSIONS
            chosen[:, place] = (classes[place % len(classes)] * PIECES + place) * VERSIONS + version
        features = np.empty((len(rows), PIECES, self.dimension // PIECES), dtype=np.float16)
        np.take(self._pieces, chosen, axis=0, out=features, mode="clip")
        return features.reshape(len(rows), self.dimension)


def simulate_features(
    folder: Path,
    *,
    annotations: Path,
    dimension: int = DIMENSION,
    seed: int = 0,
    sparse: bool = False,
) -> dict[str, dict[str, int]]:
    """Write a signed store ``folder``/<split> for each split of the annotation folder, and the names beside them.

    ``sparse`` leaves the features as holes, which read as zeros and take no disk. A killed call resumes; finished
    stores stay. Returns the rows of each store.
    """
    folder, annotations = Path(folder), Path(annotations)
    vocabulary = Vocabulary.read(annotations)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary.write(folder)
    classes = {"objects": len(vocabulary.objects), "relations": len(vocabulary.relations)}
    features = SimulatedFeatures(**classes, dimension=dimension, seed=seed)
    return {
        split: _write_store(folder / split, read_annotations(annotations, split), features, sparse) for split in SPLITS
    }


def _write_store(folder: Path, tables: Annotations, features: SimulatedFeatures, sparse: bool) -> dict[str, int]:
    rows = {"boxes": len(tables.boxes), "unions": len(tables.relations)}
    encoder = features.encoder + (" holes" if sparse else "")
    if (folder / "features.json").is_file():
        FeatureStore.open(folder, expect_encoder=encoder, expect_dimension=features.dimension)
        return rows
    writer = (SparseWriter if sparse else FeatureStoreWriter)(
        folder,
        images=tables.images,
        boxes=tables.boxes,
        relations=tables.relations,
        dimension=features.dimension,
        encoder=encoder,
    )
    if not sparse:
        _write_rows(writer, tables, features)
    writer.finish()
    return rows


def _write_rows(writer: FeatureStoreWriter, tables: Annotations, features: SimulatedFeatures) -> None:
    labels = tables.boxes["object_class"].to_numpy()
    ends = [tables.relations[role].to_numpy() for role in ("subject", "relation", "object")]
    for start, stop in track(writer.missing("box_features", ROWS_PER_CHUNK), "Simulating box features"):
        rows = np.arange(start, stop)
        writer.write("box_features", start, features.boxes(rows, labels[rows]))
        _flush_now_and_then(writer, stop)
    writer.flush()
    for start, stop in track(writer.missing("union_features", ROWS_PER_CHUNK), "Simulating union features"):
        rows = np.arange(start, stop)
        writer.write("union_features", start, features.unions(rows, *(classes[rows] for classes in ends)))
        _flush_now_and_then(writer, stop)
    writer.flush()


def _flush_now_and_then(writer: FeatureStoreWriter, stop: int) -> None:
    if stop % ROWS_PER_FLUSH == 0:
        writer.flush()


def _noisy_pieces(seed: int, kind: str, classes: int, dimension: int) -> np.ndarray:
    random = generator(seed, "simulated features", kind)
    prototypes = random.standard_normal((classes, PIECES, 1, dimension // PIECES), dtype=np.float32)
    pieces = random.standard_normal((classes, PIECES, VERSIONS, dimension // PIECES), dtype=np.float32)
    pieces *= np.float32(np.sqrt(1 - CLASS_SHARE**2))
    pieces += np.float32(CLASS_SHARE) * prototypes
    return pieces.astype(np.float16).reshape(classes * PIECES * VERSIONS, dimension // PIECES)


def _hashed(numbers: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: neighbouring numbers get unrelated bits."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
