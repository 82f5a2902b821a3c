"""The one spelling of a resource, for those who compare it as text: the policies of delegations.

What an operation does with a URI is the same for many spellings of it, so a policy that names one
of them would say nothing of the others. The usual one is that of RFC 3986, section 6.2.2 and 6.2.3:

    ipfs://CID[/path]   CIDv1 in base32; no part of the path empty, `.`, `..` or percent-encoded
    http(s)://…         host in lower case without a dot at its end, an address in its usual form,
                        no default port, no user, a path, no `.` and `..` in it, no fragment
    file:///path        no part of the path empty, `.` or `..`
    any                 scheme in lower case; percent-encoded is what has to be, in upper case
"""

from __future__ import annotations

import re
from typing import Final

from lite.errors import CidError
from lite.ipld.cid import CID

__all__ = ["fault"]

_IPFS: Final = "ipfs://"
_PORTS: Final = {"http": "80", "https": "443"}
_NEVER_ENCODED = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:@-]")
_ENCODED = re.compile(r"%(..?)?")
_RAW = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/?#\[\]%-]*")
_UPPER_HEX = re.compile(r"[0-9A-F]{2}")
_AUTHORITY = re.compile(r"//([^/?#]*)([^?#]*)(.*)")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+?)(?::([1-9][0-9]*))?")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
_DOTS: Final = frozenset({".", ".."})


def fault(uri: str) -> str | None:
    """What is unusual about the spelling of a URI, or None. Of what is no URI at all, the
    operation says what is wrong."""
    if uri.startswith(_IPFS):
        return _ipfs(uri.removeprefix(_IPFS))
    scheme, colon, rest = uri.partition(":")
    if not colon:
        return None
    if scheme != scheme.lower():
        return "its scheme is not in lower case"
    if scheme == "ipfs":
        return "it does not begin with ipfs://"
    found = _encoding(rest)
    if found is None and scheme in _PORTS:
        found = _http(scheme, rest)
    if found is None and scheme == "file":
        path = rest.removeprefix("///")
        found = None if path != rest and _is_plain(path) else "it is not file:/// and a plain path"
    return found


def _ipfs(rest: str) -> str | None:
    root, slash, path = rest.partition("/")
    if slash and (not _is_plain(path) or "%" in path):
        return "its path has an empty part, a . or .., or one that is percent-encoded"
    try:
        cid = CID.parse(root)
    except CidError:
        return None  # the instruction will say what is wrong with it
    return None if cid.version == 1 and str(cid) == root else "its CID is not version 1 in base32"


def _is_plain(path: str) -> bool:
    """Whether all parts of a path are names."""
    return all(part and part not in _DOTS for part in path.split("/"))


def _encoding(text: str) -> str | None:
    if not _RAW.fullmatch(text):
        return "it has a character that has to be percent-encoded"
    for code in _ENCODED.findall(text):
        if not _UPPER_HEX.fullmatch(code) or _NEVER_ENCODED.fullmatch(bytes.fromhex(code)):
            return f"%{code} in it is not percent-encoded as usual"
    return None


def _http(scheme: str, rest: str) -> str | None:
    split = _AUTHORITY.fullmatch(rest)
    if split is None:
        return "it has no host"
    host = _HOST.fullmatch(split[1])
    if host is None or host[1].endswith(".") or host[2] == _PORTS[scheme]:
        return "its host is not in its usual form: lower case, no user, no default port"
    if not _is_usual_address(host[1]):
        return "its host is an address, and not in its usual form"
    if not split[2]:
        return "it has no path, not even /"
    if _DOTS.intersection(split[2].split("/")):
        return "its path has a . or .. in it"
    return "it has a fragment" if "#" in split[3] else None


def _is_usual_address(host: str) -> bool:
    """Whether a host is a name, or an address as everybody writes it."""
    from ipaddress import ip_address

    if not host.startswith("[") and not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return True
    inner = host[1:-1] if host.startswith("[") else host
    try:
        return str(ip_address(inner)) == inner
    except ValueError:
        return False
