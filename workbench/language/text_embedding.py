"""Text folders: one vector for each object and relation name, and one for each caption that is asked for."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.file_errors import reading
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


@dataclass(frozen=True, eq=False)
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

    @classmethod
    def open(cls, folder: Path) -> "TextEmbeddings":
        """Read a text folder; WorkbenchError where it is incomplete, non-finite, or of mixed dimensions."""
        folder = Path(folder)
        manifest = read_manifest(folder)
        objects, relations = read_class_vectors(folder, manifest["dimension"])
        if len(lacking := np.flatnonzero(~np.isfinite(relations).all(axis=1))):
            first = vocabulary_of(folder).relations[lacking[0]]
            raise WorkbenchError(
                f"{folder}: {len(lacking)} of {len(relations)} relations lack a text vector, the first is {first!r}, "
                f"row {lacking[0]}. Learn them from the training rows with "
                "`workbench.language.learned_relations.complete_text_folder`."
            )
        facts = {name: manifest[name] for name in ("encoder", "kind", "learned_relations")}
        return cls(folder, unit_rows(objects), unit_rows(relations), **facts)

    @property
    def dimension(self) -> int:
        """T, the length of each vector."""
        return self.objects.shape[1]

    def triplets(self, subject: np.ndarray, relation: np.ndarray, object: np.ndarray) -> np.ndarray:
        """Unit vectors (n, T) float32 of the captions "subject relation object" of n triplets of class ids.

        An open_clip tower reads the caption; without one it is the normalised sum of the three class vectors. Each
        distinct triplet is computed once.
        """
        self.require_classes(subject, relation, object)
        distinct, row = distinct_triplets(subject, relation, object)
        if self.kind == "open_clip":
            vectors = self.captions(vocabulary_of(self.folder).spoken.captions(distinct))
        else:
            vectors = np.empty((len(distinct), self.dimension), dtype=np.float32)
            for start in range(0, len(distinct), ROWS_PER_CHUNK):
                s, r, o = distinct[start : start + ROWS_PER_CHUNK].T
                summed = self.objects[s] + self.relations[r] + self.objects[o]
                vectors[start : start + ROWS_PER_CHUNK] = unit_rows(summed)
        # Without a copy where each row comes once and in order.
        return vectors if np.array_equal(row, np.arange(len(vectors))) else vectors[row]

    def require_classes(self, subject: np.ndarray, relation: np.ndarray, object: np.ndarray) -> None:
        """WorkbenchError for a class id of the role that has no text vector."""
        limits = (len(self.objects), len(self.relations), len(self.objects))
        for role, ids, limit in zip(ROLES, (subject, relation, object), limits, strict=True):
            ids = np.asarray(ids)
            if len(bad := ids[(ids < 0) | (ids >= limit)]):
                what = f"{self.folder}: {role} class {bad[0]} is outside 0..{limit - 1}"
                raise WorkbenchError(f"{what}. The text folder and the relations must have the same vocabulary.")

    def captions(self, captions: list[str]) -> np.ndarray:
        """Unit vectors (n, T) float32 of any texts; needs a folder that holds a tower."""
        return self._tower.embed(list(captions))

    @cached_property
    def _tower(self) -> "CaptionEncoder":
        from workbench.language.caption_encoder import CaptionEncoder

        if self.kind != "open_clip":
            what = f"{self.folder}: holds class vectors and no text tower, so free text cannot be embedded"
            raise WorkbenchError(f"{what}. Use `triplets`, or write the folder with an open_clip tower.")
        return CaptionEncoder.load(self.folder)


def embed_class_names(
    folder: Path, *, vocabulary_folder: Path, tower: Path | None = None, config: TextConfig | None = None
) -> dict[str, Any]:
    """Write a text folder: the vector of every class name, and the tower to embed captions with later.

    ``tower`` is a folder that holds a trained small tower (``drawn_scenes.text_tower``); without it the published
    model of ``config`` is read. Returns the counts.
    """
    from workbench.language.caption_encoder import CaptionEncoder

    vocabulary = Vocabulary.read(vocabulary_folder)
    encoder = CaptionEncoder.from_open_clip(config or TextConfig()) if tower is None else CaptionEncoder.load(tower)
    encoder.save(folder)
    vectors = {kind: encoder.embed(list(getattr(vocabulary.spoken, kind))) for kind in ("objects", "relations")}
    facts = write_class_vectors(folder, vocabulary=vocabulary, **vectors, encoder=encoder.encoder, kind="open_clip")
    if training := encoder.config.get("training"):
        print(f"CLIP weights: {training}", flush=True)
        facts["clip_weights"] = training
    return facts


def write_class_vectors(
    folder: Path,
    *,
    vocabulary: Vocabulary,
    objects: np.ndarray,
    relations: np.ndarray,
    encoder: str,
    kind: str = "vectors",
) -> dict[str, Any]:
    """Write a text folder from given vectors of objects (C, T) and relations (R, T), and return the counts.

    A relation without a vector is a row of NaN; ``learned_relations.complete_text_folder`` fills those.
    """
    folder = Path(folder)
    vocabulary.write(folder)
    for what, path, vectors in (("objects", OBJECTS_ARRAY, objects), ("relations", RELATIONS_ARRAY, relations)):
        names = getattr(vocabulary, what)
        if vectors.ndim != 2 or len(vectors) != len(names):
            told = f"{folder}: {what} have text vectors of shape {vectors.shape} for {len(names)} names"
            raise WorkbenchError(f"{told}. Give one row for each name, in the order of the names.")
        save_array(folder / path, unit_rows(vectors))
    facts = {"encoder": encoder, "dimension": int(objects.shape[1])}
    write_json(folder / MANIFEST, {**facts, "kind": kind, "learned_relations": False})
    return {"objects": len(objects), "relations": len(relations), **facts}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The fields of ``text.json``: encoder, kind, learned_relations, dimension."""
    with reading(folder / MANIFEST, "a manifest of text vectors", "Write the text folder again."):
        manifest = dict[str, Any](read_json(folder / MANIFEST))
        if lacking := {"encoder", "kind", "learned_relations", "dimension"} - manifest.keys():
            raise ValueError(f"lacks {', '.join(sorted(lacking))}")
        if manifest["kind"] not in KINDS:
            raise ValueError(f"kind is {manifest['kind']!r}, expected {' or '.join(KINDS)}")
        return manifest


