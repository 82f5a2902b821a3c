"""`python -m lite`: the same as the command `ipvm`."""

from lite.cli.entry import entry

if __name__ == "__main__":
    entry()
