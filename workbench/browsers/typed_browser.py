"""The browser of typed triplets: what the denoiser makes of one, and the real pictures that lie nearest to it."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.browsers.drawing import scene_of, scene_svg
from workbench.browsers.panel import Browser, numbers, render, require_changes, require_one_of
from workbench.diffusion.checkpoint import CHECKPOINT, DenoiserCheckpoint
from workbench.diffusion.config import SamplingConfig
from workbench.diffusion.fidelity import RELATIONS, generated_with
from workbench.diffusion.sample import sample_triplets
from workbench.language.text_embedding import TextEmbeddings
from workbench.regions.features import FeaturesFolder
from workbench.regions.nearest import NearestRows
from workbench.scenes.bands import band_of_class
from workbench.scenes.vocabulary import ROLES
from workbench.stages import Run

SAMPLES = (1, 2, 4, 8)
NEIGHBOURS, MOST_SUGGESTIONS, MOST_NEAR = 5, 12, 4
_part = partial(render, "typed.html.j2")


@dataclass(frozen=True)
class TypedState:
    """``words`` as they are typed; the ``triplet`` of class ids that is shown, with so many ``samples``."""

    words: str = ""
    triplet: tuple[int, ...] = ()
    samples: int = 4


class TypedBrowser(Browser):
    """Samples of a triplet that somebody types, each beside the training rows ``nearest`` to it.

    ``sample`` gives features (n, D) of n triplets in class ids; ``fidelity`` is the folder of that stage, if any.
    """

    state: TypedState
    kind = "typed"

    def __init__(
        self, features: FeaturesFolder, nearest: NearestRows, sample: Callable[[list], np.ndarray],
        *, images: Path | None = None, fidelity: Path | None = None,
    ):  # fmt: skip
        super().__init__(_part(part="frame"), images)
        self.state, self._nearest, self._sample, self._fidelity = TypedState(), nearest, sample, fidelity
        self._vocabulary, self._counts, self._busy = features.vocabulary, features.counts, ""
        self._found = pd.DataFrame()

    @classmethod
    def of_run(cls, run: Run) -> "TypedBrowser":
        """The run's denoiser, sampled as its stage ``generated`` was; WorkbenchError where it has none."""
        checkpoint = DenoiserCheckpoint.load(run.find("diffusion") / CHECKPOINT)
        generated, fidelity = run.found("generated"), run.found("fidelity")
        config = generated_with(generated.parameters) if generated else None
        config = config if isinstance(config, SamplingConfig) else SamplingConfig()
        features, text = FeaturesFolder(run.features.folder), TextEmbeddings.open(Path(run.text))
        sample = partial(sample_triplets, checkpoint, config=config, text=text, store=features.train)
        nearest = NearestRows.of_run(run, features.train)
        measured = fidelity.folder if fidelity else None
        return cls(features, nearest, sample, images=run.images, fidelity=measured)

    def acts(self, value: str) -> Any:
        """What each event changes."""
        return {
            "words": lambda: {"words": value},
            "samples": lambda: {"samples": numbers("samples", value)[0]},
            "sample": lambda: {"triplet": value or self.state.words},
        }

    def change(self, **changes: Any) -> None:
        """Take over ``changes``; a triplet may be given in words. Sampling that fails changes nothing."""
        require_changes("browser of typed triplets", TypedState, changes)
        state = replace(self.state, **changes)
        require_one_of("number of samples", state.samples, SAMPLES)
        if "triplet" in changes:
            (row,) = self._vocabulary.class_ids([state.triplet]).to_numpy().tolist()
            state = replace(state, triplet=tuple(row), words=self._vocabulary.caption(*row))
        if state.triplet:
            self._found = self.keep("found", (state.triplet, state.samples), lambda: self._sampled(state))
        self.state = state

    def _sampled(self, state: TypedState) -> pd.DataFrame:
        """The rows nearest to each sample, a line each; meanwhile the page says what is being done."""
        store = self._nearest.store
        self._busy = f"Sampling {state.samples} and looking through {len(store):,} real rows …"
        try:
            self.shown_again()
            found = self._nearest.find(self._sample([state.triplet] * state.samples), NEIGHBOURS)
        finally:
            self._busy = ""
        lines = [(number, *near) for number, pair in enumerate(found, 1) for near in zip(*pair, strict=True)]
        table = pd.DataFrame(lines, columns=["sample", "row", "distance"])
        for role in ROLES:
            names = self._vocabulary.names(role)
            table[role] = [names[own] for own in store.relations[role].to_numpy()[table["row"]]]
        return table

    def shown(self) -> pd.DataFrame:
        """The nearest rows of the triplet that is shown: sample, row, distance and the names of their classes."""
        return self._found

    def regions(self) -> dict[str, str]:
        """The HTML of the present state."""
        state, choices = self.state, [(count, count) for count in SAMPLES]
        answer = _part(part="busy", busy=self._busy, rows=len(self._nearest.store))
        if state.triplet and not self._busy:
            answer = self.keep("answer", (state.triplet, state.samples), self._answer)
        suggested = self.suggestions(state.words)
        return {"ask": _part(part="ask", state=state, choices=choices, suggested=suggested), "answer": answer}

    def suggestions(self, words: str) -> list[str]:
        """Texts that go on where ``words`` end, by frequency in train; where nothing does, the nearest spellings."""
        ends, found = [("", words.casefold().lstrip())], list[str]()
        for role in ROLES:
            by_count = np.argsort(-self._counts.of_role(role), kind="stable")
            names = {name.casefold(): name for name in map(self._vocabulary.names(role).__getitem__, by_count)}
            found = [said + names[name] for said, rest in ends for name in names if name.startswith(rest)] + found
            further = [(f"{said}{names[name]} ", rest[len(name) :].lstrip())
                       for said, rest in ends for name in names if rest.startswith(name + " ")]  # fmt: skip
            if not further:
                break
            ends = further
        for said, parts in [(said, rest.split()) for said, rest in ends if not found]:
            for size in range(1, len(parts) + 1):
                near = difflib.get_close_matches(" ".join(parts[:size]), names, n=MOST_NEAR)
                found += [" ".join([said + names[name], *parts[size:]]) for name in near]
        return list(dict.fromkeys(found))[:MOST_SUGGESTIONS]

    def _answer(self) -> str:
        """What train has of the classes, the fidelity of the relation, and the rows nearest to each sample."""
        triplet, relations, measured = self.state.triplet, self._nearest.store.relations[list(ROLES)].to_numpy(), None
        same, near = relations == triplet, self._found["row"].to_numpy()
        roles, names = [], [self._vocabulary.names(role)[own] for role, own in zip(ROLES, triplet, strict=True)]
        for role, name, own, shared in zip(ROLES, names, triplet, same[near].sum(axis=0), strict=True):
            counts = self._counts.of_role(role)
            roles.append((role, name, band_of_class(counts)[own], counts[own], shared))
        together = []
        for some in ([0, 1, 2], [0, 1], [1, 2], [0, 2]):
            classes = " ".join(name if place in some else "…" for place, name in enumerate(names))
            together.append((classes, same[:, some].all(axis=1).sum()))
        if self._fidelity and (self._fidelity / RELATIONS).is_file():
            measured = pd.read_parquet(self._fidelity / RELATIONS).query(f"relation == {triplet[1]}").to_dict("records")
        tiles = self._found.to_dict("records")
        for tile in tiles:
            tile["drawing"] = scene_svg(scene_of(self._nearest.store, tile["row"]), self.thumbnails, crop=True)
        return _part(
            part="answer", roles=roles, together=together, fidelity=measured, near=len(near), rows=len(relations),
            tiles=tiles, note=self.thumbnails.note(),
        )  # fmt: skip
