import json

import numpy as np
import pytest

from drawn_scenes import text_tower
from drawn_scenes.text_tower import TowerConfig, train_text_tower
from workbench.errors import WorkbenchError
from workbench.language.text_embedding import TextEmbeddings, embed_class_names
from workbench.scenes.vocabulary import Vocabulary
from workbench.training import read_log
from workbench.training_config import TrainingEdge

MODEL = {
    "embed_dim": 32,
    "quick_gelu": False,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 12, "width": 32, "heads": 2, "layers": 1},
}
COLOURS = {"red square": (220, 30, 30), "green square": (30, 200, 40), "blue square": (40, 50, 220),
           "white square": (240, 240, 240)}  # fmt: skip


def coloured_crops(pairs, seed, *, singles, crop_size, object_names, relation_names):
    """Noisy squares of one of four colours, single things each."""
    draw, count = np.random.default_rng(seed), pairs * (1 + singles)
    which = draw.integers(0, len(COLOURS), count)
    images = draw.integers(0, 60, (count, crop_size, crop_size, 3))
    for image, colour in zip(images, which, strict=True):
        x, y = draw.integers(0, crop_size // 2, 2)
        image[y : y + crop_size // 2, x : x + crop_size // 2] = list(COLOURS.values())[colour]
    return images.astype(np.uint8), np.stack([which, *np.full((2, count), -1)], axis=1)


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train a tower on coloured squares in a folder of this name; ``names`` are classes beside the colours."""
    (tmp_path / "model.json").write_text(json.dumps(MODEL))
    monkeypatch.setattr(text_tower, "MODEL", tmp_path / "model.json")

    def trained(name, *, epochs=3, names=(), edge=None):
        Vocabulary((*COLOURS, *names), ("on",)).write(tmp_path / name)
        config = TowerConfig(crops=240, epochs=epochs, batch_size=32, seed=1)
        return train_text_tower(
            tmp_path / name, scenes=tmp_path / name, draw_crops=coloured_crops, config=config, edge=edge
        )

    return trained


def test_the_right_caption_is_found_far_above_chance_and_unknown_words_are_named(train, tmp_path):
    metrics = train("tower", epochs=8, names=["umbrella"])
    assert metrics["object_chance_at_1"] == 0.25 and metrics["names_never_shown"] == ["umbrella"]
    assert metrics["object_recall_at_1"] > 0.8
    log = read_log(tmp_path / "tower")
    assert log[-1]["step"] == 8 * 7 and log[-1]["loss"] < 0.9 * log[0]["loss"]
    assert not list((tmp_path / "tower").glob("training_state*"))
    encoder = text_tower.CaptionEncoder.load(tmp_path / "tower")
    assert encoder.embed(["red square", "red umbrella"]).shape == (2, 32)
    with pytest.raises(WorkbenchError, match="'giraffe' in the caption 'red giraffe'"):
        encoder.embed(["red giraffe"])


def test_a_name_too_long_is_refused(train):
    with pytest.raises(WorkbenchError, match="context of 12"):
        train("long", names=["very " * 20 + "red"])


def test_a_killed_training_resumes_to_the_same_tower(train, monkeypatch):
    whole = train("whole")
    forward, calls = text_tower.ContrastiveObjective.forward, []

    def killed(self, *arguments):
        calls.append(1)
        if len(calls) == 11:  # in the second epoch of seven steps
            raise KeyboardInterrupt
        return forward(self, *arguments)

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(text_tower.ContrastiveObjective, "forward", killed)
        train("killed", edge=TrainingEdge(checkpoint_seconds=0.0))
    assert train("killed") == whole


def test_captions_put_together_from_their_names_have_the_tokens_of_open_clip():
    import open_clip
    import torch

    names = Vocabulary(("palm tree", "skyscraper", "man"), ("to the left of", "on"))
    captions = text_tower.Captions(names, 12)
    triplets = np.array([[0, 0, 1], [2, 1, 2], [1, -1, -1], [-1, 0, -1]])
    texts = ["palm tree to the left of skyscraper", "man on man", "skyscraper", "to the left of"]
    assert captions.texts(triplets) == texts
    tokens = torch.tensor(captions.token_ids)[captions.tokens(triplets)]
    assert torch.equal(tokens, open_clip.SimpleTokenizer(context_length=12)(texts))
    with pytest.raises(
        WorkbenchError, match=r"'skyscraper to the left of skyscraper' has more tokens .* context of 11"
    ):
        text_tower.Captions(names, 11)


@pytest.mark.parametrize("step", range(4))
def test_batches_mirror_crops_with_their_relations_and_give_each_pair_its_rivals(step):
    import torch

    names = Vocabulary(("dog", "cat"), ("to the right of", "on", "near", "under", "to the left of"))
    triplets = np.array([[0, row % 5, 1] if row % 3 else [1, -1, -1] for row in range(30)])
    pixels = torch.arange(30, dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 2, 2)
    pixels[..., 1] += 100  # the right side
    batches = text_tower._CropBatches(pixels, triplets, names, TowerConfig(crops=30, batch_size=16))
    batch = batches(step, 0, 1)
    assert batch.pixels.shape == (15, 3, 2, 2)
    for row, (image, caption) in enumerate(zip(batch.pixels, batch.captions, strict=True)):
        mirrored = bool(image[0, 0, 0] > image[0, 0, 1])
        subject, relation, object = triplets[int(image[0, 0].min())].tolist()
        relation = {0: 4, 4: 0}.get(relation, relation) if mirrored else relation
        assert caption.tolist() in ([subject, relation, object], [-1, relation, -1])
        if relation == -1:
            assert row not in batch.pairs and caption.tolist() == [1, -1, -1]
            continue
        rivals = batch.rivals[batch.pairs.tolist().index(row)].tolist()
        assert rivals[0] == [subject, relation, object] and len({rival[1] for rival in rivals}) == 4
        assert all((rival[0], rival[2]) == (subject, object) for rival in rivals)
    assert len(batch.pairs) == len(batch.rivals)


def test_rows_that_share_a_caption_are_positives_of_each_other():
    import open_clip
    import torch

    draw = torch.Generator().manual_seed(0)
    image, text = torch.randn(2, 6, 8, generator=draw)
    scale = torch.tensor(3.0)
    apart = text_tower.shared_caption_loss(image, text, scale, torch.arange(6))
    torch.testing.assert_close(apart, open_clip.ClipLoss()(image, text, scale))
    shared = torch.tensor([0, 0, 1, 2, 2, 2])
    same = (shared[:, None] == shared).float()
    logits = scale * image @ text.T
    target = same / same.sum(1, keepdim=True)
    expected = -(target * logits.log_softmax(1)).sum(1).mean() - (target * logits.T.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(text_tower.shared_caption_loss(image, text, scale, shared), expected / 2)


def test_the_drawn_tower_embeds_the_names_of_the_scenes_in_their_order(tmp_path):
    names = Vocabulary(("dog", "chair", "apple", "man"), ("near", "to the left of", "on"))
    names.write(tmp_path)
    given = {"scenes": tmp_path, "config": TowerConfig(90, 1)}
    metrics = train_text_tower(tmp_path / "tower", **given)
    assert {"object_recall_at_1", "triplet_recall_at_1", "relation_recall_at_1"} <= metrics.keys()
    assert metrics["names_never_shown"] == [] and metrics["relation_chance_at_1"] == pytest.approx(1 / 3)
    embed_class_names(tmp_path / "text", vocabulary_folder=tmp_path, tower=tmp_path / "tower")
    text = TextEmbeddings.open(tmp_path / "text")
    encoder = text_tower.CaptionEncoder.load(tmp_path / "tower")
    np.testing.assert_allclose(text.objects, encoder.embed(list(names.objects)), atol=1e-6)
    np.testing.assert_allclose(text.triplets([3], [2], [1]), encoder.embed(["man on chair"]), atol=1e-6)
    Vocabulary(("dog", "quark"), ("near",)).write(tmp_path)
    with pytest.raises(WorkbenchError, match="'quark'"):
        train_text_tower(tmp_path / "other", **given)
