"""Region features of annotated pictures: every box and every union once, into a feature store per split."""

import time
from pathlib import Path

import torch

from workbench.devices import chosen_device
from workbench.processes import Processes
from workbench.regions.detector_checkpoint import open_detector
from workbench.regions.feature_store import FeatureStore
from workbench.regions.picture_loading import decoding_workers
from workbench.regions.region_features import RegionNetwork, feature_precision
from workbench.regions.split_extraction import (
    ExtractionSettings,
    SplitExtraction,
    is_finished,
    remove_records,
    split_summary,
)
from workbench.scenes.annotations import SPLITS, read_annotations, splits_of
from workbench.scenes.upstream_files import copy_synset_tables
from workbench.stopping import stop_on_sigterm

# Of GQA-LT's pictures these have about 256 MB of unions at 4096 dimensions.
IMAGES_PER_SHARD = 800


def extract_features(
    folder: Path,
    *,
    scenes: Path,
    detector: Path,
    splits: tuple[str, ...] = SPLITS,
    image_folder: Path | None = None,
    imagenet: bool = False,
    short_side: int | None = None,
    longest_side: int | None = None,
    batch_images: int = 32,
    device: str = "auto",
    workers: int | None = None,
    images_per_shard: int = IMAGES_PER_SHARD,
    precision: str = "auto",
) -> dict:
    """Write a features folder: the vocabulary and one feature store per split that ``scenes`` has; train is required.

    ``scenes`` is an annotation folder in the LTVRR layout, ``detector`` a checkpoint (or a folder with
    ``detector.safetensors``). Features are fc7 before its ReLU, float16; ``precision`` "auto" computes them in float32
    on a CPU and in bfloat16 on a GPU, "float32", "bfloat16" and "float16" everywhere. ``workers`` processes decode
    pictures, threads of this one for 0; None chooses. Neither changes a bit with it, nor does the number of processes
    that share the work (``Processes``); the batch size changes nothing beyond float16's rounding.

    A picture that cannot be read is left out with its relations and named in the summary under ``unreadable_images``.
    One of another size than annotated is used as it is, with the boxes as they are annotated, in its own pixels, and
    named under ``images_of_unexpected_size``. A killed run continues where it stopped, to the same bytes; SIGTERM ends
    the run after the current batch by ``Stopped``. A full disk is a WorkbenchError, and what was finished stays.
    """
    started = time.monotonic()
    folder, processes, chosen = Path(folder), Processes.current(), chosen_device(device)
    settings = ExtractionSettings(batch_images, images_per_shard, feature_precision(chosen, precision))
    network = open_network(detector, imagenet=imagenet, short_side=short_side, longest_side=longest_side, device=chosen)
    if workers is None:
        workers = decoding_workers(chosen, processes.count)
    present = [split for split in splits if split == SPLITS[0] or split in splits_of(scenes)]
    finished = {split for split in present if is_finished(folder / split)}
    processes.wait()  # so that all have seen the same
    summaries = {}
    with stop_on_sigterm() as stop:
        for split in present:
            annotations = read_annotations(scenes, split, image_folder)
            if split not in finished:
                work = SplitExtraction(
                    *(folder / split, annotations, network, settings), stop=stop, processes=processes, workers=workers
                )
                work.make_store()
            if processes.main:
                annotations.vocabulary.write(folder)
                copy_synset_tables(folder, (Path(scenes), Path(scenes).parent))  # for evaluation
                remove_records(folder / split)
            summaries[split] = split_summary(_opened_store(folder / split, network), annotations)
    processes.wait()  # a caller may move the folder now
    return {
        "encoder": network.identity,
        "dimension": network.encoder.dimension,
        "ignored_checkpoint_keys": list(network.ignored_keys),
        "unreadable_images": [name for summary in summaries.values() for name in summary["unreadable_images"]],
        "splits": summaries,
        "seconds": time.monotonic() - started,
    }


def open_network(
    detector: Path,
    *,
    imagenet: bool = False,
    short_side: int | None = None,
    longest_side: int | None = None,
    device: torch.device,
) -> RegionNetwork:
    """The detector's region encoder on ``device``; sides that are given replace the checkpoint's."""
    preparation = {"short_side": short_side, "longest_side": longest_side}
    preparation = {name: value for name, value in preparation.items() if value is not None}
    encoder, coverage = open_detector(detector, imagenet=imagenet, **preparation)
    identity = encoder.identity
    return RegionNetwork(encoder.to(device, memory_format=torch.channels_last), identity, coverage.ignored)


def _opened_store(folder: Path, network: RegionNetwork) -> FeatureStore:
    return FeatureStore.open(folder, expect_dimension=network.encoder.dimension, expect_encoder=network.identity)
