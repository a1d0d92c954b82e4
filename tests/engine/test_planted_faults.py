"""Faults planted into the instrument on a shipped model, one a row: for each, the check that must find it.

Without a plant every check passes, so that none finds a fault by always finding one.
"""

from __future__ import annotations

import copy
import math
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine import answers, checks, erasure, generate, hooks, lens
from engine.audio import AudioClip, clip_from_samples
from engine.checks import (
    Finding,
    check_adapter,
    check_clips,
    check_ears,
    check_erasers,
    check_sound,
    check_system,
)
from engine.erasure import Eraser, Factors
from engine.hooks import Projection, RowEdits
from engine.request import eraser_file, preset_layers
from engine.systems import text_llm, ultravox
from engine.systems.base import CLIP_MARK, Heard
from engine.systems.loading import load_cascade, load_speech_llm
from engine.systems.text_llm import TextLLM
from engine.systems.ultravox import UltravoxProjector
from engine.systems.whisper import unnormed_states

Patch = pytest.MonkeyPatch
# Plants a fault, and returns the system where it is a faulty one.
Plant = Callable[[Patch, Any], Any]
SPEECH = "mini-ultravox"


def wrapped(place: Any, name: str, around: Callable[..., Any]) -> Plant:
    """Put `around(true, *arguments)` in the place of a function or method."""

    def plant(patch: Patch, _system: Any) -> None:
        true = getattr(place, name)
        patch.setattr(place, name, lambda *given, **named: around(true, *given, **named))

    return plant


def member(name: str, around: Callable[..., Any]) -> Plant:
    """The same model behind an adapter of which one method is wrong."""

    def plant(_patch: Patch, system: Any) -> Any:
        faulty, true = copy.copy(system), getattr(system, name)
        setattr(faulty, name, lambda *given, **named: around(true, *given, **named))
        return faulty

    return plant


def with_scope(scope: str) -> Callable[..., Any]:
    def apply(true: Any, edits: RowEdits, *given: Any) -> Any:
        other = copy.copy(edits)
        other.scope = scope  # type: ignore[assignment]
        return true(other, *given)

    return apply


def with_span(true: Any, edits: RowEdits, *given: Any) -> Any:
    other = copy.copy(edits)
    other.span = (edits.span[0] + 1, edits.span[1] + 1)
    return true(other, *given)


def in_prompts_alone(true: Any, edits: RowEdits, layer: int, states: Any, position: int) -> Any:
    return true(edits, layer, states, position) if position < edits.n_prompt else states


def twice(true: Any, edits: RowEdits, layer: int, states: Any, position: int) -> Any:
    return true(edits, layer, true(edits, layer, states, position), position)


def without_strength(true: Any, eraser: Eraser, layers: Any, method: Any, *rest: Any) -> Any:
    return true(eraser, layers, method, *rest[:-1])


def without_mean(true: Any, eraser: Eraser, layers: Any, method: Any, *rest: Any) -> Any:
    return true(eraser, layers, "linear", *rest)


def of_next_layer(true: Any, eraser: Eraser, layers: Any, *rest: Any) -> Any:
    above = {layer: min(layer + 1, max(eraser.layers)) for layer in layers}
    made = true(eraser, list(above.values()), *rest)
    return {layer: made[other] for layer, other in above.items()}


def of_own_directions(
    _true: Any, eraser: Eraser, layers: Any, method: Any, _seed: int, strength: float = 1.0
) -> Any:
    return eraser.projections(layers, method, strength)


def backwards(true: Any, edit: Projection, states: Any) -> Any:
    return (2 * states.float() - true(edit, states).float()).to(states.dtype)


def swapped_arms(true: Any, it: Any, *given: Any) -> Any:
    edits = true(it, *given)
    return replace(edits, rows=[edits.rows[0], *edits.rows[:0:-1]])


def everywhere(true: Any, it: Any, *given: Any) -> Any:
    return true(replace(it, layers=tuple(next(iter(it.erasers.values())).layers)), *given)


def left_on(patch: Patch, _system: Any) -> None:
    @contextmanager
    def sticky(decoder_layers: Any, layers: Any, transform: Any, *, prepend: bool) -> Iterator[None]:
        for layer in layers:
            hooks._attach(decoder_layers, layer, lambda _l, states, _p: states, prepend)
        with true(decoder_layers, layers, transform, prepend=prepend):
            yield

    true = hooks._at_layers
    patch.setattr(hooks, "_at_layers", sticky)


