"""Where a recogniser's rows come from: feature banks, folders of generated features, memory."""

from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.regions.bank import FeatureBank
from workbench.scenes.vocabulary import ROLES

ROWS_PER_CHUNK = 4096
GENERATED_MANIFEST = "generated.json"
ENTITIES = ("auto", "stored", "union")


class RelationFeatures(Protocol):
    """Anything with one row per relation and three features each, (n, D) float32 for asked rows."""

    relations: pd.DataFrame

    def __len__(self) -> int: ...

    def subject(self, rows: np.ndarray) -> np.ndarray:
        """Features of the subjects' boxes."""
        ...

    def union(self, rows: np.ndarray) -> np.ndarray:
        """Features of the union boxes."""
        ...

    def object(self, rows: np.ndarray) -> np.ndarray:
        """Features of the objects' boxes."""
        ...


class GeneratedRows:
    """Generated relation features of a finished folder.

    ``generated.json`` (identity of the bank it was made for), ``generated.parquet`` (subject, relation, object;
    because and replaced name roles; subject_box and object_box are rows of the train bank's boxes),
    ``union_features.npy`` (N, D) float16, maybe ``subject_features.npy`` and ``object_features.npy``.
    ``entities``: "stored" takes a subject or object from its array or its box row; "union" lets the generated union
    feature stand in for both, so that all three inputs are equal, as they are in a bank with ``entity_region``
    "union"; "auto" does that for such banks only.
    """

    def __init__(self, folder: Path, train: FeatureBank, entities: str = "auto"):
        if entities not in ENTITIES:
            raise WorkbenchError(f"entities {entities!r} is not known. Choose one of: {', '.join(ENTITIES)}.")
        self.folder, self._train = Path(folder), train
        self._check_manifest()
        self.relations = pd.read_parquet(self.folder / "generated.parquet")
        self.entity_region = train.entity_region if entities == "auto" else {"stored": "box"}.get(entities, "union")
        self._require(ROLES)
        self._union = self._array("union_features.npy")
        self._entity = {}
        for role in ("subject", "object") if self.entity_region == "box" else ():
            if (self.folder / f"{role}_features.npy").is_file():
                self._entity[role] = self._array(f"{role}_features.npy")
            else:
                self._require((f"{role}_box",))

    def __len__(self) -> int:
        return len(self.relations)

    def union(self, rows: np.ndarray) -> np.ndarray:
        """Generated union features, (n, D) float32."""
        return np.asarray(self._union[rows], dtype=np.float32)

    def subject(self, rows: np.ndarray) -> np.ndarray:
        """Generated or real subject features, (n, D) float32."""
        return self._entity_features("subject", rows)

    def object(self, rows: np.ndarray) -> np.ndarray:
        """Generated or real object features, (n, D) float32."""
        return self._entity_features("object", rows)

    def _entity_features(self, role: str, rows: np.ndarray) -> np.ndarray:
        if self.entity_region == "union":
            return self.union(rows)
        if role in self._entity:
            return np.asarray(self._entity[role][rows], dtype=np.float32)
        return self._train.box(self.relations[f"{role}_box"].to_numpy()[rows])

    def _check_manifest(self) -> None:
        manifest = read_json(self.folder / GENERATED_MANIFEST)
        bank = {"dimension": self._train.dimension, "encoder": self._train.encoder, "boxes": len(self._train.boxes)}
        for name, expected in bank.items():
            if manifest.get(name) != expected:
                raise WorkbenchError(
                    f"{self.folder / GENERATED_MANIFEST}: made for {name} {manifest.get(name)!r}, but the train "
                    f"features have {expected!r}. Generate the features again from this feature bank."
                )

    def _array(self, name: str) -> np.ndarray:
        path = self.folder / name
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise WorkbenchError(f"{path}: missing or damaged ({error}). Generate the features again.") from error
        expected = (len(self.relations), self._train.dimension)
        if array.shape != expected:
            raise WorkbenchError(
                f"{path}: shape {array.shape}, expected {expected} (rows of generated.parquet, dimension of the train "
                "features). Generate the features again from the same feature bank."
            )
        return array

    def _require(self, columns: tuple[str, ...]) -> None:
        missing = [column for column in columns if column not in self.relations]
        if missing:
            raise WorkbenchError(
                f"{self.folder / 'generated.parquet'}: no column {', '.join(missing)}. Generate the features again."
            )


class FeatureRows:
    """Features by row with a copy in memory where it fits in ``memory_gigabytes``.

    Nothing depends on whether it fits: half precision is kept only where it is exact, as it is for banks.
    ``name`` says in messages where a row is. Raises WorkbenchError on values that are not finite.
    """

    def __init__(self, features: RelationFeatures, name: str, memory_gigabytes: float = 2.0):
        self.name, self._features, self.relations = name, features, features.relations
        self.labels = {role: features.relations[role].to_numpy().astype(np.int64) for role in ROLES}
        self._shared = getattr(features, "entity_region", "box") == "union"
        self._memory: dict[str, np.ndarray] = {}
        if len(features) == 0:
            raise WorkbenchError(f"{name}: no relations. A recogniser needs at least one row.")
        dimension = features.union(np.array([0])).shape[1]
        copies = 1 if self._shared else 3
        # Sized as float32: the halves are only known to be exact when they are read.
        if copies * len(features) * dimension * 4 <= memory_gigabytes * 1e9:
            for region in ("union",) if self._shared else ("subject", "union", "object"):
                self._memory[region] = self._read_whole(region, dimension)

    def __len__(self) -> int:
        return len(self._features)

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features (n, D) float32 of subject, union and object; where there is one region only, the same array."""
        if self._shared:
            union = self._region("union", rows)
            return union, union, union
        return self._region("subject", rows), self._region("union", rows), self._region("object", rows)

    def _region(self, region: str, rows: np.ndarray) -> np.ndarray:
        if region in self._memory:
            return self._memory[region][rows].astype(np.float32)
        return self._checked(region, rows)

    def _read_whole(self, region: str, dimension: int) -> np.ndarray:
        whole = np.empty((len(self), dimension), dtype=np.float16)
        for start in range(0, len(self), ROWS_PER_CHUNK):
            rows = np.arange(start, min(start + ROWS_PER_CHUNK, len(self)))
            chunk = self._checked(region, rows)
            if whole.dtype == np.float16:
                with np.errstate(over="ignore"):
                    exact = np.array_equal(chunk.astype(np.float16), chunk)
                whole = whole if exact else whole.astype(np.float32)
            whole[rows] = chunk
        return whole

    def _checked(self, region: str, rows: np.ndarray) -> np.ndarray:
        values = np.asarray(getattr(self._features, region)(rows), dtype=np.float32)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise WorkbenchError(
                f"{self.name}, row {int(np.asarray(rows)[~finite][0])}: the {region} feature holds values that are not "
                "finite. Make the features of this row again."
            )
        return values
