"""What tests of workflows share: content in memory, files good and bad."""

from __future__ import annotations

from typing import Any

from lite.errors import NotFoundError
from lite.ipld.cid import CID, RAW
from lite.model.instruction import Instruction
from lite.model.safety import Level
from lite.model.workflow import Workflow
from lite.model.workflow_read import read_workflow

LEVELS: dict[str, Level] = {
    "wasm/run": "pure",
    "http/get": "query",
    "http/put": "idempotent-mutation",
    "msg/send": "mutation",
}


class MemoryContent:
    """Files and petnames that exist by being named here; counts how often each was asked for."""

    def __init__(self, files: tuple[str, ...] = (), names: tuple[str, ...] = ()) -> None:
        self.files = {name: CID.of(name.encode(), RAW) for name in files}
        self.names = {name: CID.of(name.encode(), RAW) for name in names}
        self.instructions: dict[CID, Instruction] = {}
        self.asked: list[str] = []

    def file(self, path: str) -> CID:
        self.asked.append(path)
        if path not in self.files:
            raise NotFoundError(f"there is no file {path}")
        return self.files[path]

    def name(self, petname: str) -> CID:
        if petname not in self.names:
            raise NotFoundError(f"nothing here is called {petname!r}")
        return self.names[petname]

    def instruction(self, cid: CID) -> Instruction | None:
        return self.instructions.get(cid)


CONTENT = MemoryContent(("photo.png", "imaging.wasm", "odd:name.wasm"), ("tools",))
MODULE = CONTENT.files["imaging.wasm"]
PHOTO = CONTENT.files["photo.png"]


def read(text: str | bytes, source: str = "w.yaml") -> Workflow:
    data = text.encode() if isinstance(text, str) else text
    return read_workflow(data, source=source, content=CONTENT)


def level_of(instruction: Instruction) -> Level:
    return LEVELS[instruction.op]


THUMBS = """
name: thumbs
defaults: {fuel: 1M, memory: 64M, time: 5s, output: 1000}
meta: {author: "${not a reference}"}
steps:
  save:
    op: HTTP/Put
    rsc: "https://example.org/thumb.png"
    input: {body: "${blur}", headers: {}}
    nonce: once
    after: [crop, "${blur.*}"]
    secret: true
    needs: [network]
    retry: {attempts: 2, backoff: 1.5s}
    limits: {time: 1m}
    meta: {tags: [a]}
  crop: {run: "imaging.wasm:crop", args: ["@photo.png", 0, 0, 64, 64]}
  blur: {run: "imaging.wasm:blur", args: ["${crop}", 2]}
"""


def step(text: str) -> Any:
    """The only step of a file that holds it as `a`, beside one called `other`."""
    return read(f"steps:\n  other: {{run: tools}}\n  a: {text}\n")["a"]


