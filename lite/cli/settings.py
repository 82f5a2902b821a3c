"""`ipvm config`: read and write the settings of a home."""

from __future__ import annotations

import click

from lite.cli.command import NEGATIVE, Verb, group, offers, verb
from lite.cli.shell import Shell

config = group(
    "config",
    help="Show and change settings. A flag goes before IPVM_*, that before config.toml.",
    example="ipvm config set limits.fuel 10G\nipvm config list",
)


@verb("get", in_group=config, example="ipvm config get limits.memory")
@click.argument("name", shell_complete=offers("settings"))
@click.pass_obj
def get(shell: Shell, name: str) -> None:
    """Print the value of a setting."""
    settings = shell.config()
    text = settings.text(name)
    if shell.json:
        shell.emit({"name": name, "value": text, "source": settings.source(name)})
    else:
        shell.line(text)


class _SetVerb(Verb):
    """A negative number is a value, and no option: the setting says what is wrong with it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        values = [arg for arg in args if NEGATIVE.match(arg)] if "--" not in args else []
        options = [arg for arg in args if arg not in values]
        return super().parse_args(ctx, [*options, "--", *values] if values else args)


@verb("set", in_group=config, cls=_SetVerb, example="ipvm config set limits.time 5m")
@click.argument("name", shell_complete=offers("settings"))
@click.argument("value")
@click.pass_obj
def set_(shell: Shell, name: str, value: str) -> None:
    """Write a setting into config.toml; comments and other lines stay as they are."""
    _write(shell, name, value)


@verb("unset", in_group=config, example="ipvm config unset limits.time")
@click.argument("name", shell_complete=offers("settings"))
@click.pass_obj
def unset(shell: Shell, name: str) -> None:
    """Take a setting out of config.toml, so that its default holds again."""
    _write(shell, name, None)


def _write(shell: Shell, name: str, value: str | None) -> None:
    from lite.config_file import write_setting

    path = write_setting(shell.home_path(), name, value)
    settings = shell.config()
    if shell.json:
        shell.emit({"name": name, "value": settings.text(name), "source": settings.source(name)})
    source = settings.source(name)
    if source != (str(path) if value is not None else "default"):
        shell.note(f"ipvm: {name} is still {settings.text(name)}, from {source}")


@verb("list", in_group=config, example="ipvm config list\nipvm config list --json")
@click.pass_obj
def list_(shell: Shell) -> None:
    """Print every setting, its value and where the value comes from."""
    from lite.config import SETTINGS

    settings = shell.config()
    if shell.json:
        shell.emit(
            {
                "settings": [
                    {
                        "name": name,
                        "value": settings.text(name),
                        "source": settings.source(name),
                        "default": s.render(s.default),
                        "kind": s.kind,
                        "env": s.env,
                        "help": s.help,
                    }
                    for name, s in SETTINGS.items()
                ]
            }
        )
        return
    wide = max(len(name) for name in SETTINGS)
    for name, s in SETTINGS.items():
        value = settings.text(name) or "(none)"
        source = settings.source(name)
        origin = s.help if source == "default" else f"from {source}"
        shell.line(f"{name:<{wide}}  {value:<16}  {origin}")


@verb("path", in_group=config, example="$EDITOR $(ipvm config path)")
@click.pass_obj
def path(shell: Shell) -> None:
    """Print where config.toml is, whether or not it exists."""
    from lite.config import FILE_NAME

    where = str(shell.home_path() / FILE_NAME)
    if shell.json:
        shell.emit({"path": where})
    else:
        shell.line(where)
