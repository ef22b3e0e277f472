import json
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.refusals import refused
from workbench.errors import WorkbenchError
from workbench.language import caption_encoder
from workbench.language.caption_encoder import CaptionEncoder
from workbench.language.config import TextConfig
from workbench.language.published_weights import description_of, refuse_other_training
from workbench.language.text_embedding import TextEmbeddings, embed_class_names, write_class_vectors
from workbench.scenes.vocabulary import Vocabulary

NAMES = Vocabulary(("cup", "fire hydrant", "dog"), ("on", "to the left of"))
CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A model that open_clip knows by name, with random weights in both of its file formats."""
    import open_clip

    folder = tmp_path_factory.mktemp("open_clip")
    (folder / "Tiny-Test.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / "Tiny-Test.json")
    torch.manual_seed(0)
    model = open_clip.create_model("Tiny-Test", load_weights=False).eval()
    weights = model.state_dict()
    save_file(weights, folder / "tiny.safetensors")
    torch.save({"state_dict": {f"module.{key}": value for key, value in weights.items()}}, folder / "tiny.pt")
    return model, folder


@torch.no_grad()
def as_open_clip_does(model, captions) -> np.ndarray:
    import open_clip

    return model.encode_text(open_clip.tokenize(list(captions)), normalize=True).numpy()


def tiny(folder, file="tiny.safetensors", pretrained="none") -> TextConfig:
    return TextConfig("Tiny-Test", pretrained, folder / file)


@pytest.fixture
def features(tmp_path):
    NAMES.write(tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", ["tiny.safetensors", "tiny.pt"])
def test_a_tower_embeds_as_open_clip_does_and_each_distinct_caption_once(published, features, file, monkeypatch):
    model, folder = published
    metrics = embed_class_names(features / "text", vocabulary_folder=features, config=tiny(folder, file))
    assert metrics["dimension"] == 24
    text = TextEmbeddings.open(features / "text")
    np.testing.assert_allclose(text.objects, as_open_clip_does(model, NAMES.objects), atol=1e-6)
    assert not text.learned_relations
    captions = [NAMES.caption(0, 1, 2), NAMES.caption(1, 0, 0), NAMES.caption(0, 1, 2)]
    expected = as_open_clip_does(model, captions)
    np.testing.assert_allclose(text.captions(captions), expected, atol=1e-6)
    asked, embed = [], CaptionEncoder.embed
    monkeypatch.setattr(CaptionEncoder, "embed", lambda self, captions: asked.extend(captions) or embed(self, captions))
    np.testing.assert_allclose(text.triplets([0, 1, 0], [1, 0, 1], [2, 0, 2]), expected, atol=1e-6)
    assert sorted(asked) == ["cup to the left of dog", "fire hydrant on cup"]
    assert text.triplets([], [], []).shape == (0, 24)


@pytest.mark.parametrize("quick", [False, True])
def test_quick_gelu_and_the_custom_text_layout_are_honoured(quick):
    import open_clip

    torch.manual_seed(1)
    model = open_clip.CustomTextCLIP(**CONFIG, quick_gelu=quick).eval()
    config = {**CONFIG, "quick_gelu": quick, "encoder": "x", "token_ids": None}
    encoder = CaptionEncoder.from_clip_weights(config, model.state_dict())
    expected = as_open_clip_does(model, ["a dog on a cup"])
    np.testing.assert_allclose(encoder.embed(["a dog on a cup"]), expected, atol=1e-6)


@pytest.mark.parametrize(("rows_per_pass", "rows_per_chunk"), [(1, 16384), (3, 13), (4, 13), (64, 16384)])
def test_captions_of_many_lengths_keep_their_order_and_the_batch_does_not_matter(
    published, monkeypatch, rows_per_pass, rows_per_chunk
):
    monkeypatch.setattr(caption_encoder, "ROWS_PER_PASS", {"cpu": rows_per_pass, "cuda": rows_per_pass})
    monkeypatch.setattr(caption_encoder, "CAPTIONS_PER_CHUNK", rows_per_chunk)
    encoder = CaptionEncoder.from_open_clip(tiny(published[1]))
    lengths = np.random.default_rng(0).permutation(40)
    captions = [" ".join(["dog"] * (1 + length)) for length in lengths]
    together = encoder.embed(captions)
    np.testing.assert_allclose(together, as_open_clip_does(published[0], captions), atol=1e-6)
    np.testing.assert_array_equal(together, encoder.embed(captions))
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-6)
    assert encoder.embed([]).shape == (0, 24)


def test_a_state_dict_of_openais_own_model_is_read_and_its_archive_is_refused(published, tmp_path):
    weights = {name: value.half() for name, value in published[0].state_dict().items()}
    sizes = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    torch.save(weights | sizes, tmp_path / "weights.pt")
    encoder = CaptionEncoder.from_open_clip(tiny(tmp_path, "weights.pt"))
    np.testing.assert_allclose(encoder.embed(["a dog"]), as_open_clip_does(published[0], ["a dog"]), atol=2e-3)
    with zipfile.ZipFile(tmp_path / "ViT-L-14.pt", "w") as archive:
        for name in ("constants.pkl", "data.pkl", "code/__torch__.py", "version"):
            archive.writestr(f"ViT-L-14/{name}", b"")
    with pytest.raises(WorkbenchError, match=r"TorchScript archive.*hf download timm/vit_large.*ViT-L-14_weights\.pt"):
        CaptionEncoder.from_open_clip(tiny(tmp_path, "ViT-L-14.pt"))


@pytest.mark.parametrize("dimension", [2, 50])
def test_class_vectors_are_composed_by_their_normalised_sum(tmp_path, dimension):
    draw = np.random.default_rng(dimension)
    objects, relations = draw.standard_normal((3, dimension)), 9 * draw.standard_normal((2, dimension))
    write_class_vectors(tmp_path, vocabulary=NAMES, objects=objects, relations=relations, encoder="given")
    text = TextEmbeddings.open(tmp_path)
    unit = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (objects, relations)]
    expected = unit[0][2] + unit[1][1] + unit[0][0]
    np.testing.assert_allclose(text.triplets([2], [1], [0])[0], expected / np.linalg.norm(expected), rtol=1e-5)
    refused("no text tower", text.captions, ["a cup"])
    refused(r"relation class 2 is outside 0\.\.1", text.triplets, [0], [2], [0])


@pytest.mark.parametrize(("config", "message"), [
    (("Tiny-Test", "openai", "cut.pt"), r"cut\.pt: .*cut short, expected a whole checkpoint.*download it again"),
    (("Tiny-Test", "openai", "cut.safetensors"), r"cut\.safetensors: not a whole checkpoint"),
    (("ViT-B-32", "openai", "tiny.safetensors"), "belongs to the model name"),
    (("Tiny-Test", "openai", "absent.safetensors"), r"absent\.safetensors"), (TextConfig("ViT-X"), "no model 'ViT-X'"),
    (TextConfig("ViT-B-32", "none"), "publishes no weights 'none'"), (TextConfig(), r"hf download .*download=True"),
    # Tags and towers that cannot be right are refused before the weights are read.
    (("ViT-L-14", "laion2b", "absent"), "no weights 'laion2b' for ViT-L-14; it has openai"),
    (("ViT-L-14-quickgelu", "laion2b_s32b_b82k", "absent"), "trained without it. Give the model ViT-L-14"),
    (("ViT-H-14-worldwide", "none", "absent"), "tokens by facebook/xlm-v-base, which is not on this machine. Fetch it"),
    (("roberta-ViT-B-32", "none", "absent"), "transformers is not supported"),
])  # fmt: skip
def test_what_is_missing_or_cut_short_or_cannot_be_is_named_with_its_remedy(published, config, message):
    folder = published[1]
    for kind in (".safetensors", ".pt"):
        whole = (folder / f"tiny{kind}").read_bytes()
        (folder / f"cut{kind}").write_bytes(whole[: len(whole) // 2])
    if isinstance(config, tuple):
        config = TextConfig(*config[:2], folder / config[2])
    refused(message, CaptionEncoder.from_open_clip, config)


@pytest.mark.parametrize(("tokeniser", "rows", "message"), [
    ("", 300, "has 49,408 tokens, its text tower 300"), ("own", 2, "has 4 tokens, its text tower 2"),
    ("own", 3, "absent: there is no checkpoint here"),
])  # fmt: skip
def test_a_tokeniser_with_more_tokens_than_its_tower_is_refused(tmp_path, monkeypatch, tokeniser, rows, message):
    import open_clip

    class Tokeniser:
        tokenizer = SimpleNamespace(get_vocab=lambda: {"<pad>": 0, "a": 1, "b": 2, "\u2581<extra_id_0>": 3})
        __call__ = staticmethod(lambda texts: torch.ones(1, 77))

    monkeypatch.setattr(open_clip.tokenizer, "HFTokenizer", lambda *given, **options: Tokeniser())
    text = CONFIG["text_cfg"] | {"vocab_size": rows, "hf_tokenizer_name": tokeniser}
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: CONFIG | {"text_cfg": text})
    refused(message, CaptionEncoder.from_open_clip, TextConfig("Tiny", "none", tmp_path / "absent"))


@pytest.mark.parametrize(("changed", "message"), [
    ({"relations": np.full((2, 4), np.nan)}, "2 of 2 relations lack .*complete_text_folder"),
    ({"relations": np.ones((2, 5))}, r"shape \(2, 5\) where text\.json says \(classes, 4\)"),
    ({"objects": np.diag([1, np.nan, 1]) @ np.ones((3, 4))}, "'fire hydrant': row 1 is not finite"),
    ({"objects": np.ones((2, 4))}, "objects have text vectors"),
])  # fmt: skip
def test_class_vectors_that_do_not_fit_are_refused(tmp_path, changed, message):
    refused(r"text\.json", TextEmbeddings.open, tmp_path)
    given = {"objects": np.ones((3, 4)), "relations": np.ones((2, 4)), **changed}
    with pytest.raises(WorkbenchError, match=message):
        write_class_vectors(tmp_path, vocabulary=NAMES, **given, encoder="x")
        TextEmbeddings.open(tmp_path)


def lie(folder, place, *, metadata=None, name="weights"):
    """Tiny weights at ``place`` below ``folder``, with what tells their training."""
    path = folder / place / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"a": torch.zeros(1)}, path, metadata)
    return path


@pytest.mark.parametrize(("tag", "quick", "digest", "place", "told"), [
    ("laion2b_s32b_b82k", False, "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", {}, "checksum"),
    ("openai", True, "0", {"metadata": {"pretrained": "datacomp_xl_s13b_b90k"}}, "metadata"),
    ("openai", True, "0", {"metadata": {"quick_gelu": "false"}}, "metadata .* without QuickGELU"),
    ("openai", True, "0", {"place": "models--laion--CLIP-ViT-L-14-laion2B-s32B-b82K/snapshots"}, "repository"),
    ("openai", True, "0", {"name": "ViT-L-14-laion2b_s32b_b82k"}, "its name says"),
    ("openai", True, "0", {"place": "config"}, "open_clip_config.* without QuickGELU"),
    ("laion2b_s32b_b82k", False, "0", {"name": "ViT-L-14-laion2B-s32B-b82K"}, None),
    ("openai", True, "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", {}, None),
])  # fmt: skip
def test_weights_of_another_training_are_refused(tmp_path, tag, quick, digest, place, told):
    path = lie(tmp_path, **{"place": "x", **place})
    if place.get("place") == "config":
        (path.parent / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 768}}')
    assert description_of("ViT-L-14", tag).get("quick_gelu", False) == quick
    if told is None:
        assert refuse_other_training(path, "ViT-L-14", tag, quick, digest)
        return
    refused(f"{told}.*pretrained", refuse_other_training, path, "ViT-L-14", tag, quick, digest)


def test_what_is_assumed_of_weights_is_said(published, features, capsys):
    metrics = embed_class_names(features / "text", vocabulary_folder=features, config=tiny(published[1]))
    told = "Tiny-Test none, without QuickGELU: assumed from `pretrained`, nothing in the file tells it"
    assert metrics["clip_weights"] == told and told in capsys.readouterr().out
