"""What a GPU must share with a CPU, a resumed training with a whole one, and two processes with one."""

import os
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from gpu_check.findings import Findings, SkippedSectionError
from tests.synthetic import write_features, write_text
from workbench.configuration import configured
from workbench.diffusion import sample
from workbench.diffusion.checkpoint import CHECKPOINT, DenoiserCheckpoint
from workbench.diffusion.conditions import triplet_conditions
from workbench.diffusion.config import DiffusionConfig, SamplingConfig
from workbench.diffusion.train import train_diffusion
from workbench.language.config import AugmentationConfig
from workbench.language.text_embedding import TextEmbeddings
from workbench.language.triplets import read_triplets, write_triplets
from workbench.launching import PROCESSES_VARIABLE, shared_by_processes
from workbench.randomness import row_normal
from workbench.recognition.config import EvaluationConfig, RecogniserConfig
from workbench.recognition.evaluation import evaluate_recogniser
from workbench.recognition.recogniser import load_recogniser
from workbench.recognition.training import train_recogniser
from workbench.scenes.vocabulary import ROLES
from workbench.stopping import Stopped, ask_to_stop
from workbench.training import read_log
from workbench.training_config import TrainingConfig, TrainingEdge

NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"width": 128, "blocks": 2, "heads": 4, "dropout": 0.0},
    "unet": {"channels": [8, 16], "layers": 1, "heads": 2, "dropout": 0.0},
}
NARROW = {"width": 64, "heads": 4, "memory": 8, "scene_hidden": 64, "block_hidden": 64}
UNDROPPED = {"dropout": 0.0, "attention_dropout": 0.0}
PLAIN = TrainingConfig(learning_rate=1e-3, precision="float32")


class SameDraws(TorchFunctionMode):
    """What is drawn for a GPU is drawn on the CPU, so that both see the same numbers."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function in (torch.randn, torch.rand) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return function(*args, **kwargs).to(device)
        return function(*args, **kwargs)


def agreement(found: Findings) -> None:
    """CPU against GPU with the same draws: weights after 20 steps, samples, logits, the numbers of an evaluation."""
    torch.backends.cudnn.allow_tf32 = False  # a CPU has no such format
    inputs, devices = _small_data(found.work), {"cpu": "cpu", "gpu": str(found.device)}
    for kind in NETWORKS:
        trained = {}
        for name, device in devices.items():
            with SameDraws():
                trained[name] = _denoiser(found.work / f"{kind}-{name}", inputs, device, kind, steps=20)
        begun = _denoiser(found.work / f"{kind}-begun", inputs, "cpu", kind, steps=1)
        # AdamW moves a weight by its gradient's sign at first, and where that is next to nothing, rounding decides it.
        found.require(f"{kind}: weights after 20 steps", _off(_weights(trained["gpu"]), _weights(trained["cpu"]),
                                                            _weights(begun)), most=0.05)  # fmt: skip
        for precision, most in (("float32", 1e-3), ("bfloat16", 0.05)):
            samples = {name: _samples_of(trained["cpu"], inputs, device, precision) for name, device in devices.items()}
            found.require(f"{kind}: samples in {precision}", _off(samples["gpu"], samples["cpu"], 0.0), most=most)
    for architecture, sizes in (("lsvru", {}), ("reltransformer", NARROW | UNDROPPED)):
        logs, numbers = {}, {}
        for name, device in devices.items():
            folder, edge = found.work / f"{architecture}-{name}", TrainingEdge(device=device)
            logs[name] = _recogniser(folder, inputs, edge, architecture, sizes)
            one = {"recogniser": found.work / f"{architecture}-cpu", "features": inputs["features"]}
            measured = evaluate_recogniser(folder / "evaluation", **one, config=EvaluationConfig(), edge=edge)
            numbers[name] = np.array([float(v) for v in measured.values() if isinstance(v, int | float)])
        found.require(f"{architecture}: losses of 4 epochs", _off(logs["gpu"], logs["cpu"], 0.0), most=0.01)
        found.require(
            f"{architecture}: points of accuracy", float(abs(numbers["gpu"] - numbers["cpu"]).max()), most=0.2
        )
        head = load_recogniser(found.work / f"{architecture}-cpu").head.eval()
        if not head.reads_scenes:
            features = torch.randn(3, 256, head.config.feature_dimension)
            with torch.inference_mode():
                own, there = head(*features), head.to(found.device)(*features.to(found.device))
            for role in ROLES:
                apart = (getattr(there, role).cpu() - getattr(own, role)).abs().max()
                found.require(f"{architecture}: logits of the {role}, from -10 to 10", float(apart), most=1e-3)


def resume(found: Findings) -> None:
    """A training that is stopped half-way and resumed against one that is not; dropout's draws included."""
    inputs, device = _small_data(found.work), str(found.device)
    for kind in NETWORKS:
        make = partial(_denoiser, inputs=inputs, device=device, kind=kind, steps=100, dropout=0.2)
        whole, stopped = make(found.work / f"{kind}-whole"), found.work / f"{kind}-stopped"
        try:
            make(stopped, stop_at=50)
            raise AssertionError("the training was not stopped")
        except Stopped:
            make(stopped)
        begun = _weights(_denoiser(found.work / f"{kind}-first", inputs, device, kind, steps=1))
        found.note(**{f"{kind}: equal bits": bool((_weights(whole) == _weights(stopped)).all())})
        found.require(f"{kind}: resumed", _off(_weights(stopped), _weights(whole), begun), most=0.05)
    losses = _recogniser(found.work / "whole", inputs, TrainingEdge(device=device), "reltransformer", NARROW)
    resumed: list[Any] = []
    for edge in (_stopping(device, 8), TrainingEdge(device=device)):
        try:
            resumed.append(_recogniser(found.work / "stopped", inputs, edge, "reltransformer", NARROW))
        except Stopped:
            resumed.append(None)
    assert resumed[0] is None, "the training was not stopped"
    found.require("reltransformer: resumed", _off(resumed[1], losses, 0.0), most=0.01)


