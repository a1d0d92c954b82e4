"""The instrument checks itself: each system that is here, against references with code of their own.

`check_adapter` holds a loaded model's states, edits, scores, prompt and lens against `engine.by_hand`; a speech LLM
must pass it before it runs (`batch_is_exact`). `check_system` adds ears, batches, erasers, the page's figures and
shipped clips; `python -m engine.checks NAME`, or `--all`, and the page's button go through all systems. Tolerances
are counted from the weights' precision. tests/engine/test_planted_faults.py plants faults for every check. The file
is long because it is one list: what must hold, in the order in which a sound becomes a figure.
"""

from __future__ import annotations

import argparse
import inspect
import math
import re
import sys
import tempfile
import threading
import wave
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from engine import by_hand
from engine.answers import CONTROL_TRANSCRIPTS, answer_arms, answer_batch, answer_one, speech_lane
from engine.audio import SAMPLE_RATE_HZ, AudioClip, load_clip
from engine.erasure import EDITED_STATES, Eraser, Factors, Leace, bare_eraser, load_eraser
from engine.errors import EngineError, ErasureError, ModelFilesError, is_out_of_memory
from engine.examples import EXAMPLES, Example
from engine.generate import Decoded, run_arms, run_prompts
from engine.hooks import BACKBONE_LOCK, Projection, RowEdits, Scope, editing
from engine.lens import (
    HEAD_ROUNDINGS,
    LOGIT_TOLERANCE,
    logit_tolerance,
    pass_roundings,
    pass_tolerance,
    read_lens,
    relative_gap,
    split_tokens,
    unembed,
    unit_roundoff,
)
from engine.noise import NOISES, add_noise
from engine.request import (
    Question,
    RunRequest,
    available_conditions,
    check_request,
    eraser_file,
    preset_layers,
)
from engine.results import SINGLE, VERDICTS, LensReadout, setting_name
from engine.systems.base import Heard, Prepared, SpeechLLM, WhiteBoxModel, WhiteBoxSystem
from engine.systems.catalogue import PAIRS, SystemKind, get_spec, systems
from engine.systems.loading import load_cascade, load_speech_llm, load_text_llm, using
from engine.systems.text_llm import TextLLM
from engine.systems.weights import MODELS
from engine.tasks import TASKS, instruction_for
from engine.words import SpokenWord

NO_HOOK = "no hook is left on the model"
SHAPES = "layers and width are the config's"
SPAN = "the span holds what was heard"
PROMPT = "the prompt is the chat template's"
CLIP_FIRST = "what is heard does not depend on the question"
VANILLA = "hooks off equals vanilla"
HANDS = "a pass by hand equals the model's"
LAST_LAYER = "the lens is the model's own norm and head"
ORDER = "recorded layers are those by hand"
LENS_WORDS = "the lens finds the words that are there, its control others"
IDLE = "an edit that changes nothing changes nothing"
REACHES = "an edit reaches the answer"
UNDONE = "an edit that is over leaves no trace"
TWICE = "erasing twice equals erasing once"
ERASED = "erased states are those by hand"
SHARES = "an erasure moves the states as far as it says"
SCORES = "scores of answers are those by hand"
LABELS = "shares of labels are those by hand"
ANSWERS = "answers are those by hand, without a cache"
CONTROLS = "random controls have the eraser's rank and directions of their own"
BATCH_CHECK = "a batch equals its singles"
PADDED = "a padded batch equals its singles"
COUNT = "positions and seconds are the clip's"
ALL_HEARD = "every part of a clip is heard"
FEATURES = "features are those of transformers' extractor"
WINDOW = "a whole window is heard as by hand"
DOOR = "a tone comes through the door as it is"
NOISE = "noise is added at the ratio asked for"
OWN_CLIP = "what was said is likelier from its own clip"
WORD_TIMES = "words are heard when they are said"
FIT = "erasers fit the weights"
FILES = "erasers are what their files hold"
RANKS = "erasers have their recorded rank"
IDEMPOTENT = "an eraser applied twice is itself"
PROVEN = "what an erasure leaves is measured on other clips"
GONE = "erased directions are gone from the states"
PAGE = "the page's figures are those by hand"

CANNOT_FIND = (
    "weights that were trained badly, or are others than their name says",
    "marks around a clip that a model's makers publish and its chat template does not hold",
    "a fault in PyTorch's or transformers' own modules, on which the references run too",
    "whether a linear eraser leaves its concept readable: the run measures that, beside its chance",
    "an answer that is read as the wrong label, or a wrong figure in a table: the tests hold those",
    "what a service does inside",
)
UNAVAILABLE_HERE = "a service answers in its place: what it does inside cannot be checked from here"

PROBE_INSTRUCTION = "Repeat what was said."
OTHER_INSTRUCTION = "Which topic is this: World, Sports, Business or Sci/Tech?"
READ_ALOUD = ("the team won the game", "the market fell today after the bank raised its rates")
LEAST_EFFECT = 0.01  # of a logit: taking the whole clip away must move it more than rounding could
N_NEW_TOKENS = 5
N_LABELS = 3
CONTROL_SEED = 3
# Scope, method, strength, and whether the arms are rows of one batch.
SETTINGS: tuple[tuple[Scope, Any, float, bool], ...] = (
    ("audio", "linear", 1.0, True),
    ("prompt", "affine", 0.5, False),
    ("all", "affine", 1.0, True),
)
SIX_SIGMA = 6.0  # a random subspace overlaps more with another once in 10^9 draws
N_PIECES = 4  # of a clip, each silenced in turn
LONG_CLIP_S = 9.6  # longer than a mini's window of 8 s
EDGE_FRAMES = 3  # of 10 ms at a clip's end, where extractors fill up with silence or with a mirror
TONES_HZ = (440, 1000)
RATES_HZ = (8_000, 16_000, 44_100)
TONE_TOLERANCE = 0.02  # of an amplitude: 16 bits and a resampler's ripple stay well below
SNR_TOLERANCE_DB = 0.05
N_OWN_CLIPS, LEAST_OWN = 6, 5  # 5 of 6 by chance alone: 7 in 10,000
WORD_TOLERANCE_S = 0.25
IDEMPOTENCE_TOLERANCE = 1e-4  # relative, of factors that are stored in float32
LEFT_OVER_TOLERANCE = 1e-3  # cosine of an erased state with a direction that was taken out of it
BATCH_SIZE = 16  # fastest for the minis on one core; 64 is slower than 16
PROBE_DURATIONS_S = (0.6, 3.1, 1.1, 2.4, 0.9, 1.7)

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Finding:
    """One check's outcome: what was measured, against which tolerance.

    Attributes:
        name: what must hold.
        measured: what was measured, in words.
        value: the number that is judged; NaN, where it could not be measured, never passes.
        tolerance: the most that `value` may be, or the least where `at_least`.
    """

    name: str
    measured: str
    value: float
    tolerance: float
    at_least: bool = False

    @property
    def passed(self) -> bool:
        """Whether the value keeps to its tolerance."""
        return self.value >= self.tolerance if self.at_least else self.value <= self.tolerance

    @property
    def bound(self) -> str:
        """The tolerance in words, such as "at most 0.001"."""
        if self.tolerance == 0 and not self.at_least:
            return "exactly 0"
        return f"at {'least' if self.at_least else 'most'} {self.tolerance:g}"


@dataclass(frozen=True)
class Checked:
    """What was found for one system.

    Attributes:
        key, name: of the system.
        findings: in the order in which they were made; none where the system is not here.
        notes: what was not checked, and why.
    """

    key: str
    name: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(finding.passed for finding in self.findings)


@dataclass
class _Worst:
    """The one of many comparisons that lies farthest beyond its tolerance; no number is farther than any."""

    gap: float = 0.0
    tolerance: float = 0.0
    where: str = ""
    n: int = 0

    def add(self, gap: float, tolerance: float, where: str) -> None:
        """Count a comparison of two numbers, or of two tensors by their largest difference."""
        self.n += 1
        gap = math.inf if math.isnan(gap) else float(gap)
        if self.n == 1 or gap * self.tolerance > self.gap * tolerance:
            self.gap, self.tolerance, self.where = gap, tolerance, where

    def finding(self, name: str) -> Finding:
        """Return it as a finding."""
        if not self.n:
            return Finding(name, "nothing could be compared", math.nan, 0.0)
        measured = f"worst of {self.n}: {self.gap:.1e}, {self.where}"
        return Finding(name, measured, self.gap, self.tolerance)


@dataclass
class _Broken:
    """Conditions that must all hold, in words."""

    n: int = 0
    broken: list[str] = field(default_factory=list)

    def require(self, holds: bool, what: str) -> None:
        """Count a condition; `what` is said where it does not hold."""
        self.n += 1
        if not holds:
            self.broken.append(what)

    def finding(self, name: str) -> Finding:
        """Return how many are broken as a finding."""
        said = "; ".join(dict.fromkeys(self.broken)) or f"{self.n} conditions hold"
        return Finding(name, said, len(self.broken) if self.n else math.nan, 0)


