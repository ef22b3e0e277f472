"""One .safetensors file that can sample on its own: EMA weights, and everything else in its metadata and tensors."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from workbench.devices import chosen_device
from workbench.diffusion.conditioned_network import ConditionedNetwork, NetworkConfig
from workbench.diffusion.conditions import ConditionTable, condition_table
from workbench.diffusion.denoiser_kinds import build_denoiser, denoiser_config, load_weights
from workbench.diffusion.schedule import NoiseSchedule
from workbench.diffusion.standardisation import Standardisation
from workbench.diffusion.training_batches import ConditionDropout
from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.scenes.vocabulary import ROLES

if TYPE_CHECKING:
    from workbench.language.text_embedding import TextEmbeddings
    from workbench.regions.feature_store import FeatureStore

FORMAT = "workbench denoiser 1"
WEIGHT = "weight."


@dataclass(frozen=True)
class DenoiserIdentity:
    """What the weights belong to: class names, feature encoder and support, text encoder.

    ``regions`` are the regions trained on ("union", and "box" where entities are generated too). ``object_text`` (C, T)
    and ``relation_text`` (R, T) are the class vectors, ``hardness_centres`` (K, T); None where not known.
    """

    objects: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    encoder: str = ""
    support: str = "signed"
    text_encoder: str = ""
    regions: tuple[str, ...] = ("union",)
    object_text: np.ndarray | None = field(default=None, compare=False)
    relation_text: np.ndarray | None = field(default=None, compare=False)
    hardness_centres: np.ndarray | None = field(default=None, compare=False)


_ARRAYS = ("object_text", "relation_text", "hardness_centres")


@dataclass(frozen=True)
class DenoiserCheckpoint:
    """A trained denoiser with its standardisation, schedule, dropout rates and identity."""

    model: ConditionedNetwork
    standardisation: Standardisation
    schedule: NoiseSchedule
    dropout: ConditionDropout
    identity: DenoiserIdentity

    @property
    def config(self) -> NetworkConfig:
        """The sizes of the network."""
        return self.model.config

    def save(self, path: Path) -> None:
        """Write one .safetensors file through a temporary name."""
        from safetensors.torch import save_file

        tensors = {WEIGHT + name: value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()}
        tensors["mean"] = torch.from_numpy(self.standardisation.mean)
        tensors["standard_deviation"] = torch.from_numpy(self.standardisation.standard_deviation)
        identity = {key: value for key, value in vars(self.identity).items() if key not in _ARRAYS}
        for name in _ARRAYS:
            if getattr(self.identity, name) is not None:
                tensors[name] = torch.from_numpy(np.ascontiguousarray(getattr(self.identity, name)))
        described = {
            "kind": self.config.kind,
            "config": asdict(self.config),
            "schedule": asdict(self.schedule),
            "dropout": asdict(self.dropout),
            "identity": identity,
            "null_convention": "ids 0 to S-1 of a token bank are the learned null tokens of the S slots",
            "guidance_convention": "x0 = without + guidance * (with - without); 1 is no guidance",
        }
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"format": FORMAT, "denoiser": json.dumps(described)})

    @classmethod
    def load(cls, path: Path, device: str = "auto") -> "DenoiserCheckpoint":
        """Load for sampling; WorkbenchError where the file is missing, cut short or no denoiser, or weights do not fit.

        A file that names no kind of denoiser is from before there were two, and holds the MLP.
        """
        tensors, metadata = read_tensors(path)
        if metadata.get("format") != FORMAT:
            raise WorkbenchError(
                f"{path}: the format is {metadata.get('format')!r}, expected {FORMAT!r}. Train the denoiser again."
            )
        described = json.loads(metadata["denoiser"])
        model = build_denoiser(denoiser_config(described.get("kind", "mlp"), **described["config"]))
        weights = {name.removeprefix(WEIGHT): value for name, value in tensors.items() if name.startswith(WEIGHT)}
        load_weights(model, weights, path)
        names = described["identity"]
        arrays = {name: tensors[name].numpy() for name in _ARRAYS if name in tensors}
        lists = {key: tuple(names.pop(key)) for key in ("objects", "relations", "regions")}
        return cls(
            model.to(chosen_device(device)).eval().requires_grad_(False),
            Standardisation(tensors["mean"].numpy(), tensors["standard_deviation"].numpy()),
            NoiseSchedule(**described["schedule"]),
            ConditionDropout(**described["dropout"]),
            DenoiserIdentity(**names, **lists, **arrays),
        )

    def require_store(self, store: "FeatureStore") -> None:
        """WorkbenchError unless the store's dimension, encoder and support are those of the training features."""
        pairs = (
            ("dimension", store.dimension, self.config.feature_dimension),
            ("encoder", store.encoder, self.identity.encoder),
            ("support", store.support, self.identity.support),
        )
        for name, found, expected in pairs:
            if found != expected:
                raise WorkbenchError(
                    f"the feature store's {name} is {found!r}, but the denoiser was trained on {expected!r}. "
                    "Use the store it was trained with, or train a denoiser on this one."
                )

    def require_text(self, text: "TextEmbeddings") -> None:
        """WorkbenchError unless the text embeddings are those that the denoiser was conditioned on."""
        if text.dimension != self.config.text_dimension or text.encoder != self.identity.text_encoder:
            raise WorkbenchError(
                f"the text embeddings are {text.dimension}-D from {text.encoder!r}, but the denoiser was trained with "
                f"{self.config.text_dimension}-D from {self.identity.text_encoder!r}. Use those, or train again."
            )

    def require_guidance(self, guidance: float) -> None:
        """WorkbenchError for guidance other than 1 when the condition was never dropped in training."""
        if guidance != 1.0 and self.dropout.everything <= 0.0:
            raise WorkbenchError(
                f"guidance {guidance} needs a denoiser that has seen dropped conditions, but this one was trained with "
                "a dropout of 0. Sample with guidance 1, or train with a share of dropped conditions (0.1 is usual)."
            )

    def hardness_model(self):
        """The hardness model of its centres, or None where the denoiser has no hardness."""
        from workbench.language.hardness import HardnessCentroids

        if not self.config.hardness or self.identity.hardness_centres is None:
            return None
        return HardnessCentroids(self.identity.hardness_centres)

    def triplet_ids(self, triplets: Sequence[Sequence[str | int]]) -> pd.DataFrame:
        """Class ids of triplets given by names or ids; WorkbenchError for a name the denoiser does not know."""
        columns = {}
        for place, role in enumerate(ROLES):
            names = self.identity.relations if role == "relation" else self.identity.objects
            columns[role] = [_class_id(triplet[place], role, names) for triplet in triplets]
        return pd.DataFrame(columns, dtype=np.int64)

    def conditions(self, triplets: pd.DataFrame, text: "TextEmbeddings | None") -> tuple[ConditionTable, np.ndarray]:
        """Conditions of ``triplets``; without ``text`` from the class vectors inside, caption and hardness left out."""
        if text is not None:
            self.require_text(text)
            return condition_table(text, triplets, self.hardness_model())
        if self.identity.object_text is None or self.config.layout == "pooled" or self.dropout.token <= 0.0:
            raise WorkbenchError(
                "this denoiser cannot do without caption embeddings (it has no class vectors, a pooled condition, or "
                "was trained without dropping single tokens). Pass the text embeddings it was trained with."
            )
        objects, relations = self.identity.object_text, self.identity.relation_text
        subject, relation, object_ = (triplets[role].to_numpy() for role in ROLES)
        absent = np.full(len(triplets), -1)
        places = np.stack([subject, len(objects) + relation, object_, absent], axis=1)
        table = ConditionTable(
            np.concatenate([objects, relations]), places, None, np.zeros(len(places), dtype=np.int64)
        )
        return table, np.arange(len(triplets))

    def sample_triplets(
        self, triplets: Sequence[Sequence[str | int]], *, text: "TextEmbeddings | None" = None, seed: int, **sampling
    ) -> np.ndarray:
        """One union feature (n, D) float32 for each triplet of names or ids; ``sampling`` as in ``sample_features``."""
        from workbench.diffusion.sampling import sample_features

        conditions, index = self.conditions(self.triplet_ids(triplets), text)
        return sample_features(self, conditions, index, seed=seed, **sampling)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a .safetensors file; WorkbenchError where it is missing, cut short or something else."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).exists():
        raise WorkbenchError(f"{path}: the file is missing. Train the denoiser first (notebook 03).")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise WorkbenchError(
            f"{path}: not a whole .safetensors file ({error}). Delete it and train again; training goes on from the "
            "last good training state beside it."
        ) from error


def _class_id(value: str | int, role: str, names: tuple[str, ...]) -> int:
    if isinstance(value, str):
        if value not in names:
            raise WorkbenchError(f"{value!r} is no {role} class of this denoiser; it knows {len(names)} names.")
        return names.index(value)
    if not 0 <= int(value) < len(names):
        raise WorkbenchError(f"{role} class {value} is not known; this denoiser has classes 0 to {len(names) - 1}.")
    return int(value)
