"""UnixFS: files and directories, and what is refused on reading them."""

from __future__ import annotations

import io

import pytest

from lite.errors import CodecError, IntegrityError, LimitError, NotFoundError, UsageError
from lite.ipld import dag_cbor, dag_json, dag_pb, unixfs
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, DAG_JSON, DAG_PB, IDENTITY, RAW
from lite.ipld.dag_pb import PbLink, PbNode
from lite.ipld.unixfs import Profile, hamt

TINY = Profile("tiny", chunk_bytes=4, links_per_node=3)
TEXT = bytes(range(65, 91)) * 3  # 78 bytes: 20 leaves under 7, 3 and 1 nodes


class Blocks(dict[CID, bytes]):
    """A store in memory that counts what is fetched from it."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[CID] = []

    def put(self, block: Block) -> None:
        self[block.cid] = block.data

    def get_block(self, cid: CID) -> bytes:
        self.fetched.append(cid)
        if cid not in self:
            raise NotFoundError(f"no block {cid}")
        return self[cid]

    def add(self, data: bytes, codec: int = RAW) -> CID:
        block = Block.make(data, codec)
        self.put(block)
        return block.cid

    def add_node(self, message: bytes | None, *links: tuple[CID, str, int]) -> CID:
        """A DAG-PB block with the given UnixFS message."""
        node = PbNode(tuple(PbLink(*link) for link in links), message)
        return self.add(dag_pb.encode(node), DAG_PB)

    def add_text(self) -> CID:
        return unixfs.write_file(io.BytesIO(TEXT), self.put, TINY)

    def read(self, cid: CID, offset: int = 0, length: int | None = None) -> bytes:
        return b"".join(unixfs.read_file(cid, self.get_block, offset=offset, length=length))


@pytest.fixture
def blocks() -> Blocks:
    return Blocks()


def message(kind: int, size: int | None = None, sizes: tuple[int, ...] = ()) -> bytes:
    """A UnixFS message with one-byte numbers."""
    head = bytes((0x08, kind))
    return (
        head
        + (b"" if size is None else bytes((0x18, size)))
        + b"".join(bytes((0x20, each)) for each in sizes)
    )


def test_a_file_of_at_most_one_chunk_is_one_raw_block(blocks: Blocks) -> None:
    for data in (b"", b"a", b"abcd"):
        cid = unixfs.write_file(io.BytesIO(data), blocks.put, TINY)
        assert cid == CID.of(data, RAW)
        assert blocks.read(cid) == data
        assert unixfs.file_size(cid, blocks.get_block) == len(data)


def test_a_larger_file_is_a_balanced_tree_that_reads_back(blocks: Blocks) -> None:
    cid = blocks.add_text()
    assert cid.codec == DAG_PB
    assert unixfs.file_size(cid, blocks.get_block) == len(TEXT)
    assert blocks.read(cid) == TEXT
    assert {len(data) for at, data in blocks.items() if at.codec == RAW} == {4, 2}


def test_the_two_profiles_are_the_documented_ones() -> None:
    assert {name: (p.chunk_bytes, p.links_per_node) for name, p in unixfs.PROFILES.items()} == {
        "unixfs-v1-2025": (1_048_576, 1024),
        "legacy-256k": (262_144, 174),
    }


@pytest.mark.parametrize("length", [0, 1, 4, 5, 50, 1000, None])
def test_any_part_of_a_file_can_be_read(blocks: Blocks, length: int | None) -> None:
    cid = blocks.add_text()
    for offset in range(len(TEXT) + 3):
        end = None if length is None else offset + length
        assert blocks.read(cid, offset, length) == TEXT[offset:end]


def test_reading_a_part_fetches_only_the_way_to_it(blocks: Blocks) -> None:
    cid = blocks.add_text()
    blocks.fetched.clear()
    assert blocks.read(cid, offset=40, length=2) == TEXT[40:42]
    assert len(blocks.fetched) == 4  # root, two inner nodes, one leaf


def test_reading_streams_leaf_by_leaf(blocks: Blocks) -> None:
    cid = blocks.add_text()
    blocks.fetched.clear()
    pieces = unixfs.read_file(cid, blocks.get_block)
    assert next(pieces) == TEXT[:4]
    assert len(blocks.fetched) == 4


def test_a_stream_that_gives_little_at_a_time_gets_the_same_cid(blocks: Blocks) -> None:
    class Dribble(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 3))

    assert unixfs.write_file(Dribble(TEXT), blocks.put, TINY) == blocks.add_text()


def test_writing_holds_one_chunk_and_the_open_nodes_only() -> None:
    taken = 0

    class Counting(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal taken
            chunk = super().read(size)
            taken += len(chunk)
            return chunk

    written: list[int] = []
    unixfs.write_file(Counting(TEXT), lambda block: written.append(taken), TINY)
    # Each leaf, and each node as it fills, is put before the next chunk is read.
    assert written[:5] == [4, 8, 12, 12, 16]


def test_negative_ranges_are_usage_errors(blocks: Blocks) -> None:
    cid = blocks.add(b"x")
    for offset, length in ((-1, None), (0, -1)):
        with pytest.raises(UsageError, match="negative"):
            unixfs.read_file(cid, blocks.get_block, offset=offset, length=length)


def test_an_absent_block_is_not_found(blocks: Blocks) -> None:
    cid = blocks.add_text()
    leaf = CID.of(TEXT[8:12], RAW)
    del blocks[leaf]
    with pytest.raises(NotFoundError, match=str(leaf)):
        blocks.read(cid)


def test_identity_links_need_no_block(blocks: Blocks) -> None:
    inline = CID.of(b"abc", RAW, IDENTITY)
    cid = blocks.add_node(message(2, 6, (3, 3)), (inline, "", 3), (inline, "", 3))
    assert blocks.read(cid) == b"abcabc"
    assert blocks.read(inline) == b"abc"


def test_data_in_inner_nodes_comes_before_that_of_their_links(blocks: Blocks) -> None:
    leaf = blocks.add_node(b"\x08\x00\x12\x02cd")
    packed_sizes = b"\x08\x02\x12\x02ab\x22\x02\x02\x02\x38\xa4\x03"  # packed, then a mode
    cid = blocks.add_node(packed_sizes, (leaf, "", 8), (leaf, "", 8))
    assert blocks.read(cid) == b"abcdcd"
    assert blocks.read(cid, offset=1, length=3) == b"bcd"


MALFORMED: list[tuple[str, bytes | None, type[Exception], str]] = [
    ("no UnixFS data", None, CodecError, "without UnixFS data"),
    ("empty message", b"", CodecError, "no type"),
    ("unknown type", b"\x08\x09", CodecError, "not UnixFS"),
    ("truncated message", b"\x08", CodecError, "not UnixFS"),
    ("size too large", message(2, 9, (4, 4)), IntegrityError, "says 9 bytes"),
    ("too few sizes", message(2, 4, (4,)), IntegrityError, "2 links but 1 sizes"),
    ("too many sizes", message(2, 12, (4, 4, 4)), IntegrityError, "2 links but 3 sizes"),
    ("leaf smaller than said", message(2, 9, (4, 5)), IntegrityError, "parent says 5"),
    ("leaf larger than said", message(2, 7, (3, 4)), IntegrityError, "parent says 3"),
    ("directory", message(1), UsageError, "is a directory"),
    ("symbolic link", b"\x08\x04\x12\x01x", UsageError, "symbolic link"),
    ("metadata", b"\x08\x03", UsageError, "metadata"),
]


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [pytest.param(data, kind, reason, id=name) for name, data, kind, reason in MALFORMED],
)
def test_malformed_files_are_refused(
    blocks: Blocks, data: bytes | None, kind: type[Exception], reason: str
) -> None:
    leaf = blocks.add(b"leaf")
    cid = blocks.add_node(data, (leaf, "", 4), (leaf, "", 4))
    with pytest.raises(kind, match=reason):
        blocks.read(cid)


def test_a_directory_inside_a_file_is_refused(blocks: Blocks) -> None:
    folder = blocks.add_node(message(1))
    cid = blocks.add_node(message(2, 1, (1,)), (folder, "", 4))
    with pytest.raises(CodecError, match="part of a file but is a directory"):
        blocks.read(cid)


def test_data_of_another_codec_is_not_a_file(blocks: Blocks) -> None:
    with pytest.raises(UsageError, match="dag-cbor data, not a file"):
        unixfs.file_size(blocks.add(b"\xa0", DAG_CBOR), blocks.get_block)


def test_a_tree_deeper_than_the_bound_is_refused(blocks: Blocks) -> None:
    cid = blocks.add(b"x")
    for _ in range(256):
        cid = blocks.add_node(message(2, 1, (1,)), (cid, "", 1))
    assert blocks.read(cid) == b"x"
    cid = blocks.add_node(message(2, 1, (1,)), (cid, "", 1))
    with pytest.raises(CodecError, match="deeper than 256"):
        blocks.read(cid)


def test_a_tree_of_nothing_costs_nothing(blocks: Blocks) -> None:
    cid = blocks.add(b"")
    for _ in range(100):  # walked in full, this would be 100^100 visits
        cid = blocks.add_node(message(2, 0, (0,) * 100), *[(cid, "", 0)] * 100)
    blocks.fetched.clear()
    assert blocks.read(cid) == b""
    assert len(blocks.fetched) == 1


def test_a_node_that_links_to_itself_ends(blocks: Blocks) -> None:
    cid = CID.of(b"cannot happen with honest hashes", DAG_PB)
    blocks[cid] = dag_pb.encode(PbNode((PbLink(cid, "", 1),), message(2, 1, (1,))))
    with pytest.raises(CodecError, match="deeper than"):
        blocks.read(cid)


def test_a_directory_lists_its_entries_by_the_bytes_of_their_names(blocks: Blocks) -> None:
    leaf = blocks.add(b"leaf")
    names = ["b", "a.txt", "é", "Z", "a"]
    cid = unixfs.write_directory([(name, leaf, 4) for name in names], blocks.put)
    entries = unixfs.list_directory(cid, blocks.get_block)
    assert [entry.name for entry in entries] == ["Z", "a", "a.txt", "b", "é"]
    assert {(entry.cid, entry.tsize) for entry in entries} == {(leaf, 4)}
    assert unixfs.cumulative_size(cid, blocks.get_block) == len(blocks[cid]) + 20


def test_an_empty_directory_has_its_known_cid(blocks: Blocks) -> None:
    cid = unixfs.write_directory([], blocks.put)
    assert str(cid) == "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
    assert unixfs.list_directory(cid, blocks.get_block) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0", "\ud800"])
def test_names_that_no_file_can_have_are_neither_written_nor_read(
    blocks: Blocks, name: str
) -> None:
    leaf = blocks.add(b"leaf")
    with pytest.raises(UsageError, match="cannot be a name"):
        unixfs.write_directory([(name, leaf, 4)], blocks.put)
    if name != "\ud800":
        cid = blocks.add_node(message(1), (leaf, name, 4))
        with pytest.raises(CodecError, match="has an entry named"):
            unixfs.list_directory(cid, blocks.get_block)


def test_the_same_name_twice_is_neither_written_nor_read(blocks: Blocks) -> None:
    leaf = blocks.add(b"leaf")
    with pytest.raises(UsageError, match="twice"):
        unixfs.write_directory([("a", leaf, 4), ("a", leaf, 4)], blocks.put)
    cid = blocks.add_node(message(1), (leaf, "a", 4), (leaf, "a", 4))
    with pytest.raises(CodecError, match="twice"):
        unixfs.list_directory(cid, blocks.get_block)


def test_a_directory_whose_shards_are_too_large_for_a_block_is_refused(blocks: Blocks) -> None:
    leaf = blocks.add(b"leaf")
    with pytest.raises(LimitError, match="one block of a large folder"):
        unixfs.write_directory(((f"{n:060000}", leaf, 4) for n in range(110)), blocks.put)


def test_a_file_is_not_a_directory(blocks: Blocks) -> None:
    with pytest.raises(UsageError, match="not a directory"):
        unixfs.list_directory(blocks.add(b"leaf"), blocks.get_block)


SHARD = b"\x08\x05\x28\x22\x30\x10"  # murmur3, 16 slots


def test_shards_are_walked_and_their_slot_numbers_dropped(blocks: Blocks) -> None:
    leaf = blocks.add(b"leaf")
    below = blocks.add_node(SHARD, (leaf, "0beta", 4), (leaf, "Fgamma", 4))
    cid = blocks.add_node(SHARD, (below, "3", 9), (leaf, "Aalpha", 4))
    names = [entry.name for entry in unixfs.list_directory(cid, blocks.get_block)]
    assert names == ["alpha", "beta", "gamma"]


def test_a_name_is_found_in_a_sharded_directory_with_one_block_a_level(blocks: Blocks) -> None:
    leaves = {f"file {n}": blocks.add(b"%d" % n) for n in range(7_000)}
    cid = unixfs.write_directory(((n, leaf, 4) for n, leaf in leaves.items()), blocks.put)
    assert {e.name: e.cid for e in unixfs.list_directory(cid, blocks.get_block)} == leaves
    blocks.fetched.clear()
    assert unixfs.resolve_path(cid, "file 5", blocks.get_block) == leaves["file 5"]
    assert len(blocks.fetched) == 2
    with pytest.raises(NotFoundError, match="no entry"):
        unixfs.resolve_path(cid, "file 7000", blocks.get_block)


def test_names_in_the_same_slots_go_down_together_and_equal_hashes_are_refused(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = blocks.add(b"leaf")
    links = {name: PbLink(leaf, name.decode(), 4) for name in (b"a", b"b")}
    hashes = {b"a": 0xFF00_0000_0000_0000, b"b": 0xFF00_0000_0000_0001}
    monkeypatch.setattr(hamt, "name_hash", hashes.__getitem__)
    cid = hamt.write_shards(links, blocks.put)
    assert [e.name for e in unixfs.list_directory(cid, blocks.get_block)] == ["a", "b"]
    assert len(blocks) == 1 + 8
    hashes[b"b"] = hashes[b"a"]
    with pytest.raises(LimitError, match="the same hash"):
        hamt.write_shards(links, blocks.put)


@pytest.mark.parametrize("fanout", [2, 8, 16, 256, 1024])
def test_shards_of_any_width_read_back(blocks: Blocks, fanout: int) -> None:
    leaf = blocks.add(b"leaf")
    names = [f"{n}" for n in range(300)]
    links = {name.encode(): PbLink(leaf, name, 4) for name in names}
    cid = hamt.write_shards(links, blocks.put, fanout)
    assert {e.name for e in unixfs.list_directory(cid, blocks.get_block)} == set(names)
    assert all(unixfs.resolve_path(cid, name, blocks.get_block) == leaf for name in names)
    whole = sum(len(data) for data in blocks.values()) - len(b"leaf")
    assert unixfs.cumulative_size(cid, blocks.get_block) == whole + 4 * len(names)


def test_malformed_shards_are_refused(blocks: Blocks) -> None:
    leaf = blocks.add(b"leaf")
    below = blocks.add_node(SHARD, (leaf, "0beta", 4))
    plain = blocks.add_node(message(1), (leaf, "beta", 4))
    other = blocks.add_node(SHARD[:-1] + b"\x20", (leaf, "00beta", 4))
    for links, kind, reason in [
        ([(leaf, "gname", 4)], CodecError, "slot number"),
        ([(leaf, "", 4)], CodecError, "slot number"),
        ([(plain, "0", 4)], CodecError, "is not one"),
        ([(other, "0", 4)], CodecError, "is not one"),
        ([(below, "0", 4), (below, "1", 4)], IntegrityError, "twice"),
    ]:
        cid = blocks.add_node(SHARD, *links)
        with pytest.raises(kind, match=reason):
            unixfs.list_directory(cid, blocks.get_block)


def test_a_path_goes_through_directories_and_values(blocks: Blocks) -> None:
    get = blocks.get_block
    leaf = blocks.add(b"leaf")
    folder = unixfs.write_directory([("file", leaf, 4)], blocks.put)
    value = blocks.add(dag_cbor.encode({"list": [1, {"dir": folder}], "n": 1}), DAG_CBOR)
    text = blocks.add(dag_json.encode({"value": value}), DAG_JSON)
    top = unixfs.write_directory([("value", text, 9), ("sub", folder, 9)], blocks.put)
    assert unixfs.resolve_path(top, "", get) == top
    assert unixfs.resolve_path(top, "/sub//file/", get) == leaf
    assert unixfs.resolve_path(top, "value/value/list/1/dir/file", get) == leaf
    for path in ("no", "sub/no", "value/no", "value/value/list/2", "value/value/list/01"):
        with pytest.raises(NotFoundError):
            unixfs.resolve_path(top, path, get)
    for path in ("sub/file/x", "value/value/n", "value/value/list/1"):
        with pytest.raises(UsageError):
            unixfs.resolve_path(top, path, get)


def test_the_links_of_a_block_depend_on_its_codec(blocks: Blocks) -> None:
    leaf = blocks.add(b"leaf")
    folder = unixfs.write_directory([("a", leaf, 4), ("b", leaf, 4)], blocks.put)
    assert unixfs.block_links(folder, blocks[folder]) == [leaf, leaf]
    cbor = dag_cbor.encode([leaf, {"a": folder}])
    assert unixfs.block_links(CID.of(cbor, DAG_CBOR), cbor) == [leaf, folder]
    json = dag_json.encode([folder])
    assert unixfs.block_links(CID.of(json, DAG_JSON), json) == [folder]
    assert unixfs.block_links(leaf, b"leaf") == []
    assert unixfs.block_links(CID.of(cbor, 0x0202), cbor) == []
    for codec in (DAG_PB, DAG_CBOR, DAG_JSON):
        with pytest.raises(CodecError):
            unixfs.block_links(CID.of(b"\xff\xff", codec), b"\xff\xff")


LINK = "0a240155" + "1220" + "00" * 32


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("0a01", "truncated field"),
        ("1a00", "unknown field 3"),
        ("0800", "unknown field 1 .wire type 0."),
        ("0b", "wire type 3 is unknown"),
        ("090000000000000000", "unknown field 1 .wire type 1."),
        ("0a000a00", "data given twice"),
        ("1200", "without a hash"),
        ("12020a00", "not a CID"),
        ("122a" + LINK + "1800" + "1200", "out of order"),
        ("124c" + LINK + LINK, "out of order or repeated"),
        ("1228" + LINK + "2000", "unknown field 4"),
        ("1229" + LINK + "1201ff", "not UTF-8"),
        ("1226" + LINK + "0a00" + "1226" + LINK, "both sides"),
        ("8a0000", "shortest form"),
    ],
)
def test_bad_dag_pb_is_refused_for_its_reason(data: str, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        dag_pb.decode(bytes.fromhex(data))


def test_dag_pb_keeps_absent_and_empty_fields_apart() -> None:
    leaf = CID.of(b"leaf", RAW)
    for node in (
        PbNode(),
        PbNode(data=b""),
        PbNode((PbLink(leaf),)),
        PbNode((PbLink(leaf, "", 0), PbLink(leaf, "b", None)), b"x"),
    ):
        assert dag_pb.decode(dag_pb.encode(node)) == node


def test_data_before_links_is_read() -> None:
    node = dag_pb.decode(bytes.fromhex("0a0161" + "1226" + LINK + "1226" + LINK))
    assert (node.data, len(node.links)) == (b"a", 2)
