"""Rules of the claims about what states hold and what erasures do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

from engine.stats.intervals import Resampled, mean_of, over
from precompute.claims.measured import Measured, needs_voice, words_only
from precompute.claims.verdict import Trial

ACOUSTIC = ("energy", "pitch")
HALF = 0.5  # of the peak's excess, of the plain accuracy
TENTH = (
    0.1  # of the plain accuracy: on average the paper's own numbers, which it calls negligible, come to less
)
FIVE_POINTS = -0.05  # ours
DAMAGE = 0.03  # the paper's own bound for Ultravox
TOPIC = ("topic", "ag_news")  # the one task on which the lens text sufficed
ORDER_OPEN = "Which of the two agrees more with its cascade is open, so kappa is what decides here."
KEPT, UNUSED = "kept", "unused"
AGAINST_PLAIN, AGAINST_RANDOM = "against plain", "against random directions of equal rank"
TEXT, RANDOM, CHANGE = ("text", "erased"), ("text", "rank_matched"), ("text", "change_matched")
ACOUSTIC_ARM, ACOUSTIC_RANDOM = ("acoustic", "erased"), ("acoustic", "rank_matched")
PLAIN = ("none", "plain")


def acoustic_kept(run: Measured, part: str = "") -> Iterator[Trial]:
    """R2 of energy and pitch at every layer of every speech LLM, against the best of its baselines."""
    for target in ACOUSTIC:
        for row, score in run.probes(target):
            baselines = {"shuffled": row.shuffled, "random model": row.random_model}
            known = {name: value for name, value in baselines.items() if not math.isnan(value)}
            line = max(0.0, *known.values()) if known else 0.0
            said = ", ".join(f"{name} {value:.2f}" for name, value in known.items())
            missing = ", ".join(name for name in baselines if name not in known)
            note = f"R2 of the baselines: {said}." if said else ""
            note += f" Not known: {missing}." if missing else ""
            if missing and known:  # of a run one baseline may be missing: the other alone is no line
                line = math.nan
            detail = f"{target}, layer {row.layer}"
            yield Trial(row.system, "", "", detail, score, line, note=note.strip(), part=part)


def decodability_profile(run: Measured) -> Iterator[Trial]:
    """Text decodability at the last layer minus at the first, by architecture."""
    by_system: dict[str, dict[int, Resampled]] = {}
    for row, score in run.probes("text"):
        by_system.setdefault(row.system, {})[int(row.layer)] = score
    for system, layers in sorted(by_system.items()):
        is_frozen = system in run.frozen
        if len(layers) > 1 and (is_frozen or system in run.trained_on):
            first, last = min(layers), max(layers)
            note = f"1 - CER {layers[first].value:.2f} at layer {first}, {layers[last].value:.2f} at layer {last}."
            yield Trial(
                system, "", "", f"layer {last} against layer {first}", layers[last] - layers[first], 0.0,
                "above" if is_frozen else "below", note=note,
                part="frozen backbone" if is_frozen else "LLM trained on audio",
            )  # fmt: skip


def late_text(run: Measured) -> Iterator[Trial]:
    """Of the best late layer's precision beyond other words, the share that no layer before the last third has."""
    for system in sorted(run.speech_llms):
        layers = run.lens(system)
        if not layers:
            continue
        depth = max(layers)
        late = _best(layers, [layer for layer in layers if layer > 2 * depth / 3])
        early = _best(layers, [layer for layer in layers if layer <= 2 * depth / 3])
        if late is None or early is None:
            continue
        (peak, control), (before, _) = layers[late], layers[early]
        known = Resampled.known(0.0) if math.isnan(control.value) else control
        beyond = peak - known
        note = (
            f"Precision {peak.value:.2f} at layer {late} of {depth}, {before.value:.2f} at layer {early}, each the "
            f"best of several; other words {control.value:.2f}."
        )
        note = note.replace("; other words nan", "; other words not known, taken for 0")
        yield Trial(
            system,
            "",
            "",
            f"layer {late} against layer {early}",
            over(peak - before, beyond),
            HALF,
            note=note,
        )


def emergence_order(run: Measured) -> Iterator[Trial]:
    """Of two speech LLMs: peak lens precision of the one that agrees more with its cascade, minus the other's."""
    peaks, kappas = {}, {}
    for pairing in run.closest():
        layers = run.lens(pairing.speech)
        best = _best(layers, list(layers))
        found = [run.kappa(pairing.speech, pairing.cascade, task) for task in run.tasks(words_only)]
        known = [kappa for kappa in found if kappa is not None and not math.isnan(kappa.value)]
        if best is not None and known:
            peaks[pairing.speech], kappas[pairing.speech] = layers[best][0], mean_of(known)
    for pair in combinations(sorted(peaks), 2):
        more, less = sorted(pair, key=lambda system: (-kappas[system].value, system))
        lead, seen = kappas[more] - kappas[less], peaks[more] - peaks[less]
        note = (
            f"Kappa with the closest cascade {kappas[more].value:.2f} and {kappas[less].value:.2f}; "
            f"peak precision {peaks[more].value:.2f} and {peaks[less].value:.2f}."
        )
        order = Trial(more, less, "", "kappa of the two", lead, note=f"{note} {ORDER_OPEN}")
        # Without a sure order of agreement there is none that emergence could have.
        is_sure = order.side == "holds" or math.isnan(lead.seen.low)
        yield Trial(more, less, "", "peak of the lens", seen, note=note) if is_sure else order


def _best(layers: dict[int, tuple[Resampled, Resampled]], among: list[int]) -> int | None:
    """Return the layer with the highest precision, the lowest of equals."""
    return max(among, key=lambda layer: (layers[layer][0].value, -layer), default=None)


