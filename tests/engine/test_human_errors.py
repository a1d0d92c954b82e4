"""A system's error rates on people: read as written, refused when damaged, nothing where there is no file."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ModelFilesError
from engine.evaluation import human_errors

HEAD = "system,measure,corpus,slice_kind,slice,value,low,high,n_clips,n_speakers\n"
ROW = "ultravox-smollm2,wer,vctk,corpus,vctk,0.25,0.22,0.28,108,20\n"


def write(models: Path, text: str) -> None:
    (models / "some").mkdir(exist_ok=True)
    (models / "some" / "human.csv").write_text(text, encoding="utf-8")


def test_rows_are_read_and_no_file_is_no_rows(tmp_path: Path) -> None:
    assert human_errors("some", tmp_path) == ()
    write(tmp_path, HEAD + ROW + "ultravox-smollm2,wer,vctk,sex,female,0.2,,,50,9\n")
    first, second = human_errors("some", tmp_path)
    assert (first.corpus, first.slice_kind, first.value, first.low, first.high) == (
        "vctk",
        "corpus",
        0.25,
        0.22,
        0.28,
    )
    assert (first.n_clips, first.n_speakers) == (108, 20)
    assert second.slice == "female" and second.low is None and second.high is None


@pytest.mark.parametrize(
    "text",
    [
        HEAD.replace("slice_kind", "kind") + ROW,
        HEAD + ROW.replace("0.25", "nan"),
        HEAD + ROW.replace("0.25", "much"),
        HEAD + ROW.replace(",corpus,", ",planet,"),
        HEAD + ROW[:40] + "\n",
    ],
)
def test_what_is_no_such_table_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    with pytest.raises(ModelFilesError, match=r"human\.csv"):
        human_errors("some", tmp_path)
