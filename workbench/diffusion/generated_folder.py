"""Writing a folder of generated features, in ranges of rows by one process or several, across kills."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.launching import Processes
from workbench.progress import track
from workbench.randomness import generator
from workbench.regions.feature_writer import RangeWriter, remove_notes
from workbench.regions.features import FeatureStore, finish_generated, store_identity
from workbench.stopping import stop_on_sigterm

ROWS_PER_PART = 8192

# The name of a region ("union", "subject" or "object"), and what makes features (n, D) of rows (n,).
Region = tuple[str, Callable[[np.ndarray], np.ndarray]]


def chosen_triplets(augmented: pd.DataFrame, samples: int, seed: int) -> pd.DataFrame:
    """The augmented triplets to sample for: all of them (0), a random part, or all going round, in their order.

    ``augmented_row`` says where each comes from. WorkbenchError where there is none.
    """
    if not len(augmented) or samples < 0:
        raise WorkbenchError(
            f"{samples} samples of {len(augmented)} augmented triplets cannot be drawn; build augmented triplets first "
            "(notebook 02) and ask for 0 (one for each) or more."
        )
    rows = np.arange(samples or len(augmented)) % len(augmented)
    if 0 < samples < len(augmented):
        rows = np.sort(generator(seed, "chosen triplets").permutation(len(augmented))[:samples])
    return augmented.iloc[rows].reset_index(drop=True).assign(augmented_row=rows)


def write_generated(
    folder: Path, table: pd.DataFrame, store: FeatureStore, regions: list[Region], work: dict[str, Any]
) -> None:
    """Write the features of all rows of ``table``, the table and the manifest; read as ``GeneratedFeatures``.

    ``work`` (JSON) says what the features are made of: an unfinished folder of other work is refused. The processes of
    a launcher share the ranges of rows, call this together and return together. SIGTERM ends it after the range at hand
    (``workbench.stopping.Stopped``). WorkbenchError for features that are too large for float16.
    """
    folder, processes = Path(folder), Processes.current()
    arrays = {f"{name}_features": (len(table), store.dimension) for name, _ in regions}
    writer = RangeWriter(folder, arrays, work | {"store": store_identity(store)})
    with stop_on_sigterm() as stop:
        for name, make in regions:
            ranges = writer.missing(f"{name}_features", ROWS_PER_PART)
            own = [part for part in ranges if part[0] // ROWS_PER_PART % processes.count == processes.rank]
            for start, end in track(own, f"Making {name} features"):
                made = make(np.arange(start, end))
                writer.write(f"{name}_features", start, np.maximum(made, 0.0) if store.support == "rectified" else made)
                writer.flush()
                writer.raise_if_asked(stop)
        writer.wait_for_all(lambda: not any(writer.missing(name, ROWS_PER_PART) for name in arrays), stop)
    processes.wait()  # all have seen the notes that are removed now
    if processes.main:
        finish_generated(folder, table, store, "generated" if len(regions) > 1 else "seed")
        remove_notes(folder)
    processes.wait()
