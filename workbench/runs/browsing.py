"""The browsers of a run: each finds the stages it needs and opens on them; or all on one page, a tab each.

The page is served by Voilà on a Jupyter server for this machine alone, whose address has a token. How the server is
set stands in ``standalone_page/server.json``. Its pages may ask nothing of any other machine: fonts, images and workers
come from itself, and of what takes MathJax's place every call leads nowhere. Containers have no other user than root,
and only this machine is served, so root may serve; another name that leads to this machine is refused. A page whose
browser died says no farewell: its kernel ends when idle. The timeout of pings is shorter than their interval, which
would cut off idle pages.
"""

import json
import os
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from workbench.errors import WorkbenchError
from workbench.folders import Replace
from workbench.locks import temporary_folder
from workbench.paths import lists_folder
from workbench.registry import import_nbformat
from workbench.runs.execution import environment_of, live_environment
from workbench.stages import Run, Stage

if TYPE_CHECKING:
    import ipywidgets

    from workbench.browsers.map_browser import FeatureMap
    from workbench.browsers.panel import Browser
    from workbench.browsers.prediction_browser import PredictionBrowser
    from workbench.browsers.triplet_browser import TripletBrowser
    from workbench.browsers.triplet_page import TripletSources
    from workbench.browsers.typed_browser import TypedBrowser

ADDRESS = "127.0.0.1"
_PAGE = Path(__file__).parent / "standalone_page"


def triplet_browser(run: Run, **filters: Any) -> "TripletBrowser":
    """The triplets of training, and of the stage ``triplets`` where the run has it; ``filters`` as ``set`` takes them.

    Their index is the stage ``triplet_index``, built where it is missing or where what it was built from has changed.
    """
    from workbench.browsers.triplet_browser import TripletBrowser
    from workbench.browsers.triplet_index import TripletIndex, write_triplet_index

    features, triplets = run.features, run.found("triplets")
    given: dict[str, Any] = {} if triplets is None else {"triplets": triplets}
    index = run.stage("triplet_index", write_triplet_index, replace=Replace.STALE, features=features, **given)
    sources, lists = _triplet_sources(run, features, triplets), lists_folder(run.root)
    return TripletBrowser(TripletIndex.open(index.folder), sources, images=run.images, lists_folder=lists, **filters)


def _triplet_sources(run: Run, features: Stage, triplets: Stage | None) -> "TripletSources":
    """What the browser shows of triplets; the boxes of generated features only where they are of these triplets."""
    import pandas as pd

    from workbench.browsers.triplet_page import TripletSources
    from workbench.language.triplets import read_triplets
    from workbench.scenes.relations import RelationTables

    tables = RelationTables.open(features / "train")
    if triplets is None:
        return TripletSources(tables)
    stage, generated, seeds = read_triplets(triplets.folder), run.found("generated"), None
    if generated is not None and generated.manifest["inputs"].get(triplets.label) == triplets.identity:
        seeds = pd.read_parquet(generated / "generated.parquet")
    init = "" if generated is None else _init(generated)
    return TripletSources(tables, stage.augmented, stage.caption_embeddings, seeds, stage.senses, init)


def _init(generated: Stage) -> str:
    """Where sampling began; "" where the features are of another generator."""
    return (generated.parameters.get("config") or {}).get("init", "")


def prediction_browser(
    run: Run, evaluations: Mapping[str, Stage] | None = None, before: str = "", after: str = "", seed: int = 0
) -> "PredictionBrowser":
    """Test images with the predictions of two of ``evaluations`` (title to stage), by default of all the run has."""
    from workbench.browsers.prediction_browser import PredictionBrowser
    from workbench.scenes.bands import count_classes
    from workbench.scenes.relations import RelationTables
    from workbench.scenes.vocabulary import Vocabulary

    if evaluations is None:
        evaluations = titled_evaluations(run)
    if not evaluations:
        run.find("evaluation")  # says what makes one
    features, titles = run.features, list(evaluations)
    vocabulary = Vocabulary.read(features.folder)
    train, test = (RelationTables.open(features / split) for split in ("train", "test"))
    before = before or _without_generated(titles)
    after = after or next(filter(_uses_diffaugment, titles), titles[-1])
    folders = {title: stage.folder for title, stage in evaluations.items()}
    counts = count_classes(train.relations, vocabulary)
    chosen: dict[str, Any] = {"before": before, "after": after, "seed": seed}
    return PredictionBrowser(test, vocabulary, counts, folders, images=run.images, **chosen)


