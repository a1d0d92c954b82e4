"""The ledger of claims as a source's tables have it: its rows, its cells, how many hold, and one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.tables import folder_of, table
from engine.columns import VERDICTS
from engine.tables import file_of

LEDGER = ("claims", "claim_cells")
LEDGER_SOURCES = ("measured", "own")
ON_BENCHMARK = "benchmark"
AGAIN = (
    "The claims of this run are not counted yet: run `python -m precompute summarize --out DIR` on it again."
)
_HERE = {
    "holds": "hold here",
    "does not hold": "do not hold here as stated",
    "cannot be said": "stay open here",
    "not measured": "were not measured here",
}


def has_ledger(source: str) -> bool:
    """Whether a source's run was summarised with its claims."""
    folder = folder_of(source) if source in LEDGER_SOURCES else None
    return folder is not None and all(file_of(folder, name).is_file() for name in LEDGER)


def claims_of(source: str) -> list[dict[str, Any]]:
    """Return the rows of the ledger in its order.

    Raises:
        TableError: the source is not here, or has no ledger that can be read.
    """
    return table(source, "claims").to_dict("records")


def cells_of(source: str) -> dict[str, list[dict[str, Any]]]:
    """Return the cells of each claim; raises as `claims_of`."""
    return {str(key): rows.to_dict("records") for key, rows in table(source, "claim_cells").groupby("claim")}


def tally(claims: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many claims there are of each verdict, in the order of VERDICTS, none left out."""
    found = Counter(claim["verdict"] for claim in claims)
    return {verdict: found[verdict] for verdict in VERDICTS}


def sentence_of(claims: Sequence[Mapping[str, Any]]) -> str:
    """Return which claims on behaviour hold and which do not, in one sentence; "" without claims."""
    found: dict[str, list[str]] = {}
    for claim in claims:
        if claim["shown"] == ON_BENCHMARK:
            found.setdefault(claim["verdict"], []).append(_counted(claim))
    parts = [f"{said}: {', '.join(found[verdict])}" for verdict, said in _HERE.items() if verdict in found]
    return f"Of the paper's claims on behaviour, these {'; these '.join(parts)}." if parts else ""


def _counted(claim: Mapping[str, Any]) -> str:
    title = claim["title"][:1].lower() + claim["title"][1:]
    tried = sum(claim[side] for side in ("holds", "fails", "open", "undefined"))
    return f"{title} (in {claim['holds']} of {tried} cells)" if tried else title
