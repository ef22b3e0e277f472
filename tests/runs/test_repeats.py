"""Several seeds: a run each, numbers that all have, differences paired by seed."""

import json

import pytest

from workbench.errors import WorkbenchError
from workbench.runs import notebooks
from workbench.runs.notebooks import repeat_profile, repeats_text, variant_differences


def variants(seed, **more):
    noise = float(seed) * 10  # shared by both variants: pairing takes it off
    both = {"ce": {"few": noise, "many": 60.0}, "da": {"few": noise + 5, "many": 50.0 + seed}}
    return {"05": {"variants": both, **more}, "01": {"rows": 3}}


def test_differences_are_paired_by_seed():
    found = variant_differences([variants(seed, baseline="ce") for seed in range(4)])
    assert list(found) == ["05: da - ce"]
    assert found["05: da - ce"]["few"]["mean"] == 5 and found["05: da - ce"]["few"]["half_width"] == pytest.approx(0)
    assert found["05: da - ce"]["many"]["values"] == [-10, -9, -8, -7]
    assert list(variant_differences([variants(0)])) == ["05: da - ce"]
    with pytest.raises(WorkbenchError, match="unknown baseline 'cee'"):
        variant_differences([variants(0, baseline="cee")])


def test_each_seed_is_a_run_of_its_own(toy_project, monkeypatch):
    asked = []

    def pretend(profile, run, parameters, **options):
        asked.append((run, parameters, options))
        folder = toy_project / "reports" / run
        folder.mkdir(parents=True)
        seed = parameters["seed"]
        alone = {} if seed else {"on": True, "name": "a", "x": None, "few": 1}
        (folder / "metrics.json").write_text(json.dumps(variants(seed, headline={"deep": {"y": seed}, **alone})))
        return folder

    monkeypatch.setattr(notebooks, "run_profile", pretend)
    path = repeat_profile("toy", [0, 3], parameters={"lr": "1"}, only=["01"])
    assert path == toy_project / "reports" / "toy-seeds.json"
    assert asked[1] == ("toy-seed3", {"lr": "1", "seed": 3}, {"only": ["01"]})
    assert "05: da - ce" in repeats_text(path) and "+5" in repeats_text(path)
    means = {name: found["mean"] for name, found in json.loads(path.read_text())["metrics"].items()}
    # Only numbers that all seeds have are averaged.
    alone = {name: mean for name, mean in means.items() if "variants" not in name}
    assert alone == {"01.rows": 3, "05.headline.deep.y": 1.5}
    for seeds, parameters in (([0, 0], {}), ([], {}), ([0], {"seed": "1"})):
        with pytest.raises(WorkbenchError):
            repeat_profile("toy", seeds, parameters=parameters)
