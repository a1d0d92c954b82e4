"""A page's profile: what is said before anything is fetched, what is fetched at all, and how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard import preparing, stored
from dashboard.preparing import (
    ProfileState,
    ProgressLine,
    fetch_only,
    prepare,
    state_of_profile,
    take_profile,
)
from dashboard.tabs.clip_handlers import SKIP, follow_profile, restore
from dashboard.tabs.clip_texts import profile_note
from engine.errors import ModelFilesError
from engine.examples import stored_file
from engine.systems.catalogue import GEMINI_KEYS, MINI_PAIRS, PAIRS
from engine.systems.profiles import PROFILES, profile_in_use, use_profile, wanted_pairs
from engine.systems.weights import HOME_VARIABLE

LLAMA, ULTRAVOX = "llama-3.2-1b-instruct", "ultravox-v0_5-llama-3_2-1b"
Fetch = Callable[..., None]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No weights fetched, no service set, nothing asked of a hub, and no model warmed up."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    for name in ("GEMINI_MODEL", *GEMINI_KEYS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(preparing, "_FETCHING", preparing._Fetching())
    monkeypatch.setattr(preparing, "warm_up", lambda: None)
    monkeypatch.setattr(preparing, "obstacle", lambda name: "")
    monkeypatch.setattr(preparing, "free_gb", lambda: 12.34)
    yield
    use_profile(PROFILES["mini"])


def prepared(named: str, monkeypatch: pytest.MonkeyPatch, fetch: Fetch) -> tuple[list[str], list[str]]:
    """Prepare a profile to the end; return what was written and what was fetched."""
    written: list[str] = []
    asked: list[str] = []

    def fetched(name: str, report: Any) -> None:
        asked.append(name)
        fetch(name, report)

    monkeypatch.setattr(preparing, "fetch", fetched)
    assert take_profile(named) == ""
    prepare(written.append)
    for thread in threading.enumerate():
        if thread.name == "prepare":
            thread.join(timeout=30)
    return written, asked


def no_network(name: str, report: Any) -> None:
    del report
    raise ModelFilesError(f"{name} is not here and the hub does not answer.")


def test_a_profile_that_is_wrong_is_told_and_not_taken() -> None:
    assert "There is no profile" in take_profile("huge")
    assert profile_in_use() is PROFILES["mini"]


def test_what_ships_needs_nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    written, asked = prepared("mini", monkeypatch, no_network)
    assert (written, asked, state_of_profile()) == ([], [], None)
    assert profile_note(None) == ""


def test_sizes_and_room_are_told_first_then_one_sentence_a_system(monkeypatch: pytest.MonkeyPatch) -> None:
    written, asked = prepared("small", monkeypatch, no_network)
    first, rest = written
    assert first == (
        "Profile small: 4 model folders are to be fetched, 4.4 GB; 12.3 GB are free on the disk.\n"
    )
    assert sorted(asked) == sorted((ULTRAVOX, LLAMA, "whisper-large-v3-turbo", "faster-whisper-small"))
    lines = rest.splitlines()
    assert len(lines) == 3 and all("the hub does not answer" in line for line in lines)
    state = state_of_profile()
    assert state == ProfileState("small", 3, 0, "", tuple(lines))
    assert state.live == (), "the page works on the minis, which are not the profile's"


def test_a_system_is_live_on_the_page_when_its_pair_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    take_profile("small")
    monkeypatch.setattr(preparing, "offered_pairs", lambda: {"own": PAIRS["ultravox-v0.5-1b"]})
    state = state_of_profile()
    assert state is not None
    assert state.live == (
        "Ultravox v0.5 1B",
        "Whisper small -> Llama-3.2-1B-Instruct",
        "Llama-3.2-1B-Instruct, true transcript",
    )


def test_for_a_system_that_stays_incomplete_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """All three of `small` need the gated Llama: not a byte is fetched for them."""
    monkeypatch.setattr(preparing, "obstacle", lambda name: "It is gated." if name == LLAMA else "")
    written, asked = prepared("small", monkeypatch, no_network)
    assert asked == [] and written[-1].count("cannot run yet: It is gated.\n") == 3


def test_what_can_run_without_the_gated_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    gated = "llama-3.1-8b-instruct"
    monkeypatch.setattr(preparing, "obstacle", lambda name: "It is gated." if name == gated else "")
    _, asked = prepared("paper", monkeypatch, no_network)
    assert gated not in asked and "ultravox-v0_6-llama-3_1-8b" not in asked
    assert {"qwen2-7b-instruct", "faster-whisper-large-v3", "phi-4-multimodal"} <= set(asked)
    state = state_of_profile()
    assert state is not None and len(state.lines) == 9


def test_while_it_is_fetched_the_page_says_what(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def slow(name: str, report: Callable[[str], None]) -> None:
        report(f"repository of {name}: 1.0 GB")
        state = state_of_profile()
        assert state is not None
        seen.append(state.now)

    prepared("small", monkeypatch, slow)
    assert seen[0] == f"Fetching repository of {ULTRAVOX}: 1.0 GB (1 of 4)" and seen[-1].endswith("(4 of 4)")
    state = state_of_profile()
    assert state is not None and state.now == ""


def test_while_it_is_fetched_the_page_asks_on_and_then_offers_what_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert take_profile("small") == ""
    monkeypatch.setattr(preparing._FETCHING, "now", "Fetching x: 3 of 9 MB, 1.0 MB/s, 6 s left (1 of 1)")
    note, pairs, is_coming = follow_profile("mini-ultravox")
    assert "3 of 9 MB, 1.0 MB/s, 6 s left" in note and pairs == SKIP and is_coming
    monkeypatch.setattr(preparing._FETCHING, "now", "")
    found = {"ultravox-v0.5-1b": PAIRS["ultravox-v0.5-1b"], **MINI_PAIRS}
    monkeypatch.setattr(stored, "offered_pairs", lambda: found)
    _, pairs, is_coming = follow_profile("mini-ultravox")
    assert [key for _, key in pairs["choices"]] == list(found) and not is_coming
    assert pairs["value"] == "mini-ultravox", "what a person chose stays chosen"


def test_while_its_weights_come_the_page_opens_on_a_stored_example_of_the_profiles_pair(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It opened on the small models, with nothing on the page; where nothing comes it still does."""
    take_profile("laptop")
    first = wanted_pairs()[0]
    stored_file(tmp_path, "jfk", first).touch()
    monkeypatch.setattr(stored.listed_pairs, "__defaults__", (tmp_path,))
    monkeypatch.setattr(stored, "offered_pairs", lambda: MINI_PAIRS)
    monkeypatch.setattr(preparing._FETCHING, "now", "Fetching x: 3 of 9 MB")
    listed = stored.listed_pairs()
    assert list(listed) == [first, *MINI_PAIRS] and "its weights are coming" in listed[first]
    opened = stored.opening_example(tmp_path)
    assert opened is not None and opened.key == "jfk"
    assert restore({"example": "jfk"}).pair["value"] == first
    asked = restore({"example": "jfk", "run": "1"})
    assert asked.run_at_once and asked.pair["value"] == next(iter(MINI_PAIRS)), (
        "a run asked the pair that cannot run yet"
    )
    monkeypatch.setattr(preparing._FETCHING, "now", "")
    assert list(stored.listed_pairs()) == list(MINI_PAIRS)
    assert follow_profile(first)[1]["value"] == next(iter(MINI_PAIRS)), (
        "what did not come is chosen no longer"
    )


