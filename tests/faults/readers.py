"""The readers that are tried with broken input: for each a valid input, and what reads it."""

import contextlib
import io
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from annotated_scenes.annotations import read_annotations, splits_of
from annotated_scenes.check import check_annotations
from own_features.prepare import import_features
from published_scenes.vrd import convert_vrd
from tests.diffusion.cases import checkpoint
from tests.recognition.conftest import NAMES, WORDS, random_words, write_words
from tests.regions.conftest import text_vectors, write_source
from tests.scenes.conftest import VOCABULARY as SCENE_NAMES
from tests.scenes.conftest import random_split, write_annotations
from tests.synthetic import VOCABULARY, write_features, write_generated, write_text
from workbench.browsers.predictions import PLACES, Predictions
from workbench.browsers.triplet_index import COLUMNS, TripletIndex, write_triplet_index
from workbench.checkpoints import load_weights, read_foreign
from workbench.diffusion.checkpoint import DenoiserCheckpoint
from workbench.errors import WorkbenchError
from workbench.language.config import AugmentationConfig
from workbench.language.senses import class_senses
from workbench.language.similarity import ClassSimilarity, read_similarity_table
from workbench.language.synset_tables import read_synsets
from workbench.language.text_embedding import TextEmbeddings
from workbench.language.triplets import read_triplets, write_triplets
from workbench.paths import project_root
from workbench.recognition.lsvru import LsvruConfig, LsvruHead
from workbench.recognition.recogniser import Recogniser, load_recogniser, save_recogniser
from workbench.recognition.word_vectors import spelled_class_vectors
from workbench.regions.feature_rows import FeatureRows
from workbench.regions.features import Features, FeatureStore, GeneratedFeatures
from workbench.runs.parameters import read_parameters
from workbench.runs.profiles import make_plan
from workbench.runs.run_records import NotebookRecord, RunRecord, runs_table
from workbench.scenes.problems import format_report
from workbench.scenes.vocabulary import ROLES, SPLITS, read_triplet_list, write_triplet_list
from workbench.stages import Run
from workbench.tables.results import read_tables


@dataclass(frozen=True)
class Reader:
    """``make`` writes a valid input into a folder, ``read`` returns what it holds; ``files`` are those to break.

    ``free``: other values are other valid inputs, or the sums of a stage tell them.
    ``summed``: each byte must be the one that was written.
    """

    name: str
    make: Callable[[Path], Any]
    read: Callable[[Path], Any]
    files: str = "*"
    free: bool = False
    summed: bool = False


def _read_annotations(folder: Path) -> Any:
    problems = check_annotations(folder, image_files=False)
    if any(problem.severity == "error" for problem in problems):
        raise WorkbenchError(format_report(problems))
    for problem in problems:
        warnings.warn(str(problem), stacklevel=2)
    read = [read_annotations(folder, split) for split in splits_of(folder)]
    return [(each.tables, each.vocabulary) for each in read]


def _vrd(folder: Path) -> None:
    draw = np.random.default_rng(0)
    SCENE_NAMES.write(folder)
    for place, split in enumerate(("train", "test")):
        detections, relations = random_split(draw, 3, 1000 * (place + 1))
        sizes = {image["file_name"]: {name: image[name] for name in ("width", "height")}
                 for image in detections["images"]}  # fmt: skip
        (folder / f"annotations_{split}.json").write_text(json.dumps(relations))
        (folder / f"{split}_image_metadata.json").write_text(json.dumps(sizes))


def _read_vrd(folder: Path) -> Any:
    convert_vrd(folder / "out", source=folder)
    return _read_annotations(folder / "out")


def _import(folder: Path) -> None:
    write_source(folder, 0, 8, 4, own=True)
    text_vectors(folder, np.random.default_rng(1).standard_normal((3, 5)).astype(np.float32))
    (folder / "manifest.json").write_text(json.dumps({"encoder": "vgg", "text_encoder": "clip", "support": "signed"}))


def _read_import(folder: Path) -> Any:
    metrics = import_features(folder / "out", source=folder)
    stores = [_read_features(FeatureStore(folder / "out" / split)) for split in SPLITS]
    return stores, [np.load(path) for path in sorted(folder.glob("out/text/*.npy"))], metrics


