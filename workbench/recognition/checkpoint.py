"""Recogniser checkpoints: weights, word vectors, class names and provenance in one safetensors file."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.recognition.heads import architecture_of, empty_head, read_config
from workbench.recognition.lsvru import LsvruConfig, LsvruHead
from workbench.regions.feature_store import ENTITY_REGIONS, SUPPORTS
from workbench.scenes.vocabulary import Vocabulary, name_problems

RECOGNISER_FILE = "recogniser.safetensors"
METADATA_KEY = "workbench"
AGAIN = "Copy the file again from where it came, or train the recogniser again."
FOREIGN = (
    f"Give a {RECOGNISER_FILE} that the workbench wrote; `workbench recogniser import` makes one from a checkpoint "
    "(.pth) of LTVRR or RelTransformer."
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

    def check_fits(self, store, vocabulary: Vocabulary, place: Path) -> None:
        """Refuse features of another dimension, encoder, support, entity region (all of ``store``) or vocabulary."""
        wanted, found = self.head.config.feature_dimension, store.dimension
        if wanted != found:
            raise WorkbenchError(
                f"{place}: features of dimension {found}, but the recogniser reads {wanted}. "
                "Give it the features it was trained on, or train it on these."
            )
        if self.encoder != store.encoder:
            raise WorkbenchError(
                f"{place}: features of the encoder {store.encoder!r}, but the recogniser was trained on those of "
                f"{self.encoder!r}. Give it the features it was trained on, or train it on these."
            )
        if self.support and self.support != store.support:
            raise WorkbenchError(
                f"{place}: {store.support} features, but the recogniser was trained on {self.support} ones. "
                "Give it the features it was trained on, or train it on these."
            )
        if self.entity_region != store.entity_region:
            raise WorkbenchError(f"{place}: {self._entity_misfit(store.entity_region)}")
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

    Raises WorkbenchError on a missing, truncated or foreign file, on metadata that contradict each other, and on
    missing, extra or misshapen weights with the whole list of them.
    """
    path = Path(path)
    path = path / RECOGNISER_FILE if path.is_dir() else path
    tensors, facts = read_tensors(path)
    try:
        # Checkpoints from before there were two architectures name none.
        config = read_config(facts.get("architecture", "lsvru"), facts["config"])
        vocabulary, rest = _vocabulary_of(facts, config), _plain_facts(facts)
    except (KeyError, TypeError, WorkbenchError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise WorkbenchError(
            f"{path}: its metadata is not that of a recogniser ({reason}). {AGAIN} {FOREIGN}"
        ) from error
    check_weights(config, tensors, path, AGAIN)
    head = empty_head(config)
    head.load_state_dict(tensors)
    return Recogniser(head.eval(), vocabulary, **rest)


def check_weights(
    config: LsvruConfig, tensors: dict[str, torch.Tensor], path: Path, remedy: str, without: Collection[str] = ()
) -> None:
    """Refuse tensors that are not all of the head's: each missing, extra, misshapen or non-finite one is named.

    ``without`` names tensors of the head that the file does not hold.
    """
    wanted = {name: shape for name, shape in _shapes(config, path).items() if name not in without}
    faults = [f"missing {name} {shape}" for name, shape in wanted.items() if name not in tensors]
    faults += [f"extra {name} {tuple(tensor.shape)}" for name, tensor in tensors.items() if name not in wanted]
    for name, tensor in tensors.items():
        if name in wanted and tuple(tensor.shape) != wanted[name]:
            faults.append(f"{name} has shape {tuple(tensor.shape)}, expected {wanted[name]}")
        elif name in wanted and not torch.isfinite(tensor).all():
            faults.append(f"{name} holds values that are not finite")
    if faults:
        raise WorkbenchError(f"{path}: {len(faults)} tensors do not fit: {'; '.join(faults)}. {remedy}")


def _shapes(config: LsvruConfig, path: Path) -> dict[str, tuple[int, ...]]:
    try:
        # Without memory, so that the sizes of a damaged file are compared before they are believed.
        with torch.device("meta"):
            head = empty_head(config)
    # Torch's errors for sizes beyond its arithmetic and beyond its integers.
    except (RuntimeError, TypeError) as error:
        first_line = str(error).splitlines()[0]
        raise WorkbenchError(f"{path}: no head has the sizes of its metadata ({first_line}). {AGAIN}") from error
    return {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}


def _vocabulary_of(facts: dict[str, Any], config: LsvruConfig) -> Vocabulary:
    for key, size in (("objects", config.n_objects), ("relations", config.n_relations)):
        problems = name_problems(facts[key])
        if problems:
            raise WorkbenchError(f"{key}, {problems[0][0]}: {problems[0][1]}")
        if len(facts[key]) != size:
            raise WorkbenchError(f"{len(facts[key])} names of {key}, but the head has {size} of them")
    return Vocabulary(tuple(facts["objects"]), tuple(facts["relations"]))


def _plain_facts(facts: dict[str, Any]) -> dict[str, Any]:
    kinds = {"encoder": str, "entity_region": str, "loss": str, "word_source": str, "history": dict}
    for key, kind in kinds.items():
        if not isinstance(facts[key], kind):
            raise WorkbenchError(f"{key} is {facts[key]!r}, not of type {kind.__name__}")
    if facts["entity_region"] not in ENTITY_REGIONS:
        raise WorkbenchError(f"entity_region is {facts['entity_region']!r}, not one of {', '.join(ENTITY_REGIONS)}")
    # Checkpoints from before supports were compared name none.
    if facts.get("support", "") not in ("", *SUPPORTS):
        raise WorkbenchError(f"support is {facts['support']!r}, not one of {', '.join(SUPPORTS)}")
    return {key: facts[key] for key in kinds} | {"support": facts.get("support", "")}


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Tensors and a JSON object in one safetensors file, written atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Through bytes, so that a full disk is an OSError with its number and becomes our message.
    content = save(plain, metadata={METADATA_KEY: json.dumps(facts)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote; WorkbenchError where the file is missing, truncated or not ours."""
    if not Path(path).is_file():
        raise WorkbenchError(f"{path}: there is no checkpoint here. Train the recogniser first, or correct the path.")
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[METADATA_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WorkbenchError(
            f"{path}: the file is truncated or not a checkpoint ({error}). {AGAIN} {FOREIGN}"
        ) from error
    except (KeyError, json.JSONDecodeError) as error:
        raise WorkbenchError(f"{path}: a safetensors file without the workbench's metadata. {FOREIGN}") from error
    if not isinstance(facts, dict):
        raise WorkbenchError(
            f"{path}: its metadata is a {type(facts).__name__}, expected a JSON object. {AGAIN} {FOREIGN}"
        )
    return tensors, facts
