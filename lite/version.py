"""The version, as a constant: asking the installed package's metadata costs 20 ms."""

VERSION = "0.1.0"
