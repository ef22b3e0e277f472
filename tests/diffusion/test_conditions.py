import numpy as np
import pandas as pd
import pytest

from workbench.diffusion import vector_rows
from workbench.diffusion.conditions import ConditionTable, condition_table, entity_condition_table
from workbench.diffusion.token_bank import TokenBank
from workbench.errors import WorkbenchError
from workbench.language.hardness import HardnessCentroids
from workbench.language.triplets import AugmentedTriplets


class Text:
    """Class vectors, and captions as a recognisable function of the ids."""

    encoder, learned_relations = "fake text", False

    def __init__(self, objects=7, relations=4, dimension=6):
        draw = np.random.default_rng(0)
        self.dimension, self.asked = dimension, 0
        self.objects = draw.standard_normal((objects, dimension)).astype(np.float32)
        self.relations = draw.standard_normal((relations, dimension)).astype(np.float32)

    def triplets(self, subject, relation, object):
        self.asked += len(subject)
        return self.objects[subject] + 2 * self.relations[relation] + 3 * self.objects[object]


HARDNESS = HardnessCentroids(np.random.default_rng(7).standard_normal((3, 6)))


def random_triplets(n, text, seed=0):
    draw = np.random.default_rng(seed)
    classes = {"subject": len(text.objects), "relation": len(text.relations), "object": len(text.objects)}
    return pd.DataFrame({role: draw.integers(0, count, n) for role, count in classes.items()})


@pytest.mark.parametrize("n", [1, 50, 400])
def test_each_row_finds_the_tokens_of_its_own_triplet(n):
    text = Text()
    triplets = random_triplets(n, text)
    table, index = condition_table(text, triplets, HARDNESS)
    s, r, o = triplets.to_numpy().T
    expected = np.stack([text.objects[s], text.relations[r], text.objects[o], text.triplets(s, r, o)], axis=1)
    np.testing.assert_allclose(table.tokens[index], expected, rtol=1e-6)
    np.testing.assert_allclose(table.hardness[index], HARDNESS.hardness(expected[:, 3]), rtol=1e-6)
    assert len(table) == len(triplets.drop_duplicates()) and table.present.all() and not table.region.any()


def test_a_box_is_captioned_by_its_class_name_alone():
    text = Text()
    table, index = entity_condition_table(text, np.array([3, 1, 3]))
    assert index.tolist() == [1, 0, 1] and table.region.tolist() == [1, 1] and table.hardness is None
    assert table.present.tolist() == [[False, False, False, True]] * 2
    np.testing.assert_array_equal(table.tokens[index][:, 3], text.objects[[3, 1, 3]])


def test_joined_tables_keep_every_token():
    text = Text()
    (unions, _), (boxes, _) = condition_table(text, random_triplets(20, text)), entity_condition_table(text, [0, 5])
    joined = unions.joined(boxes)
    np.testing.assert_array_equal(joined.tokens, np.concatenate([unions.tokens, boxes.tokens]))
    np.testing.assert_array_equal(joined.rows(np.array([0, len(unions)])).tokens, joined.tokens[[0, len(unions)]])


def test_stored_captions_are_not_embedded_again():
    text = Text()
    triplets = random_triplets(30, text).drop_duplicates()
    stored = triplets.iloc[:20].reset_index(drop=True)
    vectors = text.triplets(*stored.to_numpy().T)
    text.asked = 0
    captions = AugmentedTriplets(None, stored, vectors, None)
    table, _ = condition_table(text, triplets, captions=captions)
    assert text.asked == len(triplets) - 20
    np.testing.assert_array_equal(table.tokens, condition_table(text, triplets)[0].tokens)


@pytest.mark.parametrize("role", ["subject", "relation", "object"])
def test_a_class_without_text_is_refused(role):
    text = Text()
    with pytest.raises(WorkbenchError, match=f"{role} class 9 has no text embedding"):
        condition_table(text, random_triplets(5, text).assign(**{role: 9}))


