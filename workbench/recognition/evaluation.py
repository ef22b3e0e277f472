"""Class probabilities of a recogniser and its accuracy: on validation while it trains, on test once.

`evaluate_recogniser` is the only place where the test split is read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as functional

from workbench.devices import chosen_device
from workbench.files import save_table
from workbench.language.synset_tables import read_synsets, synset_ids
from workbench.recognition.accuracy import accuracy_per_example, named_numbers, per_class_table, summary_table
from workbench.recognition.batches import RelationRows, scenes_of
from workbench.recognition.config import EvaluationConfig, HeadTrainingConfig
from workbench.recognition.lsvru import Logits, LsvruHead, probabilities
from workbench.recognition.objective import on_device
from workbench.recognition.recogniser import load_recogniser
from workbench.recognition.upstream import result_table, write_result_csv
from workbench.regions.features import FeaturesFolder
from workbench.scenes.vocabulary import ROLES
from workbench.training_config import TrainingEdge

# Fixed, because the last bit of a matrix product may depend on the number of rows.
ROWS_PER_BATCH = 1024
TOP = 5
RESULT_CSV = "rel_detections_gt_boxes_prdcls.csv"

Validate = Callable[[Any], dict[str, float]]  # of a head


def evaluate_recogniser(
    folder: Path, *, recogniser: Path, features: Path, config: EvaluationConfig, edge: TrainingEdge | None = None
) -> dict[str, Any]:
    """Measure a recogniser on a split by exact and synset-matched average per-class accuracy, in percent.

    Writes per_class.parquet, summary.parquet, predictions.parquet (`prediction_table`) and the LTVRR result csv
    into ``folder``; returns the summary as flat numbers, for example "exact subject/object few" (a band without
    classes is None there), and where the synsets come from (`read_synsets`).
    """
    folder, data = Path(folder), FeaturesFolder(features)
    split, vocabulary = data.split(config.split), data.vocabulary
    loaded = load_recogniser(recogniser)
    loaded.check_fits(vocabulary, split)
    rows = RelationRows(split, vocabulary, memory_gigabytes=0.0)
    file_names = split.images["file_name"].to_numpy()[split.relations["image"].to_numpy()]
    predictions, csv_rows = [], []
    head = loaded.head.to(chosen_device((edge or TrainingEdge()).device))
    for numbers, scores in probability_batches(head, rows):
        truth = {role: rows.labels[role][numbers] for role in ROLES}
        predictions.append(prediction_table(numbers, truth, scores))
        csv_rows.append(result_table(list(file_names[numbers]), truth, scores, vocabulary, data.counts))
    table = pd.concat(predictions, ignore_index=True)
    predicted = pd.DataFrame({role: table[f"{role}_predicted"] for role in ROLES})
    synsets = read_synsets(config.synset_folder or data.folder, vocabulary)
    per_class = per_class_table(table, predicted, vocabulary, data.counts, band_rule=config.band_rule,
                                synsets=synset_ids(vocabulary, synsets))  # fmt: skip
    summary = summary_table(per_class, only_trained=config.only_trained)
    for name, content in {"per_class": per_class, "summary": summary, "predictions": table}.items():
        save_table(folder / f"{name}.parquet", content)
    write_result_csv(folder / RESULT_CSV, pd.concat(csv_rows, ignore_index=True))
    facts = {"split": config.split, "rows": len(table), "band_rule": config.band_rule,
             "only_trained": config.only_trained, "synset_source": synsets.source}  # fmt: skip
    facts |= {"table_gaps": " ".join(gaps)} if (gaps := synsets.gaps(vocabulary)) else {}
    return facts | flat_numbers(summary, table)


def probability_batches(
    head: LsvruHead, rows: RelationRows, chosen: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Row numbers and probabilities by role, (n, C) or (n, R) float32, batch by batch: of all rows or those chosen."""
    for numbers, logits in _logit_batches(head, rows, chosen):
        yield numbers, {role: scores.cpu().numpy() for role, scores in probabilities(logits).items()}


