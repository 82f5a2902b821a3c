"""Every route of the API."""

from __future__ import annotations

from typing import Final

from lite.http import about, accounts, calls, peers, records, runs

__all__ = ["ROUTES"]

ROUTES: Final = (
    *calls.ROUTES,
    *runs.ROUTES,
    *accounts.ROUTES,
    *records.ROUTES,
    *peers.ROUTES,
    *about.ROUTES,
)
