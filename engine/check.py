"""`python -m engine.check NAME`, or `--all`: hold one system, or every one that is here, against `engine.checks`."""

from __future__ import annotations

import argparse
import sys

from engine.checks import CANNOT_FIND, check_all, check_system, sentence_of
from engine.errors import EngineError


def main() -> int:
    """Check one system, or with --all every one that is here; exit code 1 when a check fails."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.check",
        description=main.__doc__,
        epilog=f"What no check can find: {'; '.join(CANNOT_FIND)}.",
    )
    parser.add_argument("name", nargs="?", help="key of a system; --all lists them")
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    if not arguments.name and not arguments.all:
        parser.error("name a system, or use --all")
    try:
        checked = check_all() if arguments.all else (check_system(arguments.name),)
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for one in checked:
        for finding in one.findings:
            verdict = "ok  " if finding.passed else "FAIL"
            sys.stdout.write(f"{verdict}  {one.key}: {finding.name} ({finding.measured}; {finding.bound})\n")
        for note in one.notes:
            sys.stdout.write(f"left out  {one.key}: {note}\n")
    passed = all(one.passed for one in checked)
    (sys.stdout if passed else sys.stderr).write(f"{sentence_of(checked)}\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
