"""The documents' figures from the tables that ship: what stands between marks is written by a command, held by a test.

A mark is `<!-- figures NAME -->` ... `<!-- end -->`; what is between is one of the lists below.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import fill
from typing import Any

from engine.columns import VERDICTS
from engine.errors import TableError
from engine.evaluation import human_errors
from engine.systems.catalogue import get_spec
from engine.tables import file_of, read_table
from engine.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results.md"
SHIPPED = ROOT / "assets" / "benchmark"
WIDTH = 128
_MARK = re.compile(r"(<!-- figures (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
PAIRS = (
    ("mini-ultravox", "mini-cascade", "its exact match"),
    ("mini-qwen2-audio", "mini-cascade-qwen2", "its ancestor"),
    ("mini-qwen2-audio", "mini-cascade-self", "the cascade into its own weights"),
)
VERDICT_WORDS = {
    "holds": "hold",
    "does not hold": "do not hold",
    "cannot be said": "cannot be said",
    "not measured": "were not measured",
}


@dataclass(frozen=True)
class Figures:
    """The tables of a results folder, as docs/results.md speaks of them."""

    folder: Path

    @cached_property
    def _tables(self) -> dict[str, Any]:
        return {}

    def row(self, name: str, **where: Any) -> dict[str, Any]:
        """Return the one row of a table with these values.

        Raises:
            TableError: there is no such row, or more than one; or the table cannot be read.
        """
        if name not in self._tables:
            self._tables[name] = read_table(file_of(self.folder, name), name)
        rows = self._tables[name]
        for column, value in where.items():
            rows = rows[rows[column] == value]
        if len(rows) != 1:
            raise TableError(f"{name}.csv has {len(rows)} rows of {where}: the documents' figures need one.")
        return dict(rows.iloc[0])

    def rows(self, name: str) -> Any:
        """Return a whole table."""
        self._tables.setdefault(name, read_table(file_of(self.folder, name), name))
        return self._tables[name]

    def claim(self, key: str) -> str:
        """Return a claim's pooled figure with interval, its line, its verdict and the share of its cells."""
        row = self.row("claims", claim=key)
        cells = sum(int(row[side]) for side in ("holds", "fails", "open", "undefined"))
        share = f" (alone in {int(row['holds'])} of {cells} cells)" if cells > 1 else ""
        return f"{interval(row, 'measured')}, {row['detail'] or 'one cell'}: {row['verdict']}{share}"


def number(value: float) -> str:
    """Return ".50", "-.03", "1.00": two decimals, as the documents write shares."""
    return f"{round(value, 2) + 0.0:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"


def interval(row: dict[str, Any], name: str, ends: str = "") -> str:
    """Return ".50 [.42, .58]" of a row."""
    low, high = (row[f"{ends}{end}"] for end in ("low", "high"))
    return f"{number(row[name])} [{number(low)}, {number(high)}]"


def answers(at: Figures) -> list[str]:
    """Return what the benchmark of answers found."""
    kappas = [
        f"{get_spec(speech).name} with {what} "
        + ", ".join(
            f"{interval(_kappa(at, speech, cascade, task), 'kappa')} on {TASKS[task].name.lower()}"
            for task in ("topic", "sentiment", "commonsense")
        )
        for speech, cascade, what in PAIRS
    ]
    silent = _kappa(at, *PAIRS[0][:2], "commonsense")
    return [
        f"Kappa, two unparsed answers never agreeing: {'; '.join(kappas)}.",
        f"That reading matters on commonsense, where neither of the first pair is parsed on "
        f"{100 * silent['both_unparsed'] / silent['n_clips']:.1f} % of the clips: {number(silent['kappa'])} so, "
        f"{number(silent['kappa_unparsed_agree'])} if they agreed, {number(silent['kappa_both_parsed'])} where both "
        "are parsed. Tables and page show all three.",
        f"What a shared backbone adds to kappa: {at.claim('backbone_confound')}.",
        f"Shared errors beyond blind guessing: {at.claim('shared_errors')}; matched minus mismatched: "
        f"{at.claim('matched_overlap')}.",
        f"Accuracy of cascade minus speech LLM: {at.claim('as_accurate')}.",
        f"Kappa on words-only minus on voice tasks: {at.claim('voice_tasks')}.",
        f"What babble costs the speech LLM more than its cascade: {at.claim('noise')}.",
    ]


