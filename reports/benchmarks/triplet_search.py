"""How long a search among the triplets of a full-size data set takes, beside SQLite's ``LIKE`` on the same rows."""

import sqlite3
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from annotated_scenes.annotations import Annotations
from reports.benchmarks.running import side_by_side, timed
from simulated_scenes.prepare import default_names
from workbench.browsers.triplet_index import TripletIndex, folded, write_triplet_index
from workbench.browsers.triplet_search import TripletState, facets, search, without_toggles
from workbench.randomness import generator
from workbench.scenes.bands import BANDS
from workbench.scenes.relations import triplet_keys, triplets_of_keys, write_relation_tables
from workbench.scenes.vocabulary import ROLES, Vocabulary

_RELATIONS, _TRIPLETS = 3_400_000, 450_000
_OBJECT_CLASSES, _RELATION_CLASSES = 1703, 310
_QUERIES = 7  # of each kind, no text twice: what was found before is kept
_TILES = 12  # what a page shows; SQLite need not hand over more
_BAND_COLUMNS = tuple(f"{role}_band" for role in ROLES)


def benchmark_triplet_search() -> dict[str, Any]:
    """Median seconds of typical queries and of the counts on the toggles, no text asked for twice.

    3.4 million simulated relations of 450,000 distinct triplets, 1,703 object and 310 relation classes. SQLite holds
    the same rows in memory, indexed by count and by band; it hands over the first 12 of a query, ours the order of all.
    Both must find as many triplets and relations, else WorkbenchError.
    """
    vocabulary = default_names(_OBJECT_CLASSES, _RELATION_CLASSES)

    def found(query: TripletState) -> tuple[int, int]:
        matches = search(index, query, without_toggles(index, query))
        return len(matches), int(index["count"][matches].sum())

    def shown(query: TripletState) -> dict[str, dict[str, int]]:
        numbers = facets(index, query, without_toggles(index, query))
        return {role: numbers[role] for role in ROLES}

    with tempfile.TemporaryDirectory() as folder:
        seconds, index = _built(Path(folder), vocabulary)
        result = {"build_seconds": seconds, "relations": len(index.examples), "distinct_triplets": len(index)}
        peer = _peer(index)
        for kind, queries in _queries(vocabulary).items():
            result |= side_by_side(kind, queries, found, partial(_peer_search, peer), "sqlite")
        queries = _queries(vocabulary, skipped=_QUERIES)["word_bands_sort"]
        return result | side_by_side("facets", queries, shown, partial(_peer_facets, peer), "sqlite")


def _queries(vocabulary: Vocabulary, skipped: int = 0) -> dict[str, list[TripletState]]:
    """Some queries of each kind; ``skipped``: how many the draw leaves out first."""
    random = generator(0, "searched names")
    chosen = [random.permutation(vocabulary.names(role))[skipped : skipped + _QUERIES].tolist() for role in ROLES[:2]]
    some, relations = chosen
    bands = {"relation": ("few", "medium"), "object": ("many",)}
    return {
        "one_letter": [TripletState(letter) for letter in "abcdmst"],
        "word": [TripletState(name) for name in some],
        "phrase": [TripletState(f'"{name} {relation}"') for name, relation in zip(some, relations, strict=True)],
        "word_bands_sort": [TripletState(name[:3], bands=bands, sort="rarity") for name in some],
    }


def _built(folder: Path, vocabulary: Vocabulary) -> tuple[float, TripletIndex]:
    """The seconds that the index of simulated relations takes, whose classes and triplets have long tails, and it."""
    random, distinct = generator(0, "simulated triplets"), np.empty(0, dtype=np.int64)
    sizes = {role: len(vocabulary.names(role)) for role in ROLES}
    while len(distinct) < _TRIPLETS:
        drawn = [(sizes[role] ** random.random(_TRIPLETS) - 1).astype(np.int64) for role in ROLES]  # about 1 / rank
        distinct = np.union1d(distinct, triplet_keys(*drawn))
    distinct = random.permutation(distinct)[:_TRIPLETS]
    repeated = (_TRIPLETS ** random.random(_RELATIONS - _TRIPLETS) - 1).astype(np.int64)
    ids = triplets_of_keys(random.permutation(np.concatenate([distinct, distinct[repeated]]))).T
    relations = pd.DataFrame({"image": 0, "subject_box": 0, "object_box": 0} | dict(zip(ROLES, ids, strict=True)))
    images = pd.DataFrame({"image_id": [0], "file_name": ["none.jpg"], "width": 1, "height": 1})
    boxes = pd.DataFrame({"image": [0], "x1": 0.0, "y1": 0.0, "x2": 0.0, "y2": 0.0, "object_class": 0})
    vocabulary.write(folder / "features")
    annotations = Annotations("train", vocabulary, images, boxes, relations, folder)
    write_relation_tables(folder / "features" / "train", annotations.tables)
    seconds, _ = timed(lambda: write_triplet_index(folder / "index", features=folder / "features"))
    return seconds, TripletIndex.open(folder / "index")


def _peer(index: TripletIndex) -> sqlite3.Connection:
    peer = sqlite3.connect(":memory:")
    names = ("caption", "count", *_BAND_COLUMNS)
    peer.execute(f"CREATE TABLE triplets (place INTEGER PRIMARY KEY, {', '.join(names)})")
    captions = index.vocabulary.captions(index.triplets(np.arange(len(index))))
    captions = [f" {folded(caption)} " for caption in captions]  # one LIKE then finds the start of a word
    values = [captions, *(index[name].tolist() for name in names[1:])]
    peer.executemany(
        f"INSERT INTO triplets VALUES (?{', ?' * len(names)})", zip(range(len(index)), *values, strict=True)
    )
    for name in names[1:]:
        peer.execute(f"CREATE INDEX by_{name} ON triplets ({name})")
    return peer


def _condition(query: TripletState, without: str = "") -> tuple[str, list]:
    """The WHERE clause of a query and its values; ``without``: the role whose bands do not count."""
    word = query.search.strip('"')
    parts, values = ["caption LIKE ?"], [f"% {word} %" if query.search.startswith('"') else f"% {word}%"]
    for role, bands in query.bands.items():
        if role != without:
            parts.append(f"{role}_band IN ({', '.join('?' * len(bands))})")
            values += [BANDS.index(band) for band in bands]
    return " AND ".join(parts), values


def _peer_search(peer: sqlite3.Connection, query: TripletState) -> tuple[int, int]:
    where, values = _condition(query)
    order = "count" if query.sort == "rarity" else "count DESC"
    peer.execute(f"SELECT place FROM triplets WHERE {where} ORDER BY {order}, place LIMIT {_TILES}", values).fetchall()
    return peer.execute(f"SELECT count(*), coalesce(sum(count), 0) FROM triplets WHERE {where}", values).fetchone()


def _peer_facets(peer: sqlite3.Connection, query: TripletState) -> dict[str, dict[str, int]]:
    shown = {}
    for role in ROLES:
        where, values = _condition(query, without=role)
        sql = f"SELECT {role}_band, count(*) FROM triplets WHERE {where} GROUP BY {role}_band"
        found = dict(peer.execute(sql, values).fetchall())
        shown[role] = {band: found.get(code, 0) for code, band in enumerate(BANDS)}
    return shown