def titled_evaluations(run: Run) -> dict[str, Stage]:
    """All evaluations of a run by the titles of notebook 05; by their own names where two have one title."""
    from workbench.figures.results import recogniser_title

    trained, found = run.variants("recogniser"), {}
    for name in run.variants("evaluation"):
        title = recogniser_title(run.find("recogniser", name)) if name in trained else name
        found[name if title in found else title] = run.find("evaluation", name)
    return found


def _without_generated(variants: list[str]) -> str:
    """The first variant that was trained on real features alone, by its name; the first one where there is none."""
    return next((own for own in variants if not _uses_diffaugment(own)), variants[0])


def _uses_diffaugment(name: str) -> bool:
    """Whether the title of a recogniser, or its variant, says so."""
    return "diffaugment" in name.casefold()


def feature_map(run: Run) -> "FeatureMap":
    """The run's feature map; with a recogniser in the run its points can be coloured by right and wrong."""
    import pandas as pd

    from workbench.browsers.map_browser import FeatureMap
    from workbench.browsers.map_points import right_or_wrong
    from workbench.browsers.map_stage import POINTS
    from workbench.diffusion.fidelity import REPORT
    from workbench.regions.features import FeaturesFolder, GeneratedFeatures

    stage, generated = run.find("feature_map"), run.find("generated")
    features = FeaturesFolder(run.features.folder)
    samples = GeneratedFeatures(generated.folder, features.train)
    study = run.found("fidelity")
    fidelity = None if study is None else pd.read_parquet(study / REPORT)
    trained, right = run.variants("recogniser"), None
    if trained:
        recogniser = run.find("recogniser", _without_generated(trained))
        right = partial(right_or_wrong, recogniser.folder, features, samples)
    told: dict[str, Any] = {"fidelity": fidelity, "map_metrics": stage.metrics, "right": right}
    points = pd.read_parquet(stage / POINTS)
    return FeatureMap(points, features, samples, images=run.images, init=_init(generated), **told)


def typed_browser(run: Run) -> "TypedBrowser":
    """What the run's denoiser makes of typed triplets; rows are looked up in the stage ``nearest``."""
    from workbench.browsers.typed_browser import TypedBrowser

    return TypedBrowser.of_run(run)


# Title and how it is opened for a run, by the name that the command line knows; in the order of the tabs.
BROWSERS: dict[str, tuple[str, Callable[[Run], "Browser"]]] = {
    "triplets": ("Triplets", triplet_browser),
    "predictions": ("Predictions", prediction_browser),
    "map": ("Feature map", feature_map),
    "typed": ("Type a triplet", typed_browser),
}


def run_page(names: list[str], run_name: str, theme: str) -> "ipywidgets.VBox":
    """A tab for each of the browsers called ``names`` below a heading, on the run and in the theme of the address.

    Where that names none they are those called ``run_name`` and ``theme``.
    """
    import ipywidgets

    from workbench.browsers.page_heading import PageHeading
    from workbench.runs.run_records import run_names

    asked = {name: values[0] for name, values in parse_qs(os.environ.get("QUERY_STRING", "")).items()}
    runs, name = run_names(), asked.get("run", run_name)
    run = Run.open(name if name in runs else run_name)
    tabs = browser_tabs({title: partial(opened, run) for title, opened in map(BROWSERS.__getitem__, names)})
    heading = PageHeading(run.name, sorted({*runs, run.name}), asked.get("theme", theme), tabs)
    return ipywidgets.VBox([heading.widget(), tabs])


