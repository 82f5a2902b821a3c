"""A node among its peers: what it shares with whom, over the sync protocol of `sync`.

`peering` runs it on an event loop; `book` opens the list of peers without one.
"""
