"""Simulated data sets of real size: annotations, features, text vectors; for trials of time, memory and disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from annotated_scenes.annotations import Annotations, read_annotations
from simulated_scenes.annotations import simulate_annotations
from simulated_scenes.plan import SIZES
from workbench.errors import WorkbenchError
from workbench.language.text_embedding import write_class_vectors
from workbench.language.wordnet import open_wordnet
from workbench.progress import track
from workbench.randomness import generator
from workbench.ranges import PositiveShare, Ranged, Seed, Whole
from workbench.regions.feature_writer import FeatureStoreWriter
from workbench.regions.features import FeatureStore
from workbench.scenes.relations import write_relation_tables
from workbench.scenes.vocabulary import OBJECTS_FILE, ROLES, SPLITS, Vocabulary

TEXT_DIMENSION = 768
NAME_LISTS = ("objects.txt", "relations.txt")
CLASS_SHARE = 0.7  # standard deviation of the class part of a feature; the noise makes the sum's 1
NOISES = 4096  # vectors of noise, which the rows take in turn: copying is all that a row costs
ROWS_PER_CHUNK = 2048
ROWS_PER_FLUSH = 1 << 17


@dataclass(frozen=True)
class SimulationConfig(Ranged):
    """``like`` which data set, at which ``scale``; length of features, 0 for annotations alone.

    ``sparse`` leaves the features as holes.
    """

    like: str = "gqa-lt"
    scale: PositiveShare = 1.0
    dimension: Whole = 0
    sparse: bool = False
    seed: Seed = 0


def simulate(folder: Path, *, config: SimulationConfig, vocabulary: Path | None = None) -> dict[str, Any]:
    """Stage builder: simulate a data set, laid out as imported features are.

    Writes annotations in ``annotations/``, objects.json, predicates.json, text vectors in ``text/``, and for each split
    its tables, with features beside them where they have a dimension. ``vocabulary``: a folder of names, see
    ``read_names``; without it ``default_names``. Returns the counts. A killed call continues.
    """
    folder, size = Path(folder), SIZES[config.like]
    names = read_names(vocabulary) if vocabulary else default_names(size.object_classes, size.relation_classes)
    annotations, seed, encoder = folder / "annotations", config.seed, f"simulated seed={config.seed}"
    summary = simulate_annotations(annotations, vocabulary=names, like=config.like, scale=config.scale, seed=seed)
    names.write(folder)
    vectors: dict[str, Any] = {
        kind: generator(seed, "simulated text", kind).standard_normal((number, TEXT_DIMENSION), dtype=np.float32)
        for kind, number in (("objects", len(names.objects)), ("relations", len(names.relations)))
    }
    summary["text"] = write_class_vectors(folder / "text", vocabulary=names, encoder=encoder, **vectors)
    if config.dimension:
        summary["features"] = simulate_features(folder, annotations, config.dimension, seed, config.sparse)
    else:
        for split in SPLITS:
            write_relation_tables(folder / split, read_annotations(annotations, split).tables)
    return summary


def simulate_features(
    folder: Path, annotations: Path, dimension: int, seed: int = 0, sparse: bool = False
) -> dict[str, dict[str, int]]:
    """Write a signed store ``folder``/<split> for each split of the annotation folder; returns the rows of each.

    ``sparse`` leaves the features as holes, which read as zeros and take no disk. A killed call resumes.
    """
    features = SimulatedFeatures(Vocabulary.read(annotations), dimension, seed)
    tables = {split: read_annotations(annotations, split) for split in SPLITS}
    for split, table in tables.items():
        _write_store(Path(folder) / split, table, features, sparse)
    return {split: {"boxes": len(table.boxes), "unions": len(table.relations)} for split, table in tables.items()}


class SimulatedFeatures:
    """Features as a function of (seed, dimension, classes, row): class prototypes plus noise, signed.

    A box's prototype is its class's, a union's the sum of those of subject, relation and object.
    """

    def __init__(self, vocabulary: Vocabulary, dimension: int, seed: int = 0):
        self.encoder, self.dimension = f"simulated dimension={dimension} seed={seed}", dimension
        sizes = {"objects": len(vocabulary.objects), "relations": len(vocabulary.relations), "noise": NOISES}
        self._vectors = {
            kind: generator(seed, "simulated features", kind).standard_normal((number, dimension), dtype=np.float32)
            for kind, number in sizes.items()
        }

    def boxes(self, rows: np.ndarray, object_class: np.ndarray) -> np.ndarray:
        """Features (n, D) float32 of box rows with their classes."""
        return self._noisy(rows, self._vectors["objects"][object_class])

    def unions(self, rows: np.ndarray, subject: np.ndarray, relation: np.ndarray, object_: np.ndarray) -> np.ndarray:
        """Features (n, D) float32 of relation rows with their classes."""
        objects, relations = self._vectors["objects"], self._vectors["relations"]
        return self._noisy(rows, (objects[subject] + relations[relation] + objects[object_]) / np.sqrt(np.float32(3)))

    def _noisy(self, rows: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
        return CLASS_SHARE * prototypes + (1 - CLASS_SHARE**2) ** 0.5 * self._vectors["noise"][rows % NOISES]


class _SparseWriter(FeatureStoreWriter):
    sparse = True


def _write_store(folder: Path, tables: Annotations, features: SimulatedFeatures, sparse: bool) -> None:
    encoder = features.encoder + (" holes" if sparse else "")
    if (folder / "features.json").is_file():
        FeatureStore(folder, expect_encoder=encoder, expect_dimension=features.dimension)
        return
    made: dict[str, Any] = {"tables": tables.tables, "dimension": features.dimension, "encoder": encoder}
    writer = (_SparseWriter if sparse else FeatureStoreWriter)(folder, **made)
    box, union = tables.boxes[["object_class"]].to_numpy(), tables.relations[list(ROLES)].to_numpy()
    for name, of_rows, classes in (("box_features", features.boxes, box), ("union_features", features.unions, union)):
        for start, stop in track([] if sparse else writer.missing(name, ROWS_PER_CHUNK), f"Simulating {name}"):
            writer.write(name, start, of_rows(np.arange(start, stop), *classes[start:stop].T))
            if stop % ROWS_PER_FLUSH == 0:
                writer.flush()
    writer.finish()


def read_names(folder: Path) -> Vocabulary:
    """Names by descending frequency: objects.json and predicates.json, or objects.txt and relations.txt.

    A text file has one name a line; a first line ``<unk>`` is left out.
    """
    if (Path(folder) / OBJECTS_FILE).is_file():
        return Vocabulary.read(folder)
    found = []
    for path in (Path(folder) / name for name in NAME_LISTS):
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        names = tuple(filter(None, map(str.strip, lines[1:] if lines[:1] == ["<unk>"] else lines)))
        if len(set(names)) != len(names) or len(names) < 2:
            raise WorkbenchError(
                f"{path}: expected a file with two names or more, one a line, each once. Give a folder with "
                f"{' and '.join(NAME_LISTS)}, or with {OBJECTS_FILE} and predicates.json."
            )
        found.append(names)
    return Vocabulary(*found)


def default_names(objects: int, relations: int) -> Vocabulary:
    """``objects`` noun lemmas of the shipped WordNet, spread over the alphabet, and "relation 001" and so on."""
    lemmas = sorted({lemma for lemma in open_wordnet().all_lemma_names("n") if lemma.isalpha() and lemma.islower()})
    places = np.linspace(0, len(lemmas) - 1, objects).astype(int)
    return Vocabulary(
        tuple(lemmas[place] for place in places), tuple(f"relation {number:03d}" for number in range(1, relations + 1))
    )
