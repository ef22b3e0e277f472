"""Parameters cells are read without running them; wrong names and types are refused with the remedy."""

import pytest

from workbench.errors import WorkbenchError
from workbench.runs.parameters import checked_value, parse_parameters, read_parameters, value_from_text


def test_a_cell_is_read_with_types_and_help():
    source = (
        'run_name: str = "a # b"  # name = of the run\n\n# training\nlr: float = 1  # per step\nn: list[int] = [1, 2]'
    )
    declared = parse_parameters(source + "\nlow: float = -2.5\non: bool = True", "a notebook")
    assert [p.default for p in declared.values()] == ["a # b", 1.0, [1, 2], -2.5, True]
    assert declared["run_name"].help == "name = of the run" and declared["n"].help == ""
    assert declared["n"].type == "list[int]" and isinstance(declared["lr"].default, float)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("epochs = 3", "name: type = value"),
        ("import os", "name: type = value"),
        ("epochs: int", "name: type = value"),
        ("epochs: int = 2 * 3", "literal"),
        ("epochs: int = rows", "literal"),
        ("epochs: int = 2.5", "expected int"),
        ("name: str | None = None", "type str | None"),
        ("epochs: int = 1\nepochs: int = 2", "declared twice"),
        ("epochs: int = (", "not valid Python"),
    ],
)
def test_a_cell_with_anything_else_is_refused(source, message):
    with pytest.raises(WorkbenchError) as refused:
        parse_parameters(source, "03_train.ipynb")
    assert message in str(refused.value) and "03_train.ipynb" in str(refused.value)


@pytest.mark.parametrize(
    ("value", "kind", "remedy"),
    [
        ("1e-4", "float", "write 1.0e-4"),
        ("0.5", "float", "without quotes"),
        ("false", "bool", "true or false"),
        (1, "bool", "true or false"),
        (True, "int", "expected int"),
        (True, "float", "expected float"),
        (3.0, "int", "Write 3."),
        (7, "str", 'in quotes: "7"'),
        (None, "str", "expected str"),
        (float("nan"), "float", "nan"),
        ([1, "a"], "list[int]", r"[1]: expected int"),
        (3, "list[int]", "expected list[int]"),
        ([1], "dict", "expected dict"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_the_remedy(value, kind, remedy):
    with pytest.raises(WorkbenchError) as refused:
        checked_value(value, kind, "demo.yml: lr")
    assert remedy in str(refused.value) and str(refused.value).startswith("demo.yml: lr")


def test_an_int_is_taken_for_a_float_and_becomes_one():
    for kind, value in [("float", 3), ("list[float]", [3, 4.5])]:
        assert checked_value(value, kind, "lr") == value
    assert isinstance(checked_value(3, "float", "lr"), float)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("1e-4", "float", 1e-4),
        ("3", "int", 3),
        ("False", "bool", False),
        ("true", "bool", True),
        ("7", "str", "7"),
        ("[1, 2]", "list[int]", [1, 2]),
        ("{few: 3}", "dict", {"few": 3}),
    ],
)
def test_command_line_texts_are_read_by_the_type_of_the_default(text, kind, value):
    assert value_from_text(text, kind, "-p x") == value


@pytest.mark.parametrize(
    ("text", "kind"), [("2.5", "int"), ("x", "float"), ("1", "bool"), ("[1", "list"), ("a", "dict")]
)
def test_command_line_texts_of_the_wrong_type_are_refused(text, kind):
    with pytest.raises(WorkbenchError, match=r"-p x: expected"):
        value_from_text(text, kind, "-p x")


def test_notebooks_without_exactly_one_cell_are_refused(tmp_path, write_notebook):
    cell = ("code", "seed: int = 0", "parameters")
    for cells in ([("code", "seed: int = 0", None)], [cell, cell]):
        with pytest.raises(WorkbenchError, match="exactly one"):
            read_parameters(write_notebook(tmp_path / "a.ipynb", cells))
    with pytest.raises(WorkbenchError, match="no such notebook"):
        read_parameters(tmp_path / "absent.ipynb")
    (tmp_path / "a.ipynb").write_text("{")
    with pytest.raises(WorkbenchError, match="not a valid notebook"):
        read_parameters(tmp_path / "a.ipynb")
