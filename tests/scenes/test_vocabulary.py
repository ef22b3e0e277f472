import csv

import numpy as np
import pytest

from tests.refusals import refused
from workbench.scenes.vocabulary import (
    REPLACEMENT,
    ROLES,
    Vocabulary,
    listed,
    named_lists,
    read_triplet_list,
    write_triplet_list,
)

OBJECTS = ("man", "salt, pepper", 'a "b"', "<script>", "=1+1", "Café", "two\nlines", "sp ace", "日本", "#x")
VOCABULARY = Vocabulary(OBJECTS, ("on", "-under", "next, to"))


def test_write_and_read_back(tmp_path):
    VOCABULARY.write(tmp_path)
    assert Vocabulary.read(tmp_path) == VOCABULARY and VOCABULARY.caption(0, 1, 5) == "man -under Café"
    assert VOCABULARY.names("subject") == VOCABULARY.names("object") == OBJECTS


@pytest.mark.parametrize("names", ["[]", '{"man": 0}', '["man", 3]', '["man", "hat", "man"]', ""])
def test_a_damaged_list_is_named(tmp_path, names):
    VOCABULARY.write(tmp_path)
    (tmp_path / "objects.json").write_text(names)
    refused(r"objects\.json", Vocabulary.read, tmp_path)


@pytest.mark.parametrize("rows", [0, 1, 7, 500])
def test_a_list_survives_the_round_trip(tmp_path, rows):
    random, path = np.random.default_rng(rows), tmp_path / "list.csv"
    ids = np.stack([random.integers(0, len(VOCABULARY.names(role)), rows) for role in ROLES], axis=1)
    write_triplet_list(path, ids, VOCABULARY)
    table = read_triplet_list(path, VOCABULARY)
    np.testing.assert_array_equal(table.to_numpy(), ids)
    assert list(table) == list(ROLES) and set(table.dtypes) == {np.dtype(np.int64)}
    with open(path, encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert written == [{role: VOCABULARY.names(role)[n] for role, n in zip(ROLES, row, strict=True)} for row in ids]


def test_a_list_holds_replacements_beside_triplets_or_alone(tmp_path):
    path, pairs, triplets = tmp_path / "list.csv", [[0, 5], [4, 2]], [[0, 1, 2], [3, 0, 4]]
    write_triplet_list(path, triplets, VOCABULARY, pairs)
    for text in (path.read_text(encoding="utf-8"), "replaced,by\nman,Café\n"):
        path.write_text(text, encoding="utf-8")
        table = read_triplet_list(path, VOCABULARY)
        assert listed(table, ROLES).tolist() == (triplets if "subject" in text else [])
        assert listed(table, REPLACEMENT).tolist() == (pairs if "subject" in text else pairs[:1])
    path.write_text("replaced,by,subject,relation,object\nman,,,,\n", encoding="utf-8")
    refused("line 2: found by ''", read_triplet_list, path, VOCABULARY)


def test_columns_in_any_order_a_mark_and_empty_lines(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("note,object, relation,subject\r\nx,man,on,=1+1\r\n\r\n,,,\r\n,Café,-under,man\r\n", "utf-8-sig")
    assert read_triplet_list(path, VOCABULARY).to_numpy().tolist() == [[4, 0, 0, "x"], [0, 1, 5, ""]]


@pytest.mark.parametrize(("text", "said"), [
    ("man,on,man\n", r"line 1: the header is 'man,on,man'; expected 'subject,relation,object'"),
    ("", "line 1: the header is ''"), ("subject;relation;object\n", "with commas"),
    ("subject,relation,object\nman,on,man\nmen,on,man\n",
     "line 3: found subject 'men', expected an object class .*'man'"),
    ("subject,relation,object\nman,in,man\n", "line 2: found relation 'in', expected a relation class .*'on'"),
    ("subject,relation,object\nman,on\n", "line 2: found 2 values, expected 3"),
    ("subject,relation,object\n" + "x,on,man\n" * 14, "14 errors.*Correct these lines.*and 4 more"),
    ('subject,relation,object\n"man"x,on,man\n', "line 2: .*Correct the line"),
    ("subject,relation,object\n\udce9,on,man\n", "not UTF-8"), (None, "cannot be read"),
])  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, said):
    if text is not None:
        (tmp_path / "list.csv").write_bytes(text.encode(errors="surrogateescape"))
    refused(f"(?s)list.csv.*{said}", read_triplet_list, tmp_path / "list.csv", VOCABULARY)


def test_unknown_ids_are_not_written(tmp_path):
    refused("relation class 7, expected 0 to 2", write_triplet_list, tmp_path / "new.csv", [[0, 7, 0]], VOCABULARY)
    assert not (tmp_path / "new.csv").exists()


def test_lists_are_found_by_name_or_path_and_only_where_named(tmp_path):
    saved, mine = tmp_path / "data" / "lists" / "odd.csv", tmp_path / "mine.csv"
    saved.parent.mkdir(parents=True)
    for path in (saved, mine):
        path.write_text("subject,relation,object\n")
    assert named_lists(tmp_path) == {}
    assert named_lists(tmp_path, exclude="odd", include="mine.csv") == {"exclude": saved, "include": mine}
    refused(r"exclude='even'.*saved lists: odd", named_lists, tmp_path, exclude="even")
