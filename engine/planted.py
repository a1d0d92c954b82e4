"""Planted models: tiny networks whose way to the answer is known, judged by the instrument's own code.

`judge_all` and `python -m engine.planted` say what the instrument finds beside what was planted, with every figure.
The lens, the erasers, their random controls and kappa are those that judge the real models; nothing is written for
here.

Each network is two blocks with weights set by hand, behind the protocol of the real models. Block 1 may copy what is
heard into the directions of tokens; block 2 lets the last position gather evidence from the clip. A clip says one
word over three positions, in a high or a low voice, drawn independently of each other. The answer is the word's topic
or the voice's pitch, by the plant. The verdict is read from the intervals alone; it never sees what was planted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutput

from engine.erasure import Eraser, bare_eraser, fit_leace
from engine.hooks import Projection, RowEdits, editing, recording
from engine.lens import read_lens
from engine.stats.agreement import bootstrap_kappa, confusion
from engine.stats.intervals import Estimate, bootstrap_share, wilson
from engine.systems.base import Heard, Prepared
from engine.systems.catalogue import SystemSpec
from engine.words import SpokenWord

Reading = Literal[
    "a cascade inside",
    "answers from pitch",
    "carries text it does not use",
    "text out of linear reach",
    "undecided",
]

# Two words of each answer; the word's number in binary is (topic, which of the two).
WORDS = ("goal", "match", "bank", "vote")
ANSWERS = ("sports", "news")
N_POSITIONS = 3
SECONDS_PER_POSITION = 0.25  # a sum of quarters is exact, so that words end where positions do
SOUND_NOISE = 0.05
FILLER_NOISE = 0.3

# What each dimension of the residual stream means; the rest is filler, noise that no weight reads.
SOUND = slice(0, 4)
HIDDEN = slice(4, 8)
PITCH = 8
TEXT = slice(9, 13)
DECISION = slice(13, 15)
IS_CLIP, ASKED = 15, 16
FILLER = slice(17, 32)
D_MODEL = 32


@dataclass(frozen=True)
class Plant:
    """One network's truth.

    Attributes:
        name: for the page.
        truth: how it answers, as it was built.
        reading: what a true instrument must find.
        spells: the first block copies the word heard into the direction of its token, where a lens reads it.
        uses: what the answer is computed from.
        limit: where a method is known to fail on it, in words.
    """

    key: str
    name: str
    truth: str
    reading: Reading
    spells: bool
    uses: Literal["text", "pitch", "hidden"]
    limit: str = ""


PLANTS: tuple[Plant, ...] = (
    Plant(
        "cascade",
        "A cascade inside",
        "It spells the word it hears, and answers from what it spelt.",
        "a cascade inside",
        spells=True,
        uses="text",
    ),
    Plant(
        "pitch",
        "Pitch alone",
        "It never spells a word; it answers from the pitch of the voice.",
        "answers from pitch",
        spells=False,
        uses="pitch",
        limit="A linear probe reads the word here as well: it is in the sound. That something can be read does not "
        "say that it is used.",
    ),
    Plant(
        "idle-text",
        "Text carried and not used",
        "It spells the word it hears, and answers from the pitch of the voice.",
        "carries text it does not use",
        spells=True,
        uses="pitch",
        limit="The lens shows the text as clearly as in a cascade. By the lens alone this would pass for one.",
    ),
    Plant(
        "hidden-text",
        "Text that sits non-linearly",
        "It answers from the word, which lies in products of two signs, each by itself a coin toss.",
        "text out of linear reach",
        spells=False,
        uses="hidden",
        limit="LEACE misses it: it takes out only what a linear probe reads, and here that is nothing. By lens and "
        "erasure alone the text would count as unused, which is wrong. The quadratic probe finds it; a code of "
        "higher order would escape that probe too.",
    ),
)


@dataclass(frozen=True)
class Clips:
    """Clips of one word each.

    Attributes:
        words: [clips] index into WORDS.
        pitch: [clips] +1 for a high voice, -1 for a low one.
        states: [clips, positions, d_model] what the ears hand to the network.
    """

    words: Int[Tensor, "clips"]  # noqa: F821 - jaxtyping axis name
    pitch: Float[Tensor, "clips"]  # noqa: F821
    states: Float[Tensor, "clips positions d_model"]


def draw_clips(plant: Plant, n_clips: int, seed: int) -> Clips:
    """Return clips as this plant's ears hear them; the same words and voices for every plant of a seed."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(len(WORDS), (n_clips,), generator=generator)
    pitch = 2.0 * torch.randint(2, (n_clips,), generator=generator) - 1
    coins = 2.0 * torch.randint(2, (n_clips, N_POSITIONS, 2), generator=generator) - 1
    states = torch.zeros(n_clips, N_POSITIONS, D_MODEL)
    if plant.uses == "hidden":
        # (coin, coin x bit): each is a fair coin whatever the bit, and their product is the bit.
        states[..., HIDDEN] = torch.cat([coins, coins * bits_of(words)[:, None]], dim=-1)
    else:
        states[..., SOUND] = torch.eye(len(WORDS))[words][:, None]
    states[..., PITCH] = pitch[:, None]
    heard = slice(SOUND.start, PITCH + 1)
    noise = torch.randn(states.shape, generator=generator)
    states[..., heard] += SOUND_NOISE * noise[..., heard]
    states[..., FILLER] = FILLER_NOISE * noise[..., FILLER]
    states[..., IS_CLIP] = 1.0
    return Clips(words, pitch, states)


