"""Files told from their bytes, each written by the library that people write such files with."""

import bz2
import gzip
import lzma
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from workbench.file_kinds import FileKind, file_kind, refuse_kind


def _archive(path: Path, member: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, "cat 1 2\n")


def _tar(path: Path) -> None:
    path.with_name("cat").write_text("cat 1 2\n")
    with tarfile.open(path, "w") as archive:
        archive.add(path.with_name("cat"), "cat")


def _array(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.ones(3))


def _arrays(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, a=np.ones(3), b=np.ones(2))


WEIGHTS = {"weight": torch.ones(2, 3)}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
WRITERS = {
    FileKind.EMPTY: lambda path: path.write_bytes(b""), FileKind.FOLDER: lambda path: path.mkdir(),
    FileKind.GZIP: lambda path: path.write_bytes(gzip.compress(b"cat 1 2")),
    FileKind.BZIP2: lambda path: path.write_bytes(bz2.compress(b"cat 1 2")),
    FileKind.XZ: lambda path: path.write_bytes(lzma.compress(b"cat 1 2")), FileKind.TAR: _tar,
    FileKind.ZIP: lambda path: _archive(path, "glove.txt"), FileKind.NPY: _array, FileKind.NPZ: _arrays,
    FileKind.TORCH: lambda path: torch.save(WEIGHTS, path),
    FileKind.PICKLE: lambda path: path.write_bytes(pickle.dumps({"cat": [1.0, 2.0]})),
    FileKind.SAFETENSORS: lambda path: save_file(WEIGHTS, path),
    FileKind.PARQUET: lambda path: pd.DataFrame({"a": [1]}).to_parquet(path),
    FileKind.IMAGE: lambda path: Image.new("RGB", (4, 4)).save(path, format="PNG"),
    FileKind.WEB_PAGE: lambda path: path.write_text("\n<!DOCTYPE html><html><head><title>Virus scan warning</title>"),
    FileKind.LFS_POINTER: lambda path: path.write_text(POINTER),
    FileKind.ANNEX_POINTER: lambda path: path.write_text("/annex/objects/SHA256E-s12--4d7a.pth\n"),
    FileKind.UTF16: lambda path: path.write_text("cat 1 2", encoding="utf-16"),
    FileKind.JSON: lambda path: path.write_text('\ufeff {"cat": [1, 2]}'),
    FileKind.TEXT: lambda path: path.write_text("Äpfel 1 2\n" * 2000),
    FileKind.BINARY: lambda path: path.write_bytes(b"2 3\ncat " + np.arange(2, 5, dtype="<f4").tobytes()),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_is_told_from_its_bytes_whatever_its_name(kind, tmp_path):
    path = tmp_path / "model.txt"
    WRITERS[kind](path)
    assert file_kind(path) is kind
    error = str(refuse_kind(path, kind, "a word vector file"))
    assert str(path) in error and str(kind) in error and "FILE" not in error


def test_the_form_that_torch_wrote_before_its_archives(tmp_path):
    torch.save(WEIGHTS, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    assert file_kind(tmp_path / "old.bin") is FileKind.TORCH


@pytest.mark.parametrize("length", range(4090, 4100))
def test_text_is_text_wherever_the_first_piece_ends(length, tmp_path):
    path = tmp_path / "words"
    path.write_text("a" * length + "äöü€" * 10)
    assert file_kind(path) is FileKind.TEXT