def _features(folder: Path) -> None:
    """Features, text, triplets, their index, generated features and predictions of one small data set."""
    train = write_features(folder / "features", rows={"train": 80, "test": 12}).train
    places = {"features": folder / "features", "text": write_text(folder / "text")}
    config = AugmentationConfig(medium_quota=8, few_quota=8, centroids=3, threshold=1.2)
    write_triplets(folder / "triplets", **places, config=config)
    write_triplet_index(folder / "index", features=folder / "features", triplets=folder / "triplets")
    augmented = read_triplets(folder / "triplets").augmented
    write_generated(folder / "generated", train, augmented)
    test = FeatureStore(folder / "features" / "test").relations
    best = {f"{role}_top{place + 1}": np.full(len(test), place, np.int32) for role in ROLES for place in range(PLACES)}
    shares = {name.replace("top", "probability"): np.full(len(test), 0.2, np.float32) for name in best}
    (folder / "predictions").mkdir()
    table = test[list(ROLES)].assign(row=np.arange(len(test)), **best, **shares)
    table.to_parquet(folder / "predictions" / "predictions.parquet", index=False)


def _read_features(features: Features) -> Any:
    rows = FeatureRows.of_relations(features, str(features.folder))(np.arange(len(features)))
    names = ("dimension", "encoder", "support", "entity_region")
    return rows, features.relations, [getattr(features, name) for name in names]


def _read_triplets(folder: Path) -> Any:
    found = read_triplets(folder)
    return found.augmented, found.captions, found.caption_embeddings, found.hardness, found.similarity


def _read_index(folder: Path) -> Any:
    index = TripletIndex.open(folder)
    return {name: index[name] for name in COLUMNS}, list(map(index.caption, range(len(index)))), [
        (rows[place]) for rows in (index.examples, index.augmented) for place in range(len(index))
    ]  # fmt: skip


def _words(suffix: str) -> Reader:
    make = lambda folder: write_words(folder / f"words.{suffix}", random_words(WORDS, 5))  # noqa: E731
    return Reader(f"words {suffix}", make, lambda folder: spelled_class_vectors(folder / f"words.{suffix}", NAMES))


def _recogniser(folder: Path) -> None:
    torch.manual_seed(0)
    words = torch.randn(len(NAMES.objects), 5), torch.randn(len(NAMES.relations) + 1, 5)
    head = LsvruHead(LsvruConfig(6, 5, len(NAMES.objects), len(NAMES.relations), hidden=8), *words)
    save_recogniser(folder / "recogniser.safetensors", Recogniser(head, NAMES, "vgg", "box", "ce", "made-up"))


def _read_recogniser(folder: Path) -> Any:
    found = load_recogniser(folder / "recogniser.safetensors")
    return found.head.state_dict(), found.vocabulary, found.encoder, found.entity_region, found.history


def _read_denoiser(folder: Path) -> Any:
    found = DenoiserCheckpoint.load(folder / "denoiser.safetensors")
    return found.network.state_dict(), found.identity, found.denoiser, found.schedule.half_log_snr, found.dropout


def _foreign(folder: Path) -> None:
    torch.manual_seed(0)
    torch.save(torch.nn.Linear(3, 2).state_dict(), folder / "linear.pth")


def _read_foreign(folder: Path) -> Any:
    path, module = folder / "linear.pth", torch.nn.Linear(3, 2)
    load_weights(module, read_foreign(path).tensors, path)
    return module.state_dict()


def _similarity(folder: Path, form: str) -> None:
    draw, names = np.random.default_rng(0), VOCABULARY.objects
    pairs = pd.DataFrame({"first": names[:-1], "second": names[1:], "similarity": draw.random(len(names) - 1)})
    if form == "npz":
        ClassSimilarity(names, draw.random((len(names), len(names)))).save(folder / "pairs.npz")
    elif form == "csv":
        pairs.to_csv(folder / "pairs.csv", index=False)
    else:
        pairs.to_parquet(folder / "pairs.parquet", index=False)


def _lists(folder: Path) -> None:
    write_triplet_list(folder / "list.csv", np.array([[0, 1, 2], [3, 0, 4], [5, 2, 1]]), NAMES)


def _synsets(folder: Path, words: bool = False) -> None:
    objects, relations = ({name: f"{name}.n.01" for name in names} for names in (NAMES.objects, NAMES.relations))
    if words:
        (folder / "words_synsets.json").write_text(json.dumps({"nouns": objects, "verbs": relations}))
        return
    for file, column, names in (("objects", "object_name", objects), ("predicates", "predicate_name", relations)):
        table = pd.DataFrame({column: names.keys(), "synset": names.values()})
        table.to_csv(folder / f"{file}_synsets.csv", index=False)


