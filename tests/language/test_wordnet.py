import io
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.language.pack_nouns import noun_database
from tests.refusals import refused
from workbench.language import wordnet
from workbench.language.wordnet import ARCHIVE, noun_senses, open_wordnet, unpack_nouns


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    return unpack_nouns(tmp_path_factory.mktemp("cache")) / "corpora" / "wordnet"


def test_nltk_reads_the_shipped_nouns():
    assert ARCHIVE.stat().st_size <= 2_000_000
    licence = ARCHIVE.with_name("LICENSE.wordnet").read_text()
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in licence
    reader = open_wordnet()
    assert reader is open_wordnet() and reader.get_version() == "3.0"
    assert sum(1 for _ in reader.all_lemma_names("n")) == 117_798  # WordNet 3.0's own statistics, wnstats(7WN)
    assert [s.name() for s in reader.synsets("dogs", "n")[:2]] == ["dog.n.01", "frump.n.01"]
    above = {synset.name() for synset in reader.synset("dog.n.01").hypernyms()}
    assert above == {"canine.n.02", "domestic_animal.n.01"}
    assert reader.synset("einstein.n.01").instance_hypernyms() == [reader.synset("physicist.n.01")]
    assert reader.synset("cookie.n.01").lexname() == "noun.food" and reader.synsets("quickly") == []


@pytest.mark.parametrize(("name", "senses"), [
    ("wall-brick", "wall.n.01"), ("door-stuff", "door.n.01"), ("floor-other-merged", "floor.n.01"),
    ("mouse_(computer_equipment)", "mouse.n.04"), ("chicken_(animal)", "chicken.n.02"), ("bow_(weapon)", "bow.n.04"),
    ("alarm_clock", "alarm_clock.n.01"), ("t-shirt", "jersey.n.03"), ("pew_(church_bench)", "pew.n.01"),
    ("bow_(decorative_ribbons)", ""), ("cooler_(for_food)", ""),  # several senses, of which none is plainly meant
])  # fmt: skip
def test_names_of_coco_stuff_and_lvis_are_read_where_they_are_plain(name, senses):
    assert "".join(synset.name() for synset in noun_senses(name, open_wordnet(), 1)) == senses


@pytest.mark.slow
def test_nltks_own_corpus_finds_the_shipped_nouns():
    # In a process of its own: NLTK's corpus stays bound to the first folder in which it finds a WordNet.
    code = (
        "from workbench.language.wordnet import open_wordnet\n"
        "reader = open_wordnet()\n"
        "from nltk.corpus import wordnet as corpus\n"
        "names = [wordnet.synset('cat.n.01').lemma_names() for wordnet in (corpus, reader)]\n"
        "assert names[0] == names[1] and 'cat' in names[0], names\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_packing_what_was_unpacked_changes_nothing(unpacked):
    """So every byte offset stands at its place."""
    assert noun_database(unpacked) == {path.name: path.read_bytes() for path in unpacked.iterdir()}


def test_no_member_of_an_archive_can_leave_the_folder(tmp_path):
    with tarfile.open(tmp_path / "bad.tar.xz", "w:xz") as tar:
        for name in ("data.noun", "../../../escaped", "/escaped"):
            entry = tarfile.TarInfo(name)
            entry.size = 1
            tar.addfile(entry, io.BytesIO(b"x"))
    root = unpack_nouns(tmp_path / "cache", tmp_path / "bad.tar.xz")
    written = (root / "corpora/wordnet/data.noun").stat().st_mtime_ns
    assert unpack_nouns(tmp_path / "cache", tmp_path / "bad.tar.xz") == root  # which happens once
    assert (root / "corpora/wordnet/data.noun").stat().st_mtime_ns == written
    assert [path.parent for path in tmp_path.rglob("escaped")] == [root / "corpora/wordnet"]


def test_a_truncated_or_missing_archive_is_named(tmp_path):
    cut = tmp_path / "cut.tar.xz"
    cut.write_bytes(ARCHIVE.read_bytes()[:100_000])
    refused(r"cut\.tar\.xz: not a whole WordNet archive", unpack_nouns, tmp_path / "cache", cut)
    assert list((tmp_path / "cache").iterdir()) == []
    refused(r"absent.*Install the package again", unpack_nouns, tmp_path / "cache", tmp_path / "absent.tar.xz")


def test_a_full_disk_is_named_and_leaves_nothing_that_looks_whole(tmp_path, monkeypatch):
    def full(archive, target):
        target.mkdir(parents=True)
        (target / "data.noun").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wordnet, "_extract", full)
    refused("disk is full", unpack_nouns, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_wordnet_replaces_the_shipped_one(tmp_path, unpacked):
    assert Path(str(open_wordnet(unpacked.parents[1]).root)) == unpacked
    refused("NLTK cannot read this WordNet", open_wordnet, tmp_path / "nothing")


def test_the_cache_lies_under_the_chosen_home_or_falls_back_to_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    (tmp_path / "home").mkdir()
    assert tmp_path / "home" / "data" / "cache" / "wordnet" in unpack_nouns().parents
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "file"))
    assert tmp_path / "user" / "workbench" in unpack_nouns().parents


@pytest.mark.parametrize(("name", "first"), [
    ("trees", "tree.n.01"), ("women", "woman.n.01"), ("Hot Dog", "hotdog.n.01"),
    ("tennis rackets", "tennis_racket.n.01"), ("t shirt", "jersey.n.03"), ("ice-cream cone", "ice-cream_cone.n.01"),
    ("dry-erase board", "board.n.01"), ("stuffed animals", "animal.n.01"), ("slice of blue cheese", "slice.n.01"),
])  # fmt: skip
def test_names_find_their_senses(name, first):
    senses = noun_senses(name, open_wordnet(), 4)
    assert senses[0].name() == first and len(senses) <= 4 and len(set(senses)) == len(senses)


def test_a_name_that_wordnet_lacks_has_no_sense():
    for name in ("pikachu", "<unk>", "zzz qqq", "-"):
        assert noun_senses(name, open_wordnet(), 4) == []
    assert wordnet.name_forms("a of b")[-1] == "a" and wordnet.name_forms("of") == ["of"]


@pytest.mark.parametrize("left", [None, ""])
def test_a_wordnet_without_irregular_plurals_is_refused(tmp_path, unpacked, left):
    shutil.copytree(unpacked, tmp_path / "corpora" / "wordnet")
    plurals = tmp_path / "corpora" / "wordnet" / "noun.exc"
    plurals.unlink() if left is None else plurals.write_text(left)
    refused(r"noun\.exc: missing or empty.*dict/", open_wordnet, tmp_path)


def test_one_reader_answers_several_threads(unpacked):
    open_wordnet.cache_clear()  # a reader that has read nothing yet
    reader = open_wordnet(unpacked.parents[1])
    words = [line.split()[0] for line in (unpacked / "index.noun").read_text().splitlines()[2000:3000]]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(2e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda word: noun_senses(word, reader), words))
    finally:
        sys.setswitchinterval(interval)
    assert all(senses and None not in senses for senses in found)
