"""Every verdict agrees with its truth, the numbers are those that the plant implies, and a broken plant shows.

The command shows truth beside verdict with every figure, and fails when one does not agree.

The networks compute what they were built to compute, worked out by hand, behind the models' protocol.

The clips hold what they are said to hold: word and pitch apart, and a hidden code that is no linear one.

The linear probe reads a linear code and not a product; the quadratic one reads both and no product of three.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from engine import planted as command
from engine.hooks import Projection, RowEdits, editing, recording
from engine.lens import candidate_ids, unembed
from engine.planted import (
    ANSWERS,
    D_MODEL,
    FILLER,
    HIDDEN,
    IS_CLIP,
    LOGIT_GAIN,
    MEASURES,
    N_JUDGED,
    N_POSITIONS,
    PITCH,
    PLANTS,
    SOUND,
    SPAN,
    TEXT,
    VOCABULARY,
    WORDS,
    Judgement,
    Plant,
    PlantedSystem,
    bits_of,
    draw_clips,
    heard_from,
    judge,
    judge_all,
    kappa_estimate,
    probe_hits,
    prompts,
    read_aloud,
    read_verdict,
)
from engine.stats.agreement import cohen_kappa
from engine.stats.intervals import Estimate
from engine.systems.base import WhiteBoxModel

BY_KEY = {plant.key: plant for plant in PLANTS}
CHANCE = 0.25  # one of four words


@pytest.fixture(scope="module")
def found() -> dict[str, Judgement]:
    started = time.process_time()
    judged = {one.key: one for one in judge_all(seed=0)}
    assert time.process_time() - started < 20
    return judged


def value(one: Judgement, key: str) -> float:
    return one.measured[key].value


def test_every_verdict_agrees_with_its_truth(found: dict[str, Judgement]) -> None:
    assert list(found) == list(BY_KEY)
    for key, one in found.items():
        assert one.agrees and one.verdict == one.expected == BY_KEY[key].reading


def test_every_number_has_its_n_and_its_interval(found: dict[str, Judgement]) -> None:
    for one in found.values():
        assert set(one.measured) == set(MEASURES) and one.kept_rank == {"text": 3, "pitch": 1}
        for estimate in one.measured.values():
            assert estimate.n == N_JUDGED and estimate.low <= estimate.value <= estimate.high
            # A figure without width says why.
            assert estimate.low < estimate.high or estimate.note


def test_a_cascade_inside_answers_as_its_cascade_until_its_text_is_gone(found: dict[str, Judgement]) -> None:
    one = found["cascade"]
    assert value(one, "cascade") == 1.0 and abs(value(one, "cascade_control")) < 0.2
    assert abs(value(one, "text")) < 0.2 and value(one, "text_control") > 0.9
    assert value(one, "pitch") == 1.0
    assert value(one, "lens") == 1.0 and value(one, "lens_control") == pytest.approx(CHANCE, abs=0.1)


def test_pitch_alone_is_untouched_by_text_and_lost_without_pitch(found: dict[str, Judgement]) -> None:
    """The word and the voice are independent, so kappa with the cascade is 0 within its noise."""
    one = found["pitch"]
    assert abs(value(one, "cascade")) < 0.2
    assert value(one, "text") == 1.0
    assert abs(value(one, "pitch")) < 0.2 and value(one, "pitch_control") > 0.9
    assert one.measured["lens"].low <= one.measured["lens_control"].high
    assert value(one, "linear") == 1.0 and one.limit


def test_idle_text_is_shown_by_the_lens_and_erased_in_vain(found: dict[str, Judgement]) -> None:
    one, cascade = found["idle-text"], found["cascade"]
    assert value(one, "lens") == value(cascade, "lens") == 1.0
    assert value(one, "text") == 1.0 and abs(value(one, "pitch")) < 0.2
    assert one.limit


def test_hidden_text_escapes_the_linear_methods_and_the_judgement_says_so(
    found: dict[str, Judgement],
) -> None:
    one = found["hidden-text"]
    assert value(one, "cascade") == 1.0
    assert value(one, "text") > 0.9
    assert abs(value(one, "linear") - CHANCE) < 0.1
    assert value(one, "quadratic_after") > 0.8
    assert "LEACE misses it" in one.limit


@pytest.mark.parametrize("key", ["cascade", "pitch", "idle-text"])
def test_where_text_is_linear_its_erasure_leaves_no_probe_anything(
    found: dict[str, Judgement], key: str
) -> None:
    one = found[key]
    assert value(one, "linear") == 1.0
    assert value(one, "linear_after") == pytest.approx(CHANCE, abs=0.1)
    assert value(one, "quadratic_after") == pytest.approx(CHANCE, abs=0.1)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_verdicts_do_not_hang_on_the_seed(seed: int) -> None:
    assert all(one.agrees for one in judge_all(seed))


@pytest.mark.parametrize(
    ("broken", "verdict"),
    [
        (replace(BY_KEY["idle-text"], uses="text"), "a cascade inside"),
        (replace(BY_KEY["cascade"], uses="pitch"), "carries text it does not use"),
        (replace(BY_KEY["pitch"], spells=True), "carries text it does not use"),
        (replace(BY_KEY["idle-text"], spells=False), "answers from pitch"),
        (replace(BY_KEY["hidden-text"], uses="pitch"), "answers from pitch"),
    ],
)
def test_a_broken_plant_gets_another_verdict(broken: Plant, verdict: str) -> None:
    one = judge(broken, seed=0)
    assert one.verdict == verdict and not one.agrees


def test_what_a_broken_instrument_says(found: dict[str, Judgement]) -> None:
    """A control that takes the answer away as well makes the erasure prove nothing."""
    measured = dict(found["cascade"].measured)
    assert read_verdict(measured) == "a cascade inside"
    assert read_verdict({**measured, "text_control": measured["text"]}) == "undecided"
    wide = Estimate(0.0, -0.3, 0.7, 20, "too few clips")
    assert read_verdict({**measured, "text": wide}) == "undecided"
    blind = {**measured, "lens": measured["lens_control"]}
    assert read_verdict(blind) == "undecided"
    alike = {**measured, "cascade_control": measured["cascade"]}
    assert read_verdict(alike) == "undecided"
    absent = Estimate(math.nan, math.nan, math.nan, 0, "not measured")
    assert read_verdict({**measured, "text": absent}) == "undecided"


def test_kappa_is_the_statistics_own_and_says_when_it_has_no_width() -> None:
    one, other = 10 * [0, 0, 1, 1, 0, 1, 1, 0], 10 * [0, 1, 1, 1, 0, 1, 0, 0]
    found = kappa_estimate(one, other, seed=1)
    assert found.value == pytest.approx(cohen_kappa([str(a) for a in one], [str(b) for b in other]))
    assert found.low < found.value < found.high and not found.note
    assert "up to" in kappa_estimate(one, one, seed=1).note
    constant = kappa_estimate(one, [0] * 80, seed=1)
    assert constant.value == 0.0 and "throughout" in constant.note


GOOD = Judgement(
    key="cascade",
    name="A cascade inside",
    truth=PLANTS[0].truth,
    expected="a cascade inside",
    verdict="a cascade inside",
    agrees=True,
    measured={key: Estimate(0.5, 0.4, 0.6, 200, "made up") for key in MEASURES},
    kept_rank={"text": 3, "pitch": 1},
    limit="It is known to miss this.",
)
BAD = replace(GOOD, verdict="undecided", agrees=False)


@pytest.mark.parametrize(("found", "code"), [((GOOD,), 0), ((GOOD, BAD), 1)])
def test_the_exit_code_says_whether_all_agree(
    found: tuple[Judgement, ...],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["engine.planted", "--seed", "4"])
    monkeypatch.setattr(command, "judge_all", lambda seed: found if seed == 4 else ())
    assert command.main() == code
    shown = capsys.readouterr().out
    assert ("must be: a cascade inside" in shown) is bool(code)


def test_the_table_holds_truth_verdict_figures_and_limit() -> None:
    shown = command.table([GOOD])
    assert all(words in shown for words in MEASURES.values())
    assert GOOD.truth in shown and GOOD.limit in shown and shown.count("n 200") == len(MEASURES)


SYSTEMS = {plant.key: PlantedSystem(plant) for plant in PLANTS}


def clip(word: int, pitch: float, hidden: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)) -> torch.Tensor:
    """One clip without noise."""
    states = torch.zeros(1, N_POSITIONS, D_MODEL)
    states[..., SOUND.start + word] = 1.0
    states[..., HIDDEN] = torch.tensor(hidden)
    states[..., PITCH] = pitch
    states[..., IS_CLIP] = 1.0
    return states


def logits(key: str, states: torch.Tensor) -> torch.Tensor:
    return SYSTEMS[key].language_model(inputs_embeds=prompts(states)).logits


def answer(key: str, states: torch.Tensor) -> str:
    return VOCABULARY[int(logits(key, states)[0, -1].argmax())]


@pytest.mark.parametrize("key", SYSTEMS)
def test_a_planted_network_is_a_white_box_model(key: str) -> None:
    system = SYSTEMS[key]
    assert isinstance(system, WhiteBoxModel)
    prepared = system.prepare(heard_from(clip(0, 1.0)[0]), "Which?")
    assert prepared.span == SPAN == (1, 4) and prepared.embeddings.shape == (1, 5, D_MODEL)
    assert torch.equal(prepared.embeddings[:, 1:4], clip(0, 1.0))


@pytest.mark.parametrize("word", range(len(WORDS)))
@pytest.mark.parametrize("pitch", [1.0, -1.0])
def test_what_each_answers_by_hand(word: int, pitch: float) -> None:
    by_topic = ANSWERS[0] if word < 2 else ANSWERS[1]
    by_pitch = ANSWERS[0] if pitch > 0 else ANSWERS[1]
    assert answer("cascade", clip(word, pitch)) == by_topic
    assert answer("pitch", clip(word, pitch)) == by_pitch
    assert answer("idle-text", clip(word, pitch)) == by_pitch


@pytest.mark.parametrize("coin", [1.0, -1.0])
@pytest.mark.parametrize("bit", [1.0, -1.0])
def test_a_hidden_bit_is_the_product_whatever_the_coin(coin: float, bit: float) -> None:
    found = answer("hidden-text", clip(0, -1.0, (coin, coin, coin * bit, coin)))
    assert found == (ANSWERS[0] if bit > 0 else ANSWERS[1])


def test_the_logits_of_an_answer_by_hand() -> None:
    """Evidence 1 from each position, averaged, read with the gain; the empty position weighs e to the -12."""
    found = logits("cascade", clip(1, 1.0))[0, -1]
    assert float(found[VOCABULARY.index("sports")]) == pytest.approx(LOGIT_GAIN, abs=1e-3)
    assert float(found[VOCABULARY.index("news")]) == pytest.approx(-LOGIT_GAIN, abs=1e-3)


def test_the_word_is_spelt_at_layer_one_and_only_by_those_that_spell() -> None:
    for key, system in SYSTEMS.items():
        with recording(system.decoder_layers, [0, 1]) as states:
            logits(key, clip(3, 1.0))
        spelt = states[1][0, 1, TEXT].tolist()
        assert spelt == ([0, 0, 0, 1] if system.plant.spells else [0, 0, 0, 0])
        assert not states[0][..., TEXT].any()


def test_the_lens_and_the_head_are_the_same_and_words_are_tokens() -> None:
    system = SYSTEMS["cascade"]
    with recording(system.decoder_layers, [2]) as states:
        plain = logits("cascade", clip(2, 1.0))
    torch.testing.assert_close(unembed(system, states[2][0]), plain[0])
    for row, word in enumerate(VOCABULARY[:-2]):
        assert candidate_ids(system.tokenizer, word) == (row,)
    assert system.tokenizer.eos_token_id == VOCABULARY.index("<end>")


def test_an_edit_reaches_the_answer_through_the_hooks() -> None:
    """Taking the token directions out of the clip's positions leaves the cascade nothing to answer from."""
    system = SYSTEMS["cascade"]
    basis = torch.zeros(D_MODEL, len(WORDS))
    basis[TEXT] = torch.eye(len(WORDS))
    edits = RowEdits([{1: Projection(basis, basis.T)}], SPAN, 5, "audio")
    with editing(system.decoder_layers, edits):
        edited = logits("cascade", clip(0, 1.0))
    assert float(edited[0, -1, VOCABULARY.index("sports")]) == pytest.approx(0.0, abs=1e-3)


