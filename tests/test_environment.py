"""environment.yml and pyproject.toml name the same packages with the same bounds."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def split(requirement: str) -> tuple[str, str]:
    name, bound = re.fullmatch(r"([A-Za-z0-9_.-]+?)\s*((?:[<>=!~]=?.*)?)", requirement).groups()
    return name.lower().replace("_", "-"), bound.replace(" ", "")


def test_the_conda_environment_is_the_twin_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = dict(map(split, project["dependencies"] + project["optional-dependencies"]["test"]))
    wanted["pytorch"] = wanted.pop("torch")
    wanted["python"] = project["requires-python"].replace(" ", "")

    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    *conda, pip = environment["dependencies"]
    assert pip == {"pip": ["--editable ."]}
    found = dict(map(split, conda))
    assert found.pop("pip") == "" and found == wanted
    text = (ROOT / "environment.yml").read_text()
    assert all(f"- {requirement}" in text for requirement in project["optional-dependencies"]["encoders"])


def test_hooks_and_ci_use_what_the_environment_has():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    ci = ROOT / ".ci" / "run"
    assert ci.stat().st_mode & 0o100 and "make test" in ci.read_text()
