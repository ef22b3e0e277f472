"""Profiles: which notebooks a run executes, in what order, with which values instead of their defaults."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from workbench.configuration import flat
from workbench.errors import WorkbenchError, unknown
from workbench.paths import checked_name, notebooks_folder
from workbench.runs.parameters import Parameter, modules_in, read_parameters

RUN_PARAMETER = "run_name"
TABLES = "tables"
# How large the data of a profile are, for a plan that is made before they are there.
SIZE = "size"
_TOP_KEYS = ("run", "notebooks", "shared", SIZE, TABLES)


@dataclass(frozen=True)
class PlannedNotebook:
    """One notebook of a plan: ``overrides`` are given to it, ``values`` are all its parameters as they will be."""

    source: Path
    overrides: dict[str, Any]
    values: dict[str, Any]
    declared: dict[str, Parameter]

    @property
    def name(self) -> str:
        """The file name without its suffix, for example ``03_train_diffusion``."""
        return self.source.stem

    def lines(self) -> list[str]:
        """One line a parameter and a nested field; ``*`` marks those that are not as the notebook has them."""
        own = {name: parameter.all_values(parameter.default) for name, parameter in self.declared.items()}
        asked = {name: parameter.all_values(self.values[name]) for name, parameter in self.declared.items()}
        before, given = flat(own), flat(asked)
        plain = [name for name in self.overrides if self.declared[name].config_class is None]
        return [
            f"{'*' if name in plain or before.get(name) != value else ' '} {name} = {value!r}"
            for name, value in given.items()
        ]


@dataclass(frozen=True)
class Plan:
    """A run before it starts, with every name and value checked.

    ``data`` and ``image_folder`` are what the profile's notebooks are given, those left out by ``--only`` too.
    """

    run: str
    profile: str
    notebooks: list[PlannedNotebook]
    data: str = ""
    image_folder: str = ""


def profile_names(root: Path | None = None) -> list[str]:
    """The profiles in ``notebooks/params/``."""
    return sorted(path.stem for path in (notebooks_folder(root) / "params").glob("*.yml"))


def tables_section(profile: str, root: Path | None = None) -> dict[str, Any]:
    """The settings of the paper's tables in a profile; WorkbenchError where it has none."""
    section = _section(profile, TABLES, root)
    if not section:
        path = _profile_path(profile, root)
        raise WorkbenchError(f"{path}: has no section 'tables:', which says how the rows of the tables are trained.")
    return section


def size_section(profile: str, root: Path | None = None) -> dict[str, Any]:
    """The sizes that a profile states of its data; empty where it states none."""
    return _section(profile, SIZE, root)


def _section(profile: str, key: str, root: Path | None) -> dict[str, Any]:
    return _read_layer(_profile_path(profile, root), notebooks_folder(root)).get(key) or {}


def make_plan(
    profile: str,
    run: str | None = None,
    only: Sequence[str] | None = None,
    parameters: dict[str, Any] | None = None,
    files: Sequence[Path] = (),
    root: Path | None = None,
) -> Plan:
    """What ``workbench run`` will do, or a WorkbenchError for the first name or value that is wrong.

    Later wins: defaults, the profile's ``shared``, its map of the notebook, each of ``files`` likewise,
    ``parameters`` (name or notebook.name to value; texts are read by the default's type), the run's name.
    """
    folder = notebooks_folder(root)
    path = _profile_path(profile, root)
    layers = [_read_layer(layer_path, folder) for layer_path in (path, *files)]
    own = layers[0].get("notebooks") or _stems(folder)
    lists = [own, *(layer["notebooks"] for layer in layers[1:] if layer.get("notebooks"))]
    stems = [_notebook(name, _stems(folder), str(path)) for name in lists[-1]]
    # The profile's values are known by the notebooks that it lists, whatever a later layer leaves of them.
    known = dict.fromkeys([*(_notebook(name, _stems(folder), str(path)) for name in lists[0]), *stems])
    name = checked_name("run", run or next((layer["run"] for layer in layers[::-1] if "run" in layer), profile))
    declared = {stem: read_parameters(folder / f"{stem}.ipynb") for stem in known}
    overrides: dict[str, dict[str, Any]] = {stem: {} for stem in known}
    with modules_in(folder):
        for layer_path, layer in zip([path, *files], layers, strict=True):
            _overlay(overrides, declared, layer, str(layer_path))
        _overlay_command_line(overrides, declared, parameters or {})
    for stem in stems:
        if RUN_PARAMETER not in declared[stem]:
            raise WorkbenchError(f"{folder / stem}.ipynb: declare '{RUN_PARAMETER}: str' in its parameters cell.")
        overrides[stem][RUN_PARAMETER] = name
    chosen = [_notebook(part, stems, "--only") for part in only] if only else stems
    planned = [
        PlannedNotebook(
            folder / f"{stem}.ipynb", overrides[stem], _defaults(declared[stem]) | overrides[stem], declared[stem]
        )
        for stem in stems
        if stem in chosen
    ]
    data, images = (_first_given(overrides, key) for key in ("data", "image_folder"))
    return Plan(name, profile, planned, data, images)


def _first_given(overrides: dict[str, dict[str, Any]], name: str) -> str:
    return next((given[name] for given in overrides.values() if given.get(name)), "")


def _profile_path(profile: str, root: Path | None) -> Path:
    path = notebooks_folder(root) / "params" / f"{profile}.yml"
    if not path.is_file():
        raise WorkbenchError(f"{path}: {unknown('profile', profile, profile_names(root))}")
    return path


