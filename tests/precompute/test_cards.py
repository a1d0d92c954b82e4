"""Facts about the model card: verdicts follow the table, every figure is in it, nothing stale gets in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.erasure import bare_eraser, fit_leace, save_eraser
from engine.errors import ErasureError, ModelFilesError
from engine.evaluation import Figure
from engine.results import LayerProof, Proof
from engine.systems.checkpoint import fingerprint
from precompute.mini.aims import Aim, accuracy_aims, size_aims, word_error_aims
from precompute.mini.cards import CARD, write_cards
from precompute.mini.evaluate import FULL_WORDS_ITEMS, Row, write_rows
from precompute.mini.held_out import TASKS

SPEECH, CASCADE, ORACLE = "mini-Ultravox", "mini-Whisper -> mini-Llama", "mini-Llama, true transcript"
ESPEAK, FESTIVAL = "espeak, unseen voices", "festival slt, unseen engine"
WORDS_DECIDE = ("topic", "sentiment", "commonsense", "trivia")
# Speech LLM -> the folders of its weights, its width, and some of its layers.
SPEECH_LLMS = {
    "mini-ultravox": (("mini-ultravox", "mini-llama"), 256, (0, 6, 12)),
    "mini-qwen2-audio": (("mini-qwen2-audio",), 192, (0, 4, 8)),
}
Folders = tuple[Path, Path]


def figure(measure: str, task: str, system: str, voices: str, value: float | None) -> Figure:
    return Figure(measure, task, system, voices, FULL_WORDS_ITEMS, value, value, value, "r")


def accuracies(speech: float, cascade: float, oracle: float) -> list[Figure]:
    return [
        figure("accuracy", task, system, ESPEAK, value)
        for task in WORDS_DECIDE
        for system, value in ((SPEECH, speech), (CASCADE, cascade), (ORACLE, oracle))
    ]


def verdicts(aims: Sequence[Aim]) -> set[str]:
    return {aim.verdict for aim in aims}


@pytest.mark.parametrize(
    ("espeak", "festival", "expected"),
    [(0.05, 0.35, ["met", "met"]), (0.0501, 0.3501, ["missed", "missed"]), (0.02, 0.4, ["met", "missed"])],
)
def test_word_errors_are_judged_at_the_limit(espeak: float, festival: float, expected: list[str]) -> None:
    figures = [
        figure("wer", "transcribe", "mini-Whisper", ESPEAK, espeak),
        figure("wer", "transcribe", "mini-Ultravox, asked to repeat", ESPEAK, 0.9),
        figure("wer", "transcribe", "mini-Whisper", FESTIVAL, festival),
    ]
    assert [aim.verdict for aim in word_error_aims(figures)] == expected


def test_every_talker_of_the_unseen_engine_is_judged() -> None:
    figures = [
        figure("wer", "transcribe", "mini-Whisper", f"festival {name}, unseen engine", value)
        for name, value in (("kal", 0.2), ("slt", 0.5))
    ]
    assert [aim.verdict for aim in word_error_aims(figures)] == ["not measured", "met", "missed"]


@pytest.mark.parametrize(
    ("oracle", "verdict"), [(0.70, "met"), (0.97, "met"), (0.6999, "missed"), (0.98, "missed")]
)
def test_the_oracle_is_judged_from_both_sides(oracle: float, verdict: str) -> None:
    aims = [a for a in accuracy_aims(accuracies(0.8, 0.8, oracle)) if "oracle" in a.what]
    assert len(aims) == 4 and verdicts(aims) == {verdict}


@pytest.mark.parametrize(
    ("speech", "cascade", "verdict"),
    [(0.8, 0.9, "met"), (0.7999, 0.9, "missed"), (0.3, 0.4, "met"), (0.9, 0.8, "met"), (0.95, 0.8, "missed")],
)
def test_the_distance_of_the_two_is_judged_without_rounding_faults(
    speech: float, cascade: float, verdict: str
) -> None:
    """0.4 - 0.3 is a little more than 0.1 in binary; within ten points means in both directions."""
    aims = [a for a in accuracy_aims(accuracies(speech, cascade, 0.8)) if "beside" in a.what]
    assert len(aims) == 4 and verdicts(aims) == {verdict}


def test_what_is_not_in_the_table_is_not_met() -> None:
    assert verdicts([*word_error_aims([]), *accuracy_aims([])]) == {"not measured"}
    undefined = [replace(f, value=None, low=None, high=None) for f in accuracies(1, 1, 1)]
    assert verdicts(accuracy_aims(undefined)) == {"not measured"}


def test_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    """Of the minis: the laptop's weights are not theirs."""
    for model in ("mini-whisper", "ultravox-smollm2"):
        (tmp_path / model).mkdir()
        for index in range(10):
            (tmp_path / model / f"{index}.bin").write_bytes(b"0" * 8_500_000)
    assert [aim.verdict for aim in size_aims(tmp_path)] == ["missed", "met"]
    assert [aim.reached for aim in size_aims(tmp_path)] == ["85.0 MB", "8.5 MB"]


