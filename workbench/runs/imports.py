"""Data from elsewhere as stages: a data set, or features, with a text vector for every class where there can be."""

from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.language.config import TextConfig
from workbench.scenes.vocabulary import Vocabulary


def add_with_text(
    folder: Path,
    *,
    data_set: str,
    source: Path,
    image_folder: Path | None = None,
    validation_images: int = 0,
    clip_checkpoint: Path | None = None,
    clip_download: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Stage builder: add the known ``data_set`` found under ``source``, and write ``folder/text`` where it can.

    The text vectors come from CLIP ViT-L-14 where a checkpoint is given or may be downloaded, else from word vectors
    that the data set brings (VRD's GloVe vectors); without either there is no text folder. Returns the counts.
    """
    from workbench.language.text_embedding import embed_class_names
    from workbench.scenes.data_sets import add_data_set

    metrics = add_data_set(
        folder, name=data_set, root=source, image_folder=image_folder, validation_images=validation_images, seed=seed
    )
    if clip_checkpoint is not None or clip_download:
        config = TextConfig(checkpoint=clip_checkpoint, download=clip_download)
        metrics["text"] = embed_class_names(folder / "text", vocabulary_folder=folder, config=config)
    elif all((vectors := read_json(folder / "source.json")["text"]).values()):
        metrics["text"] = _write_word_vectors(folder, {kind: Path(path) for kind, path in vectors.items()})
    return metrics


def _write_word_vectors(folder: Path, files: dict[str, Path]) -> dict[str, Any]:
    from workbench.language.text_embedding import write_class_vectors

    vocabulary = Vocabulary.read(folder)
    vectors = {kind: _vectors_of(files[kind], getattr(vocabulary, kind)) for kind in ("objects", "relations")}
    return write_class_vectors(
        folder / "text", vocabulary=vocabulary, encoder=", ".join(path.stem for path in files.values()), **vectors
    )


def _vectors_of(path: Path, names: tuple[str, ...]) -> np.ndarray:
    # One list of numbers a class, in the order of the class names.
    vectors = read_json(path)
    if not isinstance(vectors, list) or len(vectors) != len(names):
        found = f"{len(vectors)} entries" if isinstance(vectors, list) else type(vectors).__name__
        raise WorkbenchError(
            f"{path}: expected a list of {len(names)} vectors, one for each class name, found {found}."
        )
    return np.array(vectors, dtype=np.float32)


def import_with_text(folder: Path, *, source: Path) -> dict[str, Any]:
    """Import ``source`` into ``folder`` and learn an embedding of each relation that brings no text vector.

    Without object vectors there is no text at all: the notebooks then say what is missing. Returns the counts of
    both steps.
    """
    from workbench.language.learned_relations import complete_text_folder
    from workbench.regions.features import FeaturesFolder
    from workbench.regions.import_features import import_features

    metrics = import_features(folder, source=source)
    if (folder / "text").is_dir():
        metrics["text"] = complete_text_folder(folder / "text", FeaturesFolder(folder).train)
    return metrics
