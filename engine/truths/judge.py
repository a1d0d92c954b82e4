"""The instrument's verdict on each planted network, beside the truth.

Each is measured as a real model is: agreement with its cascade, the lens, LEACE of text and of pitch beside
random subspaces of the same rank, probes before and after. The verdict is read from the intervals alone; it
never sees what was planted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.erasure import Eraser
from engine.hooks import Projection, RowEdits, editing, recording
from engine.leace import bare_eraser, fit_leace
from engine.lens import read_lens
from engine.result import SpokenWord
from engine.stats.agreement import bootstrap_kappa, confusion
from engine.stats.estimate import Estimate
from engine.stats.intervals import bootstrap_share, wilson
from engine.truths.network import SPAN, VOCABULARY, PlantedSystem, prompts
from engine.truths.plants import (
    N_POSITIONS,
    PLANTS,
    SECONDS_PER_POSITION,
    WORDS,
    Clips,
    Plant,
    Reading,
    draw_clips,
    read_aloud,
)
from engine.truths.probe import probe_hits

N_FIT, N_PROBED, N_JUDGED = 600, 600, 200  # clips of the erasers, of the probes, and judged; none is in two
ERASED_LAYER = 1  # the states from which the answer is gathered
# An interval of kappa with the plain answers that lies wholly above or below these.
KEPT_ABOVE, LOST_BELOW = 0.8, 0.5
CASCADE = PLANTS[0]

# What is measured, in the order of the table.
MEASURES = {
    "cascade": "Agreement with its cascade (kappa)",
    "cascade_control": "the same with another clip's words",
    "lens": "Lens names the word",
    "lens_control": "the same against another clip's word",
    "text": "Answers kept without text (kappa)",
    "text_control": "the same without a random subspace of that rank",
    "pitch": "Answers kept without pitch (kappa)",
    "pitch_control": "the same without a random subspace of that rank",
    "linear": "Linear probe names the word (chance 0.25)",
    "linear_after": "Linear probe after the text erasure",
    "quadratic_after": "Quadratic probe after the text erasure",
}


@dataclass(frozen=True)
class Judgement:
    """One planted network, judged.

    Attributes:
        name, truth: as planted.
        expected: what a true instrument must find.
        verdict: what this one finds.
        agrees: whether the two are the same.
        measured: figure by figure, keys as in MEASURES; n is clips.
        kept_rank: condition -> directions that its eraser and its control take out.
        limit: where a method is known to fail on it, "" where none is.
    """

    key: str
    name: str
    truth: str
    expected: Reading
    verdict: Reading
    agrees: bool
    measured: dict[str, Estimate]
    kept_rank: dict[str, int]
    limit: str


def judge_all(seed: int = 0) -> tuple[Judgement, ...]:
    """Return the verdict on every planted network; a second or two."""
    return tuple(judge(plant, seed) for plant in PLANTS)


@torch.inference_mode()
def judge(plant: Plant, seed: int) -> Judgement:
    """Measure one planted network and return the verdict beside the truth.

    Args:
        plant: how it is built.
        seed: of clips, noise, random controls and resampling.
    """
    system = PlantedSystem(plant)
    # The generators of the sets must not be neighbours of another seed's.
    fit, probed, held = (
        draw_clips(plant, n_clips, 3 * seed + part)
        for part, n_clips in enumerate((N_FIT, N_PROBED, N_JUDGED))
    )
    states = {
        key: _states(system, clips) for key, clips in (("fit", fit), ("probed", probed), ("held", held))
    }
    erasers = {"text": _text_eraser(states["fit"], fit), "pitch": _pitch_eraser(states["fit"], fit)}
    measured = {
        **_answers(system, held, erasers, seed),
        **_lens(system, states["held"], held, seed),
        **_probes(states, probed, held, erasers["text"], seed),
    }
    verdict = read_verdict(measured)
    return Judgement(
        key=plant.key,
        name=plant.name,
        truth=plant.truth,
        expected=plant.reading,
        verdict=verdict,
        agrees=verdict == plant.reading,
        measured={key: measured[key] for key in MEASURES},
        kept_rank={key: eraser.kept_rank[ERASED_LAYER] for key, eraser in erasers.items()},
        limit=plant.limit,
    )


def read_verdict(measured: dict[str, Estimate]) -> Reading:
    """Return what the intervals say; "undecided" where they do not say one thing.

    An erasure takes the answer away when kappa with the plain answers falls below LOST_BELOW while the
    random subspace of its rank leaves it above KEPT_ABOVE, intervals included.
    """
    text_lost, pitch_lost = (
        _lost(measured[key]) and _kept(measured[f"{key}_control"]) for key in ("text", "pitch")
    )
    spelt = measured["lens"].low > measured["lens_control"].high
    as_cascade = _kept(measured["cascade"]) and _lost(measured["cascade_control"])
    if text_lost and not pitch_lost and spelt and as_cascade:
        return "a cascade inside"
    if pitch_lost and _kept(measured["text"]):
        return "carries text it does not use" if spelt else "answers from pitch"
    still_there = measured["quadratic_after"].low > measured["linear_after"].high
    if as_cascade and still_there and _kept(measured["text"]) and _kept(measured["pitch"]):
        return "text out of linear reach"
    return "undecided"


def _lost(kappa: Estimate) -> bool:
    return kappa.high < LOST_BELOW


def _kept(kappa: Estimate) -> bool:
    return kappa.low > KEPT_ABOVE


def _states(system: PlantedSystem, clips: Clips) -> Tensor:
    """Return the clip's states [clips x positions, d_model] at the erased layer."""
    with recording(system.decoder_layers, [ERASED_LAYER]) as recorded:
        system.language_model(inputs_embeds=prompts(clips.states))
    return recorded[ERASED_LAYER][:, slice(*SPAN)].flatten(0, 1)


