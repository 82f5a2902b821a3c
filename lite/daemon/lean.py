"""Loading aiohttp without the root certificates of the system.

It reads them when it is imported, 1.5 MB that stay in memory, for requests that name no context of
their own. In a daemon all do: peers are known by their keys, and what asks others over HTTPS
(`lite.offload.plain_http`) reads the roots when it does. A request that names none is refused.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["load_aiohttp"]


def load_aiohttp() -> None:
    """Import it so; before anything else does, and before there are threads."""
    with _no_roots():
        import aiohttp  # noqa: F401


@contextmanager
def _no_roots() -> Iterator[None]:
    """OpenSSL looks for roots where there are none."""
    places = ssl.get_default_verify_paths()
    before = {
        name: os.environ.get(name)
        for name in (places.openssl_cafile_env, places.openssl_capath_env)
    }
    try:
        os.environ.update(dict.fromkeys(before, os.devnull))
        yield
    finally:
        for name, text in before.items():
            if text is None:
                del os.environ[name]
            else:
                os.environ[name] = text
