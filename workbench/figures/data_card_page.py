"""The numbers of a data set as a page that needs no network and no script."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.escaping import escaped
from workbench.figures.pages import formatted, own_style, rendered, write_page_text
from workbench.figures.style import BAND_COLOURS
from workbench.scenes.bands import BANDS
from workbench.scenes.problems import Problem, format_report
from workbench.scenes.vocabulary import ROLES, SPLITS

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _MARGIN = 720, 300, 60, 40, 16
_ROWS = {
    "images": "images",
    "images_without_relations": "images without relations",
    "images_above_30_relations": "images with more than 30 relations (upstream jitters no boxes there)",
    "images_above_100_relations": "images with more than 100 relations (RelTransformer sees the first 100)",
    "relations": "relations",
    "duplicate_relations": "relations that repeat another one",
    "pairs_with_several_relations": "pairs of boxes with several relation classes (upstream learns the first)",
    "distinct_triplets": "distinct triplets",
    "triplets_unseen_in_train": "distinct triplets that train lacks",
    "relations_with_unseen_triplet": "relations with such a triplet",
    "boxes": "boxes",
    "degenerate_boxes": "boxes one pixel wide or high",
    "boxes_partly_outside": "boxes partly outside their image",
    "boxes_wholly_outside": "boxes wholly outside their image",
}


def write_data_card(
    path: Path, title: str, card: Mapping[str, Any], problems: Sequence[Problem] | str | None = None
) -> Path:
    """Write the page of a data card (``workbench.scenes.data_card``); returns its path.

    ``problems`` are those of the check, or its report as text. All text of the data is escaped; the page follows the
    reader's light or dark theme.
    """
    report = problems if isinstance(problems, str) else format_report(problems) if problems else ""
    page = rendered(
        Path(__file__).parent / "data_card.html.j2",
        title=title,
        style=own_style(),
        facts=_facts(card),
        tables=[_splits_table(card), _classes_table(card), *_absent_tables(card)],
        charts=[_chart(kind, card["classes"][kind]) for kind in ("objects", "relations")],
        problems=report,
    )
    write_page_text(Path(path), page)
    return Path(path)


def _facts(card: Mapping[str, Any]) -> list[str]:
    classes = card["classes"]
    facts = [f"{formatted(classes['objects']['number'])} object classes"]
    facts.append(f"{formatted(classes['relations']['number'])} relation classes")
    return [
        *facts,
        *(f"{formatted(numbers['relations'])} {split} relations" for split, numbers in _splits(card).items()),
    ]


def _splits(card: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The numbers by split in the usual order, which a JSON file with sorted keys has lost."""
    return {split: card["splits"][split] for split in SPLITS if split in card["splits"]}


def _splits_table(card: Mapping[str, Any]) -> dict[str, Any]:
    splits = _splits(card)
    rows = [[text, *(numbers.get(key) for numbers in splits.values())] for key, text in _ROWS.items()]
    note = ""
    if card["left_right"]:
        names = ", ".join(map(escaped, card["left_right"]))
        note = f"A mirrored image turns these relations false: {names}. Training must not flip it unchanged."
    return {"title": "Splits", "note": note, "columns": ["", *splits], "rows": rows}


def _classes_table(card: Mapping[str, Any]) -> dict[str, Any]:
    columns = ["classes", "number", "most train rows", "fewest", "most : fewest that occur", *BANDS]
    rows = []
    for kind in ("objects", "relations"):
        numbers = card["classes"][kind]
        told_numbers = [numbers[key] for key in ("number", "most", "fewest", "imbalance_ratio")]
        rows.append([kind, *told_numbers, *(numbers["bands"][band] for band in BANDS)])
    note = "Bands by train frequency over all classes: the rarest 80 % are few, the most frequent 5 % many."
    return {"title": "Classes", "note": note, "columns": columns, "rows": rows}


def _absent_tables(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for role in ROLES:
        absent = card["absent"][role]
        in_test = absent.get("without_test_rows", {})
        rows.append([role, len(absent["without_train_rows"]), *(in_test.get(band) for band in BANDS)])
    columns = ["role", "without a train row", *(f"{band}, without a test row" for band in BANDS)]
    note = "Per-class accuracy is a mean over the classes that test has; the others are in no result."
    return [{"title": "Absent classes", "note": note, "columns": columns, "rows": rows}]


def _chart(kind: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Rank against frequency, both logarithmic, a curve for each band; classes without a train row have no point."""
    counts = [count for count in numbers["counts_by_rank"] if count > 0]
    ranks, most = max(2, len(counts)), max(2, counts[0] if counts else 2)

    def x(rank: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _MARGIN) * math.log(rank) / math.log(ranks), 1)

    def y(count: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _MARGIN) * math.log(count) / math.log(most), 1)

    curves, first = [], 0
    for band in BANDS:
        stop = first + numbers["bands"][band]
        # One point further joins a curve to the next band's.
        points = [(x(rank + 1), y(counts[rank])) for rank in range(first, min(stop + 1, len(counts)))]
        curves.append({"colour": BAND_COLOURS[band], "points": " ".join(f"{a},{b}" for a, b in points)})
        first = stop
    lines = [{"x1": _LEFT, "x2": _WIDTH - _MARGIN, "y1": y(tick), "y2": y(tick)} for tick in _decades(most)]
    labels = [{"x": _LEFT - 6, "y": y(tick) + 4, "anchor": "end", "text": formatted(tick)} for tick in _decades(most)]
    below = _HEIGHT - _BOTTOM
    lines += [{"x1": x(tick), "x2": x(tick), "y1": below, "y2": below + 5} for tick in _decades(ranks)]
    labels += [{"x": x(tick), "y": below + 20, "anchor": "middle", "text": formatted(tick)} for tick in _decades(ranks)]
    title = f"Train rows of {kind} by rank"
    size = {"width": _WIDTH, "height": _HEIGHT}
    return {"title": title, "lines": lines, "labels": labels, "curves": curves, "legend": BAND_COLOURS} | size


def _decades(most: int) -> list[int]:
    return [10**power for power in range(int(math.log10(most)) + 1)]
