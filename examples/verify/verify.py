"""Check an exported receipt without ipvm-lite: python verify.py FILE.car"""

import re
import sys
from base64 import b32decode, b32encode
from hashlib import sha256
from pathlib import Path

import cbor2
from nacl.signing import VerifyKey

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
CID = re.compile(rb"(?s)(?=((?:\x01[Upq]|(?<=#\0|\n\"))\x12 .{32}))")  # sha2-256; v0 in links


def need(holds, problem):
    if not holds:
        raise ValueError(problem)


def decode(block):
    def in_order(*given):  # cbor2 5 gives the decoder and a map, cbor2 6 the map and a flag
        return {k: m[k] for m in given if isinstance(m, dict) for k in sorted(m, key=cbor2.dumps)}

    value = cbor2.loads(block, object_hook=in_order)
    need(cbor2.dumps(value) == block, "a block is not canonical DAG-CBOR")
    return value


def text(*g):  # of a link; what is given differs as above
    cid = max(getattr(t, "value", b"") for t in g)[1:]
    v0 = "".join(BASE58[int.from_bytes(cid, "big") // 58**i % 58] for i in range(45, -1, -1))
    return v0 if cid[:1] == b"\x12" else "b" + b32encode(cid).decode().lower().strip("=")


def check(car):
    at, found = 0, {}
    while at != len(car):
        start = re.compile(rb"[\x80-\xff]*[\x01-\x7f]|").match(car, at).end()
        at = start + sum((byte & 127) << 7 * i for i, byte in enumerate(car[at:start]))
        cid, block = re.compile(rb"(?s)(\x12 .{32}|.{,36})(.*)").match(car, start, at).groups()
        good = not found or (CID.match(b"#\0" + cid, 2) and sha256(block).digest() == cid[-32:])
        need(good and start < at <= len(car), f"wrong hash or length, byte {start}")
        found[cid] = block
    head = (first := next(iter(found), b"")) + found.pop(first, b"")
    roots = [link.value[1:] for link in decode(head)["roots"]]
    again = {"roots": [cbor2.CBORTag(42, b"\0" + root) for root in roots], "version": 1}
    need(roots and head == cbor2.dumps(again), "not a CAR of receipts")
    said = [receipt(root, found) for root in roots]
    parts = CID.findall(b"".join(found[c] for c in found if c[1] in b"p " and found[c] > b"\x12"))
    need(set(parts) <= set(found), "a block is missing")
    nodes = b"".join(found[cid] for cid in found if cid[1] != ord("U"))
    code = [b32decode(i + b"======", 1) for i in re.findall(b"ipfs://b([a-z2-7]{58})", nodes)]
    need(set(found) <= {*roots, *code, *CID.findall(nodes)}, "a block is linked from nowhere")
    return "\n".join(said)


def receipt(root, found):
    signature, signed = decode(found.get(root) or need(0, "the receipt is not in the file"))
    tag, token = max(signed.items())
    who, ins, out = token["iss"], token["args"]["ins"].value[1:], token["args"]["out"]
    need(signed == {"h": bytes.fromhex("3401ed01ed011371"), tag: token}, "not an Ed25519 UCAN")
    need(tag in ("ucan/inv@1.0.0-rc.1", "ucan/inv@1.0.0") and "aud" not in token, "no receipt")
    need(token["cmd"] == "/ucan/assert/receipt" and token["sub"] == who, "not its own receipt")
    key = sum(BASE58.index(c) * 58**i for i, c in enumerate(who.removeprefix("did:key:z")[::-1]))
    VerifyKey(key.to_bytes(34, "big").removeprefix(b"\xed\x01")).verify(found[root][67:], signature)
    need(list(decode(found.get(ins, b"\x80"))) == ["op", "nnc", "rsc", "input"], "no instruction")
    large = [link.value[1:] for link in out.values() if "outl" in token["args"]]
    need(list(out) in (["ok"], ["error"]) and set(large) <= set(found), "a block is missing")
    what, said = (cbor2.loads(found[cid], tag_hook=text) for cid in (ins, root))
    return f"who   {who}\nwhat  {what}\nout   {said[1][tag]['args']['out']}"


if __name__ == "__main__":
    sys.excepthook = lambda kind, error, trace: print("NOT VALID:", error, file=sys.stderr)
    print(check(Path(sys.argv[1]).read_bytes()))
