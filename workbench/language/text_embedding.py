"""Text folders: one vector for each object and relation name, and one for each caption that is asked for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench.errors import WorkbenchError
from workbench.files import read_json, save_array, write_json
from workbench.language.config import TextConfig
from workbench.scenes.relations import distinct_triplets
from workbench.scenes.vocabulary import OBJECTS_FILE, ROLES, Vocabulary

if TYPE_CHECKING:
    from workbench.language.caption_encoder import CaptionEncoder

OBJECTS_ARRAY = "object_embeddings.npy"
RELATIONS_ARRAY = "relation_embeddings.npy"
MANIFEST = "text.json"
KINDS = ("open_clip", "vectors")
ROWS_PER_CHUNK = 8192


@dataclass
class TextEmbeddings:
    """An open text folder: ``objects`` (C, T) and ``relations`` (R, T) float32 unit vectors.

    ``encoder`` is the identity of what made them; ``learned_relations`` says that embeddings, learned from image
    features, fill the relations that have no text vector.
    """

    folder: Path
    objects: np.ndarray
    relations: np.ndarray
    encoder: str
    kind: str
    learned_relations: bool
    _encoder: "CaptionEncoder | None" = field(default=None, repr=False)

    @classmethod
    def open(cls, folder: Path) -> "TextEmbeddings":
        """Read a text folder; WorkbenchError where it is incomplete, non-finite, or of mixed dimensions."""
        folder = Path(folder)
        manifest = read_manifest(folder)
        objects = unit_rows(read_class_vectors(folder / OBJECTS_ARRAY))
        if not (folder / RELATIONS_ARRAY).is_file():
            raise _relations_missing(folder, "all relations")
        relations = read_class_vectors(folder / RELATIONS_ARRAY)
        lacking = np.flatnonzero(~np.isfinite(relations).all(axis=1))
        if len(lacking):
            raise _relations_missing(folder, f"{len(lacking)} relations, the first in row {lacking[0]},")
        for name, vectors in ((OBJECTS_ARRAY, objects), (RELATIONS_ARRAY, relations)):
            if vectors.shape[1] != manifest["dimension"]:
                raise WorkbenchError(
                    f"{folder / name}: vectors of {vectors.shape[1]} numbers where {MANIFEST} says "
                    f"{manifest['dimension']}. Write the text folder again from one encoder."
                )
        learned = bool(manifest["learned_relations"])
        return cls(folder, objects, unit_rows(relations), manifest["encoder"], manifest["kind"], learned)

    @property
    def dimension(self) -> int:
        """T, the length of each vector."""
        return self.objects.shape[1]

    def triplets(self, subject: np.ndarray, relation: np.ndarray, object: np.ndarray) -> np.ndarray:
        """Unit vectors (n, T) float32 of the captions "subject relation object" of n triplets of class ids.

        An open_clip tower reads the caption; without one it is the normalised sum of the three class vectors. Each
        distinct triplet is computed once.
        """
        ids = [np.asarray(given, dtype=np.int64).reshape(-1) for given in (subject, relation, object)]
        self._check_ids(ids)
        distinct, row = distinct_triplets(ids[0], ids[1], ids[2])
        vectors = self._computed(distinct)
        # Without a copy where each row comes once and in order.
        return vectors if np.array_equal(row, np.arange(len(vectors))) else vectors[row]

    def captions(self, captions: list[str]) -> np.ndarray:
        """Unit vectors (n, T) float32 of any texts; needs a folder that holds a tower."""
        return self._caption_encoder().embed(list(captions))

    def _computed(self, triplets: np.ndarray) -> np.ndarray:
        if self.kind == "open_clip":
            return self.captions(vocabulary_of(self.folder).captions(triplets))
        vectors = np.empty((len(triplets), self.dimension), dtype=np.float32)
        for start in range(0, len(triplets), ROWS_PER_CHUNK):
            subject, relation, object = triplets[start : start + ROWS_PER_CHUNK].T
            summed = self.objects[subject] + self.relations[relation] + self.objects[object]
            vectors[start : start + ROWS_PER_CHUNK] = unit_rows(summed)
        return vectors

    def _caption_encoder(self) -> "CaptionEncoder":
        if self.kind != "open_clip":
            raise WorkbenchError(
                f"{self.folder}: holds class vectors and no text tower, so free text cannot be embedded. "
                "Use `triplets`, or write the folder with an open_clip tower."
            )
        if self._encoder is None:
            from workbench.language.caption_encoder import CaptionEncoder

            self._encoder = CaptionEncoder.load(self.folder)
        return self._encoder

    def _check_ids(self, ids: list[np.ndarray]) -> None:
        limits = (len(self.objects), len(self.relations), len(self.objects))
        for role, given, limit in zip(ROLES, ids, limits, strict=True):
            bad = given[(given < 0) | (given >= limit)]
            if len(bad):
                raise WorkbenchError(
                    f"{self.folder}: {role} class {bad[0]} is outside 0..{limit - 1}. "
                    "The text folder and the relations must have the same vocabulary."
                )


def embed_class_names(
    folder: Path, *, vocabulary_folder: Path, tower: Path | None = None, config: TextConfig | None = None
) -> dict:
    """Write a text folder: the vector of every class name, and the tower to embed captions with later.

    ``tower`` is a folder that holds a trained small tower (``text_tower.train_text_tower``); without it the published
    model of ``config`` is read. Returns the counts.
    """
    from workbench.language.caption_encoder import CaptionEncoder

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = Vocabulary.read(vocabulary_folder)
    published = config or TextConfig()
    encoder = CaptionEncoder.from_open_clip(published) if tower is None else CaptionEncoder.load(tower)
    encoder.save(folder)
    objects, relations = encoder.embed(list(vocabulary.objects)), encoder.embed(list(vocabulary.relations))
    return _write(folder, vocabulary, objects, relations, encoder.encoder, "open_clip")


def write_class_vectors(
    folder: Path,
    *,
    vocabulary: Vocabulary,
    objects: np.ndarray,
    relations: np.ndarray | None = None,
    encoder: str,
) -> dict:
    """Write a text folder from given vectors: objects (C, T), relations (R, T) or None where there are none.

    A relation without a vector may also be a row of NaN; ``learned_relations.complete_text_folder`` fills those.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    expected = {"objects": (objects, vocabulary.objects), "relations": (relations, vocabulary.relations)}
    for what, (vectors, names) in expected.items():
        if vectors is not None and (vectors.ndim != 2 or len(vectors) != len(names)):
            raise WorkbenchError(
                f"{folder}: {what} have text vectors of shape {vectors.shape} for {len(names)} names. "
                "Give one row for each name, in the order of the names."
            )
    return _write(folder, vocabulary, objects, relations, encoder, "vectors")


