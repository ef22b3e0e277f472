"""What of the code counts: all that a builder reaches, whatever way it is named, and nothing that cannot matter."""

import functools
import importlib
import json
import linecache
import sys
import types

import pytest

from tests.refusals import refused
from workbench import parsed_code
from workbench.errors import WorkbenchError
from workbench.fingerprint import builder_name, changed_code, fingerprint
from workbench.registry import Registry

STAGE = '''"""A stage."""
from own_method import layers
from own_method.layers import Block
from own_method.kinds import KINDS

def train(folder, *, width=1, kind="plain", rates=None):
    """Docstring."""
    from own_method.late import finish

    return {"width": Block(width).size, "kind": KINDS[kind](), "end": finish(width), "scale": layers.scaled(width)}

def untouched(folder):
    return {}
'''
LAYERS = '''"""Layers."""
import numpy as np

SCALE = 3

def scaled(x):
    return SCALE * helper(x)

def helper(x):
    # a comment
    return x + 1

def unused(x):
    return x

class Block:
    """A block."""

    def __init__(self, width: int):
        self.size = width
'''
KINDS = """from workbench.registry import Registry

def plain():
    return 1

def other():
    return 2

KINDS = Registry("kind", {"plain": plain, "other": other})
"""
LATE = "WITHOUT = 1\n\ndef finish(x):  # why\n    return x\n"
WATCH = "WITHOUT_INFLUENCE = True\n\ndef watched(x):\n    return x\n"


@pytest.fixture(autouse=True)
def no_cached_places():
    importlib.invalidate_caches()
    parsed_code._source_path.cache_clear()
    yield
    parsed_code._source_path.cache_clear()


@pytest.fixture
def method(tmp_path, monkeypatch):
    """A package of the user's own on the path; ``edit(module, before, after)`` changes it on disk."""
    folder = tmp_path / "code" / "own_method"
    folder.mkdir(parents=True)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # bytecode is known by second and size: edits here are faster
    sources = {"__init__": "", "stage": STAGE, "layers": LAYERS, "kinds": KINDS, "late": LATE, "watch": WATCH}
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder.parent))

    def edit(module: str, before: str, after: str) -> None:
        path = folder / f"{module}.py"
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))

    yield edit
    for name in [name for name in sys.modules if name.startswith("own_method")]:
        del sys.modules[name]


def load_again() -> None:
    """As a new kernel would: every module of the method from its file as it is now."""
    for name in ("layers", "kinds", "late", "stage"):
        if f"own_method.{name}" in sys.modules:
            importlib.reload(sys.modules[f"own_method.{name}"])


def reached(values=None):
    return fingerprint(importlib.import_module("own_method.stage").train, values)


def test_names_are_followed_through_imports_modules_and_late_imports(method):
    assert set(reached("plain")) == {
        "own_method.stage:train", "own_method.kinds:plain", "own_method.late:finish", "own_method.layers:Block",
        "own_method.layers:scaled", "own_method.layers:helper", "own_method.layers:SCALE",
    }  # fmt: skip


@pytest.mark.parametrize(("module", "before", "after", "changed"), [
    ("layers", "self.size = width", "size: int = width; self.size = size", ["own_method.layers: Block"]),
    ("layers", "self.size = width", "self.size = 2 * width", ["own_method.layers: Block"]),
    ("layers", "def unused(x):\n    return x", "def unused(x):\n    return 2 * x", []),
    ("layers", "SCALE = 3", "SCALE = 4", ["own_method.layers: SCALE"]), ("layers", "SCALE = 3", "SCALE: int = 3", []),
    ("late", "return x", "return -x", ["own_method.late: finish"]), ("stage", "    return {}", "    return {1: 2}", []),
    ("kinds", "return 1", "return 3", ["own_method.kinds: plain"]), ("layers", "width: int", "width: float", []),
    ("layers", "x + 1", "x + 2", ["own_method.layers: helper"]), ("layers", "# a comment", "# another", []),
    ("layers", '"""A block."""', '"""Another text."""', []), ("layers", "x + 1", "(x   +   1)", []),
    ("kinds", "return 2", "return 3", []),  # an entry that nobody asked for
    ("stage", "width=1,", "width=2,", ["own_method.stage: train"]),
])  # fmt: skip
def test_an_edit_counts_if_it_can_matter(method, module, before, after, changed):
    first = reached("plain")
    method(module, before, after)
    assert changed_code(first, reached("plain")) == changed


