"""The summarize job: what it writes, in what order, from what, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.columns import INTERLEAVED_TABLES, MECHANISM_TABLES, TABLES
from engine.errors import TableError
from engine.tables import file_of, read_table, write_table
from engine.words import normalise
from precompute.stages import summary
from precompute.stages.cells import read_run
from precompute.stages.summary import summarize
from tests.precompute.invented_run import invent_run, kind_of, match

WRITTEN = ("accuracy", "agreement", "claim_cells", "claims", "confound", "cost", "shared_errors")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = invent_run(tmp_path_factory.mktemp("run"), n_items=8)
    summarize(folder, match=match, kind_of=kind_of)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def manifest_of(run: Path) -> dict:
    return json.loads((run / "manifest.json").read_text())


def tables_of(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((run / "tables").iterdir())}


def test_every_table_is_written_and_can_be_read(finished: Path) -> None:
    assert sorted(tables_of(finished)) == sorted(file_of(finished, name).name for name in WRITTEN)
    assert set(WRITTEN) | {"answers", "clips"} == set(TABLES) - {
        *MECHANISM_TABLES,
        *INTERLEAVED_TABLES,
    }
    assert all(len(read_table(file_of(finished, name), name)) for name in WRITTEN)


def test_stored_answers_are_read_again_on_request(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No model runs: labels, status and `correct` come from the text; what failed or was refused stays as it is."""
    answers, _ = read_run(run)
    texts = (
        "It is not positive, it is negative.",
        "I cannot find my phone",
        "**Positive**",
        " ",
        "negative",
        "negative",
    )
    places = answers.index[answers["task"] == "sentiment"][: len(texts)]
    answers.loc[places, "text"] = texts
    answers.loc[places, ["label", "label_status", "correct"]] = [None, "unparsed", False]
    answers.loc[places[4], "label_status"] = "failed"
    answers.loc[places[5], ["label_status", "note"]] = ["refused", "Refused by the service: SAFETY."]
    write_table(answers, run / "answers.parquet", "answers")
    stored = (run / "answers.parquet").read_bytes()
    summarize(run, match=match, kind_of=kind_of)
    assert (run / "answers.parquet").read_bytes() == stored, "only on request"

    with caplog.at_level(logging.INFO):
        summarize(run, reread=True, match=match, kind_of=kind_of)
    found, _ = read_run(run)
    rows = found[found["task"] == "sentiment"].iloc[: len(texts)]
    assert rows["text"].tolist() == list(texts)
    assert rows["label"].fillna("").tolist() == ["negative", "", "positive", "", "", ""]
    assert rows["label_status"].tolist() == ["parsed", "unparsed", "parsed", "empty", "failed", "refused"]
    assert rows["correct"].tolist() == [row.label == row.gold for row in rows.itertuples()]
    others = found.drop(index=rows.index)
    assert (others["label_status"] == "parsed").all(), "an invented answer's text is a label"
    assert others["correct"].tolist() == [normalise(r.text) == normalise(r.gold) for r in others.itertuples()]
    counted = [line for line in caplog.messages if line.startswith("sentiment: (unparsed) -> ")]
    assert counted and all(int(line.rpartition(" ")[2]) >= 1 for line in counted)
    assert manifest_of(run)["counts"]["statuses"]["refused"] == 1

    tables = tables_of(run)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        summarize(run, reread=True, match=match, kind_of=kind_of)
    assert "No answer is read differently." in caplog.messages and tables_of(run) == tables


def test_the_manifest_says_what_was_counted_and_how(finished: Path) -> None:
    manifest = manifest_of(finished)
    agreement = read_table(finished / "tables" / "agreement.csv", "agreement")
    assert (
        manifest["statistics"]["mcnemar_family"] == len(agreement) == manifest["counts"]["rows"]["agreement"]
    )
    assert manifest["statistics"]["resamples"] == 10_000 and manifest["seeds"]["bootstrap"]
    answers, clips = read_run(finished)
    counts = manifest["counts"]
    assert (counts["answers"], counts["clips"], counts["items"]) == (len(answers), len(clips), 40)
    assert sum(counts["statuses"].values()) == len(answers)
    assert {"numpy", "python", "pyarrow"} <= set(manifest["versions"]["summarize"])
    assert set(manifest["files"]) == {
        *("answers.parquet", "clips.parquet"),
        *(str(file_of(Path(), name)) for name in WRITTEN),
    }
    for name, about in manifest["files"].items():
        content = (finished / name).read_bytes()
        assert about == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def test_what_the_run_did_not_record_is_not_made_up(finished: Path) -> None:
    manifest = manifest_of(finished)
    assert manifest["hardware"] == manifest["systems"]["twin"]["revision"] == "not recorded"
    assert manifest["run"] == {}


