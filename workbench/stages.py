"""Runs and their stages: a result is a folder with a manifest, made once and found again by its parameters."""

import functools
import os
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import workbench
from workbench import folders
from workbench.errors import NotHereYet, WorkbenchError, unknown
from workbench.files import read_json, write_json
from workbench.fingerprint import builder_name, fingerprint
from workbench.identity import described, has_influence, sha256_of_json, without_nan, without_places
from workbench.launching import shared_by_processes, threads_of
from workbench.loaded_code import keep_sources
from workbench.paths import checked_name, imported_folder, lost_link, notebooks_folder, project_root, runs_folder

METRICS, IMPORTED, INPUTS, SOURCE = "metrics", "imported", "inputs.json", "source.json"
WITHOUT_INFLUENCE = True  # on any result: how results are kept


@dataclass(frozen=True)
class Stage:
    """A complete folder and its manifest; ``stage / "file"`` is a path in it, and it can be given as a parameter."""

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def at(cls, folder: Path) -> "Stage":
        """The stage in ``folder``; WorkbenchError where there is no complete one."""
        manifest = folders.stored_manifest(Path(folder))
        if manifest is None:
            raise WorkbenchError(f"{folder}: there is no such folder. Build the stage first.")
        folders.check_files(Path(folder), manifest, "make it again by the command that made it.")
        return cls(Path(folder), manifest)

    @property
    def label(self) -> str:
        """The stage's name and variant, for people: ``features/default``."""
        return f"{self.manifest.get('stage', self.folder.parent.name)}/{self.folder.name}"

    @property
    def parameters(self) -> dict[str, Any]:
        """What it was built with; inputs as {"stage" or "path", "identity"}."""
        return self.manifest["parameters"]

    @property
    def metrics(self) -> dict[str, Any]:
        """What its builder returned, a number that is not finite as None."""
        return self.manifest.get("metrics", {})

    @property
    def identity(self) -> str:
        """SHA-256 of builder, code, parameters, inputs' identities, GPU and number of CPU threads."""
        return self.manifest["identity"]

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def __fspath__(self) -> str:
        return os.fspath(self.folder)


