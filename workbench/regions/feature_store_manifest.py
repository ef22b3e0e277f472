"""What a feature store's ``bank.json`` says, and the tables that lie beside it."""

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json, write_json
from workbench.regions.shard_files import KINDS
from workbench.scenes.relations import TABLES, rows_in

MANIFEST = "bank.json"
SUPPORTS = ("signed", "rectified")
ENTITY_REGIONS = ("box", "union")
# A store of one file a kind, as they were before there were shards.
WHOLE_FILES = {"boxes": "box_features.npy", "unions": "union_features.npy"}
TABLE_OF_KIND = {"boxes": "boxes", "unions": "relations"}
_AGAIN = "Delete the folder and make the features again."


def described_store(
    tables: dict[str, pd.DataFrame], *, dimension: int, encoder: str, support: str, entity_region: str
) -> dict[str, Any]:
    """A manifest without its shards; ValueError where ``support`` or ``entity_region`` is not known."""
    if support not in SUPPORTS or entity_region not in ENTITY_REGIONS:
        raise ValueError(f"support {support!r} or entity_region {entity_region!r} is not known")
    return {
        "dimension": int(dimension),
        "encoder": encoder,
        "support": support,
        "entity_region": entity_region,
        "rows": {name: len(table) for name, table in tables.items()},
    }


def identity_of(record: dict[str, Any], tables: dict[str, pd.DataFrame]) -> str:
    """A digest of everything that must be equal for half-written features to be continued."""
    digest = hashlib.sha256(repr(sorted(record.items())).encode())
    for name in TABLES:
        digest.update(pd.util.hash_pandas_object(tables[name], index=False).to_numpy().tobytes())
    return digest.hexdigest()


def write_tables(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Write ``images.parquet``, ``boxes.parquet`` and ``relations.parquet``."""
    for name, table in tables.items():
        with atomic_path(Path(folder) / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write ``bank.json``: the store is finished then."""
    write_json(Path(folder) / MANIFEST, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """A finished store's manifest, with the shards of whole files filled in; WorkbenchError where it is wrong.

    Keys: dimension, encoder, support, entity_region; rows of each table; shards of each kind, in the order of the rows,
    each with file, rows and sha256 (None where nobody computed it).
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.exists():
        found = "is unfinished" if folder.is_dir() and any(folder.iterdir()) else "holds no features"
        raise WorkbenchError(
            f"{folder}: {found} (no {MANIFEST}). Run the stage features, or `workbench features import`."
        )
    manifest = read_json(path)
    wanted = {"dimension": int, "encoder": str, "support": str, "entity_region": str, "rows": dict}
    for key, kind in wanted.items():
        if not isinstance(manifest, dict) or not isinstance(manifest.get(key), kind):
            raise WorkbenchError(f"{path}: the key {key!r} is missing or not {kind.__name__}. {_AGAIN}")
    rows = rows_in(path)
    if manifest["support"] not in SUPPORTS or manifest["entity_region"] not in ENTITY_REGIONS:
        raise WorkbenchError(
            f"{path}: support {manifest['support']!r}, entity_region {manifest['entity_region']!r}; "
            f"expected one of {SUPPORTS} and one of {ENTITY_REGIONS}. {_AGAIN}"
        )
    expected = {kind: rows[TABLE_OF_KIND[kind]] for kind in kinds_of(manifest)}
    if "shards" not in manifest:
        manifest["shards"] = {
            kind: [{"file": WHOLE_FILES[kind], "rows": count, "sha256": None}] for kind, count in expected.items()
        }
    _require_shards(path, manifest["shards"], expected)
    return manifest


def kinds_of(manifest: dict[str, Any]) -> tuple[str, ...]:
    """The kinds of features that a store has files of."""
    return KINDS if manifest["entity_region"] == "box" else ("unions",)


def _require_shards(path: Path, shards: Any, expected: dict[str, int]) -> None:
    for kind, rows in expected.items():
        entries = shards.get(kind) if isinstance(shards, dict) else None
        if not isinstance(entries, list) or not all(map(_is_entry, entries)):
            raise WorkbenchError(
                f"{path}: shards of {kind!r}: expected a list of file (a name in this folder), rows, sha256. {_AGAIN}"
            )
        found = sum(entry["rows"] for entry in entries)
        if found != rows:
            raise WorkbenchError(f"{path}: the shards of {kind!r} have {found} rows, expected {rows}. {_AGAIN}")


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("sha256", 0), str | None):
        return False
    name, rows = entry.get("file"), entry.get("rows")
    inside = isinstance(name, str) and name.endswith(".npy") and not {"/", "\\", ":", "\0"} & set(name)
    return inside and isinstance(rows, int) and rows >= 0
