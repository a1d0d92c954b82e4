"""The tables of the ledger of claims: what the papers claim, what was measured, and whether it holds.

`engine.records` lists them with the others and reads and writes them.
"""

from __future__ import annotations

from engine.columns import TASK, count, number, words
from engine.tables import Column

PAPER_VERDICTS = ("holds", "does not hold", "cannot be said", "not published")
VERDICTS = ("holds", "does not hold", "cannot be said", "not measured")
SIDES = ("holds", "fails", "open", "undefined")

_CLAIM = words("claim", "Key of the claim.")
_SYSTEM = words("system", "The system that is tried; empty where no cell could be.")
_OTHER = words("other", "What it is held against; empty where it stands alone.")
_DETAIL = words(
    "detail",
    "How many cells the mean is of; of one cell its layer, control or noise; may be empty.",
)
_PART = words("part", "Which of the claim's statements the cell is of; empty where there is one.", later=True)
_LINE = number("line", "as measured", "What the interval must exclude.")
_WANTED = words("wanted", "above or below: the side of the line on which the claim has it.")
_N = count("n", "as n_of", "What the interval resamples.")
_N_OF = words("n_of", "What n counts: groups of related items, items or clips.")
_METHOD = words("method", "How the interval was made.")

CLAIMS_TABLES: dict[str, tuple[Column, ...]] = {
    "claims": (
        _CLAIM,
        count("place", "", "Its place in the ledger, from 1."),
        words("family", "The cells that are counted together; no correction is made for their number."),
        words("title", "The claim in a few words."),
        words("says", "The claim in a sentence of our own."),
        words("published", "The paper's figure."),
        words("source", "Where it stands in arXiv 2602.17598, where no other paper is named."),
        words("measure", "What is measured here."),
        words("rule", "When it holds."),
        words(
            "paper_verdict",
            "What this rule says of the paper's own numbers, or that it prints none.",
            later=True,
        ),
        words(
            "paper_says", "How it comes to that: values alone, for few published figures have an interval."
        ),
        words("caveat", "What to know before believing either."),
        words("shown", "Where it is measured: benchmark, a section of mechanism, or interleaved."),
        words("verdict", "holds, does not hold, cannot be said or not measured."),
        *(_SYSTEM, _OTHER, words("task", "Key of the task; may be empty."), _DETAIL),
        number(
            "measured",
            "as measure",
            "What decides: the mean of the cells, of several statements the one least on the claim's side.",
        ),
        number("low", "as measured", "Lower end of its 95 % interval."),
        number("high", "as measured", "Upper end."),
        *(_LINE, _WANTED, _N, _N_OF),
        count(
            "holds", "cells", "Cells whose interval lies on the claim's side of the line; they do not decide."
        ),
        count("fails", "cells", "The interval lies on the other side."),
        count("open", "cells", "The interval includes the line."),
        count("undefined", "cells", "There is no interval, or no line."),
        number("n_needed", "as n_of", "The n at which the interval of what decides would exclude the line."),
        words("note", "Why a figure is missing, and what would help."),
    ),
    "claim_cells": (
        _CLAIM,
        *(_SYSTEM, _OTHER, TASK, _DETAIL, _PART),
        number("value", "as measure", "What was measured in this cell."),
        number("low", "as value", "Lower end of its 95 % interval."),
        number("high", "as value", "Upper end."),
        *(_LINE, _WANTED, _N, _N_OF, _METHOD),
        words("side", "holds, fails, open or undefined."),
        number("n_needed", "as n_of", "The n at which an open cell's interval would exclude the line."),
        words("note", "Why a figure is missing, and what else to know."),
    ),
}
CLAIMS_KEYS: dict[str, tuple[str, ...]] = {
    "claims": ("place",),
    "claim_cells": ("claim", "system", "other", "task", "detail", "part"),
}
CLAIMS_WORDS = {"claims": ("verdict", VERDICTS), "claim_cells": ("side", SIDES)}
