"""What is exchanged with the code bases of LTVRR and RelTransformer: their trained heads in, result tables out.

Their ``.pth`` checkpoints become recognisers of the workbench; our predictions are written as their scripts read them.
Source: reference `ltvrr.md` sections 1.6, 2.9, 7.1 and 8.
"""

from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from workbench.checkpoints import load_weights, read_foreign
from workbench.configuration import configured
from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.folders import MANIFEST
from workbench.recognition.lsvru import WORD_BUFFERS, LsvruConfig
from workbench.recognition.recogniser import RECOGNISER_FILE, RECOGNISERS, Recogniser, loaded_head, save_recogniser
from workbench.recognition.reltransformer import TRANSFORMERS
from workbench.recognition.word_vectors import ClassVectors, spelled_class_vectors
from workbench.regions.features import FeaturesFolder
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import Vocabulary
from workbench.stages import Stage

SHORT = {"relation": "rel", "subject": "sbj", "object": "obj"}
PREFIX = "RelDN."
# The networks that upstream stores beside the head (2.8, 2.9).
NETWORKS = ("Conv_Body", "Box_Head", "Box_Outs", "RPN", "Prd_RCNN")
FEATURE_DIMENSION, WORD_DIMENSION = 4096, 300
Tensors = dict[str, torch.Tensor]
# Sizes of a head by the tensor and the axis that tell them; the number of attention heads is in no shape.
SIZES = {
    "feature_dimension": ("so_vis_embeddings.weight", 1),
    "hidden": ("so_vis_embeddings.weight", 0),
    "word_dimension": ("so_sem_embeddings.0.weight", 1),
    "width": ("multi_head_attention.visual_fc.weight", 0),
    "memory": ("multi_head_attention.h.0.attn.memory_features", 1),
    "block_hidden": ("multi_head_attention.h.0.mlp.c_fc.weight", 1),
    "scene_hidden": ("image_encoder.layers.0.pwff.fc1.weight", 0),
}
LAYERS = {"blocks": "multi_head_attention.h.", "scene_layers": "image_encoder.layers."}


def import_upstream(
    path: Path, *, architecture: str, vocabulary: Vocabulary, word_vectors: Path | ClassVectors, encoder: str
) -> Recogniser:
    """A trained head of upstream as a recogniser, on the CPU, in evaluation mode.

    ``path`` is a ``model_step<N>.pth`` or ``best.pth`` (head under ``RelDN.``, other networks are counted in the
    history and left out), or the state dict of a head alone. The file knows no class names and no word vectors:
    ``vocabulary`` must have the classes in the order of the training, and ``word_vectors`` is the file of the training,
    or the two matrices. ``encoder`` is the identity of the region encoder whose features the head reads (upstream's
    unions have ``Prd_RCNN``, fine-tuned with the head). WorkbenchError on a file that cannot be read without running
    code, and on missing, extra, misshapen or non-finite tensors with the whole list of them.
    """
    path = Path(path)
    read = read_foreign(path)
    tensors, ignored = _head_part(read.tensors, path)
    config = _config_of(tensors, architecture, vocabulary, path)
    head = loaded_head(architecture, config, tensors, path, _remedy(tensors, architecture), without=WORD_BUFFERS)
    # Only now: GoogleNews takes minutes to read.
    source = "given class vectors"
    if not isinstance(word_vectors, ClassVectors):
        source = f"{Path(word_vectors).name} (upstream)"
        word_vectors, _ = spelled_class_vectors(Path(word_vectors), vocabulary, "upstream")
    words = (torch.from_numpy(np.array(matrix, dtype=np.float32)) for matrix in word_vectors)
    remedy = f"Give the word vectors of its training, not {source}."
    load_weights(head, dict(zip(WORD_BUFFERS, words, strict=True)), path, remedy, without=tensors.keys())
    step = read.beside.get("step")
    step = step if isinstance(step, int) else None
    history = {"stage": "import", "file": path.name, "step": step, "ignored": ignored, "changes": list(read.changes)}
    return Recogniser(head, vocabulary, encoder, "box", "unknown", source, history)


