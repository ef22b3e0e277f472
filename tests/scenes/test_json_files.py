import json
import tracemalloc

import numpy as np
import pytest

from workbench.scenes.annotation_files import JsonFile, UnusableJson, decoded


@pytest.fixture
def file(tmp_path):
    def make(text: str | bytes) -> JsonFile:
        path = tmp_path / "a.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return JsonFile(path)

    return make


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_members_are_those_of_pythons_parser(file, indent, ascii_only):
    value = {"größe 猫": [1, {"x": [2.5, None, True]}], 'a"b:': {}, ":": "text", "": [[]]}
    made = file(json.dumps(value, indent=indent, ensure_ascii=ascii_only))
    assert {name: decoded(raw, object) for name, raw in made.members.items()} == value
    assert made.repeated == []


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        ('{"a": 1, "b": 2, "a": 3}', ["a"]),
        ('{"a": [1], "a": [2]}', ["a"]),
        ('{"a":1,"b":{"c":"d"},"a":3,"b":4,"e":5}', ["a", "b"]),
        ('{"b": 0, "a": 1,\n "c": 2, "c": 3}', ["c"]),
    ],
)
def test_names_that_occur_twice(file, text, repeated):
    assert sorted(set(file(text).repeated)) == repeated


@pytest.mark.parametrize(
    "text", ['{"a": 1', '{"a": [1, 2,]}', '{"a": 1} x', "", "{'a': 1}", '\n\n{"a":\n\n01}', '{"a": NaN}']
)
def test_broken_files_are_placed(file, text):
    with pytest.raises(UnusableJson) as raised:
        file(text)
    line = 1 if "NaN" in text else json_line(text)
    assert raised.value.record.startswith(f"line {line}, column ") and raised.value.found


def json_line(text: str) -> int:
    with pytest.raises(json.JSONDecodeError) as error:
        json.loads(text)
    return error.value.lineno


@pytest.mark.parametrize("content", [b"[1, 2]", b"null", b' "text"'])
def test_files_that_hold_no_object(file, content):
    with pytest.raises(UnusableJson, match="expected `object`"):
        file(content)


@pytest.mark.parametrize("start", [b"[", b'{"images": ', b'{"images": [1, '])
def test_deep_nesting_and_bytes_that_are_no_text(file, start):
    with pytest.raises(UnusableJson):
        file(start + b"[" * 200_000)
    with pytest.raises(UnusableJson):
        file(b"\xff\xfe\x00")


def test_a_large_file_is_not_held_as_objects(file):
    entry = {"bbox": list(np.arange(4) * 3.5), "category": 3}
    text = json.dumps({f"{number}.jpg": [entry] * 20 for number in range(3000)})
    made = file(text)
    tracemalloc.start()
    for raw in made.members.values():
        decoded(raw, list[dict])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(text) / 20


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        JsonFile(tmp_path / "none.json")