N = 4000


def test_words_in_binary_by_hand() -> None:
    """goal 00, match 01, bank 10, vote 11; a 0 is +1."""
    assert bits_of(torch.arange(4)).tolist() == [[1, 1], [1, -1], [-1, 1], [-1, -1]]


def test_word_and_pitch_are_drawn_apart() -> None:
    clips = draw_clips(BY_KEY["cascade"], N, 1)
    assert clips.states.shape == (N, N_POSITIONS, D_MODEL)
    by_word = [float(clips.pitch[clips.words == word].mean()) for word in range(len(WORDS))]
    # Of about 1000 fair coins the mean lies within 0.1 of 0 with more than three standard deviations.
    assert max(map(abs, by_word)) < 0.1


def test_every_plant_hears_the_same_words_and_voices() -> None:
    drawn = [draw_clips(plant, 50, 2) for plant in PLANTS]
    assert all(torch.equal(one.words, drawn[0].words) for one in drawn)
    assert all(torch.equal(one.pitch, drawn[0].pitch) for one in drawn)
    assert not torch.equal(draw_clips(PLANTS[0], 50, 3).words, drawn[0].words)


def test_a_word_can_be_seen_in_the_sound_and_a_voice_in_the_pitch() -> None:
    clips = draw_clips(BY_KEY["pitch"], N, 1)
    assert (clips.states[..., SOUND].argmax(-1) == clips.words[:, None]).all()
    assert (clips.states[..., PITCH].sign() == clips.pitch[:, None]).all()
    # Nothing is spelt by the ears, and the hidden dimensions hold noise only.
    assert not clips.states[..., TEXT].any() and clips.states[..., HIDDEN].abs().max() < 0.5


