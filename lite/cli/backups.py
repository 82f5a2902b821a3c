"""`ipvm backup` and `ipvm restore`: the whole home as one file."""

from __future__ import annotations

import stat
from pathlib import Path

import click

from lite.cli.command import verb
from lite.cli.outfile import check_folder, mode_of
from lite.cli.present import file_name, size
from lite.cli.shell import Shell
from lite.errors import UsageError


def _check_regular(file: str, use: str) -> None:
    """A backup is one regular file: it is written beside its place and then moved there whole."""
    mode = mode_of(Path(file), use) if file != "-" else None
    if file == "-" or (mode is not None and not stat.S_ISREG(mode)):
        raise UsageError(
            f"{file_name(file)} is not a regular file, and a backup has to be one",
            hint="Name a file, for example home.backup.",
        )


@verb("backup", example="ipvm backup /media/usb/ipvm.backup")
@click.argument("file")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.pass_obj
def backup(shell: Shell, file: str, force: bool) -> None:
    """Write the home (store, key, settings) into one file, also while it is in use.

    The file holds the secret key: keep it to yourself. One that is there, perhaps an older backup,
    is replaced only with --force, and when the new one is complete.
    """
    _check_regular(file, "write")
    check_folder(file)
    if Path(file).exists() and not force:
        raise UsageError(
            f"{file_name(file)} is there already", hint="Name another file, or add --force."
        )
    size_bytes = shell.node().store.backup(Path(file))
    if shell.json:
        shell.emit({"file": file, "bytes": size_bytes})
    shell.note(f"ipvm: wrote {size(size_bytes)} to {file_name(file)}; it holds the secret key")


@verb("restore", example="ipvm restore /media/usb/ipvm.backup")
@click.argument("file")
@click.pass_obj
def restore(shell: Shell, file: str) -> None:
    """Put a backup in place of the home. It is checked first; what was there is kept aside."""
    from lite.store import restore as put_in_place

    _check_regular(file, "read")
    home = shell.home_path()
    done = put_in_place(Path(file), home)
    kept = [str(path) for path in done.kept]
    if shell.json:
        shell.emit({"home": str(home), "files": list(done.files), "kept": kept})
    shell.note(f"ipvm: restored {', '.join(done.files)} in {home}")
    for path in kept:
        shell.note(f"ipvm: what was there before is in {path}")