def recorded_as(change: Callable[[dict[int, Any]], dict[int, Any]]) -> Plant:
    def plant(patch: Patch, _system: Any) -> None:
        @contextmanager
        def recording(*given: Any) -> Iterator[dict[int, Any]]:
            with true(*given) as states:
                yield states
            states.update(change(states))

        true = hooks.recording
        patch.setattr(generate, "recording", recording)

    return plant


def in_half_precision(states: dict[int, Any]) -> dict[int, Any]:
    return {layer: one.half().float() for layer, one in states.items()}


def one_lower(states: dict[int, Any]) -> dict[int, Any]:
    return {layer: states[max(0, layer - 1)] for layer in states}


def shifted_labels(true: Any, *given: Any, **named: Any) -> Any:
    passed = true(*given, **named)
    return replace(passed, continuation_scores=passed.continuation_scores.roll(1, dims=1))


def rounded_logits(true: Any, *given: Any, **named: Any) -> Any:
    passed = true(*given, **named)
    return replace(passed, prompt_logits=passed.prompt_logits.half().float())


def without_mask(true: Any, *given: Any) -> Any:
    return {name: made for name, made in true(*given).items() if name != "attention_mask"}


def own_words_as_others(true: Any, *given: Any, words: Any, other_transcripts: Any, **named: Any) -> Any:
    own = [" ".join(word.text for word in words)] * len(other_transcripts)
    return true(*given, words=words, other_transcripts=own, **named)


def of_the_layer_below(true: Any, system: Any, states: Any, **named: Any) -> Any:
    return true(system, {layer: states[max(0, layer - 1)] for layer in states}, **named)


def one_later(true: Any, words: Any, ends_s: Any) -> Any:
    return ((), *true(words, ends_s)[:-1])


def span_one_later(true: Any, states: Any, prepared: Any) -> Any:
    return true(states, replace(prepared, span=(prepared.span[0] + 1, prepared.span[1] + 1)))


def final_norm(norm: Callable[[nn.Module], nn.Module]) -> Plant:
    def plant(_patch: Patch, system: Any) -> Any:
        faulty = copy.copy(system)
        faulty.final_norm = norm(system.final_norm)
        return faulty

    return plant


def one_too_many(true: Any, clip: AudioClip) -> Heard:
    heard = true(clip)
    return replace(heard, embeddings=torch.cat([heard.embeddings, heard.embeddings[-1:]]))


