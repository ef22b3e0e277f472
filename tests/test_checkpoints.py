"""Checkpoints of others: by content under any name, without their wrapping, else told for what they are."""

import argparse
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.refusals import refused
from workbench.checkpoints import load_weights, read_foreign, read_tensors
from workbench.errors import WorkbenchError

NETWORK = torch.nn.Linear(3, 2)
STATE = {name: value.detach() for name, value in NETWORK.state_dict().items()}
HALF = {name: value.half() for name, value in STATE.items()}
SCALAR = {"model": STATE, "best": np.float64(0.5), "step": np.int64(7), "args": argparse.Namespace(lr=np.float32(1))}


def named(prefix, **more):
    return {f"{prefix}{name}": value for name, value in STATE.items()} | more


@pytest.mark.parametrize("suffix", ["", ".bin", ".pt", ".safetensors"])
@pytest.mark.parametrize(("content", "said"), [
    (STATE, ""), (named("module."), "'module.' is taken off"), (named("module._orig_mod."), "'_orig_mod.'"),
    (named("model.module."), "'module.' is taken off"), ({"state_dict": named("model.")}, "under 'state_dict'"),
    ({"module": {"state_dict": STATE}, "optimizer": {}}, "under 'module'; the weights are those under 'state_dict'"),
    (named("module.", n_averaged=torch.tensor(3)), "'module.'"), ({"model_state_dict": STATE}, "'model_state_dict'"),
    (SCALAR, "under 'model'"), (STATE | {"epoch": 3}, "left out: epoch"), (HALF, "float16 is computed with as float32"),
    ({"model": {name: value.numpy() for name, value in STATE.items()}}, "under 'model'"),
])  # fmt: skip
def test_wrapping_is_taken_off_and_said_whatever_the_name_of_the_file(tmp_path, capsys, content, said, suffix):
    blob = tmp_path / "0f3a"
    if suffix == ".safetensors" and all(isinstance(value, torch.Tensor) for value in content.values()):
        save_file(content, blob)
    else:
        torch.save(content, blob)
    (tmp_path / f"weights{suffix}").symlink_to(blob)
    found = read_foreign(tmp_path / f"weights{suffix}")
    assert said in capsys.readouterr().out
    fresh = torch.nn.Linear(3, 2)
    load_weights(fresh, found.tensors, blob)
    for name, value in fresh.state_dict().items():
        assert value.dtype == torch.float32 and torch.allclose(value, STATE[name], atol=1e-3)


class Foreign:
    pass


@pytest.mark.parametrize(("content", "message"), [
    (b"<!DOCTYPE html><title>Virus scan warning</title>", "a web page.*browser"), (b"", "an empty file.*again"),
    (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"), (b"\x1f\x8b" + b"0" * 9, "gunzip --keep"),
    (b"/annex/objects/MD5-s9--1\n", "git annex get"), (b"\x80\x04K\x01.", "a whole checkpoint.*state_dict"),
    (b"PK\x03\x04" + b"0" * 60, "cut short.*again"), (b"\x00\x01\x02\xff" * 9, "unknown kind.*again"),
    (NETWORK, r"torch\.nn\.modules\.linear\.Linear.*weights alone"), ({"model": {"a": 1}}, "at its top are 'model'"),
    ({"model": STATE, "x": Foreign()}, r"Foreign.*weights alone"), ([1], "found a list"),
    ({"_orig_mod.a": torch.ones(1), "a": torch.ones(1)}, "two tensors have one name"),
])  # fmt: skip
def test_other_files_are_told_for_what_they_are(tmp_path, content, message):
    path = tmp_path / "weights.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    caught = refused(rf"weights\.pth: .*{message}", read_foreign, path)
    assert "weights_only" not in caught


def test_a_folder_and_a_numpy_archive_come_with_what_to_give_instead(tmp_path):
    (tmp_path / "snapshot").mkdir()
    torch.save(STATE, tmp_path / "snapshot" / "best.pth")
    refused(r"a folder.*Give a file in it: .*best\.pth", read_foreign, tmp_path / "snapshot")
    np.savez(tmp_path / "old.npz", **{name: value.numpy() for name, value in STATE.items()})
    caught = refused(r"NumPy archive.*python -c", read_foreign, tmp_path / "old.npz")
    command = caught.split('python -c "')[1].rstrip('"')
    subprocess.run([sys.executable, "-c", command], check=True)
    assert torch.equal(read_foreign(tmp_path / "old.pth").tensors["weight"], STATE["weight"])


def test_a_damaged_part_and_weights_of_zeros_are_told(tmp_path, capsys):
    path = tmp_path / "weights.pth"
    torch.save(STATE | {"weight": torch.zeros(2, 3)}, path)
    assert len(read_foreign(path).tensors) == 2 and "leaves them: weight" in capsys.readouterr().out
    path.write_bytes(path.read_bytes().replace(STATE["bias"].numpy().tobytes(), b"damaged!"))
    refused(r"weights\.pth: not a whole checkpoint.*CRC.*again", read_foreign, path)


@pytest.mark.parametrize(("value", "message"), [
    (torch.ones(2, dtype=torch.complex64), "bias holds complex64"), (torch.ones(2, dtype=torch.int64), "holds int64"),
    (torch.ones(2, dtype=torch.bool), "holds bool, expected float32"), (torch.tensor([1, torch.nan]), "not finite"),
    (torch.tensor([1, 1e300], dtype=torch.float64), "not finite in float32"), (torch.ones(2).to_sparse(), "sparse"),
])  # fmt: skip
def test_numbers_of_another_kind_are_refused(tmp_path, value, message):
    with pytest.raises(WorkbenchError, match=f"1 tensors do not fit: .*{message}"):
        load_weights(torch.nn.Linear(3, 2), STATE | {"bias": value}, tmp_path / "weights.pth")


def test_equal_work_has_equal_bytes_in_every_process(tmp_path):
    code = "import sys, torch; from pathlib import Path; from workbench.checkpoints import save_tensors\n"
    code += "save_tensors(Path(sys.argv[1]), {k: torch.ones(2) for k in 'abc'}, {k: {'x': k} for k in 'zyx'})"
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, tmp_path / seed], env=environment, check=True)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert list(read_tensors(tmp_path / "1")[1]) == ["z", "y", "x"]
    size = int.from_bytes((tmp_path / "1").read_bytes()[:8], "little")
    assert len(json.loads((tmp_path / "1").read_bytes()[8 : 8 + size])["__metadata__"]) == 1
