"""`python -m engine.truths`: truth beside verdict, with every figure; exit code 1 where one does not agree."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from engine.truths.judge import MEASURES, Judgement, judge_all


def main() -> int:
    """Judge the planted networks and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m engine.truths", description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of clips, noise and random controls")
    found = judge_all(parser.parse_args().seed)
    sys.stdout.write(table(found))
    return 0 if all(one.agrees for one in found) else 1


def table(found: Sequence[Judgement]) -> str:
    """Return the judgements as lines of text."""
    lines = []
    for one in found:
        lines += [
            one.name,
            f"  truth    {one.truth}",
            f"  verdict  {one.verdict} ({'agrees' if one.agrees else f'must be: {one.expected}'})",
        ]
        for key, words in MEASURES.items():
            it = one.measured[key]
            lines.append(f"  {words:<48} {it.value:6.3f}  [{it.low:6.3f}, {it.high:6.3f}]  n {it.n}")
        lines.append(f"  kept rank: {', '.join(f'{key} {rank}' for key, rank in one.kept_rank.items())}")
        if one.limit:
            lines.append(f"  limit    {one.limit}")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
