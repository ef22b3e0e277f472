"""The page of a data card: numbers, curves, and the check's report, for a reader who has not run anything."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.figures.pages import own_style, rendered, write_page_text
from workbench.figures.style import BAND_COLOURS
from workbench.scenes.bands import BANDS
from workbench.scenes.vocabulary import ROLES, SPLITS


def write_data_card(path: Path, title: str, card: Mapping[str, Any], problems: str) -> Path:
    """Write the page of a data card (``published_scenes.data_card``) and the check's report; returns its path.

    All text of the data is escaped; the page follows the reader's light or dark theme.
    """
    page = rendered(
        Path(__file__).with_name("data_card.html.j2"),
        title=title,
        style=own_style(),
        card=card,
        # In the usual order, which a JSON file with sorted keys has lost.
        splits={split: card["splits"][split] for split in SPLITS if split in card["splits"]},
        bands=BANDS,
        without_test=[f"{band}, without a test row" for band in BANDS],
        roles=ROLES,
        colours=BAND_COLOURS,
        charts=[_chart(kind, card["classes"][kind]) for kind in ("objects", "relations")],
        problems=problems,
    )
    write_page_text(path, page)
    return path


def _chart(kind: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Rank against frequency, both logarithmic, a curve for each band; classes without a train row have no point."""
    counts = [count for count in numbers["counts_by_rank"] if count > 0]
    ranks, most = max(2, len(counts)), max([2, *counts[:1]])
    left, right, top, bottom = 60, 704, 16, 260

    def x(rank: float) -> float:
        return round(left + (right - left) * math.log(rank, ranks), 1)

    def y(count: float) -> float:
        return round(bottom - (bottom - top) * math.log(count, most), 1)

    curves, first = {}, 0
    for band in BANDS:
        stop = first + numbers["bands"][band]
        # One point further joins a curve to the next band's.
        curves[band] = " ".join(f"{x(rank + 1)},{y(counts[rank])}" for rank in range(first, min(stop + 1, len(counts))))
        first = stop
    return {
        "title": f"Train rows of {kind} by rank", "left": left, "right": right, "bottom": bottom, "curves": curves,
        "counts": {tick: y(tick) for tick in _decades(most)}, "ranks": {tick: x(tick) for tick in _decades(ranks)},
    }  # fmt: skip


def _decades(most: int) -> list[int]:
    return [10**power for power in range(int(math.log10(most)) + 1)]
