"""Differences: against the tables, and in words."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from dashboard.comparison import Difference, difference, loudest_babble, matched_pairs
from dashboard.components.decision_card import choices_at, decision_html, meaning
from dashboard.tables import CLEAN, Level, at, table

PAIR = ("mini-ultravox", "mini-cascade")


def test_the_difference_is_mcnemars(own_run: Path) -> None:
    for level in (CLEAN, Level("babble", 0.0)):
        rows = at(table("own", "agreement"), task="topic", level=level)
        row = rows[(rows["system_a"] == PAIR[0]) & (rows["system_b"] == PAIR[1])].iloc[0]
        gap = difference("own", "topic", level, *PAIR)
        assert gap.value == pytest.approx((row["mcnemar_b"] - row["mcnemar_c"]) / row["n_clips"])
        assert gap.low <= gap.value <= gap.high and gap.n == row["n_items"]


def test_the_difference_turns_with_its_sides(own_run: Path) -> None:
    one, other = (difference("own", "topic", CLEAN, *pair) for pair in (PAIR, PAIR[::-1]))
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))


def test_the_loudest_babble_is_that_of_the_lowest_ratio(own_run: Path) -> None:
    assert loudest_babble("own", "topic") == Level("babble", 0.0)


def test_what_was_not_measured_is_not_a_number(own_run: Path) -> None:
    gap = difference("own", "emotion", Level("babble", 5.0), *PAIR)
    assert math.isnan(gap.value) and gap.n == 0
    assert loudest_babble("own", "emotion") is None


def test_published_differences_have_no_interval() -> None:
    gap = difference("published", "sst2", CLEAN, "gemini", "cascade_s")
    assert gap.value == pytest.approx(0.897 - 0.885) and math.isnan(gap.low)


def test_matched_pairs_are_a_speech_llm_and_a_cascade(own_run: Path) -> None:
    assert [pair[:2] for pair in matched_pairs("own")] == [
        ("mini-ultravox", "mini-cascade"), ("mini-ultravox", "made-weak"), ("made-audio", "made-cascade"),
    ]  # fmt: skip


def sentence_for(monkeypatch: pytest.MonkeyPatch, gap: Difference) -> str:
    monkeypatch.setattr("dashboard.components.decision_card.difference", lambda *_: gap)
    return meaning("own", "topic", Level("babble", 5.0), PAIR, choices_at("own", "topic", CLEAN))


def test_the_sentence_says_what_the_difference_means(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sure = sentence_for(monkeypatch, Difference(-0.083, -0.133, -0.033, 60))
    assert "Topic in babble at 5 dB, mini-Whisper → mini-Llama is right 8.3 points more often" in sure
    assert "+3.3 to +13.3, 60 item groups): more than chance explains" in sure and "1.5 times as long" in sure
    unsure = sentence_for(monkeypatch, Difference(0.02, -0.01, 0.05, 60))
    assert "includes zero" in unsure
    assert "equally often" in sentence_for(monkeypatch, Difference(0.0, -0.01, 0.01, 60))
    assert "cannot be compared" in sentence_for(monkeypatch, Difference(math.nan, math.nan, math.nan, 0, ""))


def test_the_panel_leaves_out_what_nobody_knows(own_run: Path) -> None:
    measured = decision_html("own", "topic", CLEAN, PAIR)
    published = decision_html("published", "ag_news", CLEAN, ("ultravox", "casc_llama31"))
    assert "Seconds a clip" in measured and "a made-up machine" in measured
    assert (
        "Seconds a clip" not in published and "cannot be said" in published and "nan" not in published.lower()
    )
