"""Simulated data sets: annotations, features and text vectors of real size, for trials of time, memory and disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.scale.annotations import simulate_annotations
from tests.scale.features import simulate_features
from tests.scale.plan import SIZES
from workbench.errors import WorkbenchError
from workbench.language.text_embedding import write_class_vectors
from workbench.language.wordnet import open_wordnet
from workbench.randomness import generator
from workbench.scenes.annotations import read_annotations
from workbench.scenes.relations import write_relation_tables
from workbench.scenes.vocabulary import OBJECTS_FILE, SPLITS, Vocabulary

TEXT_DIMENSION = 768
ANNOTATIONS = "annotations"
NAME_LISTS = ("objects.txt", "relations.txt")
UNKNOWN = "<unk>"


@dataclass(frozen=True)
class SimulationConfig:
    """``like`` which data set, at which ``scale``; length of features, 0 for annotations alone.

    ``sparse`` leaves the features as holes; ``flaws`` is the share of boxes without an area or outside their image.
    """

    like: str = "gqa-lt"
    scale: float = 1.0
    dimension: int = 0
    sparse: bool = False
    flaws: float = 0.0
    seed: int = 0


def simulate(folder: Path, *, config: SimulationConfig, vocabulary: Path | None = None) -> dict[str, Any]:
    """Stage builder: simulate a data set, laid out as imported features are.

    Writes annotations in ``annotations/``, objects.json, predicates.json, text vectors in ``text/``, and for each split
    its tables, with features beside them where they have a dimension. ``vocabulary``: a folder of names, see
    ``read_names``; without it ``default_names``. Returns the counts. A killed call continues.
    """
    folder, size = Path(folder), SIZES[config.like]
    names = read_names(vocabulary) if vocabulary else default_names(size.object_classes, size.relation_classes)
    annotations = folder / ANNOTATIONS
    summary = simulate_annotations(
        annotations, vocabulary=names, like=config.like, scale=config.scale, seed=config.seed, flaws=config.flaws
    )
    names.write(folder)
    summary["text"] = _write_text(folder / "text", names, config.seed)
    if config.dimension:
        features = {"dimension": config.dimension, "seed": config.seed, "sparse": config.sparse}
        return summary | {"features": simulate_features(folder, annotations=annotations, **features)}
    for split in SPLITS:
        if not (folder / split / "tables.json").is_file():
            write_relation_tables(folder / split, read_annotations(annotations, split))
    return summary


def _write_text(folder: Path, names: Vocabulary, seed: int) -> dict[str, Any]:
    vectors = {
        kind: generator(seed, "simulated text", kind).standard_normal((number, TEXT_DIMENSION), dtype=np.float32)
        for kind, number in (("objects", len(names.objects)), ("relations", len(names.relations)))
    }
    return write_class_vectors(folder, vocabulary=names, encoder=f"simulated seed={seed}", **vectors)


def read_names(folder: Path) -> Vocabulary:
    """Names by descending frequency: objects.json and predicates.json, or objects.txt and relations.txt.

    A text file has one name a line; a first line ``<unk>`` is left out.
    """
    folder = Path(folder)
    if (folder / OBJECTS_FILE).is_file():
        return Vocabulary.read(folder)
    return Vocabulary(*(_lines(folder / name) for name in NAME_LISTS))


def default_names(objects: int, relations: int) -> Vocabulary:
    """``objects`` noun lemmas of the shipped WordNet, spread over the alphabet, and "relation 001" and so on."""
    lemmas = sorted({lemma for lemma in open_wordnet().all_lemma_names("n") if lemma.isalpha() and lemma.islower()})
    places = np.linspace(0, len(lemmas) - 1, objects).astype(int)
    return Vocabulary(
        tuple(lemmas[place] for place in places), tuple(f"relation {number:03d}" for number in range(1, relations + 1))
    )


def _lines(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise WorkbenchError(
            f"{path}: cannot be read ({error.strerror}). Give a folder with {' and '.join(NAME_LISTS)}, or with "
            f"{OBJECTS_FILE} and predicates.json."
        ) from error
    names = tuple(name for name in map(str.strip, lines[lines[:1] == [UNKNOWN] :]) if name)
    if len(set(names)) != len(names) or len(names) < 2:
        raise WorkbenchError(f"{path}: expected two names or more, one a line, each once.")
    return names
