"""The stream yields what Python's own parser does, for any JSON, whatever is repeated, broken or beyond yajl."""

import gc
import json
from itertools import islice

import numpy as np
import pytest

from workbench.scenes import json_stream
from workbench.scenes.json_stream import BrokenJson, JsonFile, NotAnObject, in_pieces


def random_value(random: np.random.Generator, depth: int):
    kinds = [
        None,
        True,
        int(random.integers(-(2**62), 2**62)),
        float(random.normal()) * 10 ** int(random.integers(-9, 9)),
    ]
    kinds += ["".join(random.choice(list('aä猫"\\ \n[{.')) for _ in range(4))]
    if not depth:
        return kinds[int(random.integers(len(kinds)))]
    if random.random() < 0.5:
        return [random_value(random, depth - 1) for _ in range(int(random.integers(4)))]
    return {f"key {n}{'.' * n}": random_value(random, depth - 1) for n in range(int(random.integers(4)))}


@pytest.fixture
def file(tmp_path):
    def make(text) -> JsonFile:
        path = tmp_path / "a.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return JsonFile(path)

    return make


@pytest.mark.parametrize("seed", range(20))
def test_members_equal_the_whole(file, seed):
    random = np.random.default_rng(seed)
    value = {f"k{n}": random_value(random, 3) for n in range(int(random.integers(40)))}
    made = file(json.dumps(value, indent=[None, 1][seed % 2], ensure_ascii=bool(seed % 3)))
    found = dict(made.members())
    assert found == value and repr(found) == repr(value) and made.repeated == []
    outline = made.outline()
    assert [key for key, _ in outline] == list(value)
    for (_, emptied), full in zip(outline, value.values(), strict=True):
        assert emptied == ({} if isinstance(full, dict) else full) or isinstance(full, list)
        assert not isinstance(full, list) or len(emptied) == len(full)
    for key, full in value.items():
        assert list(made.entries(key)) == (full if isinstance(full, list) else [])


# What yajl refuses and Python takes comes from the whole file, after what was already given.
@pytest.mark.parametrize("odd", ["NaN", "-Infinity", "1e400", "9" * 30])
@pytest.mark.parametrize("size", [0, 3, 5000])
def test_what_the_fast_parser_refuses(file, odd, size):
    text = '{"list": [' + "".join(f'{{"n": {n}}}, ' for n in range(size)) + f'{odd}, 7], "after": [1]}}'
    made = file(text)
    assert repr(list(made.entries("list"))) == repr(json.loads(text)["list"])
    assert repr(dict(made.members())) == repr(json.loads(text))
    assert len(dict(made.outline())["list"]) == size + 2


@pytest.mark.parametrize("odd", ["", ', "odd": NaN'])
def test_repeated_keys_are_noted_at_every_level(file, odd):
    text = '{"a": {"b": 1, "b": 2}, "c": [{"d": 1, "d": 1, "d": 1}], "a": 5' + odd + "}"
    made = file(text)
    assert [key for key, _ in made.members()][:3] == ["a", "c", "a"]
    assert set(made.repeated) == {"a", "b", "d"}
    made = file(text)
    made.outline()
    assert "a" in made.repeated
    assert next(file(text).entries("c")) == {"d": 1}


@pytest.mark.parametrize("text", ['{"a": 1', '{"a": [1, 2,]}', '{"a": 1} x', "", "{'a': 1}", '\n\n{"a":\n\n01}'])
def test_broken_files_are_placed_as_by_python(file, text):
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(text)
    with pytest.raises(BrokenJson) as raised:
        list(file(text).members())
    assert raised.value.place == f"line {expected.value.lineno}, column {expected.value.colno}"
    assert raised.value.what == expected.value.msg


def test_a_large_broken_file_is_placed_without_parsing_it_whole(file, monkeypatch):
    monkeypatch.setattr(json_stream, "WHOLE_UP_TO_BYTES", 1000)
    lines = [f'"key {n}": [{n}, {{"x": "ä"}}],' for n in range(20_000)]
    lines[15_000] = '"key": [1 2],'
    made = file("{\n" + "\n".join(lines) + '\n"end": 1}')
    with pytest.raises(BrokenJson, match="line 15002, column") as raised:
        made.outline()
    assert 9 <= int(raised.value.place.rsplit(" ", 1)[1]) <= 12
    with pytest.raises(BrokenJson, match="premature EOF"):
        list(file("{\n" + "\n".join(lines[:9000])).members())


@pytest.mark.parametrize("content", [b"[1, 2]", b"null", b' "text"', b"[" + b"1," * 9000 + b"1]"])
def test_files_that_hold_no_object(file, content, monkeypatch):
    with pytest.raises(NotAnObject) as raised:
        file(content).outline()
    assert raised.value.value == json.loads(content)
    monkeypatch.setattr(json_stream, "WHOLE_UP_TO_BYTES", 3)
    with pytest.raises(NotAnObject):
        list(file(content).members())


@pytest.mark.parametrize("start", [b"[", b'{"images": ', b'{"images": [1, '])
def test_deep_nesting_stops_before_it_fills_the_memory(file, start, monkeypatch):
    for limit in (1 << 28, 10):
        monkeypatch.setattr(json_stream, "WHOLE_UP_TO_BYTES", limit)
        with pytest.raises((BrokenJson, NotAnObject)):
            list(file(start + b"[" * 200_000).entries("images"))


def test_pieces_leave_the_search_for_cycles_as_it_was():
    assert list(in_pieces(iter(range(7)), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert gc.isenabled()
    pieces = in_pieces((1 // (3 - n) for n in range(9)), 2)
    with pytest.raises(ZeroDivisionError):
        list(islice(pieces, 3))
    assert gc.isenabled()


def test_a_long_file_shows_how_far_it_is(file, monkeypatch, capsys):
    monkeypatch.setattr(json_stream, "LONG_FILE_BYTES", 1000)
    monkeypatch.setattr("workbench.progress.SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setenv("WORKBENCH_HEADLESS", "1")
    made = file('{"a": [' + "1, " * 1_200_000 + "1]}")
    assert len(dict(made.outline())["a"]) == 1_200_001
    assert "Reading a.json, MB: 2 of 3" in capsys.readouterr().out


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(JsonFile(tmp_path / "none.json").members())