def sufficiency(run: Measured) -> Iterator[Trial]:
    """Kappa of the implicit cascade of the last layer on the topic task, minus that on each other task."""
    for system in sorted(run.speech_llms):
        found = run.implicit(system)
        for news in (task for task in TOPIC if task in found):
            for task, (layer, kappa) in found.items():
                if task != news:
                    here = found[news][1]
                    note = f"Kappa {here.value:.2f} on topic, {kappa.value:.2f} on this task."
                    detail = f"topic against this task, layer {layer}"
                    yield Trial(system, "", task, detail, here - kappa, note=note)


def text_collapses(run: Measured) -> Iterator[Trial]:
    """The share of plain accuracy that erasing text takes beyond as many random directions."""
    for system in sorted(run.speech_llms):
        for task in filter(words_only, run.erased_tasks(system)):
            found = run.arms(system, task, TEXT, RANDOM, PLAIN)
            if found is not None:
                text, random, plain = found
                note = f"Accuracy {plain.value:.2f} plain, {text.value:.2f} without text, {random.value:.2f} random."
                share = over(random - text, plain)
                yield Trial(system, "", task, "random, equal rank", share, HALF, note=note)


def text_against_equal_change(run: Measured) -> Iterator[Trial]:
    """Accuracy after text erasure minus that after random directions that move each state as far."""
    yield from _gaps(run, TEXT, CHANGE, "control of equal change")


def text_in_forced_choice(run: Measured) -> Iterator[Trial]:
    """Right by forced choice after text erasure, minus after as many random directions."""
    yield from _gaps(run, TEXT, RANDOM, "random, equal rank", column="forced_correct")


def _gaps(
    run: Measured, one: tuple[str, str], other: tuple[str, str], detail: str, column: str = "correct"
) -> Iterator[Trial]:
    for system in sorted(run.speech_llms):
        for task in run.erased_tasks(system):
            found = run.arms(system, task, one, other, column=column)
            if found is not None:
                note = f"{found[0].value:.2f} and {found[1].value:.2f} right."
                yield Trial(system, "", task, detail, found[0] - found[1], 0.0, "below", note=note)


def ctc_against_boc(run: Measured) -> Iterator[Trial]:
    """Accuracy after erasing CTC minus after erasing the bag of characters, by architecture."""
    for system in sorted(run.frozen | run.trained_on):
        is_frozen = system in run.frozen
        for task in filter(words_only, run.erased_tasks(system)):
            found = run.arms(system, task, ("ctc", "erased"), ("boc", "erased"))
            if found is not None:
                ctc, boc = found
                note = f"Accuracy {ctc.value:.2f} without CTC, {boc.value:.2f} without the bag of characters."
                yield Trial(
                    system, "", task, "", ctc - boc, 0.0, "above" if is_frozen else "below", note=note,
                    part="frozen backbone" if is_frozen else "LLM trained on audio",
                )  # fmt: skip


def acoustic_harms(run: Measured) -> Iterator[Trial]:
    """Accuracy after acoustic erasure minus the plain one, and minus that after as many random directions."""
    for system in sorted(run.speech_llms):
        for task in filter(words_only, run.erased_tasks(system)):
            for other, part in ((PLAIN, AGAINST_PLAIN), (ACOUSTIC_RANDOM, AGAINST_RANDOM)):
                found = run.arms(system, task, ACOUSTIC_ARM, other)
                if found is not None:
                    note = f"Accuracy {found[0].value:.2f} and {found[1].value:.2f}."
                    yield Trial(
                        system, "", task, part, found[0] - found[1], 0.0, "below", note=note, part=part
                    )


def random_is_negligible(run: Measured) -> Iterator[Trial]:
    """The share of plain accuracy lost to as many random directions as the text eraser takes out."""
    for system in sorted(run.speech_llms):
        for task in filter(words_only, run.erased_tasks(system)):
            found = run.arms(system, task, PLAIN, RANDOM)
            if found is not None:
                plain, random = found
                note = f"Accuracy {plain.value:.2f} plain, {random.value:.2f} after random directions."
                share = over(plain - random, plain)
                yield Trial(system, "", task, "random, equal rank", share, TENTH, "below", note=note)


def kept_but_unused(run: Measured) -> Iterator[Trial]:
    """Energy and pitch beyond their baselines; and voice tasks that lose no more to their erasure than to chance."""
    yield from acoustic_kept(run, KEPT)
    for system in sorted(run.speech_llms):
        for task in filter(needs_voice, run.erased_tasks(system)):
            found = run.arms(system, task, ACOUSTIC_ARM, ACOUSTIC_RANDOM)
            if found is not None:
                note = f"Accuracy {found[0].value:.2f} without pitch and energy, {found[1].value:.2f} random."
                gap = found[0] - found[1]
                yield Trial(system, "", task, "random directions", gap, FIVE_POINTS, note=note, part=UNUSED)


def text_damage(run: Measured) -> Iterator[Trial]:
    """Text decodability after random erasure minus after acoustic erasure of equal rank, at the worst layer."""
    for system in sorted(run.frozen | run.trained_on):
        found = list(run.damage(system, "acoustic", "text"))
        if found:
            row, fall = max(found, key=lambda one: one[1].value)
            is_frozen = system in run.frozen
            named = ("plain", row.plain), ("erased", row.erased), ("random", row.random)
            told = [f"{value:.2f} {name}" for name, value in named if not math.isnan(value)]
            yield Trial(
                system, "", "", f"layer {row.layer}, the largest fall", fall, DAMAGE,
                "below" if is_frozen else "above", "clips",
                note=f"Decodability {', '.join(told)}." if told else "",
                part="frozen backbone" if is_frozen else "LLM trained on audio",
            )  # fmt: skip
