"""The root is the same from every working directory."""

from pathlib import Path

import pytest

from workbench.errors import WorkbenchError
from workbench.paths import project_root, runs_folder


def test_the_root_does_not_depend_on_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    for folder in (tmp_path, Path("/")):
        monkeypatch.chdir(folder)
        assert project_root() == tmp_path.resolve()
        assert runs_folder() == tmp_path.resolve() / "data" / "runs"
    assert project_root(Path("/tmp")) == Path("/tmp").resolve()


def test_a_home_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "absent"))
    with pytest.raises(WorkbenchError, match="WORKBENCH_HOME"):
        project_root()
