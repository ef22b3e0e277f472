"""The root is the same from every working directory."""

from pathlib import Path

from tests.refusals import refused
from workbench.paths import project_root, runs_folder


def test_the_root_does_not_depend_on_the_working_directory_and_must_be_there(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    for folder in (tmp_path, Path("/")):
        monkeypatch.chdir(folder)
        assert project_root() == tmp_path.resolve() and runs_folder() == tmp_path.resolve() / "data" / "runs"
    assert project_root(Path("/tmp")) == Path("/tmp").resolve()
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "absent"))
    refused("WORKBENCH_HOME", project_root)
