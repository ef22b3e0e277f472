"""Profiles: what is laid over what, and every misspelling refused before anything starts."""

import pytest

from workbench.errors import WorkbenchError
from workbench.runs.profiles import make_plan, profile_names


def values(plan):
    return {notebook.name: notebook.values for notebook in plan.notebooks}


def test_later_layers_win(toy_project, tmp_path):
    extra = tmp_path / "extra.yml"
    extra.write_text("shared: {seed: 5, lr: 2}\n")
    assert values(make_plan("toy"))["01_count"] == {"run_name": "toy", "seed": 4, "lr": 0.001}
    assert values(make_plan("toy", files=[extra]))["01_count"] == {"run_name": "toy", "seed": 5, "lr": 2.0}
    plan = make_plan("toy", run="other", files=[extra], parameters={"seed": "6", "02.flags": "[]", "end": "ours"})
    assert values(plan) == {
        "01_count": {"run_name": "other", "seed": 6, "lr": 2.0},
        "02_finish": {"run_name": "other", "end": "ours", "flags": []},
    }
    assert plan.run == "other" and plan.notebooks[1].overrides["flags"] == []
    extra.write_text("notebooks: [02_finish]\n")
    assert list(values(make_plan("toy", files=[extra]))) == ["02_finish"]


def test_only_takes_beginnings_and_keeps_the_order(toy_project):
    assert [n.name for n in make_plan("toy", only=["02", "01_count"]).notebooks] == ["01_count", "02_finish"]
    # A parameter of a notebook that is left out is still known.
    assert len(make_plan("toy", only=["02"], parameters={"seed": 3}).notebooks) == 1
    with pytest.raises(WorkbenchError, match="unknown notebook '0'"):
        make_plan("toy", only=["0"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shared: {sead: 1}", "Did you mean 'seed'"),
        ("shared: {run_name: a}", "run's name is given by"),
        ("01_count: {end: a}", "unknown parameter 'end'"),
        ("01_cuont: {seed: 1}", "Did you mean '01_count'"),
        ("share: {seed: 1}", "Did you mean 'shared'"),
        ("notebooks: [03_none]", "unknown notebook '03_none'"),
        ("notebooks: 01_count", "must be a list"),
        ("shared: [seed]", "name: value"),
        ("shared: {lr: 1e-4}", "write 1.0e-4"),
        ("shared: {seed: true}", "expected int, got True"),
        ("01_count: {seed: 1, seed: 2}", "given twice: seed"),
        ("run: a/b", "run name"),
        ("[1]", "keys and values"),
        ("a: [", "not valid YAML"),
    ],
)
def test_what_a_profile_has_wrong_is_told_with_its_place(toy_project, text, message):
    path = toy_project / "notebooks" / "params" / "wrong.yml"
    path.write_text(text)
    with pytest.raises(WorkbenchError) as refused:
        make_plan("wrong")
    assert message in str(refused.value) and "wrong.yml" in str(refused.value)


def test_a_missing_profile_lists_those_there_are(toy_project, tmp_path):
    assert profile_names() == ["toy"]
    with pytest.raises(WorkbenchError, match=r"unknown profile 'tyo'. Did you mean 'toy'"):
        make_plan("tyo")
    with pytest.raises(WorkbenchError, match="no such file"):
        make_plan("toy", files=[tmp_path / "absent.yml"])


@pytest.mark.parametrize("name", ["sead", "01.end", "03.seed", "run_name"])
def test_unknown_names_on_the_command_line_are_refused(toy_project, name):
    with pytest.raises(WorkbenchError, match="unknown"):
        make_plan("toy", parameters={name: "1"})


def test_every_notebook_must_take_the_runs_name(toy_project, write_notebook):
    write_notebook(toy_project / "notebooks" / "03_none.ipynb", [("code", "seed: int = 0", "parameters")])
    with pytest.raises(WorkbenchError, match="run_name"):
        make_plan("toy")
