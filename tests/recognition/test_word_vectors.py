"""Word vectors: formats, upstream's lower-casing, missing words."""

import contextlib
import gzip
import io
import json
import re
import shlex
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.recognition.conftest import random_words, write_words
from tests.refusals import refused
from workbench.errors import WorkbenchError
from workbench.recognition import word_files
from workbench.recognition.word_files import iterate_word_vectors, look_at_end
from workbench.recognition.word_vectors import ClassVectors, spelled_class_vectors, text_word_vectors
from workbench.scenes.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("cake", "fire hydrant"), ("next to",))
WORDS = ("cake", "fire", "hydrant", "next", "to", "unknown", "spare")


def read_class_vectors(*given) -> ClassVectors:
    return spelled_class_vectors(*given)[0]


@pytest.mark.parametrize("suffix", [".bin", ".txt", ".json"])
@pytest.mark.parametrize("dimension", [3, 300])
def test_every_format_gives_the_mean_of_unit_vectors(tmp_path, suffix, dimension):
    vectors = random_words(WORDS, dimension=dimension)
    found = read_class_vectors(write_words(tmp_path / f"vectors{suffix}", vectors), VOCABULARY)
    unit = {word: vector / np.linalg.norm(vector) for word, vector in vectors}
    np.testing.assert_allclose(found.objects, [unit["cake"], (unit["fire"] + unit["hydrant"]) / 2], rtol=1e-5)
    np.testing.assert_allclose(found.relations, [unit["unknown"], (unit["next"] + unit["to"]) / 2], rtol=1e-5)
    assert found.objects.dtype == np.float32


def test_upstream_takes_the_last_case_variant_and_clean_the_lower_case_one(tmp_path):
    words = ("Cake", "cake", "CAKE", "fire", "hydrant", "next", "To", "unknown")
    vectors = dict(random_words(words))
    path = write_words(tmp_path / "vectors.txt", list(vectors.items()))
    unit = {word: vector / np.linalg.norm(vector) for word, vector in vectors.items()}
    clean, upstream = (read_class_vectors(path, VOCABULARY, mode) for mode in ("clean", "upstream"))
    np.testing.assert_allclose(clean.objects[0], unit["cake"], rtol=1e-5)
    np.testing.assert_allclose(upstream.objects[0], unit["CAKE"], rtol=1e-5)
    # "to" exists only thanks to its upper-case variant.
    np.testing.assert_allclose(clean.relations[1], (unit["next"] + unit["To"]) / 2, rtol=1e-4, atol=1e-6)


def naive_upstream_lookup(vectors, word):
    table = dict(vectors)
    for key in list(table):
        table[key.lower()] = table[key]
    for key in list(table):
        table[key.replace("_", "-")] = table[key]
    return table[word]


@pytest.mark.parametrize("seed", range(20))
def test_upstream_spelling_rules_against_the_two_passes_over_everything(tmp_path, seed):
    random = np.random.default_rng(seed)
    words = random.permutation(["t_shirt", "t-shirt", "T_Shirt", "T-SHIRT", "on", "ON", "a_b", "unknown"])[:7].tolist()
    words += [word for word in ("on", "unknown", "t_shirt") if word not in words]
    vectors = random_words(words, dimension=4, seed=seed)
    path = write_words(tmp_path / "vectors.txt", vectors)
    found = read_class_vectors(path, Vocabulary(("t-shirt",), ("on",)), "upstream")
    for row, word in ((found.objects[0], "t-shirt"), (found.relations[1], "on")):
        wanted = naive_upstream_lookup(vectors, word)
        np.testing.assert_allclose(row, wanted / np.linalg.norm(wanted), rtol=1e-5)


@pytest.mark.parametrize("line_breaks", [True, False])
@pytest.mark.parametrize("chunk_bytes", [1, 50, 1 << 22])
def test_pieces_do_not_matter_and_no_vector_keeps_its_piece(tmp_path, monkeypatch, chunk_bytes, line_breaks):
    monkeypatch.setattr(word_files, "CHUNK_BYTES", chunk_bytes)
    vectors = random_words([f"word{i}" for i in range(60)], dimension=11)
    path = write_words(tmp_path / "vectors.bin", vectors, line_breaks)
    found = {row.word: row.vector for row in iterate_word_vectors(path, lambda word: word.endswith("7"))}
    assert list(found) == [word for word, _ in vectors if word.endswith("7")]
    assert all(np.array_equal(found[word], vector) for word, vector in vectors if word in found)
    assert all(vector.base is None for vector in found.values())