@dataclass(frozen=True)
class Run:
    """One run's artefacts, ``data/runs/<name>/<stage>/<variant>/`` under the project's root, and what it works on.

    ``data`` is the name of imported features or an added data set, empty where the run makes its own; ``image_folder``
    is where its images are, empty where they lie with its scenes or data. With ``replace`` stages give way to others.
    """

    name: str
    root: Path
    data: str = ""
    image_folder: str = ""
    replace: bool = False

    @classmethod
    def open(cls, name: str, data: str = "", images: str = "", root: Path | None = None, base: str = "",
             replace: bool = False) -> "Run":  # fmt: skip
        """The run called ``name``; what is given of ``data`` and ``images`` it keeps, so that it is given once.

        Of ``base``, another run, it takes over data, images and all complete stages that it lacks, by links. Where a
        link is not what is asked for, the stage is built in this run; nothing of the base is changed.
        """
        keep_sources()
        run = cls.asked(name, data, images, root, base)
        if run != cls.asked(name, root=root):
            write_json(run.folder / INPUTS, {"data": run.data, "images": run.image_folder})
        if base:
            linked = folders.link_stages(run.folder, run.folder.with_name(base))
            print(f"run {name!r}: {linked} stages are those of {base!r}")
        return cls(run.name, run.root, run.data, run.image_folder, replace)

    @classmethod
    def asked(cls, name: str, data: str = "", images: str = "", root: Path | None = None, base: str = "") -> "Run":
        """The run as `open` gives it, and nothing is written."""
        run = cls(checked_name("run", name), project_root(root))
        others = sorted(p.name for p in run.folder.parent.glob("[!.]*") if p != run.folder) if base else []
        if base and base not in others:
            raise WorkbenchError(f"base of run {name!r}: {unknown('run', base, others)}")
        owner = base if base and not (run.folder / INPUTS).is_file() else name
        record = run.folder.with_name(owner) / INPUTS
        kept = read_json(record) if record.is_file() else {"data": "", "images": ""}
        if data and kept["data"] != data and (base or (kept["data"] and not os.environ.get(folders.REPLACE_VARIABLE))):
            what = f"run {owner!r} works on the data {kept['data']!r}, not on {data!r}. Open another run for it"
            raise WorkbenchError(f"{what}, or run with{'out --base' if base else ' --replace'}.")
        return cls(run.name, run.root, data or kept["data"], str(images) or kept["images"])

    @property
    def folder(self) -> Path:
        """The folder of all its stages."""
        return runs_folder(self.root) / self.name

    def opening_line(self) -> str:
        """Versions, device, run folder and data in one line."""
        import torch

        device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
        data = f", data {self.data!r}" if self.data else ""
        return (
            f"workbench {workbench.__version__}, Python {platform.python_version()}, torch {torch.__version__} "
            f"on {device}; run {self.name!r} in {self.folder.relative_to(self.root)}{data}"
        )

    @property
    def features(self) -> Stage:
        """The features that the run works on: imported, added with a data set, or its own."""
        return self.imported(self.data) if self.data else self.find("features")

    @property
    def text(self) -> Stage | Path:
        """The folder of text vectors of the classes of `features`; WorkbenchError where the data set has none."""
        if not self.data:
            return self.find("text")
        stage = self.imported(self.data)
        if not (stage / "text").is_dir():
            remedy = stage.metrics.get("text") or "add the data set again with text vectors of its class names."
            raise NotHereYet(f"data {self.data!r} has no text vectors in {stage.folder}: {remedy}")
        return stage / "text"

    @property
    def images(self) -> Path | None:
        """The folder of the images, None where there are none."""
        if self.image_folder:
            return self.path(self.image_folder)
        if not self.data:
            return self.find("scenes") / "images"
        source = self.imported(self.data) / SOURCE
        found = read_json(source).get("images") if source.is_file() else None
        return Path(found) if found else None

    def path(self, text: str) -> Path:
        """A path as a parameter gives it: relative ones start at the project's folder, wherever the kernel runs."""
        return self.root / Path(text).expanduser()

    def stage(
        self,
        stage_name: str,
        build: Callable[..., dict[str, Any] | None],
        /,
        variant: str = "default",
        replace: bool | folders.Replace = False,
        **parameters: Any,
    ) -> Stage:
        """The stage, built by ``build(folder, **parameters)`` unless it is complete for equal parameters and inputs.

        Parameters that are stages reach ``build`` as paths and are recorded by identity; paths of other files and
        folders are recorded by content, config dataclasses field by field. ``build`` writes into ``folder``, resumes
        from what it finds there, and returns metrics. Other parameters than the stored ones, or another builder, are
        refused. Where only the code has changed that ``build`` runs through, the stored result is loaded and a line
        says what changed. ``replace`` builds the stage again whatever is stored, or as `Replace` says.
        """
        place = {"stage": stage_name, "variant": variant, "run": self.name}
        replace = replace or (folders.Replace.CHANGED if self.replace else False)
        stage = _made(self._place(stage_name, variant), place, build, replace, parameters)
        folders.drop_stale_links(self.folder)
        return stage

    def find(self, stage: str, variant: str = "default") -> Stage:
        """The complete stage, or a WorkbenchError that names the notebook and command that make it."""
        folder = self._place(stage, variant)
        manifest = folders.stored_manifest(folder)
        if manifest is not None:
            folders.check_files(folder, manifest, f"make it again: {self.how_to_make(stage)}")
            return Stage(folder, manifest)
        begun = " It was begun but is not finished." if folders.partial_folder(folder).is_dir() else ""
        begun += f" {lost}." if (lost := lost_link(folder)) else ""
        others = [name for name in self.variants(stage) if name != variant]
        have = f" Complete variants: {', '.join(others)}." if others else ""
        places = self.folder.parent.glob(f"[!.]*/{stage}/{variant}/{folders.MANIFEST}")
        if there := sorted(path.parts[-4] for path in places):
            have += f" Runs that have it: {', '.join(there)} (workbench lab RUN opens the notebooks of one)."
        raise WorkbenchError(f"run {self.name!r} has no {stage}/{variant}.{begun}{have} {self.how_to_make(stage)}")

    def found(self, stage: str) -> Stage | None:
        """The stage as `find` gives it, None where it is not complete."""
        return self.find(stage) if "default" in self.variants(stage) else None

    def variants(self, stage: str) -> list[str]:
        """Names of the complete variants of ``stage``, sorted."""
        folder = self.folder / stage
        return sorted(m.parent.name for m in folder.glob(f"*/{folders.MANIFEST}") if not m.parent.name.startswith("."))

    def imported(self, name: str) -> Stage:
        """The features imported under ``name``."""
        folder = imported_folder(self.root) / checked_name("import", name)
        if not folder.is_dir():
            have = ", ".join(sorted(m.parent.name for m in folder.parent.glob(f"[!.]*/{folders.MANIFEST}"))) or "none"
            raise (WorkbenchError if folder.exists() else NotHereYet)(
                f"{folder}: no features are imported under this name (there are: {have}). "
                f"Run: workbench features import FOLDER --name {name}"
            )
        return Stage.at(folder)

    def save_metrics(self, notebook: str, metrics: dict[str, Any]) -> None:
        """Write a notebook's headline numbers, nested dicts of JSON values, to ``metrics/<notebook>.json``.

        Numbers that are not finite become null. Some keys have a meaning: "verdict" (a sentence) stands first on the
        run's index, "headline" (label to value) where there is none; "variants" (variant to name to number) is what
        runs of several seeds compare, and the index draws against the "baseline"; "pictures" names two evaluations
        (title, variant) whose changed predictions it shows.
        """
        write_json(self.folder / METRICS / f"{checked_name('notebook', notebook)}.json", without_nan(metrics))

    def metrics(self) -> dict[str, dict[str, Any]]:
        """All saved headline numbers by notebook, in the notebooks' order."""
        return {path.stem: read_json(path) for path in sorted((self.folder / METRICS).glob("[!.]*.json"))}

    def _place(self, stage: str, variant: str) -> Path:
        if stage in (METRICS, IMPORTED):
            raise WorkbenchError(f"a stage cannot be called {stage!r}: the name has another meaning.")
        return self.folder / checked_name("stage", stage) / checked_name("variant", variant)

    def how_to_make(self, stage: str) -> str:
        """What makes a stage, and the command."""
        if of_tables := re.fullmatch(r"(.+)-tables-seed\d+", self.name):
            return f"Run: workbench tables --profile {of_tables[1]}"
        call = re.compile(rf"""\.stage\(\s*["']{re.escape(stage)}["']""")
        for notebook in sorted(notebooks_folder(self.root).glob("[!.]*.ipynb")):
            if any(call.search("".join(cell["source"])) for cell in read_json(notebook)["cells"]):
                return (
                    f"{notebook.name} makes it. Run: workbench run --run {self.name} --only {notebook.stem} "
                    "(with the run's --profile), or that notebook itself."
                )
        return "No notebook makes a stage of this name; is it misspelt?"


