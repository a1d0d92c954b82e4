"""What the laptop's systems make of real people: word error rates by corpus, accent and sex, over unseen recordings.

A system's answer to "transcribe" is scored, so that hearing and repeating are measured together. Recordings come as a
folder with an index.csv (file, text, speaker, sex, accent, source, duration_s, flag); none was trained on. Each answer
is kept as it comes, so that a stopped evaluation goes on where it was.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from engine.answers import answer_batch
from engine.audio import load_clip
from engine.errors import EngineError, ModelFilesError
from engine.evaluation import HUMAN_FILE, HumanError
from engine.request import Question
from engine.stats.intervals import bootstrap, per_group, ratio
from engine.stats.scores import word_errors
from engine.systems.base import WhiteBoxSystem
from engine.systems.catalogue import get_spec
from engine.systems.loading import load_cascade, load_speech_llm
from engine.systems.weights import MODELS
from engine.tasks import get_task

logger = logging.getLogger(__name__)

# The aims of ultravox-smollm2 and its cascade are told on these, clips of 2 to 12 s without a flag.
SIX_CORPORA = ("librispeech_test_other", "vctk", "l2_arctic", "ljspeech", "ravdess", "toolkit_samples")
AIM_SECONDS = (2.0, 12.0)
BATCH_CLIPS = 8
SEED = 13


EVALUATED = ("ultravox-smollm2", "bridge-smollm2", "cascade-whisper-base", "cascade-whisper-tiny")
KEPT = Path("build") / "laptop" / "answers"


def evaluate_people(
    speech: Path, keys: Sequence[str] = (), *, aim_only: bool = False, limit: int | None = None
) -> str:
    """Measure systems on recordings of people, write each one's table beside its weights, and return the figures.

    Args:
        speech: folder of the recordings.
        keys: of systems; the laptop profile's own where none is named.
        aim_only: only the clips that the aims are told on.
        limit: clips of each corpus at most, drawn by a seed; all where None.

    Raises:
        EngineError: the folder or a system cannot be used.
    """
    recordings = read_index(speech)
    if aim_only:
        recordings = [one for one in recordings if one.counts_for_aim]
    if limit is not None:
        drawn = random.Random(SEED)
        corpora = sorted({one.corpus for one in recordings})
        of_corpus = {corpus: [one for one in recordings if one.corpus == corpus] for corpus in corpora}
        recordings = [
            one for found in of_corpus.values() for one in drawn.sample(found, min(limit, len(found)))
        ]
    figures: list[HumanError] = []
    for key in keys or EVALUATED:
        answers = transcribe_all(key, recordings, speech, KEPT)
        found = human_figures(key, recordings, answers)
        (MODELS / key).mkdir(parents=True, exist_ok=True)
        write_figures(found, MODELS / key / HUMAN_FILE)
        figures += found
    return format_figures(figures)


@dataclass(frozen=True)
class Recording:
    """A clip of a real person; "" where the index does not say."""

    file: str
    text: str
    speaker: str
    sex: str
    accent: str
    duration_s: float
    flagged: bool

    @property
    def corpus(self) -> str:
        """Name of its corpus: the folder it lies in."""
        return self.file.split("/", 1)[0]

    @property
    def counts_for_aim(self) -> bool:
        """Whether the aims are told on it."""
        shortest, longest = AIM_SECONDS
        return self.corpus in SIX_CORPORA and shortest <= self.duration_s <= longest and not self.flagged


def read_index(speech: Path) -> list[Recording]:
    """Return the recordings with a transcript.

    Raises:
        ModelFilesError: there is no index.csv, or it lacks a column.
    """
    try:
        with (speech / "index.csv").open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        return [
            Recording(
                row["file"],
                row["text"],
                row["speaker"],
                row["sex"],
                row["accent"],
                float(row["duration_s"]),
                bool(row["flag"]),
            )
            for row in rows
            if row["text"].strip()
        ]
    except (OSError, KeyError, ValueError) as error:
        raise ModelFilesError(
            f"{speech.name} holds no index.csv with file, text, speaker, sex, accent, duration_s and flag."
        ) from error


def transcribe_all(key: str, recordings: Sequence[Recording], speech: Path, kept: Path) -> dict[str, str]:
    """Return each recording's file -> the system's answer to "transcribe"; what is kept already is not asked again.

    A clip that cannot be used counts as heard as nothing, and is said.
    """
    spec = get_spec(key)
    system: WhiteBoxSystem = load_speech_llm(key) if spec.kind == "speech_llm" else load_cascade(key)
    task = get_task("transcribe")
    question = Question(task, task.instruction, ())
    kept.mkdir(parents=True, exist_ok=True)
    file = kept / f"{key}-{system.fingerprint[:12]}.jsonl"
    found = dict(_kept(file))
    missing = sorted((r for r in recordings if r.file not in found), key=lambda r: r.duration_s)
    began = time.monotonic()
    with file.open("a", encoding="utf-8") as out:
        for start in range(0, len(missing), BATCH_CLIPS):
            batch = missing[start : start + BATCH_CLIPS]
            heard, named = [], []
            for recording in batch:
                try:
                    heard.append(system.hear(load_clip(speech / recording.file, whole=True)))
                    named.append(recording.file)
                except EngineError as error:
                    logger.warning("%s: %s", recording.file, error)
                    found[recording.file] = ""
            answers = answer_batch(system, heard, [question] * len(heard), BATCH_CLIPS)
            for name, answer in zip(named, answers, strict=True):
                found[name] = answer.text
                out.write(json.dumps({"file": name, "answer": answer.text}) + "\n")
            out.flush()
            done = start + len(batch)
            left = (time.monotonic() - began) / done * (len(missing) - done) / 60
            logger.info("%s %d/%d  about %.0f min left", key, done, len(missing), left)
    return {recording.file: found[recording.file] for recording in recordings}


def _kept(file: Path) -> Iterator[tuple[str, str]]:
    if file.exists():
        for line in file.read_text(encoding="utf-8").split("\n"):
            if line.endswith("}"):  # the last line of a killed run may be cut
                row = json.loads(line)
                yield row["file"], row["answer"]


def human_figures(key: str, recordings: Sequence[Recording], answers: dict[str, str]) -> list[HumanError]:
    """Return a system's word error rates: of all, of each corpus, accent and sex, and the mean of the six corpora.

    Intervals are over speakers, all of whose clips are resampled together.
    """
    counts = {r.file: word_errors(r.text, answers[r.file]) for r in recordings}

    def figure(kind: str, name: str, wanted: Callable[[Recording], bool]) -> HumanError | None:
        chosen = [r for r in recordings if wanted(r)]
        if not chosen:
            return None
        speakers = np.unique([r.speaker or r.file for r in chosen], return_inverse=True)[1]
        sums = per_group(speakers, np.array([counts[r.file] for r in chosen], float))
        estimate = bootstrap(sums, ratio, seed=SEED)
        corpus = name if kind == "corpus" else ""
        return HumanError(
            key,
            "wer",
            corpus,
            kind,
            name,
            estimate.value,
            estimate.low,
            estimate.high,
            len(chosen),
            len(sums),
        )

    found = [figure("all", "all clips", lambda r: True)]
    for kind in ("corpus", "accent", "sex"):
        for name in sorted({str(getattr(r, kind)) for r in recordings} - {""}):
            found.append(figure(kind, name, lambda r, kind=kind, name=name: getattr(r, kind) == name))  # type: ignore[misc]
    found.append(_mean_of_six(key, recordings, counts))
    return [one for one in found if one is not None]


def _mean_of_six(
    key: str, recordings: Sequence[Recording], counts: dict[str, tuple[int, int]]
) -> HumanError | None:
    """Return the mean of the six corpora's rates, each pooled over its clips of 2 to 12 s without a flag."""
    chosen = [r for r in recordings if r.counts_for_aim]
    present = sorted({r.corpus for r in chosen})
    if not present:
        return None
    speakers = np.unique([f"{r.corpus}|{r.speaker or r.file}" for r in chosen], return_inverse=True)[1]
    columns = np.zeros((len(chosen), 2 * len(present)))
    for row, recording in enumerate(chosen):
        place = 2 * present.index(recording.corpus)
        columns[row, place : place + 2] = counts[recording.file]

    def mean_rate(sums: np.ndarray) -> np.ndarray:
        rates = np.stack([ratio(sums[..., place : place + 2]) for place in range(0, 2 * len(present), 2)])
        mean: np.ndarray = rates.mean(axis=0)
        return mean

    groups = per_group(speakers, columns)
    estimate = bootstrap(groups, mean_rate, seed=SEED)
    name = f"mean of {len(present)} corpora"
    return HumanError(
        key, "wer", "all", "all", name, estimate.value, estimate.low, estimate.high, len(chosen), len(groups)
    )


def format_figures(figures: Sequence[HumanError]) -> str:
    """Return the figures as a table for a terminal."""
    lines = [f"{'system':<22}{'slice':<44}{'WER':>7}  {'95 %':<16}{'clips':>6}{'speakers':>10}"]
    for one in figures:
        interval = "" if one.low is None or math.isnan(one.low) else f"{one.low:.3f} to {one.high:.3f}"
        name = f"{one.slice_kind}: {one.slice}"
        lines.append(
            f"{one.system:<22}{name:<44}{one.value:>7.3f}  {interval:<16}{one.n_clips:>6}{one.n_speakers:>10}"
        )
    return "\n".join(lines)


def write_figures(figures: Sequence[HumanError], file: Path) -> None:
    """Write the figures as the card's CSV."""
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        names = [field.name for field in fields(HumanError)]
        writer.writerow(names)
        for one in figures:
            cells = [getattr(one, name) for name in names]
            writer.writerow([f"{cell:.4f}" if isinstance(cell, float) else cell for cell in cells])
