"""Configs from nested dicts: every name and type checked, defaults kept, the way back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.refusals import refused
from workbench.configuration import as_values, checked_value, chosen_by, configured, merged
from workbench.errors import WorkbenchError
from workbench.runs.parameters import value_from_text
from workbench.training_config import TrainingEdge


@dataclass(frozen=True)
class Mlp:
    width: int = 64
    blocks: int = 2


@dataclass(frozen=True)
class Unet:
    channels: tuple[int, ...] = (32, 64)


@dataclass(frozen=True)
class Training:
    steps: int
    learning_rate: float = 1.0e-3
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass(frozen=True)
class Config:
    denoiser: str | type = "mlp"
    network: Any = field(default=None, metadata=chosen_by("denoiser", lambda name: {"mlp": Mlp, "unet": Unet}[name]))
    training: Training = field(default_factory=lambda: Training(steps=5, learning_rate=2.0e-4))
    bands: tuple[str, ...] = ("few",)
    weights: dict[str, float] = field(default_factory=dict)
    schedule: Literal["cosine", "step"] = "cosine"
    similarity: str | Path | Callable[[int], int] = "lch"
    vectors: Path | None = None
    second: Training | None = None
    seed: int = 0


def test_nested_values_change_the_nested_default():
    config = configured(Config, {"training": {"steps": 9, "betas": [0, 1]}, "bands": ["medium"]}, seed=3)
    assert config.training == Training(9, 2.0e-4, (0.0, 1.0)) and config.bands == ("medium",) and config.seed == 3
    assert all(isinstance(beta, float) for beta in config.training.betas)
    assert config.network == Mlp() and configured(Config, config) is config
    assert configured(Config, {"seed": 4}, seed=3).seed == 4


def test_the_way_back_gives_the_same_config():
    config = configured(Config, {"denoiser": "unet", "weights": {"few": 2}, "vectors": "/a/b"})
    values = as_values(config)
    assert values["network"] == {"channels": [32, 64]} and values["vectors"] == "/a/b"
    assert configured(Config, values) == config
    assert as_values(configured(Config, {"similarity": merged}))["similarity"] == "workbench.configuration:merged"


def test_a_chosen_class_checks_its_own_fields():
    with pytest.raises(WorkbenchError, match=r"Config.network: unknown field 'width'. Declared: channels"):
        configured(Config, {"denoiser": "unet", "network": {"width": 3}})
    base = {"network": {"width": 3}, "training": {"steps": 1}}
    assert merged(Config, base, {"network": {"blocks": 4}}, "x")["network"] == {"width": 3, "blocks": 4}
    changed = merged(Config, base, {"denoiser": "unet"}, "x")
    assert configured(Config, changed).network == Unet() and changed["training"] == {"steps": 1}


def test_a_relative_path_starts_at_the_projects_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    assert configured(Config, {"vectors": "data/glove.txt"}).vectors == tmp_path / "data/glove.txt"


@pytest.mark.parametrize(("values", "message"), [
    ({"sead": 1}, r"demo: unknown field 'sead'. Did you mean 'seed'"), ({"training": 3}, r"pairs for Training"),
    ({"training": {"stesp": 1}}, r"demo.training: unknown field 'stesp'. Did you mean 'steps'"),
    ({"training": {"betas": [1]}}, r"demo.training.betas: expected tuple\[float, float\]"),
    ({"bands": "few"}, r"demo.bands: expected tuple"), ({"bands": [1]}, r"demo.bands\[0\]: expected str"),
    ({"weights": {"few": "x"}}, r"demo.weights.few: expected float"),
    ({"schedule": "linear"}, "expected 'cosine' or 'step'"), ({"denoiser": 3}, r"demo.denoiser: expected str \| type"),
    ({"second": {"learning_rate": 1.0}}, r"demo.second: the field 'steps' is missing"),
])  # fmt: skip
def test_what_is_wrong_is_named(values, message):
    refused(message, configured, Config, values, "demo")


@pytest.mark.parametrize(("value", "kind", "remedy"), [
    ("1e-4", float, "write 1.0e-4"), ("0.5", float, "without quotes"), ("false", bool, "true or false"),
    (1, bool, "true or false"), (True, int, "expected int"), (True, float, "expected float"), (3.0, int, "Write 3."),
    (7, str, 'in quotes: "7"'), (None, str, "expected str"), (float("nan"), float, "nan"),
    ([1, "a"], list[int], r"[1]: expected int"), (3, list[int], "expected list[int]"), ([1], dict, "expected dict"),
])  # fmt: skip
def test_a_value_of_the_wrong_type_is_refused_with_the_remedy(value, kind, remedy):
    told = refused(None, checked_value, value, kind, "demo.yml: lr")
    assert remedy in told and told.startswith("demo.yml: lr")


@pytest.mark.parametrize(("text", "kind", "value"), [
    ("1e-4", float, 1e-4), ("3", int, 3), ("False", bool, False), ("true", bool, True), ("7", str, "7"),
    ("[1, 2]", list[int], [1, 2]), ("{few: 3}", dict, {"few": 3}), ("none", int | None, None), ("3", int | None, 3),
    ("ce", int | str, "ce"), ("[1", int | str, "[1"), ("3", str | int, 3),
])  # fmt: skip
def test_command_line_texts_are_read_by_the_type_of_the_default(text, kind, value):
    assert value_from_text(text, kind, "-p x") == value


@pytest.mark.parametrize(("text", "kind"), [("2.5", int), ("x", float), ("1", bool), ("[1", list), ("a", dict)])
def test_command_line_texts_of_the_wrong_type_are_refused(text, kind):
    refused(r"-p x: expected", value_from_text, text, kind, "-p x")


def test_what_only_code_sets_is_no_parameter():
    assert set(as_values(TrainingEdge(on_log=print))) == {"device", "tracker", "checkpoint_seconds"}
    for given in ({"on_log": "print"}, {"name": "mine"}):
        refused("unknown field", configured, TrainingEdge, given)
