"""How long the similarity of all class pairs takes, beside a loop over NLTK's ``lch_similarity``."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from reports.benchmarks.running import timed
from workbench.errors import WorkbenchError
from workbench.language.noun_paths import noun_hierarchy
from workbench.language.senses import class_senses
from workbench.language.similarity import lch_similarity
from workbench.language.wordnet import noun_senses, open_wordnet
from workbench.randomness import generator

_NAMES = 1702
_MAX_SENSES = 4
_SAMPLED_PAIRS = 2000


def benchmark_similarity() -> dict[str, Any]:
    """All pairs of 1,702 names with up to 4 senses each; the loop is estimated from a random sample of pairs.

    The loop is given every advantage: the senses and NLTK's depth of the hierarchy are there before its clock starts.
    Every sampled value must equal ours, else WorkbenchError.
    """
    open_seconds, reader = timed(open_wordnet)
    names, source = _names(reader)
    noun_hierarchy.cache_clear()
    seconds, lch = timed(lambda: lch_similarity(class_senses(names, "all", max_senses=_MAX_SENSES, wordnet=reader)))
    senses = [noun_senses(name, reader, _MAX_SENSES) for name in names]
    reader.synset("entity.n.01").lch_similarity(reader.synset("entity.n.01"))  # NLTK computes its depth once
    pairs = generator(0, "sampled pairs").integers(len(names), size=(_SAMPLED_PAIRS, 2))
    sampled_seconds, expected = timed(lambda: [_loop(senses[i], senses[j]) for i, j in pairs.tolist()])
    if not np.array_equal(np.array(expected), lch[pairs[:, 0], pairs[:, 1]], equal_nan=True):
        raise WorkbenchError("the similarities differ from NLTK's lch_similarity; do not trust this benchmark.")
    loop_seconds = sampled_seconds / len(pairs) * len(names) * (len(names) + 1) / 2
    return {
        "names": len(names), "names_from": source, "names_without_noun_synset": int(np.isnan(lch).all(axis=1).sum()),
        "open_wordnet_seconds": open_seconds, "all_pairs_seconds": seconds, "sampled_pairs_equal_to_nltk": len(pairs),
        "reference_seconds": loop_seconds, "ratio": loop_seconds / seconds,
    }  # fmt: skip


def _loop(first: list, second: list) -> float:
    return max((a.lch_similarity(b) for a in first for b in second), default=math.nan)


def _names(reader) -> tuple[list[str], str]:
    """GQA's object names where they are on this machine, else as many nouns of WordNet that have several senses."""
    beside = Path(__file__).resolve().parents[3] / "shared"
    path = Path(os.environ.get("WORKBENCH_SHARED", beside)) / "data" / "gqa" / "objects.txt"
    if path.is_file():
        return [name for name in path.read_text(encoding="utf-8").splitlines() if name and name != "<unk>"], "GQA"
    lemmas = sorted(name for name in reader.all_lemma_names("n") if name.isalpha())
    chosen = generator(0, "benchmark names").permutation(len(lemmas))
    several = (lemmas[place] for place in chosen.tolist() if len(reader.synsets(lemmas[place], "n")) >= _MAX_SENSES - 1)
    return [name for name, _ in zip(several, range(_NAMES), strict=False)], "WordNet"