def import_stage(
    name: str,
    build: Callable[..., dict[str, Any] | None],
    *,
    root: Path | None = None,
    replace: bool | folders.Replace = False,
    **parameters: Any,
) -> Stage:
    """Features from elsewhere as a stage that belongs to no run, ``data/imported/<name>``; else as ``Run.stage``."""
    folder = imported_folder(root) / checked_name("import", name)
    return _made(folder, {"stage": IMPORTED, "variant": name}, build, replace, parameters)


def _made(folder: Path, place: dict[str, str], build: Any, replace: bool | folders.Replace, parameters: dict) -> Stage:
    label = f"{place['stage']}/{place['variant']}"
    while isinstance(build, functools.partial):
        # What a partial gives counts like any other parameter.
        build, parameters = build.func, {**build.keywords, **parameters}
    counting = {key: value for key, value in parameters.items() if has_influence(value)}
    recorded = {key: described(value, f"{label}: parameter {key}") for key, value in counting.items()}
    inputs: dict[str, str] = {}
    given = {key: _as_paths(value, inputs) for key, value in parameters.items()}
    request = place | {"parameters": recorded, "inputs": inputs}
    request |= {"builder": builder_name(build), "code": fingerprint(build, [given[key] for key in counting])}
    request["threads"] = threads_of(build)
    parts = {"stage": place["stage"]} | {key: request[key] for key in ("builder", "code", "threads")}
    request["identity"] = sha256_of_json(parts | {"parameters": without_places(recorded)})
    asked = folders.Replace.asked(replace)
    if folder.is_symlink() and asked in (folders.Replace.NEVER, folders.Replace.CODE):
        asked = folders.Replace.STALE  # another run's result: what differs from it is made here
    build_now = functools.partial(shared_by_processes(build), **given)
    return Stage(folder, folders.BuiltFolder(folder, label, request, asked).manifest(build_now))


def _as_paths(value: Any, inputs: dict[str, str]) -> Any:
    """``value`` with the folder of each stage in its place, and the stages' identities, by label, in ``inputs``."""
    if isinstance(value, Stage):
        inputs[value.label] = value.identity
        return value.folder
    if isinstance(value, dict):
        return {key: _as_paths(item, inputs) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_as_paths(item, inputs) for item in value)
    return value
