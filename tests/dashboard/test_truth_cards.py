"""The truth page's cards say what was found, in words and signs, and let no text in as markup."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from dashboard.components.truth_cards import checks_html, hearing_html, truths_html
from engine.checks import Checked, Finding, sentence_of
from engine.hearing import Hearing, HearingControl
from engine.planted import MEASURES, Judgement
from engine.results import Answer
from engine.stats.intervals import Estimate

HOSTILE = '<script>alert("x")</script>'
GOOD = Finding("recorded layers are those by hand", "largest difference 0.0e+00", 0.0, 1e-3)
BAD = Finding("hooks off equals vanilla", "largest difference 2.0e+00", 2.0, 1e-3)
ANSWER = Answer("Sports", "Sports", "parsed", {"Sports": 0.9, "World": 0.1}, -0.1)


def words(html: str) -> str:
    """What a reader sees: tags out, blanks single."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_a_check_stands_beside_its_tolerance_and_its_outcome() -> None:
    checked = (
        Checked("a", "A", (GOOD,)),
        Checked("b", "B", (GOOD, BAD)),
        Checked("c", "C", (), ("no weights",)),
    )
    html = checks_html(checked, sentence_of(checked))
    shown = words(html)
    assert "recorded layers are those by hand largest difference 0.0e+00 at most 0.001 ✓ passes" in shown
    assert "hooks off equals vanilla largest difference 2.0e+00 at most 0.001 ✗ fails" in shown
    assert "A 1 of 1 pass" in shown and "B 1 of 2 pass" in shown and "C: no weights" in shown
    assert sentence_of(checked) in shown and "problem" in html
    assert "cannot" not in shown


def test_what_no_check_can_find_is_told_beside_the_checks() -> None:
    shown = words(
        checks_html((Checked("a", "A", (GOOD,)),), "s", ("weights that were <b>trained</b> badly",))
    )
    assert "What no check can find (1) weights that were &lt;b&gt;trained&lt;/b&gt; badly" in shown


def test_the_first_system_and_every_failing_one_are_open() -> None:
    good, bad = Checked("a", "A", (GOOD,)), Checked("b", "B", (BAD,))
    html = checks_html((good, good, bad), "s")
    assert re.findall(r"<details( open)?>", html) == [" open", "", " open"]
    assert "problem" not in checks_html((good,), "s")


def control(**changes: object) -> HearingControl:
    found = HearingControl("silence", "1.70 s of silence", True, ANSWER, True, 0.4321, 3.21, 0.0567)
    return replace(found, **changes)  # type: ignore[arg-type]


def hearing(*controls: HearingControl, heard: bool = True) -> Hearing:
    return Hearing("clip.wav", "Which topic?", ANSWER, controls, 1e-3, heard, "It heard: silence changes it.")


def test_what_a_control_changes_is_told_with_n_and_tolerance() -> None:
    text_only = control(name="text only", same_length=False, answer_changed=False, total_variation=math.nan)
    shown = words(hearing_html(hearing(control(), text_only)))
    assert "silence 1.70 s of silence" in shown and '"Sports" yes 0.432 3.210 0.057' in shown
    assert '"Sports" no – 3.210 0.057' in shown  # an open task has no forced choice: a dash and no 0
    assert "n = 1" in shown and "0.001" in shown and "Text only shortens the prompt" in shown
    assert "It heard: silence changes it." in shown


def test_an_answer_without_a_label_says_why() -> None:
    refused = replace(ANSWER, text="I can't.", label=None, status="refused")
    empty = replace(ANSWER, text="", label=None, status="empty")
    shown = words(hearing_html(hearing(control(answer=refused), control(answer=empty))))
    assert '"I can&#x27;t." (refused)' in shown and "nothing (empty)" in shown
    assert "problem" in hearing_html(hearing(control(), heard=False))


def judgement(**changes: object) -> Judgement:
    measured = {key: Estimate(0.5, 0.4, 0.6, 200, "made up") for key in MEASURES}
    found = Judgement(
        key="pitch",
        name="Pitch alone",
        truth="It answers from the pitch.",
        expected="answers from pitch",
        verdict="answers from pitch",
        agrees=True,
        measured=measured,
        kept_rank={"text": 3, "pitch": 1},
        limit="It is known to miss this.",
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def test_truth_verdict_figures_controls_and_limit_stand_together() -> None:
    shown = words(truths_html([judgement()], MEASURES))
    assert "Truth It answers from the pitch. Verdict answers from pitch ✓ agrees" in shown
    assert "Limit. It is known to miss this." in shown
    assert f"{MEASURES['text']} 0.50 [0.40, 0.60] 0.50 [0.40, 0.60]" in shown
    assert "200 clips" in shown and "Kept rank: text 3, pitch 1" in shown
    assert "✗ does not agree" in words(truths_html([judgement(verdict="undecided", agrees=False)], MEASURES))
    assert "Limit." not in words(truths_html([judgement(limit="")], MEASURES))


def test_a_figure_that_is_not_defined_says_why() -> None:
    lost = {
        **judgement().measured,
        "cascade": Estimate(math.nan, math.nan, math.nan, 200, "m", "One label only."),
    }
    shown = words(truths_html([judgement(measured=lost)], MEASURES))
    assert "not defined: One label only." in shown and "nan" not in shown


def test_no_text_becomes_markup() -> None:
    hostile = replace(ANSWER, text=HOSTILE)
    html = (
        checks_html(
            (Checked("a", HOSTILE, (replace(GOOD, name=HOSTILE, measured=HOSTILE),), (HOSTILE,)),), HOSTILE
        )
        + hearing_html(
            replace(hearing(control(answer=hostile, given=HOSTILE)), clip_name=HOSTILE, verdict=HOSTILE)
        )
        + truths_html([judgement(truth=HOSTILE, limit=HOSTILE)], MEASURES)
    )
    assert "<script" not in html and html.count("&lt;script&gt;") >= 8
