"""Profiles: what is laid over what, and every misspelling refused before anything starts."""

import json
import shutil

import pytest

from tests.refusals import refused
from tests.runs.conftest import write_notebook
from workbench.paths import notebooks_folder
from workbench.runs.profiles import make_plan, profile_names


def values(plan):
    return {notebook.name: notebook.values for notebook in plan.notebooks}


def test_later_layers_win(toy_project, tmp_path):
    extra = tmp_path / "extra.yml"
    extra.write_text("shared: {seed: 5, lr: 2}\n")
    assert values(make_plan("toy"))["01_count"] == {"run_name": "toy", "seed": 4, "lr": 0.001}
    assert values(make_plan("toy", files=[extra]))["01_count"] == {"run_name": "toy", "seed": 5, "lr": 2.0}
    plan = make_plan("toy", run="other", files=[extra], parameters={"seed": "6", "02.flags": "[]", "end": "ours"})
    assert values(plan) == {"01_count": {"run_name": "other", "seed": 6, "lr": 2.0},
                            "02_finish": {"run_name": "other", "end": "ours", "flags": []}}  # fmt: skip
    assert plan.run == "other" and plan.notebooks[1].overrides["flags"] == []
    extra.write_text("notebooks: [02_finish]\n")
    assert list(values(make_plan("toy", files=[extra]))) == ["02_finish"]


def test_only_takes_beginnings_and_keeps_the_order(toy_project):
    assert [n.name for n in make_plan("toy", only=["02", "01_count"]).notebooks] == ["01_count", "02_finish"]
    # A parameter of a notebook that is left out is still known.
    assert len(make_plan("toy", only=["02"], parameters={"seed": 3}).notebooks) == 1
    refused("unknown notebook '0'", make_plan, "toy", only=["0"])


@pytest.mark.parametrize(("text", "message"), [
    ("notebooks: [03_none]", "unknown notebook '03_none'"), ("shared: {seed: 1:30}", "'1:30' would be read as 90"),
    ("01_count: {seed: 1, seed: 2}", "given twice: seed"), ("shared: {run_name: a}", "run's name is given by"),
    ("shared: {seed: 010}", "'010' would be read as 8"), ("01_cuont: {seed: 1}", "Did you mean '01_count'"),
    ("shared: {seed: true}", "expected int, got True"), ("01_count: {end: a}", "unknown parameter 'end'"),
    ("share: {seed: 1}", "Did you mean 'shared'"), ("shared: {sead: 1}", "Did you mean 'seed'"), ("", "an empty file"),
    ("notebooks: 01_count", "must be a list"), ("shared: {lr: 1e-4}", "write 1.0e-4"), ("false", "keys and values"),
    ("shared: [seed]", "name: value"), ("[1]", "keys and values"), ("a: [", "not valid YAML"), ("run: a/b", "run name"),
])  # fmt: skip
def test_what_a_profile_has_wrong_is_told_with_its_place(toy_project, text, message):
    path = toy_project / "notebooks" / "params" / "wrong.yml"
    path.write_text(text)
    told = refused(None, make_plan, "wrong")
    assert message in told and "wrong.yml" in told


def test_a_missing_profile_lists_those_there_are(toy_project, tmp_path):
    assert profile_names() == ["toy"]
    refused(r"unknown profile 'tyo'. Did you mean 'toy'", make_plan, "tyo")
    refused("the file is missing", make_plan, "toy", files=[tmp_path / "absent.yml"])


@pytest.mark.usefixtures("config_notebook")
def test_fields_of_a_config_are_set_one_by_one(tmp_path):
    extra = tmp_path / "extra.yml"
    extra.write_text("03_train: {training: {network: {width: 16}}}\nshared: {seed: 1}\n")
    plan = make_plan("toy", files=[extra], parameters={"03.training.epochs": "3", "seed": 2})
    notebook = plan.notebooks[2]
    assert notebook.overrides["training"] == {"epochs": 3.0, "network": {"width": 16}}
    channels = "  training.network.channels = [32, 64]"
    assert notebook.lines()[1:] == ["* training.epochs = 3.0", "* training.network.width = 16", channels]
    assert values(make_plan("toy"))["03_train"]["training"] == {"epochs": 2.0}
    plan = make_plan("toy", parameters={"training.network.width": "32"})
    assert plan.notebooks[2].lines()[1:] == ["  training.epochs = 2.0", "* training.network.width = 32", channels]


