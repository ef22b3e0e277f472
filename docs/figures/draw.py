"""Draws the figures of README.md and docs/results.md from reports/reference: python docs/figures/draw.py."""

from html import escape
from pathlib import Path

from workbench.files import atomic_path
from workbench.tables.results import TableResults, read_tables

HERE = Path(__file__).resolve().parent
REFERENCE = HERE.parents[1] / "reports" / "reference"
STYLE = """
text { font: 14px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.ground { fill: #ffffff } .head { font-weight: 600 } .small { font-size: 12px } .quiet { fill: #59636e }
.grid { stroke: #d1d9e0 } .zero { stroke: #818b98 }
.before { fill: #818b98 } .with { fill: #0969da } .other { fill: #bc4c00 }
line.before { stroke: #818b98 } line.with { stroke: #0969da } line.other { stroke: #bc4c00 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .ground { fill: #0d1117 } .quiet { fill: #9198a1 } .grid { stroke: #30363d }
  .zero { stroke: #656c76 } .before { fill: #9198a1 } .with { fill: #4493f8 } .other { fill: #f0883e }
  line.before { stroke: #9198a1 } line.with { stroke: #4493f8 } line.other { stroke: #f0883e }
}
"""
PAIRS = {"CE": "lsvru_ce", "WCE": "lsvru_wce", "CE + VilHub + RelMix": "lsvru_ce_vilhub_relmix"}
PANELS = {"few": "Rare classes (few)", "many": "Frequent classes (many)", "all": "All classes (Combined)"}


def text(x: float, y: float, words: str, classes: str = "", anchor: str = "start") -> str:
    """Words on a base line."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, classes: str, width: float = 1) -> str:
    """A straight line."""
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {place} class="{classes}" stroke-width="{width}"/>'


def dot(x: float, y: float, classes: str) -> str:
    """A number of a figure."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="{classes}"/>'


def picture(width: int, height: int, title: str, parts: list[str]) -> str:
    """The parts as an SVG that is readable on light and dark pages."""
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{escape(title)}</title>'
    ground = f'<rect class="ground" width="{width}" height="{height}" rx="8"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", ground, *parts, "</svg>", ""])


def gain_and_price(results: TableResults) -> str:
    """Three baselines without and with DiffAugment: on few, on many, and on all classes."""
    width, panel, left, top, step = 960, 220, 190, 74, 58
    title = "LSVRU on the drawn scenes: average per-class accuracy on test, %, five seeds"
    parts = [text(20, 28, title, "head"), dot(26, 48, "before"), text(38, 53, "without DiffAugment", "small")]
    parts += [dot(186, 48, "with"), text(198, 53, "with it; the change with its 95 % interval", "small")]
    bottom = top + 30 + step * len(PAIRS)
    for place, (band, head) in enumerate(PANELS.items()):
        start = left + place * (panel + 36)
        parts.append(text(start + panel / 2, top + 14, head, "head", "middle"))
        levels = [
            results.level(name, f"exact combined {band}") for key in PAIRS.values() for name in (key, f"{key}_so")
        ]
        means = [level["mean"] for level in levels if level]
        low, high = 10 * (min(means) // 10), 10 * (max(means) // 10 + 1)
        scale = panel / (high - low)
        for tick in range(int(low), int(high) + 1, 10):
            x = start + (tick - low) * scale
            parts += [line(x, top + 24, x, bottom, "grid"), text(x, bottom + 18, str(tick), "small quiet", "middle")]
        for row, key in enumerate(PAIRS.values()):
            y, name = top + 58 + row * step, f"exact combined {band}"
            before, after = results.level(key, name), results.level(f"{key}_so", name)
            change = results.difference(f"{key}_so", key, name)
            assert before and after and change, (key, name)
            xs = [start + (level["mean"] - low) * scale for level in (before, after)]
            parts += [line(xs[0], y, xs[1], y, "with", 2), dot(xs[0], y, "before"), dot(xs[1], y, "with")]
            middle = min(max(sum(xs) / 2, start + 36), start + panel - 36)
            told = f"{change['mean']:+.1f} ± {change['half_width']:.1f}".replace("-", "−")
            parts.append(text(middle, y - 12, told, "small", "middle"))
    parts += [text(20, top + 63 + row * step, name) for row, name in enumerate(PAIRS)]
    return picture(width, bottom + 34, title, parts)


def ranges(results: TableResults, title: str, architecture: str) -> str:
    """Combined of every measured row of a recogniser, best first, with its interval; the baseline as a line."""
    rows = [row for row in results.rows.values() if row.architecture == architecture and row.values]
    levels = {row.key: results.level(row.key, "exact combined all") for row in rows}
    found = {key: level for key, level in levels.items() if level}
    rows.sort(key=lambda row: -found[row.key]["mean"])
    width, left, right, top, step = 960, 580, 60, 92, 20
    low = min(level["mean"] for level in found.values()) // 5 * 5
    high = max(level["mean"] for level in found.values()) // 5 * 5 + 5
    scale, bottom = (width - left - right) / (high - low), top + step * len(rows)
    parts = [text(20, 28, title, "head")]
    for place, (kind, words) in enumerate(
        (("before", "real features alone"), ("with", "DiffAugment"), ("other", "other generated features"))
    ):
        parts += [dot(26 + 170 * place, 48, kind), text(38 + 170 * place, 53, words, "small")]
    for tick in range(int(low), int(high) + 1, 5):
        x = left + (tick - low) * scale
        parts += [line(x, top - 16, x, bottom, "grid"), text(x, top - 22, str(tick), "small quiet", "middle")]
    base = left + (found[rows[-1].key]["mean"] - low) * scale
    baseline = next((row for row in rows if row.training == "ce" and row.group == "paper" and not row.generated), None)
    if baseline:
        base = left + (found[baseline.key]["mean"] - low) * scale
        parts.append(line(base, top - 16, base, bottom, "zero", 1.5))
    for place, row in enumerate(rows):
        y, level = top + step * place, found[row.key]
        kind = "before" if not row.generated else "with" if row.source == "diffusion" else "other"
        ends = [min(max(left + (level[end] - low) * scale, left - 4), width - right + 8) for end in ("low", "high")]
        name = row.title.removeprefix(f"{architecture}, ")
        parts += [text(20, y + 4, name, "small" + (" head" if row is baseline else ""))]
        parts += [line(ends[0], y, ends[1], y, kind, 2), dot(left + (level["mean"] - low) * scale, y, kind)]
        parts.append(text(width - 16, y + 4, f"{level['mean']:.1f}", "small quiet", "end"))
    return picture(width, bottom + 12, title, parts)


def figures() -> dict[str, str]:
    """File name to SVG."""
    one, all_rows, clip = (
        read_tables(REFERENCE / f"{name}.json") for name in ("demo-table1", "demo-tables", "vg-clip-tables")
    )
    told = "Combined on test, %, mean and 95 % interval"
    return {
        "gain-and-price.svg": gain_and_price(one),
        **{
            f"{name.lower()}.svg": ranges(all_rows, f"{name} on the drawn scenes: {told}, three seeds", name)
            for name in all_rows.architectures
        },
        "vg-clip.svg": ranges(
            clip, f"LSVRU on Visual Genome relations with CLIP features: {told}, two seeds", "LSVRU"
        ),
    }  # fmt: skip


if __name__ == "__main__":
    for file_name, drawn in figures().items():
        with atomic_path(HERE / file_name) as temporary:
            temporary.write_text(drawn, encoding="utf-8")
