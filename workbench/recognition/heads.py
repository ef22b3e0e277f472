"""The recognisers' heads by name, made new or empty."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from workbench.errors import WorkbenchError
from workbench.recognition.lsvru import LsvruConfig, LsvruHead
from workbench.recognition.reltransformer import RelTransformerConfig, RelTransformerHead
from workbench.recognition.word_vectors import ClassVectors

HEADS: dict[str, tuple[type[LsvruConfig], type[LsvruHead]]] = {
    "lsvru": (LsvruConfig, LsvruHead),
    "reltransformer": (RelTransformerConfig, RelTransformerHead),
}
# What the data decide; the rest of a configuration is a choice.
FROM_DATA = ("feature_dimension", "word_dimension", "n_objects", "n_relations", "separate_roles")


def architecture_of(head: LsvruHead) -> str:
    """The name of a head's architecture."""
    return next(name for name, (_, kind) in HEADS.items() if type(head) is kind)


def read_config(architecture: str, stored: Mapping[str, Any]) -> LsvruConfig:
    """The configuration that `as_json` wrote; TypeError for fields that it does not have."""
    if architecture not in HEADS:
        raise WorkbenchError(f"architecture {architecture!r} is not known. Choose one of: {', '.join(HEADS)}.")
    return HEADS[architecture][0](**stored)


def head_of(config: LsvruConfig, object_vectors: torch.Tensor, relation_vectors: torch.Tensor) -> LsvruHead:
    """A head of these sizes with weights that are still to be drawn or loaded."""
    kind = next(kind for known, kind in HEADS.values() if type(config) is known)
    return kind(config, object_vectors, relation_vectors)


def empty_head(config: LsvruConfig) -> LsvruHead:
    """A head of these sizes whose weights and word vectors are still to be loaded."""
    rows = (config.n_objects, config.n_relations + 1)
    return head_of(config, *(torch.zeros(count, config.word_dimension) for count in rows))


def new_head(
    architecture: str,
    dimension: int,
    vectors: ClassVectors,
    seed: int,
    *,
    separate_roles: bool = False,
    sizes: Mapping[str, Any] | None = None,
) -> LsvruHead:
    """A head with fresh weights for features of ``dimension`` and these word matrices.

    ``sizes`` names further fields of the architecture's configuration, for example {"hidden": 512, "blocks": 2}.
    """
    objects, relations = torch.from_numpy(np.array(vectors.objects)), torch.from_numpy(np.array(vectors.relations))
    sizes = dict(sizes or {})
    if architecture in HEADS:
        allowed = [field.name for field in fields(HEADS[architecture][0]) if field.name not in FROM_DATA]
        unknown = sorted(set(sizes) - set(allowed))
        if unknown:
            raise WorkbenchError(
                f"{architecture} has no size {', '.join(unknown)}. Choose among: {', '.join(sorted(allowed))}."
            )
    given = (dimension, objects.shape[1], len(objects), len(relations) - 1, separate_roles)
    config = read_config(architecture, dict(zip(FROM_DATA, given, strict=True)) | sizes)
    return head_of(config, objects, relations).initialise(seed)
