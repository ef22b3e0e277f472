import json
import re

import numpy as np
import pytest

from annotated_scenes.text_vectors import read_text_vectors
from workbench.scenes.problems import FileProblems, format_report

NAMES = ("man", "dog", "hat")
GOOD = [[1.0, 2.0], [0.0, 1.0], [3.0, 1.0]]


def read(path, value, **options):
    if path.suffix == ".npy":
        np.save(path, value)
    else:
        path.write_text(json.dumps(value))
    problems = []
    vectors = read_text_vectors(FileProblems(path, problems), NAMES, **options)
    return vectors, format_report(problems)


@pytest.mark.parametrize(("value", "said"), [
    ([*GOOD[:2], [0.0, 0.0]], "zero vector.*row 2 \\('hat'\\)"),
    ([*GOOD[:2], [float("nan"), 1.0]], "non-finite.*row 2 \\('hat'\\)"),
    *(([*GOOD[:2], [huge, 1.0]], "non-finite.*row 2 \\('hat'\\)") for huge in (1e300, 1e30)),
    ([*GOOD[:2], GOOD[0]], "warning: one vector for two names.*row 2 \\('hat'\\).*row 0 \\('man'\\)"),
    ([GOOD[0], None, GOOD[2]], "unusable vector.*row 1 \\('dog'\\)"), (GOOD[:2], "wrong shape.*expected \\(3, T\\)"),
    ([GOOD[0], [1.0, 2.0, 3.0], GOOD[2]], "row 1 \\('dog'\\): found 3 numbers, expected 2"),
    ([GOOD[0], [1.0, "2"], GOOD[2]], "row 1 \\('dog'\\): found '2'"), ("text", "a list of vectors"),
    ([GOOD[0], [1.0, 10**400], GOOD[2]], "row 1 \\('dog'\\): found 1000"),
    ({"man": [1, 2], "dog": [1, 2], "Hat": [1, 2]}, "missing vector.*name 'hat': found none.*is 'Hat'"),
])  # fmt: skip
def test_an_unusable_vector_is_named_by_its_class(tmp_path, value, said):
    _, report = read(tmp_path / "vectors.json", value)
    assert re.search(said, report, re.DOTALL), report


def test_vectors_by_name_or_in_order_and_a_relation_without_one(tmp_path):
    in_order, _ = read(tmp_path / "a.json", GOOD)
    by_name, _ = read(tmp_path / "b.json", dict(zip(("x", "man ", *NAMES[1:]), [[9, 9], *GOOD], strict=True)))
    np.testing.assert_array_equal(in_order, by_name)
    lacking, report = read(tmp_path / "c.npy", np.array([[1, 1], [np.nan, np.nan], [2, 1]]), may_lack=True)
    assert np.isnan(lacking[1]).all() and "1 warning" in report and "found a row of NaN" in report
    assert "plain numbers" in read(tmp_path / "d.npy", np.ones((3, 2), dtype=complex))[1]
    assert "(3, 4)" in read(tmp_path / "e.npy", np.ones((3, 2)), dimension=4)[1]
