"""Recognisers: heads by name (`docs/own-recogniser.md` adds one), and trained ones with all they need, in a file."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench.checkpoints import read_tensors, save_tensors, weight_faults
from workbench.errors import WorkbenchError
from workbench.recognition.config import label
from workbench.recognition.lsvru import LsvruConfig, LsvruHead
from workbench.recognition.reltransformer import RelTransformerHead
from workbench.recognition.word_vectors import ClassVectors
from workbench.regions.features import FeatureStore
from workbench.registry import Registry
from workbench.scenes.vocabulary import Vocabulary

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


RECOGNISER_FILE = "recogniser.safetensors"
AGAIN = (
    "Copy the file again from where it came, or train the recogniser again; `workbench recogniser import` makes one "
    "from a checkpoint (.pth) of LTVRR or RelTransformer."
)


@dataclass
class Recogniser:
    """A trained head with what is needed to use it rightly.

    ``encoder`` is the identity of the region encoder whose features it reads, ``entity_region`` "box" or "union",
    ``word_source`` says where the class vectors come from, ``loss`` what it was trained with, ``history`` (JSON)
    how it came about. ``support`` of the features is "signed" or "rectified", "" where that is not known.
    """

    head: LsvruHead
    vocabulary: Vocabulary
    encoder: str
    entity_region: str
    loss: str
    word_source: str
    history: dict[str, Any] = field(default_factory=dict)
    support: str = ""

    def check_fits(self, features: FeatureStore, vocabulary: Vocabulary, place: Path) -> None:
        """Refuse features of another dimension, encoder, support or entity region, and another vocabulary."""
        wanted = self.head.config.feature_dimension
        again = "Give it the features it was trained on, or train it on these."
        if wanted != features.dimension:
            raise WorkbenchError(
                f"{place}: features of dimension {features.dimension}, but the recogniser reads {wanted}. {again}"
            )
        if self.encoder != features.encoder:
            raise WorkbenchError(
                f"{place}: features of the encoder {features.encoder!r}, but the recogniser was trained on those of "
                f"{self.encoder!r}. {again}"
            )
        if self.support and self.support != features.support:
            raise WorkbenchError(
                f"{place}: {features.support} features, but the recogniser was trained on {self.support} ones. {again}"
            )
        if self.entity_region != features.entity_region:
            raise WorkbenchError(f"{place}: {self._entity_misfit(features.entity_region)}")
        if self.vocabulary != vocabulary:
            raise WorkbenchError(
                f"{place}: its {len(vocabulary.objects)} object and {len(vocabulary.relations)} relation names are not "
                f"the recogniser's {len(self.vocabulary.objects)} and {len(self.vocabulary.relations)}. "
                "Train the recogniser on this vocabulary."
            )

    def _entity_misfit(self, found: str) -> str:
        if found == "box":
            return (
                "subject and object have features of their own boxes, but the recogniser was trained with the union's "
                "in their place. Give it features without those of boxes, or train it on these."
            )
        same = "" if self.head.config.separate_roles else " and embeds both alike, so it cannot tell them apart here"
        return (
            "the union's feature stands in for subject and object, but the recogniser was trained on those of their "
            f"own boxes{same}. Give it features with those of boxes, or train it on these."
        )


def save_recogniser(path: Path, recogniser: Recogniser) -> None:
    """Write a recogniser atomically; ``path`` is the file."""
    facts = {
        "architecture": architecture_of(recogniser.head),
        "config": recogniser.head.config.as_json(),
        "objects": list(recogniser.vocabulary.objects),
        "relations": list(recogniser.vocabulary.relations),
        "encoder": recogniser.encoder,
        "entity_region": recogniser.entity_region,
        "support": recogniser.support,
        "loss": recogniser.loss,
        "word_source": recogniser.word_source,
        "history": recogniser.history,
    }
    save_tensors(path, recogniser.head.state_dict(), facts)


def load_recogniser(path: Path) -> Recogniser:
    """Read a recogniser from its file or from the folder that holds it, on the CPU, in evaluation mode.

    Raises WorkbenchError on a missing, truncated or foreign file, and on missing, extra or misshapen weights with the
    whole list of them.
    """
    path = Path(path)
    path = path / RECOGNISER_FILE if path.is_dir() else path
    tensors, facts = read_tensors(path, AGAIN)
    try:
        architecture = facts["architecture"]
        config = read_config(architecture, facts["config"])
        vocabulary = Vocabulary(tuple(facts["objects"]), tuple(facts["relations"]))
        rest = {name: facts[name] for name in ("encoder", "entity_region", "loss", "word_source", "history", "support")}
    except (KeyError, TypeError, WorkbenchError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise WorkbenchError(f"{path}: its metadata is not that of a recogniser ({reason}). {AGAIN}") from error
    check_weights(architecture, config, tensors, path, AGAIN)
    head = head_class(architecture).empty(config)
    head.load_state_dict(tensors)
    return Recogniser(head.eval(), vocabulary, **rest)
