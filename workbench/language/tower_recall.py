"""How often a small tower finds the right caption of a crop that it was not trained on, beside chance."""

import numpy as np

from workbench.language.caption_encoder import CaptionEncoder
from workbench.scenes.vocabulary import Vocabulary


def held_out_recall(
    image_vectors: np.ndarray, captions: list[str], groups: np.ndarray, encoder: CaptionEncoder
) -> dict[str, float]:
    """Recall at 1 and 5 of each crop's caption among the distinct captions of its group.

    ``image_vectors`` (n, T) unit rows; keys are "<group>_recall_at_1", "<group>_recall_at_5" and
    "<group>_chance_at_1", shares in 0..1.
    """
    metrics = {}
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        candidates, right = np.unique([captions[row] for row in rows], return_inverse=True)
        scores = image_vectors[rows] @ encoder.embed(candidates.tolist()).T  # (crops, candidates)
        place = _place_of(scores, right)
        metrics[f"{group}_recall_at_1"] = float((place < 1).mean())
        metrics[f"{group}_recall_at_5"] = float((place < 5).mean())
        metrics[f"{group}_chance_at_1"] = 1.0 / len(candidates)
    return metrics


def relation_recall(
    image_vectors: np.ndarray, triplets: np.ndarray, vocabulary: Vocabulary, encoder: CaptionEncoder
) -> dict[str, float]:
    """Share of pair crops whose relation wins among all relations, subject and object given.

    ``triplets`` (n, 3) class ids, -1 for the relation of a crop without one. A pair may truly have two relations,
    so 1.0 is out of reach.
    """
    rows = np.flatnonzero(triplets[:, 1] >= 0)
    if not len(rows):
        return {}
    relations = len(vocabulary.relations)
    captions = [vocabulary.caption(triplets[row, 0], r, triplets[row, 2]) for row in rows for r in range(relations)]
    distinct, where = np.unique(captions, return_inverse=True)
    vectors = encoder.embed(distinct.tolist())[where].reshape(len(rows), relations, -1)
    scores = np.einsum("nt,nrt->nr", image_vectors[rows], vectors)
    right = _place_of(scores, triplets[rows, 1]) < 1
    return {"relation_recall_at_1": float(right.mean()), "relation_chance_at_1": 1.0 / relations}


def _place_of(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How many candidates score strictly higher than the right one, (n,)."""
    return (scores > np.take_along_axis(scores, right[:, None], axis=1)).sum(axis=1)
