"""A trained denoiser in one file: averaged weights, and everything else that sampling needs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from workbench.checkpoints import load_weights, read_tensors, save_tensors
from workbench.configuration import configured
from workbench.devices import chosen_device
from workbench.diffusion.conditioned_network import ConditionedNetwork, DataSizes
from workbench.diffusion.conditions import ABSENT, ConditionTokens
from workbench.diffusion.config import ConditionDropout
from workbench.diffusion.denoiser import denoiser_classes
from workbench.diffusion.schedule import NoiseSchedule
from workbench.errors import WorkbenchError
from workbench.file_errors import reading
from workbench.language.text_embedding import TextEmbeddings
from workbench.regions.features import FeatureStore
from workbench.scenes.vocabulary import Vocabulary

CHECKPOINT = "denoiser.safetensors"
FORMAT = "workbench denoiser 2"
_AGAIN = "Delete its folder and train the denoiser again (notebook 03)."


@dataclass(frozen=True)
class DenoiserIdentity(Vocabulary):
    """What the weights belong to: class names, feature encoder and support, text encoder.

    ``regions`` are the regions trained on: "union", and "box" where subject and object are generated too.
    """

    encoder: str = ""
    support: str = "signed"
    text_encoder: str = ""
    regions: tuple[str, ...] = ("union",)


@dataclass(frozen=True)
class DenoiserCheckpoint:
    """A trained denoiser, which ``denoiser`` it is, and its noise schedule, dropout rates and identity."""

    network: ConditionedNetwork
    denoiser: str
    schedule: NoiseSchedule
    dropout: ConditionDropout
    identity: DenoiserIdentity

    def save(self, path: Path) -> None:
        """Write one .safetensors file."""
        facts = {
            "format": FORMAT, "denoiser": self.denoiser,
            "network": asdict(self.network.config), "sizes": asdict(self.network.sizes),
            "schedule": asdict(self.schedule), "dropout": asdict(self.dropout), "identity": asdict(self.identity),
            "guidance_convention": "x0 = without + guidance * (with - without); 1 is no guidance",
        }  # fmt: skip
        save_tensors(path, self.network.state_dict(), facts)

    @classmethod
    def load(cls, path: Path, device: str = "auto") -> "DenoiserCheckpoint":
        """Load for sampling; WorkbenchError where the file is missing, truncated or no denoiser, or does not fit.

        A denoiser of one's own must be registered (or importable) by the name it was trained with.
        """
        tensors, facts = read_tensors(path, _AGAIN)
        if facts.get("format") != FORMAT:
            raise WorkbenchError(f"{path}: the format is {facts.get('format')!r}, expected {FORMAT!r}. {_AGAIN}")
        with reading(path, "a denoiser", _AGAIN):
            config_class, network_class = denoiser_classes(facts["denoiser"])
            config = configured(config_class, facts["network"], f"{path}: network")
            network = network_class(config, configured(DataSizes, facts["sizes"], f"{path}: sizes"))
            load_weights(network, tensors, path, _AGAIN)
            schedule = configured(NoiseSchedule, facts["schedule"], f"{path}: schedule")
            dropout = configured(ConditionDropout, facts["dropout"], f"{path}: dropout")
            identity = configured(DenoiserIdentity, facts["identity"], f"{path}: identity")
        network = network.to(chosen_device(device)).eval().requires_grad_(False)
        return cls(network, facts["denoiser"], schedule, dropout, identity)

    def require_store(self, store: FeatureStore) -> None:
        """WorkbenchError unless the store's dimension, encoder and support are those of the training features."""
        encoder, support = self.identity.encoder, self.identity.support
        expected = {"dimension": self.network.sizes.features, "encoder": encoder, "support": support}
        _require_fitting("feature store", store, expected)

    def require_text(self, text: TextEmbeddings) -> None:
        """WorkbenchError unless the text embeddings are those that the denoiser was conditioned on."""
        expected = {"dimension": self.network.sizes.text, "encoder": self.identity.text_encoder}
        _require_fitting("text folder", text, expected)

    def require_conditions(self, conditions: ConditionTokens, guidance: float) -> None:
        """WorkbenchError where conditions lack what the denoiser needs, or ask for what it has not learnt.

        Guidance other than 1 asks for conditions that were dropped in training.
        """
        if guidance != 1.0 and self.dropout.everything <= 0.0:
            raise WorkbenchError(
                f"guidance {guidance} needs a denoiser that has seen dropped conditions, but this one was trained with "
                "a dropout of 0. Sample with guidance 1, or train with a share of dropped conditions (0.1 is usual)."
            )
        sizes, pooled = self.network.sizes, self.network.config.layout == "pooled"
        never_lost = self.dropout.token <= 0.0 or (sizes.centroids and self.dropout.hardness <= 0.0)
        if (conditions.caption == ABSENT).any() and (pooled or never_lost):
            raise WorkbenchError(
                "this denoiser cannot do without caption embeddings (it has a pooled condition, or was trained without "
                "dropping single tokens). Pass the text embeddings it was trained with."
            )
        if (conditions.region == 1).any() and "box" not in self.identity.regions:
            raise WorkbenchError(
                "this denoiser was trained on union regions alone and cannot generate boxes. "
                'Train it with entity_features "generated", or take the entities from real boxes.'
            )

    def captions(self, triplets: Sequence[str | Sequence[str | int]]) -> list[str]:
        """The triplets in words: "dog riding skateboard"."""
        return self.identity.captions(self.identity.class_ids(triplets).to_numpy())


def _require_fitting(what: str, found: object, expected: dict[str, object]) -> None:
    for name, value in expected.items():
        if getattr(found, name) != value:
            told = f"the {what}'s {name} is {getattr(found, name)!r}, but the denoiser was trained on {value!r}"
            raise WorkbenchError(f"{told}. Use the {what} it was trained with, or train a denoiser on this one.")
