"""Two processes that share a fit do what one does, stop together, and go on together."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from workbench.processes import Processes
from workbench.recognition import stored_features
from workbench.recognition.checkpoint import load_recogniser
from workbench.recognition.finetuning import finetune_recogniser
from workbench.recognition.objective import Objective
from workbench.recognition.rebalancing import rebalance_recogniser
from workbench.recognition.training import train_recogniser
from workbench.stopping import Stopped

# A batch of 23 leaves one row for the last step of 300: one of two processes has none.
TRAIN = {"epochs": 2, "hidden": 16, "batch_size": 23, "loss": "wce", "vilhub_scale": 0.05, "relmix": "clean",
         "precision": "float32"}  # fmt: skip
SIZES = {"width": 16, "heads": 2, "memory": 4, "scene_hidden": 16, "block_hidden": 16, "dropout": 0.0,
         "attention_dropout": 0.0}  # fmt: skip
TUNE = {"learning_rates": (1e-3, 1e-2), "epochs": 1, "batch_size": 23, "real_replay": 0.5, "precision": "float32"}
FITS = ("lsvru", "blocks", "reltransformer", "finetuned", "own scenes", "image scenes", "crt")


def fit_all(folder, features, text, generated):
    """Each kind of fit in a folder of its own; returns their metrics."""
    data, tune = {"features": features, "text": text}, TUNE | {"features": features, "generated": generated}
    # SGD, because Adam makes much of the rounding in gradients that are 0, as those of a key's bias.
    sgd = {"optimiser": "sgd", "weight_decay": 1e-4}
    scenes = {"architecture": "reltransformer", "sizes": SIZES, "epochs": 1, **sgd}
    metrics = {"lsvru": train_recogniser(folder / "lsvru", **data, **TRAIN)}
    whole, stored_features.BYTES_PER_WINDOW = stored_features.BYTES_PER_WINDOW, 60 * 3 * 12 * 2
    metrics["blocks"] = train_recogniser(folder / "blocks", **data, **(TRAIN | {"epochs": 1}), memory_gigabytes=0.0)
    metrics["reltransformer"] = train_recogniser(folder / "reltransformer", **data, **(TRAIN | scenes), 
                                                 memory_gigabytes=0.0)  # fmt: skip
    metrics["finetuned"] = finetune_recogniser(folder / "finetuned", recogniser=folder / "lsvru", **tune,
                                               weight_interpolation=(0.5, 1.0), memory_gigabytes=0.0)  # fmt: skip
    stored_features.BYTES_PER_WINDOW = whole
    for choice in ("own", "image"):
        metrics[f"{choice} scenes"] = finetune_recogniser(
            folder / f"{choice} scenes",
            recogniser=folder / "reltransformer",
            scenes=choice,
            **(tune | sgd | {"learning_rates": (1e-2,)}),
        )
    metrics["crt"] = rebalance_recogniser(folder / "crt", recogniser=folder / "lsvru", features=features, method="crt",
                                          epochs=1, batch_size=40, precision="float32")  # fmt: skip
    return metrics


def stopped_and_resumed(folder, features, text):
    """Process 1 is told to end in the second epoch; both stop there, and both go on."""
    honest = Objective.__call__

    def told(self, head, visual, logits, targets, step):
        if step == 17 and Processes.current().rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return honest(self, head, visual, logits, targets, step)

    Objective.__call__ = told
    with pytest.raises(Stopped, match="after epoch 1 and 3 steps"):
        train_recogniser(folder / "stopped", features=features, text=text, **TRAIN)
    Objective.__call__ = honest
    assert not (folder / "stopped" / "recogniser.safetensors").exists()
    train_recogniser(folder / "stopped", features=features, text=text, **TRAIN)


def one_of_two(folder, features, text, generated):
    metrics = fit_all(folder, features, text, generated)
    stopped_and_resumed(folder, features, text)
    (folder / f"metrics-{Processes.current().rank}.json").write_text(json.dumps(metrics))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folders(small_data, tmp_path_factory):
    """What two processes and one leave behind, in folders ``two`` and ``one``, and the metrics of one."""
    folder = tmp_path_factory.mktemp("shared fit")
    (folder / "two").mkdir()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = str(listening.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    places = [str(path) for path in (folder / "two", small_data.features, small_data.text, small_data.generated)]
    started = [
        subprocess.Popen([sys.executable, __file__, *places], stderr=subprocess.PIPE, text=True,
                         env=os.environ | common | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in "01"
    ]  # fmt: skip
    alone = fit_all(folder / "one", small_data.features, small_data.text, small_data.generated)
    for process in started:
        told = process.communicate(timeout=120)[1]
        assert process.returncode == 0, told
    return folder, alone


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", FITS)
def test_two_processes_give_the_weights_of_one(folders, name):
    one, two = (load_recogniser(folders[0] / count / name).head.state_dict() for count in ("one", "two"))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-4, msg=lambda text, key=key: f"{key}: {text}")
    for ours, other in zip(*(log_of(folders[0] / count / name) for count in ("one", "two")), strict=True):
        assert {**other, "seconds": 0} == pytest.approx({**ours, "seconds": 0}, rel=1e-3)


def test_all_processes_return_the_same_and_leave_no_state(folders):
    told = [json.loads((folders[0] / "two" / f"metrics-{rank}.json").read_text()) for rank in "01"]
    for name in FITS:
        first, second = ({**metrics[name], "seconds": 0} for metrics in told)
        assert first == second
        for number in ("validation_combined", "validation_subject", "validation_relation"):
            assert first[number] == pytest.approx(folders[1][name][number], abs=1.0)
        left = {path.name for path in (folders[0] / "two" / name).iterdir()}
        assert left == {"log.jsonl", "recogniser.safetensors"}


def test_processes_that_were_stopped_go_on_to_the_same_bits(folders):
    whole, stopped = (load_recogniser(folders[0] / "two" / name).head.state_dict() for name in ("lsvru", "stopped"))
    assert all(torch.equal(value, stopped[name]) for name, value in whole.items())


if __name__ == "__main__":
    one_of_two(*map(Path, sys.argv[1:]))
