"""Damaged files of features: finding them by their checksums, and making them alone again."""

from pathlib import Path
from typing import Any

from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.processes import Processes
from workbench.regions.extraction import open_network
from workbench.regions.feature_shards import damaged
from workbench.regions.feature_store_manifest import kinds_of, read_manifest, write_manifest
from workbench.regions.image_shard import ImageShard
from workbench.regions.picture_loading import decoding_workers
from workbench.regions.region_features import RegionNetwork
from workbench.regions.split_extraction import (
    EXTRACTION,
    ExtractionSettings,
    SplitExtraction,
    extraction_records,
    is_finished,
    remove_records,
)
from workbench.scenes.annotations import SPLITS, Annotations, read_annotations
from workbench.stopping import stop_on_sigterm


def damaged_shards(folder: Path) -> dict[str, list[str]]:
    """Names of the damaged feature files of each split of a features folder; an empty list where all is well.

    Reads every byte, see ``feature_shards.damaged``. WorkbenchError where there are no finished features, or a manifest
    is damaged itself.
    """
    splits = [split for split in SPLITS if is_finished(Path(folder) / split)]
    if not splits:
        raise WorkbenchError(f"{folder}: holds no finished features. Run the stage features, or give its folder.")
    found = {}
    for split in splits:
        manifest = read_manifest(Path(folder) / split)
        entries = [entry for kind in kinds_of(manifest) for entry in manifest["shards"][kind]]
        found[split] = damaged(Path(folder) / split, entries, manifest["dimension"])
    return found


def remake_shards(
    folder: Path,
    damaged: dict[str, list[str]],
    *,
    scenes: Path,
    detector: Path,
    image_folder: Path | None = None,
    imagenet: bool = False,
    short_side: int | None = None,
    longest_side: int | None = None,
    device: str = "auto",
    workers: int | None = None,
    **recorded: Any,
) -> dict[str, list[str]]:
    """Remove the damaged files and extract their pictures' features again; the other files are not touched.

    The parameters are those of ``extract_features``; what else it takes (batch_images and the like) may be among them
    and has no effect, since the store knows what it was made with. On the same kind of machine the bytes are the old
    ones; returns for each split the files whose bytes are not, whose new checksums the manifest has then. A killed run
    continues. WorkbenchError for imported features, for other annotations or another detector than the features were
    made from, and for a picture that cannot be read any more.
    """
    folder, processes, chosen = Path(folder), Processes.current(), chosen_device(device)
    manifests = {split: _extracted_manifest(folder / split) for split, names in damaged.items() if names}
    if not manifests:
        return {}
    sides = {"short_side": short_side, "longest_side": longest_side}
    network = open_network(detector, imagenet=imagenet, **sides, device=chosen)
    workers = decoding_workers(chosen, processes.count) if workers is None else workers
    differing = {}
    with stop_on_sigterm() as stop:
        for split, manifest in manifests.items():
            annotations = read_annotations(scenes, split, image_folder)
            settings = {name: manifest["extraction"][name] for name in ExtractionSettings.__dataclass_fields__}
            work = SplitExtraction(
                *(folder / split, annotations, network, ExtractionSettings(**settings)),
                stop=stop,
                processes=processes,
                workers=workers,
            )
            _require_same(work, manifest, network, annotations, scenes)
            differing[split] = _remade(work, manifest, damaged[split], processes)
    return differing


def _extracted_manifest(folder: Path) -> dict[str, Any]:
    manifest = read_manifest(folder)
    if not isinstance(manifest.get("extraction"), dict):
        raise WorkbenchError(
            f"{folder}: these features cannot be made again in part, since they were not extracted from pictures, or "
            "by an earlier version. Import them again with `workbench features import`, or delete the folder and "
            "extract them."
        )
    return manifest


def _require_same(
    work: SplitExtraction, manifest: dict[str, Any], network: RegionNetwork, annotations: Annotations, scenes: Path
) -> None:
    if manifest["encoder"] != network.identity:
        raise WorkbenchError(
            f"{work.folder}: the features come from the encoder {manifest['encoder']!r}, the detector that is given is "
            f"{network.identity!r}. Give the detector and the sides that the features were made with."
        )
    if manifest["extraction"]["identity"] != work.identity:
        raise WorkbenchError(
            f"{work.folder}: the features were made from other annotations than {scenes} has for "
            f"{annotations.split!r}. Give the same annotations, or delete the folder and make the features again."
        )


def _remade(work: SplitExtraction, manifest: dict[str, Any], names: list[str], processes: Processes) -> list[str]:
    shards = _damaged_image_shards(work, manifest, names)
    if processes.main:
        for shard in shards:
            if shard.finished:  # the record of an earlier repair, which the damage has outdated
                shard.record_path.unlink()
        for name in names:
            (work.folder / name).unlink(missing_ok=True)
    processes.wait()
    work.compute(shards)
    made = {entry["file"]: entry["sha256"] for shard in shards for entry in shard.record().files.values()}
    processes.wait()  # until all have seen the records, which are removed now
    entries = [entry for kind in kinds_of(manifest) for entry in manifest["shards"][kind] if entry["file"] in names]
    differing = [entry["file"] for entry in entries if entry["sha256"] != made[entry["file"]]]
    if processes.main:
        for entry in entries:
            entry["sha256"] = made[entry["file"]]
        write_manifest(work.folder, manifest)
        remove_records(work.folder)
    processes.wait()
    return differing


def _damaged_image_shards(work: SplitExtraction, manifest: dict[str, Any], names: list[str]) -> list[ImageShard]:
    records = extraction_records(work.folder)
    shards = []
    for number, entries in enumerate(zip(*(manifest["shards"][kind] for kind in kinds_of(manifest)), strict=True)):
        kinds = [kind for kind, entry in zip(kinds_of(manifest), entries, strict=True) if entry["file"] in names]
        if kinds and number >= len(records):
            raise WorkbenchError(
                f"{work.folder / EXTRACTION}: says nothing of shard {number}. Delete {work.folder} and make the "
                "features again."
            )
        if kinds:
            shards.append(work.shard(number, kinds, records[number]))
    return shards
