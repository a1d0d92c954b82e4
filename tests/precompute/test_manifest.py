"""Facts about own corpora: a folder of clips becomes a task; every fault is named with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from precompute.corpora.manifest import ManifestError, read_manifest
from precompute.plan import make_plan
from precompute.settings import Settings
from tests.precompute.fake_family import run_fake, write_models

HEADER = "audio,question,choices,gold,group"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    for index, name in enumerate(("a", "b")):
        tone = 0.1 * np.sin(np.arange(12_000) / (8 + index))
        soundfile.write(tmp_path / "clips" / f"{name}.wav", tone, 16_000)
    return tmp_path


def manifest(folder: Path, *lines: str, name: str = "my calls.csv") -> Path:
    file = folder / name
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_a_folder_of_clips_becomes_a_task(folder: Path) -> None:
    corpus = read_manifest(
        manifest(
            folder,
            f"{HEADER},transcript",
            'clips/a.wav,Is the caller pleased? {choices}.,"Yes; No",yes,caller 1,Thank you so much!',
            "clips/b.wav,,,paris|the city of paris,,",
        )
    )
    pleased, asked = corpus.items
    assert corpus.task == pleased.task == "my-calls" and corpus.folder == folder
    assert pleased.question.labels == ("Yes", "No") and pleased.gold == "Yes" and pleased.group == "caller 1"
    assert pleased.question.instruction == pleased.prompt == "Is the caller pleased? Yes, No."
    assert pleased.text == "Thank you so much!" and len(pleased.sha256) == 64
    assert asked.question.labels == () and asked.question.task.kind == "open"
    assert (asked.gold, asked.aliases, asked.group) == ("paris", ("the city of paris",), "line 3")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_saved_by_a_spreadsheet_is_read(folder: Path, separator: str) -> None:
    """Fault: a European Excel's semicolons, its empty columns and blank rows, and U+2028 in a cell were errors."""
    empty = separator * 2
    rows = [
        HEADER.replace(",", separator) + empty,
        separator.join(
            ["clips/a.wav", '"Is it\u2028good;\x85or, not?"', "red|blue".replace("|", " or "), "red", "x"]
        )
        + empty,
        separator * 6,
        separator.join(["clips/b.wav", "", "", "paris", ""]) + empty,
        "",
    ]
    file = folder / "own.csv"
    file.write_text("\ufeff" + "\r\n".join(rows) + "\r\n", encoding="utf-8", newline="")
    asked, free = read_manifest(file).items
    assert asked.question.instruction == "Is it good; or, not?" and asked.question.labels == ("red", "blue")
    assert (asked.gold, asked.group, free.gold, free.group) == ("red", "x", "paris", "line 4")


@pytest.mark.parametrize(("name", "task"), [("manifest.csv", "own-manifest"), ("topic.csv", "own-topic")])
def test_a_name_that_means_something_here_is_set_apart(folder: Path, name: str, task: str) -> None:
    assert read_manifest(manifest(folder, HEADER, "clips/a.wav,,,x,", name=name)).task == task


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["audio,question,gold,group"], "lacks the column choices"),
        ([f"{HEADER},mood", "clips/a.wav,,,x,,"], 'unknown column "mood"'),
        ([f"{HEADER},,", "clips/a.wav,,,x,,stray,"], 'unknown column ""'),
        ([HEADER], "has 0 rows"),
        ([HEADER, "clips/c.wav,,,x,"], "Line 2 of the manifest: The sound file is not there"),
        ([HEADER, "clips/a.wav,,,x,", "../a.wav,,,x,"], "Line 3 .*below the manifest's folder"),
        ([HEADER, "/etc/passwd,,,x,"], "below the manifest's folder"),
        ([HEADER, "clips/a.wav,,,,"], "gold is empty"),
        ([HEADER, "clips/a.wav,,red;blue,green,"], '"green" is not among the choices'),
        ([HEADER, "clips/a.wav,,red,red,"], "2 to 8 answers"),
        ([HEADER, f"clips/a.wav,{'x' * 501},,red,"], "longer than 500"),
        (
            [HEADER, "clips/a.wav,,,x,", "clips/a.wav,,,y,"],
            "line 3: this clip with this question stands there twice",
        ),
    ],
)
def test_faults_are_one_sentence_with_the_line(folder: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(manifest(folder, *lines))
    assert str(folder) not in str(caught.value)


def test_a_file_that_is_no_manifest_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("x.csv", "missing.csv"):
        with pytest.raises(ManifestError, match="no readable manifest"):
            read_manifest(tmp_path / name)


def test_an_own_corpus_runs_like_any_task(folder: Path) -> None:
    models = write_models(folder / "models")
    file = manifest(
        folder, f"{HEADER},transcript", "clips/a.wav,Who?,man;woman,man,,", "clips/b.wav,,,x,,the words"
    )
    plan = make_plan(Settings(corpus=file, models=models))
    assert {clip.item.task for clip in plan.clips} == {"my-calls"} and plan.folder_of_task(
        "my-calls"
    ) == folder
    assert len(list(plan.cells())) == 5, "without a transcript there is nothing for the oracle"
    assert any("not asked of the text oracle" in note for note in plan.notes)
    assert run_fake(plan, folder / "out").n_rows == 5
    both = make_plan(Settings(corpus=file, tasks=("topic",), limit=1, models=models))
    assert {clip.item.task for clip in both.clips} == {"my-calls", "topic"}
