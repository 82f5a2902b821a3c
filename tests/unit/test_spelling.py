"""The one spelling of a resource that policies compare."""

from __future__ import annotations

import pytest

from lite.ipld.cid import CID, RAW
from lite.model.spelling import fault

RAW_CID = CID.of(b"module", RAW)
FOLDER = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
OLD = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"

USUAL = [
    f"ipfs://{RAW_CID}",
    f"ipfs://{FOLDER}/a/b.wasm",
    f"ipfs://{FOLDER}/ö/a b?c#d",
    "ipfs://x",  # no CID at all: the instruction says so
    "http://example.com/",
    "https://example.com/a/b?c=d&e=%20",
    "https://example.com:8443/a%2Fb/%C3%A9",
    "http://127.0.0.1/",
    "http://[::1]:8080/",
    "http://localhost/a..b/.c",
    "file:///a/b.txt",
    "file:///a%20b",
    "exec:convert",
    "mailto:a@b.c?subject=hi%20there",
    "no uri at all",
]
UNUSUAL = [
    f"ipfs://{RAW_CID.encode('base16')}",
    f"ipfs://{str(RAW_CID).upper()}",
    f"ipfs://{OLD}",
    f"ipfs://{OLD}/a.wasm",
    f"ipfs://{FOLDER}/",
    f"ipfs://{FOLDER}//a",
    f"ipfs://{FOLDER}/./a",
    f"ipfs://{FOLDER}/a/../b",
    f"ipfs://{FOLDER}/%61",
    f"ipfs:{FOLDER}",
    f"IPFS://{FOLDER}",
    "HTTP://example.com/",
    "http://Example.com/",
    "http://example.com",
    "http://example.com:80/",
    "https://example.com:443/",
    "https://example.com:0443/",
    "https://example.com:/",
    "http://example.com./",
    "http://me@example.com/",
    "http:example.com/",
    "http://example.com/a/../b",
    "http://example.com/./a",
    "http://example.com/%61",
    "http://example.com/%2e%2e/b",
    "http://example.com/%c3%a9",
    "http://example.com/é",
    "http://example.com/%4",
    "http://example.com/%zz",
    "http://example.com/#part",
    "http://exämple.com/",
    "http://127.1/",
    "http://0x7f.0.0.1/",
    "http://2130706433/",
    "http://127.0.0.01/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::A]/",
    "file://localhost/a",
    "FILE:///a",
    "file:///%61",
    "file:///a//b",
    "file:///a/../b",
    "file:/a",
    "mailto:%61@b.c",
    "MAILTO:a@b.c",
]


@pytest.mark.parametrize("uri", USUAL)
def test_the_usual_spelling_has_no_fault(uri: str) -> None:
    assert fault(uri) is None


@pytest.mark.parametrize("uri", UNUSUAL)
def test_every_other_spelling_has_one(uri: str) -> None:
    assert fault(uri)