def test_no_single_dimension_tells_a_hidden_word_and_a_product_does() -> None:
    clips = draw_clips(BY_KEY["hidden-text"], N, 1)
    bits = bits_of(clips.words)[:, None]
    code = clips.states[..., HIDDEN]
    for dimension in range(4):
        for bit in range(2):
            # 12,000 states: a correlation of 0.04 would be four standard deviations.
            assert abs(float((code[..., dimension] * bits[..., bit]).mean())) < 0.04
    assert (code[..., :2] * code[..., 2:] * bits).mean() == pytest.approx(1.0, abs=0.01)


def test_filler_is_noise_of_its_size() -> None:
    filler = draw_clips(PLANTS[0], N, 1).states[..., FILLER]
    assert float(filler.std()) == pytest.approx(0.3, rel=0.02)


def test_a_word_read_aloud_is_its_token_and_has_no_voice() -> None:
    states = read_aloud(torch.tensor([2]))
    assert states[0, 0, TEXT].tolist() == [0, 0, 1, 0]
    assert not states[..., PITCH].any() and not states[..., SOUND].any()


N_PROBE = 3000


def score(code: str, *, quadratic: bool) -> float:
    """Accuracy of naming a bit that lies in one dimension, in a product of two, or in one of three."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(N_PROBE, 6, generator=generator)
    signs = 2.0 * torch.randint(2, (N_PROBE, 3), generator=generator) - 1
    x[:, :3] = signs + 0.05 * x[:, :3]
    n_factors = {"one": 1, "two": 2, "three": 3}[code]
    words = (signs[:, :n_factors].prod(1) > 0).long()
    half = N_PROBE // 2
    hits: Tensor = probe_hits(x[:half], words[:half], x[half:], words[half:], quadratic=quadratic)
    assert hits.shape == (half,) and set(hits.tolist()) <= {0.0, 1.0}
    return float(hits.mean())


def test_what_each_probe_can_read() -> None:
    assert score("one", quadratic=False) > 0.99 and score("one", quadratic=True) > 0.99
    # A line may cut the four corners of a product unevenly, so its accuracy strays a little from a half.
    assert abs(score("two", quadratic=False) - 0.5) < 0.15 and score("two", quadratic=True) > 0.99
    assert abs(score("three", quadratic=True) - 0.5) < 0.15
