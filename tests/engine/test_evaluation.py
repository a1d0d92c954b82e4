"""Facts about the precomputed line: it shows what the table has and refuses a damaged table.

A system's error rates on people: read as written, refused when damaged, nothing where there is no file.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from engine.errors import EngineError, ModelFilesError, UnknownKeyError
from engine.evaluation import FILE_NAME, Figure, benchmark_line, human_errors, read_figures, revisions_of
from precompute.mini.evaluate import Row, write_rows

SPEECH, CASCADE, BOTH = "mini-Ultravox", "mini-Whisper -> mini-Llama", "speech LLM and cascade"
ESPEAK = "espeak, unseen voices"
ROWS = [
    Row("accuracy", "topic", SPEECH, ESPEAK, 300, 0.8133, 0.7654, 0.8534),
    Row("accuracy", "topic", CASCADE, ESPEAK, 300, 0.84, 0.7942, 0.8772),
    Row("kappa", "topic", BOTH, ESPEAK, 300, 0.7213, 0.6531, 0.7864),
    Row("accuracy", "sarcasm", SPEECH, ESPEAK, 20, 0.5, 0.2993, 0.7007),
    Row("accuracy", "sarcasm", CASCADE, ESPEAK, 20, 0.5, 0.2993, 0.7007),
    Row("kappa", "sarcasm", BOTH, ESPEAK, 20, float("nan"), float("nan"), float("nan")),
    Row("accuracy", "trivia", SPEECH, ESPEAK, 187, 0.7, 0.6, 0.8),
    Row("wer", "transcribe", "mini-Whisper", ESPEAK, 300, 0.04, 0.03, 0.05),
    Row("wer", "transcribe", "mini-Ultravox, asked to repeat", ESPEAK, 300, 0.08, 0.07, 0.09),
    Row("wer", "transcribe", "mini-Whisper", "festival kal, unseen engine", 150, 0.3, 0.2, 0.4),
]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "mini-ultravox").mkdir()
    (tmp_path / "mini-ultravox" / "revision.txt").write_text("0123abcd4567\n", encoding="utf-8")
    write_rows(ROWS, tmp_path / FILE_NAME, revisions_of("mini-ultravox", tmp_path))
    return tmp_path


def test_the_line_says_what_the_table_has(models: Path) -> None:
    assert benchmark_line("topic", "mini-ultravox", models) == (
        "On 300 held-out topic clips: accuracy of the speech LLM 0.81 [0.77, 0.85], of the cascade "
        "0.84 [0.79, 0.88], kappa 0.72 [0.65, 0.79] (95 % intervals). Precomputed with these weights."
    )


def test_figures_of_other_weights_are_not_shown(models: Path) -> None:
    """A retrained model stood beside the figures of the one before."""
    assert revisions_of("mini-ultravox", models) == (
        "mini-llama unversioned, mini-ultravox 0123abcd4567, mini-whisper unversioned"
    )
    (models / "mini-ultravox" / "revision.txt").write_text("ffffffffffff\n", encoding="utf-8")
    line = benchmark_line("topic", "mini-ultravox", models)
    assert line is not None and "other weights" in line and "0.8" not in line


def test_transcribe_gives_the_word_error_rates_of_the_seen_engine(models: Path) -> None:
    line = benchmark_line("transcribe", "mini-ultravox", models)
    assert line is not None and line.startswith(
        "On 300 held-out clips: word error rate of the speech LLM 0.08 [0.07, 0.09], of the cascade 0.04"
    )


def test_an_undefined_kappa_is_said_to_be_so_and_is_no_number(models: Path) -> None:
    line = benchmark_line("sarcasm", "mini-ultravox", models)
    assert line is not None and "kappa not defined" in line and "nan" not in line.replace("Ultravox", "")


@pytest.mark.parametrize("task", ["free", "trivia", "no such task"])
def test_nothing_is_said_without_a_figure_of_both(models: Path, task: str) -> None:
    """The table has nothing on free prompts, and here only one of two systems on trivia."""
    assert benchmark_line(task, "mini-ultravox", models) is None


def test_nothing_is_said_without_a_table(tmp_path: Path) -> None:
    assert benchmark_line("topic", "mini-ultravox", tmp_path) is None


def test_an_unknown_pair_is_an_error(models: Path) -> None:
    with pytest.raises(UnknownKeyError):
        benchmark_line("topic", "no such pair", models)


def test_what_was_written_is_read_back(models: Path) -> None:
    figures = read_figures(models / FILE_NAME)
    assert [f.measure for f in figures] == [row.measure for row in ROWS]
    assert figures[0] == Figure(
        "accuracy", "topic", SPEECH, ESPEAK, 300, 0.8133, 0.7654, 0.8534, figures[1].revisions
    )
    assert figures[5].value is None


def test_the_columns_are_those_of_the_job_that_writes_them() -> None:
    assert [f.name for f in fields(Figure)] == [*(f.name for f in fields(Row)), "revisions"]


def test_a_new_table_is_read_at_once(models: Path) -> None:
    assert benchmark_line("trivia", "mini-ultravox", models) is None
    write_rows(
        [*ROWS, Row("accuracy", "trivia", CASCADE, ESPEAK, 187, 0.8, 0.7, 0.9)],
        models / FILE_NAME,
        revisions_of("mini-ultravox", models),
    )
    assert benchmark_line("trivia", "mini-ultravox", models) is not None


WHOLE = "measure,task,system,voices,n_items,value,low,high,revisions\r\naccuracy,topic,a,b,300,0.8133,0.7,0.9,r\r\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\r\n",
        "measure,task\r\naccuracy,topic\r\n",
        WHOLE[:-2],
        WHOLE[:-4],
        WHOLE + "accuracy,topic,a\r\n",
        WHOLE.replace("\r\naccuracy", "\r\naccuracy,extra"),
        WHOLE.replace("0.8133", "most"),
        WHOLE.replace("0.8133", ""),
        WHOLE.replace("0.8133", "inf"),
        WHOLE.replace("300", "0"),
        WHOLE.replace("300", "3.5"),
        WHOLE.replace("0.7,0.9", "0.9,0.7"),
        WHOLE.replace("accuracy,topic", '"accuracy,topic'),
    ],
)
def test_a_damaged_table_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_bytes(text.encode())
    with pytest.raises(EngineError, match="python -m precompute evaluate") as caught:
        benchmark_line("topic", "mini-ultravox", tmp_path)
    assert str(tmp_path) not in str(caught.value)


def test_the_whole_table_above_is_fine(tmp_path: Path) -> None:
    """The positive control of the damaged ones."""
    (tmp_path / FILE_NAME).write_bytes(WHOLE.encode())
    assert len(read_figures(tmp_path / FILE_NAME)) == 1


def test_bytes_that_are_no_text_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe\x00measure\n")
    with pytest.raises(EngineError, match="not a readable table"):
        read_figures(tmp_path / FILE_NAME)


def test_every_prefix_of_a_table_is_a_whole_one_or_an_error(tmp_path: Path) -> None:
    """Cut anywhere but after a row, a table is refused; rows that are whole keep their numbers."""
    file = tmp_path / FILE_NAME
    write_rows(ROWS[:3], file, "r")
    whole, figures = file.read_bytes(), read_figures(file)
    for stop in range(len(whole)):
        cut = tmp_path / f"cut{stop}.csv"
        cut.write_bytes(whole[:stop])
        try:
            found = read_figures(cut)
        except EngineError:
            continue
        assert found == figures[: len(found)] and whole[:stop].endswith(b"\n")


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
