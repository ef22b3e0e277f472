"""What is raised on reading and writing files becomes one error that names the file."""

import errno
import gzip
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from workbench.errors import WorkbenchError
from workbench.file_errors import reading, system_error, writing


def _broken(path, read, content):
    path.write_bytes(content)
    with pytest.raises(WorkbenchError) as error, reading(path, "what was asked for", "Make it anew."):
        read(path)
    return str(error.value)


READERS = {
    "json": lambda path: json.loads(path.read_text()), "npy": lambda path: np.load(path, allow_pickle=False),
    "parquet": pd.read_parquet, "csv": lambda path: pd.read_csv(path)["name"],
    "torch": lambda path: torch.load(path, weights_only=True), "safetensors": load_file,
    "gzip": lambda path: gzip.decompress(path.read_bytes()), "zip": lambda path: zipfile.ZipFile(path).namelist(),
    "floats": lambda path: np.array(path.read_text().split(), dtype=np.float32),
}  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02" * 50, b"[" * 5000, b"\xff\x1b[31m" * 9, b"<html><body>wait"])
@pytest.mark.parametrize("reader", READERS)
def test_whatever_a_file_holds_its_reader_raises_one_error_with_its_name(reader, content, tmp_path):
    if not content and reader in ("floats", "gzip"):
        return  # no words at all
    text = _broken(tmp_path / "weights.x", READERS[reader], content)
    assert "weights.x" in text and "\x1b" not in text and "weights_only" not in text
    if content.startswith(b"<html"):
        assert "this is a web page, expected what was asked for" in text


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("reader", ["npy", "parquet", "torch", "safetensors", "gzip"])
def test_files_that_end_early(reader, kept, tmp_path):
    whole = tmp_path / "whole"
    writers = {
        "npy": lambda: np.save(open(whole, "wb"), np.ones(900)),  # noqa: SIM115
        "parquet": lambda: pd.DataFrame({"a": range(900)}).to_parquet(whole),
        "torch": lambda: torch.save({"w": torch.ones(900)}, whole),
        "safetensors": lambda: save_file({"w": torch.ones(900)}, whole),
        "gzip": lambda: whole.write_bytes(gzip.compress(np.random.default_rng(0).bytes(900))),
    }
    writers[reader]()
    content = whole.read_bytes()
    text = _broken(tmp_path / "cut", READERS[reader], content[: int(len(content) * kept)])
    assert text.startswith(f"{tmp_path / 'cut'}: ")


@pytest.mark.parametrize("around", [reading, lambda path, expected: writing(path)])
@pytest.mark.parametrize("number", [*errno.errorcode])
def test_every_word_of_the_system_becomes_the_error_of_the_file(number, around, tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(WorkbenchError, match=rf"{path}.*\."), around(path, "a table"):
        raise OSError(number, "words of the system", str(path))


def test_the_remedy_of_a_refusal_names_what_is_closed_and_exists(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, how: how == os.F_OK and Path(path).exists() and path != tmp_path)
    (tmp_path / "reports").mkdir()
    for number, remedy in {errno.EACCES: "", errno.EPERM: f", or unlock it: chattr -i {tmp_path / 'reports'}"}.items():
        error = system_error(OSError(number, "no", str(tmp_path / "reports" / "run" / "run.json")), "a")
        assert str(error).endswith(f"permissions: chmod u+rwX {tmp_path / 'reports'}{remedy}")


def test_paths_that_are_no_files(tmp_path):
    (tmp_path / "file").touch()
    told = {".": "Give the path of the file in it", "none": "Correct the path", "file/below": "Correct the path"}
    for name, remedy in (told | {"n" * 300: "Choose a shorter one"}).items():
        path = tmp_path / name
        with pytest.raises(WorkbenchError, match=remedy), reading(path, "a table"):
            path.read_text()


def test_a_full_disk_is_told_whoever_says_it_and_faults_of_ours_are_not_hidden(tmp_path):
    with pytest.raises(WorkbenchError, match=r"model: the disk is full.*free space"), writing("model"):
        raise RuntimeError("basic_ios::clear: No space left on device")
    with pytest.raises(ZeroDivisionError), writing("model"):
        _ = 1 / 0
    with pytest.raises(AssertionError), reading(tmp_path, "a table"):
        raise AssertionError


def test_a_missing_file_comes_with_the_remedy_of_who_reads_it(tmp_path):
    told = _broken(tmp_path / "rows", lambda path: (path.unlink(), path.read_text()), b"")
    assert told == f"{tmp_path / 'rows'}: the file is missing. Make it anew."
