"""Pre-training of the region encoder: classification of annotated boxes of the most frequent classes only."""

import contextlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.progress import track
from workbench.randomness import derived_seed, generator
from workbench.regions.box_sampling import BACKGROUND, BoxDraws
from workbench.regions.detector_checkpoint import read_details, save_detector
from workbench.regions.detector_training import DetectorInTraining, halves, score_boxes, share_of_loss
from workbench.regions.encoder import RegionEncoder
from workbench.regions.halved_batches import HalvedBatches
from workbench.regions.training_batches import Examples, PictureBatch, one_ahead, randomly_changed
from workbench.scenes.annotations import Annotations, read_annotations
from workbench.scenes.bands import count_classes

DETECTOR_FILE = "detector.safetensors"
CHECKPOINT_FILE = "checkpoint.pt"
LOG_FILE = "log.jsonl"
WARM_UP_SHARE = 0.1
LARGEST_GRADIENT_NORM = 5.0


def pretrain_detector(
    folder: Path,
    *,
    scenes: Path,
    width: float = 0.125,
    classes: int = 40,
    epochs: int = 5,
    seed: int = 0,
    short_side: int = 160,
    longest_side: int = 1333,
    batch_images: int = 16,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.02,
    dropout: float = 0.2,
    copies: int = 2,
    jitter: float = 0.12,
    background: int = 2,
    colour: float = 0.15,
    image_folder: Path | None = None,
    device: str = "auto",
) -> dict:
    """Train a Fast R-CNN style box classifier from scratch and write ``detector.safetensors`` and ``log.jsonl``.

    Only boxes of the ``classes`` most frequent object classes of the train split are examples, and random boxes are
    background, as VG's 150-class detector knows a fraction of GQA's 1,703 classes. AdamW with a cosine schedule,
    bfloat16 where the machine multiplies it in hardware. A checkpoint is kept each epoch; a killed run continues
    to the same weights. The log has one line a step: step, epoch, seconds, loss, learning_rate.
    Raises a WorkbenchError where the loss is no longer finite.
    """
    settings = {name: value for name, value in locals().items() if name not in ("folder", "scenes", "image_folder")}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / DETECTOR_FILE).exists():
        return _finished_metrics(folder, settings)
    train = read_annotations(scenes, "train", image_folder)
    names, label_of_class = frequent_classes(train, classes)
    torch.manual_seed(derived_seed(seed, "detector initialisation"))
    encoder = RegionEncoder(width, short_side=short_side, longest_side=longest_side)
    network = DetectorInTraining(encoder, len(names), dropout)
    network.to(chosen_device(device), memory_format=torch.channels_last)
    examples = Examples(train, label_of_class, batch_images)
    draws = BoxDraws(copies, jitter, background, colour)
    with HalvedBatches(network) as halved:
        run = _Run(folder, halved, encoder, examples, draws, settings)
        for epoch in range(run.resume(), epochs):
            run.train_epoch(epoch)
            run.save(epoch + 1)
    network.fold()
    metrics = {
        "classes": names,
        "epochs": epochs,
        "seconds": run.seconds,
        "final_loss": run.recent_loss,
        "unreadable_images": [vars(picture) for picture in examples.unreadable],
    } | _accuracy(encoder, network.cls_score, read_annotations(scenes, "val", image_folder), label_of_class)
    save_detector(
        folder / DETECTOR_FILE,
        encoder,
        classes=names,
        details={"pretraining": settings, "metrics": metrics},
        extra={f"Box_Outs.cls_score.{key}": value for key, value in network.cls_score.state_dict().items()},
    )
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
    return metrics


def frequent_classes(train: Annotations, classes: int) -> tuple[list[str], np.ndarray]:
    """Names of the most frequent object classes (as subject or object), and each class's label.

    Labels (C,) int64: 1 and up in order of falling frequency, -1 for classes that are not learned.
    """
    counts = count_classes(train.relations, train.vocabulary).objects
    order = np.argsort(-counts, kind="stable")[:classes]
    order = order[counts[order] > 0]
    labels = np.full(len(counts), -1, dtype=np.int64)
    labels[order] = np.arange(1, len(order) + 1)
    return [train.vocabulary.objects[index] for index in order], labels


