import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from workbench.diffusion.checkpoint import DenoiserCheckpoint, DenoiserIdentity, read_tensors
from workbench.diffusion.denoiser import Denoiser, DenoiserConfig
from workbench.diffusion.schedule import NoiseSchedule
from workbench.diffusion.standardisation import Standardisation
from workbench.diffusion.training_batches import ConditionDropout
from workbench.errors import WorkbenchError

DRAW = np.random.default_rng(0)
DROPOUT = ConditionDropout()
OBJECTS, RELATIONS = ("cup", "plate", "dog"), ("on", "under")


class Text:
    encoder, dimension = "fake text", 6
    objects = DRAW.standard_normal((3, 6)).astype(np.float32)
    relations = DRAW.standard_normal((2, 6)).astype(np.float32)

    def triplets(self, subject, relation, object):
        return self.objects[subject] + 2 * self.relations[relation] + 3 * self.objects[object]


def checkpoint(layout="tokens", dropout=DROPOUT, n_centres=4, **identity):
    torch.manual_seed(0)
    config = DenoiserConfig(10, 6, n_centres, layout, width=16, blocks=2, heads=2, token_width=8)
    model = Denoiser(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    names = {"objects": OBJECTS, "relations": RELATIONS, "encoder": "vgg", "text_encoder": "fake text"}
    arrays = {"object_text": Text.objects, "relation_text": Text.relations}
    arrays["hardness_centres"] = np.random.default_rng(1).standard_normal((n_centres, 6)) if n_centres else None
    standard = Standardisation(np.arange(10, dtype=np.float32), np.full(10, 2, dtype=np.float32))
    who = DenoiserIdentity(**(names | arrays | identity))
    return DenoiserCheckpoint(model.eval(), standard, NoiseSchedule("scaled_linear"), dropout, who)


@pytest.mark.parametrize("layout", ["tokens", "pooled"])
@pytest.mark.parametrize("n_centres", [0, 4])
def test_what_was_saved_samples_the_same(tmp_path, layout, n_centres):
    saved = checkpoint(layout, n_centres=n_centres, regions=("union", "box"))
    saved.save(tmp_path / "denoiser.safetensors")
    loaded = DenoiserCheckpoint.load(tmp_path / "denoiser.safetensors", "cpu")
    assert (loaded.config, loaded.schedule, loaded.dropout) == (saved.config, saved.schedule, saved.dropout)
    assert loaded.identity == saved.identity and loaded.identity.regions == ("union", "box")
    triplets = [("cup", "on", "plate"), ("dog", "under", "cup"), (2, 1, 0)]
    ours, theirs = (c.sample_triplets(triplets, text=Text(), seed=5, steps=4) for c in (saved, loaded))
    np.testing.assert_array_equal(ours, theirs)
    assert ours.shape == (3, 10)


def test_it_samples_on_its_own_without_the_text_tower():
    triplets = [("cup", "on", "plate"), ("dog", "under", "cup")]
    sampled = checkpoint().sample_triplets(triplets, seed=5, steps=4)
    assert np.isfinite(sampled).all() and not np.allclose(sampled[0], sampled[1])
    with pytest.raises(WorkbenchError, match="cannot do without caption"):
        checkpoint("pooled").sample_triplets(triplets, seed=5, steps=4)
    with pytest.raises(WorkbenchError, match="cannot do without caption"):
        checkpoint(dropout=ConditionDropout(token=0.0)).sample_triplets(triplets, seed=5, steps=4)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_checkpoint_is_named(tmp_path, share):
    path = tmp_path / "denoiser.safetensors"
    checkpoint().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WorkbenchError, match=r"not a whole .safetensors file"):
        DenoiserCheckpoint.load(path)


def test_a_missing_or_foreign_file_is_named(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(WorkbenchError, match="missing"):
        DenoiserCheckpoint.load(tmp_path / "none.safetensors")
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WorkbenchError, match="format"):
        DenoiserCheckpoint.load(tmp_path / "other.safetensors")


def rewritten(path, change):
    """The checkpoint at ``path`` with its tensors and its description changed by ``change``."""
    from safetensors.torch import save_file

    tensors, metadata = read_tensors(path)
    described = json.loads(metadata["denoiser"])
    change(tensors, described)
    save_file(tensors, path, metadata=metadata | {"denoiser": json.dumps(described)})


def test_weights_that_do_not_fit_are_listed_by_name(tmp_path):
    path = tmp_path / "denoiser.safetensors"
    checkpoint().save(path)

    def change(tensors, described):
        del tensors["weight.leave.bias"], tensors["weight.enter.bias"]
        tensors["weight.more"] = torch.zeros(1)
        tensors["weight.null_tokens"] = torch.zeros(5, 9)

    rewritten(path, change)
    with pytest.raises(WorkbenchError) as raised:
        DenoiserCheckpoint.load(path)
    for part in ("2 missing: enter.bias, leave.bias", "1 not known: more", "null_tokens (5, 9) instead of (5, 8)"):
        assert part in str(raised.value)


def test_a_file_without_a_kind_is_an_mlp_and_an_unknown_kind_is_named(tmp_path):
    path = tmp_path / "denoiser.safetensors"
    saved = checkpoint()
    saved.save(path)

    def older(tensors, described):
        assert described.pop("kind") == "mlp" and described["config"].pop("target") == "x0"

    rewritten(path, older)
    loaded = DenoiserCheckpoint.load(path, "cpu")
    assert loaded.config == saved.config
    assert all(torch.equal(value, loaded.model.state_dict()[name]) for name, value in saved.model.state_dict().items())
    rewritten(path, lambda tensors, described: described.update(kind="transformer"))
    with pytest.raises(WorkbenchError, match="'transformer' is not known"):
        DenoiserCheckpoint.load(path)


@pytest.mark.parametrize(("name", "value"), [("dimension", 12), ("encoder", "another vgg"), ("support", "rectified")])
def test_a_store_that_does_not_fit_is_refused(name, value):
    fitting = {"dimension": 10, "encoder": "vgg", "support": "signed"}
    checkpoint().require_store(SimpleNamespace(**fitting))
    with pytest.raises(WorkbenchError, match=f"{name} is {value!r}"):
        checkpoint().require_store(SimpleNamespace(**(fitting | {name: value})))


def test_another_text_encoder_is_refused():
    text = Text()
    text.encoder = "another tower"
    with pytest.raises(WorkbenchError, match="another tower"):
        checkpoint().sample_triplets([(0, 0, 0)], text=text, seed=0)


def test_guidance_is_refused_when_the_condition_was_never_dropped():
    never = checkpoint(dropout=ConditionDropout(everything=0.0))
    assert never.sample_triplets([(0, 0, 0)], text=Text(), seed=0, steps=2).shape == (1, 10)
    with pytest.raises(WorkbenchError, match=r"guidance 1.5 needs .* dropout of 0"):
        never.sample_triplets([(0, 0, 0)], text=Text(), seed=0, steps=2, guidance=1.5)


@pytest.mark.parametrize("triplet", [("cat", "on", "cup"), ("cup", "beside", "dog"), (0, 2, 0), (0, 0, -1)])
def test_an_unknown_class_is_named(triplet):
    with pytest.raises(WorkbenchError, match=r"no (subject|relation) class|class (2|-1) is not known"):
        checkpoint().triplet_ids([triplet])


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    import errno
    import os

    path = tmp_path / "denoiser.safetensors"
    checkpoint().save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkbenchError, match="disk is full"):
        checkpoint(n_centres=0).save(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