def test_what_the_run_recorded_is_copied(run: Path) -> None:
    record: dict[str, Any] = {
        "hardware": "two cores",
        "seeds": {"noise": 7},
        "versions": {"torch": "2.12"},
        "systems": {"twin": {"revision": "abc", "peak_memory_mb": 100.0}},
        "batching": "parity checked",
    }
    (run / "run.json").write_text(json.dumps(record))
    summarize(run, match=match, kind_of=kind_of)
    manifest = manifest_of(run)
    assert (manifest["hardware"], manifest["seeds"]["run"]) == ("two cores", {"noise": 7})
    assert manifest["systems"]["twin"] == record["systems"]["twin"]
    assert manifest["versions"]["run"] == {"torch": "2.12"} and manifest["run"] == record
    assert "run.json" in manifest["files"]
    cost = read_table(run / "tables" / "cost.csv", "cost")
    assert set(cost["hardware"]) == {"two cores"}


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"systems": []}', '{"systems": {"a": 1}}', '{"hardware": 2}']
)
def test_a_damaged_run_record_gives_one_sentence(run: Path, content: str) -> None:
    (run / "run.json").write_text(content)
    with pytest.raises(TableError, match=r"run\.json is"):
        summarize(run, match=match, kind_of=kind_of)
    assert (run / "manifest.json").exists()


def test_tables_depend_on_neither_the_order_of_rows_nor_on_times(run: Path) -> None:
    before = tables_of(run)
    answers, clips = read_run(run)
    answers = answers.sample(frac=1, random_state=1).assign(seconds=answers["seconds"] * 2 + 1)
    # Written past `write_table`, which would sort them.
    answers.to_parquet(run / "answers.parquet", index=False)
    clips.sample(frac=1, random_state=2).to_parquet(run / "clips.parquet", index=False)
    summarize(run, match=match, kind_of=kind_of)
    after = tables_of(run)
    assert after.pop("cost.csv") != before.pop("cost.csv") and after == before


def test_the_manifest_is_written_last_and_taken_away_first(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def note(rows: object, path: Path, name: str) -> None:
        assert not (run / "manifest.json").exists()
        written.append(name)
        if name == "claim_cells":  # the last of them
            raise TableError("claim_cells.csv could not be written (No space left on device).")
        write_table(rows, path, name)

    monkeypatch.setattr(summary, "write_table", note)
    with pytest.raises(TableError, match="No space left"):
        summarize(run, match=match, kind_of=kind_of)
    assert sorted(written) == sorted(WRITTEN) and not (run / "manifest.json").exists()


def test_a_folder_without_a_run_is_left_as_it_is(run: Path, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"There is no answers\.parquet"):
        summarize(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    whole = (run / "answers.parquet").read_bytes()
    (run / "answers.parquet").write_bytes(whole[:-100])
    before = tables_of(run)
    with pytest.raises(TableError, match="damaged"):
        summarize(run, match=match, kind_of=kind_of)
    assert tables_of(run) == before and (run / "manifest.json").exists()


def test_the_catalogue_answers_where_nothing_else_is_asked(run: Path) -> None:
    names = {"talker": "mini-ultravox", "twin": "mini-cascade", "oracle": "mini-llama", "other": "foreign"}
    answers, _ = read_run(run)
    write_table(answers.assign(system=answers["system"].map(names)), run / "answers.parquet", "answers")
    summarize(run)
    agreement = read_table(run / "tables" / "agreement.csv", "agreement")
    pair = agreement[(agreement["system_a"] == "mini-ultravox") & (agreement["system_b"] == "mini-cascade")]
    assert set(pair["match"]) == {"exact"} and not agreement["system_b"].eq("mini-ultravox").any()
    assert manifest_of(run)["systems"]["mini-ultravox"]["kind"] == "speech_llm"


def test_summarizing_loads_no_model_library(run: Path) -> None:
    """Of transformers the normaliser of words alone, which is text: no model's code, and no torch."""
    script = (
        "import sys; from pathlib import Path; from precompute.stages.summary import summarize\n"
        f"summarize(Path({str(run)!r})); "
        "print({'torch', 'transformers.modeling_utils', 'ctranslate2', 'faster_whisper'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