def probe_clip(duration_s: float = 1.7) -> AudioClip:
    """Return a seeded sound (three gliding tones in faint noise): a check needs a signal, not speech."""
    time_s = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tones = sum(np.sin(2 * np.pi * f * time_s * (1 + 0.2 * time_s)) for f in (180, 720, 2300))
    noise = np.random.default_rng(17).standard_normal(len(time_s))
    return AudioClip((0.1 * tones + 0.01 * noise).astype(np.float32), "probe")


# --- a loaded model: states, edits, scores, prompt and lens ---


@dataclass
class _Subject:
    """A system with two prompts of different lengths, and what several checks need of it, computed once."""

    system: WhiteBoxModel
    prepared: Prepared
    other: Prepared

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return cast(Tensor, self.system.unembedding.weight).dtype

    @property
    def n_layers(self) -> int:
        """Blocks, as the config has them."""
        return int(cast(Any, self.system.language_model).config.num_hidden_layers)

    @property
    def embeddings(self) -> Tensor:
        """The prompt, [1, positions, d_model]."""
        return self.prepared.embeddings

    @property
    def width(self) -> int:
        """d_model."""
        return int(self.embeddings.shape[-1])

    @property
    def state_tolerance(self) -> float:
        """How far states of two passes may lie apart."""
        return pass_tolerance(self.dtype, self.n_layers, self.width)

    def rounding(self, logits: Tensor, roundings: float = 0.0) -> float:
        """Return how far two passes' logits may lie apart, or what lies `roundings` behind one pass."""
        return logit_tolerance(logits, self.dtype, roundings or pass_roundings(self.n_layers))

    def logits(self, embeddings: Tensor | None = None) -> Tensor:
        """Return the bare model's logits [rows, positions, vocab]."""
        given = self.embeddings if embeddings is None else embeddings
        out: Tensor = self.system.language_model(inputs_embeds=given).logits.float()
        return out

    @cached_property
    def plain(self) -> tuple[list[Tensor], Tensor]:
        """States [positions, d_model] of every layer and logits [positions, vocab] of the prompt, by hand."""
        states, logits = by_hand.run(self.system, self.embeddings)
        return [layer[0] for layer in states], logits[0]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Answers that are near enough to the model's own for their shares to differ from 0 and 1."""
        tokenizer = cast(Any, self.system.tokenizer)
        likely = self.plain[1][-1].topk(60).indices.tolist()
        texts = [str(tokenizer.decode([i])).strip() for i in likely if i not in tokenizer.all_special_ids]
        words = [text for text in dict.fromkeys(texts) if text.isalnum()][:N_LABELS]
        # Of different lengths, so that the rows of a batch are filled up.
        return (*words, f"{words[0]} {words[-1]}")

    @cached_property
    def eraser(self) -> Eraser:
        """An eraser whose rank, oblique directions and mean are each layer's own: none can be taken for another."""
        found = {}
        for layer, states in enumerate(self.plain[0]):
            rank = 2 + layer % 4
            drawn = torch.Generator().manual_seed(90_001 + layer)
            basis = torch.linalg.qr(torch.randn(self.width, 2 * rank, generator=drawn, dtype=torch.float64)).Q
            left = basis[:, :rank] + 0.5 * basis[:, rank:]
            found[layer] = Leace(left, basis[:, :rank].T, states.double().mean(0).cpu())
        return bare_eraser("text", found, ("one", "other"), "made for a check")

    @cached_property
    def arms(self) -> dict[str, _Worst]:
        """The plain, the erased and the control arm under every setting, held against passes by hand."""
        worst = {name: _Worst() for name in (ORDER, ERASED, SHARES, SCORES, ANSWERS)}
        for scope, method, strength, batched in SETTINGS:
            _compare_arms(self, worst, scope, method, strength, batched)
        return worst


@torch.inference_mode()
def check_adapter(
    system: WhiteBoxModel, heard: Sequence[Heard] = (), names: Collection[str] = ()
) -> list[Finding]:
    """Run every check of a loaded model; the order is that in which faults are easiest to mend.

    Args:
        system: with ears, or with `heard` given one that reads.
        heard: two clips or transcripts to ask about; by default seeded sounds of two lengths.
        names: of the checks to be run; all of them by default.
    """
    if not heard:
        assert isinstance(system, WhiteBoxSystem)
        heard = [system.hear(probe_clip()), system.hear(probe_clip(3.1))]
    subject = _Subject(system, *(system.prepare(one, PROBE_INSTRUCTION) for one in heard[:2]))
    checks: dict[str, Callable[[_Subject], Finding]] = {
        SHAPES: _shapes,
        SPAN: _span,
        PROMPT: _prompt,
        CLIP_FIRST: _clip_first,
        VANILLA: _vanilla,
        HANDS: _by_hand,
        LAST_LAYER: _last_layer,
        ORDER: lambda it: it.arms[ORDER].finding(ORDER),
        LENS_WORDS: _lens_words,
        IDLE: _idle_edit,
        REACHES: _edit_reaches,
        UNDONE: _edit_undone,
        TWICE: _erased_twice,
        ERASED: lambda it: it.arms[ERASED].finding(ERASED),
        SHARES: lambda it: it.arms[SHARES].finding(SHARES),
        SCORES: lambda it: it.arms[SCORES].finding(SCORES),
        LABELS: _labels,
        ANSWERS: lambda it: it.arms[ANSWERS].finding(ANSWERS),
        CONTROLS: _controls,
        BATCH_CHECK: _batch,
    }
    if system.spec.kind == "unit_lm":
        del checks[PROMPT]  # it is no chat: units, a tag, and words
    with BACKBONE_LOCK:
        findings = _all(checks, subject, names)
        return [_no_hooks_left(system), *findings]  # counted last: every check before may leave one


def _all(
    checks: Mapping[str, Callable[[Any], Finding]], subject: Any, names: Collection[str] = ()
) -> list[Finding]:
    """Return each check's finding, of these names alone where some are given.

    A check that cannot be made is a finding too, with what it failed on.
    """
    findings = []
    for name, check in checks.items():
        if names and name not in names:
            continue
        try:
            findings.append(check(subject))
        except Exception as error:  # a fault may break a check in any way
            if is_out_of_memory(error):
                raise
            findings.append(Finding(name, f"cannot be made: {_first_line(error)}", math.nan, 0))
    return findings


def _gap(name: str, a: Tensor, b: Tensor, tolerance: float) -> Finding:
    gap = float((a - b).abs().max())
    return Finding(name, f"largest difference {gap:.1e}", gap, tolerance)


def _state_gap(found: Tensor, expected: Tensor) -> float:
    """Return the worst position's relative difference as `engine.lens.relative_gap` has it; inf for other shapes.

    So are states that were kept in less than float32: they would agree within that precision's rounding.
    """
    is_like = found.shape == expected.shape and found.dtype == torch.float32
    return relative_gap(found, expected) if is_like else math.inf


def _no_hooks_left(system: WhiteBoxModel) -> Finding:
    left = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in system.language_model.modules())
    return Finding(NO_HOOK, f"{left} hooks found", left, 0)


def _shapes(it: _Subject) -> Finding:
    width = int(cast(Tensor, it.system.unembedding.weight).shape[1])
    found, wanted = (len(it.system.decoder_layers), it.width), (it.n_layers, width)
    off = sum(abs(a - b) for a, b in zip(found, wanted, strict=True))
    return Finding(SHAPES, f"{found} of {wanted}", off, 0)


def _span(it: _Subject) -> Finding:
    """The span lies inside the prompt and holds exactly what was heard; another clip makes another span."""
    (start, stop), other = it.prepared.span, it.other
    inside = 0 < start < stop < it.embeddings.shape[1]
    same = inside and torch.equal(it.embeddings[0, start:stop], it.prepared.heard.embeddings)
    growth = (other.span[1] - other.span[0]) - (stop - start)
    expected = len(other.heard.embeddings) - len(it.prepared.heard.embeddings)
    wrong = sum((not inside, not same, growth != expected, other.span[0] != start))
    measured = f"{start} to {stop} of {it.embeddings.shape[1]}, {wrong} of 4 conditions broken"
    return Finding(SPAN, measured, wrong, 0)


