"""The UCAN Task ID: one name for the same command on the same subject, whoever asks for it.

Source: UCAN Invocation 1.0.0-rc.1, Task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR


def task_id(sub: str, cmd: str, args: Mapping[str, Any], nonce: bytes) -> CID:
    """The CID (dag-cbor, sha2-256) of the map `{sub, cmd, args, nonce}`.

    Raises:
        CodecError: `args` is outside the IPLD data model.
    """
    value = {"sub": sub, "cmd": cmd, "args": dict(args), "nonce": nonce}
    return CID.of(dag_cbor.encode(value), DAG_CBOR)