def _kappa(at: Figures, speech: str, cascade: str, task: str) -> dict[str, Any]:
    return at.row("agreement", system_a=speech, system_b=cascade, task=task, noise="clean")


def internals(at: Figures) -> list[str]:
    """Return what the run of mechanism found, and how the claims stand."""
    lens = []
    for system in ("mini-ultravox", "mini-qwen2-audio"):
        rows = at.rows("lens")
        mine = rows[
            (rows["system"] == system) & (rows["task"] == "all tasks") & (rows["measure"] == "precision")
        ]
        best = dict(mine.loc[mine["score"].idxmax()])
        lens.append(
            f"{interval(best, 'score')} of its tokens at layer {best['layer']} of {mine['layer'].max()} in "
            f"{get_spec(system).name} (other clips' words {number(best['control'])}; layer 0 "
            f"{number(dict(mine[mine['layer'] == 0].iloc[0])['score'])})"
        )
    last = at.rows("sufficiency")
    last = last[(last["system"] == "mini-ultravox")]
    last = last[last["layer"] == last["layer"].max()].set_index("task")
    told = "; ".join(
        f"{interval(dict(last.loc[task]), 'kappa')} on {TASKS[task].name.lower()} "
        f"(Whisper's text {number(last.loc[task, 'kappa_cascade'])})"
        for task in ("topic", "sentiment")
    )
    verdicts = Counter(at.rows("claims")["verdict"])
    counted = ", ".join(f"{verdicts[one]} {VERDICT_WORDS[one]}" for one in VERDICTS if verdicts[one])
    return [
        f"The lens reads words of the clip at {', '.join(lens)}.",
        f"Kappa of the LLM that reads the last layer's text with mini-Ultravox: {told}.",
        "What text erasure takes of plain accuracy beyond random directions of equal rank: "
        f"{at.claim('text_erasure')}. "
        f"Beyond random directions that move the states as far, in accuracy: {at.claim('text_erasure_equal_change')}. "
        f"What random directions take by themselves: {at.claim('random_negligible')}.",
        f"R2 of pitch and energy beyond the best of three baselines: {at.claim('acoustic_kept')}.",
        f"Of {sum(verdicts.values())} claims of both papers, {counted} on these models; `/?tab=claims` says which and "
        "why, and what each rule says of the paper's own numbers. docs/verdicts.md tells what changed.",
    ]