def validation(data: FeaturesFolder, config: HeadTrainingConfig) -> Validate:
    """A function of a head: exact-match averages on val in percent by role, "combined", and the mean "loss"."""
    vocabulary = data.vocabulary
    rows = RelationRows(data.val, vocabulary, config.memory_gigabytes)

    def validate(head: LsvruHead) -> dict[str, float]:
        predicted: dict[str, list[np.ndarray]] = {role: [] for role in ROLES}
        loss = 0.0
        for numbers, logits in _logit_batches(head, rows):
            for role, scores in logits._asdict().items():
                drop = int(role == "relation")
                labels = torch.from_numpy(rows.labels[role][numbers] + drop).to(scores.device)
                loss += functional.cross_entropy(scores, labels, reduction="sum").item()
                predicted[role].append(scores[:, drop:].argmax(dim=1).cpu().numpy())
        found = {role: np.concatenate(ids) for role, ids in predicted.items()}
        per_class = per_class_table(rows.labels, found, vocabulary, data.counts)
        summary = summary_table(per_class, only_trained=config.only_trained)
        averages = {row.role: float(row.accuracy) for row in summary.itertuples() if row.band == "all"}
        return averages | {"loss": loss / len(rows)}

    return validate


def best_strengths(
    head: LsvruHead, parts: Mapping[str, Callable[[float], Any]], strengths: Sequence[float], validate: Validate
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Give each part of ``head`` the strength whose accuracy of its name is highest (of equal ones the first).

    ``parts`` are functions that give a part a strength. The strengths, and the numbers of ``validate`` at each of them.
    """
    found = []
    for strength in strengths:
        for give in parts.values():
            give(strength)
        found.append(validate(head))
    best = {part: float(strengths[int(np.argmax([numbers[part] for numbers in found]))]) for part in parts}
    for part, give in parts.items():
        give(best[part])
    return best, found


def _logit_batches(
    head: LsvruHead, rows: RelationRows, chosen: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, Logits]]:
    head.eval()
    chosen = np.arange(len(rows)) if chosen is None else chosen
    device, scenes = next(head.parameters()).device, scenes_of(head, rows)
    for start in range(0, len(chosen), ROWS_PER_BATCH):
        numbers = chosen[start : start + ROWS_PER_BATCH]
        with torch.inference_mode():
            shown = None if scenes is None else scenes(numbers).on(device)
            yield numbers, head(*on_device(rows.features(numbers), device), shown)


def prediction_table(rows: np.ndarray, truth: dict[str, np.ndarray], scores: dict[str, np.ndarray]) -> pd.DataFrame:
    """What was predicted, one row per relation.

    Columns: row (of the split's relations), and for each role ``subject`` (true id), ``subject_predicted``,
    ``subject_correct``, ``subject_top1`` .. ``subject_top5`` (ids, most probable first) and
    ``subject_probability1`` .. 5; where there are fewer classes, -1 and nan.
    """
    columns: dict[str, np.ndarray] = {"row": rows}
    for role in ROLES:
        # Stable, so that equal scores are ranked by class id as everywhere.
        order = np.argsort(-scores[role], axis=1, kind="stable")[:, :TOP]  # (n, min(5, C))
        best = np.take_along_axis(scores[role], order, axis=1)
        missing = ((0, 0), (0, TOP - order.shape[1]))
        top, probability = np.pad(order, missing, constant_values=-1), np.pad(best, missing, constant_values=np.nan)
        columns |= {role: truth[role], f"{role}_predicted": order[:, 0], f"{role}_correct": order[:, 0] == truth[role]}
        for place in range(TOP):
            columns[f"{role}_top{place + 1}"] = top[:, place]
            columns[f"{role}_probability{place + 1}"] = probability[:, place]
    return pd.DataFrame(columns)


def flat_numbers(summary: pd.DataFrame, predictions: pd.DataFrame) -> dict[str, Any]:
    """The summary as in `accuracy.named_numbers`; the numbers of classes and of those left out beside it."""
    numbers: dict[str, Any] = dict(named_numbers(summary))
    for entry in summary.itertuples():
        if entry.band == "all" and entry.metric == "exact" and entry.role in ROLES:
            numbers[f"classes_{entry.role}"] = int(entry.n_classes)
            numbers[f"classes_left_out_{entry.role}"] = int(entry.n_left_out)
    hits = pd.DataFrame({role: predictions[f"{role}_correct"] for role in ROLES})
    return numbers | {f"per_example_{role}": value for role, value in accuracy_per_example(hits).items()}
