"""Generated features on disk: written in parts, read like a feature store."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, save_array, write_json
from workbench.processes import Processes
from workbench.stopping import Stopped, stop_on_sigterm

if TYPE_CHECKING:
    from workbench.regions.feature_store import FeatureStore

MANIFEST = "generated.json"
_AGAIN = "Delete the folder and generate the features again."


class GeneratedFeatures:
    """Features of generated relations: ``relations`` (one row a sample), ``len``, ``union``, ``subject``, ``object``.

    Subject and object features are the store's at the seed boxes, or generated ones where the folder has them.
    """

    def __init__(self, folder: Path, store: "FeatureStore", manifest: dict, relations: pd.DataFrame):
        self.folder, self.store, self.relations = Path(folder), store, relations
        self.dimension: int = manifest["dimension"]
        self.encoder: str = manifest["encoder"]
        self.support: str = manifest["support"]
        self.entity_features: str = manifest["entity_features"]
        regions = ["union"] if self.entity_features == "seed" else ["union", "subject", "object"]
        self._arrays = {region: _open_array(self.folder, region, len(relations), self.dimension) for region in regions}

    @classmethod
    def open(cls, folder: Path, store: "FeatureStore") -> "GeneratedFeatures":
        """Open a finished folder; ``store`` is the train store that the seed boxes were drawn from.

        WorkbenchError where a file is missing or cut short, or where dimension, encoder, support or number of boxes
        of the store are not those of the seed boxes.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).exists():
            raise WorkbenchError(f"{folder}: holds no finished generated features (no {MANIFEST}). Run notebook 03.")
        manifest = read_json(folder / MANIFEST)
        for name, found in store_identity(store).items():
            if manifest.get(name) != found:
                raise WorkbenchError(
                    f"{folder}: generated for a store with {name} {manifest.get(name)!r}, but this one has {found!r}. "
                    "Open it with the train store it was generated from, or generate again."
                )
        try:
            relations = pd.read_parquet(folder / "generated.parquet")
        except (OSError, ValueError) as error:
            raise WorkbenchError(f"{folder / 'generated.parquet'}: not a readable table ({error}). {_AGAIN}") from error
        if len(relations) != manifest["rows"]:
            raise WorkbenchError(f"{folder}: {len(relations)} rows, but {MANIFEST} says {manifest['rows']}. {_AGAIN}")
        return cls(folder, store, manifest, relations)

    def __len__(self) -> int:
        return len(self.relations)

    def union(self, rows: np.ndarray) -> np.ndarray:
        """Generated union features of rows, (n, D) float32."""
        return self._arrays["union"][np.asarray(rows)].astype(np.float32)

    def subject(self, rows: np.ndarray) -> np.ndarray:
        """Features of the subjects of rows, (n, D) float32."""
        return self._entity("subject", rows)

    def object(self, rows: np.ndarray) -> np.ndarray:
        """Features of the objects of rows, (n, D) float32."""
        return self._entity("object", rows)

    def _entity(self, role: str, rows: np.ndarray) -> np.ndarray:
        if role in self._arrays:
            return self._arrays[role][np.asarray(rows)].astype(np.float32)
        return self.store.box(self.relations[f"{role}_box"].to_numpy()[np.asarray(rows)])


