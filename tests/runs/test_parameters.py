"""Parameters cells are read without running them; wrong names and types are refused with the remedy."""

import pytest

from tests.refusals import refused
from tests.runs.conftest import write_notebook
from workbench.errors import WorkbenchError
from workbench.runs.parameters import Parameter, parse_parameters, read_parameters


def test_a_cell_is_read_with_its_types():
    source = (
        'run_name: str = "a # b"  # name = of the run\n\n# training\nlr: float = 1  # per step\nn: list[int] = [1, 2]'
    )
    declared = parse_parameters(source + "\nlow: float = -2.5\non: bool = True", "a notebook")
    assert [p.default for p in declared.values()] == ["a # b", 1.0, [1, 2], -2.5, True]
    assert declared["n"].kind == list[int] and isinstance(declared["lr"].default, float)


@pytest.mark.parametrize(("source", "message"), [
    ("epochs = 3", "name: type = value"), ("import os", "name: type = value"), ("epochs: int", "name: type = value"),
    ("epochs: int = 2 * 3", "literal"), ("epochs: int = rows", "literal"), ("epochs: int = 2.5", "expected int"),
    ("name: str | None = None", "type str | None"), ("epochs: int = 1\nepochs: int = 2", "declared twice"),
    ("epochs: int = (", "not valid Python"),
])  # fmt: skip
def test_a_cell_with_anything_else_is_refused(source, message):
    told = refused(None, parse_parameters, source, "03_train.ipynb")
    assert message in told and "03_train.ipynb" in told


def test_a_config_is_read_and_laid_over_without_running_the_notebook(config_notebook):
    training = read_parameters(config_notebook)["training"]
    assert training.default == {"epochs": 2.0}
    before = training.default | {"network": {"width": 16}}
    changed = training.laid_over(before, {"network": {"channels": [4]}}, "demo.yml")
    assert changed == {"epochs": 2.0, "network": {"width": 16, "channels": [4]}}
    assert training.all_values({})["network"] == {"width": 8, "channels": [32, 64]}
    assert training.change_to("512", ["network", "width"], "-p", {}) == {"network": {"width": 512}}
    assert training.change_to("{epochs: 1}", [], "-p", {}) == {"epochs": 1}
    kept = Parameter("quotas", dict[str, float], {}).change_to("1e-4", ["few"], "-p", {"many": 2.0})
    assert kept == {"many": 2.0, "few": 1e-4}


@pytest.mark.parametrize(("change", "message"), [
    ({"network": {"widht": 3}}, r"demo.network: unknown field 'widht'. Did you mean 'width'"),
    ({"network": 3}, r"expected 'name: value' pairs for Network"),
    ({"epochs": -1.0}, r"demo: epochs -1.0: expected more than 0"), (3, r"expected 'name: value' pairs for Training"),
])  # fmt: skip
def test_a_wrong_field_of_a_config_is_refused(config_notebook, change, message):
    training = read_parameters(config_notebook)["training"]
    refused(message, training.laid_over, training.default, change, "demo")


def test_a_config_class_that_no_cell_imports_is_refused():
    refused("a dataclass that a cell above imports", parse_parameters, "a: Own = {}", "a notebook")
    with pytest.raises(WorkbenchError, match="cannot be imported"):
        parse_parameters("a: Own = {}", "a notebook", ["from own_configs_of_nobody import Own"])


def test_notebooks_without_exactly_one_cell_are_refused(tmp_path):
    cell = ("code", "seed: int = 0", "parameters")
    for cells in ([("code", "seed: int = 0", None)], [cell, cell]):
        refused("exactly one", read_parameters, write_notebook(tmp_path / "a.ipynb", cells))
    refused("the file is missing", read_parameters, tmp_path / "absent.ipynb")
    for broken, told in (("{", "not valid JSON"), ("{}", "not a valid notebook"), ("[]", "not a valid notebook")):
        (tmp_path / "a.ipynb").write_text(broken)
        refused(rf"a\.ipynb: {told}", read_parameters, tmp_path / "a.ipynb")