def _prompt(it: _Subject) -> Finding:
    """What stands around the clip, read back from its embeddings, is the rendered chat with the question behind."""
    system, held = it.system, _Broken()
    opens, asks = by_hand.chat_around(system)
    for instruction in (PROBE_INSTRUCTION, OTHER_INSTRUCTION):
        prepared = system.prepare(it.prepared.heard, instruction)
        start, stop = prepared.span
        around = prepared.embeddings[0, :start], prepared.embeddings[0, stop:]
        before, after = (by_hand.ids_of(system, part) for part in around)
        held.require(-1 not in (*before, *after), "a position is no token's embedding")
        # Some tokenizers begin every text with a blank, behind a mark too; no other blank is forgiven.
        said = [
            re.sub(r"(?<=\|>) ", "", by_hand.text_of(system, [i for i in ids if i >= 0]))
            for ids in (before, after)
        ]
        held.require(said[0].startswith(opens), f"it begins with {said[0][:60]!r}, not with {opens[-60:]!r}")
        ending = instruction + asks
        held.require(said[1].endswith(ending), f"it ends with {said[1][-60:]!r}, not with {ending[-60:]!r}")
        held.require(instruction not in said[0], "the question stands before the clip")
        held.require((said[0] + said[1]).count(opens) == 1, "the chat opens twice")
    words = it.prepared.heard.text
    if words:
        read = by_hand.text_of(system, by_hand.ids_of(system, it.prepared.heard.embeddings))
        held.require(read.strip() == words.strip(), f"the transcript given is {read[:60]!r}")
    return held.finding(PROMPT)


def _clip_first(it: _Subject) -> Finding:
    """Another question changes no state of what was heard: it stands behind the clip and cannot be seen from there."""
    other = it.system.prepare(it.prepared.heard, OTHER_INSTRUCTION)
    (start, stop), worst = it.prepared.span, _Worst()
    if other.span != it.prepared.span:
        return Finding(CLIP_FIRST, f"it lies at {other.span} and at {it.prepared.span}", math.inf, 0)
    states, _ = by_hand.run(it.system, other.embeddings)
    for layer, (one, two) in enumerate(zip(it.plain[0], states, strict=True)):
        worst.add(_state_gap(two[0, start:stop], one[start:stop]), it.state_tolerance, f"layer {layer}")
    return worst.finding(CLIP_FIRST)


def _vanilla(it: _Subject) -> Finding:
    """What the page runs, every layer recorded and the cache on, gives the logits of the bare model."""
    layers = range(it.n_layers + 1)
    ours = run_arms(it.system, it.prepared, record_layers=layers, max_new_tokens=1).prompt_logits[0]
    bare = it.logits()[0, -1]
    return _gap(VANILLA, ours, bare, it.rounding(bare))


def _by_hand(it: _Subject) -> Finding:
    """The reference itself: blocks called one after the other give the model's own logits at every position."""
    bare = it.logits()[0]
    return _gap(HANDS, it.plain[1], bare, it.rounding(bare))


def _last_layer(it: _Subject) -> Finding:
    """Every layer's states through the lens, against norm and head once each: catches a norm missing or twice."""
    worst = _Worst()
    for layer, states in enumerate(it.plain[0]):
        expected = by_hand.read(it.system, states)
        gap = float((unembed(it.system, states) - expected).abs().max())
        # Only norm and head are computed twice.
        worst.add(gap, it.rounding(expected, HEAD_ROUNDINGS), f"layer {layer}")
    return worst.finding(LAST_LAYER)


def _compare_arms(
    it: _Subject, worst: Mapping[str, _Worst], scope: Scope, method: Any, strength: float, batched: bool
) -> None:
    """Run plain, erased and control as the page does; hold all that comes of it against passes by hand."""
    system, prepared, eraser = it.system, it.prepared, it.eraser
    n_prompt, layers = it.embeddings.shape[1], range(0, it.n_layers + 1, 2)
    erased = eraser.projections(layers, method, strength)
    control = eraser.random_control(layers, method, CONTROL_SEED, strength)
    edits = RowEdits([None, erased, control], prepared.span, n_prompt, scope)
    passed = run_arms(
        system,
        prepared,
        edits=edits,
        continuations=it.labels,
        record_layers=range(it.n_layers + 1),
        max_new_tokens=N_NEW_TOKENS,
        batched=batched,
    )
    where = by_hand.positions_of(scope, prepared.span, n_prompt)
    device = it.embeddings.device
    cuts: list[dict[int, Callable[[Tensor], Tensor]]] = [
        {},
        {layer: _cut(eraser, layer, method, strength) for layer in layers},
        {layer: cast(Any, control[layer]).to(device) for layer in layers},
    ]
    scored = [_answer_ids(system, label) for label in it.labels]
    scored.append(_ended(system, passed.decoded[0]))
    for row, arm in enumerate(("plain", "erased", "control")):
        named = f"{arm}, {scope} {method} at strength {strength:g}"
        own = _ended(system, passed.decoded[row])
        edit = _Watched(by_hand.edits_at(cuts[row], where), cuts[row], where, n_prompt)
        states, rows = by_hand.read_answers(system, it.embeddings, [own, *scored], edit)
        for layer, expected in enumerate(states):
            name = ERASED if row else ORDER
            gap = _state_gap(passed.states[layer][row], expected)
            worst[name].add(gap, it.state_tolerance, f"layer {layer}, {named}")
        worst[SHARES].add(abs(edits.relative_change(row) - edit.share), it.state_tolerance, named)
        one = 2 * it.rounding(rows[0])  # of a log-probability: a logit and the sum over all
        found = [*passed.continuation_scores[row].tolist(), passed.first_answer_scores[row]]
        for said, ids, read, value in zip(
            (*it.labels, "the plain answer"), scored, rows[1:], found, strict=True
        ):
            worst[SCORES].add(abs(value - by_hand.score(read, ids)), one * len(ids), f'"{said}", {named}')
        _compare_answer(it, worst, passed.decoded[row], rows[0], one, named)


@dataclass
class _Watched:
    """An edit that keeps how far it moves a prompt's states: |change| / |state| at its positions and layers."""

    edit: by_hand.Edit
    cuts: Mapping[int, object]
    where: tuple[int, int | None]
    n_prompt: int
    moved: list[float] = field(default_factory=list)

    def __call__(self, layer: int, hidden: Tensor) -> Tensor:
        """Return the edited states."""
        changed = self.edit(layer, hidden)
        if layer in self.cuts:
            part = slice(self.where[0], min(self.n_prompt, self.where[1] or self.n_prompt))
            before, after = (states[0, part].float() for states in (hidden, changed))
            size = before.norm(dim=-1)
            self.moved += ((after - before).norm(dim=-1) / size)[size != 0].tolist()
        return changed

    @property
    def share(self) -> float:
        """Return the mean."""
        return float(np.mean(self.moved)) if self.moved else 0.0


def _ended(system: WhiteBoxModel, decoded: Decoded) -> list[int]:
    """Return an answer's tokens with the one that ends it, or would have."""
    return [*decoded.token_ids, _end(system) if decoded.end_id is None else decoded.end_id]


def _cut(eraser: Eraser, layer: int, method: str, strength: float) -> by_hand.Cut:
    mean = eraser.mean[layer] if method == "affine" else None
    return by_hand.Cut(eraser.left[layer], eraser.right[layer], mean, strength)


def _end(system: WhiteBoxModel) -> int:
    """Return the token that ends an answer: a chat's end of turn, elsewhere the end of a text."""
    if system.spec.kind == "unit_lm":
        return int(cast(Any, system.tokenizer).eos_token_id)
    return by_hand.end_of_turn(system)


def _answer_ids(system: WhiteBoxModel, text: str) -> list[int]:
    return [*cast(Any, system.tokenizer).encode(text, add_special_tokens=False), _end(system)]


def _compare_answer(
    it: _Subject, worst: Mapping[str, _Worst], found: Decoded, rows: Tensor, one: float, named: str
) -> None:
    """Hold a greedy answer against whole sequences without a cache: each token is the likeliest, ties aside."""
    ids = list(found.token_ids)
    settings = getattr(it.system.language_model, "generation_config", None)
    stated = getattr(settings, "eos_token_id", None)
    ends = {_end(it.system), *(stated if isinstance(stated, list) else [stated])}
    taken = [*ids, *([] if found.end_id is None else [found.end_id])]
    for row, token in zip(rows, taken, strict=False):
        worst[ANSWERS].add(float(row.max() - row[token]), one, f"a token of the answer, {named}")
    stops = len(ids) == N_NEW_TOKENS if found.end_id is None else found.end_id in ends
    tokenizer = cast(Any, it.system.tokenizer)
    whole = str(tokenizer.decode(ids, skip_special_tokens=True)).strip() == found.text
    for holds, what in ((stops, "where it stops"), (whole, "its text"), (not ends & {*ids}, "goes on")):
        worst[ANSWERS].add(0.0 if holds else math.inf, one, f"{what}, {named}")
    gap = abs(found.log_likelihood - by_hand.score(rows, taken))
    worst[SCORES].add(gap, one * max(1, len(taken)), f"its own, {named}")