def test_the_entry_of_a_registry_counts_that_is_asked_for_by_name_import_path_or_as_it_is(method):
    from own_method import kinds

    kinds.KINDS.register("mine")(kinds.other)
    for values in ("other", "mine", {"kind": ["own_method.kinds:other"]}, kinds.other):
        assert "own_method.kinds:other" in reached(values), values
    method("stage", 'kind="plain"', "kind=None")
    assert {"own_method.kinds:other", "own_method.kinds:plain"} <= set(reached())  # nobody knows which


def test_what_was_found_in_a_source_is_kept_for_the_next_process_until_either_changes(method, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    first = reached("plain")
    kept = tmp_path / "data" / "cache" / "code" / "own_method.layers.json"
    found = json.loads(kept.read_text())
    found["definitions"]["helper"]["digest"] = "as kept"
    for text in (json.dumps(found), "{", "[]", "{}", json.dumps(found | {"definitions": {"helper": {"none": 1}}})):
        kept.write_text(text)
        parsed_code._parsed.cache_clear()
        digest = "as kept" if text == json.dumps(found) else first["own_method.layers:helper"]
        assert reached("plain")["own_method.layers:helper"] == digest
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "none"))  # no project: nothing is kept, and all goes on
    parsed_code._parsed.cache_clear()
    assert reached("plain") == first
    method("layers", "x + 1", "x + 2")
    assert changed_code(first, reached("plain")) == ["own_method.layers: helper"]


def test_what_says_that_it_has_no_influence_does_not_count(method):
    method("layers", "import numpy as np", "from own_method.watch import watched\nimport numpy as np")
    method("layers", "SCALE * helper(x)", "SCALE * helper(watched(x))")
    assert not [name for name in reached("plain") if "watch" in name]


def cell(source: str, name: str, number: int, **names):
    """What a cell of a notebook defines as ``name``; its source lies where IPython puts it."""
    file = f"/tmp/ipykernel_1/{number}.py"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope = vars(sys.modules["__main__"])
    scope.update(names)
    exec(compile(source, file, "exec"), scope)
    return scope[name]


FUNCTION = "def build(folder, rows=1):\n    return {'n': FACTOR * twice(rows)}\n"
TWICE = "def twice(x):\n    return 2 * x\n"


@pytest.fixture
def cells(monkeypatch):
    """A notebook's ``__main__``, which has no file."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main


def test_functions_classes_and_constants_of_cells_count(cells):
    cell(TWICE, "twice", 1, FACTOR=3)
    build = cell(FUNCTION, "build", 2)
    first = fingerprint(build)
    assert set(first) == {"__main__:build", "__main__:twice", "__main__:FACTOR"}
    assert fingerprint(cell("# how\n" + FUNCTION, "build", 3)) == first
    cell(TWICE.replace("2", "3"), "twice", 4)
    assert changed_code(first, fingerprint(build)) == ["__main__: twice"]
    cell("class Net:\n    width = 3\n    def size(self):\n        return twice(self.width)\n", "Net", 5)
    plain = cell("from dataclasses import dataclass\n@dataclass\nclass Sizes:\n    width: int = 3\n", "Sizes", 6)
    using = cell("def make(folder, net=Net):\n    return {'n': net().size(), 's': Sizes()}\n", "make", 7)
    net = cells.Net
    assert {"__main__:Net", "__main__:twice"} <= set(fingerprint(net)) and "__main__:Sizes" in fingerprint(plain)
    before = fingerprint(using, net)
    cell("from dataclasses import dataclass\n@dataclass\nclass Sizes:\n    width: int = 4\n", "Sizes", 8)
    assert changed_code(before, fingerprint(using, net)) == ["__main__: Sizes"]


def test_a_functions_own_variables_are_not_what_cells_call_the_same(cells):
    source = "def build(folder):\n    for _ in [1]:\n        film = _\n    return [(lambda y: y)(x) for x in other]\n"
    nested = "def build(folder):\n    total = 0\n    def add():\n        nonlocal total\n        total += film\n"
    first = fingerprint(cell(source, "build", 1, _=1, film=2, y=3, x=5, other=[4]))
    assert set(first) == {"__main__:build", "__main__:other"}
    assert set(fingerprint(cell(nested, "build", 2))) == {"__main__:build", "__main__:film"}


HEADER = "from dataclasses import dataclass, field\nimport numpy as np\nimport pandas as pd\nimport torch\n"
BODIES = [
    "x: list = field(default_factory=lambda: [1])",
    "x = np.arange(1)",
    "x = {1}\n    def size(self):\n        return self.x",
    "@property\n    def x(self):\n        pass\n    @x.deleter\n    def x(self):\n        self.y = 1",
]
VALUES = [
    *("{1}", "np.arange(1)", "[np.float32(1)]", "torch.ones(1, requires_grad=True)", "pd.DataFrame({'a': ['1']})"),
    *("range(1)", "{'code': field, 'n': 1}", "dataclass(type('X', (), {'__annotations__': {'n': int}}))(1)"),
]


@pytest.mark.parametrize("source", [
    *(f"@dataclass\nclass Thing:\n    {body}\n" for body in BODIES),
    *(f"VALUE = {value}\ndef Thing(folder):\n    return VALUE\n" for value in VALUES),
])  # fmt: skip
def test_whatever_stands_in_a_cells_class_or_is_named_by_its_function_counts(cells, source):
    first = fingerprint(cell(HEADER + source, "Thing", 1))
    assert fingerprint(cell("# why\n" + HEADER + source, "Thing", 2)) == first
    assert fingerprint(cell(HEADER + source.replace("1", "2"), "Thing", 3)) != first


def test_lambdas_partials_and_closures_count(cells):
    one, two = cell("pair = (lambda f: {'a': 1}, lambda f: {'a': 2})\n", "pair", 1)
    assert fingerprint(one) != fingerprint(two) and fingerprint(one) == fingerprint(one)
    make = cell("def outer(n):\n    def inner(folder):\n        return {'n': n}\n    return inner\n", "outer", 2)
    assert fingerprint(make(1)) != fingerprint(make(2)) and fingerprint(make(1)) == fingerprint(make(1))
    assert fingerprint(functools.partial(one, x=two)).keys() == {"__main__:<lambda>"}
    assert builder_name(functools.partial(make, 3)) == "__main__:outer"


TWO = """
def head():
    return 1
