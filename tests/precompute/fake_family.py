"""Systems that answer at once from what they are asked: for tests of the machinery around the models.

`python -m tests.precompute.fake_family OUT MODELS EXECUTOR ADDRESS` runs a small plan with them.
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
from precompute.executors import make_executor
from precompute.ledger import LedgerRow
from precompute.mini.voices import Voice
from precompute.plan import Plan, Settings
from precompute.units import ListenUnit, MemoryUnit, Outcome, Prompt, ReadUnit, Unit

PERFORM = "tests.precompute.fake_family:perform"
VOICES = (Voice("espeak", "en-us+f3", "woman"), Voice("espeak", "en-us+m4", "man"))
NOISES = (Condition("babble", 5.0), Condition("room"))
SYSTEM_KEYS = ("mini-ultravox", "mini-cascade", "mini-llama")
SECONDS_A_RESULT = 0.0005
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


def perform(unit: Unit) -> Outcome:
    """Answer from a hash of the question; sentences with certain words raise, or end the process."""
    rows: list[LedgerRow] = []
    if isinstance(unit, ListenUnit):
        for work in unit.works:
            _misbehave(work.recipe.text)
            for need in work.needs:
                rows.append(_row(need.key, need.stage, need.who, work.recipe.text, work.recipe.noise))
    elif isinstance(unit, ReadUnit):
        for prompt in unit.prompts:
            _misbehave(prompt.heard)
            rows.append(_read(prompt, unit.backbone))
    else:
        assert isinstance(unit, MemoryUnit)
        rows.append(LedgerRow(unit.key, "memory", unit.system, peak_memory_mb=1.0))
    time.sleep(SECONDS_A_RESULT * len(rows))
    return Outcome(tuple(rows), {"fake": "answers come from a hash"})


def _misbehave(text: str) -> None:
    if "raise" in text:
        raise ValueError(f"cannot say this, see /some/folder/{text}")
    if "kill" in text:
        os.kill(os.getpid(), signal.SIGKILL)


def _row(key: str, stage: str, who: str, text: str, noise: str) -> LedgerRow:
    if stage == "render":
        return LedgerRow(key, stage, who, audio_s=1.5, seconds=time.perf_counter() % 1)
    if stage == "transcribe":
        heard = text if noise == "clean" else text.replace("match", "patch")
        return LedgerRow(key, stage, who, text=heard, seconds=time.perf_counter() % 1)
    return _answer(key, stage, who, f"{text}|{noise}")


def _read(prompt: Prompt, backbone: str) -> LedgerRow:
    return _answer(prompt.key, "read", backbone, prompt.heard)


def _answer(key: str, stage: str, who: str, seed: str) -> LedgerRow:
    question = question_of("topic")
    draw = int(hashlib.sha256(seed.encode()).hexdigest(), 16)
    said = [*question.labels, "i do not know that word"][draw % (len(question.labels) + 1)]
    label, status = parse_answer(question.task, said, question.labels)
    shares = json.dumps(dict.fromkeys(sorted(question.labels), 0.25))
    return LedgerRow(
        key, stage, who, status=status, text=said, label=label, forced_choice=shares,
        seconds=time.perf_counter() % 1,
    )  # fmt: skip


def run_fake(plan: Plan, out: Path, executor: str = "inline", address: str | None = None) -> Report:
    return run_plan(plan, out, make_executor(executor, 2, PERFORM, address), sys.stderr)


if __name__ == "__main__":
    run_fake(fake_plan(Path(sys.argv[2])), Path(sys.argv[1]), sys.argv[3], sys.argv[4] or None)