@pytest.mark.parametrize("ending", ["\n", " \n"])
def test_glove_words_may_hold_blanks_and_line_separators(tmp_path, ending):
    words = ["the", "on", ". . .", "at name@domain.com", "a\u0085b", "c\u2028d", "e\rf", "\u00a0", "on on", "last"]
    vectors = random_words(words, dimension=6)
    lines = [f"{word} {' '.join(repr(float(v)) for v in vector)}{ending}" for word, vector in vectors]
    (tmp_path / "glove.txt").write_bytes("".join(lines).encode())
    found = list(iterate_word_vectors(tmp_path / "glove.txt"))
    assert [row.word for row in found] == words
    for (_, vector, _), (_, wanted) in zip(found, vectors, strict=True):
        np.testing.assert_array_equal(vector, wanted)
    assert [row.word for row in iterate_word_vectors(tmp_path / "glove.txt", {"on"}.__contains__)] == ["on"]
    (tmp_path / "header.vec").write_bytes(f"{len(words)} 6\n{''.join(lines)}".encode())
    assert [row.word for row in iterate_word_vectors(tmp_path / "header.vec")] == words


def test_missing_words_are_named(tmp_path):
    path = write_words(tmp_path / "vectors.txt", random_words(("cake", "next", "to", "unknown")))
    refused(r"2 of 6 words: fire, hydrant", read_class_vectors, path, VOCABULARY)


def test_damaged_files_are_named(tmp_path):
    path = write_words(tmp_path / "vectors.bin", random_words(WORDS))
    path.write_bytes(path.read_bytes()[:-700])
    refused(r"vectors\.bin: ends in row 6 of 7", read_class_vectors, path, VOCABULARY)
    text = tmp_path / "vectors.txt"
    text.write_text("cake 1.0 2.0\nfire 1.0 x\n")
    refused("line 2", read_class_vectors, text, VOCABULARY)
    refused("no word vector file", read_class_vectors, tmp_path / "absent.bin", VOCABULARY)