def _labels(it: _Subject) -> Finding:
    """The forced choice is the labels' whole probabilities, each by its own name, normalised over them and no more."""
    worst = _Worst()
    question = Question(TASKS["topic"], PROBE_INSTRUCTION, it.labels)
    gold = f"{it.labels[1]} {it.labels[0]}"
    _, (answer,), (right,) = answer_arms(it.system, it.prepared, question, gold=gold, record=False)
    ids = {text: _answer_ids(it.system, text) for text in (*it.labels, gold)}
    _, rows = by_hand.read_answers(it.system, it.embeddings, list(ids.values()))
    scores = {text: by_hand.score(row, ids[text]) for text, row in zip(ids, rows, strict=True)}
    tolerance = 2 * it.rounding(it.plain[1]) * max(map(len, ids.values()))
    worst.add(abs(cast(float, right) - scores[gold]), tolerance, f'"{gold}"')
    total = float(torch.tensor([scores[text] for text in it.labels]).logsumexp(0))
    for text in it.labels:
        expected = scores[text] - total
        if expected > math.log(np.finfo(np.float32).tiny):
            found = math.log(max(answer.forced_choice[text], float(np.finfo(np.float64).tiny)))
            worst.add(abs(found - expected), 2 * tolerance, f'"{text}"')
    return worst.finding(LABELS)


def _controls(it: _Subject) -> Finding:
    """What a control takes out, seen from outside: as many directions, not the eraser's, others for another seed."""
    held, eraser, width = _Broken(), it.eraser, it.width
    drawn = torch.Generator().manual_seed(5)
    for layer in sorted({0, 1, it.n_layers}):
        rank = eraser.kept_rank[layer]
        x = torch.randn(rank + 8, width, generator=drawn)
        mean = eraser.mean[layer]
        taken = {}
        for seed in (CONTROL_SEED, CONTROL_SEED + 1):
            for method, strength in (("linear", 1.0), ("linear", 0.5), ("affine", 1.0)):
                control = eraser.random_control([layer], cast(Any, method), seed, strength)[layer]
                base = x + mean if method == "affine" else x
                taken[seed, method, strength] = base - control(base)
                if strength == 1.0:
                    again = float((control(control(base)) - control(base)).norm() / base.norm())
                    held.require(again < LEFT_OVER_TOLERANCE, f"layer {layer}: twice takes more than once")
        first, other = (taken[seed, "linear", 1.0] for seed in (CONTROL_SEED, CONTROL_SEED + 1))
        found = _rank(first)
        held.require(found == rank, f"layer {layer}: rank {found} for an eraser of rank {rank}")
        half, affine = (taken[CONTROL_SEED, *how] for how in (("linear", 0.5), ("affine", 1.0)))
        rounding = 10 * unit_roundoff(torch.float32) * math.sqrt(width) * float(1 + mean.abs().max())
        held.require(_largest(2 * half, first) < rounding, f"layer {layer}: strength .5 is no half")
        held.require(_largest(affine, first) < rounding, f"layer {layer}: affine does not keep the mean")
        own = torch.linalg.qr(eraser.right[layer].T).Q
        bases = [torch.linalg.svd(one, full_matrices=False).Vh[: max(found, 1)].T for one in (first, other)]
        for other_basis, what in ((own, "the eraser's directions"), (bases[1], "another seed's directions")):
            overlap = float((bases[0].T @ other_basis).pow(2).sum() / bases[0].shape[1])
            most = _most_overlap(width, bases[0].shape[1], other_basis.shape[1])
            held.require(overlap < most, f"layer {layer}: it shares {overlap:.2f} of {what}")
    return held.finding(CONTROLS)


def _rank(moved: Tensor) -> int:
    values = torch.linalg.svdvals(moved)
    return int((values > 1e-4 * values.max()).sum())


def _most_overlap(width: int, rank: int, other: int) -> float:
    """Return the share of a random subspace that may lie in another: its mean, and six standard deviations."""
    mean = other / width
    return mean + SIX_SIGMA * math.sqrt(2 * other * (width - other) / (width**2 * (width + 2)) / rank)


def _lens_words(it: _Subject) -> Finding:
    """Say what the lens read where it read it: it must find that, and its control nothing; then the other way round."""
    (start, stop), tokenizer, held = it.prepared.span, cast(Any, it.system.tokenizer), _Broken()
    states = {layer: found[start:stop] for layer, found in enumerate(it.plain[0])}
    expected = {layer: by_hand.read(it.system, found).log_softmax(-1) for layer, found in states.items()}
    width_s = it.prepared.heard.seconds_per_position or 0.1

    def whole_word(token: int) -> str:
        text = str(tokenizer.decode([token]))
        word = text.strip().lower()
        alike = (
            tokenizer.encode(text, add_special_tokens=False)
            == [token]
            == tokenizer.encode(f" {word}", add_special_tokens=False)
        )
        # A transcript's first word has no space before it, and may be cut into pieces that no lens reads.
        is_one = alike and len(split_tokens(tokenizer, word)) == 1
        return word if is_one and word.isalpha() and word.isascii() else ""

    read = {layer: [whole_word(int(i)) for i in found.argmax(-1)] for layer, found in expected.items()}
    layer = max(read, key=lambda one: sum(map(bool, read[one])))
    said = [(place, word) for place, word in enumerate(read[layer]) if word]
    tops = {_letters(str(tokenizer.decode([int(i)]))) for i in expected[layer].argmax(-1)}

    def n_distinct(words: Sequence[str]) -> int:
        return len(set(split_tokens(tokenizer, " ".join(words))))

    # The control needs as many distinct tokens of others as the clip has of its own, in both directions.
    n_said = n_distinct([word for _, word in said])
    # Written with and without the space before it, none of a word's pieces is among what was read.
    others: list[str] = []
    for token in range(len(tokenizer)):
        word = whole_word(token)
        if word and not tops & {
            _letters(str(tokenizer.decode([i])))
            for i in (token, *tokenizer.encode(word, add_special_tokens=False))
        }:
            others.append(word)
        if n_distinct(others) >= max(2, n_said):
            break
    fewer = next((others[:n] for n in range(len(others), 0, -1) if n_distinct(others[:n]) <= n_said), [])

    def readout(words: Sequence[tuple[int, str]], transcript: str) -> LensReadout:
        spoken = [SpokenWord(w, (p + 0.1) * width_s, (p + 0.9) * width_s) for p, w in words]
        return read_lens(
            it.system,
            states,
            seconds_per_position=width_s,
            words=spoken,
            words_from="a check",
            other_transcripts=[transcript] * 3,
        )

    found = readout(said, " ".join(others))
    tolerance = 2 * it.rounding(it.plain[1], HEAD_ROUNDINGS)
    for row, at in enumerate(found.layers):
        rows = expected[at].cpu()
        own = rows.gather(1, torch.from_numpy(found.top_ids[row].astype(np.int64)))
        best = rows.topk(own.shape[1]).values
        held.require(float((best - own).abs().max()) <= tolerance, f"layer {at}: other top tokens")
        shown = torch.from_numpy(found.top_probabilities[row])
        held.require(float((shown - own.exp()).abs().max()) <= tolerance, f"layer {at}: other probabilities")
        entropy = -(rows.exp() * rows).sum(-1).numpy()
        gap = float(np.abs(found.entropy_nats[row] - entropy).max())
        held.require(gap <= tolerance * (2 + float(entropy.max())), f"layer {at}: other entropies")
    if not fewer or n_distinct(others) < n_said:  # an untaught model may read pieces of words alone
        return held.finding(LENS_WORDS)
    here = {place: (index,) for index, (place, _) in enumerate(said)}
    held.require(
        found.spoken == tuple(here.get(p, ()) for p in range(stop - start)), "words at other positions"
    )
    ranks = found.word_rank[found.layers.index(layer)]
    first, second = expected[layer].topk(2, dim=-1).values.T.tolist()
    # Where two tokens are as likely within rounding, either may be read at the top.
    is_sure = [a - b > tolerance for a, b in zip(first, second, strict=True)]
    wrong = [p for p in range(stop - start) if ranks[p] != (p in here) and (p not in here or is_sure[p])]
    held.require(not wrong, "other ranks of the words")
    swapped = readout(list(enumerate(fewer)), " ".join(word for _, word in said))
    at = found.layers.index(layer)
    held.require(found.precision[at] > 0, "its own words are not counted")
    held.require(found.control[at] == 0, "the control counts what no other transcript holds")
    held.require(swapped.precision[at] == 0, "words are counted that were not said")
    held.require(swapped.control[at] > 0, "the control does not count other transcripts")
    return held.finding(LENS_WORDS)


def _letters(token: str) -> str:
    return "".join(letter for letter in token.lower() if letter.isalnum())


def _idle_edit(it: _Subject) -> Finding:
    """An edit of rank 0 changes nothing."""
    device = it.embeddings.device
    nothing = Projection(torch.zeros(it.width, 0, device=device), torch.zeros(0, it.width, device=device))
    return _gap(IDLE, it.logits(), _edited(it, nothing), 0.0)