def _senses(folder: Path) -> None:
    class_senses(NAMES.objects).save(folder / "senses.csv")


def _copied(*parts: str) -> Callable[[Path], Any]:
    return lambda folder: shutil.copy(project_root().joinpath(*parts), folder)


def _read_profile(folder: Path) -> Any:
    return [notebook.lines() for notebook in make_plan("smoke", files=[folder / "smoke.yml"]).notebooks]


def _report(folder: Path) -> None:
    place = folder / "reports" / "toy"
    notebooks = {"01_count": NotebookRecord("done", {"seed": 4}, 1.5, 90)}
    RunRecord("toy", "smoke", "done", {}, "2026-01-01T00:00:00+00:00", None, 3.0, notebooks).write(place)
    (place / "metrics.json").write_text(json.dumps({"01_count": {"headline": {"rows": 3}}}))


def _read_report(folder: Path) -> Any:
    table = runs_table(folder)
    if problem := "".join(table["problem"]):
        raise WorkbenchError(problem)
    return table


def copied(folder: Path, source: Path) -> dict[str, Any]:
    """A stage of what is in ``source``."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    return {"files": len([*folder.rglob("*.*")])}


def _stages(folder: Path) -> None:
    _features(folder / "made")
    with contextlib.redirect_stdout(io.StringIO()):
        for made in sorted((folder / "made").iterdir()):
            Run.open("toy", root=folder).stage(made.name, copied, source=made)
    shutil.rmtree(folder / "made")


def _read_stages(folder: Path) -> Any:
    run = Run.open("toy", root=folder)
    stages = [run.find(path.name) for path in sorted(run.folder.iterdir()) if path.is_dir()]
    return [(one.identity, one.metrics, [p.read_bytes() for p in sorted(one.folder.rglob("*.*"))]) for one in stages]


def _one(read: Callable, *path: str) -> Callable[[Path], Any]:
    return lambda folder: read(folder.joinpath(*path))


def _table(suffix: str) -> Reader:
    read = lambda folder: read_similarity_table(folder / f"pairs.{suffix}", VOCABULARY.objects).values  # noqa: E731
    return Reader(f"similarity {suffix}", lambda folder: _similarity(folder, suffix), read, free=True)


READERS = [
    Reader("annotations", lambda f: write_annotations(f, images=3), _read_annotations),
    Reader("VRD", _vrd, _read_vrd),
    Reader("import", _import, _read_import),
    Reader("features", _features, lambda f: _read_features(FeatureStore(f / "features/train")),
           "features/train/*", free=True),
    Reader("text", _features, _one(TextEmbeddings.open, "text"), "text/*", free=True),
    Reader("triplets", _features, _one(_read_triplets, "triplets"), "triplets/*", free=True),
    Reader("index", _features, _one(_read_index, "index"), "index/*", free=True),
    Reader("generated", _features, lambda f: _read_features(
        GeneratedFeatures(f / "generated", FeatureStore(f / "features/train"))), "generated/*", free=True),
    Reader("predictions", _features, lambda f: Predictions.read(
        f / "predictions", FeatureStore(f / "features/test"), VOCABULARY), "predictions/*", free=True),
    *map(_words, ("txt", "bin")),
    Reader("recogniser", _recogniser, _read_recogniser),
    Reader("denoiser", lambda f: checkpoint().save(f / "denoiser.safetensors"), _read_denoiser),
    Reader("checkpoint", _foreign, _read_foreign),
    *map(_table, ("csv", "npz", "parquet")),
    Reader("triplet list", _lists, lambda f: read_triplet_list(f / "list.csv", NAMES)),
    Reader("synsets", _synsets, lambda f: read_synsets(f, NAMES)),
    Reader("senses", _senses, lambda f: class_senses(NAMES.objects, f / "senses.csv").synsets, free=True),
    Reader("synset words", lambda f: _synsets(f, words=True), lambda f: read_synsets(f, NAMES), free=True),
    Reader("profile", _copied("notebooks", "params", "smoke.yml"), _read_profile, free=True),
    Reader("notebook", _copied("notebooks", "02_build_augmented_triplets.ipynb"),
           lambda f: read_parameters(next(f.glob("*.ipynb"))), free=True),
    Reader("report", _report, _read_report, "reports/toy/*", free=True),
    Reader("stages", _stages, _read_stages, "data/runs/toy/*/default/**/*", summed=True),
    Reader("tables", _copied("reports", "reference", "demo-tables.json"),
           _one(read_tables, "demo-tables.json"), free=True),
]  # fmt: skip