@pytest.mark.parametrize(("name", "message"), [
    ("training.epohcs", "unknown field 'epohcs'. Did you mean 'epochs'"),
    ("training.network.widht", "training.network: unknown field 'widht'. Did you mean 'width'"),
    ("training.network.width", "training.network.width: expected int"),
    ("trianing.epochs", "unknown parameter or notebook 'trianing'. Did you mean 'training'"),
    ("epochs", "As a field of a config it is training.epochs"), ("seed.more", "has no fields"),
    *((name, "unknown") for name in ("sead", "01.end", "04.seed", "run_name")),
])  # fmt: skip
@pytest.mark.usefixtures("config_notebook")
def test_what_is_no_parameter_is_refused_on_the_command_line(name, message):
    refused(message, make_plan, "toy", parameters={name: "2.5"})


def test_the_data_of_a_profile_are_those_of_all_its_notebooks(toy_project):
    cell = 'run_name: str = "a"\ndata: str = ""\nimage_folder: str = ""'
    write_notebook(toy_project / "notebooks" / "00_look.ipynb", [("code", cell, "parameters")])
    plan = make_plan("toy", only=["01"], parameters={"data": "vrd"})
    assert (plan.data, plan.image_folder) == ("vrd", "") and len(plan.notebooks) == 1


def test_every_notebook_must_take_the_runs_name(toy_project):
    write_notebook(toy_project / "notebooks" / "03_none.ipynb", [("code", "seed: int = 0", "parameters")])
    refused("run_name", make_plan, "toy")


def test_an_own_denoiser_in_a_module_beside_the_notebooks_is_found(tmp_path):
    shutil.copytree(notebooks_folder(), tmp_path / "notebooks")
    own = "from workbench.diffusion.denoiser import DENOISERS\n\nPAIR = DENOISERS['mlp']\n"
    (tmp_path / "notebooks" / "own_pair.py").write_text(own)
    chosen = {"diffusion.denoiser": "own_pair:PAIR", "diffusion.network.width": "32"}
    (found,) = make_plan("smoke", only=["03"], parameters=chosen, root=tmp_path).notebooks
    assert found.values["diffusion"]["denoiser"] == "own_pair:PAIR"
    assert found.values["diffusion"]["network"]["width"] == 32


def test_what_cells_register_is_checked_there_and_its_fellow_fields_here(tmp_path):
    shutil.copytree(notebooks_folder(), tmp_path / "notebooks")
    for stem, source in (
        ("00_prepare_features", 'ENCODERS.register("lite0")(Lite0())'),
        ("03_train_diffusion", 'DENOISERS.register("plain")((PlainConfig, PlainDenoiser))'),
        ("05_finetune_and_evaluate", '@LOSSES.register("own")\ndef own(classes, config): ...'),
    ):
        path = tmp_path / "notebooks" / f"{stem}.ipynb"
        notebook = json.loads(path.read_text())
        notebook["cells"].append({"cell_type": "code", "metadata": {}, "source": source})
        path.write_text(json.dumps(notebook))
    chosen = {"diffusion.denoiser": "plain", "diffusion.network.size": "32", "diffusion.epochs": "1"}
    own = {"extraction.encoder": "lite0", "losses": "[own, wce]"}
    first, found, last = make_plan("smoke", only=["00", "03", "05"], parameters=chosen | own, root=tmp_path).notebooks
    assert first.values["extraction"] == {"encoder": "lite0"} and last.values["losses"] == ["own", "wce"]
    assert "* extraction.encoder = 'lite0'" in first.lines() and "* losses = ['own', 'wce']" in last.lines()
    values = found.values["diffusion"]
    assert (values["denoiser"], values["network"], values["epochs"]) == ("plain", {"size": 32}, 1.0)
    assert "* diffusion.denoiser = 'plain'" in found.lines()
    for name, message in (("diffusion.denoiser", "'plane' is not known"), ("diffusion.epoch", "mean 'epochs'")):
        refused(message, make_plan, "smoke", only=["03"], parameters=chosen | {name: "plane"}, root=tmp_path)


@pytest.mark.parametrize(("name", "value", "message"), [
    ("augmentation.similarity", "lhc", "Did you mean 'lch'"), ("sampling.solver", "ddmi", "or 'ddim' or"),
    ("diffusion.schedule", "cosine", "expected 'squaredcos_cap_v2' or"), ("sampling.steps", "0", "steps is 0"),
    ("edge.tracker", "wandb", "expected '' or 'tensorboard' or"), ("sampling.precision", "half", "expected 'auto' or"),
    ("extraction.precision", "half", "expected 'auto' or"), ("losses", "ce", r"expected list\[loss\], got 'ce'"),
    ("extraction.encoder", "vgg", "encoder 'vgg' is not known. Did you mean 'vgg16'"),
    ("losses", "[cee]", "loss 'cee' is not known. Did you mean 'ce'"),
])  # fmt: skip
def test_a_choice_that_there_is_not_is_refused_before_anything_runs(name, value, message):
    refused(message, make_plan, "smoke", parameters={name: value})
