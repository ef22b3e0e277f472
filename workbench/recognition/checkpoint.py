"""Recogniser checkpoints: weights, word vectors, class names and provenance in one safetensors file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.checkpoints import read_tensors, save_tensors
from workbench.errors import WorkbenchError
from workbench.recognition.heads import architecture_of, check_weights, head_class, read_config
from workbench.recognition.lsvru import LsvruHead
from workbench.regions.feature_store import FeatureStore
from workbench.scenes.vocabulary import Vocabulary

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