def test_token_bank_repeats_nothing_and_gives_back_every_vector():
    text = Text()
    table, index = condition_table(text, random_triplets(60, text), HARDNESS)
    bank = TokenBank(table, layout="tokens", hardness=True)
    ids = bank.ids[index]
    ids[::3, 1] = 1  # every third row loses its relation
    batch = bank.batch(ids, "cpu")
    slots = [np.concatenate([np.full((len(batch.nulls), v.shape[1]), np.nan), v]) for v in batch.vectors]
    offset = len(batch.nulls)
    for slot in range(4):
        place = batch.place[:, slot].numpy()
        lost = place < offset
        assert lost.tolist() == [slot == 1 and row % 3 == 0 for row in range(60)]
        before = sum(len(v) for v in batch.vectors[:slot])
        np.testing.assert_array_equal(slots[slot][place[~lost] - before], table.tokens[index][~lost, slot])
    assert len(batch.vectors[0]) <= 7 and len(batch.vectors[4]) == len(table)


def test_pooled_layout_puts_hardness_beside_the_caption():
    text = Text()
    table, _ = condition_table(text, random_triplets(9, text), HARDNESS)
    bank = TokenBank(table, layout="pooled", hardness=True)
    np.testing.assert_array_equal(bank.vectors[0], np.concatenate([table.tokens[:, 3], table.hardness], axis=1))
    with pytest.raises(WorkbenchError, match="no hardness vectors"):
        TokenBank(condition_table(text, random_triplets(9, text))[0], layout="pooled", hardness=True)
    with pytest.raises(WorkbenchError, match="layout"):
        TokenBank(table, layout="concatenated", hardness=True)


@pytest.mark.parametrize("layout", ["tokens", "pooled"])
def test_rows_that_are_not_held_give_the_same_batches(monkeypatch, layout):
    text = Text()
    triplets = random_triplets(300, text)
    tables = [condition_table(text, part, HARDNESS) for part in (triplets[:200], triplets[200:])]
    table = tables[0][0].joined(tables[1][0])
    index = np.concatenate([tables[0][1], len(tables[0][0]) + tables[1][1]])
    wanted = TokenBank(table, layout=layout, hardness=True)
    monkeypatch.setattr(vector_rows, "LARGEST_HELD_BYTES", 0)
    monkeypatch.setattr(HardnessCentroids, "hardness", None)  # hardness is computed for the batches alone
    lazy = TokenBank(table.rows(np.arange(len(table))), layout=layout, hardness=True)
    assert all(isinstance(vectors, np.ndarray) for vectors in wanted.vectors)
    assert isinstance(lazy.vectors[-1], vector_rows.LazyRows) and lazy.vectors[-1].shape == wanted.vectors[-1].shape
    for rows in (index[:1], index[::7], index):
        batches = [bank.batch(bank.ids[rows], "cpu") for bank in (wanted, lazy)]
        np.testing.assert_array_equal(batches[0].place, batches[1].place)
        for first, second in zip(batches[0].vectors, batches[1].vectors, strict=True):
            np.testing.assert_allclose(first, second, rtol=1e-6)


def test_stored_captions_are_found_in_any_order_and_in_half_precision():
    text = Text()
    stored = random_triplets(150, text).drop_duplicates().sample(frac=1.0, random_state=0).reset_index(drop=True)
    vectors = text.triplets(*stored.to_numpy().T)
    captions = AugmentedTriplets(None, stored, vectors.astype(np.float16), None)
    wanted = random_triplets(80, text, seed=1).drop_duplicates().to_numpy()
    table, index = condition_table(text, pd.DataFrame(wanted, columns=stored.columns), captions=captions)
    np.testing.assert_allclose(table.tokens[index][:, 3], text.triplets(*wanted.T), rtol=1e-3, atol=1e-3)


def test_tokens_and_table_round_trip():
    tokens = np.random.default_rng(0).standard_normal((5, 4, 3)).astype(np.float32)
    present = np.random.default_rng(1).random((5, 4)) < 0.7
    table = ConditionTable.from_tokens(tokens, present)
    np.testing.assert_array_equal(table.tokens, np.where(present[..., None], tokens, 0))