def read_manifest(folder: Path) -> dict:
    """The fields of ``text.json``: encoder, kind, learned_relations, dimension."""
    manifest = read_json(Path(folder) / MANIFEST)
    lacking = [name for name in ("encoder", "kind", "learned_relations", "dimension") if name not in manifest]
    if lacking or manifest["kind"] not in KINDS:
        raise WorkbenchError(
            f"{Path(folder) / MANIFEST}: expected encoder, kind ({' or '.join(KINDS)}), learned_relations and "
            f"dimension; {'lacks ' + ', '.join(lacking) if lacking else 'kind is ' + repr(manifest['kind'])}. "
            "Write the text folder again."
        )
    return manifest


def read_class_vectors(path: Path) -> np.ndarray:
    """An array (classes, T) as float32; WorkbenchError where the file is missing or not a matrix."""
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise WorkbenchError(f"{path}: not a readable array ({error}). Write the text folder again.") from error
    if vectors.ndim != 2:
        raise WorkbenchError(f"{path}: expected one row for each class, found shape {vectors.shape}.")
    if Path(path).name == OBJECTS_ARRAY and not np.isfinite(vectors).all():
        row = np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0]
        raise WorkbenchError(f"{path}: row {row} is not finite. Give every object name a text vector.")
    return vectors.astype(np.float32)


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32; a row of zeros stays zero."""
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)


def _write(folder, vocabulary, objects, relations, encoder, kind) -> dict:
    vocabulary.write(folder)
    save_array(folder / OBJECTS_ARRAY, unit_rows(objects))
    if relations is not None:
        save_array(folder / RELATIONS_ARRAY, unit_rows(relations))
    dimension = int(objects.shape[1])
    write_json(
        folder / MANIFEST,
        {"encoder": encoder, "kind": kind, "learned_relations": False, "dimension": dimension},
    )
    return {"objects": len(objects), "relations": len(vocabulary.relations), "dimension": dimension, "encoder": encoder}


def vocabulary_of(folder: Path) -> Vocabulary:
    """The names that a text folder's rows belong to: its own, or those of the features folder around it."""
    return Vocabulary.read(folder if (folder / OBJECTS_FILE).is_file() else folder.parent)


def _relations_missing(folder: Path, which: str) -> WorkbenchError:
    return WorkbenchError(
        f"{folder}: {which} lack a text vector. Learn them from the training rows with "
        "`workbench.language.learned_relations.complete_text_folder`."
    )
