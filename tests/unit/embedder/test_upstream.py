"""What headers and bodies of answers say: limits, waits, and statuses that hide under HTTP 200."""

import email.utils
import time
from typing import Any

import httpx
import numpy as np
import pytest

from services.embedder.failover import least_cosine
from services.embedder.failures import hidden_status, retry_after
from services.embedder.upstream import RateNotice, _notice, _seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12),
        ("1.5", 1.5),
        ("20ms", 0.02),
        ("1m30.5s", 90.5),
        ("2h", 7200),
        ("1h2m3s", 3723),
        ("soon", None),
        ("s", None),
        ("1.2.3", None),
        (None, None),
    ],
)
def test_spans_of_time(text: str | None, seconds: float | None) -> None:
    assert _seconds(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "notice"),
    [
        ({}, None),
        ({"x-ratelimit-remaining-requests": "5"}, RateNotice(5, None, None)),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "2s",
                "x-ratelimit-reset-tokens": "9s",
            },
            RateNotice(0, None, 2.0),
        ),
        (
            {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "9s"},
            RateNotice(None, 0, 9.0),
        ),
        ({"x-ratelimit-remaining-tokens": "0", "retry-after": "3"}, RateNotice(None, 0, 3.0)),
        ({"x-ratelimit-remaining-tokens": "many"}, None),
    ],
)
def test_headers_about_limits(headers: dict[str, str], notice: RateNotice | None) -> None:
    assert _notice(httpx.Headers(headers)) == notice


@pytest.mark.parametrize(("text", "seconds"), [("3", 3), ("0.5", 0.5), ("-1", 0), ("tomorrow", None), (None, None)])
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert retry_after(text) == seconds


def test_retry_after_may_be_a_date() -> None:
    waited = retry_after(email.utils.formatdate(time.time() + 10, usegmt=True))

    assert waited is not None
    assert 8 < waited <= 10


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"code": 429}}, 429),
        ({"error": {"code": "503"}}, 503),
        ({"status": 400, "message": "x"}, 400),
        ({"error": {"code": "invalid_api_key"}}, None),
        ({"status": 200}, None),
        ({"code": True}, None),
        ([], None),
    ],
)
def test_statuses_that_hide_in_bodies(body: Any, status: int | None) -> None:
    assert hidden_status(body) == status


def test_the_least_cosine() -> None:
    ours = np.array([[1, 0], [0, 2]], np.float32)
    assert least_cosine(ours, ours * 3) == pytest.approx(1)
    assert least_cosine(ours, np.array([[1, 0], [1, 1]], np.float32)) == pytest.approx(0.7071, abs=1e-4)
    assert least_cosine(ours, np.zeros((2, 3), np.float32)) == -1
    assert least_cosine(ours, np.zeros((2, 2), np.float32)) == -1
