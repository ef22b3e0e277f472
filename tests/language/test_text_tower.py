import numpy as np
import open_clip
import pytest
import torch

from drawn_scenes.prepare import draw_free_crops
from workbench.errors import WorkbenchError
from workbench.language.caption_encoder import CaptionEncoder
from workbench.language.config import TowerConfig
from workbench.language.text_embedding import TextEmbeddings, embed_class_names
from workbench.language.text_tower import (
    CaptionedCrops,
    ContrastiveObjective,
    SharedCaptionLoss,
    train_drawn_tower,
    train_text_tower,
)
from workbench.scenes.vocabulary import Vocabulary
from workbench.training import TrainingEdge, read_log

MODEL = {
    "embed_dim": 32,
    "quick_gelu": False,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 12, "width": 32, "heads": 2, "layers": 1},
}
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 50, 220), "white": (240, 240, 240)}


def coloured_crops(count, seed=0, size=32):
    """Noisy squares of one of four colours, and the name of the colour."""
    draw = np.random.default_rng(seed)
    names = list(COLOURS)
    which = draw.integers(0, len(names), count)
    images = draw.integers(0, 60, (count, size, size, 3))
    for image, colour in zip(images, which, strict=True):
        x, y = draw.integers(0, size // 2, 2)
        image[y : y + size // 2, x : x + size // 2] = COLOURS[names[colour]]
    return images.astype(np.uint8), [(f"{names[colour]} square",) for colour in which]


def train(folder, *, crops=240, epochs=3, edge=None, **options):
    images, captions = coloured_crops(crops)
    config = TowerConfig(epochs=epochs, batch_size=32, seed=1)
    crops = CaptionedCrops(images, captions, **options)
    return train_text_tower(folder, crops=crops, config=config, model=MODEL, edge=edge)


def test_the_right_caption_is_found_far_above_chance(tmp_path):
    metrics = train(tmp_path, epochs=8)
    assert metrics["all_chance_at_1"] == 0.25
    assert metrics["all_recall_at_1"] > 0.8
    log = read_log(tmp_path)
    assert log[-1]["step"] == 8 * 7 and log[-1]["loss"] < 0.9 * log[0]["loss"]
    vectors = CaptionEncoder.load(tmp_path).embed(["red square", "blue square"])
    assert vectors.shape == (2, 32)
    assert not list(tmp_path.glob("training_state*"))


def test_a_killed_training_resumes_to_the_same_tower(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole")
    forward, calls = ContrastiveObjective.forward, []

    def killed(self, *arguments):
        calls.append(1)
        if len(calls) == 11:  # in the second epoch of seven steps
            raise KeyboardInterrupt
        return forward(self, *arguments)

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(ContrastiveObjective, "forward", killed)
        train(tmp_path / "killed", edge=TrainingEdge(checkpoint_seconds=0.0))
    assert train(tmp_path / "killed") == whole


def test_rows_that_share_a_caption_are_positives_of_each_other():
    draw = torch.Generator().manual_seed(0)
    image, text = torch.randn(2, 6, 8, generator=draw)
    apart = SharedCaptionLoss(torch.arange(6))(image, text, torch.tensor(3.0))
    torch.testing.assert_close(apart, open_clip.ClipLoss()(image, text, torch.tensor(3.0)))
    shared = torch.tensor([0, 0, 1, 2, 2, 2])
    same = (shared[:, None] == shared).float()
    logits = 3.0 * image @ text.T
    target = same / same.sum(1, keepdim=True)
    expected = -(target * logits.log_softmax(1)).sum(1).mean() - (target * logits.T.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(SharedCaptionLoss(shared)(image, text, torch.tensor(3.0)), expected / 2)


def test_words_never_shown_and_captions_too_long_are_named(tmp_path):
    train(tmp_path, epochs=1, other_texts=("umbrella",))
    encoder = CaptionEncoder.load(tmp_path)
    assert np.isfinite(encoder.embed(["red umbrella"])).all()
    with pytest.raises(WorkbenchError, match="'giraffe' in the caption 'red giraffe'"):
        encoder.embed(["red giraffe"])
    with pytest.raises(WorkbenchError, match="context of 12"):
        train(tmp_path / "long", other_texts=("very " * 20 + "red",))
    with pytest.raises(WorkbenchError, match="3 images and 2 captions"):
        train_text_tower(
            tmp_path, crops=CaptionedCrops(np.zeros((3, 8, 8, 3), np.uint8), [("a",)] * 2), config=TowerConfig()
        )


@pytest.fixture
def scenes(tmp_path):
    Vocabulary(("dog", "chair", "apple", "man"), ("near", "to the left of", "on")).write(tmp_path)
    return tmp_path


def test_the_drawn_tower_embeds_the_names_of_the_scenes_in_their_order(scenes):
    metrics = train_drawn_tower(scenes / "tower", scenes=scenes, draw_crops=draw_free_crops, config=TowerConfig(90, 1))
    assert {"object_recall_at_1", "triplet_recall_at_1", "relation_recall_at_1"} <= metrics.keys()
    assert metrics["names_never_shown"] == [] and metrics["relation_chance_at_1"] == pytest.approx(1 / 3)
    embed_class_names(scenes / "text", vocabulary_folder=scenes, tower=scenes / "tower")
    text = TextEmbeddings.open(scenes / "text")
    encoder = CaptionEncoder.load(scenes / "tower")
    np.testing.assert_allclose(text.objects, encoder.embed(["dog", "chair", "apple", "man"]), atol=1e-6)
    np.testing.assert_allclose(text.triplets([3], [2], [1]), encoder.embed(["man on chair"]), atol=1e-6)


def test_a_class_that_cannot_be_drawn_is_named(scenes):
    Vocabulary(("dog", "quark"), ("near",)).write(scenes)
    with pytest.raises(WorkbenchError, match="'quark'"):
        train_drawn_tower(scenes / "tower", scenes=scenes, draw_crops=draw_free_crops, config=TowerConfig(90, 1))
