"""Fixtures shared by all tests: where the reference material is, and no network."""

import os
import socket
from pathlib import Path

import pytest

from workbench.registry import import_nbformat
from workbench.stages import Run

import_nbformat()  # before a test imports it, which then costs a fifth
SHARED = Path(os.environ.get("WORKBENCH_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def _folder_or_skip(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"reference material {name!r} is not on this machine (set WORKBENCH_SHARED)")
    return folder


@pytest.fixture(scope="session")
def reference_fixtures() -> Path:
    """Numbers computed by the original systems; tests that need them skip where they are absent."""
    return _folder_or_skip("fixtures")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real annotations and features; tests that need them skip where they are absent."""
    return _folder_or_skip("data")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """An empty run of a project of its own."""
    monkeypatch.delenv("WORKBENCH_REPLACE", raising=False)
    return Run.open("trial", root=tmp_path)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Refuse connections that leave the machine: nothing may be downloaded by surprise."""
    connect = socket.socket.connect

    def connect_locally(self, address):
        host = address[0] if isinstance(address, tuple) else ""
        if host not in ("", "127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_locally)
