"""The local API of a daemon: HTTP on a unix socket, or on the loopback behind a token."""
