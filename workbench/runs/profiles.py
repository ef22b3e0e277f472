"""Profiles: which notebooks a run executes, in what order, with which values instead of their defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.configuration import flat
from workbench.errors import WorkbenchError, unknown
from workbench.file_errors import reading
from workbench.paths import checked_name, notebooks_folder
from workbench.runs.parameters import Parameter, modules_in, plain_loader, read_parameters

RUN_PARAMETER = "run_name"
TABLES = "tables"
# How large the data of a profile are, for a plan that is made before they are there.
SIZE = "size"
_TOP_KEYS = ("run", "notebooks", "shared", SIZE, TABLES)


@dataclass(frozen=True)
class PlannedNotebook:
    """One notebook of a plan: the parameters that it declares, and the ``overrides`` that it is given."""

    source: Path
    declared: dict[str, Parameter]
    overrides: dict[str, Any]

    @property
    def name(self) -> str:
        """The file name without its suffix, for example ``03_train_diffusion``."""
        return self.source.stem

    @property
    def values(self) -> dict[str, Any]:
        """All parameters as they will be."""
        return {name: parameter.default for name, parameter in self.declared.items()} | self.overrides

    def lay_over(self, name: str, value: Any, place: str) -> None:
        """Give a declared parameter another value, of a config field by field."""
        self.overrides[name] = self.declared[name].laid_over(self.values[name], value, place)

    def lines(self) -> list[str]:
        """One line a parameter and a nested field; ``*`` marks those that are not as the notebook has them."""
        own = flat({name: parameter.all_values(parameter.default) for name, parameter in self.declared.items()})
        asked = flat({name: parameter.all_values(self.values[name]) for name, parameter in self.declared.items()})
        plain = [name for name in self.overrides if self.declared[name].config_class is None]
        return [
            f"{'*' if name in plain or own.get(name) != value else ' '} {name} = {value!r}"
            for name, value in asked.items()
        ]


@dataclass(frozen=True)
class Plan:
    """A run before it starts, with every name and value checked.

    ``data`` and ``image_folder`` are what the profile's notebooks are given, those left out by ``--only`` too; ``base``
    is the run whose stages are taken over.
    """

    run: str
    profile: str
    notebooks: list[PlannedNotebook]
    data: str = ""
    image_folder: str = ""
    base: str = ""


def profile_names(root: Path | None = None) -> list[str]:
    """The profiles in ``notebooks/params/``."""
    return sorted(path.stem for path in (notebooks_folder(root) / "params").glob("*.yml"))


def tables_section(profile: str, root: Path | None = None) -> dict[str, Any]:
    """The settings of the paper's tables in a profile; WorkbenchError where it has none."""
    section = profile_section(profile, TABLES, root)
    if not section:
        path = _profile_path(profile, root)
        raise WorkbenchError(f"{path}: has no section 'tables:', which says how the rows of the tables are trained.")
    return section


def profile_section(profile: str, key: str, root: Path | None = None) -> dict[str, Any]:
    """A section of a profile that says nothing of notebooks; empty where it has none."""
    return _read_layer(_profile_path(profile, root), _stems(notebooks_folder(root))).get(key) or {}


def make_plan(
    profile: str,
    run: str | None = None,
    only: Sequence[str] | None = None,
    parameters: dict[str, Any] | None = None,
    files: Sequence[Path] = (),
    root: Path | None = None,
    base: str | None = None,
) -> Plan:
    """What ``workbench run`` will do, or a WorkbenchError for the first name or value that is wrong.

    Later wins: defaults, the profile's ``shared``, its map of the notebook, each of ``files`` likewise,
    ``parameters`` (name or notebook.name to value; texts are read by the default's type), the run's name.
    """
    folder = notebooks_folder(root)
    stems = _stems(folder)
    layers = {path: _read_layer(path, stems) for path in (_profile_path(profile, root), *files)}
    own, *later = ([_notebook(n, stems, path) for n in layer.get("notebooks", ())] for path, layer in layers.items())
    listed = next(filter(None, reversed(later)), own or stems)
    # The profile's values are known by the notebooks that it lists, whatever a later layer leaves of them.
    known = {
        stem: PlannedNotebook(folder / f"{stem}.ipynb", read_parameters(folder / f"{stem}.ipynb"), {})
        for stem in dict.fromkeys([*(own or stems), *listed])
    }
    with modules_in(folder):
        for path, layer in layers.items():
            _overlay(known, layer, str(path))
        for full_name, value in (parameters or {}).items():
            _overlay_named(known, full_name, value)
    names = [run, *(layer.get("run") for layer in reversed(layers.values())), profile]
    name = checked_name("run", next(filter(None, names)))
    for stem in listed:
        if RUN_PARAMETER not in known[stem].declared:
            raise WorkbenchError(f"{known[stem].source}: declare '{RUN_PARAMETER}: str' in its parameters cell.")
        known[stem].overrides[RUN_PARAMETER] = name
    chosen = [_notebook(part, listed, "--only") for part in only or listed]
    data, images = (
        next((notebook.overrides[key] for notebook in known.values() if notebook.overrides.get(key)), "")
        for key in ("data", "image_folder")
    )
    return Plan(name, profile, [known[stem] for stem in listed if stem in chosen], data, images, base or "")


