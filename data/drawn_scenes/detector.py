"""Pre-training of the region encoder: classification of annotated boxes of the most frequent classes only."""

import itertools
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from annotated_scenes.annotations import Annotations, read_annotations
from drawn_scenes.detector_batches import BACKGROUND, Examples, ImageBatch, randomly_changed
from drawn_scenes.detector_config import DetectorConfig
from workbench.progress import track
from workbench.randomness import derived_seed, generator
from workbench.regions.vgg import VGGNetwork, pooled_regions, save_detector
from workbench.scenes.bands import count_classes
from workbench.training import train
from workbench.training_config import TrainingEdge
from workbench.training_state import forget_state

DETECTOR_FILE = "detector.safetensors"
# conv2_1: at full resolution the normalisations of conv1 cost as much as all others and help little.
FIRST_NORMALISED = 5
LINES_OF_LOG = 400


def pretrain_detector(
    folder: Path,
    *,
    scenes: Path,
    image_folder: Path | None = None,
    config: DetectorConfig | None = None,
    edge: TrainingEdge | None = None,
) -> dict[str, Any]:
    """Train a Fast R-CNN style box classifier from scratch and write ``detector.safetensors`` and ``log.jsonl``.

    Only boxes of the most frequent object classes of the train split are examples, and random boxes are background, as
    VG's 150-class detector knows a fraction of GQA's 1,703 classes. A killed run resumes to the same weights.
    """
    config, folder = config or DetectorConfig(), Path(folder)
    annotations = read_annotations(scenes, "train", image_folder)
    names, label_of_class = frequent_classes(annotations, config.classes)
    torch.manual_seed(derived_seed(config.seed, "detector initialisation"))
    vgg = VGGNetwork(config.width, short_side=config.short_side, longest_side=config.longest_side)
    network = DetectorInTraining(vgg, len(names), config.dropout).to(memory_format=torch.channels_last)
    examples = Examples(annotations, label_of_class, config.batch_images)
    batches = _Batches(examples, config)
    steps = config.epochs * batches.per_epoch
    training = replace(config.training, steps=steps, seed=config.seed, warm_up_steps=round(config.warm_up * steps))
    edge = replace(edge or TrainingEdge(), name="the detector")
    trained = train(_Objective(network), batches, folder, training, log_every=max(1, steps // LINES_OF_LOG), edge=edge)
    network.fold()
    network.half().float()  # as they are stored, in half the bytes
    metrics = {
        "classes": names,
        "epochs": config.epochs,
        "final_loss": float(np.mean([line["loss"] for line in trained.log[-len(trained.log) // config.epochs :]])),
        "unreadable_images": [vars(image) for image in examples.unreadable],
    } | _accuracy(vgg, network.cls_score, read_annotations(scenes, "val", image_folder), label_of_class)
    network.half()
    save_detector(
        folder / DETECTOR_FILE,
        vgg,
        extra={f"Box_Outs.cls_score.{key}": value for key, value in network.cls_score.state_dict().items()},
        classes=names,
        pretraining=asdict(config),
        metrics=metrics,
    )
    forget_state(folder)
    return metrics | {"seconds": trained.seconds}  # the checkpoint is the same bytes, however long it took


def frequent_classes(annotations: Annotations, classes: int) -> tuple[list[str], np.ndarray]:
    """Names of the most frequent object classes (as subject or object), and each class's label.

    Labels (C,) int64: 1 and up in order of falling frequency, -1 for classes that are not learned.
    """
    counts = count_classes(annotations.relations, annotations.vocabulary).objects
    order = np.argsort(-counts, kind="stable")[:classes]
    order = order[counts[order] > 0]
    labels = np.full(len(counts), -1, dtype=np.int64)
    labels[order] = np.arange(1, len(order) + 1)
    return [annotations.vocabulary.objects[index] for index in order], labels


class DetectorInTraining(nn.Module):
    """A region encoder with a normalisation after nearly every layer, and a classifier on top.

    VGG-16 has no normalisation layers and learns slowly from scratch without them. A normalisation that follows a
    linear layer is itself linear at evaluation, so ``fold`` can write both into the encoder's layer: the result has
    exactly VGG-16's layers. Shares its layers with ``vgg``.
    """

    def __init__(self, vgg: VGGNetwork, classes: int, dropout: float):
        super().__init__()
        layers: list[nn.Module] = []
        for place, layer in enumerate(vgg.convs):
            layers.append(layer)
            if isinstance(layer, nn.Conv2d) and place >= FIRST_NORMALISED:
                layers.append(nn.BatchNorm2d(layer.out_channels))
        self.config = vgg.config
        self.convs = nn.Sequential(*layers)
        self.fc6, self.fc7 = vgg.heads[0], vgg.heads[3]
        self.norm6, self.norm7 = nn.BatchNorm1d(vgg.dimension), nn.BatchNorm1d(vgg.dimension)
        self.dropout = nn.Dropout(dropout)
        self.cls_score = nn.Linear(vgg.dimension, classes + 1)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.zeros_(self.cls_score.bias)

    def forward(self, images: Tensor, boxes: list[Tensor]) -> Tensor:
        """Logits (n, classes + 1), background first."""
        pooled = pooled_regions(self.convs(images), boxes)  # (n, C * 49)
        hidden = self.dropout(torch.relu(self.norm6(self.fc6(pooled))))
        features = self.norm7(self.fc7(hidden))  # (n, D), signed
        return self.cls_score(torch.relu(features))

    @torch.no_grad()
    def fold(self) -> None:
        """Write the normalisations, as they act at evaluation, into the encoder's layers."""
        pairs: list[tuple[Any, Any]] = [(self.fc6, self.norm6), (self.fc7, self.norm7)]
        pairs += [(layer, norm) for layer, norm in itertools.pairwise(self.convs) if isinstance(norm, nn.BatchNorm2d)]
        for layer, norm in pairs:
            gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            layer.weight.mul_(gain.view(-1, *[1] * (layer.weight.dim() - 1)))
            layer.bias.copy_((layer.bias - norm.running_mean) * gain + norm.bias)


class _Objective(nn.Module):
    """The mean cross-entropy of a batch's boxes."""

    def __init__(self, network: DetectorInTraining):
        super().__init__()
        self.network = network

    def forward(self, batch: ImageBatch, step: int) -> dict[str, Tensor]:
        images, boxes, labels = batch.tensors(self.network.config, next(self.network.parameters()).device)
        return {"cross_entropy": functional.cross_entropy(self.network(images, boxes).float(), labels)}


class _Batches:
    """The images of a step with their training boxes, a function of (seed, step)."""

    def __init__(self, examples: Examples, config: DetectorConfig):
        self._examples, self._config = examples, config
        # Shapes are cut into batches each by itself, so that every epoch has as many.
        self.per_epoch = len(examples.plan())
        self._plan = lru_cache(1)(lambda epoch: examples.plan(generator(config.seed, "detector order", epoch)))

    def __call__(self, step: int, part: int, parts: int) -> ImageBatch:
        """One of ``parts`` shares of the step's images; of fewer images than shares each is given all."""
        epoch, number = divmod(step, self.per_epoch)
        images = self._plan(epoch)[number]
        images = np.array_split(images, parts)[part] if len(images) >= parts else images
        rng = generator(self._config.seed, "detector boxes", step, part)
        return randomly_changed(rng, self._examples.read(images), self._config.boxes)


@torch.inference_mode()
def _accuracy(vgg: VGGNetwork, cls_score: nn.Linear, val: Annotations, label_of_class: np.ndarray) -> dict[str, Any]:
    """Top-1 accuracy of the folded detector on annotated boxes of the learned classes, background left out."""
    vgg.eval()
    examples = Examples(val, label_of_class, batch_images=32)
    guesses, labels = [], []
    for images in track(examples.plan(), "validating the detector"):
        prepared, boxes, own = examples.read(images).tensors(vgg.config, next(vgg.parameters()).device)
        logits = cls_score(torch.relu(vgg(prepared, boxes)))  # (n, classes + 1)
        guesses.append(1 + logits[:, 1:].argmax(dim=1).cpu().numpy())
        labels.append(own.cpu().numpy())
    guess, label = np.concatenate(guesses), np.concatenate(labels)
    hit, label = (guess == label)[label > BACKGROUND], label[label > BACKGROUND]
    return {
        "val_boxes": len(label),
        "val_top1_accuracy": float(hit.mean()),
        "val_class_mean_accuracy": float(np.mean([hit[label == one].mean() for one in np.unique(label)])),
        "val_most_frequent_class_share": float(np.bincount(label).max() / len(label)),
    }
