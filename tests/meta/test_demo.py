"""scripts/demo tells its whole story, with a picture that is computed and with one's own."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS_MAX = 60
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", ROOT / "examples/imaging/demo.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with only what the demo uses, so that its `.demo` is the tests' own."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "examples" / "imaging", folder / "examples" / "imaging")
    return folder


def run(project: Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("IPVM_")}
    return subprocess.run(
        [sys.executable, project / "examples/imaging/demo.py", *args],
        env={**env, "NO_COLOR": "1", "PYTHONPATH": str(ROOT)},
        cwd=project.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS_MAX,
    )


def done(shown: str) -> set[str]:
    """The steps of which a table says that they ran."""
    return set(re.findall(r"✓ (\w+) +done ", shown))


def ppm(width: int, height: int) -> bytes:
    pixels = bytes((x * y * 7 + c * x) % 256 for y in range(height) for x in range(width)
                   for c in range(3))  # fmt: skip
    return b"P6\n# made by a test\n%d %d\n255\n" % (width, height) + pixels


def test_it_crashes_goes_on_shares_work_verifies_and_shows_the_pictures(project: Path) -> None:
    told = run(project)
    assert told.returncode == 0, told.stdout
    story = re.split(r"^\d\. ", told.stdout, flags=re.MULTILINE)
    assert len(story) == 7
    crash, resumed, two, again, verified, why = story[1:]
    before, after = done(crash), done(resumed)
    assert before >= {"picture", "crop"}
    assert "kill -9" in crash and "interrupted" in resumed
    assert "blur" in after and not before & after
    assert f"{4 - len(after)} of 4 without work · {len(after)} ran" in resumed
    assert "3 of 4 without work · 1 ran" in two
    assert "4 of 4 without work · 0 ran" in again
    assert verified.count("and the signature") == 5
    assert "step rotate90 of one" in why and "render" in why
    for name in ("picture.png", "one.png", "two.png"):
        file = project / ".demo" / name
        assert str(file) in why
        assert file.read_bytes().startswith(PNG)
    assert re.search(r"Done in \d+\.\d s, after 0 s of set-up", why)


def test_it_works_again_and_on_a_photo_of_ones_own(project: Path) -> None:
    photo = project / "my photo.ppm"
    photo.write_bytes(ppm(400, 300))
    told = run(project, photo)
    assert told.returncode == 0, told.stdout
    assert "crop → rotate90 → blur of my photo.ppm" in told.stdout
    assert "2 of 3 without work · 1 ran" in told.stdout
    for name in ("one.png", "two.png"):
        data = (project / ".demo" / name).read_bytes()
        assert data[16:24] == (225).to_bytes(4, "big") * 2


@pytest.mark.parametrize(
    ("name", "why"), [("nothing.png", "No such file"), ("text.png", "neither a PNG nor")]
)
def test_what_is_no_picture_is_refused(project: Path, name: str, why: str) -> None:
    (project / "text.png").write_text("no picture")
    told = run(project, project / name)
    assert (told.returncode, why in told.stdout) == (1, True)


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (PNG + b"\0\0\0\x0dIHDR" + b"\0\0\2\x80\0\0\1\xe0" + b"\x08\2\0\0\0", (640, 480)),
        (b"P6 3 4 255\n", (3, 4)),
        (b"P5\n# one\n# two\n30\n# three\n40\n255\n", (30, 40)),
    ],
    ids=["png", "ppm", "comments"],
)
def test_the_size_of_a_photo_is_in_its_head(
    demo: ModuleType, head: bytes, size: tuple[int, int]
) -> None:
    assert demo.size_of(head) == size


@pytest.mark.parametrize("head", [b"", PNG, b"GIF89a", b"P6 3", b"P7 3 4 255\n"])
def test_other_files_have_no_size(demo: ModuleType, head: bytes) -> None:
    with pytest.raises(ValueError, match="neither"):
        demo.size_of(head)


@pytest.mark.parametrize("size", [(1, 1), (40, 30), (4000, 3000)])
def test_the_square_lies_inside_of_the_photo(demo: ModuleType, size: tuple[int, int]) -> None:
    text = (ROOT / "examples/imaging/one.yaml").read_text("utf-8")
    own = demo.with_photo(text, "photo.png", size)
    assert "${picture}" not in own.split("steps:")[1]
    x, y, width, height = map(int, re.findall(r'"@photo\.png", (\d+), (\d+), (\d+), (\d+)', own)[0])
    assert 1 <= width == height
    assert x + width <= size[0] and y + height <= size[1]


@pytest.mark.parametrize(
    ("state", "said"), [("done", "done before anything can crash"), ("interrupted", "died in the")]
)
def test_it_says_so_when_the_kill_came_too_late(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, state: str, said: str
) -> None:
    told: list[str] = []
    story = demo.Story()
    monkeypatch.setattr(story, "say", told.append)
    monkeypatch.setattr(story, "run", lambda *args: told.append(" ".join(args)))
    monkeypatch.setattr(story, "crash", lambda *args: None)
    runs = {"runs": [{"run": "0123456789abcdef", "state": state}]}
    monkeypatch.setattr(story, "ask", lambda *args: runs)
    demo.crash_and_resume(story, "one.yaml", ["--out", "blur=one.png"])
    assert said in told[0]
    assert told[1:] == ["workflow list", "workflow resume 01234567 --out blur=one.png"]
