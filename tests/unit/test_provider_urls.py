"""What counts as the URL of a provider."""

from __future__ import annotations

import pytest

from lite.errors import UsageError
from lite.offload.plain_http import checked_url


@pytest.mark.parametrize("url", ["https://jobs.example.org", "http://[::1]:8080/at", "http://a:1"])
def test_a_url_is_taken_as_it_is(url: str) -> None:
    assert checked_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        *("", "ftp://a", "http://", "http://[::1", "http://a:99999", "http://a:0", "http://a/#b"),
        *(" http://a/", "http://a/ ", "http://a/b c", "http://a/\t", "http://a/\nb"),
    ],
)
def test_anything_else_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="not the URL of a provider"):
        checked_url(url)


@pytest.mark.parametrize("url", ["http://user:secret@host/", "https://@host", "http://a@b@c/"])
def test_a_url_with_a_password_is_refused_without_telling_it(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked_url(url)
    assert url not in str(caught.value) and "secret" not in str(caught.value)
