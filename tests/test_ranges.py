"""Every number of every config: what it may not be is refused by name, wherever the config is made."""

import dataclasses
import math
import typing

import pytest

from drawn_scenes.config import DrawnScenesConfig
from drawn_scenes.detector_config import BoxConfig, DetectorConfig
from drawn_scenes.text_tower import TowerConfig
from simulated_scenes.prepare import SimulationConfig
from workbench.configuration import arms_of, configured
from workbench.diffusion.baselines import ClassGaussian, CopyNoise, Smote
from workbench.diffusion.config import ConditionDropout, DiffusionConfig, FidelityConfig, SamplingConfig
from workbench.diffusion.denoiser import MLPConfig, UNetConfig
from workbench.diffusion.generators import BaselineConfig
from workbench.errors import WorkbenchError
from workbench.language.config import AugmentationConfig
from workbench.recognition.config import EvaluationConfig, FineTuningConfig, RebalancingConfig, RecogniserConfig
from workbench.recognition.losses import LossConfig
from workbench.recognition.scene_encoder import RelTransformerConfig
from workbench.regions.config import ExtractionConfig
from workbench.regions.vgg import VGGConfig
from workbench.training_config import TrainingConfig, TrainingEdge

SIZES = {"feature_dimension": 8, "word_dimension": 4, "n_objects": 3, "n_relations": 2}
CONFIGS = [
    *(DrawnScenesConfig, BoxConfig, DetectorConfig, TowerConfig, SimulationConfig, ExtractionConfig, VGGConfig),
    *(ClassGaussian, CopyNoise, Smote, ConditionDropout, DiffusionConfig, FidelityConfig, SamplingConfig, MLPConfig),
    *(UNetConfig, BaselineConfig, AugmentationConfig, EvaluationConfig, FineTuningConfig, RebalancingConfig),
    *(RecogniserConfig, LossConfig, RelTransformerConfig, TrainingConfig, TrainingEdge),
]
# -1 is a similarity as good as another, and a shade that images may have after an offset.
ANY_SIGN = {"threshold", "channel_means"}


def numeric_fields():
    for config in CONFIGS:
        for name, kind in typing.get_type_hints(config).items():
            many = typing.get_origin(kind) is tuple
            number = next((a for a in (typing.get_args(kind) if many else arms_of(kind)) if a in (int, float)), None)
            if number and name in {field.name for field in dataclasses.fields(config)}:
                yield pytest.param(config, name, kind, number, many, id=f"{config.__name__}.{name}")


@pytest.mark.parametrize(("config", "name", "kind", "number", "many"), list(numeric_fields()))
def test_a_number_that_cannot_be_meant_is_refused_by_its_name(config, name, kind, number, many):
    others = SIZES if config is RelTransformerConfig else {}
    default = getattr(configured(config, others), name)
    wrong = [math.nan, math.inf, -math.inf, 10**400, "x", "1", True, [], {}]
    wrong += [-1] if name not in ANY_SIGN else []
    wrong += [None] if type(None) not in arms_of(kind) else []
    wrong += [1.5] if number is int else []
    for value in wrong:
        given = [value] * max(1, len(default)) if many else value
        with pytest.raises(WorkbenchError, match=name):
            configured(config, {**others, name: given})
        if isinstance(value, int | float):  # code that makes the config itself is told the same
            with pytest.raises(WorkbenchError, match=name):
                config(**{**others, name: tuple(given) if many else given})
    assert configured(config, {**others, name: default}) == configured(config, others)


@pytest.mark.parametrize(("config", "name", "refused", "accepted"), [
    (TrainingConfig, "learning_rate", [0], [1e-9, 2.0]), (TrainingConfig, "betas", [(0.9, 1.0)], [(0.0, 0.5)]),
    (TrainingConfig, "ema_decay", [1.0], [0.0, 0.9999]), (TrainingConfig, "seed", [2**32], [2**32 - 1]),
    (RecogniserConfig, "epochs", [0], [1]), (RecogniserConfig, "batch_size", [0, 2**63], [1]),
    (FineTuningConfig, "real_replay", [1.01], [0.0, 1.0]),
    (FineTuningConfig, "weight_interpolation", [(0.0,), (1.1,), ()], [(1.0,)]),
    (SamplingConfig, "strength", [0.0, 1.5], [1.0]), (DiffusionConfig, "epochs", [0], [0.01]),
    (ExtractionConfig, "short_side", [0], [None, 1]), (AugmentationConfig, "threshold", [], [-1.0, 0.0]),
])  # fmt: skip
def test_the_ends_of_ranges(config, name, refused, accepted):
    for value in refused:
        with pytest.raises(WorkbenchError, match=name):
            config(**{name: value})
    assert [getattr(config(**{name: value}), name) for value in accepted] == accepted
