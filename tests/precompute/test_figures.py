"""The documents' figures: they follow from the tables by a command, and a check finds any that does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.errors import TableError
from precompute.figures import LISTS, RESULTS, SHIPPED, number, with_figures, write_figures


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copy(RESULTS, tmp_path / "results.md"))


def test_a_figure_that_is_typed_over_is_found_and_put_right(copy: Path) -> None:
    write_figures(check=False, document=copy)
    right = copy.read_text(encoding="utf-8")
    assert write_figures(check=True, document=copy) == "results.md has the figures of the tables."
    assert "13.8 % of the clips: .50" in right.replace("\n  ", " ")
    copy.write_text(right.replace("13.8 %", "13.9 %"), encoding="utf-8")
    with pytest.raises(TableError, match="python -m precompute figures"):
        write_figures(check=True, document=copy)
    write_figures(check=False, document=copy)
    assert copy.read_text(encoding="utf-8") == right


def test_only_what_is_between_the_marks_is_written(copy: Path) -> None:
    text = copy.read_text(encoding="utf-8")
    outside = [part.split("<!-- end -->")[-1] for part in text.split("<!-- figures ")]
    new = with_figures(text, SHIPPED)
    assert [part.split("<!-- end -->")[-1] for part in new.split("<!-- figures ")] == outside


def test_a_mark_that_is_gone_and_a_table_that_is_missing_are_said(copy: Path, tmp_path: Path) -> None:
    text = copy.read_text(encoding="utf-8")
    for name in LISTS:
        with pytest.raises(TableError, match=name):
            with_figures(text.replace(f"<!-- figures {name} -->", ""), SHIPPED)
    with pytest.raises(TableError, match="agreement"):
        with_figures(text, tmp_path)


def test_shares_are_written_as_the_documents_write_them() -> None:
    assert [number(value) for value in (0.5, -0.034, 1.0, 0.996, 0.0)] == [
        ".50",
        "-.03",
        "1.00",
        "1.00",
        ".00",
    ]
