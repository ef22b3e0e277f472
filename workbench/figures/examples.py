"""Examples to look at and the small tables around them: splits, and tiles for each band."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.figures.images import Tile, text_line
from workbench.figures.scene_drawing import scene_of
from workbench.randomness import generator
from workbench.regions.feature_store import FeatureStore
from workbench.scenes.bands import BANDS, Counts, band_of_class
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import ROLES, Vocabulary


def split_table(tables: Mapping[str, RelationTables], vocabulary: Vocabulary) -> pd.DataFrame:
    """One row per split: images, relations, distinct triplets, those train lacks, and classes without an example."""
    seen, rows = _triplets(tables["train"]), {}
    for split, table in tables.items():
        distinct = _triplets(table)
        rows[split] = {
            "images": len(table.images),
            "relations": len(table.relations),
            "distinct triplets": len(distinct),
            "unseen triplets": len(distinct.difference(seen)),
            "subject classes absent": len(vocabulary.objects) - table.relations["subject"].nunique(),
            "object classes absent": len(vocabulary.objects) - table.relations["object"].nunique(),
            "relation classes absent": len(vocabulary.relations) - table.relations["relation"].nunique(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _triplets(table: RelationTables) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table.relations[list(ROLES)].drop_duplicates())


def long_tail_metrics(classes: pd.DataFrame, splits: pd.DataFrame) -> dict[str, float]:
    """Headline numbers of notebook 01 from `long_tail.class_table` and `split_table`."""
    metrics: dict[str, float] = {}
    for kind, here in classes.groupby("kind"):
        seen = here.loc[here["count"] > 0, "count"]
        metrics[f"{kind} classes"] = len(here)
        metrics[f"{kind} imbalance (most / fewest)"] = float(seen.max() / seen.min())
        metrics[f"{kind} examples of the rarest class"] = int(seen.min())
    for split, row in splits.iterrows():
        metrics[f"{split} relations"] = int(row["relations"])
    if "test" in splits.index:
        metrics["unseen triplets in test"] = int(splits.loc["test", "unseen triplets"])
    return metrics


def band_tiles(
    tables: RelationTables,
    vocabulary: Vocabulary,
    counts: Counts,
    *,
    per_band: int,
    seed: int,
) -> list[Tile]:
    """Random train relations whose relation class lies in each band, with the counts of their classes."""
    band = band_of_class(counts.relations)[tables.relations["relation"].to_numpy()]
    chosen = []
    for name in BANDS:
        rows = np.flatnonzero(band == name)
        draw = generator(seed, "band tiles", name)
        chosen += [(name, row) for row in draw.permutation(rows)[:per_band]]
    return [_band_tile(tables, vocabulary, counts, name, row) for name, row in chosen]


def _band_tile(tables: RelationTables, vocabulary: Vocabulary, counts: Counts, band: str, row: int) -> Tile:
    subject, relation, obj = (int(tables.relations.iloc[row][role]) for role in ROLES)
    in_train = f"{counts.objects[subject]:,} / {counts.relations[relation]:,} / {counts.objects[obj]:,} in train"
    lines = (f"<b>{band}</b>", text_line(vocabulary.caption(subject, relation, obj)), in_train)
    return Tile(scene_of(tables, row), lines)


def equal_rows(n_generated: int, n_real: int, *, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As many random generated rows as real ones, at most ``most``: (rows of generated, rows of real), ascending."""
    count = min(n_generated, n_real, most)
    draws = (generator(seed, "equal rows", kind).permutation(n)[:count] for kind, n in
             (("generated", n_generated), ("real", n_real)))  # fmt: skip
    generated, real = (np.sort(draw) for draw in draws)
    return generated, real


def some_rows(n: int, *, most: int, seed: int) -> np.ndarray:
    """At most ``most`` of ``n`` row numbers, drawn by ``seed``, ascending."""
    return np.sort(generator(seed, "some rows").permutation(n)[:most])


