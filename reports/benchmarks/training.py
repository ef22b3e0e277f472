"""How fast the denoiser and both recognisers train at the demo's sizes, beside the machine's own matrix product."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
from torch.utils.flop_counter import FlopCounterMode

from reports.benchmarks.running import timed
from tests.diffusion.cases import IDENTITY, clusters, hardness_centroids, text
from tests.synthetic import numbered_names, write_features, write_text
from workbench.devices import chosen_device, network_precision
from workbench.diffusion.config import DiffusionConfig
from workbench.diffusion.train import train_denoiser
from workbench.recognition.config import RecogniserConfig
from workbench.recognition.training import train_recogniser
from workbench.training import read_log

_ROWS = 16_000
_NARROW = {"width": 128, "heads": 4, "memory": 32, "scene_hidden": 256, "block_hidden": 256}
_CONFIGS: dict[str, Any] = {
    "denoiser": DiffusionConfig(network={"width": 384, "blocks": 3}),
    "lsvru": RecogniserConfig("lsvru", 512), "reltransformer": RecogniserConfig("reltransformer", 256, _NARROW),
}  # fmt: skip


def benchmark_training() -> dict[str, Any]:
    """Rows a second, validation included, and the share of the rate of a product of 512 x 512 x 1536."""
    found: dict[str, Any] = {"precision": network_precision(chosen_device())}
    found["product_gflops"] = product = _product_rate(getattr(torch, found["precision"]))
    with tempfile.TemporaryDirectory() as place:
        folder, names = Path(place), numbered_names(100, 25)
        write_features(folder, names, {"train": _ROWS, "val": 1860}, dimension=512)
        write_text(folder / "text", names, 128)
        for name, config in _CONFIGS.items():
            _train(folder, name, 5)
            first, *_, last = read_log(folder / f"{name} 5")
            seconds, steps = last["seconds"] - first["seconds"], last["step"] - first["step"]
            found[f"{name}_rows_per_second"] = rate = steps * config.batch_size / seconds
            operations = []
            for epochs in (1, 2):  # whose difference is an epoch's, without what surrounds it
                counter = FlopCounterMode(display=False)
                # Its own tracker, which sorts the operations by module, fails in RelTransformer (torch 2.14).
                counter.mod_tracker = MagicMock(parents={"Global"})
                with counter:
                    _train(folder, name, epochs)
                operations.append(counter.get_total_flops())
            found[f"{name}_ratio"] = rate * (operations[1] - operations[0]) / _ROWS / product / 1e9
    return found


def _train(folder: Path, name: str, epochs: int) -> None:
    config, out = replace(_CONFIGS[name], epochs=epochs), folder / f"{name} {epochs}"
    if name == "denoiser":
        rows, words = clusters(_ROWS, 2400, 512, text=128)[0], text(dimension=128)
        train_denoiser(out, rows, words, hardness_centroids(200, 128), IDENTITY, config=config)
    else:
        train_recogniser(out, features=folder, text=folder / "text", config=config)


def _product_rate(kind: torch.dtype) -> float:
    """Billions of operations a second."""
    first, second = (torch.randn(512, n).to(chosen_device(), kind) for n in (512, 1536))
    best = min(timed(lambda: [first @ second for _ in range(100)][-1].sum().item())[0] for _ in range(10))
    return 2 * 100 * 512 * 512 * 1536 / best / 1e9
