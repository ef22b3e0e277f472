"""The stage ``triplets``: augmented triplets, the captions of all triplets, their embeddings and the hardness model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.files import atomic_path, save_array
from workbench.scenes.vocabulary import ROLES


def write_triplets(
    folder: Path,
    *,
    features: Path,
    text: Path,
    bands: Sequence[str] = ("medium", "few"),
    threshold: float = 2.26,
    medium_quota: int = 48_000,
    few_quota: int = 48_000,
    n_centres: int = 1200,
    max_senses: int = 4,
    balance: str = "role",
    allow_existing: bool = False,
    seed: int = 0,
) -> dict:
    """Augment the train triplets (DiffAugment, section 3.2 stage 1) and fit hardness (3.4) on the original ones.

    Writes augmented.parquet, captions.parquet (distinct triplets with ``caption`` and ``original``),
    caption_embeddings.npy (n, T) float32 in its order, and hardness.npz. Returns counts. Raises WorkbenchError where
    no triplet can be augmented or ``n_centres`` exceeds the number of original captions.
    """
    from workbench.language.augmentation import augment_triplets
    from workbench.language.hardness import fit_hardness
    from workbench.language.similarity import class_similarity
    from workbench.language.text_embedding import TextEmbeddings
    from workbench.regions.bank import FeatureBank
    from workbench.scenes.bands import count_classes
    from workbench.scenes.vocabulary import Vocabulary

    folder = Path(folder)
    vocabulary, bank = Vocabulary.read(features), FeatureBank.open(Path(features) / "train")
    similarity = class_similarity(vocabulary.objects, max_senses=max_senses)
    augmented = augment_triplets(
        bank.relations, vocabulary, count_classes(bank.relations, vocabulary), similarity,
        bands=tuple(bands), threshold=threshold, quotas={"medium": medium_quota, "few": few_quota}, seed=seed,
        balance=balance, allow_existing=allow_existing,
    )  # fmt: skip
    if not len(augmented):
        raise WorkbenchError(
            f"{features}: no triplet of the bands {', '.join(bands)} can be augmented at LCH {threshold}. Lower the "
            "threshold, raise the quotas, or choose more bands."
        )
    captions = distinct_triplet_captions(bank.relations, augmented, vocabulary)
    embeddings = TextEmbeddings.open(text).triplets(*captions[list(ROLES)].to_numpy().T).astype(np.float32)
    hardness = fit_hardness(embeddings[captions["original"].to_numpy()], n_centres, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("augmented", augmented), ("captions", captions)):
        with atomic_path(folder / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    save_array(folder / "caption_embeddings.npy", embeddings)
    hardness.save(folder / "hardness.npz")
    original = int(captions["original"].sum())
    return {
        "augmented": len(augmented),
        "augmented_by_band": {str(band): int(count) for band, count in augmented["band"].value_counts().items()},
        "original_captions": original,
        "new_captions": len(captions) - original,
        "centres": n_centres,
        "objects_without_synset": len(similarity.without_synset),
    }


def distinct_triplet_captions(original: pd.DataFrame, augmented: pd.DataFrame, vocabulary) -> pd.DataFrame:
    """Distinct triplets of both tables with their ``caption`` and whether they are ``original``, in order of ids."""
    both = pd.concat([original[list(ROLES)].assign(original=True), augmented[list(ROLES)].assign(original=False)])
    table = both.groupby(list(ROLES), sort=True, as_index=False)["original"].any()
    table["caption"] = [vocabulary.caption(*triplet) for triplet in table[list(ROLES)].itertuples(index=False)]
    return table[[*ROLES, "caption", "original"]]
