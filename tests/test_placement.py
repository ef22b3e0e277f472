"""Steps on a GPU that is only pretended: tensors of two devices are never mixed, and nothing waits for the GPU."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves

from tests.diffusion.cases import checkpoint, condition_tokens, network
from tests.recognition.conftest import NARROW
from workbench import randomness
from workbench.diffusion.config import DEFAULT_TRAINING, SamplingConfig
from workbench.diffusion.objective import DenoisingObjective, TrainingBatch
from workbench.diffusion.sample import sample_features
from workbench.diffusion.schedule import SOLVERS, NoiseSchedule
from workbench.recognition.batches import Batch
from workbench.recognition.losses import LOSSES, LossConfig
from workbench.recognition.lsvru import Scenes
from workbench.recognition.objective import RecogniserObjective
from workbench.recognition.recogniser import head_class
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import ROLES
from workbench.training import new_optimiser
from workbench.training_state import TrainingState

ATEN, HOST = torch.ops.aten, torch.device("cpu")


class PretendedGpu(FakeTensorMode):
    """What is moved to "cuda" has a shape and no numbers: asking for one raises, and so does mixing devices.

    Tensors of the host stay real. ``fetched`` counts what was copied from the GPU.
    """

    def __init__(self):
        super().__init__(allow_non_fake_inputs=True)
        self.fetched = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        leaves = tree_leaves((args, kwargs or {}))
        if not any(isinstance(leaf, FakeTensor) or getattr(leaf, "type", "") == "cuda" for leaf in leaves):
            return function(*args, **kwargs or {})
        self.fetched += function is ATEN._to_copy.default and HOST in leaves
        self.fetched += function is ATEN.copy_.default and args[0].device == HOST
        return super().__torch_dispatch__(function, types, args, kwargs)


@pytest.mark.parametrize("kind", ["mlp", "unet"])
def test_a_step_of_the_denoiser(kind, tmp_path):
    index, conditions = np.arange(16) % 6, condition_tokens(6)
    batch = TrainingBatch(torch.zeros(16, 10), conditions.batch(index), torch.arange(4), conditions.batch(index))
    objective, average = DenoisingObjective(network(kind).train(), NoiseSchedule(), 0.1), network(kind)
    with PretendedGpu() as gpu:
        objective.to("cuda"), average.to("cuda")
        state = TrainingState(
            tmp_path, objective.network, average, new_optimiser(DEFAULT_TRAINING, objective), DEFAULT_TRAINING
        )
        losses = objective(batch, 0)
        state.add(losses)
        state.update_average(0)
    assert gpu.fetched == 0 and {loss.device.type for loss in (*losses.values(), *state.sums.values())} == {"cuda"}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("architecture", ["lsvru", "reltransformer"])
def test_a_step_of_a_recogniser(architecture, name):
    kind = head_class(architecture)
    sizes = NARROW if kind.reads_scenes else {}
    head = kind.empty(kind.config_class(6, 4, 5, 3, hidden=8, **sizes))
    counts, rows = Counts(np.array([40, 9, 3, 1, 0]), np.array([30, 4, 1]), np.zeros(5, int)), np.arange(12)
    features = tuple(np.zeros((12, 6), np.float16) for _ in ROLES)
    scenes = Scenes(np.zeros((4, 18), np.float16), np.array([3, 0, 1]), rows % 3) if kind.reads_scenes else None
    batch = Batch(features, dict.fromkeys(ROLES, rows % 3), dict.fromkeys(ROLES, rows > 2), rows < 6, scenes)
    loss = LossConfig(name, vilhub_scale=1.0, relmix="clean")
    with PretendedGpu() as gpu:
        losses = RecogniserObjective(head.to("cuda"), loss, counts, synthetic_weight=0.5)(batch, 0)
    # Draws of the equalization losses belong to the labels, and are the same on every device.
    assert gpu.fetched <= 6 * name.startswith("equalization")
    assert {loss.device.type for loss in losses.values()} == {"cuda"}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("target", "init"), [("x0", None), ("epsilon", np.zeros((23, 10), np.float32))])
def test_sampling_fetches_its_samples_and_nothing_else(solver, target, init, monkeypatch):
    monkeypatch.setattr(randomness, "torch_generator", lambda *purpose, device: None)  # torch has none for this GPU
    ours = checkpoint(target=target, identity={"support": "rectified"})
    ours.network.rows_at_once = 7
    with PretendedGpu() as gpu:
        ours.network.to("cuda")
        config = SamplingConfig(steps=5, solver=solver, guidance=2.0)
        assert sample_features(ours, condition_tokens(6), np.arange(23) % 6, config, init=init).shape == (23, 10)
    assert gpu.fetched == 2 * 4  # of each part the features, and which of them are finite