def read_class_vectors(folder: Path, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of objects (C, T) and relations (R, T), float32, a row of NaN where a relation has none.

    WorkbenchError where a file is unreadable, not a row of T ``dimension`` a name, or an object lacks a finite vector.
    """
    vocabulary = vocabulary_of(folder)
    objects = _read_array(folder / OBJECTS_ARRAY, vocabulary.objects, dimension)
    if len(bad := np.flatnonzero(~np.isfinite(objects).all(axis=1))):
        place = f"{folder / OBJECTS_ARRAY}, {vocabulary.objects[bad[0]]!r}"
        raise WorkbenchError(f"{place}: row {bad[0]} is not finite. Give every object name a text vector.")
    if (folder / RELATIONS_ARRAY).is_file():
        return objects, _read_array(folder / RELATIONS_ARRAY, vocabulary.relations, dimension)
    return objects, np.full((len(vocabulary.relations), dimension), np.nan, dtype=np.float32)


def _read_array(path: Path, names: tuple[str, ...], dimension: int) -> np.ndarray:
    with reading(path, "a readable array", "Write the text folder again."):
        vectors = np.load(path, allow_pickle=False)
    if vectors.shape != (len(names), dimension):
        raise WorkbenchError(
            f"{path}: vectors of shape {vectors.shape} where {MANIFEST} says (classes, {dimension}), and there are "
            f"{len(names)} names. Write the text folder again from one encoder."
        )
    return vectors.astype(np.float32)


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32; a row of zeros stays zero."""
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)


def vocabulary_of(folder: Path) -> Vocabulary:
    """The names that a text folder's rows belong to: its own, or those of the features folder around it."""
    return Vocabulary.read(folder if (folder / OBJECTS_FILE).is_file() else folder.parent)
