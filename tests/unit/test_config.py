"""Settings: where a value comes from, what texts mean, and edits that keep a file as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.config import SETTINGS, Config, find_home
from lite.config_file import template, write_setting
from lite.errors import ConfigError, StoreError
from lite.frozen import replace
from lite.keys import Key
from lite.quantities import (
    DURATION_MAX_MS,
    FUEL_MAX,
    SIZE_MAX,
    parse_duration_ms,
    parse_fuel,
    parse_size,
    render_duration,
    render_fuel,
    render_size,
)
from lite.setting_texts import PEER_NAME_CHARS_MAX, parse_path
from sync.peers import NAME_CHARS_MAX

DID = Key.from_seed(bytes(32)).did


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64K", 65536),
        ("64M", 64 << 20),
        ("64MiB", 64 << 20),
        ("64MB", 64_000_000),
        ("1GiB", 1 << 30),
        ("1.5g", 3 << 29),
        (" 2 t ", 2 << 40),
        ("10b", 10),
        ("1_000", 1000),
    ],
)
def test_a_size_is_read(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "M", "-1", "1X", "1e3", "0.3", "1.0001K", "9" * 40, "1 M B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["9223372036854775807", "4194305T", "99999999999G"])
def test_a_size_that_is_too_large_is_called_so(text: str) -> None:
    with pytest.raises(ConfigError, match="is too large a size") as refused:
        parse_size(text)
    assert refused.value.hint == "Write at most 4194304T."
    assert parse_size("4194304T") == 2**62


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("500ms", 500),
        ("1s", 1000),
        ("1.5s", 1500),
        ("10m", 600_000),
        ("2h", 7_200_000),
        ("7d", 604_800_000),
        ("1w", 604_800_000),
        ("3 min", 180_000),
    ],
)
def test_a_duration_is_read(text: str, ms: int) -> None:
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "60", "1y", "-1s", "0.5ms", "1h30m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a duration"):
        parse_duration_ms(text)


@pytest.mark.parametrize("text", ["9999999w", "999999999d", "36601d"])
def test_a_duration_of_over_a_hundred_years_is_too_long(text: str) -> None:
    with pytest.raises(ConfigError, match=f"“{text}” is too long") as told:
        parse_duration_ms(text)
    assert "at most 36600d" in str(told.value.hint)


@pytest.mark.parametrize(
    ("text", "fuel"),
    [
        ("1", 1),
        ("1000000", 10**6),
        ("1M", 10**6),
        ("2.5G", 2_500_000_000),
        ("1T", 10**12),
        ("500k", 500_000),
        ("1_000", 1000),
    ],
)
def test_fuel_is_read(text: str, fuel: int) -> None:
    assert parse_fuel(text) == fuel


@pytest.mark.parametrize("text", ["", "x", "1MiB", "-5", "0.5", str(2**63)])
def test_what_is_no_fuel_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an amount of fuel"):
        parse_fuel(text)


@given(st.integers(0, SIZE_MAX), st.integers(0, DURATION_MAX_MS), st.integers(0, FUEL_MAX))
def test_what_is_rendered_reads_back(size_bytes: int, ms: int, fuel: int) -> None:
    assert parse_size(render_size(size_bytes)) == size_bytes
    assert parse_duration_ms(render_duration(ms)) == ms
    assert parse_fuel(render_fuel(fuel)) == fuel


@given(st.text(max_size=20))
def test_any_text_is_a_quantity_or_a_config_error(text: str) -> None:
    for parse in (parse_size, parse_duration_ms, parse_fuel):
        try:
            assert parse(text) >= 0
        except ConfigError as error:
            assert error.hint


def test_every_default_reads_back_from_its_text() -> None:
    for s in SETTINGS.values():
        assert s.parse(s.render(s.default)) == s.default, s.name


def test_without_a_file_everything_is_the_default(tmp_path: Path) -> None:
    config = Config.load(tmp_path, env={})
    assert {config.source(name) for name in SETTINGS} == {"default"}
    assert config.home == tmp_path
    assert (config.durability, config.engine, config.quota_bytes) == ("full", "auto", None)
    assert config.limits.fuel == 10**12
    assert config.engine_caps.compile_ms == 120_000
    assert (config.trust_issuers, config.trust_confirmations) == ((), 1)
    assert config.unixfs_profile == "unixfs-v1-2025"
    assert config.cache_dir == tmp_path / "cache"


def test_a_flag_goes_before_the_environment_before_the_file_before_the_default(
    tmp_path: Path,
) -> None:
    write_setting(tmp_path, "limits.fuel", "3")
    name, env = "limits.fuel", {"IPVM_LIMITS_FUEL": "2"}
    loaded = [
        Config.load(tmp_path, {name: "1"}, env=env),
        Config.load(tmp_path, env=env),
        Config.load(tmp_path, env={"IPVM_LIMITS_FUEL": ""}),
    ]
    assert [c[name] for c in loaded] == [1, 2, 3]
    assert [c.source(name) for c in loaded] == [
        "flag",
        "environment IPVM_LIMITS_FUEL",
        str(tmp_path / "config.toml"),
    ]


def test_toml_types_and_dotted_keys_are_understood(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        'cache.size = 1024\n[engine]\nin_process = true\nworkers = 3\n[trust]\nissuers = ["'
        + DID
        + '"]\n'
    )
    config = Config.load(tmp_path, env={})
    assert (config.cache_bytes, config.in_process, config.workers) == (1024, True, 3)
    assert config.trust_issuers == (DID,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[limits]\nfuel = 'lots'", "limits.fuel.*lots.*not an amount"),
        ("[limits]\nfule = 1", "no setting “limits.fule”"),
        ("fuel = 1", "no setting “fuel”"),
        ("[limits]\nfuel = 0", "too small"),
        ("[limits]\nfuel = 1.5", "float is not a value"),
        ("[limits\n", "not valid TOML"),
        ("[engine]\nname = 'v8'", "not one of the choices"),
        ("[trust]\nissuers = ['me']", "not a did:key"),
        ("[trust]\nissuers = [1]", "list is not a value"),
        ("[store]\ndurability = true", "not one of"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ConfigError, match=says) as caught:
        Config.load(tmp_path, env={})
    assert "config.toml" in str(caught.value)


def test_a_broken_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"IPVM_LIMITS_TIME.*“60”"):
        Config.load(tmp_path, env={"IPVM_LIMITS_TIME": "60"})


def test_an_unknown_name_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load(tmp_path, {"limit.fuel": "1"}, env={})
    assert caught.value.hint == "Did you mean limits.fuel?"


def test_a_file_that_is_not_text_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.load(tmp_path, env={})


def test_the_template_names_every_setting_and_sets_none(tmp_path: Path) -> None:
    text = template()
    (tmp_path / "config.toml").write_text(text)
    config = Config.load(tmp_path, env={})
    assert {config.source(name) for name in SETTINGS} == {"default"}
    for name, s in SETTINGS.items():
        assert f"# {name.partition('.')[2]} = " in text
        assert s.help in text


def test_the_templates_lines_hold_when_their_mark_is_taken_away(tmp_path: Path) -> None:
    lines = template().splitlines()
    active = [line.removeprefix("# ") if " = " in line else line for line in lines]
    (tmp_path / "config.toml").write_text("\n".join(active))
    config = Config.load(tmp_path, env={})
    assert {name: config[name] for name in SETTINGS} == {n: s.default for n, s in SETTINGS.items()}


def test_an_edit_changes_one_line_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# mine\n\n[limits]  # tight\n  fuel = 5 # why\ntime='1s'\n\n[engine]\n")
    write_setting(tmp_path, "limits.fuel", "6M")
    assert path.read_text() == (
        "# mine\n\n[limits]  # tight\n  fuel = \"6M\" # why\ntime='1s'\n\n[engine]\n"
    )
    write_setting(tmp_path, "engine.workers", "4")
    write_setting(tmp_path, "cache.size", "1G")
    assert path.read_text().endswith('[engine]\nworkers = 4\n\n[cache]\nsize = "1G"\n')
    write_setting(tmp_path, "limits.fuel", None)
    assert "fuel" not in path.read_text()
    assert "time='1s'" in path.read_text()


def test_a_list_over_several_lines_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[trust]\nissuers = [ # friends\n  "{DID}",\n]\nconfirmations = 2\n')
    write_setting(tmp_path, "trust.issuers", "")
    config = Config.load(tmp_path, env={})
    assert (config.trust_issuers, config.trust_confirmations) == ((), 2)
    write_setting(tmp_path, "trust.issuers", f"{DID}, {DID}")
    assert Config.load(tmp_path, env={}).trust_issuers == (DID, DID)


def test_a_hash_inside_a_value_is_not_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[engine]\nname = 'auto' # a '#' here\n")
    write_setting(tmp_path, "engine.name", "wasmtime")
    assert path.read_text() == "[engine]\nname = \"wasmtime\" # a '#' here\n"


def test_a_file_too_unusual_to_edit_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    text = "limits = { fuel = 5 }\n"
    path.write_text(text)
    with pytest.raises(ConfigError, match="cannot edit") as caught:
        write_setting(tmp_path, "limits.fuel", "6")
    assert path.read_text() == text
    assert 'limits.fuel = "6"' in str(caught.value.hint)


EXAMPLES = {
    "limits.fuel": ("10G", 10**10),
    "limits.fuel_cap": ("20G", 2 * 10**10),
    "limits.time": ("5m", 300_000),
    "store.quota": ("50G", 50 << 30),
    "trust.issuers": (DID, (DID,)),
    "peers.battery_min": ("40", 40),
    "node.tags": ("lab,eu-west", ("lab", "eu-west")),
    "node.gpus": ("NVIDIA A100:80G, pretend", (("NVIDIA A100", 80 << 30), ("pretend", None))),
    "queue.worth": ("cent=30s, euro=50m", (("cent", 30_000), ("euro", 3_000_000))),
    "queue.referee": ("lab", "lab"),
    "provider.price": ("5", 5),
    "provider.unit": ("cent", "cent"),
    "provider.http": ("127.0.0.1:8080", "127.0.0.1:8080"),
    "ops.allowed_for_others": ("http/get, crud/read", ("http/get", "crud/read")),
    "ops.through": ("ray", ("ray",)),
    "ops.crud_root": ('/srv/a "b"\\c', Path('/srv/a "b"\\c')),
    "ops.smtp": ("smtp://mail.example.org:587", "smtp://mail.example.org:587"),
    "ops.smtp_from": ("me@example.org", "me@example.org"),
}
"""What the help and the documents show, or what is like it, by setting."""


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_what_is_set_reads_back(tmp_path: Path, name: str) -> None:
    s = SETTINGS[name]
    text, value = EXAMPLES.get(name, (s.render(s.default), s.default))
    for asked, meant in ((text, value), (s.render(s.default), s.default)):
        write_setting(tmp_path, name, asked)
        config = Config.load(tmp_path, env={})
        assert config[name] == meant
        assert s.parse(config.text(name)) == meant
        assert config.source(name).endswith("config.toml")


def test_what_would_not_read_back_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(SETTINGS["queue.worth"], render=lambda worth: str(worth))
    monkeypatch.setitem(SETTINGS, "queue.worth", broken)
    with pytest.raises(ConfigError, match="cannot be written"):
        write_setting(tmp_path, "queue.worth", "cent=30s")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["did:key:nonsense", "", "a\nb", "@@bad", "@file", "x" * 65])
def test_what_names_no_referee_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        Config.load(tmp_path, {"queue.referee": text})


@pytest.mark.parametrize("text", ["the lab", "Jürg's phone", "a@home", "x" * 64])
def test_whatever_a_peer_may_be_called_names_a_referee(tmp_path: Path, text: str) -> None:
    assert PEER_NAME_CHARS_MAX == NAME_CHARS_MAX
    assert Config.load(tmp_path, {"queue.referee": text})["queue.referee"] == text


def test_a_wrong_value_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        write_setting(tmp_path, "limits.fuel", "lots")
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_setting(tmp_path / "file" / "home", "limits.fuel", "1")


@given(
    st.lists(st.tuples(st.sampled_from(sorted(SETTINGS)), st.booleans()), min_size=1, max_size=12)
)
def test_any_order_of_edits_reads_back(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, bool]]
) -> None:
    home = tmp_path_factory.mktemp("home")
    expected = {}
    for name, write in edits:
        s = SETTINGS[name]
        write_setting(home, name, s.render(s.default) if write else None)
        expected[name] = str(home / "config.toml") if write else "default"
    config = Config.load(home, env={})
    assert {name: config.source(name) for name in expected} == expected
    assert all(config[name] == SETTINGS[name].default for name in SETTINGS)


def test_the_home_is_the_flag_then_the_variable_then_the_platforms(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert find_home(tmp_path / "flag") == tmp_path / "flag"
    assert find_home() == home
    monkeypatch.delenv("IPVM_HOME")
    for base in ("", str(tmp_path / "data")):
        monkeypatch.setenv("XDG_DATA_HOME", base)
        assert find_home() == platformdirs.user_data_path("ipvm", appauthor=False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("auto", None),
        ("none", ()),
        ("NVIDIA A100:80G", (("NVIDIA A100", 80 * 2**30),)),
        ("a:1, B 2", (("a", 1), ("B 2", None))),
    ],
)
def test_gpus_are_written_as_names_with_their_memory(
    tmp_path: Path, text: str, value: object
) -> None:
    config = Config.load(tmp_path, {"node.gpus": text})
    assert config["node.gpus"] == value
    assert Config.load(tmp_path, {"node.gpus": config.text("node.gpus")})["node.gpus"] == value


def test_a_unit_of_a_price_is_worth_some_time(tmp_path: Path) -> None:
    assert Config.defaults(tmp_path)["queue.worth"] == ()
    config = Config.load(tmp_path, {"queue.worth": "euro=50m cent=30s"})
    assert config["queue.worth"] == (("cent", 30_000), ("euro", 3_000_000))
    again = Config.load(tmp_path, {"queue.worth": config.text("queue.worth")})
    assert again["queue.worth"] == config["queue.worth"]
    for text in ("cent", "cent=30", "=30s", "cent=1s,cent=2s"):
        with pytest.raises(ConfigError):
            Config.load(tmp_path, {"queue.worth": text})


@pytest.mark.parametrize(
    ("name", "text"),
    [("node.gpus", "a,,b"), ("node.gpus", "a:lots"), ("node.gpus", ":8G"), ("node.tags", "a b, ü")],
)
def test_what_is_neither_a_gpu_nor_a_tag_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(ConfigError, match="is not a"):
        Config.load(tmp_path, {name: text})


@pytest.mark.parametrize("port", ["", "65536", "-1", "9" * 5_000])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(ConfigError, match="is not an address with a port"):
        SETTINGS["provider.http"].parse(f"127.0.0.1:{port}")


def test_the_home_of_nobody_is_an_error_in_words() -> None:
    readers: list[Callable[[str], object]] = [parse_path, find_home, Config.load]
    for read in readers:
        with pytest.raises(ConfigError, match="no such user"):
            read("~nosuchuser/x")
