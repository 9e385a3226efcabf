"""The recipes' accuracy as a result file."""

from __future__ import annotations

import json

import pytest
from onepass.bench import accuracy


@pytest.mark.slow
def test_a_row_for_each_seed_is_written(tmp_path, capsys):
    pytest.importorskip("sklearn", reason="digits come from scikit-learn")
    file = tmp_path / "accuracy.json"
    assert accuracy.main(["--seeds", "2", "--device", "cpu", "--json", str(file)]) == 0
    result = json.loads(file.read_text(encoding="utf-8"))
    rows = result["accuracy"]["digits"]
    assert [row["seed"] for row in rows] == [0, 1]
    assert all(0.97 <= row["accuracy"] <= 1 and row["seconds"] > 0 for row in rows)
    assert {"date", "versions", "hardware"} <= set(result)
    assert f"digits, float32, seed 1: {rows[1]['accuracy']:.2%}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--data", "mnist:"], ["--data", "x"], ["--seeds", "0"]])
def test_wrong_arguments_end_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        accuracy.main(arguments)
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err