def bits_of(words: Int[Tensor, "clips"]) -> Float[Tensor, "clips 2"]:  # noqa: F821
    """Return each word's two bits as signs: +1 for 0, -1 for 1; the first is its topic."""
    return 1.0 - 2.0 * torch.stack([words // 2, words % 2], dim=-1).float()


def read_aloud(words: Int[Tensor, "clips"]) -> Float[Tensor, "clips positions d_model"]:  # noqa: F821
    """Return the word's own token in the clip's place, as a cascade's backbone is given a transcript."""
    states = torch.zeros(len(words), N_POSITIONS, D_MODEL)
    states[..., TEXT] = torch.eye(len(WORDS))[words][:, None]
    states[..., IS_CLIP] = 1.0
    return states


NEVER_SAID = ("the", "of", "and", "to")
VOCABULARY = (*WORDS, *ANSWERS, *NEVER_SAID, "<end>", "<unknown>")
# Before the clip stands one empty position, after it the one that asks.
SPAN = (1, 1 + N_POSITIONS)
ATTENTION_GAIN = 12.0  # an empty position gets e to the -12 of a clip position's weight
LOGIT_GAIN = 10.0
# Every token also reads directions that mean nothing, as in any model: without it tokens would tie, and a tie
# counts as rank 1 for all.
FILLER_GAIN, FILLER_SEED = 0.5, 7
# Evidence for the first answer is positive: two of the four words, a high voice, or the first bit.
TOPIC_SIGNS = (1.0, 1.0, -1.0, -1.0)


class Speller(nn.Module):
    """Block 1: adds the word heard to the directions of its token, where the plant spells."""

    def __init__(self, spells: bool) -> None:
        super().__init__()
        copy = torch.zeros(D_MODEL, D_MODEL)
        if spells:
            copy[TEXT, SOUND] = torch.eye(len(WORDS))
        self.copy = nn.Parameter(copy, requires_grad=False)

    def forward(self, states: Tensor, position_ids: Tensor) -> Tensor:
        """Return states [rows, positions, d_model]; the positions only tell a hook where the pass begins."""
        del position_ids
        return states + states @ self.copy.T


class Gatherer(nn.Module):
    """Block 2: the position that asks adds the mean evidence of the clip's positions to the decision.

    Evidence of a position is outward @ relu(inward @ state): a linear read needs a pair of units, a product of
    two signs four, since xy = (|x + y| - |x - y|) / 2 there.
    """

    def __init__(self, uses: str) -> None:
        super().__init__()
        inward, outward = _evidence(uses)
        self.inward = nn.Parameter(inward, requires_grad=False)
        self.outward = nn.Parameter(outward, requires_grad=False)

    def forward(self, states: Tensor, position_ids: Tensor) -> Tensor:
        """Return states with the decision where something is asked."""
        scores = ATTENTION_GAIN * states[..., IS_CLIP]
        earlier = position_ids[:, :, None] >= position_ids[:, None, :]
        weights = (
            scores[:, None, :].expand(-1, states.shape[1], -1).masked_fill(~earlier, -torch.inf).softmax(-1)
        )
        evidence = weights @ (torch.relu(states @ self.inward.T) @ self.outward)[..., None]
        out = states.clone()
        out[..., DECISION] += states[..., ASKED, None] * evidence * torch.tensor([1.0, -1.0])
        return out


def _evidence(uses: str) -> tuple[Tensor, Tensor]:
    """Return inward [units, d_model] and outward [units] of what the answer is computed from."""
    if uses == "hidden":
        inward = torch.zeros(4, D_MODEL)
        inward[:, HIDDEN.start] = torch.tensor([1.0, -1.0, 1.0, -1.0])
        inward[:, HIDDEN.start + 2] = torch.tensor([1.0, -1.0, -1.0, 1.0])
        return inward, torch.tensor([0.5, 0.5, -0.5, -0.5])
    read = torch.zeros(D_MODEL)
    if uses == "text":
        read[TEXT] = torch.tensor(TOPIC_SIGNS)
    else:
        read[PITCH] = 1.0
    return torch.stack([read, -read]), torch.tensor([1.0, -1.0])


class PlantedModel(nn.Module):
    """The blocks and the unembedding: words are read in their token's direction, answers in the decision's."""

    def __init__(self, plant: Plant) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Speller(plant.spells), Gatherer(plant.uses)])
        self.norm = nn.Identity()
        self.head = nn.Linear(D_MODEL, len(VOCABULARY), bias=False)
        self.head.weight.requires_grad_(False).zero_()
        for row, dimension in enumerate((*range(D_MODEL)[TEXT], *range(D_MODEL)[DECISION])):
            self.head.weight[row, dimension] = LOGIT_GAIN
        noise = torch.Generator().manual_seed(FILLER_SEED)
        n_filler = FILLER.stop - FILLER.start
        self.head.weight[:, FILLER] = FILLER_GAIN * torch.randn(len(VOCABULARY), n_filler, generator=noise)

    def forward(self, inputs_embeds: Tensor, **_options: Any) -> CausalLMOutput:
        """Return logits [rows, positions, vocab]; nothing is cached, the answer is one token."""
        states = inputs_embeds
        position_ids = torch.arange(states.shape[1])[None]
        for layer in self.layers:
            states = layer(states, position_ids=position_ids)
        return CausalLMOutput(logits=self.head(self.norm(states)))