def processes(found: Findings) -> None:
    """Two processes, one a GPU, share the training of a denoiser."""
    if not found.small and torch.cuda.device_count() < 2:
        raise SkippedSectionError("one GPU")
    inputs, losses = _small_data(found.work), {}
    for count in (1, 2):
        os.environ[PROCESSES_VARIABLE] = str(count)
        config = _diffusion_config("mlp", steps=100)
        metrics = shared_by_processes(train_diffusion)(found.work / f"of-{count}", **inputs, config=config)
        losses[count] = (metrics or {})["held_out_loss"]
    found.require("held-out loss of two against one", abs(losses[2] / losses[1] - 1), most=0.05)


def _small_data(work: Path) -> dict[str, Path]:
    place = work / "made-up"
    inputs = {name: place / name for name in ("features", "text", "triplets")}
    if not place.exists():
        write_features(inputs["features"], rows={"train": 2000, "val": 200, "test": 1000}, dimension=64)
        write_text(inputs["text"])
        config = AugmentationConfig(medium_quota=400, few_quota=600, centroids=5, senses="all")
        write_triplets(inputs["triplets"], features=inputs["features"], text=inputs["text"], config=config)
    return inputs


def _diffusion_config(kind: str, steps: int, dropout: float = 0.0) -> DiffusionConfig:
    values = {"denoiser": kind, "network": NETWORKS[kind] | {"dropout": dropout}, "batch_size": 128}
    return configured(DiffusionConfig, values, training={"learning_rate": 1e-3, "precision": "float32", "steps": steps})


def _denoiser(folder: Path, inputs: Any, device: str, kind: str, steps: int, stop_at: int = 0, dropout: float = 0.0):
    edge = _stopping(device, stop_at) if stop_at else TrainingEdge(device=device)
    train_diffusion(folder, **inputs, config=_diffusion_config(kind, steps, dropout), edge=edge)
    return folder


def _stopping(device: str, step: int) -> TrainingEdge:
    def stop(line: dict[str, Any]) -> None:
        if line["step"] >= step:
            ask_to_stop()

    return TrainingEdge(device=device, on_log=stop)


def _recogniser(folder: Path, inputs: dict[str, Path], edge: Any, architecture: str, sizes: dict[str, Any]) -> list:
    config = RecogniserConfig(architecture, hidden=64, sizes=sizes, epochs=4, batch_size=400, training=PLAIN)
    data = {name: inputs[name] for name in ("features", "text")}
    train_recogniser(folder, **data, config=config, edge=edge)
    return [line["loss"] for line in read_log(folder)]


def _samples_of(folder: Path, inputs: dict[str, Path], device: str, precision: str) -> np.ndarray:
    checkpoint, stored = DenoiserCheckpoint.load(folder / CHECKPOINT, device), read_triplets(inputs["triplets"])
    conditions, index = triplet_conditions(TextEmbeddings.open(inputs["text"]), stored.augmented, stored)
    drawn = lambda *key: row_normal(*key[:4]).to(key[4])  # noqa: E731
    with patch.object(sample, "row_normal", drawn):
        config = SamplingConfig(steps=8, guidance=1.5, precision=precision)  # type: ignore[arg-type]
        return sample.sample_features(checkpoint, conditions, index, config)


def _weights(folder: Path) -> np.ndarray:
    network = DenoiserCheckpoint.load(folder / CHECKPOINT, "cpu").network
    return torch.cat([parameter.flatten() for parameter in network.parameters()]).numpy()


def _off(ours: Any, theirs: Any, origin: Any) -> float:
    """How far ``ours`` lie from ``theirs``, as a share of how far these lie from ``origin``."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs - origin))