def test_text_vectors_are_unit_rows_with_the_mean_as_background():
    random = np.random.default_rng(0)
    text = SimpleNamespace(objects=random.standard_normal((5, 8)), relations=random.standard_normal((4, 8)) * 3)
    found = text_word_vectors(text)
    np.testing.assert_allclose(np.linalg.norm(found.objects, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found.relations[0], found.relations[1:].mean(axis=0), rtol=1e-4, atol=1e-6)
    text.objects[3] = 0
    text.folder = "texts"
    refused("row 3 of the objects is zero", text_word_vectors, text)


PLAIN = random_words(WORDS, dimension=4)
LINES = [[word, *(repr(float(value)) for value in vector)] for word, vector in PLAIN]
TEXT = "".join(" ".join(line) + "\n" for line in LINES)


@pytest.mark.parametrize("content", [
    gzip.compress(TEXT.encode()), TEXT.replace(" ", "\t").encode(),
    TEXT.replace(" ", "\t", 1).replace(" ", "  ").encode(), TEXT.replace(" ", ",").encode(),
    b"word,0,1,2,3\r\n" + TEXT.replace(" ", ",").replace("\n", "\r\n").encode(), b"\xef\xbb\xbf7\t4\n" + TEXT.encode(),
    b"\n. . 1 2 3 4\n 1 2 3 4\n  1 2 3 4\nragged 1 2\n[ 1 2 3 4\n" + TEXT.encode(), b"[ 1 2 3 4\n" + TEXT.encode(),
    json.dumps([[word, [str(value) for value in vector.tolist()]] for word, vector in PLAIN]).encode(),
    gzip.compress(b"7 4\n" + b"".join(word.encode() + b" " + vector.tobytes() for word, vector in PLAIN)),
    b"7 4\n" + b"".join(word.encode() + b" " + vector.tobytes() for word, vector in PLAIN),
])  # fmt: skip
@pytest.mark.parametrize("name", ["words", "words.bin", "words.json"])
def test_the_form_is_told_by_content_whatever_the_name(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    expected = read_class_vectors(write_words(tmp_path / "plain.txt", PLAIN), VOCABULARY)
    for found, wanted in zip(read_class_vectors(tmp_path / name, VOCABULARY), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize(("content", "message"), [
    (b"8 4\n" + TEXT.encode(), "ends in row 7 of 8"), (TEXT.encode() + b"plate 1 2 3", "within the vector of 'plate'"),
    (b"7 4\n" + TEXT.encode()[:-1], None), (TEXT.encode()[:-1], None), (b"1 4\na " + bytes(16) + b"\n", None),
    (b"1 4\na " + bytes(16), None), (b"1 4\na " + bytes(15), "too short for its 1 rows"),
    (b"2 4\na " + bytes(16) + b"abcdef " + bytes(12), "too short"), (b'{"cup": [1, 2], "cake": [1,', "within its JSON"),
])  # fmt: skip
def test_a_file_that_ends_early_is_told_before_the_names_are_known(tmp_path, content, message):
    (tmp_path / "words").write_bytes(content)
    with pytest.raises(WorkbenchError, match=f"{message}.*truncated") if message else contextlib.nullcontext():
        look_at_end(tmp_path / "words")


@pytest.mark.parametrize(("bad", "message"), [
    ("cake 0 0 0 0", "line 8: the vector of 'cake', which the class 'cake' takes, is zero or not finite"),
    ("cake 1 nan 0 0", "line 8: .*zero or not finite"), ("cake 1 1e60 0 0", "line 8: .*zero or not finite"),
    ("cake 1 2 3", r"line 8 \(3 numbers, expected 4\): .*'cake'.* another length"),
    ("cake 1 2 3 4 5", r"line 8 \(5 numbers, expected 4\): .*'cake'.* another length"), ("spoon 0 0 0 0", None),
])  # fmt: skip
def test_a_vector_without_direction_is_refused_where_a_class_takes_it(tmp_path, bad, message):
    path = tmp_path / "words.txt"
    path.write_text(TEXT.replace("cake", "spoon" if message else "cake") + bad + "\n")
    with pytest.raises(WorkbenchError, match=message) if message else contextlib.nullcontext():
        read_class_vectors(path, VOCABULARY)


@pytest.mark.parametrize("kind", ["npz", "npz by name", "torch", "torch by name"])
def test_archives_are_refused_with_the_command_that_converts_them(tmp_path, monkeypatch, kind):
    path, words, rows = tmp_path / "it's words", list(WORDS), np.stack([vector for _, vector in PLAIN])
    with open(path, "wb") as file:
        if kind.startswith("npz"):
            np.savez(file, **({"w": words, "v": rows} if kind == "npz" else dict(PLAIN)))
        else:
            by_name = {word: torch.from_numpy(vector) for word, vector in PLAIN}
            torch.save((words, {}, torch.from_numpy(rows), 4) if kind == "torch" else by_name, file)
    refusal = refused(r"Convert it: python -c", read_class_vectors, path, VOCABULARY)
    *_, code, _, written = shlex.split(re.search("python -c .*", refusal)[0])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    (tmp_path / written).write_text(printed.getvalue())
    read_class_vectors(tmp_path / written, VOCABULARY)


@pytest.mark.parametrize(("entries", "taken"), [
    (["ice_cream", "ice", "cream", "t_shirt", "dry_erase", "board"], ["ice_cream", "t_shirt", "dry_erase board"]),
    (["ice", "cream", "T-Shirt", "dryerase", "board"], [None, "T-Shirt", "dryerase board"]),
    (["ice", "cream", "tshirt", "dry", "erase", "board"], [None, "tshirt", "dry erase board"]),
    (["icecream", "t", "shirt", "dry-erase-board"], ["icecream", "t shirt", "dry-erase-board"]),
    (["Ice_Cream", "ice", "cream", "t-shirt", "dry-erase", "board"], [None, None, None]),
])  # fmt: skip
def test_spellings_are_tried_in_order_and_told(tmp_path, entries, taken):
    names = ("ice cream", "t-shirt", "dry-erase board")
    path = write_words(tmp_path / "words.txt", random_words((*entries, "on", "unknown"), dimension=4))
    vectors, spelled = spelled_class_vectors(path, Vocabulary(names, ("on",)))
    assert spelled == {name: entry for name, entry in zip(names, taken, strict=True) if entry}
    by_name = {row.word: row.vector / np.linalg.norm(row.vector) for row in iterate_word_vectors(path)}
    for name, entry, vector in zip(names, taken, vectors.objects, strict=True):
        expected = np.mean([by_name[key] for key in (entry or name).split()], axis=0)
        np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-6)


def test_names_of_coco_stuff_and_lvis_are_read_as_they_are_said(tmp_path):
    names = {"mouse_(computer_equipment)": "mouse", "wall-brick": "brick wall", "floor-other-merged": "floor"}
    entries = random_words(("mouse", "brick", "wall", "floor", "on", "unknown"), dimension=4)
    path = write_words(tmp_path / "words.txt", entries)
    assert spelled_class_vectors(path, Vocabulary(tuple(names), ("on",)))[1] == names


@pytest.mark.parametrize("value", ['{"cat": [1, 2], "dog": [1, 2], "dog": [3, 4]}', "cat 1 2\ndog 1_0 2\n"])
def test_a_word_given_twice_and_numbers_that_only_python_reads_are_refused(tmp_path, value):
    (tmp_path / "words").write_text(value)
    with pytest.raises(WorkbenchError, match=r"words.*'dog'"):
        list(iterate_word_vectors(tmp_path / "words"))