def _by_position(values: Tensor) -> Tensor:
    return values.repeat_interleave(N_POSITIONS, 0)


def _text_eraser(states: Tensor, fit: Clips) -> Eraser:
    labels = torch.eye(len(WORDS), dtype=torch.float64)[_by_position(fit.words)]
    return _eraser("text", states, labels, WORDS)


def _pitch_eraser(states: Tensor, fit: Clips) -> Eraser:
    return _eraser("pitch", states, _by_position(fit.pitch).double()[:, None], ("pitch",))


def _eraser(condition: str, states: Tensor, labels: Tensor, targets: tuple[str, ...]) -> Eraser:
    """Fit the instrument's LEACE and hand it over as the instrument's Eraser; its probes are measured apart."""
    return bare_eraser(
        condition, {ERASED_LAYER: fit_leace(states.double(), labels)}, targets, f"{N_FIT} clips"
    )


def _answers(
    system: PlantedSystem, clips: Clips, erasers: dict[str, Eraser], seed: int
) -> dict[str, Estimate]:
    """Answer every clip under every arm in one batch, and the cascade's answers from the words alone."""
    arms: dict[str, dict[int, Projection] | None] = {"plain": None}
    for key, eraser in erasers.items():
        arms[key] = eraser.projections(eraser.layers, "affine")
        arms[f"{key}_control"] = eraser.random_control(eraser.layers, "affine", seed)
    batch = prompts(clips.states)
    edits = RowEdits(list(arms.values()), SPAN, batch.shape[1], "audio")
    with editing(system.decoder_layers, edits):
        answers = _named(system, batch.repeat(len(arms), 1, 1)).reshape(len(arms), -1)
    by_arm = dict(zip(arms, answers, strict=True))
    # The cascade is the network that spells, given the words as a transcript: no ears, no pitch.
    for key, words in (("cascade", clips.words), ("cascade_control", clips.words.roll(1))):
        by_arm[key] = _named(PlantedSystem(CASCADE), prompts(read_aloud(words)))
    plain = by_arm.pop("plain").tolist()
    return {key: kappa_estimate(plain, found.tolist(), seed) for key, found in by_arm.items()}


def _named(system: PlantedSystem, batch: Tensor) -> Tensor:
    """Return the id of the token each prompt is answered with."""
    return system.language_model(inputs_embeds=batch).logits[:, -1].argmax(-1)


def kappa_estimate(one: Sequence[int], other: Sequence[int], seed: int) -> Estimate:
    """Return Cohen's kappa of two lists of answers with its interval over clips.

    Two cases have no width: all answers agree (the note says how much disagreement n clips leave open), or one
    list has one answer throughout, and kappa is 0 whatever the other says.
    """
    found = bootstrap_kappa(confusion(one, other), np.arange(len(one)), seed=seed)
    if list(one) == list(other):
        most = 1 - wilson(len(one), len(one)).low
        note = (
            f"All answers agree, so resampling has no width; {len(one)} clips leave up to {100 * most:.1f} % of "
            "other answers open."
        )
    elif min(len(set(one)), len(set(other))) == 1:
        note = "One side gives one answer throughout: kappa is then 0 and its interval has no width."
    else:
        return found
    return Estimate(found.value, found.low, found.high, found.n, found.method, note)


def _lens(system: PlantedSystem, states: Tensor, clips: Clips, seed: int) -> dict[str, Estimate]:
    """Return how often the lens's top token is the word said, and how often the next clip's word."""
    found = {}
    for key, shift in (("lens", 0), ("lens_control", 1)):
        said = clips.words.roll(shift).tolist()
        length_s = N_POSITIONS * SECONDS_PER_POSITION
        words = [SpokenWord(WORDS[w], i * length_s, (i + 1) * length_s) for i, w in enumerate(said)]
        readout = read_lens(
            system,
            {ERASED_LAYER: states},
            seconds_per_position=SECONDS_PER_POSITION,
            words=words,
            words_from="as planted",
            other_transcripts=[" ".join(VOCABULARY[-4:-2])],
        )
        found[key] = _share(torch.tensor(readout.word_rank[0] == 1).float(), seed)
    return found


def _probes(
    states: dict[str, Tensor], probed: Clips, held: Clips, eraser: Eraser, seed: int
) -> dict[str, Estimate]:
    """Return how often probes of unseen clips name the word, before and after the text erasure.

    They are fitted on clips that the eraser never saw: on its own a linear probe has nothing to learn by theorem.
    """
    words, held_words = _by_position(probed.words), _by_position(held.words)
    erase = eraser.projections(eraser.layers, "affine")[ERASED_LAYER]
    after = {key: erase(part) for key, part in states.items()}
    tried = (
        ("linear", states, False),
        ("linear_after", after, False),
        ("quadratic_after", after, True),
    )
    return {
        key: _share(probe_hits(x["probed"], words, x["held"], held_words, quadratic=quadratic), seed)
        for key, x, quadratic in tried
    }


def _share(hits: Tensor, seed: int) -> Estimate:
    """Return the share of positions that are hits, with its interval over clips."""
    by_clip = hits.reshape(-1, N_POSITIONS)
    groups = torch.stack([by_clip.sum(1), torch.full((len(by_clip),), float(N_POSITIONS))], dim=1)
    return bootstrap_share(groups.double().numpy(), seed=seed)
