"""What can be set when text is embedded and triplets are augmented."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from workbench.errors import WorkbenchError
from workbench.language.similarity import compares_senses
from workbench.looks import ClipWeights, PairTable, SensesTable
from workbench.ranges import Count, Range, Ranged, Seed, Whole

TAIL_BANDS = ("medium", "few")
TABLES_OF_PAIRS = (".csv", ".parquet", ".npz")
SENSES, TABLES_OF_SENSES = ("automatic", "all"), (".csv", ".json")
LCH = Range(0, 3.64)  # ln(2 * 19) of equal senses


@dataclass(frozen=True)
class TextConfig:
    """Which published open_clip model embeds names and captions.

    ``pretrained`` is open_clip's tag of the weights, which decides the activation (OpenAI's use QuickGELU, LAION's and
    DataComp's do not; "none": weights of your own, as the model's name says); it is refused where the file tells
    another. ``checkpoint`` is their file (safetensors or a torch state dict), which is fetched unnamed where
    ``download`` is true.
    """

    model: str = "ViT-L-14"
    pretrained: str = "openai"
    checkpoint: ClipWeights | None = None
    download: bool = False


@dataclass(frozen=True)
class AugmentationConfig(Ranged):
    """Which triplets are augmented, how many are drawn, and how their hardness is measured.

    Classes of ``bands`` count as tail; each band gets its quota of augmented triplets, 48,000 in the paper (section
    4.1). ``similarity`` says which classes are alike: a name of ``language.similarity.SIMILARITIES``, a table of class
    pairs (CSV, Parquet or npz), "module:function", or a function of the class names that returns a (classes, classes)
    array; a class and its replacement have at least ``threshold`` (2.26 of LCH in the paper).

    ``senses`` of the names that "lch" compares: "automatic" (the data set's own table, else the lexicon of everyday
    things, else by rule; see ``language.senses``), the same but for some names ({"mouse": "mouse.n.01"}, or a CSV of
    name and synset), or "all": the first ``max_senses`` of each, as upstream's script takes them. ``everyday_groups``:
    whether classes that meet at a general ancestor alone are alike only within an everyday group ("all" never asks).
    ``never``: what a class is never replaced by, {"man": ["tiger"]}.

    ``balance`` says who takes turns in filling a quota: "class", "role"
    (classes within each role, and the roles in turn), or "triplet" (nobody: distinct triplets are drawn uniformly).
    ``allow_existing``: whether triplets that training has already may be drawn. ``centroids``: K-means centroids of the
    original captions that hardness is measured by (section 3.4); the paper takes 1200.
    """

    bands: tuple[str, ...] = TAIL_BANDS
    medium_quota: Whole = 48_000
    few_quota: Whole = 48_000
    similarity: str | PairTable | Callable[..., Any] = "lch"
    threshold: float = 2.26
    senses: str | dict[str, str] | SensesTable = "automatic"
    everyday_groups: bool = True
    never: dict[str, tuple[str, ...]] = field(default_factory=dict)
    max_senses: Count = 4
    balance: Literal["role", "class", "triplet"] = "role"
    allow_existing: bool = False
    centroids: Count = 1200
    seed: Seed = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bands", tuple(self.bands))
        if not self.bands or len(set(self.bands)) != len(self.bands) or not set(self.bands) <= set(TAIL_BANDS):
            raise WorkbenchError(f"bands are {list(self.bands)}; expected distinct ones of {list(TAIL_BANDS)}.")
        if isinstance(self.similarity, str) and self.similarity.endswith(TABLES_OF_PAIRS):
            # A path, so that the stage's record holds what is in the table.
            object.__setattr__(self, "similarity", Path(self.similarity))
        if compares_senses(self.similarity):
            LCH.check(self.threshold, float, 'threshold of the similarity "lch"')
        if isinstance(self.senses, str) and self.senses.endswith(TABLES_OF_SENSES):
            object.__setattr__(self, "senses", Path(self.senses))
        if isinstance(self.senses, str) and self.senses not in SENSES:
            raise WorkbenchError(
                f"senses is {self.senses!r}; expected {' or '.join(map(repr, SENSES))}, a table such as senses.csv, or "
                'some names: {"mouse": "mouse.n.01"}.'
            )
        super().__post_init__()

    def quota(self, band: str) -> int:
        """How many augmented triplets a band gets."""
        return self.medium_quota if band == "medium" else self.few_quota