first = head
def head():
    return 2
class Net:
    def size(self):
        return 1
one = Net
class Net:
    def size(self):
        return 2
def made(n):
    class Inner:
        def size(self):
            return n
    return Inner
"""


def test_what_one_file_defines_twice_or_makes_of_an_argument_counts_as_it_is(method, tmp_path):
    (tmp_path / "code" / "own_method" / "two.py").write_text(TWO)
    two = importlib.import_module("own_method.two")
    for one, other in ((two.first, two.head), (two.one, two.Net), (two.made(1), two.made(2))):
        assert fingerprint(one) != fingerprint(other) and fingerprint(one) == fingerprint(one)
    partial = functools.partial
    assert fingerprint(partial(two.made, n=1)) != fingerprint(partial(two.made, n=2))


def test_a_registry_of_a_cell_is_followed_by_the_names_given(cells):
    registry = Registry("thing")
    registry.register("mine")(cell(TWICE, "twice", 1))
    build = cell("def build(folder, thing):\n    return {'n': THINGS[thing](1)}\n", "build", 2, THINGS=registry)
    assert "__main__:twice" in fingerprint(build, {"thing": "mine"})
    assert "__main__:twice" not in fingerprint(build, {"thing": "another"})


def test_functions_without_source_count_by_what_they_were_compiled_to(monkeypatch):
    scopes = [{"__name__": "nowhere_to_be_found"} for _ in range(3)]
    for scope, number in zip(scopes, (1, 1, 2), strict=True):
        exec(f"def build(folder):\n    return {{'n': {number}}}", scope)
    monkeypatch.setitem(sys.modules, "nowhere_to_be_found", sys.modules[__name__])
    first, same, other = (fingerprint(scope["build"]) for scope in scopes)
    assert first == same != other and first


def test_the_method_itself_is_reached_without_what_only_reports():
    from workbench.diffusion.train import train_diffusion

    first = fingerprint(train_diffusion)
    assert any(name.startswith("workbench.diffusion.denoiser:") for name in first)
    assert not [name for name in first if name.split(":")[0] in ("workbench.errors", "workbench.progress")]


def stage(run, **options):
    """When the stage was built, by its manifest: another moment for each build."""
    built = run.stage("trained", importlib.import_module("own_method.stage").train, width=2, **options)
    return (built / "manifest.json").stat().st_mtime_ns


def test_a_stage_of_changed_code_is_shown_and_says_so_until_it_is_built_again(run, method, monkeypatch, capsys):
    made = stage(run)
    method("layers", "# a comment", "# another comment")
    assert stage(run) == made and "!" not in capsys.readouterr().out
    method("layers", "x + 1", "x + 2")
    for _ in range(2):
        assert stage(run) == made and "the code has changed since" in (told := capsys.readouterr().out)
        assert "own_method.layers: helper" in told and "replace=True" in told
    load_again()
    again = stage(run, replace=True)
    assert again != made and stage(run) == again and "!" not in capsys.readouterr().out
    for order in ("1", "strict"):
        monkeypatch.setenv("WORKBENCH_REPLACE", order)
        assert stage(run) == again  # equal code and parameters
        method("late", "return", "return +")
        load_again()
        assert stage(run) != again
        again = stage(run)


def test_strict_builds_for_changed_inputs_and_refuses_other_parameters(run, method, monkeypatch):
    build = importlib.import_module("own_method.stage").train

    def use(folder, features, rows):
        return {"rows": rows}

    first = run.stage("used", use, features=run.stage("trained", build), rows=1)
    method("late", "return x", "return -x")
    load_again()
    build = importlib.import_module("own_method.stage").train
    monkeypatch.setenv("WORKBENCH_REPLACE", "strict")
    second = run.stage("used", use, features=run.stage("trained", build), rows=1)
    assert second.identity != first.identity
    with pytest.raises(WorkbenchError, match="rows: 1 -> 2"):
        run.stage("used", use, features=run.stage("trained", build), rows=2)


def test_an_unfinished_attempt_of_other_code_is_neither_resumed_nor_lost(run, method, monkeypatch):
    method("layers", "np", "numpy")
    method("layers", "import numpy as numpy", "import os")
    method("layers", "    # a comment", "    1 / (1 - int(os.environ['STOP']))")
    monkeypatch.setenv("STOP", "1")
    with pytest.raises(ZeroDivisionError):
        stage(run)
    monkeypatch.setenv("STOP", "0")
    method("late", "return x", "return -x")
    load_again()
    refused(r"made by other code \(own_method.late: finish\).*--strict", stage, run)
    monkeypatch.setenv("WORKBENCH_REPLACE", "strict")
    stage(run)


EDITS = [("x + 1", "x + 2"), ("SCALE = 3", "SCALE = 3 + 1"), ("width: int", "width: int = 2")]


@pytest.mark.parametrize("edit", EDITS)
def test_edited_code_waits_until_the_kernel_has_loaded_it(run, method, edit):
    method("layers", "# a comment", "# because")
    made = stage(run)
    method("layers", *edit)
    refused(r"own_method.layers: edited after this kernel loaded it.*Restart", stage, run, replace=True)
    assert not list(run.folder.glob("*/.*.partial"))  # a refusal leaves nothing
    importlib.reload(sys.modules["own_method.layers"])
    assert stage(run, replace=True) != made


CELLS = [
    "from dataclasses import dataclass\nfrom pathlib import Path\nfrom workbench.registry import Registry\n"
    "from workbench.stages import Run\nrun, NETS = Run.open('cells', root=Path(ROOT)), Registry('net')",
    "@dataclass(frozen=True)\nclass Sizes:\n    width: int = 3",
    "@NETS.register('mine')\nclass Net:\n    # a comment\n    def size(self, sizes):\n        return sizes.width",
    "def build(folder, net, sizes):\n    return {'n': NETS[net]().size(sizes)}",
    "stage = run.stage('made', build, net='mine', sizes=Sizes()); print(stage.metrics)",
    "@NETS.register('mine')\nclass Net:\n    # another\n    def size(self, sizes):\n        return sizes.width",
    "_ = run.stage('made', build, net='mine', sizes=Sizes())",
    "@NETS.register('mine')\nclass Net:\n    def size(self, sizes):\n        return 2 * sizes.width",
    "_ = run.stage('made', build, net='mine', sizes=Sizes())",
    "print(run.stage('made', build, net='mine', sizes=Sizes(), replace=True).metrics)",
]


@pytest.mark.slow
def test_an_edited_cell_is_noticed_in_a_kernel(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    from workbench.runs.kernels import OwnKernelManager

    cells = [nbformat.v4.new_code_cell(source) for source in [f"ROOT = {str(tmp_path)!r}", *CELLS]]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, kernel_manager_class=OwnKernelManager).execute()
    printed = ["".join(output.text for output in cell.outputs) for cell in notebook.cells][5:]
    assert "{'n': 3}" in printed[0] and "loaded" in printed[2] and "!" not in printed[2]
    assert "the code has changed" in printed[4] and "__main__: Net" in printed[4] and "{'n': 6}" in printed[5]