def _edit_reaches(it: _Subject) -> Finding:
    """Taking the whole state away at the clip's positions does change the logits."""
    plain = it.logits()
    moved = float((plain - _edited(it, _everything(it))).abs().max())
    return Finding(REACHES, f"moved {moved:.2f}", moved, max(LEAST_EFFECT, it.rounding(plain)), at_least=True)


def _edit_undone(it: _Subject) -> Finding:
    """On and off again: the logits after an edit are bit for bit those before it."""
    plain = it.logits()
    _edited(it, _everything(it))
    return _gap(UNDONE, plain, it.logits(), 0.0)


def _erased_twice(it: _Subject) -> Finding:
    """A second erasure of the same directions finds nothing left to take: an erasure is idempotent."""
    control = it.eraser.random_control([0], "linear", CONTROL_SEED)[0]
    once, twice = _edited(it, control), _edited(it, control, control)
    return _gap(TWICE, once, twice, it.rounding(once))


def _batch(it: _Subject) -> Finding:
    single = it.logits()[0]
    batched = it.logits(it.embeddings.expand(3, -1, -1))[1]
    return _gap(BATCH_CHECK, single, batched, it.rounding(single))


def _everything(it: _Subject) -> Projection:
    identity = torch.eye(it.width, device=it.embeddings.device)
    return Projection(identity, identity)


def _edited(it: _Subject, *projections: Projection) -> Tensor:
    """Return the logits with these projections, one after the other, at all layers of the clip's positions."""
    with ExitStack() as stack:
        for projection in projections:
            rows = [dict.fromkeys(range(it.n_layers + 1), projection)]
            edits = RowEdits(rows, it.prepared.span, it.embeddings.shape[1], "audio")
            stack.enter_context(editing(it.system.decoder_layers, edits))
        return it.logits()


@cache
def batch_is_exact(key: str, models: Path = MODELS) -> bool:
    """Say whether this speech LLM's batches equal its singles here; `check_adapter` runs once for each.

    Raises:
        ModelFilesError: another check fails: such a model's figures cannot be trusted. Where only batch parity
            fails, arms run one after another.
    """
    with _CHECKING, using():
        failed = [found for found in check_adapter(load_speech_llm(key, models)) if not found.passed]
    serious = [finding for finding in failed if finding.name != BATCH_CHECK]
    if serious:
        raise ModelFilesError(
            f"{get_spec(key).name} fails its adapter check: {serious[0].name} ({serious[0].measured}); "
            f'run "python -m engine.checks {key}".'
        )
    return not failed


_CHECKING = threading.RLock()


# --- batches ---


@dataclass(frozen=True)
class BatchFinding:
    """Whether prompts of different lengths in one padded batch are answered as they are one by one.

    Attributes:
        exact: batches may be used.
        largest_gap: largest difference of a logit or a score, in natural log units.
        n_prompts: how many prompts were compared.
        n_other_answers: how many were answered differently.
        tolerance: of the gap: rounding in the precision of the weights (`engine.by_hand`).
    """

    exact: bool
    largest_gap: float
    n_prompts: int
    n_other_answers: int
    tolerance: float = LOGIT_TOLERANCE

    @property
    def batch_size(self) -> int:
        """Prompts to a pass."""
        return BATCH_SIZE if self.exact else 1

    @property
    def sentence(self) -> str:
        """The finding in words."""
        how = f"{self.n_prompts} prompts compared, largest difference {self.largest_gap:.1e}"
        if self.n_other_answers:
            how += f", {self.n_other_answers} answered differently"
        verdict = f"batches of {BATCH_SIZE} equal singles" if self.exact else "batches differ, so one by one"
        return f"{verdict} ({how}; tolerance {self.tolerance:.2g})"


def check_batches(system: WhiteBoxModel, heard: Sequence[Heard] | None = None) -> BatchFinding:
    """Compare a padded batch with its singles, over probes of different lengths; asked before a batch is ever trusted.

    Args:
        system: a speech LLM, a cascade or a text LLM.
        heard: what to ask about; by default gliding tones of several lengths, or sentences for a text LLM.
    """
    tasks = (TASKS["topic"], TASKS["emotion"], TASKS["trivia"])
    given = list(heard) if heard is not None else _probes(system)
    asked = [tasks[index % len(tasks)] for index in range(len(given))]
    questions = [Question(task, instruction_for(task), task.labels) for task in asked]
    prompts = [system.prepare(one, it.instruction) for one, it in zip(given, questions, strict=True)]
    gaps, tolerances, n_other = [0.0], [], 0
    dtype, n_layers = cast(Tensor, system.unembedding.weight).dtype, len(system.decoder_layers)
    replies = run_prompts(system, prompts, continuations=[it.labels for it in questions])
    answers = answer_batch(system, given, questions, max(2, len(given)))
    for one, question, prompt, reply, answer in zip(given, questions, prompts, replies, answers, strict=True):
        alone = run_arms(system, prompt, continuations=question.labels)
        gaps.append(_largest(alone.prompt_logits[0], reply.prompt_logits))
        tolerances.append(logit_tolerance(alone.prompt_logits, dtype, pass_roundings(n_layers)))
        gaps.append(_largest(alone.continuation_scores[0], reply.continuation_scores))
        read = answer_one(system, one, question)
        same = alone.decoded[0].token_ids == reply.decoded.token_ids and answer.text == read.text
        n_other += not same
        shares = answer.forced_choice
        gaps += [abs(shares.get(label, math.nan) - share) for label, share in read.forced_choice.items()]
    # A gap that is no number must not pass for a small one.
    worst = float("inf") if any(gap != gap for gap in gaps) else max(gaps)
    tolerance = min(tolerances, default=LOGIT_TOLERANCE)
    return BatchFinding(not n_other and worst < tolerance, worst, len(prompts), n_other, tolerance)


def _largest(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max()) if a.numel() else 0.0


def _probes(system: WhiteBoxModel) -> list[Heard]:
    if isinstance(system, TextLLM):
        return [system.hear_text(task.help.lower()) for task in TASKS.values()]
    assert isinstance(system, WhiteBoxSystem)
    return [system.hear(probe_clip(duration_s)) for duration_s in PROBE_DURATIONS_S]


def _padded(system: WhiteBoxModel, heard: Sequence[Heard]) -> Finding:
    """Prompts of different lengths in one padded batch, as the benchmark runs them, against one by one."""
    found = check_batches(system, heard)
    # Another answer is a fault whatever the gap of the scores.
    value = float("inf") if found.n_other_answers else found.largest_gap
    measured = f"largest difference {found.largest_gap:.1e}, {found.n_other_answers} answered differently"
    return Finding(PADDED, measured, value, found.tolerance)


# --- ears and the door for sound ---


def check_ears(system: SpeechLLM, names: Collection[str] = ()) -> list[Finding]:
    """Hold a speech LLM's ears against the clip itself and against transformers' own extractor and encoder."""
    checks: dict[str, Callable[[SpeechLLM], Finding]] = {
        COUNT: _count,
        ALL_HEARD: _all_heard,
        FEATURES: _features,
        WINDOW: _window,
    }
    return _all({name: check for name, check in checks.items() if _applies(name, system)}, system, names)


# Why one of the checks of ears is not made of a system.
WHY_NOT = {
    COUNT: "is not asked of positions that are as long as words are said",
    ALL_HEARD: "is not asked of positions that are as long as words are said",
    FEATURES: "has no reference for its family",
    WINDOW: "has no reference for its family",
}


def _applies(name: str, system: SpeechLLM) -> bool:
    """Say whether positions are of one width, and whether there is a reference for a family's features and encoder."""
    if name in (COUNT, ALL_HEARD):
        return system.hear(probe_clip(0.2)).position_ends_s is None
    if name == FEATURES:
        return by_hand.mel_of(system.spec.family, probe_clip(0.2).samples, 80) is not None
    return name != WINDOW or by_hand.has_window(system)


def _count(system: SpeechLLM) -> Finding:
    """Clips of whole positions: as many positions as their length has, or as their features' whole windows have."""
    width_s, held = system.hear(probe_clip(0.2)).seconds_per_position, _Broken()
    for n in (5, 10, 11):  # within a window of any kind
        clip = probe_clip(n * width_s)
        heard = system.hear(clip)
        mel, n_frames = system.features(clip.samples)
        window = mel.shape[-1] * by_hand.MEL_FRAME_SAMPLES / SAMPLE_RATE_HZ
        found_s = len(heard.embeddings) * width_s
        exact = any(math.isclose(found_s, seconds) for seconds in (clip.duration_s, window))
        held.require(exact, f"{len(heard.embeddings)} positions of {width_s:g} s for {clip.duration_s:g} s")
        held.require(
            heard.seconds_per_position == width_s, f"a position lasts {heard.seconds_per_position:g} s"
        )
        frames_s = n_frames * by_hand.MEL_FRAME_SAMPLES / SAMPLE_RATE_HZ
        held.require(abs(frames_s - clip.duration_s) < width_s, f"features of {frames_s:g} s")
    return held.finding(COUNT)


