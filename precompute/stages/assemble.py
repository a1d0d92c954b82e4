"""From the store to the tables: a row for each system and clip, and what the run has to say about itself."""

from __future__ import annotations

import json
import os
import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from engine.errors import TableError
from engine.systems.catalogue import FASTER_WHISPERS, SystemSpec, match_between, revision_of
from engine.tables import write_table
from engine.tasks import is_right
from precompute import keys
from precompute.clips import CLIP_SEED, Clip
from precompute.corpora.clip_flags import UNUSABLE
from precompute.corpora.mini_world import ITEM_SEED
from precompute.plan import Plan, reader_name
from precompute.store import ResultRow, Store

LIBRARIES = ("torch", "transformers", "ctranslate2", "faster-whisper", "espeakng-loader", "numpy", "pyarrow")
RUN_RECORD = "run.json"
MANIFEST = "manifest.json"
NOT_MADE = "this result is missing from the store"
FORCED_DIGITS = 3  # of a probability; batches agree to this
SECONDS_DIGITS = 4  # no clock here tells more, and noise in the last digits does not pack


def write_results(plan: Plan, store: Store, out: Path, findings: Mapping[str, str]) -> tuple[int, int]:
    """Write clips.parquet, answers.parquet and run.json; return the number of answers, and of failed ones.

    A manifest of older tables is taken away first: `summarize` writes it anew.

    Raises:
        TableError: a file cannot be written.
    """
    rows = list(_answers(plan, store))
    try:
        (out / MANIFEST).unlink(missing_ok=True)
        write_table(_clips(plan, store), out / "clips.parquet", "clips")
        write_table(rows, out / "answers.parquet", "answers")
        n_failed = sum(row["label_status"] == "failed" for row in rows)
        _write_json(out / RUN_RECORD, _record(plan, store, out, findings, rows))
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise TableError(f"The tables cannot be written ({why}); make room, then run again.") from error
    return len(rows), n_failed


def _clips(plan: Plan, store: Store) -> Iterator[dict[str, Any]]:
    for clip in plan.clips:
        sound = store.rows[keys.render_key(clip.recipe)]
        is_lost = sound.failed and bool(clip.recipe.file)
        row = clip_row(clip, sound.snr_db_achieved, sound.audio_s or 0.0)
        yield row | {"flags": UNUSABLE if is_lost else sound.flags or ""}


def clip_row(clip: Clip, snr_db_achieved: float | None, audio_s: float) -> dict[str, Any]:
    """Return a clip's row of the clips table."""
    return {
        "clip_id": clip.clip_id,
        "item_id": clip.item.item_id,
        "task": clip.item.task,
        "voice": clip.voice,
        "noise": clip.condition.noise,
        "snr_db": clip.condition.snr_db,
        "snr_db_achieved": snr_db_achieved,
        "prompt": clip.item.prompt,
        "reference": clip.item.text,
        "gold": clip.gold,
        "group": clip.item.group,
        "seed": clip.recipe.seed,
        "recipe": clip.recipe.to_json(),
        "audio_s": audio_s,
    }


def _answers(plan: Plan, store: Store) -> Iterator[dict[str, Any]]:
    for spec, clip in plan.cells():
        sound = store.rows[keys.render_key(clip.recipe)]
        answer, heard, heard_s = _result(plan, store, spec, clip)
        forced: dict[str, float] = json.loads(answer.forced_choice)
        yield {
            "item_id": clip.item.item_id,
            "group": clip.item.group,
            "clip_id": clip.clip_id,
            "task": clip.item.task,
            "voice": clip.voice,
            "noise": clip.condition.noise,
            "snr_db": clip.condition.snr_db,
            "system": spec.key,
            "gold": clip.gold,
            "aliases": "|".join(clip.item.aliases),
            "label": answer.label,
            "label_status": answer.status,
            "reason": answer.reason,
            "text": answer.text,
            "heard": heard,
            "correct": is_right(
                clip.item.question.task, answer.label, clip.gold, clip.item.aliases, text=answer.text
            ),
            "forced_choice": _rounded(forced),
            # Labels stand in order, so that of two equally probable ones it is always the same.
            "forced_label": max(forced, key=forced.__getitem__) if forced else None,
            "seconds": round(heard_s + answer.seconds, SECONDS_DIGITS),
            "audio_s": sound.audio_s or 0.0,
            "model_version": answer.model_version,
            "note": answer.note,
            "prompt_tokens": answer.prompt_tokens,
            "answer_tokens": answer.answer_tokens,
        }


