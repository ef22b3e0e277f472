import json
import zipfile

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from workbench.errors import WorkbenchError
from workbench.language import caption_encoder
from workbench.language.caption_encoder import CaptionEncoder
from workbench.language.config import TextConfig
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
    folder = tmp_path_factory.mktemp("open_clip")
    (folder / "Tiny-Test.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / "Tiny-Test.json")
    torch.manual_seed(0)
    model = open_clip.create_model("Tiny-Test", load_weights=False).eval()
    save_file(model.state_dict(), folder / "tiny.safetensors")
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, folder / "tiny.pt"
    )
    return model, folder


def tiny(folder) -> TextConfig:
    return TextConfig("Tiny-Test", "none", folder / "tiny.safetensors")


@pytest.fixture
def features(tmp_path):
    NAMES.write(tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", ["tiny.safetensors", "tiny.pt"])
def test_a_tower_embeds_as_open_clip_does(published, features, file):
    model, folder = published
    metrics = embed_class_names(
        features / "text", vocabulary_folder=features, config=TextConfig("Tiny-Test", checkpoint=folder / file)
    )
    assert metrics["dimension"] == 24
    text = TextEmbeddings.open(features / "text")
    captions = [NAMES.caption(0, 1, 2), NAMES.caption(1, 0, 0), NAMES.caption(0, 1, 2)]
    with torch.no_grad():
        expected = model.encode_text(open_clip.tokenize(captions), normalize=True).numpy()
        names = model.encode_text(open_clip.tokenize(list(NAMES.objects)), normalize=True).numpy()
    np.testing.assert_allclose(text.triplets([0, 1, 0], [1, 0, 1], [2, 0, 2]), expected, atol=1e-6)
    np.testing.assert_allclose(text.captions(captions), expected, atol=1e-6)
    np.testing.assert_allclose(text.objects, names, atol=1e-6)
    assert not text.learned_relations


def test_quick_gelu_and_the_custom_text_layout_are_honoured():
    torch.manual_seed(1)
    for quick in (False, True):
        model = open_clip.CustomTextCLIP(**CONFIG, quick_gelu=quick).eval()
        config = {**CONFIG, "quick_gelu": quick, "encoder": "x", "token_ids": None}
        encoder = CaptionEncoder.from_clip_weights(config, model.state_dict())
        with torch.no_grad():
            expected = model.encode_text(open_clip.tokenize(["a dog on a cup"]), normalize=True).numpy()
        np.testing.assert_allclose(encoder.embed(["a dog on a cup"]), expected, atol=1e-6)


@pytest.mark.parametrize("rows_per_pass", [1, 3, 64])
def test_the_batch_does_not_matter(published, rows_per_pass):
    _, folder = published
    encoder = CaptionEncoder.from_open_clip(TextConfig("Tiny-Test", "none", folder / "tiny.safetensors"))
    captions = [f"{i} dogs to the left of the {'very ' * (i % 9)}red cup" for i in range(17)]
    together = encoder.embed(captions, rows_per_pass=rows_per_pass)
    alone = np.concatenate([encoder.embed([caption]) for caption in captions])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_array_equal(together, encoder.embed(captions, rows_per_pass=rows_per_pass))
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-6)


def test_each_distinct_caption_is_computed_once(published, features, monkeypatch):
    _, folder = published
    embed_class_names(features / "text", vocabulary_folder=features, config=tiny(folder))
    text = TextEmbeddings.open(features / "text")
    asked = []
    embed = CaptionEncoder.embed
    monkeypatch.setattr(CaptionEncoder, "embed", lambda self, captions: asked.extend(captions) or embed(self, captions))
    first = text.triplets([0, 0, 1], [1, 1, 0], [2, 2, 0])
    assert sorted(asked) == ["cup to the left of dog", "fire hydrant on cup"]
    np.testing.assert_array_equal(first[0], first[1])
    assert text.triplets([], [], []).shape == (0, 24)


def test_captions_of_many_lengths_are_embedded_in_their_order(published, monkeypatch):
    monkeypatch.setattr(caption_encoder, "CAPTIONS_PER_CHUNK", 13)
    encoder = CaptionEncoder.from_open_clip(TextConfig("Tiny-Test", "none", published[1] / "tiny.safetensors"))
    lengths = np.random.default_rng(0).permutation(40)
    captions = [" ".join(["dog"] * (1 + length)) for length in lengths]
    with torch.no_grad():
        expected = published[0].encode_text(open_clip.tokenize(captions), normalize=True).numpy()
    np.testing.assert_allclose(encoder.embed(captions, rows_per_pass=4), expected, atol=1e-6)
    assert encoder.embed([]).shape == (0, 24)


