"""UnixFS: files and directories as blocks, with the CIDs that Kubo gives them.

Reading takes what any importer of the last ten years wrote: raw, file and plain leaves, data in
inner nodes, balanced and trickle trees, version 0 CIDs, sharded directories.
Source: the UnixFS spec of IPFS, and IPIP-499 for the unixfs-v1-2025 profile.
"""

from lite.ipld.links import block_links
from lite.ipld.unixfs.directory import Entry, list_directory, resolve_path, write_directory
from lite.ipld.unixfs.node import Get, Put, cumulative_size
from lite.ipld.unixfs.read import file_size, read_file
from lite.ipld.unixfs.write import (
    LEGACY_256K,
    PROFILES,
    UNIXFS_V1_2025,
    Profile,
    file_blocks,
    write_file,
)

__all__ = [
    "LEGACY_256K",
    "PROFILES",
    "UNIXFS_V1_2025",
    "Entry",
    "Get",
    "Profile",
    "Put",
    "block_links",
    "cumulative_size",
    "file_blocks",
    "file_size",
    "list_directory",
    "read_file",
    "resolve_path",
    "write_directory",
    "write_file",
]
