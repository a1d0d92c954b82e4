"""Facts about the bounds of a reply, addresses, and waits that a service asks for."""

from __future__ import annotations

import logging
import time
from email.utils import formatdate

import pytest

from engine.errors import ServiceError
from engine.systems.remote import NO_SECRET, Secret, check_address, failure_of_code, http_client, wait_asked
from tests.engine.fake_service import SENTINEL, Sent, serving


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("", None), (None, None), ("soon", None)]
)
def test_a_wait_in_seconds_is_read(header: str | None, seconds: float | None) -> None:
    assert wait_asked(header) == seconds


def test_a_wait_until_a_date_is_read() -> None:
    assert wait_asked(formatdate(time.time() + 100, usegmt=True)) == pytest.approx(100, abs=30)
    assert wait_asked(formatdate(time.time() - 100, usegmt=True)) == 0.0


@pytest.mark.parametrize(
    "model", ["gemini-3.5-flash", "Qwen/Qwen2-Audio-7B-Instruct", "llama3.1:8b", "accounts/a/models/b@1"]
)
@pytest.mark.parametrize(
    "url", [None, "http://127.0.0.1:8000/v1", "https://example.org/v1/", "http://[::1]:8000"]
)
def test_usual_addresses_pass(model: str, url: str | None) -> None:
    check_address("Fake", model, url)


@pytest.mark.parametrize("model", ["", " ", "a b", "../files", "a/../b", "a?key=b", "a\nb", "x" * 121])
def test_what_is_no_model_id_is_refused(model: str) -> None:
    with pytest.raises(
        ServiceError, match=r"^Fake has no usable model id; write it as the service lists it\.$"
    ):
        check_address("Fake", model, None)


@pytest.mark.parametrize(
    "url", ["", "localhost", "localhost:8000/v1", "ftp://host/v1", "http://", "http://a:b/v1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ServiceError, match=r"^Fake has no usable base URL; write it as "):
        check_address("Fake", "model", url)


@pytest.mark.parametrize(
    "url", ["http://me:pass@host/v1", "https://host/v1?key=pass", "https://host/v1#pass"]
)
def test_a_key_in_an_address_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ServiceError, match="put the key into its variable") as caught:
        check_address("Fake", "model", url)
    assert "pass" not in str(caught.value)


def test_no_proxy_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A company's HTTP_PROXY kept a local vLLM from being reached."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(Sent({"well": True})) as service, http_client(10.0, NO_SECRET) as client:
        assert client.post(f"{service.url}/v1", json={}).json() == {"well": True}


def test_a_proxy_of_another_kind_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in ("socks5://127.0.0.1:9", "gopher://x", "http://[::1"):
        monkeypatch.setenv("ALL_PROXY", proxy)
        with pytest.raises(ServiceError, match="proxy that the environment names cannot be used"):
            http_client(10.0, NO_SECRET)


def test_a_services_own_words_are_one_line_and_short() -> None:
    what = failure_of_code(400, message="too\nlong \x1b[31m\u202e" + "x" * 500).what
    assert (
        what
        == f'rejects the request (HTTP 400): "too long [31m {"x" * 146}"; check the model id and the settings'
    )


def test_a_reply_may_be_as_long_as_the_limit_and_is_asked_for_uncompressed() -> None:
    with serving(Sent(b" " * 2_000_000)) as service, http_client(30.0, NO_SECRET) as client:
        assert len(client.post(service.url, json={}).content) == 2_000_000
    assert service.asked[0].headers["accept-encoding"] == "identity"


def test_a_key_that_comes_back_in_a_header_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    reply = Sent({}, headers={"x-echo": SENTINEL})
    with (
        serving(reply) as service,
        http_client(30.0, Secret(SENTINEL)) as client,
        caplog.at_level(logging.DEBUG),
    ):
        answer = client.post(service.url, json={}, headers={"x-key": SENTINEL})
    assert answer.headers["x-echo"] == SENTINEL
    assert "x-echo" in caplog.text and "***" in caplog.text and SENTINEL[:8] not in caplog.text
