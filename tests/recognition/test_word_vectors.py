"""Word vectors: formats, upstream's lower-casing, missing words."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from workbench.errors import WorkbenchError
from workbench.recognition import word_vectors
from workbench.recognition.word_vectors import iterate_word_vectors, read_class_vectors, text_word_vectors
from workbench.scenes.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("cake", "fire hydrant"), ("next to",))
WORDS = ("cake", "fire", "hydrant", "next", "to", "unknown", "spare")


def write(path, vectors, line_breaks=True):
    if path.suffix == ".bin":
        rows = [f"{word} ".encode() + vector.tobytes() + b"\n" * line_breaks for word, vector in vectors]
        path.write_bytes(f"{len(vectors)} {len(vectors[0][1])}\n".encode() + b"".join(rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps({word: vector.tolist() for word, vector in vectors}))
    else:
        path.write_text("".join(f"{word} {' '.join(repr(float(v)) for v in vector)}\n" for word, vector in vectors))
    return path


def random_vectors(words=WORDS, dimension=300, seed=0):
    random = np.random.default_rng(seed)
    return [(word, random.standard_normal(dimension).astype(np.float32)) for word in words]


@pytest.mark.parametrize("suffix", [".bin", ".txt", ".json"])
@pytest.mark.parametrize("dimension", [3, 300])
def test_every_format_gives_the_mean_of_unit_vectors(tmp_path, suffix, dimension):
    vectors = random_vectors(dimension=dimension)
    found = read_class_vectors(write(tmp_path / f"vectors{suffix}", vectors), VOCABULARY)
    unit = {word: vector / np.linalg.norm(vector) for word, vector in vectors}
    np.testing.assert_allclose(found.objects, [unit["cake"], (unit["fire"] + unit["hydrant"]) / 2], rtol=1e-5)
    np.testing.assert_allclose(found.relations, [unit["unknown"], (unit["next"] + unit["to"]) / 2], rtol=1e-5)
    assert found.objects.dtype == np.float32


def test_upstream_takes_the_last_case_variant_and_clean_the_lower_case_one(tmp_path):
    words = ("Cake", "cake", "CAKE", "fire", "hydrant", "next", "To", "unknown")
    vectors = dict(random_vectors(words))
    path = write(tmp_path / "vectors.txt", list(vectors.items()))
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
    vectors = random_vectors(words, dimension=4, seed=seed)
    path = write(tmp_path / "vectors.txt", vectors)
    found = read_class_vectors(path, Vocabulary(("t-shirt",), ("on",)), "upstream")
    for row, word in ((found.objects[0], "t-shirt"), (found.relations[1], "on")):
        wanted = naive_upstream_lookup(vectors, word)
        np.testing.assert_allclose(row, wanted / np.linalg.norm(wanted), rtol=1e-5)


@pytest.mark.parametrize("line_breaks", [True, False])
@pytest.mark.parametrize("chunk_bytes", [1, 50, 1 << 22])
def test_pieces_do_not_matter_and_no_vector_keeps_its_piece(tmp_path, monkeypatch, chunk_bytes, line_breaks):
    monkeypatch.setattr(word_vectors, "CHUNK_BYTES", chunk_bytes)
    vectors = random_vectors([f"word{i}" for i in range(60)], dimension=11)
    path = write(tmp_path / "vectors.bin", vectors, line_breaks)
    found = dict(iterate_word_vectors(path, lambda word: word.endswith("7")))
    assert list(found) == [word for word, _ in vectors if word.endswith("7")]
    assert all(np.array_equal(found[word], vector) for word, vector in vectors if word in found)
    assert all(vector.base is None for vector in found.values())


@pytest.mark.parametrize("ending", ["\n", " \n"])
def test_glove_words_may_hold_blanks_and_line_separators(tmp_path, ending):
    words = ["the", "on", ". . .", "at name@domain.com", "a\u0085b", "c\u2028d", "e\rf", "\u00a0", "on on", "last"]
    vectors = random_vectors(words, dimension=6)
    lines = [f"{word} {' '.join(repr(float(v)) for v in vector)}{ending}" for word, vector in vectors]
    (tmp_path / "glove.txt").write_bytes("".join(lines).encode())
    found = list(iterate_word_vectors(tmp_path / "glove.txt"))
    assert [word for word, _ in found] == words
    for (_, vector), (_, wanted) in zip(found, vectors, strict=True):
        np.testing.assert_array_equal(vector, wanted)
    assert [word for word, _ in iterate_word_vectors(tmp_path / "glove.txt", {"on"}.__contains__)] == ["on"]
    (tmp_path / "header.vec").write_bytes(f"{len(words)} 6\n{''.join(lines)}".encode())
    assert [word for word, _ in iterate_word_vectors(tmp_path / "header.vec")] == words


def test_missing_words_are_named(tmp_path):
    path = write(tmp_path / "vectors.txt", random_vectors(("cake", "next", "to", "unknown")))
    with pytest.raises(WorkbenchError, match=r"2 of 6 words: fire, hydrant"):
        read_class_vectors(path, VOCABULARY)


def test_damaged_files_are_named(tmp_path):
    path = write(tmp_path / "vectors.bin", random_vectors())
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(WorkbenchError, match=r"vectors\.bin: ends in row 6 of 7"):
        read_class_vectors(path, VOCABULARY)
    text = tmp_path / "vectors.txt"
    text.write_text("cake 1.0 2.0\nfire 1.0 x\n")
    with pytest.raises(WorkbenchError, match="line 2"):
        read_class_vectors(text, VOCABULARY)
    with pytest.raises(WorkbenchError, match="no word vector file"):
        read_class_vectors(tmp_path / "absent.bin", VOCABULARY)


def test_text_vectors_are_unit_rows_with_the_mean_as_background():
    random = np.random.default_rng(0)
    text = SimpleNamespace(objects=random.standard_normal((5, 8)), relations=random.standard_normal((4, 8)) * 3)
    found = text_word_vectors(text)
    np.testing.assert_allclose(np.linalg.norm(found.objects, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found.relations[0], found.relations[1:].mean(axis=0), rtol=1e-4, atol=1e-6)
    text.objects[3] = 0
    with pytest.raises(WorkbenchError, match="row 3 is zero"):
        text_word_vectors(text)