def half_silent(true: Any, clip: AudioClip) -> Heard:
    samples = clip.samples.copy()
    samples[len(samples) // 2 :] = 0
    return true(AudioClip(samples, clip.name))


def half_cut(true: Any, clip: AudioClip) -> Heard:
    return true(AudioClip(clip.samples[: len(clip.samples) // 2], clip.name))


def always_the_same(true: Any, _clip: AudioClip) -> Heard:
    return true(checks.probe_clip())


def seconds(factor: float) -> Plant:
    def plant(patch: Patch, system: Any) -> None:
        patch.setattr(type(system), "seconds_per_position", factor * system.seconds_per_position)

    return plant


def frames_later(true: Any, *given: Any) -> Any:
    mel, n_frames = true(*given)
    return mel.roll(1, dims=-1), n_frames


def gate_first(_true: Any, projector: UltravoxProjector, frames: Any) -> Any:
    frames = nn.functional.pad(frames, (0, 0, 0, -frames.shape[1] % projector.stack_factor))
    stacked = frames.reshape(len(frames), -1, frames.shape[2] * projector.stack_factor)
    gate, value = projector.linear_1(projector.ln_pre(stacked)).chunk(2, dim=-1)
    hidden = nn.functional.silu(gate) * value
    hidden = projector.ln_mid(hidden) if projector.ln_mid is not None else hidden
    out = projector.linear_2(hidden)
    return out if projector.ln_post is None else projector.ln_post(out)


def question_first(true: Any, reader: TextLLM, heard: Heard, instruction: str, **_: Any) -> Any:
    return true(reader, heard, instruction, template="{instruction}" + CLIP_MARK)


def without_a_question(true: Any, reader: TextLLM, heard: Heard, _instruction: str, **named: Any) -> Any:
    return true(reader, heard, "", **named)


def without_first(true: Any, *given: Any, **named: Any) -> Any:
    frame = true(*given, **named)
    return replace(frame, before=frame.before[1:])


def without_last(true: Any, *given: Any, **named: Any) -> Any:
    frame = true(*given, **named)
    return replace(frame, after=frame.after[:-1])


def read_otherwise(change: Callable[[np.ndarray, int], tuple[np.ndarray, int]]) -> Callable[..., Any]:
    def load(_true: Any, path: Any, *_: Any) -> AudioClip:
        with wave.open(str(path), "rb") as file:
            rate, sides = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return clip_from_samples(*change(sides.reshape(-1, 2), rate), "tone")

    return load


def later_words(true: Any, clip: AudioClip) -> Heard:
    heard = true(clip)
    later = [replace(word, start_s=2 * word.start_s, end_s=2 * word.end_s) for word in heard.words]
    return replace(heard, words=tuple(later))


def doubled(true: Any, *given: Any) -> float:
    return 2 * true(*given)


def of_another_concept(_true: Any, pair: str, _condition: str, models: Any) -> Any:
    return eraser_file(pair, "ctc", models)


def of_half_rank(true: Any, d_model: int, rank: int, seed: int) -> Any:
    return true(d_model, rank // 2, seed)


def of_one_seed(true: Any, d_model: int, rank: int, _seed: int) -> Any:
    return true(d_model, rank, 0)


def cut(true: Any, *given: Any) -> list[int]:
    return true(*given)[:-1]


def ending_otherwise(true: Any, *given: Any) -> list[int]:
    return [*true(*given)[:-1], 7]


def beginning_otherwise(true: Any, *given: Any) -> list[int]:
    first, *others = true(*given)
    return [first + 1, *others]


def warmer(true: Any, scores: Any) -> list[float]:
    return true(scores / 2)


def text_cut(true: Any, system: Any, ids: Any) -> str:
    return true(system, ids[:-1])


def after_a_label(true: Any, system: Any, cache: Any, logits: Any, *given: Any) -> Any:
    system.language_model(input_ids=torch.full((len(logits), 1), 7), past_key_values=cache, use_cache=True)
    return true(system, cache, logits, *given)


def in_reverse(true: Any, *given: Any, **named: Any) -> Any:
    return true(*given, **named)[::-1]


def not_normed(_true: Any, *given: Any, **named: Any) -> Any:
    return unnormed_states(*given, **named)


def left_alone(sides: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
    return sides[:, 0], rate


def faster(sides: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
    return sides, rate + 1000


def louder(true: Any, clip: AudioClip, kind: str, snr_db: float, seed: int) -> Any:
    return true(clip, kind, snr_db - 3, seed)


# The fault, the check that must find it, how it is planted.
FAULTS: tuple[tuple[str, str, Plant], ...] = (
    # where and when states are edited and recorded
    ("scope ignored", checks.ERASED, wrapped(RowEdits, "apply", with_scope("all"))),
    ("audio for prompt", checks.ERASED, wrapped(RowEdits, "apply", with_scope("audio"))),
    ("edited span one later", checks.ERASED, wrapped(RowEdits, "apply", with_span)),
    ("generated positions not edited", checks.SCORES, wrapped(RowEdits, "apply", in_prompts_alone)),
    ("edited twice", checks.ERASED, wrapped(RowEdits, "apply", twice)),
    ("position always 0", checks.SCORES, wrapped(hooks, "_first_position", lambda *_: 0)),
    ("layers off by one", checks.ORDER, recorded_as(one_lower)),
    ("hooks left on", checks.NO_HOOK, left_on),
    ("states in half precision", checks.ORDER, recorded_as(in_half_precision)),
    ("share of the state doubled", checks.SHARES, wrapped(RowEdits, "relative_change", doubled)),
    # erasers and controls
    ("strength ignored", checks.ERASED, wrapped(Eraser, "projections", without_strength)),
    ("affine mean dropped", checks.ERASED, wrapped(Eraser, "projections", without_mean)),
    ("the next layer's eraser", checks.ERASED, wrapped(Eraser, "projections", of_next_layer)),
    ("the next layer's eraser, fitted", checks.FILES, wrapped(Eraser, "projections", of_next_layer)),
    ("sign of the erasure flipped", checks.TWICE, wrapped(Projection, "__call__", backwards)),
    ("another concept's eraser", checks.FILES, wrapped(erasure, "eraser_file", of_another_concept)),
    ("half-rank control", checks.CONTROLS, wrapped(erasure, "random_subspace", of_half_rank)),
    ("control of the eraser's directions", checks.CONTROLS, wrapped(Eraser, "random_control", of_own_directions)),
    ("control whatever the seed", checks.CONTROLS, wrapped(erasure, "random_subspace", of_one_seed)),
    ("control at full strength", checks.CONTROLS, wrapped(Eraser, "random_control", without_strength)),
    ("erased and control swapped", checks.PAGE, wrapped(answers.Bench, "edits", swapped_arms)),
    ("chosen layers ignored", checks.PAGE, wrapped(answers.Bench, "edits", everywhere)),
    # decoding and scores
    ("end token not scored", checks.SCORES, wrapped(generate, "encode_answer", cut)),
    ("another end token", checks.SCORES, wrapped(generate, "encode_answer", ending_otherwise)),
    ("another token's likelihood", checks.SCORES, wrapped(generate, "encode_answer", beginning_otherwise)),
    ("label scores shifted", checks.LABELS, wrapped(answers, "run_arms", shifted_labels)),
    ("temperature in the forced choice", checks.LABELS, wrapped(answers, "_normalised", warmer)),
    ("answer cut by one token", checks.ANSWERS, wrapped(generate, "_text", text_cut)),
    ("a label's token left in the cache", checks.ANSWERS, wrapped(generate, "_greedy", after_a_label)),
    ("logits in half precision", checks.VANILLA, wrapped(checks, "run_arms", rounded_logits)),
    ("mask ignored in a batch", checks.PADDED, wrapped(generate._Padding, "arguments", without_mask)),
    ("batch order swapped", checks.PADDED, wrapped(checks, "answer_batch", in_reverse)),
    # the lens
    ("final norm missing", checks.LAST_LAYER, final_norm(lambda _: nn.Identity())),
    ("final norm twice", checks.LAST_LAYER, final_norm(lambda norm: nn.Sequential(norm, norm))),
    ("control of the clip's own words", checks.LENS_WORDS, wrapped(checks, "read_lens", own_words_as_others)),
    ("control of the clip's own words, on the page", checks.PAGE, wrapped(answers, "read_lens", own_words_as_others)),
    ("the layer below", checks.LENS_WORDS, wrapped(checks, "read_lens", of_the_layer_below)),
    ("words one position later", checks.LENS_WORDS, wrapped(lens, "overlapping", one_later)),
    ("lens span one later", checks.PAGE, wrapped(answers, "at_span", span_one_later)),
    # ears and prompt
    ("one position too many", checks.COUNT, member("hear", one_too_many)),
    ("half the clip cut", checks.COUNT, member("hear", half_cut)),
    ("half the clip heard", checks.ALL_HEARD, member("hear", half_silent)),
    ("deaf", checks.OWN_CLIP, member("hear", always_the_same)),
    ("seconds halved", checks.COUNT, seconds(0.5)),
    ("mel frames shifted", checks.FEATURES, member("features", frames_later)),
    ("gate swapped", checks.WINDOW, wrapped(UltravoxProjector, "forward", gate_first)),
    ("the encoder's last norm missing", checks.WINDOW, wrapped(ultravox, "encode_mel", not_normed)),
    ("clip behind the instruction", checks.CLIP_FIRST, wrapped(TextLLM, "prepare", question_first)),
    ("question dropped", checks.PROMPT, wrapped(TextLLM, "prepare", without_a_question)),
    ("first token missing", checks.PROMPT, wrapped(text_llm, "prompt_frame", without_first)),
    ("no turn for the answer", checks.PROMPT, wrapped(text_llm, "prompt_frame", without_last)),
    # sound
    ("a channel dropped", checks.DOOR, wrapped(checks, "load_clip", read_otherwise(left_alone))),
    ("a wrong rate", checks.DOOR, wrapped(checks, "load_clip", read_otherwise(faster))),
    ("noise 3 dB too loud", checks.NOISE, wrapped(checks, "add_noise", louder)),
)  # fmt: skip


@pytest.fixture(scope="module")
def speech() -> Any:
    return load_speech_llm(SPEECH)


@pytest.fixture(autouse=True)
def no_hooks_stay(speech: Any) -> Iterator[None]:
    yield
    for module in speech.language_model.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()


def finding(system: Any, name: str) -> Finding:
    """Run this check and no other."""
    if name in (checks.COUNT, checks.ALL_HEARD, checks.FEATURES, checks.WINDOW):
        found = check_ears(system, [name])
    elif name in (checks.DOOR, checks.NOISE):
        found = check_sound([name])
    elif name in (checks.OWN_CLIP, checks.WORD_TIMES):
        found = check_clips(system, [name])
    elif name in (checks.FILES, checks.PAGE):
        prepared = system.prepare(system.hear(checks.probe_clip()), checks.PROBE_INSTRUCTION)
        found = check_erasers(system, prepared, SPEECH, names=[name])
    elif name == checks.PADDED:
        found = [checks._padded(system, [system.hear(checks.probe_clip(s)) for s in (1.7, 0.6)])]
    else:
        wanted = checks.ORDER if name == checks.NO_HOOK else name  # counted after any other
        found = check_adapter(system, names=[wanted])
    return next(one for one in found if one.name == name)


@pytest.mark.parametrize(("check", "plant"), [pytest.param(*row[1:], id=row[0]) for row in FAULTS])
def test_a_planted_fault_is_found(
    speech: Any, monkeypatch: Patch, without_type_checks: None, check: str, plant: Plant
) -> None:
    with monkeypatch.context() as patch:
        system = plant(patch, speech) or speech
        found = finding(system, check)
    assert not found.passed, found
    assert not math.isnan(found.value), f"the check broke instead of finding: {found.measured}"


def test_a_chain_that_is_not_used_is_found(speech: Any, monkeypatch: Patch, tmp_path: Path) -> None:
    """Fault: files and page were held against the erasers of plain states alone, whatever a run of layers got."""
    eraser = erasure.load_eraser(SPEECH, "text", speech.fingerprint)
    layers = preset_layers(len(speech.decoder_layers))
    left, right, mean = (
        {layer: part[layer].roll(1, -1) for layer in layers}
        for part in ({layer: eraser.left[layer].T for layer in layers}, eraser.right, eraser.mean)
    )
    chain = Factors({layer: part.T for layer, part in left.items()}, right, mean)
    chained = replace(eraser, chained={"affine": chain})
    erasure.save_eraser(chained, speech.fingerprint, eraser_file(SPEECH, "text", tmp_path).parent)
    prepared = speech.prepare(speech.hear(checks.probe_clip()), checks.PROBE_INSTRUCTION)

    def passed() -> list[bool]:
        found = check_erasers(speech, prepared, SPEECH, tmp_path, [checks.FILES, checks.PAGE])
        return [one.passed for one in found]

    assert passed() == [True, True, True]
    monkeypatch.setattr(Eraser, "factors", lambda it, *_: Factors(it.left, it.right, it.mean))
    assert passed() == [True, False, False]


def test_words_at_wrong_times_are_found(without_type_checks: None) -> None:
    cascade = load_cascade("mini-cascade")
    assert finding(cascade, checks.WORD_TIMES).passed
    assert not finding(member("hear", later_words)(pytest.MonkeyPatch(), cascade), checks.WORD_TIMES).passed


@pytest.mark.parametrize("key", [SPEECH, "mini-qwen2-audio", "mini-cascade", "mini-qwen2"])
def test_without_a_plant_every_check_passes(key: str) -> None:
    found = check_system(key)
    assert found.passed, [one for one in found.findings if not one.passed]
    if key == SPEECH:
        planted = {check for _, check, _ in FAULTS}
        elsewhere = {*ELSEWHERE, checks.HANDS}  # tests/engine/test_checks.py; HANDS is the reference's own
        assert {one.name for one in found.findings} == planted | elsewhere


# Planted in tests/engine/test_checks.py on models small enough to be broken in any way.
ELSEWHERE = (
    checks.SHAPES,
    checks.SPAN,
    checks.IDLE,
    checks.REACHES,
    checks.UNDONE,
    checks.BATCH_CHECK,
    checks.FIT,
    checks.PROVEN,
    checks.RANKS,
    checks.IDEMPOTENT,
    checks.GONE,
)