def _all_heard(system: SpeechLLM) -> Finding:
    """Silence in one piece of the clip after another: each time every position of that piece must change."""
    dtype = cast(Tensor, system.unembedding.weight).dtype
    width_s = system.hear(probe_clip(0.2)).seconds_per_position
    least, least_where = math.inf, ""
    for duration_s, pieces in (
        (20 * width_s, range(N_PIECES)),
        (LONG_CLIP_S, (0, N_PIECES - 1)),
    ):
        clip = probe_clip(duration_s)
        whole = system.hear(clip).embeddings.float()
        n_samples, n_positions = len(clip.samples), round(clip.duration_s / width_s)
        for piece in pieces:
            samples = clip.samples.copy()
            samples[piece * n_samples // N_PIECES : (piece + 1) * n_samples // N_PIECES] = 0.0
            heard = system.hear(AudioClip(samples, "probe, a piece silent")).embeddings.float()
            moved = (heard - whole).norm(dim=1) / whole.norm(dim=1)
            here = moved[piece * n_positions // N_PIECES : (piece + 1) * n_positions // N_PIECES]
            if float(here.min()) < least:
                least, least_where = float(here.min()), f"piece {piece + 1} of {N_PIECES}, {duration_s:g} s"
    # A float32 number that is rounded otherwise moves by far less, one of another sound by far more.
    tolerance = pass_tolerance(dtype, 1, whole.shape[1])
    return Finding(
        ALL_HEARD, f"least moved {least:.1e} of itself: {least_where}", least, tolerance, at_least=True
    )


def _features(system: SpeechLLM) -> Finding:
    worst = _Worst()
    for clip in (probe_clip(0.7), probe_clip(1.7)):  # within a window of any kind
        mel, n_frames = system.features(clip.samples)
        expected = by_hand.mel_of(system.spec.family, clip.samples, mel.shape[0])
        assert expected is not None
        shown = min(n_frames, expected.shape[1]) - EDGE_FRAMES
        gap = (mel[:, :shown].float().cpu() - expected[:, :shown]).abs().max()
        tolerance = max(LOGIT_TOLERANCE, 2 * unit_roundoff(mel.dtype) * float(expected.abs().max()))
        worst.add(float(gap), tolerance, f"{clip.duration_s:g} s")
    return worst.finding(FEATURES)


def _window(system: SpeechLLM) -> Finding:
    samples, expected = by_hand.embeddings_of_window(system)
    found = system.hear(AudioClip(samples, "a window of noise")).embeddings
    n_layers = len(cast(Any, system.ears).audio_tower.layers)
    tolerance = pass_tolerance(found.dtype, n_layers, found.shape[1])
    gap = _state_gap(found.float(), expected.float())
    return Finding(
        WINDOW, f"{len(found)} of {len(expected)} positions, largest difference {gap:.1e}", gap, tolerance
    )


def check_sound(names: Collection[str] = ()) -> list[Finding]:
    """Check what stands before every model: the door for files, and the noise that is added."""
    return _all({DOOR: _door, NOISE: _noise}, None, names)


def _door(_: None) -> Finding:
    """Stereo files with another tone on each side: rate, length, pitch, both sides and the place in time are kept."""
    held = _Broken()
    with tempfile.TemporaryDirectory() as folder:
        for rate in RATES_HZ:
            time_s = np.arange(rate) / rate
            sides = [0.4 * np.sin(2 * np.pi * tone * time_s) * (time_s >= 0.25) for tone in TONES_HZ]
            with wave.open(str(Path(folder) / "tone.wav"), "wb") as file:
                file.setparams((2, 2, rate, 0, "NONE", ""))
                file.writeframes((np.stack(sides, 1) * 32767).astype("<i2").tobytes())
            clip = load_clip(Path(folder) / "tone.wav")
            held.require(abs(clip.duration_s - 1.0) < 0.001, f"{rate} Hz: 1 s became {clip.duration_s:.3f} s")
            second = np.resize(clip.samples[SAMPLE_RATE_HZ // 2 :], SAMPLE_RATE_HZ // 2)  # 2 Hz to a line
            lines = np.abs(np.fft.rfft(second)) / (len(second) / 2)
            for tone in TONES_HZ:
                level = float(lines[tone // 2])  # half of it: the mean over two channels
                held.require(abs(level - 0.2) < 0.2 * TONE_TOLERANCE, f"{rate} Hz: {tone} Hz at {level:.3f}")
            begins_s = int(np.argmax(np.abs(clip.samples) > 0.1)) / SAMPLE_RATE_HZ
            held.require(abs(begins_s - 0.25) < 0.005, f"{rate} Hz: begins at {begins_s:.3f} s for 0.25")
    return held.finding(DOOR)


def _noise(_: None) -> Finding:
    clip, worst = probe_clip(), _Worst()
    own = clip.samples.astype(np.float64)
    for kind in NOISES:
        for asked_db in (0.0, 10.0):
            noisy = add_noise(clip, kind, asked_db, seed=1)
            mixed = noisy.clip.samples.astype(np.float64)
            if np.abs(mixed).max() > 0.999:
                continue  # lowered to fit full scale: the noise alone cannot be told any more
            found_db = 10 * np.log10((own**2).sum() / ((mixed - own) ** 2).sum())
            worst.add(abs(found_db - asked_db), SNR_TOLERANCE_DB, f"{kind} at {asked_db:g} dB")
            worst.add(abs(noisy.snr_db_achieved - found_db), SNR_TOLERANCE_DB, f"{kind}, as told")
    return worst.finding(NOISE)


# --- shipped clips: what only a trained system can show ---


def check_clips(system: WhiteBoxSystem, names: Collection[str] = ()) -> list[Finding]:
    """Ask about shipped clips whose words are known; a system that hears makes its own words likelier."""
    if len(_own_clips()) < N_OWN_CLIPS:
        return []
    checks: dict[str, Callable[[WhiteBoxSystem], Finding]] = {OWN_CLIP: _own_clip}
    if system.spec.kind == "cascade":
        checks[WORD_TIMES] = _word_times
    return _all(checks, system, names)


def _own_clips() -> list[Example]:
    """Return synthetic clips: every system here knows such voices, and the minis know no other."""
    return [one for one in EXAMPLES if one.words][:N_OWN_CLIPS]


def _own_clip(system: WhiteBoxSystem) -> Finding:
    """Score every clip's words after every clip; each clip's own must stand out, what all clips share left aside."""
    examples = _own_clips()
    words = [example.reference for example in examples]
    rows = []
    for example in examples:
        prepared = system.prepare(system.hear(load_clip(example.file)), PROBE_INSTRUCTION)
        scored = run_arms(system, prepared, continuations=words, max_new_tokens=1)
        rows.append(scored.continuation_scores[0])
    scores = torch.stack(rows)
    own = (scores - scores.mean(0)).argmax(1) == torch.arange(len(words))
    measured = f"for {int(own.sum())} of {len(words)} clips"
    return Finding(OWN_CLIP, measured, float(own.sum()), LEAST_OWN, at_least=True)


def _word_times(system: WhiteBoxSystem) -> Finding:
    """The synthesiser told when it spoke each word; the transcriber's times are held against that."""
    gaps, n_found, n_said = [], 0, 0
    for example in _own_clips():
        said = [(word.text.lower().strip(".,!?"), word) for word in example.words]
        heard = {word.text.lower().strip(".,!?"): word for word in system.hear(load_clip(example.file)).words}
        once = [(text, word) for text, word in said if sum(text == other for other, _ in said) == 1]
        found = [(word, heard[text]) for text, word in once if text in heard]
        n_said, n_found = n_said + len(once), n_found + len(found)
        gaps += [
            abs(a - b) for one, two in found for a, b in ((one.start_s, two.start_s), (one.end_s, two.end_s))
        ]
    middle = float(np.median(gaps)) if 2 * n_found > n_said else math.nan
    measured = f"{n_found} of {n_said} words found, half of their times within {middle:.2f} s"
    return Finding(WORD_TIMES, measured, middle, WORD_TOLERANCE_S)


# --- erasers ---


def check_erasers(
    system: WhiteBoxModel,
    prepared: Prepared,
    pair: str,
    models: Path = MODELS,
    names: Collection[str] = (),
) -> list[Finding]:
    """Return what was found for all erasers of a pair's speech LLM; nothing where none is fitted.

    Whether a concept can still be read behind them is no matter of order: a proof tells that, beside its chance.

    Args:
        system: the speech LLM.
        prepared: a prompt about a clip, in which the erasers are tried.
        pair: whose erasers are meant.
        models: folder of the models.
        names: of the checks to be run; all of them by default.

    Raises:
        ErasureError: a file is damaged or of another version.
    """
    conditions = available_conditions(pair, models)
    if not conditions:
        return []
    erasers: dict[str, Eraser] = {}
    for condition in conditions:
        # Of a file that is whole, only one fitted on other weights is refused here.
        with suppress(ErasureError):
            erasers[condition] = load_eraser(pair, condition, system.fingerprint, models)
    fitted = f"{len(erasers)} of {len(conditions)} fitted on these weights"
    findings = [Finding(FIT, fitted, len(conditions) - len(erasers), 0)]
    if not erasers:
        return findings
    subject = _Erasers(system, prepared, pair, models, erasers)
    checks: dict[str, Callable[[_Erasers], Finding]] = {
        FILES: _as_in_file,
        RANKS: lambda it: _worst_layer(RANKS, it.erasers, _rank_off, 0),
        IDEMPOTENT: lambda it: _worst_layer(IDEMPOTENT, it.erasers, _not_idempotent, IDEMPOTENCE_TOLERANCE),
        PROVEN: _proven,
        GONE: _left_over,
        PAGE: _page,
    }
    return [*findings, *_all(checks, subject, names)]


@dataclass(frozen=True)
class _Erasers:
    """The erasers of a pair, and where they are tried."""

    system: WhiteBoxModel
    prepared: Prepared
    pair: str
    models: Path
    erasers: Mapping[str, Eraser]


def _stored(it: _Erasers, condition: str, layer: int, chain: str = "") -> list[Tensor]:
    """Return left, right and mean of a layer as the file has them: of this method's chain, where it holds one."""
    with safe_open(eraser_file(it.pair, condition, it.models), framework="pt") as stored:
        prefix = f"{chain}." if f"{chain}.left.{layer}" in stored.keys() else ""  # noqa: SIM118 - no mapping
        return [stored.get_tensor(f"{prefix}{name}.{layer}").float() for name in ("left", "right", "mean")]


def _as_in_file(it: _Erasers) -> Finding:
    """Each condition's projection is made of its own file's factors of that layer, seen by what it does to states."""
    worst = _Worst()
    drawn = torch.Generator().manual_seed(7)
    for condition, eraser in it.erasers.items():
        worst.add(
            0.0 if eraser.condition == condition else math.inf, 1.0, f"{condition} is {eraser.condition}"
        )
        for layer in eraser.layers:
            left, right, mean = _stored(it, condition, layer)
            x = mean + mean.std() * torch.randn(4, len(mean), generator=drawn)
            for method, kept in (("linear", None), ("affine", mean)):
                made = eraser.projections([layer], cast(Any, method))[layer]
                gap = _state_gap(made(x), by_hand.Cut(left, right, kept, 1.0)(x))
                worst.add(gap, pass_tolerance(torch.float32, 1, len(mean)), f"{condition} at layer {layer}")
        for method, factors in eraser.chained.items():
            chain = eraser.projections(factors.layers, cast(Any, method))
            for layer in factors.layers:
                left, right, mean = _stored(it, condition, layer, method)
                x = mean + mean.std() * torch.randn(4, len(mean), generator=drawn)
                expected = by_hand.Cut(left, right, mean if method == "affine" else None, 1.0)(x)
                where = f"{condition} at layer {layer}, {method}, fitted on {EDITED_STATES}"
                worst.add(
                    _state_gap(chain[layer](x), expected), pass_tolerance(torch.float32, 1, len(mean)), where
                )
    return worst.finding(FILES)


# Of an eraser's left factors, right factors, and recorded rank.
Measure = Callable[[Tensor, Tensor, int], float]


def _worst_layer(name: str, erasers: Mapping[str, Eraser], measure: Measure, tolerance: float) -> Finding:
    values = {}
    for key, eraser in erasers.items():
        plain = Factors(eraser.left, eraser.right, eraser.mean)
        sets: dict[str, tuple[Factors, Mapping[int, int]]] = {"": (plain, eraser.kept_rank)}
        for method, factors in eraser.chained.items():
            kept = {layer: len(factors.right[layer]) for layer in factors.layers}
            sets[f" ({method}, fitted on {EDITED_STATES})"] = (factors, kept)
        for which, (factors, ranks) in sets.items():
            for layer in factors.layers:
                left, right = factors.left[layer].double(), factors.right[layer].double()
                values[key + which, layer] = measure(left, right, ranks[layer])
    return _farthest(name, values, tolerance)


def _farthest(name: str, values: Mapping[tuple[str, int], float], tolerance: float) -> Finding:
    """Return the finding of the condition and layer that are farthest from what must hold."""
    # A NaN is worse than any number.
    condition, layer = max(values, key=lambda place: (math.isnan(values[place]), values[place]))
    worst = values[condition, layer]
    return Finding(
        name, f"worst of {len(values)}: {worst:.1e}, {condition} at layer {layer}", worst, tolerance
    )


def _rank_off(left: Tensor, right: Tensor, rank: int) -> float:
    """How far the rank of the projection is from the record: an idempotent matrix's rank is its trace."""
    return abs(round(float((right @ left).trace())) - rank)


def _not_idempotent(left: Tensor, right: Tensor, _rank: int) -> float:
    """|PP - P| over |P|, Frobenius, in float64."""
    projection = left @ right
    return float((projection @ projection - projection).norm() / projection.norm())


def _proven(it: _Erasers) -> Finding:
    """A proof has a reading for every layer alone and every chain, each a number beside plain states and chance.

    What it reads is told and is no fault; an eraser without a proof claims nothing, which is told as well.
    """
    missing, found = 0, []
    proofs = {key: eraser.proof for key, eraser in it.erasers.items() if eraser.proof}
    for key, proof in proofs.items():
        wanted = {SINGLE: it.erasers[key].layers} | {
            setting_name(method, scope): factors.layers
            for method, factors in it.erasers[key].chained.items()
            for scope in ("audio", "all")
        }
        for setting, layers in wanted.items():
            measured = proof.settings.get(setting, {})
            here = [measured[layer] for layer in layers if layer in measured]
            whole = [one for one in here if not math.isnan(one.erased + one.plain + one.random + one.chance)]
            missing += len(layers) - len(whole)
            found += [one.verdict for one in whole]
    counts = ", ".join(f"{found.count(verdict)} {verdict}" for verdict in VERDICTS)
    without = len(it.erasers) - len(proofs)
    said = [f"{len(found)} readings: {counts}"] if proofs else []
    said += [f"{missing} missing"] if missing else []
    said += [f"{without} of {len(it.erasers)} erasers carry no proof and claim nothing"] if without else []
    return Finding(PROVEN, "; ".join(said), missing, 0)


@torch.inference_mode()
def _left_over(it: _Erasers) -> Finding:
    """Erase inside the running model, record the states, and look for what should be gone from them."""
    start, stop = it.prepared.span
    left: dict[tuple[str, int], float] = {}
    for condition, eraser in it.erasers.items():
        rows = [eraser.projections(eraser.layers, "linear")]
        edits = RowEdits(rows, it.prepared.span, it.prepared.embeddings.shape[1], "audio")
        passed = run_arms(it.system, it.prepared, edits=edits, record_layers=eraser.layers, max_new_tokens=1)
        taken_out = eraser.factors(eraser.layers, "linear").right
        for layer, states in passed.states.items():
            erased, taken = states[0, start:stop].cpu(), taken_out[layer]
            cosines = (erased @ taken.T).abs() / erased.norm(dim=1, keepdim=True).clamp(min=1e-9)
            left[condition, layer] = float((cosines / taken.norm(dim=1)).max())
    # What is erased is rounded to the model's precision, which puts back at most that share of the state.
    dtype = cast(Tensor, it.system.unembedding.weight).dtype
    return _farthest(GONE, left, max(LEFT_OVER_TOLERANCE, unit_roundoff(dtype)))


@torch.inference_mode()
def _page(it: _Erasers) -> Finding:
    """One run as the page asks for it, every figure of its erased arms and its lens computed a second way."""
    system, worst = cast(WhiteBoxSystem, it.system), _Worst()
    clip = probe_clip()
    first, *_, last = (*it.erasers, *it.erasers)
    request = RunRequest(
        clip,
        "topic",
        it.pair,
        erasures=(first, last),
        scope="all",
        method="affine",
        strength=0.5,
        gold="World",
    )
    question = check_request(request)
    heard = system.hear(clip)
    chosen = {condition: it.erasers[condition] for condition in dict.fromkeys((first, last))}
    words = tuple(
        SpokenWord(text, 0.3 * n, 0.3 * n + 0.2) for n, text in enumerate(("we", "won", "the", "game"))
    )
    lane, lens, _, outcomes = speech_lane(
        system, heard, question, request, chosen, (words, "a check"), batched=False
    )
    prepared = system.prepare(heard, question.instruction)
    passed = run_arms(system, prepared, record_layers=range(len(system.decoder_layers) + 1))
    (start, stop), plain = prepared.span, passed.decoded[0]
    ids, subject = _ended(system, plain), _Subject(system, prepared, prepared)
    one = 2 * subject.rounding(passed.prompt_logits)
    layers = preset_layers(len(system.decoder_layers))
    n_prompt = prepared.embeddings.shape[1]
    where = by_hand.positions_of("all", prepared.span, n_prompt)
    worst.add(0.0 if lane.answer.text == plain.text else math.inf, one, "the plain answer")
    for outcome in outcomes:
        cuts: dict[int, Callable[[Tensor], Tensor]] = {}
        for layer in layers:
            left, right, mean = _stored(it, outcome.condition, layer, request.method)
            cuts[layer] = by_hand.Cut(left, right, mean, request.strength)
        edit = _Watched(by_hand.edits_at(cuts, where), cuts, where, n_prompt)
        arm, named = outcome.erased, f"{outcome.condition} erased"
        answers = [
            ids,
            _answer_ids(system, "World"),
            *(_answer_ids(system, label) for label in question.labels),
        ]
        scores, before = (
            [
                by_hand.score(rows, answer)
                for rows, answer in zip(
                    by_hand.read_answers(system, prepared.embeddings, answers, how)[1], answers, strict=True
                )
            ]
            for how in (edit, by_hand.untouched)
        )
        for n, found in enumerate((arm.log_likelihood_change, arm.right_log_likelihood_change)):
            gap = abs(cast(float, found) - (scores[n] - before[n]))
            worst.add(gap, 2 * one * len(answers[n]), f"a change of log-likelihood, {named}")
        shares = torch.tensor(scores[2:]).softmax(0).tolist()
        for label, share in zip(question.labels, shares, strict=True):
            gap = abs(cast(Any, arm.answer).forced_choice[label] - share)
            worst.add(gap, 4 * one, f'share of "{label}", {named}')
        gap = abs(arm.relative_change_of_state - edit.share)
        worst.add(gap, subject.state_tolerance, f"share moved, {named}")
        same = outcome.random_control.relative_change_of_state in (0.0, arm.relative_change_of_state)
        worst.add(math.inf if same else 0.0, one, f"the control is another arm's, {named}")
    others = CONTROL_TRANSCRIPTS.read_text(encoding="utf-8").splitlines()
    expected = read_lens(
        system,
        {layer: states[0, start:stop] for layer, states in passed.states.items()},
        seconds_per_position=heard.seconds_per_position,
        words=words,
        words_from="a check",
        other_transcripts=others,
    )
    for name in ("precision", "control", "top_ids", "word_rank"):
        same = np.array_equal(
            np.asarray(getattr(lens, name)), np.asarray(getattr(expected, name)), equal_nan=True
        )
        worst.add(0.0 if same else math.inf, one, f"the lens's {name}")
    return worst.finding(PAGE)


# --- all systems ---


def check_all(progress: Progress | None = None, models: Path = MODELS) -> tuple[Checked, ...]:
    """Check every system of the catalogue; those without weights are named with the reason.

    Args:
        progress: called with a share of 1 and what is being done.
        models: folder of the models.
    """
    report = progress or (lambda share, what: None)
    rows = systems(models)
    checked = []
    for index, row in enumerate(rows):
        if row.status != "ready":
            checked.append(Checked(row.key, row.name, (), (row.reason,)))
            continue
        report(index / len(rows), f"checking {row.name}")
        checked.append(check_system(row.key, models))
    report(1.0, "done")
    return tuple(checked)


@using()
def check_system(key: str, models: Path = MODELS) -> Checked:
    """Return what was found for one system.

    Raises:
        UnknownKeyError: there is no such system.
    """
    spec = get_spec(key)
    if spec.is_remote:
        return Checked(key, spec.name, (), (UNAVAILABLE_HERE,))
    loaded = _load_or_finding(key, models)
    if isinstance(loaded, Finding):
        return Checked(key, spec.name, (loaded,))
    system, heard = loaded
    findings = [*check_adapter(system, heard), *_all({PADDED: lambda it: _padded(it, heard)}, system)]
    if isinstance(system, WhiteBoxSystem):
        findings += [*check_sound(), *check_clips(system)]
    notes: tuple[str, ...] = ()
    if isinstance(system, SpeechLLM):
        findings += check_ears(system)
        missing = [name for name in WHY_NOT if not _applies(name, system)]
        notes = tuple(f'"{name}" {WHY_NOT[name]}' for name in missing)
    if "erasure" in spec.capabilities:
        pair = next((pair.key for pair in PAIRS.values() if pair.speech_llm == key), "")
        prepared = system.prepare(heard[0], PROBE_INSTRUCTION)
        erasers = check_erasers(system, prepared, pair, models) if pair else []
        findings += erasers
        if not erasers:
            why = "no eraser is fitted for it" if pair else "it is in no pair"
            notes = (*notes, f"{why}, so none was checked")
    return Checked(key, spec.name, tuple(findings), notes)


def sentence_of(checked: Iterable[Checked]) -> str:
    """Return the outcome as one sentence, which names the first failure."""
    checked = list(checked)
    made = [(one, finding) for one in checked for finding in one.findings]
    failed = [(one, finding) for one, finding in made if not finding.passed]
    n_systems = sum(bool(one.findings) for one in checked)
    tried = f"{len(made)} checks of {n_systems} system{'' if n_systems == 1 else 's'}"
    if not made:
        return "No system is here, so nothing was checked."
    if not failed:
        return f"All {tried} pass."
    one, finding = failed[0]
    return (
        f"{len(failed)} of {tried} failed, first for {one.name}: {finding.name} "
        f"({finding.measured}; must be {finding.bound})."
    )


def _load_or_finding(key: str, models: Path) -> tuple[WhiteBoxSystem | TextLLM, list[Heard]] | Finding:
    """Return a system with two things that it heard, or what is missing before anything can be checked."""
    try:
        system = _load(key, models)
    except ModelFilesError as error:
        lacking = next(row.reason for row in systems(models) if row.key == key)
        return Finding("its weights load", lacking or str(error), 1, 0)
    except Exception as error:  # an adapter that is being written may fail in any way
        return Finding("its adapter loads", _first_line(error), 1, 0)
    if missing := missing_members(system, get_spec(key).kind):
        return Finding("it fills the protocol", f"it lacks {', '.join(missing)}", len(missing), 0)
    try:
        heard = _two_heard(system)
        for one in heard:
            system.prepare(one, PROBE_INSTRUCTION).embeddings.shape  # noqa: B018 - that it is there
    except Exception as error:
        return Finding("it hears and prepares", _first_line(error), 1, 0)
    return system, heard


def missing_members(system: object, kind: SystemKind) -> tuple[str, ...]:
    """Return the members of its kind's protocol that a loaded system lacks, in order."""
    protocol = {"speech_llm": SpeechLLM, "cascade": WhiteBoxSystem, "text_llm": WhiteBoxModel}[kind]
    members: dict[str, None] = {}
    for part in reversed(protocol.__mro__):
        names = (*inspect.get_annotations(part), *vars(part))
        members |= {name: None for name in names if not name.startswith("_")}
    return tuple(name for name in members if not hasattr(system, name))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"


def _load(key: str, models: Path) -> WhiteBoxSystem | TextLLM:
    kind = get_spec(key).kind
    if kind == "text_llm":
        return load_text_llm(key, models)
    return load_speech_llm(key, models) if kind == "speech_llm" else load_cascade(key, models)


def _two_heard(system: WhiteBoxSystem | TextLLM) -> list[Heard]:
    """Return two things of different length to ask about; words must have been said where words are needed."""
    if isinstance(system, TextLLM):
        return [system.hear_text(text) for text in READ_ALOUD]
    if system.spec.kind == "cascade" and len(EXAMPLES) > 1:
        return [system.hear(load_clip(example.file)) for example in EXAMPLES[:2]]
    return [system.hear(probe_clip()), system.hear(probe_clip(3.1))]


def main() -> int:
    """Check one system, or with --all every one that is here; exit code 1 when a check fails."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.checks",
        description=main.__doc__,
        epilog=f"What no check can find: {'; '.join(CANNOT_FIND)}.",
    )
    parser.add_argument("name", nargs="?", help="key of a system; --all lists them")
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    if not arguments.name and not arguments.all:
        parser.error("name a system, or use --all")
    try:
        checked = check_all() if arguments.all else (check_system(arguments.name),)
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for one in checked:
        for finding in one.findings:
            verdict = "ok  " if finding.passed else "FAIL"
            sys.stdout.write(f"{verdict}  {one.key}: {finding.name} ({finding.measured}; {finding.bound})\n")
        for note in one.notes:
            sys.stdout.write(f"left out  {one.key}: {note}\n")
    passed = all(one.passed for one in checked)
    (sys.stdout if passed else sys.stderr).write(f"{sentence_of(checked)}\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