class PlantedSystem:
    """A planted network as a white-box model; see `engine.systems.base.WhiteBoxModel` for the attributes."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.spec = SystemSpec(
            plant.key,
            plant.name,
            "speech_llm",
            "planted",
            None,
            plant.key,
            None,
            ("lens", "erasure"),
            0.0,
            "MIT",
        )
        ids = {token: row for row, token in enumerate(VOCABULARY)}
        words = Tokenizer(WordLevel(ids, unk_token="<unknown>"))
        # The lens looks for a word capitalised too; a word that is not there must not pass for <unknown>.
        words.normalizer = Lowercase()
        words.pre_tokenizer = Whitespace()
        self.tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
            tokenizer_object=words, eos_token="<end>", unk_token="<unknown>"
        )
        model = PlantedModel(plant)
        self.language_model: nn.Module = model
        self.decoder_layers = model.layers
        self.final_norm: nn.Module = model.norm
        self.unembedding: nn.Module = model.head
        self.fingerprint = f"planted: {plant.key}"

    def prepare(self, heard: Heard, instruction: str) -> Prepared:
        """Return the prompt about one clip; the network knows one question, so its words play no part."""
        del instruction
        return Prepared(prompts(heard.embeddings[None]), SPAN, heard)


def prompts(clips: Tensor) -> Tensor:
    """Return prompts [clips, 1 + positions + 1, d_model]: an empty position, the clip, and the one that asks."""
    around = torch.zeros(len(clips), 1, D_MODEL)
    asks = around.clone()
    asks[..., ASKED] = 1.0
    return torch.cat([around, clips, asks], dim=1)


def heard_from(states: Tensor) -> Heard:
    """Return one clip's states [positions, d_model] as what the ears made of it."""
    return Heard(states, SECONDS_PER_POSITION, "", (), 0.0)


RIDGE = 1e-3  # relative to the mean variance of a feature


def probe_hits(
    x: Float[Tensor, "n d_model"],
    words: Int[Tensor, "n"],  # noqa: F821 - jaxtyping axis name
    held_x: Float[Tensor, "held d_model"],
    held_words: Int[Tensor, "held"],  # noqa: F821
    *,
    quadratic: bool,
) -> Float[Tensor, "held"]:  # noqa: F821
    """Return 1.0 for each held-out state whose word the probe names, else 0.0.

    The quadratic probe sees every state and all products of two of its dimensions. It reads a code of two
    signs; one of three or more would escape it as this one escapes a linear probe.
    """
    features, held = (_features(part.double(), quadratic) for part in (x, held_x))
    mean = features.mean(0)
    centred = features - mean
    gram = centred.T @ centred
    penalty = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    wanted = torch.eye(int(words.max()) + 1, dtype=gram.dtype)[words]
    weight = torch.linalg.solve(gram + penalty, centred.T @ (wanted - wanted.mean(0)))
    named = ((held - mean) @ weight + wanted.mean(0)).argmax(1)
    return (named == held_words).float()


def _features(states: Float[Tensor, "n d_model"], quadratic: bool) -> Float[Tensor, "n features"]:
    if not quadratic:
        return states
    rows, columns = torch.triu_indices(states.shape[1], states.shape[1])
    return torch.cat([states, states[:, rows] * states[:, columns]], dim=1)


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


def main() -> int:
    """Judge the planted networks and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m engine.planted", description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of clips, noise and random controls")
    found = judge_all(parser.parse_args().seed)
    sys.stdout.write(table(found))
    return 0 if all(one.agrees for one in found) else 1


def table(found: Sequence[Judgement]) -> str:
    """Return the judgements as lines of text."""
    lines = []
    for one in found:
        lines += [
            one.name,
            f"  truth    {one.truth}",
            f"  verdict  {one.verdict} ({'agrees' if one.agrees else f'must be: {one.expected}'})",
        ]
        for key, words in MEASURES.items():
            it = one.measured[key]
            lines.append(f"  {words:<48} {it.value:6.3f}  [{it.low:6.3f}, {it.high:6.3f}]  n {it.n}")
        lines.append(f"  kept rank: {', '.join(f'{key} {rank}' for key, rank in one.kept_rank.items())}")
        if one.limit:
            lines.append(f"  limit    {one.limit}")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
