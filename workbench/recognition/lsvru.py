"""The LSVRU head on stored region features: cosine logits between visual and word embeddings.

Source: Zhang et al. 2019 as the LTVRR code base implements it (reference `ltvrr.md`, sections 2.9 and 3).
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from workbench.errors import WorkbenchError
from workbench.randomness import torch_generator
from workbench.ranges import Count, Ranged
from workbench.scenes.vocabulary import ROLES

LEAK = 0.1
NORM_SCALE = 10.0
WORD_BUFFERS = ("object_vectors", "relation_vectors")
MOST_TOKENS = 100
Array = Any  # np.ndarray, or a tensor to compute with


@dataclass(frozen=True)
class LsvruConfig(Ranged):
    """Sizes of the head: D, W word dimension, C objects, R relations (no background), hidden width (upstream 1024).

    ``separate_roles`` gives objects a visual embedding of their own. Upstream shares one between subject and object;
    where the union's feature stands in for both boxes, a shared one could only give both the same answer.
    ``classifier`` "words" compares with embedded class names by ten times the cosine; "linear" is upstream's FC
    variant, a linear layer on the normalised visual embedding, whose rows decoupling methods can re-balance.
    ``adjusted`` adds a factor and an offset per role and class to the logits, for methods that re-balance them.
    WorkbenchError for a size below 1 and for an unknown classifier.
    """

    feature_dimension: Count
    word_dimension: Count
    n_objects: Count
    n_relations: Count
    hidden: Count = 1024
    separate_roles: bool = False
    classifier: Literal["words", "linear"] = "words"
    adjusted: bool = False


class Logits(NamedTuple):
    """Logits (of word classifiers in -10..10): subject (N, C), relation (N, R + 1), 0 background, object (N, C)."""

    subject: Tensor
    relation: Tensor
    object: Tensor


class VisualEmbeddings(NamedTuple):
    """Visual embeddings (N, hidden) before normalisation."""

    subject: Tensor
    relation: Tensor
    object: Tensor


class Scenes(NamedTuple):
    """Scenes of a batch of relations, their tokens one after the other without padding; arrays, or tensors to compute.

    ``tokens`` (P, 3 D): the features [subject | union | object] of up to 100 relations of each of S scenes, scene by
    scene; ``lengths`` (S,) int64, how many tokens a scene has, maybe none; ``of_row`` (N,) int64, the scene of each
    relation: these two stay on the host, where the scenes are laid out. Scenes are padded behind the first layer only,
    since padding of 12,288 numbers would be most of a batch.
    """

    tokens: Array
    lengths: Array
    of_row: Array

    def on(self, device: torch.device) -> "Scenes":
        """The same with the tokens as a float32 tensor on a device."""
        return self._replace(tokens=torch.as_tensor(self.tokens).to(device).float())


class LsvruHead(nn.Module):
    """LSVRU on the features of subject, union and object region.

    Parameter names are upstream's (without the prefix ``RelDN.``). The word matrices are buffers: they are
    stored with the weights, because a trained head is only valid with the vectors it was trained with.
    """

    config_class: type[LsvruConfig] = LsvruConfig
    reads_scenes = False

    def __init__(self, config: LsvruConfig, object_vectors: Tensor, relation_vectors: Tensor):
        super().__init__()
        self.config = config
        dimension, words, hidden = config.feature_dimension, config.word_dimension, config.hidden
        sizes = {"subject": config.n_objects, "relation": config.n_relations + 1, "object": config.n_objects}
        for role, vectors in (("object", object_vectors), ("relation", relation_vectors)):
            if tuple(vectors.shape) != (sizes[role], words):
                what = f"{role}_vectors: shape {tuple(vectors.shape)}, expected {(sizes[role], words)}"
                raise WorkbenchError(f"{what}. Make the word vectors from the same vocabulary as the features.")
            self.register_buffer(f"{role}_vectors", vectors.float())
        self.so_vis_embeddings = nn.Linear(dimension, hidden)
        if config.separate_roles:
            self.object_vis_embeddings = nn.Linear(dimension, hidden)
        self.prd_feats = nn.Sequential(nn.Linear(3 * dimension, hidden), nn.LeakyReLU(LEAK))
        self.prd_vis_embeddings = _two_layers(3 * hidden, hidden)
        if config.classifier == "words":
            self.so_sem_embeddings = _two_layers(words, hidden)
            self.prd_sem_embeddings = _two_layers(words, hidden)
        else:
            self.so_classifier = nn.Linear(hidden, config.n_objects)
            self.prd_classifier = nn.Linear(hidden, config.n_relations + 1)
        if config.adjusted:
            self.class_factor = nn.ParameterDict({role: torch.ones(size) for role, size in sizes.items()})
            self.class_offset = nn.ParameterDict({role: torch.zeros(size) for role, size in sizes.items()})

    @classmethod
    def empty(cls, config: LsvruConfig) -> "LsvruHead":
        """A head of these sizes whose weights and word vectors are still to be loaded."""
        rows = (config.n_objects, config.n_relations + 1)
        return cls(config, *(torch.zeros(count, config.word_dimension) for count in rows))

    def initialise(self, seed: int) -> "LsvruHead":
        """Draw the weights as upstream does: uniform within sqrt(3 / fan_in), biases zero (reference section 3)."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.ndim == 1:
                    parameter.fill_(1.0 if name.startswith("class_factor.") else 0.0)
                    continue
                bound = math.sqrt(3.0 / parameter.shape[1])
                draw = torch.rand(parameter.shape, generator=torch_generator(seed, "lsvru", name))
                parameter.copy_((2.0 * draw - 1.0) * bound)
        return self

    def first_embeddings(self, subject: Tensor, union: Tensor, object: Tensor) -> list[Tensor]:
        """The first layers on (N, D) each: of the subject, of the object, and of all three, (N, hidden) each."""
        embed_object = self.object_vis_embeddings if self.config.separate_roles else self.so_vis_embeddings
        joint = self.prd_feats(torch.cat([subject, union, object], dim=1))  # (N, 3 D) -> (N, hidden)
        return [self.so_vis_embeddings(subject), embed_object(object), joint]

    def visual_embeddings(
        self, subject: Tensor, union: Tensor, object: Tensor, scenes: Scenes | None = None
    ) -> VisualEmbeddings:
        """Embed features (N, D) each; the relation sees the others through a stop-gradient. Scenes are not read."""
        v_subject, v_object, joint = self.first_embeddings(subject, union, object)
        # Not normalised here, unlike in RelTransformer.
        stacked = torch.cat([v_subject.detach(), joint, v_object.detach()], dim=1)  # (N, 3 hidden)
        return VisualEmbeddings(v_subject, self.prd_vis_embeddings(stacked), v_object)

    def class_embeddings(self) -> tuple[Tensor, Tensor]:
        """Embeddings of the object names (C, hidden) and relation names (R + 1, hidden), not normalised."""
        return self.so_sem_embeddings(self.object_vectors), self.prd_sem_embeddings(self.relation_vectors)

    def logits(self, visual: VisualEmbeddings) -> Logits:
        """Classify visual embeddings, mixed ones (RelMix) too."""
        if self.config.classifier == "words":
            objects, relations = (functional.normalize(classes.float(), dim=1) for classes in self.class_embeddings())
            entity, predicate = partial(cosine_logits, classes=objects), partial(cosine_logits, classes=relations)
        else:
            entity = partial(_linear_logits, classifier=self.so_classifier)
            predicate = partial(_linear_logits, classifier=self.prd_classifier)
        found = Logits(entity(visual.subject), predicate(visual.relation), entity(visual.object))
        if not self.config.adjusted:
            return found
        return Logits(*(self.class_factor[role] * getattr(found, role) + self.class_offset[role] for role in ROLES))

    def forward(self, subject: Tensor, union: Tensor, object: Tensor, scenes: Scenes | None = None) -> Logits:
        """Logits of three features (N, D) each; order as in the annotations, subject, union (relation), object."""
        return self.logits(self.visual_embeddings(subject, union, object, scenes))


def cosine_logits(visual: Tensor, classes: Tensor) -> Tensor:
    """Ten times the cosine of (N, hidden) and unit rows (C, hidden), in float32 even under autocast; returns (N, C)."""
    with torch.autocast(visual.device.type, enabled=False):
        # Divided after the product, where there are a class, not a hidden unit, of numbers a row.
        length = torch.linalg.vector_norm(visual.float(), dim=1, keepdim=True).clamp_min(1e-12)
        return visual.float() @ classes.T * (NORM_SCALE / length)


def _linear_logits(visual: Tensor, classifier: nn.Linear) -> Tensor:
    with torch.autocast(visual.device.type, enabled=False):
        return classifier(functional.normalize(visual.float(), dim=1))


def probabilities(logits: Logits) -> dict[str, Tensor]:
    """Softmax per role without the background column: subject (N, C), relation (N, R), object (N, C).

    As upstream's test path: the softmax runs over R + 1 columns, then column 0 is dropped, so a relation row
    sums to one minus the probability of the background.
    """
    return {role: scores.softmax(dim=1)[:, int(role == "relation") :] for role, scores in logits._asdict().items()}


def _two_layers(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LeakyReLU(LEAK), nn.Linear(hidden, hidden))
