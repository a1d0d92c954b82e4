"""THE SHIPPED WEIGHTS: every test here reads assets/models and fails while it is unfinished.

Nothing here fits or trains; what was measured when the weights were made is read from the files beside them.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from engine.answers import control_transcripts
from engine.audio import AudioClip
from engine.checks import check_adapter
from engine.erasure import load_eraser
from engine.errors import ErasureError
from engine.examples import EXAMPLES
from engine.request import CONDITIONS, RunRequest, available_conditions, preset_layers
from engine.run import run
from engine.systems.base import WhiteBoxSystem
from engine.systems.catalogue import (
    MINI_PAIRS,
    MINI_SYSTEMS,
    PAIRS,
    SYSTEMS,
    UNIT_MODELS,
    get_pair,
    match_of,
    ready_pairs,
    systems,
)
from engine.systems.checkpoint import fingerprint
from engine.systems.loading import load_cascade, load_speech_llm, load_text_llm, load_unit_model
from engine.systems.weights import MODELS
from engine.tasks import FREE_FORMS, TASKS, labels_for
from engine.voice import is_available
from precompute.mini.held_out import gold_of, held_out_items, say_item
from precompute.mini.voices import test_voices as held_out_voices

ROOT = Path(__file__).resolve().parent.parent
PAIR = "mini-ultravox"
UNIT_MODEL = "mini-interleaved"
SPEECH_LLMS = ("mini-ultravox", "mini-qwen2-audio")
FIRST_PAIR = ("mini-ultravox", "mini-cascade", "mini-llama")
LARGEST_FILE_BYTES, ALL_ASSETS_BYTES = 10_000_000, 150_000_000
NEEDS_A_VOICE = pytest.mark.skipif(not is_available(), reason="no espeak-ng wheel to say a held-out sentence")


def files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


@pytest.fixture(scope="module", params=[*SPEECH_LLMS, "mini-cascade", "mini-cascade-qwen2"])
def system(request: pytest.FixtureRequest) -> WhiteBoxSystem:
    return load_speech_llm(request.param) if request.param in SPEECH_LLMS else load_cascade(request.param)


@cache
def held_out_clip(task: str) -> tuple[AudioClip, str, str, str]:
    """An unseen sentence in an unseen voice: (clip, prompt, transcript, right answer)."""
    item = held_out_items(task, 1)[0]
    clip, _, voice = say_item(item, [v for v in held_out_voices() if v.engine == "espeak"])
    return clip, item.prompt, item.sentence.text, gold_of(item, voice)


def test_every_asset_is_small_enough_for_a_space() -> None:
    too_large = {file.name: file.stat().st_size for file in files(ROOT / "assets")}
    assert not {name: size for name, size in too_large.items() if size >= LARGEST_FILE_BYTES}


def test_all_assets_together_stay_under_their_limit() -> None:
    sizes = [file.stat().st_size for file in files(ROOT / "assets")]
    assert len(sizes) > 50 and sum(sizes) < ALL_ASSETS_BYTES


def test_the_first_pair_is_ready_and_matched_exactly() -> None:
    rows = {info.key: info for info in systems()}
    for key in FIRST_PAIR:
        assert (rows[key].status, rows[key].reason, rows[key].match) == ("ready", "", "exact")
        assert len(rows[key].revision) == 12
    assert match_of(PAIRS[PAIR]) == "exact" and next(iter(ready_pairs())) == PAIR


def test_every_other_system_is_ready_or_says_which_weights_are_missing() -> None:
    for info in (info for info in systems() if info.key in MINI_SYSTEMS):
        missing = [
            folder for folder in folders_of(info.key) if not (MODELS / folder / "config.json").exists()
        ]
        assert (info.status == "unavailable") == bool(missing)
        assert all(folder in info.reason for folder in missing) and (info.revision == "") == bool(missing)


def test_a_system_is_listed_with_its_closest_match() -> None:
    """mini-Qwen2's cascade was listed as unmatched: the first pair it stands in is a contrast."""
    matches = {info.key: info.match for info in systems()}
    assert matches["mini-cascade-qwen2"] == matches["mini-qwen2"] == "ancestor"
    assert matches["mini-cascade-self"] == "self" and matches["mini-cascade"] == "exact"


def test_pairs_that_are_here_are_matched_as_the_paper_would_have_them() -> None:
    """What is not matched is there as a contrast, and is not called a match."""
    wanted = {
        "mini-ultravox": "exact",
        "mini-ultravox-weak": "exact",
        "mini-ultravox-other": "none",
        "mini-qwen2-audio": "ancestor",
        "mini-qwen2-audio-self": "self",
        "mini-qwen2-audio-other": "none",
    }
    assert wanted.keys() == MINI_PAIRS.keys() <= PAIRS.keys()
    assert all(match_of(pair) == wanted[key] for key, pair in ready_pairs().items())


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in MODELS.glob("*/revision.txt")))
def test_a_folders_revision_is_the_digest_of_its_weights(folder: str) -> None:
    weights = MODELS / folder / "model.bin"
    digest = (
        hashlib.sha256(weights.read_bytes()).hexdigest()
        if weights.exists()
        else fingerprint([MODELS / folder])
    )
    assert (MODELS / folder / "revision.txt").read_text(encoding="utf-8").strip() == digest[:12]


def test_both_arms_run_the_very_same_backbone() -> None:
    speech, cascade = load_speech_llm(PAIR), load_cascade("mini-cascade")
    assert speech.language_model is cascade.language_model is load_text_llm("mini-llama").language_model


def test_the_adapter_tells_the_truth_about_its_model(system: WhiteBoxSystem) -> None:
    failed = [f"{f.name}: {f.measured}" for f in check_adapter(system) if not f.passed]
    assert not failed


