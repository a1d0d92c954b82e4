"""Systems that answer at once from what they are asked: for tests of the machinery around the models.

`python -m tests.precompute.fake_family OUT MODELS WORKERS ADDRESS` runs a small plan with them.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from engine.tasks import parse_answer
from precompute.benchmark import Report, run_plan
from precompute.clips import Condition, spoken_clips
from precompute.corpora.item import Item, item_key, question_of
from precompute.jobs import Batch, Job, Outcome
from precompute.mini.voices import Voice
from precompute.plan import Plan, Prompt
from precompute.settings import Settings
from precompute.store import ResultRow
from precompute.workers import make_workers

PERFORM = "tests.precompute.fake_family:perform"
VOICES = (Voice("espeak", "en-us+f3", "woman"), Voice("espeak", "en-us+m4", "man"))
NOISES = (Condition("babble", 5.0), Condition("room"))
SYSTEM_KEYS = ("mini-ultravox", "mini-cascade", "mini-llama")
SECONDS_A_RESULT = 0.002
N_ITEMS = 60


def write_models(folder: Path) -> Path:
    """Write files where weights would lie: they are hashed, never loaded."""
    for name in ("mini-ultravox", "mini-llama", "mini-whisper"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps({"text_model_id": "mini-llama"}))
        (folder / name / "model.safetensors").write_bytes(name.encode())
    return folder


def fake_plan(models: Path, n_items: int = N_ITEMS, words: str = "the match") -> Plan:
    """A plan of topic items in two voices, clean, in babble and in a room."""
    from engine.systems.catalogue import get_spec

    labels = question_of("topic").labels
    items = [
        Item(
            item_id=item_key("topic", f"{words} {index}"),
            task="topic",
            text=f"{words} {index}",
            prompt="",
            gold=labels[index % len(labels)],
            aliases=(),
            group=str(index),
            question=question_of("topic"),
        )
        for index in range(n_items)
    ]
    clips = tuple(spoken_clips(items, VOICES, 1, NOISES))
    return Plan(Settings(models=models), tuple(map(get_spec, SYSTEM_KEYS)), clips, (), {})


def perform(batch: Batch) -> Outcome:
    """Answer from a hash of the question; sentences with certain words raise, or end the process."""
    rows = tuple(_row(job) for job in batch.jobs)
    time.sleep(SECONDS_A_RESULT * len(rows))
    return Outcome(rows, {"fake": "answers come from a hash"})


def _misbehave(text: str) -> None:
    if "raise" in text:
        raise ValueError(f"cannot say this, see /some/folder/{text}")
    if "kill" in text:
        os.kill(os.getpid(), signal.SIGKILL)


def _row(job: Job) -> ResultRow:
    seconds, about = time.perf_counter() % 1, job.payload
    if job.kind == "memory":
        return job.row(peak_memory_mb=1.0)
    if isinstance(about, Prompt):
        _misbehave(about.heard)
        return _answer(job, about.heard)
    text, noise = about.recipe.text, about.recipe.noise
    _misbehave(text)
    if job.kind == "render":
        return job.row(audio_s=1.5, seconds=seconds)
    if job.kind == "transcribe":
        heard = text if noise == "clean" else text.replace("match", "patch")
        return job.row(text=heard, seconds=seconds)
    return _answer(job, f"{text}|{noise}")


def _answer(job: Job, seed: str) -> ResultRow:
    question = question_of("topic")
    draw = int(hashlib.sha256(seed.encode()).hexdigest(), 16)
    said = [*question.labels, "i do not know that word"][draw % (len(question.labels) + 1)]
    label, status = parse_answer(question.task, said, question.labels)
    shares = json.dumps(dict.fromkeys(sorted(question.labels), 0.25))
    seconds = time.perf_counter() % 1
    return job.row(status=status, text=said, label=label, forced_choice=shares, seconds=seconds)


def run_fake(plan: Plan, out: Path, workers: str = "inline", address: str | None = None) -> Report:
    return run_plan(plan, out, make_workers(workers, 2, PERFORM, address), sys.stderr)


if __name__ == "__main__":
    run_fake(fake_plan(Path(sys.argv[2])), Path(sys.argv[1]), sys.argv[3], sys.argv[4] or None)