class PartialFeatures:
    """``<region>_features.npy`` (N, D) float16 in the making: whole parts, each a file, joined at the end.

    Of several ``processes`` each writes every ``count``-th part, and the first one joins them.
    """

    def __init__(
        self,
        folder: Path,
        region: str,
        n: int,
        dimension: int,
        rows_per_part: int,
        processes: Processes | None = None,
    ):
        self.path = Path(folder) / f"{region}_features.npy"
        self.n, self.dimension, self.rows_per_part = n, dimension, rows_per_part
        self.processes = processes or Processes()

    def fill(self, make: Callable[[np.ndarray], np.ndarray], show: Callable[[Iterable], Iterable] = iter) -> None:
        """Write ``make(rows)`` (n, D) for each part that is not on disk yet, and join all parts.

        ``show`` wraps the loop over parts in its progress. All processes must call it and return together. After a
        SIGTERM to any of them the part at hand is finished and ``Stopped`` is raised.
        """
        # Every process goes through as many rounds, with a part of its own or without: all hear of a stop together.
        rounds = range(0, 0 if self.path.exists() else self.n, self.rows_per_part * self.processes.count)
        with stop_on_sigterm() as stop:
            for first in show(rounds):
                start = first + self.rows_per_part * self.processes.rank
                if start < self.n and not self._part(start).exists():
                    rows = self._rows(start)
                    self.write(rows, make(rows))
                if self.processes.any(stop.asked):
                    raise Stopped(
                        f"{self.path}: making features was asked to stop; every part that was finished is kept. "
                        "Run the same command again to go on with it."
                    )
        self.finish()

    def missing(self) -> Iterator[np.ndarray]:
        """Row numbers of each part that is not on disk yet."""
        if self.path.exists():
            return
        for start in range(0, self.n, self.rows_per_part):
            if not self._part(start).exists():
                yield self._rows(start)

    def write(self, rows: np.ndarray, features: np.ndarray) -> None:
        """Write one part, features (n, D); WorkbenchError where a value is too large for float16."""
        with np.errstate(over="ignore"):
            stored = features.astype(np.float16)
        if not np.isfinite(stored).all():
            raise WorkbenchError(
                f"{self.path}: a sample among rows {rows[0]} to {rows[-1]} is not a number or too large for float16. "
                "Lower guidance or the noise, or train the denoiser again with a lower learning rate."
            )
        save_array(self._part(int(rows[0])), stored)

    def finish(self) -> None:
        """Join the parts into one array and remove them, once all processes have written theirs."""
        self.processes.wait()
        if self.processes.main:
            self._join()
        self.processes.wait()

    def _join(self) -> None:
        starts = range(0, self.n, self.rows_per_part)
        if not self.path.exists():
            header = {"descr": "<f2", "fortran_order": False, "shape": (self.n, self.dimension)}
            with atomic_path(self.path) as temporary, open(temporary, "wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                for start in starts:
                    file.write(np.load(self._part(start), allow_pickle=False).tobytes())
        for start in starts:
            self._part(start).unlink(missing_ok=True)

    def _rows(self, start: int) -> np.ndarray:
        return np.arange(start, min(start + self.rows_per_part, self.n))

    def _part(self, start: int) -> Path:
        return self.path.with_name(f"{self.path.stem}.part-{start:09d}.npy")


def finish_generated(
    folder: Path, table: pd.DataFrame, store: "FeatureStore", entity_features: str, processes: Processes
) -> None:
    """Write ``table`` as generated.parquet and the manifest, in one of ``processes``; all return when it is done."""
    if processes.main:
        with atomic_path(Path(folder) / "generated.parquet") as temporary:
            table.to_parquet(temporary, index=False)
        write_manifest(folder, store, len(table), entity_features)
    processes.wait()


def write_manifest(folder: Path, store: "FeatureStore", rows: int, entity_features: str) -> None:
    """Write ``generated.json``, the last file: the folder counts as finished from now on."""
    write_json(Path(folder) / MANIFEST, store_identity(store) | {"rows": rows, "entity_features": entity_features})


def store_identity(store: "FeatureStore") -> dict:
    """What generated features and the store of their seed boxes must agree on."""
    names = ("dimension", "encoder", "support", "entity_region")
    return {name: getattr(store, name) for name in names} | {"boxes": len(store.boxes)}


def _open_array(folder: Path, region: str, rows: int, dimension: int) -> np.ndarray:
    path = folder / f"{region}_features.npy"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"{path}: not a readable array, perhaps cut short ({error}). {_AGAIN}") from error
    if array.shape != (rows, dimension):
        raise WorkbenchError(f"{path}: the shape is {array.shape}, expected {(rows, dimension)}. {_AGAIN}")
    return array
