from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.diffusion.cases import checkpoint, text
from tests.refusals import refused
from workbench.checkpoints import read_tensors, save_tensors
from workbench.diffusion.checkpoint import DenoiserCheckpoint
from workbench.diffusion.config import ConditionDropout, SamplingConfig
from workbench.diffusion.denoiser import DENOISERS, MLPConfig, MLPDenoiser, denoiser_classes, denoiser_name
from workbench.diffusion.sample import sample_triplets
from workbench.errors import WorkbenchError

QUICK = SamplingConfig(steps=4, seed=5)
FILE = "denoiser.safetensors"


@pytest.mark.parametrize("kind", ["mlp", "unet"])
@pytest.mark.parametrize("layout", ["tokens", "pooled"])
@pytest.mark.parametrize("centroids", [0, 3])
def test_what_was_saved_samples_the_same(tmp_path, kind, layout, centroids):
    sizes = {"layout": layout, "centroids": centroids}
    saved = checkpoint(kind, identity={"regions": ("union", "box")}, schedule="scaled_linear", **sizes)
    saved.save(tmp_path / FILE)
    loaded = DenoiserCheckpoint.load(tmp_path / FILE, "cpu")
    for name in ("denoiser", "schedule", "dropout", "identity"):
        assert getattr(loaded, name) == getattr(saved, name)
    assert (loaded.network.config, loaded.network.sizes) == (saved.network.config, saved.network.sizes)
    triplets = ["cup on dog", ("dog", "under", "cup"), (2, 1, 0)]
    ours, theirs = (sample_triplets(c, triplets, QUICK, text=text()) for c in (saved, loaded))
    np.testing.assert_array_equal(ours, theirs)
    assert ours.shape == (3, 10)


def test_it_samples_on_its_own_without_the_text_tower():
    triplets = [("cup", "on", "dog"), ("dog", "under", "cup")]
    sampled = sample_triplets(checkpoint(), triplets, QUICK)
    assert np.isfinite(sampled).all() and not np.allclose(sampled[0], sampled[1])
    never = [{"dropout": ConditionDropout(**{lost: 0.0})} for lost in ("token", "hardness")]
    for other in ({"layout": "pooled"}, *never):
        refused("cannot do without caption", sample_triplets, checkpoint(**other), triplets, QUICK)


def test_triplets_are_read_from_words():
    typed = ["dog riding skateboard", "traffic light on dog", "dog parked on light", "light parked on traffic light"]
    ids = checkpoint().identity.class_ids(typed)
    assert ids.to_numpy().tolist() == [[2, 1, 3], [1, 0, 2], [2, 2, 4], [4, 2, 1]]
    assert checkpoint().captions(ids.to_numpy()) == typed


@pytest.mark.parametrize(("triplet", "message"), [
    (("cat", "on", "cup"), r"there is no subject class 'cat' among 5. The nearest name is 'cup'"),
    ("dog riding skatebord", r"no object class 'skatebord'.*'skateboard'"),
    ("dog ridin skateboard", r"no relation class 'ridin'.*'riding'"),
    ("trafic light on dog", r"no subject class 'trafic light'.*'traffic light'"),
    ("dog skateboard", r"is no triplet; expected \"subject relation object\""),
    (("dog", "riding"), r"is no triplet; expected \"subject relation object\""), (3, "3 is no triplet"),
    ((0, 4, 0), "no relation class 4; expected 0 to"), ((0, 0, -1), "no object class -1; expected 0 to"),
])  # fmt: skip
def test_an_unknown_class_is_refused_with_the_nearest_name(triplet, message):
    refused(message, checkpoint().identity.class_ids, [triplet])


def test_a_file_of_another_kind_or_cut_short_is_named(tmp_path):
    save_tensors(tmp_path / "other.safetensors", {"x": torch.zeros(2)}, {})
    refused(r"format is None.*notebook 03", DenoiserCheckpoint.load, tmp_path / "other.safetensors")
    checkpoint().save(tmp_path / FILE)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-100])
    refused("not a whole checkpoint", DenoiserCheckpoint.load, tmp_path / FILE)


def test_weights_that_do_not_fit_are_listed_by_name_and_an_unknown_denoiser_is_named(tmp_path):
    checkpoint().save(tmp_path / FILE)
    tensors, facts = read_tensors(tmp_path / FILE)
    save_tensors(tmp_path / "kind.safetensors", tensors, facts | {"denoiser": "transformer"})
    refused("'transformer' is not known", DenoiserCheckpoint.load, tmp_path / "kind.safetensors")
    del tensors["leave.bias"]
    changed = {"more": torch.zeros(1), "null_tokens": torch.zeros(5, 9)}
    save_tensors(tmp_path / FILE, tensors | changed, facts)
    raised = refused(None, DenoiserCheckpoint.load, tmp_path / FILE)
    for part in ("missing leave.bias", "extra more", "null_tokens has shape (5, 9), expected (5, 8)"):
        assert part in raised


def test_another_store_or_text_encoder_and_guidance_without_dropout_are_refused():
    fitting = {"dimension": 10, "encoder": "vgg", "support": "signed"}
    checkpoint().require_store(SimpleNamespace(**fitting))
    for name, value in {"dimension": 12, "encoder": "another vgg", "support": "rectified"}.items():
        refused(f"{name} is {value!r}", checkpoint().require_store, SimpleNamespace(**(fitting | {name: value})))
    refused("another tower", sample_triplets, checkpoint(), [(0, 0, 0)], QUICK, text=text("another tower"))
    never = checkpoint(dropout=ConditionDropout(everything=0.0))
    with pytest.raises(WorkbenchError, match=r"guidance 1.5 needs .* dropout of 0"):
        sample_triplets(never, [(0, 0, 0)], SamplingConfig(guidance=1.5), text=text())


class Mine(MLPDenoiser):
    pass


def test_a_denoiser_is_named_so_that_its_checkpoint_finds_it_again(monkeypatch):
    assert denoiser_name("mlp") == denoiser_name(DENOISERS["mlp"]) == "mlp"
    for pair in ((MLPConfig, Mine), [f"{MLPConfig.__module__}:MLPConfig", f"{__name__}:Mine"]):
        assert denoiser_classes(denoiser_name(pair)) == (MLPConfig, Mine)
    other = (MLPConfig, type("Other", (MLPDenoiser,), {"__module__": __name__}))
    refused(r"a checkpoint must name it, .*:Other' cannot be .* or register them", denoiser_name, other)
    DENOISERS.register("other denoiser")(other)
    assert denoiser_name(other) == "other denoiser"
    DENOISERS.pop("other denoiser")
