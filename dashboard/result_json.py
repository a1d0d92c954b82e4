"""A run as plain JSON: what `/analyze` returns and what the page offers as a download."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from engine.audio import SAMPLE_RATE_HZ
from engine.results import AnyAnswer, ArmResult, ErasureOutcome, Lane, LensReadout, RunProof, RunResult


def result_to_json(result: RunResult) -> dict[str, Any]:
    """Return the run as dictionaries, lists, strings and finite numbers; None where nothing was measured.

    `erasure` is the first outcome, `erasures` holds all of them. `lens.top_tokens` and
    `lens.top_probabilities` are [layers][positions][k], most probable first; `readout` is built
    alike where one was asked for beside the logit lens. `not_measured` says why a part is
    null where a service answered; each of `systems` says it of its own.
    """
    verdict = result.hearing_verdict
    outcomes = [_erasure(outcome) for outcome in result.erasures]
    return {
        "task": result.task,
        "instruction": result.instruction,
        "pair": result.pair,
        "match": result.match,
        "seed": result.seed,
        "reference": result.reference,
        "gold": result.gold,
        "systems": [_system(lane) for lane in result.lanes],
        "agreement": {"kind": result.agreement.kind, "sentence": result.agreement.sentence},
        "hearing_verdict": None if verdict is None else asdict(verdict),
        "audio": {
            "name": result.audio_name,
            "duration_s": len(result.waveform) / SAMPLE_RATE_HZ,
            "changes": list(result.audio_changes),
            "warnings": list(result.warnings),
            "noise": result.noise,
            "snr_db": _finite(result.snr_db),
            "snr_db_achieved": _finite(result.snr_db_achieved),
        },
        "lens": None if result.lens is None else _lens(result.lens),
        "readout": None if result.readout is None else _lens(result.readout),
        "erasure": outcomes[0] if outcomes else None,
        "erasures": outcomes,
        "not_measured": dict(result.not_measured),
        "seconds": _finite(result.seconds),
    }


def _system(lane: Lane) -> dict[str, Any]:
    return {
        "key": lane.key,
        "role": lane.role,
        "name": lane.name,
        "heard": lane.heard,
        "heard_from": lane.heard_from,
        **_answer(lane.answer),
        **_service(lane.answer),
        "label_status": lane.answer.status,
        "log_likelihood": _finite(lane.answer.log_likelihood),
        "seconds": _finite(lane.seconds),
        "encoder_seconds": _finite(lane.encoder_seconds),
        "revision": lane.revision,
    }


def _answer(answer: AnyAnswer) -> dict[str, Any]:
    shares = answer.forced_choice
    return {
        "answer": answer.text,
        "label": answer.label,
        "note": answer.note,
        "forced_choice": None
        if shares is None
        else {label: _finite(value) for label, value in shares.items()},
    }


def _service(answer: AnyAnswer) -> dict[str, Any]:
    """Return what a service told beside its answer; null for a system that runs here."""
    names = ("model_version", "not_measured", "prompt_tokens", "answer_tokens")
    return {name: getattr(answer, name, None) for name in names}


def _lens(lens: LensReadout) -> dict[str, Any]:
    ids = np.asarray(lens.top_ids).tolist()
    return {
        "name": lens.name,
        "layers": list(lens.layers),
        "seconds_per_position": lens.seconds_per_position,
        "position_ends_s": None if lens.position_ends_s is None else lens.position_ends_s.round(3).tolist(),
        "top_tokens": [[[lens.token_text[one] for one in cell] for cell in layer] for layer in ids],
        "top_probabilities": np.asarray(lens.top_probabilities).astype(float).round(6).tolist(),
        "precision": [_finite(value) for value in lens.precision],
        "control": [_finite(value) for value in lens.control],
        "set_precision": [_finite(value) for value in lens.set_precision],
        "set_control": [_finite(value) for value in lens.set_control],
        "beside": [_finite(value) for value in lens.beside],
        "beside_name": lens.beside_name,
        "n_control_clips": lens.n_control_clips,
        "words_from": lens.words_from,
        "degenerate_layers": list(lens.degenerate_layers),
    }


def _erasure(outcome: ErasureOutcome) -> dict[str, Any]:
    return {
        "condition": outcome.condition,
        "kept_rank": outcome.kept_rank,
        "layers": list(outcome.layers),
        "scope": outcome.scope,
        "method": outcome.method,
        "strength": outcome.strength,
        "plain": _arm(outcome.plain),
        "erased": _arm(outcome.erased),
        "random_control": _arm(outcome.random_control),
        "fitted_on": outcome.fitted_on,
        "proof": None if outcome.proof is None else _proof(outcome.proof),
        "proof_missing": outcome.proof_missing,
    }


def _proof(proof: RunProof) -> dict[str, Any]:
    return {
        "sentence": proof.sentence,
        "verdict": proof.verdict,
        "measure": proof.measure,
        "clips": proof.clips,
        "layers": [
            {"layer": layer, **{name: _finite(value) for name, value in asdict(found).items()}}
            for layer, found in proof.layers.items()
        ],
    }


def _arm(arm: ArmResult) -> dict[str, Any]:
    return {
        **_answer(arm.answer),
        "label_status": arm.answer.status,
        "log_likelihood_change": _finite(arm.log_likelihood_change),
        "right_log_likelihood_change": _finite(arm.right_log_likelihood_change),
        "relative_change_of_state": _finite(arm.relative_change_of_state),
    }


def _finite(value: float | None) -> float | None:
    """JSON knows neither NaN nor infinity; what was not measured is null."""
    return None if value is None or not math.isfinite(value) else float(value)
