"""`ipvm ucan`: who may do what at this node, and what this node may do at others."""

from __future__ import annotations

from lite.cli.command import group
from lite.cli.ucan_delegate import delegate, forget, revoke
from lite.cli.ucan_inspect import inspect, verify
from lite.cli.ucan_invoke import invoke, run
from lite.cli.ucan_keep import import_, list_
from lite.cli.ucan_send import send

ucan = group(
    "ucan",
    help="Let others do something at this node, offline, with nothing but bytes: UCAN 1.0.",
    example="ipvm ucan delegate --to did:key:z6Mk… --cmd /wasm/run --exp 7d > laptop.ucan",
)
for _verb in (delegate, import_, inspect, verify, revoke, forget, list_, invoke, run, send):
    ucan.add_command(_verb)
