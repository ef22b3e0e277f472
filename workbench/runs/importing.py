"""Features computed elsewhere, made complete: stores, and a text vector for every class."""

from pathlib import Path
from typing import Any


def import_with_text(folder: Path, *, source: Path) -> dict[str, Any]:
    """Import ``source`` into ``folder`` and learn a stand-in for each relation that brings no text vector.

    Without object vectors there is no text at all: the notebooks then say what is missing. Returns the counts of
    both steps.
    """
    from workbench.language.learned_relations import complete_text_folder
    from workbench.regions.feature_store import FeatureStore
    from workbench.regions.imported import import_features

    metrics = import_features(folder, source=source)
    if (folder / "text").is_dir():
        metrics["text"] = complete_text_folder(folder / "text", FeatureStore.open(folder / "train"))
    return metrics