def _profile_path(profile: str, root: Path | None) -> Path:
    path = notebooks_folder(root) / "params" / f"{profile}.yml"
    if not path.is_file():
        raise WorkbenchError(f"{path}: {unknown('profile', profile, profile_names(root))}")
    return path


def _stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("[!.]*.ipynb"))


def _notebook(name: Any, stems: Sequence[str], place: Any) -> str:
    """The one notebook that ``name`` or its beginning names: ``03`` stands for ``03_train_diffusion``."""
    text = str(name).removesuffix(".ipynb")
    found = [stem for stem in stems if stem == text] or [stem for stem in stems if text and stem.startswith(text)]
    if len(found) != 1:
        raise WorkbenchError(f"{place}: {unknown('notebook', text, stems)}")
    return found[0]


def _read_layer(path: Path, stems: Sequence[str]) -> dict[str, Any]:
    """A YAML file of parameters with its top keys and their kinds checked."""
    layer = _read_yaml(path)
    if not isinstance(layer, dict):
        raise WorkbenchError(f"{path}: expected keys and values at the top, such as 'shared:', got {layer!r}.")
    for key, value in layer.items():
        if key not in (*_TOP_KEYS, *stems):
            raise WorkbenchError(f"{path}: {unknown('key', key, [*_TOP_KEYS, *stems])}")
        if key == "run":
            checked_name(f"{path}: run", value)
        elif key == "notebooks" and not (isinstance(value, list) and value):
            raise WorkbenchError(f"{path}: 'notebooks' must be a list of notebook names, got {value!r}.")
        elif key != "notebooks" and not isinstance(value, dict | None):
            raise WorkbenchError(f"{path}: {key!r} must hold 'name: value' lines, got {value!r}.")
    return layer


def _read_yaml(path: Path) -> Any:
    import yaml

    with reading(path, "valid YAML", "Correct the line."):
        try:
            if not (text := path.read_text(encoding="utf-8")).strip():
                raise ValueError("an empty file")
            return {} if (layer := yaml.load(text, plain_loader())) is None else layer
        except yaml.YAMLError as error:
            raise ValueError(" ".join(str(error).split())) from error


def _overlay(notebooks: Mapping[str, PlannedNotebook], layer: dict[str, Any], place: str) -> None:
    for name, value in (layer.get("shared") or {}).items():
        _share(notebooks, name, value, place)
    for stem, notebook in notebooks.items():
        for name, value in (layer.get(stem) or {}).items():
            if name not in notebook.declared:
                raise WorkbenchError(f"{place}: {stem}: {unknown('parameter', name, notebook.declared)}")
            notebook.lay_over(name, value, f"{place}: {stem}: {name}")


def _share(notebooks: Mapping[str, PlannedNotebook], name: str, value: Any, place: str) -> None:
    """Give ``value`` to each notebook that declares ``name``; at least one must."""
    takers = [notebook for notebook in notebooks.values() if name in notebook.declared]
    if name == RUN_PARAMETER or not takers:
        declared = {name: parameter for notebook in notebooks.values() for name, parameter in notebook.declared.items()}
        declared.pop(RUN_PARAMETER, None)
        fields = flat({other: parameter.all_values(parameter.default) for other, parameter in declared.items()})
        found = [field for field in fields if field.endswith(f".{name}")]
        hint = f" As a field of a config it is {' or '.join(found)}." if found else ""
        hint = " The run's name is given by 'run:' or --run." if name == RUN_PARAMETER else hint
        raise WorkbenchError(f"{place}: {unknown('parameter', name, declared)}{hint}")
    for notebook in takers:
        notebook.lay_over(name, value, f"{place}: {name} (for {notebook.name})")


def _overlay_named(notebooks: Mapping[str, PlannedNotebook], full_name: str, value: Any) -> None:
    """Lay ``name`` or ``name.field`` over the notebooks that declare it, ``notebook.name`` over one."""
    first, *fields = full_name.split(".")
    place = f"-p {full_name}"
    if fields and not any(first in notebook.declared for notebook in notebooks.values()):
        found = [stem for stem in notebooks if stem.startswith(first)]
        if len(found) != 1:
            names = dict.fromkeys(name for notebook in notebooks.values() for name in notebook.declared)
            raise WorkbenchError(f"{place}: {unknown('parameter or notebook', first, [*names, *notebooks])}")
        notebooks, (first, *fields) = {found[0]: notebooks[found[0]]}, fields
    takers = {stem: notebook for stem, notebook in notebooks.items() if first in notebook.declared}
    for stem, notebook in takers.items():
        change = notebook.declared[first].change_to(value, fields, place, notebook.values[first])
        _share({stem: notebook}, first, change, "-p")
    if not takers:
        _share(notebooks, first, value, "-p")