def test_fetching_alone_tells_its_progress_and_whether_all_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def brought(name: str, report: Callable[[str], None]) -> None:
        report(f"{name}, model.bin: 1 of 9 MB")
        report(f"{name}, model.bin: 2 of 9 MB, 1.0 MB/s, 7 s left")

    monkeypatch.setattr(preparing, "fetch", brought)
    written: list[str] = []
    take_profile("small")
    assert fetch_only(written.append) == 0
    assert "".join(written).count("model.bin: 1 of 9 MB") == 4
    monkeypatch.setattr(preparing, "fetch", no_network)
    assert fetch_only(written.append) == 1 and "the hub does not answer" in written[-1]


def test_a_terminal_has_one_line_that_changes_and_a_log_few(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for rewrites, lines in (
        (True, ["\na: 1", "\r\x1b[Ka: 2", "\r\x1b[Ka: 3"]),
        (False, ["a: 1\n", "a: 3\n"]),
    ):
        written: list[str] = []
        line = ProgressLine(written.append, rewrites=rewrites)
        for clock[0], told in ((100.0, "a: 1"), (102.0, "a: 2"), (106.0, "a: 3")):
            line.tell(told)
        assert written == lines


def test_the_note_folds_the_sentences_and_escapes_them() -> None:
    html = profile_note(ProfileState("own <b>", 2, 1, "Fetching x: 1 GB", ("A is ready.", "B <i> cannot.")))
    assert "Profile own &lt;b&gt;: 1 of 2 systems ready" in html and "B &lt;i&gt; cannot." in html
    assert html.count("<li>") == 2 and "Fetching x: 1 GB. Meanwhile the page works on what is ready." in html
    assert "Meanwhile" not in profile_note(ProfileState("a", 1, 1, "", ()))


def test_an_unforeseen_failure_still_ends_with_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, report: Any) -> None:
        del report
        raise ValueError(f"the library's own fault with {name} at /home/me")

    written, asked = prepared("small", monkeypatch, broken)
    assert len(asked) == 4 and "/home/me" not in "".join(written)
    state = state_of_profile()
    assert state is not None and state.now == "" and all("cannot run yet" in line for line in state.lines)
