"""The example guests: pinned bytes, rebuilt where the toolchain is, and true pictures."""

from __future__ import annotations

import importlib.util
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from lite import Node, wasm
from lite.ipld.cid import CID, RAW

GUESTS = {
    "wat/add.wasm": "bafkreihwd7lc6v6ecju4hqr7gyhov4ijbmo3tq4gkeigm5gurpdf3ouixi",
    "wasi/count.wasm": "bafkreidimwg3kyjwtwjmme7z7php7l3yl22vnu76zasfndrgow2se56stq",
    "imaging/imaging.wasm": "bafkreih2t5u7beefwhzquwopogrqbn772el5uw3a42bcq4s4iduc2ux2iu",
}


def png(width: int, height: int, rows: list[bytes], colour: int) -> bytes:
    """A PNG made independently of the guest, unfiltered."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def unfiltered(image: bytes) -> tuple[int, int, int, list[bytes]]:
    """Width, height, channels and rows of a PNG, decoded independently of the guest."""
    at, packed, width, height, colour = 8, b"", 0, 0, 0
    while at < len(image):
        (length,) = struct.unpack_from(">I", image, at)
        kind, body = image[at + 4 : at + 8], image[at + 8 : at + 8 + length]
        (crc,) = struct.unpack_from(">I", image, at + 8 + length)
        assert crc == zlib.crc32(kind + body)
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack_from(">IIBB", body)
            assert depth == 8
        packed += body if kind == b"IDAT" else b""
        at += length + 12
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    raw, rows, above = zlib.decompress(packed), [], bytes(width * channels)
    for y in range(height):
        line = bytearray(raw[y * (width * channels + 1) :][: width * channels + 1])
        kind, row = line[0], line[1:]
        for i in range(len(row)):
            left = row[i - channels] if i >= channels else 0
            corner = above[i - channels] if i >= channels else 0
            row[i] = row[i] + predicted(kind, left, above[i], corner) & 255
        above = bytes(row)
        rows.append(above)
    return width, height, channels, rows


def predicted(kind: int, left: int, up: int, corner: int) -> int:
    if kind == 4:
        guess = left + up - corner
        return min((left, up, corner), key=lambda v: abs(guess - v))
    return (0, left, up, (left + up) // 2)[kind]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory):
    with Node.open(tmp_path_factory.mktemp("examples") / "home") as opened:
        yield opened


@pytest.fixture(scope="module")
def tools(node: Node, root: Path) -> CID:
    return node.add(root / "examples/imaging/imaging.wasm")


@pytest.mark.parametrize("path", GUESTS)
def test_the_committed_guest_has_its_pinned_cid(root: Path, path: str) -> None:
    assert str(CID.of((root / "examples" / path).read_bytes(), RAW)) == GUESTS[path]


@pytest.mark.parametrize("path", GUESTS)
def test_a_rebuild_gives_the_same_bytes(root: Path, tmp_path: Path, path: str) -> None:
    if not path.startswith("wat") and importlib.util.find_spec("ziglang") is None:
        pytest.skip("the package ziglang is not installed: scripts/test --full installs it")
    name = Path(path).stem
    subprocess.run(
        [sys.executable, root / "examples/build.py", name, tmp_path],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    assert (tmp_path / f"{name}.wasm").read_bytes() == (root / "examples" / path).read_bytes()


def test_crop_rotate_and_grayscale_move_the_right_pixels(node: Node, tools: CID) -> None:
    width, height = 13, 7
    pixels = [
        [(x * 19 % 256, y * 36 % 256, x * y % 256) for x in range(width)] for y in range(height)
    ]
    photo = png(width, height, [b"".join(map(bytes, row)) for row in pixels], 2)

    def result(func: str, *args: int) -> tuple[int, int, int, list[bytes]]:
        return unfiltered(node.run(wasm(tools, func, photo, *args)).out.unwrap())

    cropped = [b"".join(map(bytes, row[3:8])) for row in pixels[2:6]]
    assert result("crop", 3, 2, 5, 4) == (5, 4, 3, cropped)
    turned = [
        b"".join(bytes(pixels[height - 1 - i][x]) for i in range(height)) for x in range(width)
    ]
    assert result("rotate90") == (height, width, 3, turned)
    grey = [bytes((299 * r + 587 * g + 114 * b + 500) // 1000 for r, g, b in row) for row in pixels]
    assert result("grayscale") == (width, height, 1, grey)


def test_blur_keeps_a_flat_picture_and_spreads_a_dot(node: Node, tools: CID) -> None:
    flat = b"P5 9 9 255\n" + b"\x64" * 81
    assert unfiltered(node.run(wasm(tools, "blur", flat, 3)).out.unwrap())[3] == [b"\x64" * 9] * 9
    dot = b"P5\n# a comment\n9 9\n255\n" + bytes(40) + b"\xff" + bytes(40)
    rows = unfiltered(node.run(wasm(tools, "blur", dot, 1)).out.unwrap())[3]
    assert rows == [row[::-1] for row in rows] == rows[::-1]
    assert 0 < rows[4][3] < rows[4][4] < 255
    assert rows[0] == bytes(9)


def test_render_is_a_picture_of_many_colours_and_each_seed_is_another(
    node: Node, tools: CID
) -> None:
    one = node.run(wasm(tools, "render", 96, 64, 1)).out.unwrap()
    two = node.run(wasm(tools, "render", 96, 64, 2)).out.unwrap()
    width, height, channels, rows = unfiltered(one)
    assert (width, height, channels) == (96, 64, 3)
    assert len({row[i : i + 3] for row in rows for i in range(0, len(row), 3)}) > 1000
    assert one != two


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (b"", "neither a PNG nor"),
        (b"\x89PNG\r\n\x1a\n", "cut off"),
        (b"P6 4 4 255\n", "cut off"),
        (b"P6 0 4 255\n", "empty"),
        (b"P6 99999 99999 255\n", "too large"),
    ],
)
def test_a_file_that_is_no_picture_is_an_error_value(
    node: Node, tools: CID, image: bytes, why: str
) -> None:
    result = node.run(wasm(tools, "grayscale", image)).out
    assert result.error_code == "guest-error"
    assert why in result.body["value"]


def test_the_command_counts_and_echoes(node: Node, root: Path) -> None:
    count = node.add(root / "examples/wasi/count.wasm")
    assert node.run(wasm(count, "_start", stdin=b"a b\nc d e\n")).out.unwrap() == b"2 5 10\n"
    assert node.run(wasm(count, "_start", "-w", stdin=b"a b\nc")).out.unwrap() == b"3\n"
    assert node.run(wasm(count, "_start", "hello", "world")).out.unwrap() == b"hello\nworld\n"
    failed = node.run(wasm(count, "_start", "-x")).out
    assert (failed.error_code, failed.body["status"]) == ("exit", 2)
