"""The recognisers' heads by name, made new or from stored weights; `docs/own-recogniser.md` adds one."""

from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench.checkpoints import weight_faults
from workbench.errors import WorkbenchError
from workbench.recognition.config import label
from workbench.recognition.lsvru import LsvruConfig, LsvruHead
from workbench.recognition.reltransformer import RelTransformerHead
from workbench.recognition.word_vectors import ClassVectors
from workbench.registry import Registry

RECOGNISERS: Registry[type[LsvruHead]] = Registry(
    "recogniser", {"lsvru": LsvruHead, "reltransformer": RelTransformerHead}
)
# What the data decide; the rest of a configuration is a choice.
FROM_DATA = ("feature_dimension", "word_dimension", "n_objects", "n_relations", "separate_roles")


def head_class(architecture: str | type[LsvruHead]) -> type[LsvruHead]:
    """The class of a head that is registered, importable, or given itself."""
    kind = RECOGNISERS.resolve(architecture)
    if not (isinstance(kind, type) and issubclass(kind, LsvruHead)):
        raise WorkbenchError(f"recogniser {architecture!r} is {kind!r}; expected a class derived from LsvruHead.")
    return kind


def architecture_of(head: LsvruHead) -> str:
    """The name of a head's architecture, or the import path of its class where it is not registered."""
    return next((name for name, kind in RECOGNISERS.items() if type(head) is kind), label(type(head)))


def read_config(architecture: str | type[LsvruHead], stored: Mapping[str, Any]) -> LsvruConfig:
    """The configuration that `as_json` wrote; TypeError for fields that it does not have."""
    return head_class(architecture).config_class(**stored)


def new_head(
    architecture: str | type[LsvruHead],
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
    kind = head_class(architecture)
    objects, relations = torch.from_numpy(np.array(vectors.objects)), torch.from_numpy(np.array(vectors.relations))
    allowed = sorted(field.name for field in fields(kind.config_class) if field.name not in FROM_DATA)
    unknown = sorted(set(sizes or {}) - set(allowed))
    if unknown:
        raise WorkbenchError(
            f"{label(architecture)} has no size {', '.join(unknown)}. Choose among: {', '.join(allowed)}."
        )
    given = (dimension, objects.shape[1], len(objects), len(relations) - 1, separate_roles)
    config = kind.config_class(**dict(zip(FROM_DATA, given, strict=True)) | dict(sizes or {}))
    return kind(config, objects, relations).initialise(seed)


def check_weights(
    architecture: str | type[LsvruHead],
    config: LsvruConfig,
    tensors: Mapping[str, torch.Tensor],
    path: Path,
    remedy: str,
    without: Collection[str] = (),
) -> None:
    """Refuse tensors that are not all of the head's: each missing, extra, misshapen or non-finite one is named.

    ``without`` names tensors of the head that the file does not hold.
    """
    try:
        # Without memory, so that the sizes of a damaged file are compared before they are believed.
        with torch.device("meta"):
            head = head_class(architecture).empty(config)
    # Torch's errors for sizes beyond its arithmetic and beyond its integers.
    except (RuntimeError, TypeError) as error:
        first_line = str(error).splitlines()[0]
        raise WorkbenchError(f"{path}: no head has the sizes of its metadata ({first_line}). {remedy}") from error
    wanted = {name: tuple(value.shape) for name, value in head.state_dict().items() if name not in without}
    faults = weight_faults(wanted, tensors)
    if faults:
        raise WorkbenchError(f"{path}: {len(faults)} tensors do not fit: {'; '.join(faults)}. {remedy}")