def test_the_unit_model_tells_the_truth_and_its_units_are_the_published_kind() -> None:
    system = load_unit_model(UNIT_MODEL)
    assert not [f"{f.name}: {f.measured}" for f in check_adapter(system) if not f.passed]
    assert len(system.unit_ids) == 200 and system.text_tag + 1 == system.language_model.config.vocab_size


def test_the_backbone_is_deep_enough_for_nine_layers(system: WhiteBoxSystem) -> None:
    assert len(preset_layers(len(system.decoder_layers))) == 9


def test_every_instruction_is_in_the_tokenizers_reach(system: WhiteBoxSystem) -> None:
    for text in (*FREE_FORMS, *(task.instruction for task in TASKS.values())):
        ids = system.tokenizer.encode(text, add_special_tokens=False)
        assert "".join(str(system.tokenizer.decode(ids)).split()) == "".join(text.split())


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("pair", SPEECH_LLMS)
def test_an_eraser_loads_on_its_model_with_every_layer_and_on_no_other(pair: str, condition: str) -> None:
    speech = load_speech_llm(pair)
    eraser = load_eraser(pair, condition, speech.fingerprint)
    d_model = speech.unembedding.get_parameter("weight").shape[1]
    assert eraser.layers == tuple(range(len(speech.decoder_layers) + 1)) and eraser.fit
    for layer in eraser.layers:
        assert eraser.right[layer].shape == (eraser.kept_rank[layer], d_model)
        assert 0 < eraser.kept_rank[layer] < d_model
        assert eraser.left[layer].isfinite().all()
    assert available_conditions(pair)[condition] == max(eraser.kept_rank.values())
    with pytest.raises(ErasureError, match="other weights"):
        load_eraser(pair, condition, load_text_llm("mini-llama").fingerprint)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("pair", SPEECH_LLMS)
def test_a_shipped_proof_is_of_other_clips_and_of_every_layer(pair: str, condition: str) -> None:
    """Erasers that were fitted before a proof could fail carry none, and then claim nothing."""
    eraser = load_eraser(pair, condition, load_speech_llm(pair).fingerprint)
    if eraser.proof is None:
        assert not eraser.chained
        return
    assert set(eraser.proof.settings["each layer alone"]) == set(eraser.layers)
    assert eraser.proof.n_clips >= 300 and eraser.clips["fit"] != eraser.clips["proof"]
    text = eraser.proof.settings["each layer alone"].values()
    assert condition == "acoustic" or all(one.plain_low > one.chance for one in text), "the probe could fail"


@NEEDS_A_VOICE
@pytest.mark.parametrize("task", ["topic", "sentiment", "commonsense", "trivia"])
def test_a_held_out_clip_gives_three_lanes_with_answers(task: str) -> None:
    clip, prompt, transcript, gold = held_out_clip(task)
    result = run(RunRequest(clip, task, prompt=prompt, reference=transcript, gold=gold))
    assert [lane.role for lane in result.lanes] == ["speech_llm", "cascade", "text_oracle"]
    for lane in result.lanes:
        assert lane.answer.text and lane.answer.status != "empty", lane
        assert set(lane.answer.forced_choice) == set(labels_for(TASKS[task], prompt))
    assert result.lanes[1].heard and result.lanes[1].words and result.lens.precision


@NEEDS_A_VOICE
def test_every_erasure_runs_on_a_held_out_clip() -> None:
    clip, _, transcript, gold = held_out_clip("topic")
    result = run(RunRequest(clip, "topic", reference=transcript, gold=gold, erasures=tuple(CONDITIONS)))
    assert [outcome.condition for outcome in result.erasures] == list(CONDITIONS)
    for outcome in result.erasures:
        assert len(outcome.layers) == 9
        assert outcome.erased.relative_change_of_state > 0 < outcome.random_control.relative_change_of_state


@NEEDS_A_VOICE
def test_the_lens_reads_the_clips_own_words_better_than_other_clips() -> None:
    clip, _, transcript, _ = held_out_clip("topic")
    lens = run(RunRequest(clip, "topic", reference=transcript)).lens
    assert np.nanmax(lens.precision) > np.nanmax(lens.control)


def test_control_transcripts_are_words_and_stand_for_other_clips() -> None:
    transcripts = control_transcripts()
    assert len(transcripts) >= 10 and len(set(transcripts)) == len(transcripts)
    assert all(len(text.split()) >= 3 for text in transcripts)


def test_examples_are_on_disk_and_ask_what_can_be_asked() -> None:
    assert len({example.key for example in EXAMPLES}) == len(EXAMPLES) >= 5
    for example in EXAMPLES:
        assert example.file.exists() and example.task in TASKS and example.reference
        assert example.gold or TASKS[example.task].kind == "transcribe", "what was said is its right answer"
        assert not labels_for(TASKS[example.task], example.prompt) or example.gold in labels_for(
            TASKS[example.task], example.prompt
        )


def folders_of(key: str) -> list[str]:
    spec = SYSTEMS[key]
    return [folder for folder in (spec.folder, spec.backbone, spec.transcriber) if folder]


def test_the_first_pair_has_its_folders_and_no_folder_is_of_no_system() -> None:
    assert all((MODELS / folder / "config.json").exists() for key in FIRST_PAIR for folder in folders_of(key))
    known = {folder for key in SYSTEMS for folder in folders_of(key)} | UNIT_MODELS.keys()
    assert {path.parent.name for path in MODELS.glob("*/config.json")} <= known
    assert get_pair(PAIR).speech_llm == PAIR
