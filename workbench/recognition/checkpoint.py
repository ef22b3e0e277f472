"""Recogniser checkpoints: weights, word vectors, class names and provenance in one safetensors file."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.recognition.heads import architecture_of, empty_head, read_config
from workbench.recognition.lsvru import WORD_BUFFERS, LsvruHead
from workbench.scenes.vocabulary import Vocabulary

RECOGNISER_FILE = "recogniser.safetensors"
METADATA_KEY = "workbench"
AGAIN = "Train the recogniser again, or copy the file again from where it came."


@dataclass
class Recogniser:
    """A trained head with what is needed to use it rightly.

    ``encoder`` is the identity of the region encoder whose features it reads, ``entity_region`` "box" or "union",
    ``word_source`` says where the class vectors come from, ``loss`` what it was trained with, ``history`` (JSON)
    how it came about.
    """

    head: LsvruHead
    vocabulary: Vocabulary
    encoder: str
    entity_region: str
    loss: str
    word_source: str
    history: dict[str, Any] = field(default_factory=dict)

    def check_fits(self, bank, vocabulary: Vocabulary, place: Path) -> None:
        """Refuse features of another dimension, encoder or vocabulary; ``bank`` has dimension and encoder."""
        wanted, found = self.head.config.feature_dimension, bank.dimension
        if wanted != found:
            raise WorkbenchError(
                f"{place}: features of dimension {found}, but the recogniser reads {wanted}. "
                "Give it the features it was trained on, or train it on these."
            )
        if self.encoder != bank.encoder:
            raise WorkbenchError(
                f"{place}: features of the encoder {bank.encoder!r}, but the recogniser was trained on those of "
                f"{self.encoder!r}. Give it the features it was trained on, or train it on these."
            )
        if self.vocabulary != vocabulary:
            raise WorkbenchError(
                f"{place}: its {len(vocabulary.objects)} object and {len(vocabulary.relations)} relation names are not "
                f"the recogniser's {len(self.vocabulary.objects)} and {len(self.vocabulary.relations)}. "
                "Train the recogniser on this vocabulary."
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
        "loss": recogniser.loss,
        "word_source": recogniser.word_source,
        "history": recogniser.history,
    }
    save_tensors(path, recogniser.head.state_dict(), facts)


def load_recogniser(path: Path) -> Recogniser:
    """Read a recogniser from its file or from the folder that holds it, on the CPU, in evaluation mode.

    Raises WorkbenchError on a missing, truncated or foreign file, and on missing, extra or misshapen weights
    with the whole list of them.
    """
    path = Path(path)
    path = path / RECOGNISER_FILE if path.is_dir() else path
    tensors, facts = read_tensors(path)
    try:
        # Checkpoints from before there were two architectures name none.
        config = read_config(facts.get("architecture", "lsvru"), facts["config"])
        vocabulary = Vocabulary(tuple(facts["objects"]), tuple(facts["relations"]))
        rest = [facts[key] for key in ("encoder", "entity_region", "loss", "word_source", "history")]
    except (KeyError, TypeError) as error:
        raise WorkbenchError(f"{path}: its metadata is not that of a recogniser ({error}). {AGAIN}") from error
    head = empty_head(config)
    load_strictly(head, tensors, path)
    return Recogniser(head.eval(), vocabulary, *rest)


def load_strictly(head: LsvruHead, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Load all weights or none: every missing, extra, misshapen or non-finite tensor is named."""
    wanted = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
    faults = [f"missing {name} {shape}" for name, shape in wanted.items() if name not in tensors]
    faults += [f"extra {name} {tuple(tensor.shape)}" for name, tensor in tensors.items() if name not in wanted]
    for name, tensor in tensors.items():
        if name in wanted and tuple(tensor.shape) != wanted[name]:
            faults.append(f"{name} has shape {tuple(tensor.shape)}, expected {wanted[name]}")
        elif name in wanted and not torch.isfinite(tensor).all():
            faults.append(f"{name} holds values that are not finite")
    if faults:
        raise WorkbenchError(f"{path}: {len(faults)} tensors do not fit: {'; '.join(faults)}. {AGAIN}")
    head.load_state_dict(tensors)


def upstream_weights(state: dict[str, torch.Tensor], words: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The head's part of an upstream checkpoint's ``model`` (keys ``RelDN.*``, reference 2.9) with word matrices.

    ``words`` holds "object_vectors" and "relation_vectors", which upstream does not store.
    """
    prefix = "RelDN."
    weights = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return weights | {name: words[name] for name in WORD_BUFFERS}


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Tensors and a JSON object in one safetensors file, written atomically."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
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
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except SafetensorError as error:
        raise WorkbenchError(f"{path}: the file is truncated or not a checkpoint ({error}). {AGAIN}") from error
    except (KeyError, json.JSONDecodeError) as error:
        raise WorkbenchError(f"{path}: a safetensors file without the workbench's metadata. {AGAIN}") from error
