"""The codec-fixtures of IPLD: the same data in several codecs, each file named by its CID."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lite.ipld import dag_cbor, dag_json, dag_pb
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, DAG_JSON, DAG_PB

CODECS = {".dag-cbor": DAG_CBOR, ".dag-json": DAG_JSON, ".dag-pb": DAG_PB}


def logical(node: dag_pb.PbNode) -> dict[str, Any]:
    """A DAG-PB node as the IPLD map that the spec shows it as."""
    links: list[dict[str, Any]] = []
    for link in node.links:
        links.append({"Hash": link.cid})
        if link.name is not None:
            links[-1]["Name"] = link.name
        if link.tsize is not None:
            links[-1]["Tsize"] = link.tsize
    return {"Links": links} | ({} if node.data is None else {"Data": node.data})


def physical(value: dict[str, Any]) -> dag_pb.PbNode:
    links = (
        dag_pb.PbLink(link["Hash"], link.get("Name"), link.get("Tsize")) for link in value["Links"]
    )
    return dag_pb.PbNode(tuple(links), value.get("Data"))


def decode(codec: int, data: bytes) -> Any:
    if codec == DAG_CBOR:
        return dag_cbor.decode(data)
    if codec == DAG_JSON:
        return dag_json.decode(data, canonical=True)
    return logical(dag_pb.decode(data))


def encode(codec: int, value: Any) -> bytes:
    if codec == DAG_PB:
        return dag_pb.encode(physical(value))
    return dag_cbor.encode(value) if codec == DAG_CBOR else dag_json.encode(value)


@pytest.fixture
def fixtures(vectors: Path) -> list[Path]:
    folder = vectors / "codec-fixtures" / "fixtures"
    if not folder.is_dir():
        pytest.skip(f"no codec-fixtures in {vectors}")
    found = sorted(path for path in folder.iterdir() if path.is_dir())
    assert len(found) == 128
    return found


def test_every_fixture_reads_and_writes_to_its_cid_in_every_codec(fixtures: list[Path]) -> None:
    blocks = 0
    for folder in fixtures:
        values = {}
        files = {CODECS[path.suffix]: path for path in folder.iterdir()}
        for codec, path in files.items():
            block = Block(CID.parse(path.stem), path.read_bytes())
            assert block.cid.codec == codec, path
            values[codec] = decode(codec, block.data)
        for codec, path in files.items():
            for value in values.values():
                assert Block.make(encode(codec, value), codec).cid == CID.parse(path.stem), path
            blocks += 1
    assert blocks == 273