def browser_tabs(openers: Mapping[str, Callable[[], "Browser"]]) -> "ipywidgets.Tab":
    """A tab for each title; its browser is opened when somebody first sees the tab.

    In place of a browser that cannot be opened its tab says what is missing; the others are not concerned. Triplets
    follow the lasso of a map.
    """
    import ipywidgets

    from workbench.browsers.panel import Browser, error_html, render

    remedy = "This takes seconds; of a large data set a minute, once."
    texts = (render("notice.html.j2", message=f"{title} is being opened.", remedy=remedy) for title in openers)
    notices = [Browser(text).widget() for text in texts]
    boxes = [ipywidgets.VBox([notice]) for notice in notices]
    tabs = ipywidgets.Tab(children=boxes, titles=list(openers), selected_index=0)
    waiting, opened = dict(enumerate(openers.values())), dict[str, Any]()

    def open_shown(*_: Any) -> None:
        opener = waiting.pop(tabs.selected_index, None)
        if opener is None:
            return
        try:
            browser = opener()
            browser.place = browser.kind
            opened[browser.kind] = browser
            if browser.kind in ("triplets", "map") and {"triplets", "map"} <= opened.keys():
                opened["triplets"].follow(opened["map"])
            widget = browser.widget()
        except Exception as error:  # shown where the browser would be; nobody reads the kernel's log
            widget = Browser(error_html(error)).widget()
        boxes[tabs.selected_index].children = (widget,)

    tabs.observe(open_shown, "selected_index")
    # The first one too waits until the page is there, so that what takes seconds is not waited for before an empty one.
    notices[0].on_msg(open_shown)
    return tabs


def serve(browsers: list[str], run: Run, *, port: int, theme: str, no_browser: bool) -> None:
    """Serve ``browsers`` of ``run`` until Ctrl+C; prints the address, which has a token.

    ``port`` 0 takes any that is free. WorkbenchError where the port is taken. Each visit has a Python process of its
    own, with this interpreter, that ends with the page.
    """
    port, token = _free_port(port), secrets.token_urlsafe(24)
    with temporary_folder("wb-browse-") as folder:
        # Voilà finds our page and nobody's settings. The runtime folder is private and short: sockets lie there, and a
        # home folder that cannot be written is no obstacle.
        places = os.pathsep.join(filter(None, [str(_PAGE), os.environ.get("JUPYTER_PATH")]))
        jupyter = {"JUPYTER_PATH": places, "JUPYTER_RUNTIME_DIR": f"{folder}/runtime", "JUPYTER_NO_CONFIG": "1"}
        with environment_of(live_environment(run.root) | jupyter):
            from jupyter_server.serverapp import ServerApp
            from tornado.ioloop import IOLoop
            from traitlets.config import Config

            from workbench.runs.kernels import OwnKernels, kernel_transport

            notebook = write_notebook(Path(folder), browsers, run, theme)
            settings = Config(json.loads((_PAGE / "server.json").read_text(encoding="utf-8")))
            settings.merge(kernel_transport(f"{folder}/runtime"))
            settings.ServerApp.port = port
            settings.ServerApp.kernel_spec_manager_class = OwnKernels
            settings.ServerApp.root_dir = folder
            settings.IdentityProvider.token = token
            settings.VoilaConfiguration.theme = theme
            server = ServerApp(config=settings)
            server.initialize(argv=[])
            address = f"http://{ADDRESS}:{port}/voila/render/{notebook.name}?token={token}"
            IOLoop.current().add_callback(_announce, address, no_browser)  # once the server listens
            server.start()
        print("\nended", file=sys.stderr)


def _announce(address: str, no_browser: bool) -> None:
    print(address)
    print("The address is a key: whoever has it on this machine sees the data. Ctrl+C ends it.", flush=True)
    if not no_browser:
        webbrowser.open(address)


def _free_port(port: int) -> int:
    """The port, or any that is free for 0, before anything slow begins."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except (OSError, OverflowError) as error:
            remedy = "Choose another one: workbench browse --port 8867, or --port 0 for any that is free."
            raise WorkbenchError(f"port {port} cannot be used ({error}). {remedy}") from error
        return probe.getsockname()[1]


def write_notebook(folder: Path, browsers: list[str], run: Run, theme: str = "light") -> Path:
    """The notebook that Voilà runs: one cell that shows the browsers."""
    nbformat = import_nbformat()
    source = f"from workbench.runs.browsing import run_page\n\nrun_page({browsers!r}, {run.name!r}, {theme!r})"
    kernel = {"name": "python3", "language": "python", "display_name": "Python"}
    metadata = {"title": f"Run {run.name}", "kernelspec": kernel}
    path = folder / "browsers.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)], metadata=metadata), path)
    return path
