import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.language.pack_nouns import noun_database
from workbench.errors import WorkbenchError
from workbench.language import wordnet
from workbench.language.wordnet import (
    ARCHIVE,
    DATABASE_FILES,
    LICENCE,
    name_forms,
    noun_senses,
    open_wordnet,
    unpack_nouns,
)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    return unpack_nouns(tmp_path_factory.mktemp("cache")) / "corpora" / "wordnet"


def test_shipped_archive_is_small_and_under_its_licence():
    assert ARCHIVE.stat().st_size <= 2_000_000
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in LICENCE.read_text()


def test_nltk_reads_the_shipped_nouns():
    reader = open_wordnet()
    assert reader is open_wordnet()
    assert reader.get_version() == "3.0"
    assert sum(1 for _ in reader.all_lemma_names("n")) == 117_798  # WordNet 3.0's own statistics, wnstats(7WN)
    assert [s.name() for s in reader.synsets("dogs", "n")[:2]] == ["dog.n.01", "frump.n.01"]
    above = {synset.name() for synset in reader.synset("dog.n.01").hypernyms()}
    assert above == {"canine.n.02", "domestic_animal.n.01"}
    assert reader.synset("einstein.n.01").instance_hypernyms() == [reader.synset("physicist.n.01")]
    assert reader.synset("cookie.n.01").lexname() == "noun.food"
    assert reader.synsets("quickly") == []


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


def test_byte_offsets_stand_at_their_place(unpacked):
    data = (unpacked / "data.noun").read_bytes()
    place = 0
    for line in data.splitlines(keepends=True):
        assert line.startswith(b"  ") or int(line[:8]) == place
        place += len(line)


def test_packing_what_was_unpacked_changes_nothing(unpacked):
    assert noun_database(unpacked) == {name: (unpacked / name).read_bytes() for name in DATABASE_FILES}


def test_unpacking_happens_once_and_mends_a_damaged_folder(tmp_path):
    root = unpack_nouns(tmp_path)
    written = (root / "corpora/wordnet/data.noun").stat().st_mtime_ns
    assert unpack_nouns(tmp_path) == root
    assert (root / "corpora/wordnet/data.noun").stat().st_mtime_ns == written
    (root / "corpora/wordnet/lexnames").unlink()
    assert (unpack_nouns(tmp_path) / "corpora/wordnet/lexnames").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [root.name]


def _archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:xz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def test_no_member_of_an_archive_can_leave_the_folder(tmp_path):
    members = dict.fromkeys(DATABASE_FILES, b"") | {"../../../escaped": b"x", "/escaped": b"x"}
    root = unpack_nouns(tmp_path / "cache", _archive(tmp_path / "bad.tar.xz", members))
    assert sorted(p.name for p in (root / "corpora/wordnet").iterdir()) == sorted(DATABASE_FILES)
    assert not list(tmp_path.rglob("escaped"))


def test_a_truncated_or_missing_archive_is_named(tmp_path):
    cut = tmp_path / "cut.tar.xz"
    cut.write_bytes(ARCHIVE.read_bytes()[:100_000])
    with pytest.raises(WorkbenchError, match=r"cut\.tar\.xz: not a whole WordNet archive"):
        unpack_nouns(tmp_path / "cache", cut)
    with pytest.raises(WorkbenchError, match=r"absent.*Install the package again"):
        unpack_nouns(tmp_path / "cache", tmp_path / "absent.tar.xz")


def test_a_full_disk_is_named_and_leaves_nothing_that_looks_whole(tmp_path, monkeypatch):
    def full(archive, target):
        (target / "data.noun").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wordnet, "_extract", full)
    with pytest.raises(WorkbenchError, match="disk is full"):
        unpack_nouns(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_wordnet_replaces_the_shipped_one(tmp_path, unpacked):
    assert Path(str(open_wordnet(unpacked.parents[1]).root)) == unpacked
    with pytest.raises(WorkbenchError, match="NLTK cannot read this WordNet"):
        open_wordnet(tmp_path / "nothing")


def test_the_cache_lies_under_the_chosen_home_or_falls_back_to_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert tmp_path / "home" / "data" / "cache" / "wordnet" in unpack_nouns().parents
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "file"))
    assert tmp_path / "user" / "workbench" / "wordnet" in unpack_nouns().parents


@pytest.mark.parametrize(
    ("name", "form", "first"),
    [
        ("trees", "trees", "tree.n.01"),
        ("women", "women", "woman.n.01"),
        ("Hot Dog", "hot_dog", "hotdog.n.01"),
        ("tennis rackets", "tennis_rackets", "tennis_racket.n.01"),
        ("t shirt", "t-shirt", "jersey.n.03"),
        ("ice-cream cone", "ice-cream_cone", "ice-cream_cone.n.01"),
        ("dry-erase board", "board", "board.n.01"),
        ("stuffed animals", "animals", "animal.n.01"),
        ("slice of blue cheese", "slice", "slice.n.01"),
    ],
)
def test_names_find_their_senses(name, form, first):
    found, senses = noun_senses(name, open_wordnet(), 4)
    assert found == form
    assert senses[0].name() == first
    assert len(senses) <= 4 and len(set(senses)) == len(senses)


def test_a_name_that_wordnet_lacks_has_no_sense():
    for name in ("pikachu", "<unk>", "zzz qqq", "-"):
        assert noun_senses(name, open_wordnet(), 4) == ("", [])
    assert name_forms("a of b")[-1] == "a"
    assert name_forms("of") == ["of"]
