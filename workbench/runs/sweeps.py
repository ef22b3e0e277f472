"""A run for each value of a parameter, on the stages of a finished run, and their numbers side by side."""

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.files import atomic_path, read_json
from workbench.folders import Replace
from workbench.paths import project_root, reports_folder, runs_folder
from workbench.runs.notebooks import VARIANTS, common_numbers, planned, run_profile
from workbench.runs.profiles import RUN_PARAMETER, make_plan
from workbench.runs.report_index import SWEEP_TABLE, write_overview
from workbench.runs.run_records import METRICS

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = {f"Combined, {band}": f"exact combined {band}" for band in ("few", "many", "all")}
_HOW = "Part values by commas, and put one that has commas into brackets: -p losses=[ce],[ce,focal]."


def sweep_profile(
    profile: str,
    parameters: dict[str, str],
    run: str | None = None,
    only: Sequence[str] | None = None,
    replace: Replace = Replace.NEVER,
    files: Sequence[Path] = (),
    base: str | None = None,
    root: Path | None = None,
) -> Path:
    """Run ``profile`` for each combination of the values in ``parameters``; returns the folder of table and page.

    The runs ``<run>-<parameter>-<value>`` stand on ``base``, by default the profile's run where there is one, and begin
    with the first notebook that a value reaches. All values are looked at before the first run starts. Finished runs
    are loaded, so a stopped sweep goes on where it stopped.
    """
    root, values = project_root(root), {name: split_values(name, text) for name, text in parameters.items()}
    varied = [name for name, texts in values.items() if len(texts) > 1]
    if not varied:
        raise WorkbenchError(f"sweep: no parameter has two values. {_HOW}")
    plain = make_plan(profile, root=root)
    base = base or (plain.run if (runs_folder(root) / plain.run).is_dir() else "")
    combinations = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
    start = run or make_plan(profile, files=files, root=root).run
    runs = {_run_name(start, {name: each[name] for name in varied}): each for each in combinations}
    if len(runs) < len(combinations):
        raise WorkbenchError(f"sweep: two of the values are equal, or make the same name of a run: {', '.join(runs)}.")
    asked: dict[str, Any] = {"replace": replace, "files": files, "base": base, "root": root}
    plans = [planned(profile, run=name, only=only, parameters=each, **asked)[0] for name, each in runs.items()]
    before = {notebook.name: notebook.values | {RUN_PARAMETER: ""} for notebook in plain.notebooks}
    reached = {n.name for plan in plans for n in plan.notebooks if n.values | {RUN_PARAMETER: ""} != before.get(n.name)}
    names = [notebook.name for notebook in plans[0].notebooks]
    if base and not only:
        names = list(itertools.dropwhile(lambda name: name not in reached, names))
    print(f"{len(runs)} runs{f' on the stages of {base!r}' if base else ''}, each of {', '.join(names)}", flush=True)
    for number, (name, each) in enumerate(runs.items(), start=1):
        print(f"[{number} of {len(runs)}] {name}", flush=True)
        run_profile(profile, run=name, only=names, parameters=each, **asked)
    folder = reports_folder(root) / _run_name(start, dict.fromkeys(varied, "sweep"))
    return _write(folder, [{"run": name} | {key: each[key] for key in varied} for name, each in runs.items()])


def split_values(name: str, text: str) -> list[str]:
    """The values of ``-p name=1.9,2.6``, each as it would be given alone: what YAML's ``[1.9,2.6]`` holds."""
    import yaml

    try:
        nodes = yaml.compose(f"[{text}]", yaml.SafeLoader).value
    except yaml.YAMLError as error:
        raise WorkbenchError(f"-p {name}={text}: {' '.join(str(error).split())}. {_HOW}") from error
    return [
        node.value if isinstance(node, yaml.ScalarNode) else text[node.start_mark.index - 1 : node.end_mark.index - 1]
        for node in nodes
    ] or [""]


def _run_name(start: str, values: dict[str, str]) -> str:
    parts = [f"{name.rpartition('.')[2]}-{value.strip('[]{} ')}" for name, value in values.items()]
    return "-".join([start, *(re.sub(r"[^\w.+-]+", "-", part, flags=re.ASCII) for part in parts)])


def _write(folder: Path, runs: list[dict[str, str]]) -> Path:
    """Write the table of all numbers that the ``runs`` share and the page of the chosen ones, and print these."""
    import pandas as pd

    found = [read_json(folder.with_name(run["run"]) / METRICS) for run in runs]
    with atomic_path(folder / SWEEP_TABLE) as temporary:
        pd.concat([pd.DataFrame(runs), common_numbers(found)], axis=1).to_csv(temporary, index=False)
    varied = ", ".join(list(runs[0])[1:])
    table = pd.DataFrame([
        {"training": training, varied: ", ".join(list(run.values())[1:])}
        | {title: numbers.get(key) for title, key in _SHOWN.items()}
        for run, metrics in zip(runs, found, strict=True)
        for each in metrics.values()
        for training, numbers in each.get(VARIANTS, {}).items()
    ])  # fmt: skip
    if len(table):
        table = pd.concat([here for _, here in table.groupby("training", sort=False)]).reset_index(drop=True)
        print(table.round(2).to_string(index=False))
    _write_page(folder, table, varied, [run["run"] for run in runs])
    write_overview(folder.parents[1])
    print(f"page: {folder / 'index.html'}, all numbers: {folder / SWEEP_TABLE}")
    return folder


def _write_page(folder: Path, table: "pd.DataFrame", varied: str, runs: list[str]) -> None:
    """The page: what was varied, a line for each training in the figure, the same numbers as a table."""
    import plotly.express

    from workbench.figures.style import SERIES_COLOURS, plain_text
    from workbench.registry import import_nbformat
    from workbench.runs.reports import PLOTLY_MIME, write_page

    v4 = import_nbformat().v4
    links = ", ".join(f"[{run}](../{run}/index.html)" for run in runs)
    head = f"# What does {varied} change?\n\n{links}. [All runs](../index.html). All numbers: "
    cells = [v4.new_markdown_cell(f"{head}[{SWEEP_TABLE}]({SWEEP_TABLE}).")]
    if len(table):
        drawn = table.assign(**table[["training", varied]].map(plain_text)).melt(["training", varied])
        figure = plotly.express.line(
            drawn, x=varied, y="value", color="training", facet_col="variable", markers=True, template="workbench",
            color_discrete_sequence=SERIES_COLOURS, title="Average per-class accuracy on test, %",
            labels={"value": "accuracy, %", "training": ""}, facet_col_spacing=0.06, height=460,
        )  # fmt: skip
        figure.update_xaxes(type="category").update_yaxes(matches=None, showticklabels=True)
        figure.update_layout(margin_t=130, legend_y=1.12)
        figure.for_each_annotation(lambda each: each.update(text=each.text.removeprefix("variable=")))
        told = "Each value is one run with one seed: differences as small as those between seeds say nothing."
        outputs = [
            {PLOTLY_MIME: json.loads(figure.to_json())},
            {"text/html": table.set_index(["training", varied]).round(2).to_html()},
        ]
        shown = [v4.new_output("display_data", data) for data in outputs]
        cells += [v4.new_code_cell(f'pd.read_csv("{SWEEP_TABLE}")', outputs=shown), v4.new_markdown_cell(told)]
    import_nbformat().write(v4.new_notebook(cells=cells), folder / "index.ipynb")
    write_page(folder / "index.ipynb")