def _defaults(declared: dict[str, Parameter]) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in declared.items()}


def _stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("[!.]*.ipynb"))


def _notebook(name: Any, stems: list[str], place: str) -> str:
    """The one notebook that ``name`` or its beginning names: ``03`` stands for ``03_train_diffusion``."""
    text = str(name).removesuffix(".ipynb")
    found = [stem for stem in stems if stem == text] or [stem for stem in stems if text and stem.startswith(text)]
    if len(found) != 1:
        raise WorkbenchError(f"{place}: {unknown('notebook', text, stems)}")
    return found[0]


def _read_layer(path: Path, folder: Path) -> dict[str, Any]:
    """A YAML file of parameters with its top keys and their kinds checked."""
    layer = _read_yaml(path)
    if not isinstance(layer, dict):
        raise WorkbenchError(f"{path}: expected keys and values at the top, such as 'shared:', got {layer!r}.")
    for key, value in layer.items():
        if key not in _TOP_KEYS and key not in _stems(folder):
            raise WorkbenchError(f"{path}: {unknown('key', key, [*_TOP_KEYS, *_stems(folder)])}")
        if key == "run":
            checked_name(f"{path}: run", value)
        elif key == "notebooks" and not (isinstance(value, list) and value):
            raise WorkbenchError(f"{path}: 'notebooks' must be a list of notebook names, got {value!r}.")
        elif key not in ("run", "notebooks") and not isinstance(value, dict | None):
            raise WorkbenchError(f"{path}: {key!r} must hold 'name: value' lines, got {value!r}.")
    return layer


def _read_yaml(path: Path) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a key that is given twice: YAML would silently keep the last one."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = {str(key) for key in keys if keys.count(key) > 1}
            if twice:
                raise WorkbenchError(f"{path}: given twice: {', '.join(sorted(twice))}.")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader) or {}
    except FileNotFoundError as error:
        raise WorkbenchError(f"{path}: there is no such file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WorkbenchError(f"{path}: not valid YAML ({error}).") from error


def _overlay(overrides: dict, declared: dict[str, dict[str, Parameter]], layer: dict[str, Any], place: str) -> None:
    for name, value in (layer.get("shared") or {}).items():
        _share(overrides, declared, name, value, place)
    for stem in [key for key in layer if key not in _TOP_KEYS and key in declared]:
        for name, value in (layer[stem] or {}).items():
            if name not in declared[stem]:
                raise WorkbenchError(f"{place}: {stem}: {unknown('parameter', name, declared[stem])}")
            _lay_over(overrides[stem], declared[stem][name], value, f"{place}: {stem}: {name}")


def _share(overrides: dict, declared: dict[str, dict[str, Parameter]], name: str, value: Any, place: str) -> None:
    """Give ``value`` to each notebook that declares ``name``; at least one must."""
    takers = [stem for stem in declared if name in declared[stem]]
    if not takers or name == RUN_PARAMETER:
        all_names = dict.fromkeys(n for stem in declared for n in declared[stem] if n != RUN_PARAMETER)
        hint = " The run's name is given by 'run:' or --run." if name == RUN_PARAMETER else _field_hint(name, declared)
        raise WorkbenchError(f"{place}: {unknown('parameter', name, all_names)}{hint}")
    for stem in takers:
        _lay_over(overrides[stem], declared[stem][name], value, f"{place}: {name} (for {stem})")


def _field_hint(name: str, declared: dict[str, dict[str, Parameter]]) -> str:
    """Where a name that is no parameter is a field of a config."""
    configs = [p for parameters in declared.values() for p in parameters.values() if p.config_class]
    fields = dict.fromkeys(field for p in configs for field in flat({p.name: p.all_values(p.default)}))
    found = [field for field in fields if field.endswith(f".{name}")]
    return f" As a field of a config it is {' or '.join(found)}." if found else ""


def _stem_of(name: str, declared: dict[str, dict[str, Parameter]], place: str) -> str:
    """The notebook of ``name.parameter``; what is neither that nor a parameter is refused with all of both."""
    found = [stem for stem in declared if stem.startswith(name)]
    if len(found) == 1:
        return found[0]
    names = dict.fromkeys(n for parameters in declared.values() for n in parameters)
    raise WorkbenchError(f"{place}: {unknown('parameter or notebook', name, [*names, *declared])}")


def _lay_over(overrides: dict[str, Any], parameter: Parameter, value: Any, place: str) -> None:
    before = overrides.get(parameter.name, parameter.default)
    overrides[parameter.name] = parameter.laid_over(before, value, place)


def _overlay_command_line(overrides: dict, declared: dict[str, dict[str, Parameter]], given: dict[str, Any]) -> None:
    """Lay ``name`` or ``name.field`` over the notebooks that declare it, ``notebook.name`` over one."""
    for full_name, value in given.items():
        first, *rest = str(full_name).split(".")
        among = declared
        if rest and not any(first in names for names in declared.values()):
            stem = _stem_of(first, declared, f"-p {full_name}")
            among, (first, *rest) = {stem: declared[stem]}, rest
        parameter = next((names[first] for names in among.values() if first in names), None)
        if parameter is not None and isinstance(value, str):
            before = next(overrides[stem].get(first) for stem in among if first in among[stem])
            value = parameter.from_text(value, rest, f"-p {full_name}", before)
        elif rest:
            value = reduce(lambda inner, field: {field: inner}, reversed(rest), value)
        _share(overrides, among, first, value, "-p")
