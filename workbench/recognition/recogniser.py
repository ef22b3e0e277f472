"""Recognisers: heads by name (`docs/own-recogniser.md` adds one), and trained ones with all they need, in a file."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from workbench.checkpoints import load_weights, read_tensors, save_tensors
from workbench.configuration import as_values, configured
from workbench.errors import WorkbenchError, unknown
from workbench.recognition.lsvru import LsvruConfig, LsvruHead
from workbench.recognition.reltransformer import RelTransformerHead
from workbench.regions.features import FeatureStore
from workbench.registry import Registry
from workbench.scenes.vocabulary import Vocabulary

Architecture = str | type[LsvruHead]

RECOGNISERS = Registry[type[LsvruHead]]("recogniser", {"lsvru": LsvruHead, "reltransformer": RelTransformerHead})
# What the data decide; the rest of a configuration is a choice.
FROM_DATA = ("feature_dimension", "word_dimension", "n_objects", "n_relations", "separate_roles")
RECOGNISER_FILE = "recogniser.safetensors"
AGAIN = (
    "Copy the file again from where it came, or train the recogniser again; `workbench recogniser import` makes one "
    "from a checkpoint (.pth) of LTVRR or RelTransformer."
)
ENTITY_REGIONS = {
    "box": "subjects and objects in boxes of their own",
    "union": "unions that stand in for subjects and objects",
}
# What is written of a recogniser as it is.
STORED = ("encoder", "entity_region", "loss", "word_source", "history", "support")


def head_class(architecture: Architecture) -> type[LsvruHead]:
    """The class of a head that is registered, importable, or given itself."""
    kind = RECOGNISERS.resolve(architecture)
    if not (isinstance(kind, type) and issubclass(kind, LsvruHead)):
        raise WorkbenchError(f"recogniser {architecture!r} is {kind!r}; expected a class derived from LsvruHead.")
    return kind


def check_sizes(architecture: Architecture, sizes: Mapping[str, Any]) -> None:
    """Refuse an unknown architecture, and ``sizes`` that its configuration lacks or refuses, or the data decide."""
    config_class = head_class(architecture).config_class
    allowed = sorted(field.name for field in fields(config_class) if field.name not in FROM_DATA)
    for name in sizes:
        if name not in allowed:
            raise WorkbenchError(f"{as_values(architecture)}: {unknown('size', name, allowed)}")
    of_data = dict(zip(FROM_DATA, (1, 1, 1, 1, False), strict=True))
    configured(config_class, {**of_data, **sizes}, "sizes")


def loaded_head(
    architecture: Architecture,
    config: LsvruConfig,
    tensors: Mapping[str, torch.Tensor],
    path: Path,
    remedy: str,
    without: Collection[str] = (),
) -> LsvruHead:
    """A head of ``tensors``, which lack those ``without``; WorkbenchError as `load_weights` or for impossible sizes."""
    try:
        # Without memory, so that the sizes of a damaged file are compared before they are believed.
        with torch.device("meta"):
            head = head_class(architecture).empty(config)
    # Torch's errors for sizes beyond its arithmetic and beyond its integers.
    except (RuntimeError, TypeError) as error:
        first_line = str(error).splitlines()[0]
        raise WorkbenchError(f"{path}: no head has the sizes of its metadata ({first_line}). {remedy}") from error
    load_weights(head, tensors, path, remedy, without)
    return head.eval()


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

    def check_fits(self, vocabulary: Vocabulary, *stores: FeatureStore) -> None:
        """Refuse features of another dimension, encoder, support or entity region, and another vocabulary."""
        for store in stores:
            for found, wanted in (
                (f"dimension {store.dimension}", f"dimension {self.head.config.feature_dimension}"),
                (f"the encoder {store.encoder!r}", f"the encoder {self.encoder!r}"),
                (f"{store.support} values", f"{self.support or store.support} values"),
                (ENTITY_REGIONS[store.entity_region], ENTITY_REGIONS[self.entity_region]),
            ):
                if found != wanted:
                    what = f"{store.folder}: features of {found}, but the recogniser was trained on those of {wanted}"
                    raise WorkbenchError(f"{what}. Give it the features it was trained on, or train it on these.")
            if self.vocabulary != vocabulary:
                raise WorkbenchError(
                    f"{store.folder}: its {len(vocabulary.objects)} object and {len(vocabulary.relations)} relation "
                    f"names are not the recogniser's {len(self.vocabulary.objects)} and "
                    f"{len(self.vocabulary.relations)}. Train the recogniser on this vocabulary."
                )


def save_recogniser(path: Path, recogniser: Recogniser) -> None:
    """Write a recogniser atomically; ``path`` is the file."""
    kind = type(recogniser.head)
    facts = {
        "architecture": next((name for name, known in RECOGNISERS.items() if known is kind), as_values(kind)),
        "config": as_values(recogniser.head.config),
        **as_values(recogniser.vocabulary),
        **{name: getattr(recogniser, name) for name in STORED},
    }
    save_tensors(path, recogniser.head.state_dict(), facts)


def load_recogniser(path: Path) -> Recogniser:
    """Read a recogniser from its file or folder, on the CPU, in evaluation mode; WorkbenchError with all its faults."""
    path = Path(path)
    path = path / RECOGNISER_FILE if path.is_dir() else path
    tensors, facts = read_tensors(path, AGAIN)
    try:
        config = configured(head_class(facts["architecture"]).config_class, facts["config"])
        vocabulary = Vocabulary(tuple(facts["objects"]), tuple(facts["relations"]))
        rest = {name: facts[name] for name in STORED}
        if (len(vocabulary.objects), len(vocabulary.relations)) != (config.n_objects, config.n_relations):
            raise WorkbenchError(
                f"{len(vocabulary.objects)} object and {len(vocabulary.relations)} relation names, but a head of "
                f"{config.n_objects} and {config.n_relations} classes"
            )
    except (KeyError, TypeError, WorkbenchError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise WorkbenchError(f"{path}: its metadata is not that of a recogniser ({reason}). {AGAIN}") from error
    head = loaded_head(facts["architecture"], config, tensors, path, AGAIN)
    return Recogniser(head, vocabulary, **rest)
