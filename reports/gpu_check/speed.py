"""Speed and memory at full size: 96,000 samples of 4,096 numbers, and VGG-16 on images of 800 pixels."""

import numpy as np
import torch

from gpu_check.findings import Findings, forget_peak, peak_gigabytes, products_per_second, timed
from workbench.diffusion.checkpoint import DenoiserCheckpoint, DenoiserIdentity
from workbench.diffusion.conditioned_network import DataSizes
from workbench.diffusion.conditions import ConditionTokens
from workbench.diffusion.config import ConditionDropout, SamplingConfig
from workbench.diffusion.denoiser import MLPConfig, MLPDenoiser
from workbench.diffusion.sample import sample_features
from workbench.diffusion.schedule import NoiseSchedule
from workbench.randomness import generator, row_normal
from workbench.regions.config import ExtractionConfig
from workbench.regions.encoders import VGGEncoder
from workbench.regions.vgg import VGGNetwork

TEXT, OBJECTS, RELATIONS, CENTROIDS = 768, 1703, 310, 1200
OPERATIONS = 0.34e9  # of the denoiser and a row, as `workbench plan --profile gqa-lt` counts them


def sampling(found: Findings) -> None:
    """GQA-LT's samples by the denoiser of its profile with random weights: noise, conditions and copying included."""
    rows, dimension, width = found.size(96_000, 1000), found.size(4096, 64), found.size(1536, 64)
    sizes = DataSizes(dimension, found.size(TEXT, 32), OBJECTS, RELATIONS, found.size(CENTROIDS, 20))
    network = MLPDenoiser(MLPConfig(width=width, blocks=6), sizes).eval().requires_grad_(False)
    for tensor in (*network.parameters(), network.object_text, network.relation_text, network.centroids):
        torch.nn.init.normal_(tensor, std=0.02)
    identity = DenoiserIdentity(tuple(map(str, range(OBJECTS))), tuple(map(str, range(RELATIONS))))
    checkpoint = DenoiserCheckpoint(network.to(found.device), "mlp", NoiseSchedule(), ConditionDropout(), identity)
    draw, index = generator(0, "gpu check"), np.arange(rows)
    classes = np.stack([draw.integers(0, most, rows) for most in (OBJECTS, RELATIONS, OBJECTS)], axis=1)
    captions = draw.standard_normal((rows, sizes.text), dtype=np.float32)
    conditions = ConditionTokens(classes, index, np.zeros_like(index), (captions,))
    found.note(parameters=network.parameter_count(), samples=rows)
    rate, default = products_per_second(found), SamplingConfig().steps
    sample_features(checkpoint, conditions, index[:4096], SamplingConfig(steps=2))
    forget_peak()
    for steps in sorted({20, default, 8, 4}):
        seconds, made = timed(sample_features, checkpoint, conditions, index, SamplingConfig(steps=steps))
        assert made.shape == (rows, dimension)  # and finite, else it were refused
        found.note(**{f"samples a second, {steps} evaluations": rows / seconds})
        if not found.small:
            found.note(**{f"of the matrix product, {steps} evaluations": steps * rows * OPERATIONS / seconds / rate})
        name, most = f"seconds, {steps} evaluations", 5.0 if steps == 20 else 2.5
        if steps in (20, default):
            found.require(name, seconds, most=min(most, 2.5) if steps == default else most, speed=True)
        else:
            found.note(**{name: seconds})
    found.note(peak_gigabytes=peak_gigabytes())
    parts = [index[first : first + network.rows_at_once] for first in range(0, rows, network.rows_at_once)]
    noise = timed(lambda: [row_normal(0, "x", part, dimension, found.device) for part in parts])[0]
    whole = found.required[f"seconds, {default} evaluations"]["value"]
    found.require("noise, as a share of a run at the default", noise / whole, most=0.05, speed=True)
    again = row_normal(0, "x", index[300:700], dimension, found.device)
    halves = torch.cat([row_normal(0, "x", index[a:b], dimension, found.device) for a, b in ((300, 400), (400, 700))])
    found.require("noise in other parts, largest difference", float((again - halves).abs().max()), most=0.0)
    found.require("noise, its variance", float(again.var()), most=1.02, least=0.98)


def extraction(found: Findings) -> None:
    """VGG-16 at full width on images of 600 x 800 pixels with 48 regions each, in half precision and in float32."""
    images, draw = found.size(64, 2), np.random.default_rng(0)
    pixels = [draw.integers(0, 256, (600, 800, 3), dtype=np.uint8) for _ in range(images)]
    corners = draw.uniform(0, 400, (images, 48, 2))
    boxes = list(np.concatenate([corners, corners + draw.uniform(30, 199, corners.shape)], axis=2))
    network = VGGNetwork(1.0 if not found.small else 0.05, short_side=found.size(800, 200))
    features = {}
    for precision in ("float32", "float16", "bfloat16"):
        config = ExtractionConfig(precision=precision)  # type: ignore[arg-type]
        encoder = VGGEncoder(network, config, found.device)
        encoder.encode(pixels[:2], boxes[:2])
        forget_peak()
        seconds, made = timed(encoder.encode, pixels, boxes)
        features[precision] = np.concatenate(made)
        found.note(**{f"images a second, {precision}": images / seconds})
        found.note(**{f"peak gigabytes, {precision}": peak_gigabytes()})
    for precision in ("float16", "bfloat16"):
        apart = np.linalg.norm(features[precision] - features["float32"]) / np.linalg.norm(features["float32"])
        found.require(f"{precision} against float32", float(apart), most=0.02)
    one = VGGEncoder(network.cpu(), ExtractionConfig(precision="float32"), torch.device("cpu")).encode(
        pixels[:1], boxes[:1]
    )
    apart = np.linalg.norm(one[0] - features["float32"][:48]) / np.linalg.norm(one[0])
    found.require("float32 against the CPU", float(apart), most=0.01)
