"""A sync protocol for signed, content-addressed records between devices that are rarely together.

The package knows keys, opaque items and blocks, and never tasks: it imports nothing of `lite`.
PROTOCOL.md beside this file says how it works and which of its parts exist.
"""

from __future__ import annotations

__all__: list[str] = []