def test_a_state_dict_of_openais_own_model_is_read_and_its_archive_is_refused(published, features, tmp_path):
    model, _ = published
    weights = {name: value.half() for name, value in model.state_dict().items()}
    sizes = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    torch.save(weights | sizes, tmp_path / "weights.pt")
    encoder = CaptionEncoder.from_open_clip(TextConfig("Tiny-Test", "none", tmp_path / "weights.pt"))
    with torch.no_grad():
        expected = model.encode_text(open_clip.tokenize(["a dog"]), normalize=True).numpy()
    np.testing.assert_allclose(encoder.embed(["a dog"]), expected, atol=2e-3)
    with zipfile.ZipFile(tmp_path / "ViT-L-14.pt", "w") as archive:
        for name in ("constants.pkl", "data.pkl", "code/__torch__.py", "version"):
            archive.writestr(f"ViT-L-14/{name}", b"")
    with pytest.raises(WorkbenchError, match=r"TorchScript archive.*hf download timm/vit_large.*ViT-L-14_weights\.pt"):
        CaptionEncoder.from_open_clip(TextConfig("Tiny-Test", "none", tmp_path / "ViT-L-14.pt"))


@pytest.mark.parametrize("dimension", [2, 50])
def test_class_vectors_are_composed_by_their_normalised_sum(tmp_path, dimension):
    draw = np.random.default_rng(dimension)
    objects, relations = draw.standard_normal((3, dimension)), 9 * draw.standard_normal((2, dimension))
    write_class_vectors(tmp_path, vocabulary=NAMES, objects=objects, relations=relations, encoder="given")
    text = TextEmbeddings.open(tmp_path)
    unit = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (objects, relations)]
    expected = unit[0][2] + unit[1][1] + unit[0][0]
    np.testing.assert_allclose(text.triplets([2], [1], [0])[0], expected / np.linalg.norm(expected), rtol=1e-5)
    with pytest.raises(WorkbenchError, match="no text tower"):
        text.captions(["a cup"])
    with pytest.raises(WorkbenchError, match=r"relation class 2 is outside 0\.\.1"):
        text.triplets([0], [2], [0])


def test_what_is_missing_is_named_with_its_remedy(published, features):
    _, folder = published
    with pytest.raises(WorkbenchError, match=r"hf download .*download=True"):
        embed_class_names(features / "text", vocabulary_folder=features)
    with pytest.raises(WorkbenchError, match=r"absent\.safetensors"):
        CaptionEncoder.from_open_clip(TextConfig("Tiny-Test", "openai", folder / "absent.safetensors"))
    with pytest.raises(WorkbenchError, match="no model 'ViT-X'"):
        CaptionEncoder.from_open_clip(TextConfig("ViT-X"))
    with pytest.raises(WorkbenchError, match="belongs to the model name"):
        CaptionEncoder.from_open_clip(TextConfig("ViT-B-32", "openai", folder / "tiny.safetensors"))
    with pytest.raises(WorkbenchError, match=r"text\.json"):
        TextEmbeddings.open(features / "text")


@pytest.mark.parametrize("file", ["tiny.safetensors", "tiny.pt"])
def test_a_truncated_checkpoint_is_named(published, tmp_path, file):
    whole = (published[1] / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WorkbenchError, match=file):
        CaptionEncoder.from_open_clip(TextConfig("Tiny-Test", "openai", tmp_path / file))


def test_class_vectors_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(WorkbenchError, match="objects have text vectors"):
        write_class_vectors(tmp_path, vocabulary=NAMES, objects=np.ones((2, 4)), encoder="x")
    write_class_vectors(tmp_path, vocabulary=NAMES, objects=np.ones((3, 4)), encoder="x")
    with pytest.raises(WorkbenchError, match="complete_text_folder"):
        TextEmbeddings.open(tmp_path)
    write_class_vectors(tmp_path, vocabulary=NAMES, objects=np.ones((3, 4)), relations=np.ones((2, 5)), encoder="x")
    with pytest.raises(WorkbenchError, match="vectors of 5 numbers"):
        TextEmbeddings.open(tmp_path)
    broken = np.ones((3, 4))
    broken[1] = np.nan
    write_class_vectors(tmp_path, vocabulary=NAMES, objects=broken, relations=np.ones((2, 4)), encoder="x")
    with pytest.raises(WorkbenchError, match="row 1 is not finite"):
        TextEmbeddings.open(tmp_path)
