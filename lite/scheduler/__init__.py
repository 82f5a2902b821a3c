"""Which step of a run is next, and what becomes of it.

`state` and `retry` decide and do nothing; `book` is what a run knows; `attempt` does one step in
small parts; `drive` is one process's share of a run, without threads; `runner` puts threads around
it.
"""