def _rounded(forced: dict[str, float]) -> str:
    return json.dumps({label: round(share, FORCED_DIGITS) for label, share in forced.items()})


def _result(plan: Plan, store: Store, spec: SystemSpec, clip: Clip) -> tuple[ResultRow, str, float]:
    """Return the answer's row, the text it was made from ("" for a speech LLM), and the seconds of hearing it."""
    if spec.kind == "speech_llm":
        return store.rows[plan.listen_key(spec, clip)], "", 0.0
    heard = plan.heard(spec, clip, store)
    if isinstance(heard, ResultRow):
        return heard, "", 0.0
    assert heard is not None, NOT_MADE
    heard_s = store.rows[plan.transcribe_key(spec, clip)].seconds if spec.transcriber else 0.0
    return store.rows[plan.read_key(spec, clip, heard)], heard, heard_s


def _record(
    plan: Plan, store: Store, out: Path, findings: Mapping[str, str], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    settings = plan.settings
    n_failed = sum(row["label_status"] == "failed" for row in rows)
    versions = _model_versions(rows)
    before = _earlier_findings(out)
    systems: dict[str, dict[str, Any]] = {}
    for spec in plan.systems:
        backbone = plan.backbone(spec)
        who = spec.key if spec.kind == "speech_llm" else reader_name(plan.reader(spec))
        systems[spec.key] = {
            "name": spec.name,
            "kind": spec.kind,
            "backbone": backbone,
            "transcriber": spec.transcriber,
            **({"hearing": plan.hearing.words} if spec.transcriber in FASTER_WHISPERS else {}),
            **({} if spec.temperature is None else {"temperature": spec.temperature}),
            "revision": revision_of(spec, settings.models),
            "weights_sha256": {folder.name: keys.folder_hash(folder) for folder in plan.folders_of(spec)},
            "batching": findings.get(who) or before.get(spec.key, ""),
            "matches": _matches(plan, spec),
        }
        if spec.is_remote:
            systems[spec.key] |= {
                "service": spec.service,
                "fingerprint": plan.weights_of(spec)[-1],
                "model_versions": versions[spec.key],
            }
            continue
        memory = store.rows[keys.memory_key(spec.key, plan.folders_of(spec))]
        if memory.peak_memory_mb is not None:
            systems[spec.key]["peak_memory_mb"] = memory.peak_memory_mb
    return {
        "profile": settings.profile,
        "quick": settings.quick,
        "limit": settings.limit,
        "corpus": settings.corpus.name if settings.corpus else None,
        **({"speech": settings.speech} if settings.corpora else {}),
        "tasks": sorted({clip.item.task for clip in plan.clips}),
        "counts": {"clips": len(plan.clips), "answers": len(rows), "failed": n_failed},
        "seeds": {"items": ITEM_SEED, "clips": CLIP_SEED},
        "code_versions": keys.CODE_VERSION,
        "decoding": keys.DECODING,
        "versions": _versions(),
        "hardware": hardware(),
        "systems": systems,
        "notes": plan.notes,
    }


def _matches(plan: Plan, spec: SystemSpec) -> dict[str, str]:
    """Return how a speech LLM is matched with each system that reads: told here, where the checkpoints are."""
    if spec.kind != "speech_llm":
        return {}
    others = [other.key for other in plan.systems if other.kind != "speech_llm"]
    return {other: match_between(spec.key, other, plan.settings.models) for other in others}


def _model_versions(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return for each service the models that answered, as it said; a service may change them in mid-run."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        found[row["system"]] |= {row["model_version"]} - {""}
    return {system: sorted(versions) for system, versions in found.items()}


def _earlier_findings(out: Path) -> dict[str, str]:
    """Return what an earlier run found about batches: when nothing was left to do, nothing was checked."""
    try:
        systems = json.loads((out / RUN_RECORD).read_text(encoding="utf-8"))["systems"]
        return {key: str(about["batching"]) for key, about in systems.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def hardware() -> str:
    """Return processor, cores and memory in words; no name of the machine or its user."""
    processor, memory = platform.processor() or platform.machine(), ""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    with suppress(ValueError, OSError, AttributeError):
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"
    return f"{processor}, {os.cpu_count()} cores{memory}, {platform.system()}"


def _write_json(file: Path, record: Mapping[str, Any]) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(file)
