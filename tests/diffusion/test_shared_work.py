"""Two processes that share training and sampling do what one does."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.diffusion import sampling
from workbench.diffusion.checkpoint import DenoiserCheckpoint
from workbench.diffusion.conditions import ConditionTable
from workbench.diffusion.sampling import generate_features
from workbench.diffusion.training import CHECKPOINT, DiffusionConfig, read_log, train_denoiser, train_diffusion
from workbench.diffusion.training_batches import TrainingBatches
from workbench.diffusion.training_step import DenoiserTraining
from workbench.errors import WorkbenchError
from workbench.processes import Processes
from workbench.stopping import Stopped

MLP = {"width": 16, "heads": 2, "blocks": 2, "token_width": 8, "batch_size": 40, "dropout": 0.2, "steps": 20}
SETTINGS = {
    "plain": {},
    "balanced": {"class_balancing": 1.0, "accumulation": 3, "order": "blocks"},
    "unet": {"denoiser": "unet", "unet_channels": (8,), "unet_layers": 1, "steps": 5, "accumulation": 2},
}


def train(folder, order="rows", **options):
    """A training of 20 steps with dropout of everything."""
    draw = np.random.default_rng(0)
    hardness = draw.random((6, 3)).astype(np.float32)
    table = ConditionTable.from_tokens(draw.standard_normal((6, 4, 8)), hardness=hardness)
    index = np.arange(300) % 6
    features = (draw.standard_normal((300, 12)) + index[:, None]).astype(np.float32)
    config = DiffusionConfig(**(MLP | {"precision": "float32"} | options))
    return train_denoiser(
        folder, features, index, table, config=config, seed=1, order=order, row_weights=1 + draw.random(300),
        held_out=(features, index), held_out_every=10, log_every=5, checkpoint_seconds=1e9,
    )  # fmt: skip


def generate(folder, inputs, diffusion):
    inputs = {name: Path(path) for name, path in inputs.items()}
    return generate_features(folder, **inputs, diffusion=diffusion, steps=3, samples=45, seed=2, precision="float32")


def terminated_at(owner, name, call, rank):
    """Have the process of ``rank`` send itself SIGTERM in the ``call``-th call of a function."""
    honest, calls = getattr(owner, name), []

    def asked(*arguments, **options):
        calls.append(1)
        if len(calls) == call and Processes.current().rank == rank:
            os.kill(os.getpid(), signal.SIGTERM)
        return honest(*arguments, **options)

    setattr(owner, name, asked)
    return lambda: setattr(owner, name, honest)


def one_of_two(folder, inputs):
    """What each of the two processes does."""
    sampling.ROWS_PER_PART = 16
    for name, options in SETTINGS.items():
        train(folder / name, **options)
    restore = terminated_at(DenoiserTraining, "step", 8, rank=1)
    with pytest.raises(Stopped, match="after step 8 of 20"):
        train(folder / "stopped")
    restore()
    assert not (folder / "stopped" / CHECKPOINT).exists()
    metrics = train(folder / "stopped")
    (folder / f"metrics-{Processes.current().rank}.json").write_text(json.dumps(metrics))
    generate(folder / "generated", inputs, folder.parent / "diffusion")
    restore = terminated_at(sampling, "sample_features", 1, rank=1)
    with pytest.raises(Stopped, match="part that was finished is kept"):
        generate(folder / "generated in two", inputs, folder.parent / "diffusion")
    restore()
    assert len(list((folder / "generated in two").glob("*.part-*"))) == 2
    generate(folder / "generated in two", inputs, folder.parent / "diffusion")
    torch.distributed.destroy_process_group()


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return str(listening.getsockname()[1])


@pytest.fixture(scope="module")
def folders(tmp_path_factory, small_features):
    """What two processes and one leave behind, in folders ``two`` and ``one``."""
    folder = tmp_path_factory.mktemp("shared")
    options = {"steps": 5, "width": 16, "heads": 2, "blocks": 1, "token_width": 8, "batch_size": 32}
    train_diffusion(folder / "diffusion", **small_features, **options)
    inputs = json.dumps({name: str(path) for name, path in small_features.items()})
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(folder / "two"), inputs]
    (folder / "two").mkdir()
    started = [
        subprocess.Popen(
            command, env=os.environ | common | {"RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True
        )
        for rank in "01"
    ]
    for name, chosen in SETTINGS.items():
        train(folder / "one" / name, **(chosen | {"accumulation": 1}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "ROWS_PER_PART", 16)
        generate(folder / "one" / "generated", small_features, folder / "diffusion")
    for process in started:
        told = process.communicate(timeout=120)[1]
        assert process.returncode == 0, told
    return folder


def weights(folder):
    return DenoiserCheckpoint.load(folder / CHECKPOINT, "cpu").model.state_dict()


@pytest.mark.parametrize("name", SETTINGS)
def test_shared_training_gives_the_weights_of_one_process(folders, name):
    one, two = weights(folders / "one" / name), weights(folders / "two" / name)
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")
    for ours, other in zip(read_log(folders / "one" / name), read_log(folders / "two" / name), strict=True):
        assert ours.keys() == other.keys()
        for number in ours.keys() - {"seconds"}:
            assert other[number] == pytest.approx(ours[number], rel=1e-4)


def test_a_training_that_was_asked_to_stop_goes_on_to_the_same_bits(folders):
    alone, stopped = weights(folders / "two" / "plain"), weights(folders / "two" / "stopped")
    assert all(torch.equal(alone[name], stopped[name]) for name in alone)
    logs = [read_log(folders / "two" / name) for name in ("plain", "stopped")]
    assert [line | {"seconds": 0} for line in logs[0]] == [line | {"seconds": 0} for line in logs[1]]
    metrics = [json.loads((folders / "two" / f"metrics-{rank}.json").read_text()) for rank in "01"]
    assert metrics[0] == metrics[1] and metrics[0]["processes"] == 2


@pytest.mark.parametrize("generated", ["generated", "generated in two"])
def test_shared_sampling_writes_the_bytes_of_one_process(folders, generated):
    for name in ("union_features.npy", "generated.parquet", "generated.json"):
        expected = (folders / "one" / "generated" / name).read_bytes()
        assert (folders / "two" / generated / name).read_bytes() == expected
    assert not list((folders / "two" / generated).glob("*.part-*"))


@pytest.mark.parametrize(("batch_size", "count", "accumulation"), [(40, 1, 1), (40, 2, 3), (24, 3, 2), (7, 2, 2)])
def test_parts_follow_each_other_and_are_whole_levels(batch_size, count, accumulation):
    batches = TrainingBatches(0, batch_size, np.ones(5), 1000)
    parts = [part for rank in range(count) for part in batches.parts(Processes(rank, count), accumulation)]
    rows = batch_size // batches.levels
    assert [part.rows.start for part in parts] + [batch_size] == [0] + [part.rows.stop for part in parts]
    assert all(
        (part.levels.start * rows, part.levels.stop * rows) == (part.rows.start, part.rows.stop) for part in parts
    )
    assert sum(part.share for part in parts) == pytest.approx(1.0)
    assert len(parts) == count * accumulation and all(part.share > 0 for part in parts)


@pytest.mark.parametrize(("count", "accumulation"), [(1, 11), (11, 1), (4, 4), (1, 0)])
def test_a_batch_that_cannot_be_shared_out_is_refused(count, accumulation):
    with pytest.raises(WorkbenchError, match=r"batch of 40 rows has 10 noise levels.*batch_size"):
        TrainingBatches(0, 40, np.ones(5), 1000).parts(Processes(0, count), accumulation)


def test_a_training_that_was_asked_to_stop_in_one_process_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(DenoiserTraining, "step", DenoiserTraining.step)
    restore = terminated_at(DenoiserTraining, "step", 12, rank=0)
    with pytest.raises(Stopped, match=r"after step 12 of 20.*same command"):
        train(tmp_path / "stopped")
    restore()
    train(tmp_path / "stopped")
    train(tmp_path / "alone")
    alone, stopped = weights(tmp_path / "alone"), weights(tmp_path / "stopped")
    assert all(torch.equal(alone[name], stopped[name]) for name in alone)


if __name__ == "__main__":
    one_of_two(Path(sys.argv[1]), json.loads(sys.argv[2]))
