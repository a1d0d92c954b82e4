"""The paper's six corpora by key: how each is read, how many items it gives, and whether it must be spoken first.

The keys are those of the published tables. `read_corpus` is the one door; each loader says which files it wants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UnknownKeyError
from engine.tasks import CORPUS_TASKS
from precompute.corpora import ag_news, commonsense_qa, meld, mustard, sst2, trivia_qa
from precompute.corpora.source import PAPER_ITEMS, Sample, Source, in_seeded_order


@dataclass(frozen=True)
class CorpusSpec:
    """One corpus.

    Attributes:
        sources: publications that are read, the preferred one first.
        n_items: in the paper.
        is_text: it has no sound of its own: `precompute.clips.Speech` says it.
        read: (folder, items at most) -> items.
    """

    key: str
    sources: tuple[Source, ...]
    n_items: int
    is_text: bool
    read: Callable[[Path, int], Sample]

    @property
    def task(self) -> str:
        """The engine's task that it asks."""
        return CORPUS_TASKS[self.key]

    @property
    def name(self) -> str:
        """The corpus as a reader knows it."""
        return self.sources[0].name

    @property
    def wants(self) -> str:
        """Which files are wanted, in one sentence."""
        ways = " or ".join(dict.fromkeys(source.remedy for source in self.sources))
        first = self.sources[0]
        return f"{self.name}: {ways}. Licence: {first.licence}. Size: {first.size}."


def seeded_part(read: Callable[[Path], Sample], task: str) -> Callable[[Path, int], Sample]:
    """Return a reader of a seeded part of what a reader of everything gives; in full it keeps its order."""

    def read_part(folder: Path, limit: int) -> Sample:
        sample = read(folder)
        if limit >= len(sample.items):
            return sample
        note = f"{limit:,} of the {len(sample.items):,} clips, drawn by a seed."
        return Sample(tuple(in_seeded_order(task, sample.items)[:limit]), (*sample.notes, note))

    return read_part


CORPORA: dict[str, CorpusSpec] = {
    spec.key: spec
    for spec in (
        CorpusSpec("ag_news", (ag_news.SOURCE, ag_news.CSV), PAPER_ITEMS, True, ag_news.read_ag_news),
        CorpusSpec("sst2", (sst2.SETFIT, sst2.VALIDATION, sst2.GLUE), PAPER_ITEMS, True, sst2.read_sst2),
        CorpusSpec(
            "csqa",
            (commonsense_qa.SOURCE, commonsense_qa.PUBLISHED),
            PAPER_ITEMS,
            True,
            commonsense_qa.read_commonsense_qa,
        ),
        CorpusSpec(
            "triviaqa",
            (trivia_qa.SOURCE, trivia_qa.OWN_JSON, trivia_qa.FLASHRAG),
            PAPER_ITEMS,
            True,
            trivia_qa.read_trivia_qa,
        ),
        CorpusSpec(
            "meld",
            (meld.PARQUET, meld.FILMS),
            2_610,
            False,
            seeded_part(meld.read_meld, meld.TASK),
        ),
        CorpusSpec(
            "mustard",
            (mustard.PARQUET, mustard.FILMS),
            690,
            False,
            seeded_part(mustard.read_mustard, mustard.TASK),
        ),
    )
}


def read_corpus(key: str, folder: Path, limit: int | None = None) -> Sample:
    """Return the items of a corpus from the folder that holds its published files.

    Args:
        key: of the corpus.
        folder: holds the published files.
        limit: items at most; None for as many as the paper has.

    Raises:
        UnknownKeyError: there is no such corpus, or the limit is below 1.
        CorpusError: the files are not as published.
    """
    if key not in CORPORA:
        raise UnknownKeyError(f'There is no corpus "{key[:40]}". Choose from: {", ".join(CORPORA)}.')
    spec = CORPORA[key]
    if limit is not None and limit < 1:
        raise UnknownKeyError(f"The limit is {limit}; give 1 or more items of {spec.name}.")
    return spec.read(folder, spec.n_items if limit is None else limit)
