"""The paper's claims about behaviour, held against a measured run: what holds, what does not, what stays open.

A claim holds where an interval lies on its side of the line, fails where it lies on the other, and is open
where the interval includes the line. Cells are counted; nothing is averaged over unlike tasks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from dashboard.comparison import extra_loss, loudest_babble, matched_pairs
from dashboard.tables import CLEAN, at, folder_of, table
from engine.tasks import TASKS


@dataclass(frozen=True)
class Claim:
    """One claim of the paper and the cells in which it was tried.

    Attributes:
        says: the claim, as a clause.
        holds, fails, open: numbers of cells.
        measured: what a cell is.
    """

    says: str
    holds: int
    fails: int
    open: int
    measured: str

    @property
    def counted(self) -> str:
        """The claim with the cells in which it holds, of all in which it was tried."""
        tried = self.holds + self.fails + self.open
        return f"{self.says} (in {self.holds} of {tried} cells)" if tried else self.says

    @property
    def verdict(self) -> str:
        """One of "holds", "fails", "mixed", "open", "not tried"."""
        if not self.holds + self.fails + self.open:
            return "not tried"
        if self.holds and self.fails:
            return "mixed"
        return "holds" if self.holds > self.open else "fails" if self.fails > self.open else "open"


def claims_of(source: str) -> tuple[Claim, ...]:
    """Return the claims held against this measured run; () for the published figures themselves."""
    folder = folder_of(source)
    if source == "published" or folder is None:
        return ()
    return _claims(source, (folder / "manifest.json").stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _claims(source: str, changed_ns: int) -> tuple[Claim, ...]:
    del changed_ns
    return (_words_over_voice(source), _above_chance(source), _backbone(source), _noise(source))


def sentence_of(claims: Iterable[Claim]) -> str:
    """Return which claims hold and which do not, in one sentence; "" without claims."""
    words = {
        "holds": "hold here",
        "fails": "do not hold here",
        "mixed": "hold in some cells and fail in others",
        "open": "stay open here",
        "not tried": "were not tried here",
    }
    found: dict[str, list[str]] = {}
    for claim in claims:
        found.setdefault(claim.verdict, []).append(claim.counted)
    parts = [
        f"{said}: {', and '.join(found[verdict])}" for verdict, said in words.items() if verdict in found
    ]
    return f"Of the paper's claims on behaviour, these {'; these '.join(parts)}." if parts else ""


def _count(says: str, measured: str, sides: Iterable[int]) -> Claim:
    """Count cells: 1 the claim's side, -1 the other, 0 an interval that includes the line."""
    listed = list(sides)
    return Claim(says, listed.count(1), listed.count(-1), listed.count(0), measured)


def _side(low: float, high: float, line: float = 0.0) -> int | None:
    if low != low or high != high or line != line:
        return None
    return 1 if low > line else -1 if high < line else 0


def _defined(sides: Iterable[int | None]) -> list[int]:
    return [side for side in sides if side is not None]


def _words_over_voice(source: str) -> Claim:
    """Every words-only task of a matched pair against every task that needs the voice, clean."""
    pairs = {pair[:2] for pair in matched_pairs(source)}
    rows = at(table(source, "agreement"), level=CLEAN)
    sides: list[int | None] = []
    for pair in sorted(pairs):
        mine = rows[(rows["system_a"] == pair[0]) & (rows["system_b"] == pair[1]) & rows["task"].isin(TASKS)]
        needs = mine["task"].map(lambda key: TASKS[key].needs_voice)
        for words in mine[~needs.astype(bool)].itertuples():
            for voice in mine[needs.astype(bool)].itertuples():
                sides.append(1 if words.low > voice.high else -1 if words.high < voice.low else 0)
    says = "a speech LLM agrees with its cascade more where words decide than where the voice does"
    return _count(says, "a words-only task against a voice task, for a matched pair", _defined(sides))


def _above_chance(source: str) -> Claim:
    pairs = {pair[:2] for pair in matched_pairs(source)}
    rows = at(table(source, "agreement"), level=CLEAN)
    sides = [
        _side(row.error_overlap_low, row.error_overlap_high, row.overlap_chance)
        for row in rows.itertuples()
        if (row.system_a, row.system_b) in pairs
    ]
    return _count("the two share their errors beyond chance", "a task, for a matched pair", _defined(sides))


def _backbone(source: str) -> Claim:
    rows = at(table(source, "confound"), level=CLEAN)
    sides = [_side(row.low, row.high) for row in rows.itertuples()]
    return _count(
        "the shared backbone adds to the agreement",
        "a task, a matched and a mismatched cascade",
        _defined(sides),
    )


def _noise(source: str) -> Claim:
    sides: list[int | None] = []
    for task in sorted(set(table(source, "accuracy")["task"])):
        loudest = loudest_babble(source, task)
        if loudest is None:
            continue
        for speech, cascade, _ in matched_pairs(source, task):
            loss = extra_loss(source, task, loudest, speech, cascade)
            sides.append(_side(loss.low, loss.high))
    return _count(
        "babble costs the speech LLM more than its cascade", "a task, for a matched pair", _defined(sides)
    )