class _Run:
    """One training run: optimiser, schedule, log and checkpoint."""

    def __init__(self, folder, halved: HalvedBatches, encoder, examples, draws: BoxDraws, settings: dict):
        self.folder, self.halved, self.encoder, self.examples = folder, halved, encoder, examples
        self.network = network = halved.network
        self.draws, self.settings = draws, settings
        self.device = next(network.parameters()).device
        self.steps_per_epoch = len(examples.plan())
        # Gains, biases and normalisations are not weights to be kept small.
        groups = [
            {"params": [p for p in network.parameters() if p.dim() > 1], "weight_decay": settings["weight_decay"]},
            {"params": [p for p in network.parameters() if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=settings["learning_rate"], betas=(0.9, 0.98))
        self.step, self.seconds, self.recent_loss = 0, 0.0, math.nan

    def train_epoch(self, epoch: int) -> None:
        started, seconds_before = time.monotonic(), self.seconds
        seed = self.settings["seed"]
        # Dropout is the one draw that torch makes itself.
        torch.manual_seed(derived_seed(seed, "detector dropout", epoch))
        plan = self.examples.plan(generator(seed, "detector order", epoch))
        batches = one_ahead(self._changed_batches(epoch, plan))
        losses = []
        self.halved.train()
        with open(self.folder / LOG_FILE, "a") as log:
            for batch in track(batches, f"pre-training, epoch {epoch + 1}", len(plan)):
                losses.append(self._step(*batch.tensors(self.encoder.config, self.device)))
                self.seconds = seconds_before + time.monotonic() - started
                log.write(json.dumps(self._log_line(epoch, losses[-1])) + "\n")
        self.halved.merge_statistics()
        self.recent_loss = float(np.mean(losses))

    def _changed_batches(self, epoch: int, plan: list[np.ndarray]) -> Iterator[PictureBatch]:
        for number, batch in enumerate(self.examples.read(plan)):
            rng = generator(self.settings["seed"], "detector boxes", epoch, number)
            yield randomly_changed(rng, batch, self.draws)

    def _step(self, images: Tensor, boxes: list[Tensor], labels: Tensor) -> float:
        rate = self._learning_rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        keep = self.network.dropout_mask(len(labels))
        loss = self.halved.backward(share_of_loss, halves(images, boxes, labels, keep))
        if not math.isfinite(loss):
            raise WorkbenchError(
                f"{self.folder}: the loss is {loss} at step {self.step}. The checkpoint of the last whole epoch "
                "is kept; lower the learning rate and run again."
            )
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT_NORM)
        self.optimiser.step()
        self.step += 1
        return loss

    def _learning_rate(self) -> float:
        steps = self.steps_per_epoch * self.settings["epochs"]
        warm_up = max(1, round(WARM_UP_SHARE * steps))
        rise = min(1.0, (self.step + 1) / warm_up)
        fall = 0.5 * (1 + math.cos(math.pi * max(0.0, (self.step - warm_up) / max(1, steps - warm_up))))
        return self.settings["learning_rate"] * rise * fall

    def _log_line(self, epoch: int, loss: float) -> dict:
        rate = self.optimiser.param_groups[0]["lr"]
        return {
            "step": self.step,
            "epoch": epoch,
            "seconds": round(self.seconds, 3),
            "loss": loss,
            "learning_rate": rate,
        }

    def save(self, epochs_done: int) -> None:
        record = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epochs_done": epochs_done,
            "step": self.step,
            "seconds": self.seconds,
            "recent_loss": self.recent_loss,
            "settings": self.settings,
        }
        with atomic_path(self.folder / CHECKPOINT_FILE) as temporary:
            torch.save(record, temporary)

    def resume(self) -> int:
        """Load the checkpoint if there is one; returns how many epochs are done."""
        path = self.folder / CHECKPOINT_FILE
        if not path.exists():
            (self.folder / LOG_FILE).unlink(missing_ok=True)
            return 0
        record = torch.load(path, map_location=self.device, weights_only=True)
        _refuse_other_settings(path, record["settings"], self.settings)
        self.network.load_state_dict(record["network"])
        self.halved.merge_statistics(from_network=True)
        self.optimiser.load_state_dict(record["optimiser"])
        self.step, self.seconds, self.recent_loss = record["step"], record["seconds"], record["recent_loss"]
        lines = (self.folder / LOG_FILE).read_text().splitlines(keepends=True)[: self.step]
        with atomic_path(self.folder / LOG_FILE) as temporary:
            temporary.write_text("".join(lines))
        return record["epochs_done"]


@torch.inference_mode()
def _accuracy(encoder: RegionEncoder, cls_score, val: Annotations, label_of_class: np.ndarray) -> dict:
    """Top-1 accuracy of the folded detector on annotated boxes of the learned classes, background left out."""
    device = next(encoder.parameters()).device
    encoder.eval()
    examples = Examples(val, label_of_class, batch_images=32)
    hits, truth = [], []
    plan = examples.plan()
    for batch in track(examples.read(plan), "validating the detector", len(plan)):
        learned = [own > BACKGROUND for own in batch.labels]
        for values in (batch.boxes, batch.labels):
            values[:] = [own[use] for own, use in zip(values, learned, strict=True)]
        images, boxes, labels = batch.tensors(encoder.config, device)
        predicted = 1 + score_boxes(encoder, cls_score, images, boxes)[:, 1:].argmax(dim=1)
        truth.append(labels.cpu().numpy())
        hits.append((predicted == labels).cpu().numpy())
    hits, truth = np.concatenate(hits), np.concatenate(truth)
    per_class = [hits[truth == label].mean() for label in np.unique(truth)]
    return {
        "val_boxes": len(truth),
        "val_top1_accuracy": float(hits.mean()),
        "val_class_mean_accuracy": float(np.mean(per_class)),
        "val_most_frequent_class_share": float(np.bincount(truth).max() / len(truth)),
    }


def _finished_metrics(folder: Path, settings: dict) -> dict:
    details = read_details(folder / DETECTOR_FILE)
    _refuse_other_settings(folder / DETECTOR_FILE, details.get("pretraining", {}), settings)
    with contextlib.suppress(FileNotFoundError):
        (folder / CHECKPOINT_FILE).unlink()
    return details["metrics"]


def _refuse_other_settings(path: Path, found: dict, asked: dict) -> None:
    differing = [
        f"{name}: {found.get(name)!r} there, {asked[name]!r} asked" for name in asked if found.get(name) != asked[name]
    ]
    if differing:
        raise WorkbenchError(
            f"{path}: was made with other settings ({'; '.join(differing)}). Delete the folder to train anew."
        )