STEP_ERRORS: list[tuple[str, str, str, str]] = [
    # the text of the step, the field, what is wrong, what would be right
    ('{run: tools, args: ["${othr}"]}', "args[0]", "no step 'othr'", "Did you mean other?"),
    ('{run: tools, args: [{k: ["${b}"]}]}', "args[0].k[0]", "no step 'b'", "There is a, other."),
    ('{run: tools, args: ["${other.err}"]}', "args[0]", "names no part", "${other.error}"),
    ('{run: tools, args: ["${}"]}', "args[0]", "no step ''", "There is"),
    ('{run: tools, args: ["@nope"]}', "args[0]", "there is no file nope", '"@@nope"'),
    ('{run: tools, args: ["@"]}', "args[0]", "names no file", '"@@"'),
    ("{run: tools, args: [18446744073709551616]}", "args[0]", "outside of -2^64", "as text"),
    ("{run: tools, args: [{/: x}]}", "args[0]", "'x' is not a CID", ""),
    ("{run: tools, args: [{/: {bytes: a}}]}", "args[0]", "a link or bytes", "base64"),
    ("{run: tools, args: [{/: {byte: aGk}}]}", "args[0]", "a link or bytes", "base64"),
    ("{run: tools, args: [{await/ok: bafkqaaa}]}", "args[0]", "needs a link", '{"/": "bafkqaaa"}'),
    ('{run: tools, args: [{await/ok: "${other}"}]}', "args[0]", "needs a link", '"${label}"'),
    ("{run: tools, args: [{await/*: 5}]}", "args[0]", "needs a link", '"${label.*}"'),
    ("{run: tools, args: [{await/foo: {/: bafkqaaa}}]}", "args[0]", "no kind of await", "await/*"),
    ("{run: tools, args: [{await/foo: 5, b: 6}]}", "args[0]", "no kind of await", "await/error"),
    ("{run: tools, args: [{await/ok: {/: bafkqaaa}, b: 6}]}", "args[0]", "only key", "its own"),
    (
        "{run: tools, args: [{k: {awaitt/ok: {/: bafkqaaa}}}]}",
        "args[0].k",
        "with a link is no await",
        "Did you mean await/ok?",
    ),
    (
        "{op: http/get, rsc: {await/err: {/: bafkqaaa}}}",
        "rsc",
        "no kind of await",
        "await/error",
    ),
    ("{run: tools, args: [{/: {/: bafkqaaa}}]}", "args[0]", "a link or bytes", "base64"),
    ("{run: tools, args: 5}", "args", "a list is needed", "[a, b]"),
    ("{run: tools, arg: [5]}", "arg", "not a field", "Did you mean args?"),
    ("{run: tools, env: [A]}", "env", "a map is needed", ""),
    ("{run: tools, env: {A: 1}}", "env.A", "text is needed", "quotes"),
    ("{run: tools, func: 1}", "func", "text is needed", "quotes"),
    ("{run: tools, nonce: 5}", "nonce", "text or bytes", "quotes"),
    ("{run: tools, secret: no}", "secret", "true or false", ""),
    ("{run: tools, needs: 5}", "needs", "a list of words", "[gpu]"),
    (
        "{run: tools, requires: {gpus: 1}}",
        "requires.gpus",
        "is not a field here",
        "Did you mean gpu",
    ),
    ("{run: tools, requires: {gpu: {count: 0}}}", "requires.gpu.count", "not a whole number", ""),
    ("{run: tools, requires: {key: me}}", "requires.key", "'me' is not a DID", "did:key"),
    ("{run: tools, requires: 5}", "requires", "a map or a list of words", "Write gpu"),
    (
        "{run: tools, requires: gpu, meta: {requires: gpu}}",
        "meta.requires",
        "says it already",
        "",
    ),
    ("{run: tools, retry: 0}", "retry", "from 1 to", ""),
    ("{run: tools, retry: {tries: 2}}", "retry.tries", "not a field", "attempts"),
    ("{run: tools, retry: {backoff: 5}}", "retry.backoff", "an amount", "5s"),
    ("{run: tools, retry: {backoff: 2h}}", "retry.backoff", "at most 60s", ""),
    ("{run: tools, limits: {fuel: lots}}", "limits.fuel", "not an amount of fuel", "500k"),
    ("{run: tools, limits: {time: 5}}", "limits.time", "an amount", "5s"),
    ("{run: tools, limits: {memory: -1}}", "limits.memory", "from 0", ""),
    ("{run: tools, limits: {memory: 1.5}}", "limits.memory", "an amount", "64M"),
    ("{run: tools, limits: {disk: 5}}", "limits.disk", "not a field", "There is"),
    ("{run: tools, limits: 5}", "limits", "a map", ""),
    ("{run: tools, limits: {fuel: 1}, meta: {limits: {}}}", "meta.limits", "already", ""),
    ("{run: tools, meta: [1]}", "meta", "a map is needed", ""),
    ("{run: tools, meta: {fuel: x}}", "meta.fuel", "a whole number", ""),
    ("{run: tools, prf: [x]}", "prf[0]", "'x' is not a CID", ""),
    ("{run: tools, prf: [5]}", "prf[0]", "the CID of a delegation", ""),
    ("{run: tools, after: [other]}", "after", "is pure", ""),
    ("{run: tools, rsc: 'x:y'}", "rsc", "does not go with run", "args, env, stdin and fx"),
    ("{run: tools, fx: no}", "fx", "true or false", ""),
    ("{op: http/get, rsc: 'x:y', fx: true}", "fx", "does not go with op", "rsc, input"),
    ("{run: tools, op: http/get}", "", "either run or op", ""),
    ("{args: []}", "", "run or op is missing", "http/get"),
    ("{run: }", "run", "a module is needed", ""),
    ('{run: "a\\0b"}', "run", "a module is needed", ""),
    ("{run: nope.wasm}", "run", "there is no file 'nope.wasm'", "petname"),
    ("{run: 'ipfs://nope:f'}", "run", "'nope' is not a CID", ""),
    ("{run: '${other}f'}", "run", "is not :FUNC", ""),
    ("{run: '${othr}:f'}", "run", "no step 'othr'", "other"),
    ("{op: http/get}", "rsc", "missing: the URI", ""),
    ("{op: http/get, rsc: 5}", "rsc", "a URI", ""),
    ("{op: http get, rsc: 'x:y'}", "op", "an ability", ""),
    ("{run: tools, nonce: %s}" % ("n" * 200), "nonce", "at most 128", ""),
    ("{run: tools, needs: [gpu, true]}", "needs[1]", "is not a word", "Letters"),
    ("{run: {/: nope}}", "run", "no link", ""),
    ("{run: '${a}'}", "run", "the step awaits itself", "the step whose result was meant"),
    ("{run: tools, args: [1, '${a.*}']}", "args[1]", "the step awaits itself", "was meant"),
    ("{op: a/b, rsc: 'x:y', after: [a]}", "after[0]", "the step awaits itself", "was meant"),
    ("{op: 5, rsc: 'x:y'}", "op", "an operation such as http/get", ""),
    ("{op: http/get, rsc: 'x:y', args: []}", "args", "does not go with op", "rsc, input"),
    ("{op: http/get, rsc: 'x:y', input: [1]}", "input", "a map is needed", ""),
    ("{op: http/get, rsc: 'x:y', after: other}", "after", "a list is needed", ""),
    ("{op: http/get, rsc: 'x:y', after: [othr]}", "after[0]", "no step 'othr'", "other"),
    ("{op: http/get, rsc: 'x:y', after: [5]}", "after[0]", "the label of a step", ""),
    ("{op: wasm/run, rsc: 'ipfs://x', after: [other]}", "after", "is pure", ""),
    ("{op: http/put, rsc: 'x:y', input: {_: 5}, after: [other]}", "input._", "a list", ""),
    ("5", "", "a map is needed", ""),
    ("", "", "a map is needed", ""),
]
