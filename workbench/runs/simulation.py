"""Simulated data sets: annotations, features and text vectors of real size, for trials of time, memory and disk."""

from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.randomness import generator
from workbench.scenes.vocabulary import OBJECTS_FILE, Vocabulary

TEXT_DIMENSION = 768
ANNOTATIONS = "annotations"
NAME_LISTS = ("objects.txt", "relations.txt")
UNKNOWN = "<unk>"


def simulate(
    folder: Path,
    *,
    like: str = "gqa-lt",
    scale: float = 1.0,
    vocabulary: Path | None = None,
    dimension: int = 0,
    sparse: bool = False,
    seed: int = 0,
    flaws: float = 0.0,
) -> dict[str, Any]:
    """Simulate a data set into ``folder``: annotations alone, or with a bank a split and a text folder.

    With ``dimension`` 0 ``folder`` is an annotation folder. Otherwise it is laid out as imported features are
    (objects.json, predicates.json, <split>/, text/), the annotations in ``annotations/``; ``sparse`` leaves the
    features as holes. ``vocabulary``: a folder of names, see ``read_names``; without it ``default_names``. Returns the
    counts. A killed call continues.
    """
    from workbench.scenes.simulated import simulate_annotations
    from workbench.scenes.simulated.sizes import known_size

    folder, size = Path(folder), known_size(like)
    names = read_names(vocabulary) if vocabulary else default_names(size.object_classes, size.relation_classes)
    annotations = folder / ANNOTATIONS if dimension else folder
    summary = simulate_annotations(annotations, vocabulary=names, like=like, scale=scale, seed=seed, flaws=flaws)
    if not dimension:
        return summary
    from workbench.language.text_embedding import write_class_vectors
    from workbench.regions.simulated_features import simulate_features

    summary["features"] = simulate_features(
        folder, annotations=annotations, dimension=dimension, seed=seed, sparse=sparse
    )
    objects, relations = (
        generator(seed, "simulated text", kind).standard_normal((len(names_of_kind), TEXT_DIMENSION), dtype=np.float32)
        for kind, names_of_kind in (("objects", names.objects), ("relations", names.relations))
    )
    vectors = {"objects": objects, "relations": relations, "encoder": f"simulated seed={seed}"}
    summary["text"] = write_class_vectors(folder / "text", vocabulary=names, **vectors)
    return summary


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
    from workbench.language.wordnet import open_wordnet

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
