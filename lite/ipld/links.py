"""The links out of a block, whatever its codec."""

from __future__ import annotations

from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, DAG_JSON, DAG_PB


def block_links(cid: CID, data: bytes) -> list[CID]:
    """The CIDs that a block links to, in their order, repeats included.

    Raw blocks, and those of codecs that are unknown here, have none.

    Raises:
        CodecError: the bytes are not what the codec in `cid` says.
    """
    if cid.codec == DAG_PB:
        from lite.ipld import dag_pb

        return [link.cid for link in dag_pb.decode(data).links]
    if cid.codec == DAG_CBOR:
        return list(dag_cbor.links(dag_cbor.decode(data)))
    if cid.codec == DAG_JSON:
        from lite.ipld import dag_json

        return list(dag_cbor.links(dag_json.decode(data)))
    return []