def write_imported(
    folder: Path, *, checkpoint: Path, architecture: str, features: Path, word_vectors: Path
) -> dict[str, Any]:
    """Write ``recogniser.safetensors`` into ``folder`` from upstream's ``checkpoint``, to be used on ``features``.

    Vocabulary and encoder are those of the features folder, whose train store must hold signed features, as upstream's
    are (2.3), and box features. A recogniser that is there already is not overwritten. Returns what was imported.
    """
    target = Path(folder) / RECOGNISER_FILE
    if target.exists():
        raise WorkbenchError(f"{target}: there is a recogniser already. Give another folder, or remove it first.")
    if (Path(features) / MANIFEST).is_file():
        Stage.at(features)  # compares its files with their checksums
    data = FeaturesFolder(features)
    vocabulary, store = data.vocabulary, data.train
    if store.support != "signed":
        what = f"{store.folder}: {store.support} features, but upstream's heads read fc7 before its last ReLU"
        raise WorkbenchError(f"{what}. Extract the features with signed values.")
    recogniser = import_upstream(
        checkpoint, architecture=architecture, vocabulary=vocabulary, word_vectors=word_vectors, encoder=store.encoder
    )
    recogniser.check_fits(vocabulary, store)
    save_recogniser(target, recogniser)
    config, history = recogniser.head.config, recogniser.history
    return {
        "architecture": architecture, "objects": config.n_objects, "relations": config.n_relations,
        "parameters": sum(parameter.numel() for parameter in recogniser.head.parameters()), "step": history["step"],
        "tensors of other networks, left out": history["ignored"],
        "taken off": "; ".join(history["changes"]) or "nothing", "words": recogniser.word_source,
    }  # fmt: skip


def _head_part(model: Tensors, path: Path) -> tuple[Tensors, dict[str, int]]:
    """The head's tensors without their prefix, and how many keys each other network has."""
    prefixed = any(name.startswith(PREFIX) for name in model)
    ours = {name for name in model if (name.startswith(PREFIX) if prefixed else name.split(".")[0] not in NETWORKS)}
    ignored = Counter(name.split(".")[0] for name in model if name not in ours)
    if not ours:
        what = f"{path}: no head of relations ({PREFIX}*), only {', '.join(sorted(ignored))}"
        raise WorkbenchError(f"{what}. Is it a detector? Give a checkpoint of LTVRR's or RelTransformer's training.")
    return {name.removeprefix(PREFIX): model[name] for name in sorted(ours)}, dict(sorted(ignored.items()))


def _config_of(tensors: Tensors, architecture: str, vocabulary: Vocabulary, path: Path) -> LsvruConfig:
    """The configuration that the shapes tell; upstream's sizes where the tensor is missing, for the list of faults."""
    sizes: dict[str, Any] = {"feature_dimension": FEATURE_DIMENSION, "word_dimension": WORD_DIMENSION}
    sizes |= {"n_objects": len(vocabulary.objects), "n_relations": len(vocabulary.relations), "compat": "upstream"}
    for size, prefix in LAYERS.items():
        numbers = {name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)}
        sizes |= {size: len(numbers)} if numbers else {}
    for size, (name, axis) in SIZES.items():
        if name in tensors and tensors[name].ndim > axis:
            sizes[size] = tensors[name].shape[axis]
    kind = RECOGNISERS[architecture].config_class
    known = {size.name: sizes[size.name] for size in fields(kind) if size.name in sizes}
    return configured(kind, known, f"{path}: {kind.__name__}")


def _remedy(tensors: Tensors, architecture: str) -> str:
    found = "reltransformer" if any(name.startswith(TRANSFORMERS) for name in tensors) else "lsvru"
    if found != architecture:
        return f"Its names are those of {found}: give that as the architecture."
    return "Give the whole file that upstream's training wrote with word classifiers."


def result_table(
    file_names: list[str],
    truth: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
    vocabulary: Vocabulary,
    counts: Counts,
    boxes_xyxy: dict[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """One row per annotated relation in the columns of ``rel_detections_gt_boxes_prdcls.csv``.

    ``file_names`` (N) of the images; ``truth`` ids and ``scores`` (N, C) or (N, R) by role; ``counts`` those of train.
    With ``boxes_xyxy`` of subject and object, (N, 4), it is upstream's ``_boxes`` variant.
    """
    columns: dict[str, object] = {"image_id": [Path(name).name.split(".")[0] for name in file_names]}
    for role, short in SHORT.items():
        names = np.array(vocabulary.names(role), dtype=object)
        frequency = counts.of_role(role)
        order = np.argsort(-scores[role], axis=1, kind="stable")  # ties go to the lower id
        predicted = order[:, 0]
        columns |= {
            f"gt_{short}": names[truth[role]],
            f"det_{short}": names[predicted],
            f"{short}_freq_gt": frequency[truth[role]],
            f"{short}_freq_det": frequency[predicted],
            f"{short}_rank": (order == truth[role][:, None]).argmax(axis=1),
        }
        if boxes_xyxy is not None and role in boxes_xyxy:
            columns |= {f"{short}_box_{k}": boxes_xyxy[role][:, k].astype(np.float32) for k in range(4)}
    return pd.DataFrame(columns)


def write_result_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a result table with upstream's CRLF line ends and its quote character "|"."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, quotechar="|", lineterminator="\r\n")
