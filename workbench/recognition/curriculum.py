"""Easy samples first, then hard ones, by the entropy of the hardness vector (DiffAugment, section 4.3)."""

from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.language.triplets import read_triplets
from workbench.scenes.vocabulary import ROLES

CURRICULA = ("none", "easy_then_hard")


def easy_rows(relations: pd.DataFrame, triplets: Path) -> np.ndarray:
    """Which generated relations are easy, (N,) bool: entropy of their hardness vector at most the median's.

    A caption close to one centre and far from the others has a low entropy; one that is as far from all, a high one.
    ``triplets`` is the folder of the stage triplets. WorkbenchError for a triplet without a caption there.
    """
    stored = read_triplets(triplets)
    place = stored.caption_rows(relations[list(ROLES)].to_numpy())
    if (place < 0).any():
        row = int(np.flatnonzero(place < 0)[0])
        raise WorkbenchError(
            f"{triplets}: no caption for generated row {row} "
            f"({', '.join(str(relations.iloc[row][role]) for role in ROLES)}). Generate features from these triplets."
        )
    distinct, index = np.unique(place, return_inverse=True)
    entropy = stored.hardness.entropy(stored.caption_embeddings[distinct])[index]
    return entropy <= np.median(entropy)
