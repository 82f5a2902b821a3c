"""Content addressing: CIDs, blocks, DAG-CBOR, DAG-JSON, UnixFS and CAR files.

Values of the IPLD data model are plain Python: None, bool, int, float, str, bytes, list, dict with
str keys, and `lite.ipld.cid.CID` for links. Nothing here knows about tasks, files or databases.
"""