def interleaved(at: Figures) -> list[str]:
    """Return what the run of interleaved models found."""
    rows = at.rows("interleaved")
    last = rows[rows["step"] == rows.groupby("model")["step"].transform("max")]
    recall = last[(last["measure"] == "recall") & (last["k"] == 10) & (last["d"] == 0)]

    def peak(model: str) -> str:
        mine = recall[recall["model"] == model]
        best = dict(mine.loc[mine["excess"].idxmax()])
        return f"{interval(best, 'excess', 'excess_')} at layer {best['layer']}"

    shares = last[(last["measure"] != "recall") & (last["model"] == "mini-interleaved")].set_index("layer")[
        "score"
    ]
    knowledge = at.rows("spoken_knowledge")
    knowledge = knowledge[(knowledge["measure"] == "preferred") & (knowledge["model"] == "mini-interleaved")]
    known = dict(knowledge.loc[knowledge["step"].idxmax()])
    causal = at.rows("phase_causal")
    causal = causal[causal["arm"] == "erased"].set_index("outcome")
    cost = {
        outcome: interval(
            {
                name: -causal.loc[outcome, of]
                for name, of in zip(("value", "low", "high"), _COST, strict=True)
            },
            "value",
        )
        for outcome in ("next unit", "next word")
    }
    return [
        "R (recall of the word being said among the ten likeliest text tokens, minus that of other words) at its "
        f"best layer: {peak('mini-interleaved')} in mini-interleaved; {peak('random-interleaved')} trained alike from "
        f"random weights; {peak('text-speech')} and {peak('random-speech')} on speech alone, from the text model and "
        f"from random weights; {peak('untrained')} untrained; {peak('mini-ultravox')} in mini-Ultravox, "
        f"{peak('mini-qwen2-audio')} in mini-Qwen2-Audio. The paper's 77 % is a ceiling.",
        f"Share of probability on text: {number(shares[0])} at layer 0, {number(shares[1])} at layer 1, "
        f"{number(shares.iloc[-1])} at layer {shares.index.max()}. Facts whose right end is the likelier one: "
        f"{interval(known, 'value')}, chance being .50.",
        f"Taking the word out costs the next unit {cost['next unit']} nats more than a random change of equal size, "
        f"and R of the next word {cost['next word']}.",
    ]


def people(at: Figures) -> list[str]:
    """Return how the laptop's systems hear people, as `evaluate --speech` left it beside their weights."""
    del at
    told = []
    for key in ("bridge-smollm2", "ultravox-smollm2", "cascade-whisper-base", "cascade-whisper-tiny"):
        rows = human_errors(key)
        mean = next((row for row in rows if row.is_mean), None)
        whole = next((row for row in rows if row.slice_kind == "all" and not row.is_mean), None)
        if mean is None or whole is None:
            told.append(f"{get_spec(key).name}: not measured on people.")
            continue
        n_corpora = sum(row.slice_kind == "corpus" for row in rows)
        told.append(
            f"{get_spec(key).name}: {interval(vars(mean), 'value')}, {mean.slice} ({mean.n_clips} clips of 2 to 12 s, "
            f"{mean.n_speakers} speakers); {interval(vars(whole), 'value')} over {whole.n_clips} clips of "
            f"{n_corpora} corpora."
        )
    return told


_COST = ("vs_change_matched", "vs_change_matched_high", "vs_change_matched_low")
LISTS: dict[str, Callable[[Figures], list[str]]] = {
    "answers": answers,
    "internals": internals,
    "interleaved": interleaved,
    "people": people,
}


def with_figures(text: str, folder: Path) -> str:
    """Return a document's text with the figures of a results folder between its marks.

    Raises:
        TableError: a table is missing, or has no row that is spoken of; or the text lacks a mark.
    """
    at = Figures(folder)
    missing = set(LISTS) - {found.group(2) for found in _MARK.finditer(text)}
    if missing:
        raise TableError(f'docs/results.md has no mark "<!-- figures {sorted(missing)[0]} -->"; put it back.')

    def written(found: re.Match[str]) -> str:
        points = (
            fill(f"- {point}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)
            for point in LISTS[found.group(2)](at)
        )
        return found.group(1) + "\n".join(points) + "\n" + found.group(4)

    return _MARK.sub(written, text)


def write_figures(*, check: bool, document: Path = RESULTS, folder: Path = SHIPPED) -> str:
    """Write the document's figures, or only say whether they are those of the tables; return one sentence.

    Raises:
        TableError: as `with_figures`; with `check`, the document has other figures.
    """
    text = document.read_text(encoding="utf-8")
    new = with_figures(text, folder)
    if new == text:
        return f"{document.name} has the figures of the tables."
    if check:
        raise TableError(
            f"{document.name} has other figures than the tables: run python -m precompute figures."
        )
    document.write_text(new, encoding="utf-8")
    return f"The figures of {document.name} are written."
