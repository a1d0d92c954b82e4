"""Facts about the printed load: the paper's totals, every assumption, and a sentence for what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import UnknownKeyError
from engine.systems.profiles import PAPER_SYSTEMS
from precompute.corpora.catalogue import CORPORA
from precompute.ledger import Ledger
from precompute.load import GPUS, Prices
from precompute.load_text import ACCOUNTING, format_load
from precompute.settings import Settings
from tests.precompute.tiny_corpora import write_corpora


def shown(tmp_path: Path, settings: Settings) -> str:
    return format_load(settings, Ledger(tmp_path / "none"), GPUS["h100"], Prices(2.5))


def test_the_papers_plan_needs_nothing_that_is_here(tmp_path: Path) -> None:
    text = shown(tmp_path, Settings(profile="paper", models=tmp_path / "models"))
    assert text.startswith("9 systems, 6 tasks, 27,300 files, 245,700 inferences.")
    assert "32,000 more files, 288,000 more inferences; 533,700 in all" in text and ACCOUNTING in text
    for papers, ours in PAPER_SYSTEMS.items():
        (line,) = (line for line in text.splitlines() if line.startswith(ours + " "))
        assert line.split()[1:9] == [papers, "6,000", "6,000", "6,000", "6,000", "2,610", "690", "27,300"]
    for words in (
        "32 tokens a second",
        "Edge-TTS: free",
        "NVIDIA H100",
        "Assumed:",
        "Disk: about",
        "Ultravox v0.6",
    ):
        assert words in text
    for key in (*CORPORA, "musan"):
        assert f"\n{key}/ is missing" in text
    assert text.count("cannot run yet: ") == 9 and list(tmp_path.iterdir()) == []


def test_real_counts_and_their_differences_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_corpora(tmp_path / "corpora", monkeypatch)
    settings = Settings(profile="paper", corpora=folder, models=tmp_path / "models")
    text = shown(tmp_path, settings)
    assert text.startswith("9 systems, 6 tasks, 77 files, 693 inferences.")
    assert "MELD: 3 items are here; the paper has 2,610." in text and "is missing" not in text
    part = shown(tmp_path, Settings(profile="paper", tasks=("meld",), systems=("gemini",), models=tmp_path))
    assert part.startswith("1 system, 1 task, 2,610 files, 2,610 inferences.")
    with pytest.raises(UnknownKeyError, match=r'no task "topic" here\. Choose from: ag_news'):
        shown(tmp_path, Settings(profile="paper", tasks=("topic",)))