def evaluation(file: Path, n_words: int = FULL_WORDS_ITEMS) -> list[Row]:
    rows = [
        Row("accuracy", task, system, ESPEAK, 300, value, value - 0.05, value + 0.05)
        for task in TASKS
        for system, value in ((SPEECH, 0.7123), (CASCADE, 0.8345), (ORACLE, 0.8567))
    ]
    rows.append(Row("kappa", "topic", "speech LLM and cascade", ESPEAK, 300, *[float("nan")] * 3))
    rows.append(Row("wer", "transcribe", "mini-Whisper", ESPEAK, n_words, 0.0312, 0.02, 0.04))
    rows.append(Row("wer", "transcribe", "mini-Whisper", FESTIVAL, n_words // 2, 0.4, 0.3, 0.5))
    write_rows(rows, file, "mini-llama 1")
    return rows


def fit_on_noise(models: Path, **prints: str) -> None:
    """Erasers of the shipped widths at three layers, fitted on noise: a card needs their records only."""
    for key, (folders, width, layers) in SPEECH_LLMS.items():
        right = fingerprint([models / folder for folder in folders])
        fit_width_on_noise(models / key / "erasers", prints.get(key.replace("-", "_"), right), width, layers)


def fit_width_on_noise(out: Path, prints: str, width: int, layers: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.nn.functional.one_hot(torch.randint(0, 3, (400,), generator=generator), 3).double()
    found = {layer: fit_leace(torch.randn(400, width, generator=generator).double(), z) for layer in layers}
    read = LayerProof(0.8, 0.75, 0.85, 0.46, 0.43, 0.49, 0.78, 0.2)
    settings = {"each layer alone": dict.fromkeys(layers, read)}
    proof = Proof("accuracy of noise", "other rows of noise", 100, 50, settings)
    for condition in ("text", "ctc", "boc", "acoustic"):
        eraser = bare_eraser(condition, found, ("a", "b", "c"), "400 rows of noise, seed 0")
        save_eraser(replace(eraser, proof=proof if condition == "text" else None), prints, out)


@pytest.fixture(scope="module")
def card(trained: Folders, tmp_path_factory: pytest.TempPathFactory) -> str:
    models = trained[1]
    fit_on_noise(models)
    table = tmp_path_factory.mktemp("table") / "evaluation.csv"
    evaluation(table)
    write_cards(models, table)
    return (models / CARD).read_text(encoding="utf-8")


def test_the_card_gives_a_proof_with_plain_control_and_chance_and_claims_none_where_none_is(
    card: str,
) -> None:
    """Chance stood in the column "after" by construction, at every layer, and read as a proof."""
    section = card.split("## Erasers of mini-Ultravox")[1].split("##")[0]
    text, ctc = (
        next(line for line in section.splitlines() if line.startswith(f"| {k}")) for k in ("Text", "CTC")
    )
    for figure in ("0.800", "0.780", "0.460", "0.200", "0 of 3 layers", "accuracy of noise"):
        assert figure in text
    assert "other rows of noise" in section and "not measured" in ctc


def test_the_card_has_every_row_of_the_table(card: str, tmp_path: Path) -> None:
    shown = [line for line in card.split("## All figures")[1].splitlines() if line.startswith("| ")]
    rows = evaluation(tmp_path / "evaluation.csv")
    table = shown[2 : 2 + len(rows)]
    for line, row in zip(table, rows, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:5] == [row.measure, row.task, row.system, row.voices, str(row.n_items)]
        assert cells[5].startswith("not defined" if row.measure == "kappa" else f"{row.value:.2f} [")


def test_the_card_shows_aims_met_and_missed(card: str) -> None:
    lines = [line for line in card.splitlines() if line.endswith(("**met** |", "**missed** |"))]
    found = {line.split("|")[1].strip(): line for line in lines}
    assert "**met**" in found[f"word error rate of the cascade, {ESPEAK}"]
    assert "**missed**" in found[f"word error rate of the cascade, {FESTIVAL}"]
    assert "-12.2 points" in found["accuracy of the speech LLM beside the cascade's, topic"]
    assert len(found) == 2 + 4 + 4 + 2


def test_the_card_reads_sizes_from_what_ships(card: str, trained: Folders) -> None:
    record = json.loads((trained[1] / "training.json").read_text(encoding="utf-8"))
    for name in record["models"]:
        assert f"| {name} |" in card, name
    for name in ("mini-llama", "mini-whisper", "mini-ultravox", "mini-whisper-weak"):
        assert f"{record['models'][name]['parameters']:,}" in card, name
    assert "12 layers of width 256" in card and "8 layers of width 192" in card
    assert "3 encoder layers of width 160, 1 decoder layers" in card
    assert "## Erasers of mini-Ultravox" in card and "## Erasers of mini-Qwen2-Audio" in card
    encoder_layers = json.loads((trained[1] / "mini-ultravox" / "config.json").read_text(encoding="utf-8"))[
        "audio_config"
    ]["encoder_layers"]
    assert f"{encoder_layers} encoder layers of width 256, 2 decoder layers" in card


def test_the_card_names_seeds_data_and_commands(card: str) -> None:
    assert "world and split 20261120" in card and "400 rows of noise, seed 0" in card
    for job in ("train", "erasers", "evaluate", "cards"):
        assert f"python -m precompute {job}" in card
    assert "/work" not in card and "/home" not in card and "nan" not in card.lower()


def test_a_quick_table_is_refused(trained: Folders, tmp_path: Path) -> None:
    evaluation(tmp_path / "evaluation.csv", n_words=40)
    with pytest.raises(ModelFilesError, match="without --quick"):
        write_cards(trained[1], tmp_path / "evaluation.csv")


def test_a_missing_table_or_record_is_one_sentence(card: str, trained: Folders, tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match="There is no readable evaluation"):
        write_cards(trained[1], tmp_path / "evaluation.csv")
    evaluation(tmp_path / "evaluation.csv")
    with pytest.raises(ModelFilesError, match="no readable training"):
        write_cards(tmp_path, tmp_path / "evaluation.csv")


@pytest.mark.parametrize("other", ["mini_ultravox", "mini_qwen2_audio"])
def test_erasers_of_other_weights_are_refused(
    card: str, trained: Folders, tmp_path: Path, other: str
) -> None:
    evaluation(tmp_path / "evaluation.csv")
    fit_on_noise(trained[1], **{other: "other weights"})
    with pytest.raises(ErasureError, match="other weights"):
        write_cards(trained[1], tmp_path / "evaluation.csv")


def test_another_corpus_than_the_trained_one_is_refused(
    card: str, trained: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = trained[1]
    fit_on_noise(models)
    evaluation(tmp_path / "evaluation.csv")
    monkeypatch.setattr("precompute.mini.cards.build_world", lambda seed: type("W", (), {"train": ()}))
    with pytest.raises(ModelFilesError, match="corpora"):
        write_cards(models, tmp_path / "evaluation.csv")
