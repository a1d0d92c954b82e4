"""The main job in a real browser: choose or record a clip, run, add noise, erase, click a cell, keep it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from gradio_client import Client, handle_file
from playwright.sync_api import Page, expect

from dashboard.choices import conditions
from dashboard.components.clip_view import ASSETS
from dashboard.result_json import result_to_json
from engine.audio import load_clip
from engine.examples import EXAMPLES
from engine.request import RunRequest
from engine.results import RunResult
from engine.run import run
from tests.e2e.conftest import RUN_MS, TAUGHT, OpenPage, Site, choose_example, run_and_wait, wait_for_result

PAIR = "mini-ultravox"
TIMES = ("seconds", "encoder_seconds", "own_transcript_s")


def engine_request(**changes: Any) -> RunRequest:
    """Return the request that the page makes of the example that `choose_example` takes."""
    example = EXAMPLES[TAUGHT]
    request: dict[str, Any] = {
        "clip": load_clip(example.file),
        "task": example.task,
        "prompt": example.prompt,
        "reference": example.reference,
        "reference_words": example.words,
        "gold": example.gold,
        "aliases": example.aliases,
    }
    return RunRequest(**{**request, **changes})


def engine_result(**changes: Any) -> RunResult:
    """Return what the engine says about that example, made in this process."""
    return run(engine_request(**changes))


def without_times(value: Any) -> Any:
    """Return the JSON without its clock readings, the only numbers that differ between equal runs."""
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if key not in TIMES}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def assert_alike(found: Any, wanted: Any, where: str = "") -> None:
    """Equal texts and structure; numbers within what float32 sums in another order may differ by."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for key in wanted:
            assert_alike(found[key], wanted[key], f"{where}.{key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_alike(one, other, f"{where}[{index}]")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=2e-3), where
    else:
        assert found == wanted, where


def downloaded(page: Page) -> dict[str, Any]:
    with page.expect_download() as waiting:
        page.locator("#download").click()
    return dict(json.loads(Path(waiting.value.path()).read_text(encoding="utf-8")))


def test_an_example_shows_what_the_engine_says(page_strict: Page) -> None:
    choose_example(page_strict)
    run_and_wait(page_strict)
    result = engine_result()
    lanes = page_strict.locator(".cl-lane")
    expect(lanes).to_have_count(len(result.lanes))
    for index, lane in enumerate(result.lanes):
        expect(lanes.nth(index)).to_contain_text(lane.name)
        expect(lanes.nth(index).locator(".cl-answer")).to_contain_text(lane.answer.label or lane.answer.text)
    expect(page_strict.locator(".cl-verdict .cl-chip")).to_have_text(
        re.compile(result.agreement.kind, re.IGNORECASE)
    )
    assert_alike(without_times(downloaded(page_strict)), without_times(result_to_json(result)))


def test_a_clicked_cell_shows_the_engines_tokens_and_its_place_in_time(page_strict: Page) -> None:
    choose_example(page_strict)
    run_and_wait(page_strict)
    lens = engine_result().lens
    layer = page_strict.evaluate("window.cascadeLens.shownLayers.at(-1)")
    position = lens.top_ids.shape[1] // 2
    page_strict.locator(".cl-over").scroll_into_view_if_needed()
    point = page_strict.evaluate(f"window.cascadeLens.pointOf({layer}, {position})")
    page_strict.mouse.click(point["x"], point["y"])
    assert page_strict.evaluate("window.cascadeLens.selection")["position"] == position
    row = lens.layers.index(layer)
    start_s = position * lens.seconds_per_position
    detail = page_strict.locator(".cl-detail")
    expect(detail.locator("h3")).to_contain_text(f"L{layer}")
    expect(detail.locator("h3")).to_contain_text(
        f"{start_s:.2f} to {start_s + lens.seconds_per_position:.2f} s"
    )
    numbers = [float(text) for text in detail.locator(".cl-token .cl-number").all_inner_texts()]
    assert numbers == pytest.approx(lens.top_probabilities[row, position][: len(numbers)].tolist(), abs=0.011)
    top = lens.token_text[int(lens.top_ids[row, position, 0])].strip()
    expect(detail.locator(".cl-token-text").first).to_contain_text(top)


def test_noise_and_every_erasure_run_again_by_themselves(page_strict: Page) -> None:
    choose_example(page_strict)
    run_and_wait(page_strict)
    page_strict.get_by_label("Babble").check()
    expect(page_strict.locator(".cl-facts")).to_contain_text(re.compile("babble.*5 dB asked"), timeout=RUN_MS)
    expect(page_strict.locator("#noise-note")).to_contain_text("5 dB asked, 5.0 dB reached")
    wanted: list[str] = []
    for condition in conditions(PAIR)[0]:
        page_strict.get_by_role("checkbox", name=f"{condition.name}, rank {condition.kept_rank}").check()
        wanted.append(condition.key)
        expect(page_strict.locator(".cl-bench")).to_contain_text(
            re.compile(rf"{condition.name}, rank {condition.kept_rank}", re.IGNORECASE), timeout=RUN_MS
        )
        wait_for_result(page_strict)
    assert wanted
    engine = engine_result(noise="babble", snr_db=5.0, erasures=tuple(wanted))
    assert_alike(without_times(downloaded(page_strict)), without_times(result_to_json(engine)))
    for kind, arms in (
        ("plain", [outcome.plain for outcome in engine.erasures]),
        ("random", [outcome.random_control for outcome in engine.erasures]),
        ("erased", [outcome.erased for outcome in engine.erasures]),
    ):
        shown = page_strict.locator(f'.cl-bench [data-arm="{kind}"] .cl-answer').all_inner_texts()
        said = [arm.answer.label or arm.answer.text.strip() for arm in arms]
        assert len(shown) == len(said) and all(words in text for words, text in zip(said, shown, strict=True))


def test_a_number_that_rounds_to_zero_has_no_sign(page: Page) -> None:
    """A log-likelihood of -0.001 was shown as a minus zero, and a change of 0.001 as plus zero."""
    source = (ASSETS / "clip_dom.js").read_text(encoding="utf-8")
    shown = page.evaluate(
        f"() => {{ {source}; return [-0.001, 0.001, -0.006, 0.006].flatMap((n) => [fixed(n, 2), signed(n, 2)]) }}"
    )
    assert shown == ["0.00", "0.00", "0.00", "0.00", "−0.01", "−0.01", "0.01", "+0.01"]


def test_changing_noise_without_a_result_runs_nothing(page_strict: Page) -> None:
    choose_example(page_strict)
    page_strict.get_by_label("White").check()
    expect(page_strict.locator("#snr-box")).to_be_visible()
    page_strict.wait_for_timeout(1500)
    assert page_strict.evaluate("window.cascadeLens.status") == "empty"


def test_a_recording_from_the_microphone_runs(page_strict: Page) -> None:
    box = page_strict.locator("#audio")
    box.get_by_role("button", name="Record audio", exact=True).click()
    box.get_by_role("button", name="Record", exact=True).click()
    page_strict.wait_for_timeout(4000)
    box.locator("button:has-text('Stop'):visible").first.click()
    expect(page_strict.locator("#clip-note")).to_contain_text("kHz mono -> 16 kHz mono", timeout=RUN_MS)
    seconds = float(page_strict.locator("#clip-note").inner_text().split(" s.")[0])
    assert 2.0 < seconds < 8.0
    page_strict.locator("#read-aloud button").first.click()
    page_strict.locator("#said-it").click()
    expect(page_strict.locator("#reference textarea")).to_have_value(EXAMPLES[0].reference)
    run_and_wait(page_strict)
    shown = downloaded(page_strict)
    assert shown["audio"]["duration_s"] == pytest.approx(seconds, abs=0.01)
    assert [system["role"] for system in shown["systems"]] == ["speech_llm", "cascade", "text_oracle"]
    assert shown["gold"] is None


DROP = """([name, type, data]) => {
  const carried = new DataTransfer();
  carried.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, { type }));
  const dropped = new DragEvent('drop', { dataTransfer: carried, bubbles: true, cancelable: true });
  document.querySelector('#audio .upload-container').dispatchEvent(dropped);
}"""


def test_a_dropped_webm_is_taken_where_a_wav_is(page_strict: Page, tmp_path: Path) -> None:
    """Browsers call it a film, and Gradio's box for sound refuses films."""
    with av.open(str(tmp_path / "a.webm"), "w") as output:
        stream = output.add_stream("libopus", rate=48_000)
        stream.layout = "mono"
        samples = 0.1 * np.random.default_rng(0).standard_normal((1, 48_000))
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        output.mux([*stream.encode(frame), *stream.encode(None)])
    data = base64.b64encode((tmp_path / "a.webm").read_bytes()).decode()
    expect(page_strict.locator("#audio input[type=file]")).to_be_attached()
    page_strict.evaluate(DROP, ["a.webm", "video/webm", data])
    expect(page_strict.locator("#clip-note")).to_contain_text("48 kHz mono", timeout=RUN_MS)


def test_a_typed_sentence_is_spoken_and_runs(page_strict: Page) -> None:
    page_strict.locator("#speak-accordion > button").click()
    page_strict.locator("#speak-text textarea").fill(EXAMPLES[0].reference)
    page_strict.locator("#speak").click()
    expect(page_strict.locator("#reference textarea")).to_have_value(EXAMPLES[0].reference)
    run_and_wait(page_strict)
    assert downloaded(page_strict)["reference"] == EXAMPLES[0].reference


def test_another_transcript_goes_to_the_cascade_only(page_strict: Page) -> None:
    choose_example(page_strict)
    run_and_wait(page_strict)
    heard = page_strict.locator("#transcript textarea")
    plain = engine_result()
    expect(heard).to_have_value(plain.lanes[1].heard)
    heard.fill("the bank raised its price")
    page_strict.locator("#run-transcript").click()
    expect(page_strict.locator(".cl-lane").nth(1)).to_contain_text("bank raised its price", timeout=RUN_MS)
    wait_for_result(page_strict)
    shown = downloaded(page_strict)
    assert shown["systems"][1]["heard"] == "the bank raised its price"
    assert shown["systems"][0]["answer"] == plain.lanes[0].answer.text
    changed = engine_result(transcript_override="the bank raised its price")
    assert shown["systems"][1]["answer"] == changed.lanes[1].answer.text


def test_a_word_is_followed_through_the_layers(page_strict: Page) -> None:
    choose_example(page_strict)
    run_and_wait(page_strict)
    page_strict.locator("#token-search > button").click()
    page_strict.locator("#token textarea, #token input").first.fill("the")
    page_strict.locator("#find-token").click()
    expect(page_strict.locator("#token-plot .js-plotly-plot")).to_be_visible(timeout=RUN_MS)
    page_strict.locator("#token-table summary").click()
    expect(page_strict.locator("#token-table tbody tr")).to_have_count(len(engine_result().lens.layers))
    page_strict.locator("#emergence > button").click()
    expect(page_strict.locator("#emergence-plot .js-plotly-plot")).to_be_visible()


@pytest.mark.parametrize("width", [1440, 390])
def test_run_is_in_reach_without_scrolling(open_page: OpenPage, width: int) -> None:
    """The rail is longer than the view: Run lay below it, and the result out of sight above."""
    page = open_page("", width=width)
    box, height = page.locator("#run").bounding_box(), page.evaluate("innerHeight")
    assert box is not None and box["y"] + box["height"] <= height
    assert page.evaluate("document.querySelector('#rail').getBoundingClientRect().bottom") > height


def test_stop_ends_the_run_and_gives_the_page_back(page_strict: Page) -> None:
    choose_example(page_strict)
    run_and_wait(page_strict)
    page_strict.locator("#run").click()
    stop = page_strict.locator("#stop")
    expect(stop.or_(page_strict.locator("#status", has_text="Finished"))).to_be_visible()
    if stop.is_visible():
        stop.click()
    wait_for_result(page_strict)
    run_and_wait(page_strict)
    expect(page_strict.locator("#status")).to_contain_text("Finished")


def test_a_link_restores_controls_and_result(page_strict: Page, open_page: OpenPage, site: Site) -> None:
    choose_example(page_strict)
    page_strict.get_by_label("White").check()
    run_and_wait(page_strict)
    page_strict.locator("#make-link").click()
    box = page_strict.locator("#link textarea, #link input").first
    expect(box).to_have_value(re.compile(rf"^{re.escape(site.url)}/\?.*example={EXAMPLES[TAUGHT].key}"))
    other = open_page(box.input_value().removeprefix(site.url + "/"))
    other.wait_for_function("window.cascadeLens.status === 'ready'", timeout=RUN_MS)
    expect(other.get_by_label("White")).to_be_checked()
    wait_for_result(other)
    assert_alike(without_times(downloaded(other)), without_times(downloaded(page_strict)))


def test_a_client_gets_the_same_as_the_page(page_strict: Page, site: Site) -> None:
    choose_example(page_strict)
    run_and_wait(page_strict)
    shown = downloaded(page_strict)
    example = EXAMPLES[TAUGHT]
    client = Client(site.url, verbose=False)
    answer = client.predict(
        audio=handle_file(str(example.file)),
        task=example.task,
        prompt=example.prompt,
        reference=example.reference,
        api_name="/analyze",
    )
    # The endpoint knows an example by its bytes, as the page does: its right answer and word times hold too.
    assert_alike(without_times(answer), without_times(shown))
    listed = client.predict(api_name="/systems")
    assert {row["key"] for row in listed} >= {system["key"] for system in answer["systems"]}
