"""Every number of every config, and its choices: what they may not be is refused by name, wherever it is made."""

import dataclasses
import math
import typing

import pytest

from drawn_scenes.config import DrawnScenesConfig
from drawn_scenes.detector_config import BoxConfig, DetectorConfig
from drawn_scenes.text_tower import TowerConfig
from simulated_scenes.prepare import SimulationConfig
from tests.refusals import refused
from workbench.configuration import arms_of, configured
from workbench.diffusion.baselines import ClassGaussian, CopyNoise, Smote
from workbench.diffusion.config import ConditionDropout, DiffusionConfig, FidelityConfig, SamplingConfig
from workbench.diffusion.denoiser import MLPConfig, UNetConfig
from workbench.diffusion.generators import BaselineConfig
from workbench.language.config import AugmentationConfig
from workbench.recognition.config import (
    TRAINING,
    EvaluationConfig,
    FineTuningConfig,
    RebalancingConfig,
    RecogniserConfig,
)
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
    wrong = [math.nan, math.inf, -math.inf, 1e300, 10**400, "x", "1", True, [], {}]
    wrong += [-1] if name not in ANY_SIGN else []
    wrong += [None] if type(None) not in arms_of(kind) else []
    wrong += [1.5] if number is int else []
    for value in wrong:
        given = [value] * max(1, len(default)) if many else value
        refused(name, configured, config, {**others, name: given})
        if isinstance(value, int | float):  # code that makes the config itself is told the same
            refused(name, config, **{**others, name: tuple(given) if many else given})
    assert configured(config, {**others, name: default}) == configured(config, others)


@pytest.mark.parametrize(("config", "name", "outside", "accepted"), [
    (FineTuningConfig, "weight_interpolation", [(0.0,), (1.1,), ()], [(1.0,)]), (RecogniserConfig, "epochs", [0], [1]),
    (TrainingConfig, "learning_rate", [0, 101], [1e-9, 2.0]), (TrainingConfig, "betas", [(0.9, 1.0)], [(0.0, 0.5)]),
    (FineTuningConfig, "real_replay", [1.01], [0.0, 1.0]), (TrainingConfig, "ema_decay", [1.0], [0.0, 0.9999]),
    (AugmentationConfig, "threshold", [-1.0, 3.7], [0.0, 3.6]), (RecogniserConfig, "batch_size", [0, 2**63], [1]),
    (ExtractionConfig, "short_side", [0], [None, 1]), (SamplingConfig, "strength", [0.0, 1.5], [1.0]),
    (TrainingConfig, "seed", [2**32], [2**32 - 1]), (DiffusionConfig, "epochs", [0], [0.01]),
])  # fmt: skip
def test_the_ends_of_ranges(config, name, outside, accepted):
    for value in outside:
        refused(name, config, **{name: value})
    assert [getattr(config(**{name: value}), name) for value in accepted] == accepted


REFUSED = {
    LossConfig: [
        ({"name": "focale"}, r"'focale' is not known.*ce, wce, logit_adjusted, focal"), ({"gamma": -1}, "gamma is -1"),
        ({"relmix": "dirty"}, "relmix: expected 'none' or 'clean' or 'upstream', got 'dirty'"),
        ({"vilhub_scale": -1.0}, "vilhub_scale is -1")],
    FineTuningConfig: [
        ({"learning_rates": ()}, r"learning_rates is \[\]"), ({"real_replay": 1.5}, "real_replay is 1.5"),
        ({"training": TrainingConfig(learning_rate=1.0)}, "chosen among candidates"),
        ({"roles": "some"}, "roles: expected 'all' or .*'tail', got"),
        ({"synthetic_weight": -0.1}, "synthetic_weight is -0.1"),
        ({"loss": LossConfig(relmix="clean"), "roles": "tail"}, "relmix 'clean' mixes all roles")],
    RecogniserConfig: [
        ({"epochs": 0}, "epochs is 0"), ({"word_mode": "loud"}, "word_mode: expected 'clean' or 'upstream'"),
        ({"training": dataclasses.replace(TRAINING, steps=9)}, r"training\.steps and training\.seed follow"),
        ({"sizes": {"depth": 3}}, "lsvru: unknown size 'depth'.*classifier"),
        ({"sizes": {"n_objects": 3}}, "lsvru: unknown size 'n_objects'"),
        ({"architecture": "lsvrus"}, "'lsvrus' is not known. Did you mean 'lsvru'"),
        ({"architecture": "os:getcwd"}, "expected a class derived from LsvruHead")],
    RebalancingConfig: [
        ({"method": "crtt"}, r"method: expected 'crt' or .*got 'crtt'"),
        ({"strengths": ()}, r"strengths is \[\]; give at least one: .*of at least 0")],
    AugmentationConfig: [
        ({"bands": ["rare"]}, "bands are"), ({"bands": []}, "bands are"), ({"few_quota": -1}, "few_quota is -1"),
        ({"max_senses": 0}, "max_senses is 0"), ({"balance": "row"}, "balance: expected .* got 'row'")],
    BaselineConfig: [
        ({"generator": "smot"}, r"'smot' is not known. Did you mean 'smote'"),
        ({"generator": dict}, r"expected a dataclass with fit\(real, wanted, seed\)"),
        *(({"generator": name, "options": options}, message) for name, options, message in (
            ("smote", {"noise": 1.0}, "unknown field 'noise'"), ("pair_mean", {"init_map": "linear"}, "init_map"),
            ("copy_noise", {"noise": -1.0}, "noise is -1"), ("smote", {"neighbours": 0}, "neighbours is 0"),
            ("class_gaussian", {"prior_rows": math.inf}, "prior_rows is inf")))],
    VGGConfig: [
        ({"width": 0}, "width is 0"), ({"channel_means": (1, 2)}, "short_side <= longest_side"),
        ({"short_side": 900, "longest_side": 800}, "short_side <= longest_side")],
    RelTransformerConfig: [
        (SIZES | {"width": 24, "heads": 5}, "24 is not a multiple of heads 5"),
        (SIZES | {"dropout": 1.0}, "dropout is 1.0"), (SIZES | {"memory": 0}, "memory is 0"),
        (SIZES | {"compat": "old"}, "got 'old'"), (SIZES | {"classifier": "tree"}, "got 'tree'")],
    SamplingConfig: [({name: value}, name) for name, value in {
        "init": "noise", "init_map": "linear", "solver": "euler", "share": 0.0, "samples": -1}.items()],
    ExtractionConfig: [({"precision": "half"}, "expected 'auto' or 'float32' or 'bfloat16' or 'float16'")],
    TrainingConfig: [({"steps": 1, "schedule": "cosin"}, r"schedule: expected 'cosine' or .*, got 'cosin'")],
}  # fmt: skip
REFUSALS = [(config, *case) for config, cases in REFUSED.items() for case in cases]


@pytest.mark.parametrize(("config", "values", "message"), REFUSALS)
def test_what_no_config_can_be_is_refused_with_the_reason(config, values, message):
    refused(message, config, **values)
