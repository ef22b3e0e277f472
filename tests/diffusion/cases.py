"""Small denoisers, conditions and training rows for the tests of this room."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from workbench.configuration import configured
from workbench.diffusion.checkpoint import DenoiserCheckpoint, DenoiserIdentity
from workbench.diffusion.conditioned_network import DataSizes
from workbench.diffusion.conditions import ABSENT, ConditionTokens
from workbench.diffusion.config import ConditionDropout
from workbench.diffusion.denoiser import denoiser_classes
from workbench.diffusion.schedule import NoiseSchedule
from workbench.diffusion.train import TrainingRows
from workbench.language.text_embedding import TextEmbeddings
from workbench.regions.feature_rows import FeatureRows, HeldRows

OBJECTS, RELATIONS = ("cup", "traffic light", "dog", "skateboard", "light"), ("on", "riding", "parked on", "under")
COLUMNS = ["subject", "relation", "object"]
IDENTITY = DenoiserIdentity(OBJECTS, RELATIONS, encoder="vgg", text_encoder="fake text")
TINY = {"width": 16, "blocks": 1, "heads": 2, "token_width": 8}


def condition_tokens(conditions=6, text=6, boxes=0, seed=0, relations=None):
    """Conditions with captions of their own over 5 object and 4 relation classes, the last ``boxes`` of boxes."""
    draw = np.random.default_rng(seed)
    classes = draw.integers(0, 4, (conditions, 3))
    if relations is not None:
        classes[: len(relations), 1] = relations
    classes[conditions - boxes :] = ABSENT
    region = (np.arange(conditions) >= conditions - boxes).astype(np.int64)
    return ConditionTokens(classes, np.arange(conditions), region, (unit(draw, conditions, text),))


def text(encoder="fake text", dimension=6):
    """Text embeddings of the classes that ``condition_tokens`` names."""
    vectors = unit(np.random.default_rng(9), 9, dimension)
    return TextEmbeddings(Path("text"), vectors[:5], vectors[5:], encoder, "vectors", False)


def hardness_centroids(n=3, dimension=6):
    """Centroids among their captions."""
    return unit(np.random.default_rng(8), n, dimension)


def network(kind="mlp", features=10, dimension=6, centroids=3, std=0.3, **config):
    """A small denoiser away from its zero start, where nothing can be seen; ``std`` 0 leaves it there."""
    tiny = {"mlp": {"width": 16, "blocks": 2}, "unet": {"channels": (8, 16), "layers": 1}}[kind]
    config_class, network_class = denoiser_classes(kind)
    config = configured(config_class, {"heads": 2, "token_width": 8, "dropout": 0.0} | tiny | config)
    torch.manual_seed(0)
    made = network_class(config, DataSizes(features, dimension, 5, 4, centroids)).eval()
    for parameter in made.parameters() if std else ():
        torch.nn.init.normal_(parameter, std=std)
    known = text(dimension=dimension)
    made.object_text.copy_(torch.from_numpy(known.objects))
    made.relation_text.copy_(torch.from_numpy(known.relations))
    made.centroids.copy_(torch.from_numpy(hardness_centroids(centroids, dimension)))
    return made


def checkpoint(kind="mlp", dropout=None, identity=(), schedule="squaredcos_cap_v2", std=0.1, **config):
    """A denoiser as if it had been trained on these classes."""
    made = network(kind, std=std, **config)
    made.standard_deviation.copy_(torch.arange(1, 11))
    who = replace(IDENTITY, **dict(identity))
    return DenoiserCheckpoint(made, kind, NoiseSchedule(schedule), dropout or ConditionDropout(), who)


def unit(draw, n, dimension):
    vectors = draw.standard_normal((n, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def training_rows(features, index, conditions, weights=None):
    """An array of features as training rows."""
    weights = np.ones(len(index)) if weights is None else weights
    rows = FeatureRows(len(features), lambda rows: HeldRows(rows, (features[rows], None)), 8, 1.0)
    return TrainingRows(rows, index, conditions, weights)


def clusters(n=200, conditions=6, dimension=10, seed=0, text=6):
    """Training rows around one mean for each condition, and the means (conditions, dimension)."""
    draw, index = np.random.default_rng(seed), np.arange(n) % conditions
    means = 3 * draw.standard_normal((conditions, dimension)) + 20
    features = (means[index] + 0.5 * draw.standard_normal((n, dimension))).astype(np.float32)
    return training_rows(features, index, condition_tokens(conditions, text)), means
