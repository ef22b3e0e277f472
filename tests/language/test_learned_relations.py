import numpy as np
import pandas as pd
import pytest

from tests.refusals import refused
from tests.synthetic import numbered_names
from workbench.diffusion.fidelity_classes import LabelledFeatures
from workbench.language.learned_relations import complete_text_folder, learned_embeddings, random_codes
from workbench.language.text_embedding import TextEmbeddings, unit_rows, write_class_vectors


def store_of(counts, objects, effects, seed, noise=0.02):
    """Union features with a known relation effect on top of what subject and object explain."""
    draw = np.random.default_rng(seed)
    relation = np.repeat(np.arange(len(counts)), counts)
    subject, object = draw.integers(0, len(objects), (2, len(relation)))
    mean = draw.standard_normal(objects.shape[1])
    mix = draw.standard_normal((objects.shape[1], objects.shape[1])) / objects.shape[1] ** 0.5
    features = mean / np.linalg.norm(mean) * 4 + (objects[subject] + 0.5 * objects[object]) @ mix
    features += 0.3 * effects[relation] + noise * draw.standard_normal(features.shape)
    relations = pd.DataFrame({"subject": subject, "relation": relation, "object": object})
    return LabelledFeatures(features.astype(np.float32), relations)


def unit(rows, dimension, seed):
    return unit_rows(np.random.default_rng(seed).standard_normal((rows, dimension)))


def write_text(folder, objects, relations):
    names = numbered_names(len(objects), len(relations))
    write_class_vectors(folder, vocabulary=names, objects=objects, relations=relations, encoder="given")


@pytest.mark.parametrize("dimension", [12, 40])
def test_effects_are_recovered_once_subject_and_object_are_taken_out(dimension):
    objects, effects = unit(20, dimension, 0), unit(6, dimension, 1)
    embeddings = learned_embeddings(store_of([400] * 6, objects, effects, seed=2), objects, 6)
    learned, true = embeddings - embeddings.mean(axis=0), effects - effects.mean(axis=0)
    cosine = (unit_rows(learned) @ unit_rows(true).T).diagonal()
    assert cosine.min() > 0.9


def test_one_example_is_drawn_toward_the_mean_and_no_example_is_the_mean():
    objects, effects = unit(20, 24, 0), unit(5, 24, 1)
    store = store_of([500, 500, 500, 1, 0], objects, effects, seed=3, noise=0.2)
    embeddings = learned_embeddings(store, objects, 5)
    mean = unit_rows(objects.mean(axis=0, keepdims=True))[0]
    away = np.linalg.norm(embeddings - mean, axis=1)
    assert np.isfinite(embeddings).all()
    np.testing.assert_allclose(away[4], 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    assert 0 < away[3] < away[:3].min()


def test_a_single_row_is_enough_to_run_and_a_bad_one_is_named():
    objects = unit(3, 8, 0)
    store = store_of([1, 0], objects, unit(2, 8, 1), seed=0)
    assert np.isfinite(learned_embeddings(store, objects, 2)).all()
    store.features[0, 2] = np.inf
    refused("row 0 is not finite", learned_embeddings, store, objects, 2)


def test_a_text_folder_is_completed_and_says_so_and_relations_that_have_a_vector_keep_it(tmp_path):
    objects, effects, given = unit(10, 16, 0), unit(4, 16, 1), unit(4, 16, 7)
    store = store_of([50, 20, 3, 0], objects, effects, seed=0)
    write_text(tmp_path, objects, np.where(np.arange(4)[:, None] == 1, given, np.nan))
    metrics = complete_text_folder(tmp_path, store)
    text = TextEmbeddings.open(tmp_path)
    assert text.learned_relations and text.relations.shape == (4, 16)
    assert metrics["relations_learned"] == 3 and metrics["relations_absent_from_train"] == 1
    expected = learned_embeddings(store, objects, 4)
    expected[1] = given[1]
    np.testing.assert_allclose(text.relations, expected, atol=1e-6)


def test_features_of_another_dimension_give_orthogonal_codes(tmp_path):
    objects = unit(10, 16, 0)
    write_text(tmp_path, unit(10, 6, 0), np.full((4, 6), np.nan))
    metrics = complete_text_folder(tmp_path, store_of([5, 5, 5, 5], objects, unit(4, 16, 1), seed=0))
    relations = TextEmbeddings.open(tmp_path).relations
    assert metrics["how"] == "random orthogonal codes"
    np.testing.assert_allclose(relations @ relations.T, np.eye(4), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(random_codes(20, 6), axis=1), 1, rtol=1e-6)


def test_other_images_teach_the_same_relations_on_real_clip_features(real_data):
    folder = real_data / "vg-clip"
    objects = np.load(folder / "objects_clip_text.npy").astype(np.float32)

    def read(split):
        with np.load(folder / f"{split}.npz") as rows:
            relations = pd.DataFrame({role: rows[role] for role in ("subject", "relation", "object")})
            return LabelledFeatures(rows["feature"].astype(np.float32), relations)

    train, held_out = read("train"), read("val")
    counts = [np.bincount(store.relations["relation"], minlength=50) for store in (train, held_out)]
    frequent = np.flatnonzero(np.minimum(*counts) >= 30)
    learned, again = (learned_embeddings(store, objects, 50)[frequent] for store in (train, held_out))
    cosine = unit_rows(learned - learned.mean(axis=0)) @ unit_rows(again - again.mean(axis=0)).T
    assert len(frequent) >= 8
    assert (cosine.argmax(axis=1) == np.arange(len(frequent))).mean() > 0.6  # one in 17 by chance