def augmented_examples(
    augmented: pd.DataFrame, relations: pd.DataFrame, vocabulary: Vocabulary, similarity, *, rows: int, seed: int
) -> pd.DataFrame:
    """Random augmented triplets with the training triplet they come from and the path through WordNet."""
    chosen = np.sort(generator(seed, "augmented examples").permutation(len(augmented))[:rows])
    lines = []
    for row in augmented.iloc[chosen].itertuples():
        source = relations.iloc[row.source_row]
        new_class = row.subject if row.replaced == "subject" else row.object
        lines.append({
            "because of": f"{row.because} ({row.band})",
            "in train": vocabulary.caption(*(int(source[role]) for role in ROLES)),
            "augmented": vocabulary.caption(row.subject, row.relation, row.object),
            "replaced": row.replaced,
            "LCH": round(float(row.lch), 3),
            "path": ", ".join(similarity.path(int(row.replaced_class), int(new_class))),
        })  # fmt: skip
    return pd.DataFrame(lines)


def augmentation_metrics(triplets, similarity, relation_band: np.ndarray, entropy: np.ndarray) -> dict[str, float]:
    """Headline numbers of notebook 02 from an open triplets folder, the similarities, and entropies of originals."""
    augmented, captions = triplets.augmented, triplets.captions
    original = captions["original"].to_numpy()
    metrics = {
        "original captions": int(original.sum()),
        "augmented triplets": len(augmented),
        "distinct augmented triplets": len(augmented[list(ROLES)].drop_duplicates()),
        "object names without a noun synset": len(similarity.without_synset),
        "hardness centres": len(triplets.hardness.centres),
        "median entropy of original captions, nats": float(np.median(entropy)),
    }
    for band in ("medium", "few"):
        metrics[f"augmented for {band}"] = int((augmented["band"] == band).sum())
        tail = set(np.flatnonzero(relation_band == band))
        reached = tail & set(augmented["relation"])
        metrics[f"{band} relations reached, share"] = len(reached) / len(tail) if tail else float("nan")
    return metrics


def feature_metrics(features: dict, detector: dict, embeddings, store: FeatureStore) -> dict[str, float]:
    """Headline numbers of notebook 00 from the stages' metrics, the text embeddings and one store."""
    metrics = {"feature dimension": store.dimension, "text dimension": embeddings.dimension}
    metrics |= {f"extraction {key}": value for key, value in features.items() if isinstance(value, int | float)}
    metrics["unreadable images"] = len(features.get("unreadable_images", []))
    return metrics | {f"encoder {key}": value for key, value in detector.items() if isinstance(value, int | float)}


def flat_metrics(**stages: dict) -> dict[str, float]:
    """The plain numbers of several stages' metrics in one table, each named after its stage."""
    return {
        f"{stage} {key}".replace("_", " "): value
        for stage, metrics in stages.items()
        for key, value in metrics.items()
        if isinstance(value, int | float)
    }


def norms(path: Path) -> dict[str, np.ndarray]:
    """The norms that `fidelity_study` wrote, by sample set."""
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def checkpoint_summary(checkpoint) -> pd.Series:
    """What a denoiser's checkpoint holds besides its weights, for people."""
    identity, config = checkpoint.identity, checkpoint.config
    centres = identity.hardness_centres
    facts = {
        "parameters": f"{checkpoint.model.parameter_count():,}",
        "classes": f"{len(identity.objects):,} objects, {len(identity.relations):,} relations",
        "feature": f"{config.feature_dimension:,} dimensions, {identity.support}, from {identity.encoder}",
        "condition": f"{config.layout}, text of {config.text_dimension:,} dimensions from {identity.text_encoder}",
        "hardness": "off" if centres is None else f"{len(centres):,} centres",
        "regions": ", ".join(identity.regions),
    }
    return pd.Series(facts, name="value")
