"""`python -m lite`: the same as the command `ipvm`."""

from lite.cli.main import entry

if __name__ == "__main__":
    entry()
