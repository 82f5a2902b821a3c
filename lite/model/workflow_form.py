"""The friendly form of a workflow file: labelled steps that name one another.

    name: thumbs
    defaults: {fuel: 1M, memory: 64M, time: 5s}
    steps:
      crop: {run: "imaging.wasm:crop", args: ["@photo.png", 0, 0, 64, 64]}
      blur: {run: "imaging.wasm:blur", args: ["${crop}", 2]}
      save: {op: crud/update, rsc: "file:///out.png", input: {body: "${blur}"}, after: [crop]}

It compiles to the tasks that `lite.wasm` and `lite.Instruction` would make, with the same CIDs.
`lite.model.workflow_schema` has the same rules as JSON Schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from lite.errors import CidError, NotFoundError, UsageError
from lite.frozen import frozen
from lite.ipld.cid import CID, root_and_path
from lite.model.graph import Circle, ordered
from lite.model.instruction import WASM_RUN, Instruction
from lite.model.place import FieldError, Path, Place, did_you_mean, shown
from lite.model.promise import Await
from lite.model.step_meta import SAID, MetaReader
from lite.model.task import Task
from lite.model.workflow import Step, Workflow, check_count, check_label
from lite.model.workflow_values import (
    REFERENCE,
    Content,
    Reference,
    Resolver,
    Values,
    references,
)

WORKFLOW_KEYS: Final = ("name", "defaults", "meta", "steps")
RUN_KEYS: Final = ("run", "func", "args", "env", "stdin", "fx")
OP_KEYS: Final = ("op", "rsc", "input", "after")
STEP_KEYS: Final = (
    *RUN_KEYS,
    *OP_KEYS,
    *("nonce", *SAID, "meta", "prf"),
)

_UNDER_META: Final = ("secret", "force")
_ONE_STEP: Final = 'Write each under a label of its own: crop: {run: "tools.wasm:crop"}.'
_IPFS: Final = "ipfs://"
_COLONS_MAX: Final = 8


def read_form(value: dict[str, Any], place: Place, content: Content) -> Workflow:
    """Compile a workflow in the friendly form.

    Args:
        value: of the file, with or without links and bytes lifted.

    Raises:
        UsageError: it names file, step and field, and what would be right there.
        NotFoundError: a file or a petname that is not there.
    """
    return _Compiler(value, place, content).workflow()


@frozen
class _Draft:
    """A step before the CIDs of those that it awaits are known.

    Attributes:
        rsc: text, a `Reference`, or None: `run` says it.
        run: module and function as written, or None.
    """

    label: str
    rsc: Any
    run: str | None
    op: str
    input: dict[str, Any]
    nonce: str | bytes
    meta: dict[str, Any]
    prf: tuple[CID, ...]
    needs: tuple[Reference, ...]


class _Compiler:
    def __init__(self, value: dict[str, Any], place: Place, content: Content) -> None:
        self._place = place
        self._known(value, WORKFLOW_KEYS, ())
        self._value = value
        self._steps = self._labelled(value)
        self._values = Values(place, self._steps)
        self._metas = MetaReader(place, self._values)
        self._cids: dict[str, CID] = {}
        self._resolver = Resolver(place, content, self._cids)

    def workflow(self) -> Workflow:
        name = self._value.get("name")
        if name is not None and type(name) is not str:
            raise self._place.error(("name",), "text is needed", "Put it in quotes.")
        defaults = self._value.get("defaults")
        meta = self._value.get("meta")
        drafts = {label: self._draft(label, step) for label, step in self._steps.items()}
        limits = None if defaults is None else self._metas.defaults(defaults, ("defaults",))
        extra = {} if meta is None else self._map(self._values.plain(meta, ("meta",)), ("meta",))
        tasks = {label: self._task(drafts[label]) for label in self._in_order(drafts)}
        steps = [Step(label, tasks[label]) for label in self._steps]
        try:
            return Workflow.of(steps, name=name or "", defaults=limits, meta=extra)
        except UsageError as error:
            raise self._place.of(error) from None

    def _labelled(self, value: dict[str, Any]) -> dict[str, Any]:
        """What is under `steps`, a map of labels to steps."""
        steps, path = value.get("steps"), ("steps",)
        if "steps" not in value:
            raise self._place.error(path, "missing: a map of labels to steps", _ONE_STEP)
        if steps not in (None, []) and type(steps) is not dict:
            raise self._place.error(path, "a map of labels to steps is needed", _ONE_STEP)
        labelled: dict[str, Any] = steps or {}
        try:
            check_count(len(labelled), path)
        except UsageError as error:
            raise self._place.of(error) from None
        return labelled

    def _in_order(self, drafts: dict[str, _Draft]) -> list[str]:
        for label, draft in drafts.items():
            for reference in draft.needs:
                if reference.label == label:
                    raise self._place.error(
                        reference.path,
                        "the step awaits itself",
                        "Name the step whose result was meant, or take it out.",
                    )
        needs = {
            label: list(dict.fromkeys(reference.label for reference in draft.needs))
            for label, draft in drafts.items()
        }
        try:
            return ordered(needs)
        except Circle as error:
            first, second = error.labels[0], error.labels[1]
            at = next(one.path for one in drafts[first].needs if one.label == second)
            raise self._place.error(at, str(error), error.hint) from None

    # One step, as far as it can be read alone.

    def _draft(self, label: str, value: Any) -> _Draft:
        path: Path = ("steps", label)
        try:
            check_label(label)
        except UsageError as error:
            raise self._place.error(path, "this cannot be a label", error.hint) from None
        step = self._map(value, path)
        self._known(step, STEP_KEYS, path)
        if ("run" in step) == ("op" in step):
            raise self._place.error(
                path,
                "a step has either run or op" if "run" in step else "run or op is missing",
                "run names a module of WebAssembly, op another operation such as http/get.",
            )
        is_run = "run" in step
        self._refuse(step, OP_KEYS if is_run else RUN_KEYS, path, is_run)
        rsc, run, op, given = self._run(step, path) if is_run else self._op(step, path)
        return _Draft(
            label=label,
            rsc=rsc,
            run=run,
            op=op,
            input=given,
            nonce=self._nonce(step.get("nonce"), (*path, "nonce")),
            meta=self._metas.read(step, path),
            prf=tuple(self._links(step.get("prf"), (*path, "prf"))),
            needs=tuple(references([rsc, given])),
        )

    def _refuse(self, step: dict[str, Any], keys: tuple[str, ...], path: Path, run: bool) -> None:
        for key in keys:
            if key not in step:
                continue
            if key == "after":
                raise self._place.error(
                    (*path, key),
                    "a step with run is pure, so it needs no order",
                    "Put after on the steps that act on the world.",
                )
            raise self._place.error(
                (*path, key),
                f"does not go with {'run' if run else 'op'}",
                "run takes func, args, env, stdin and fx; op takes rsc, input and after.",
            )

    def _run(self, step: dict[str, Any], path: Path) -> tuple[Any, str | None, str, dict[str, Any]]:
        text, at = self._values.plain(step["run"], (*path, "run")), (*path, "run")
        if type(text) is CID:
            text = str(text)
        if type(text) is not str or not text or "\0" in text:
            raise self._place.error(
                at, "a module is needed", "Such as tools.wasm:func, a CID, or ${label}:func."
            )
        given: dict[str, Any] = {"args": self._read_list(step.get("args"), (*path, "args"))}
        rsc: Any = None
        func = step.get("func")
        if text.startswith("${") and (found := REFERENCE.match(text)):
            rsc, rest = self._values.reference(found[1], at), text[found.end() :]
            if rest and (not rest.startswith(":") or func is not None):
                raise self._place.error(at, f"{shown(rest)} behind the step is not :FUNC")
            func = rest[1:] or func
        if func is not None:
            if type(func) is not str:
                raise self._place.error((*path, "func"), "text is needed", "Put it in quotes.")
            given["func"] = func
        if step.get("env") is not None:
            given["env"] = self._env(step["env"], (*path, "env"))
        if step.get("stdin") is not None:
            given["stdin"] = self._values.read(step["stdin"], (*path, "stdin"))
        if self._fx(step.get("fx"), (*path, "fx")):
            given["fx"] = True
        return rsc, text, WASM_RUN, given

    def _op(self, step: dict[str, Any], path: Path) -> tuple[Any, str | None, str, dict[str, Any]]:
        op, at = step["op"], (*path, "rsc")
        if type(op) is not str:
            raise self._place.error((*path, "op"), "an operation such as http/get is needed")
        if "rsc" not in step:
            raise self._place.error(at, "missing: the URI that the operation acts on")
        rsc = self._values.read(step["rsc"], at)
        given = {} if step.get("input") is None else step["input"]
        given = self._map(self._values.read(given, (*path, "input")), (*path, "input"))
        after = list(self._after(step.get("after"), (*path, "after")))
        if after:
            if type(given.setdefault("_", [])) is not list:
                raise self._place.error((*path, "input", "_"), "with after, a list is needed")
            if op.strip().lower() == WASM_RUN:
                self._refuse(step, ("after",), path, True)
            given["_"] = [*given["_"], *after]
        return rsc, None, op.strip().lower(), given

    def _after(self, value: Any, path: Path) -> Iterator[Reference]:
        """Awaits that pass nothing on: `label` for its success, `label.*` for its end."""
        for position, item in enumerate(self._list(value, path)):
            at = (*path, position)
            if type(item) is not str:
                raise self._place.error(at, "the label of a step is needed")
            found = REFERENCE.fullmatch(item)
            yield self._values.reference(found[1] if found else item, at)

    def _env(self, value: Any, path: Path) -> dict[str, Any]:
        env = self._map(self._values.read(value, path), path)
        for key, item in env.items():
            if type(item) not in (str, Reference) and Await.from_value(item) is None:
                raise self._place.error((*path, key), "text is needed", "Put it in quotes.")
        return env

    def _fx(self, value: Any, path: Path) -> bool:
        """Whether the function returns effects as well. `false` is as absent: the same CID."""
        if value is not None and type(value) is not bool:
            raise self._place.error(path, "true or false is needed")
        return bool(value)

    def _nonce(self, value: Any, path: Path) -> str | bytes:
        nonce = self._values.plain(value, path)
        if nonce is None:
            return ""
        if not isinstance(nonce, str | bytes):
            raise self._place.error(path, "text or bytes are needed", "Put it in quotes.")
        return nonce

    def _links(self, value: Any, path: Path) -> Iterator[CID]:
        for position, item in enumerate(self._list(value, path)):
            at = (*path, position)
            try:
                link = CID.parse(item) if type(item) is str else self._values.plain(item, at)
            except CidError as error:
                raise self._place.error(at, str(error)) from None
            if type(link) is not CID:
                raise self._place.error(at, "the CID of a delegation is needed")
            yield link

    # The instruction, once those that it awaits have their CIDs.

    def _task(self, draft: _Draft) -> Task:
        path: Path = ("steps", draft.label)
        given = self._resolver.resolve(draft.input)
        rsc = self._resolver.resolve(draft.rsc)
        if draft.run is not None and rsc is None:
            func: str | None
            rsc, func = self._module(draft.run, "func" not in given, (*path, "run"))
            if func:
                given["func"] = func
        if type(rsc) is CID:
            rsc = f"{_IPFS}{rsc}"
        try:
            instruction = Instruction(Await.from_value(rsc) or rsc, draft.op, given, draft.nonce)
            task = Task(instruction, draft.meta, draft.prf)
        except UsageError as error:
            raise self._place.of(_as_written(error, draft), path) from None
        self._cids[draft.label] = instruction.cid
        return task

    def _module(self, text: str, cut: bool, path: Path) -> tuple[str, str | None]:
        """`PATH|CID[/path]|ipfs://CID[/path]|NAME[/path][:func]`. A file goes first, by the longest
        part in front of a colon that is one; CIDs and names have no colon and end at the first."""
        try:
            for name, func in _splits(text) if cut else [(text, None)]:
                uri = self._file_uri(name)
                if uri:
                    return uri, func
            scheme = _IPFS if text.startswith(_IPFS) else ""
            name, _, func = text.removeprefix(_IPFS).partition(":") if cut else (text, "", None)
            return self._named_uri(scheme, name.removeprefix(_IPFS)), func or None
        except NotFoundError:
            raise NotFoundError(
                self._place.message(path, f"there is no file {shown(text)}, and no such name"),
                hint="Name a .wasm file beside the workflow file, a CID, ipfs://CID, or a petname.",
            ) from None
        except UsageError as error:
            raise self._place.of(error, path) from None

    def _file_uri(self, name: str) -> str | None:
        if name.startswith(_IPFS):
            return None
        try:
            return f"{_IPFS}{self._resolver.file(name)}"
        except NotFoundError:
            return None

    def _named_uri(self, scheme: str, name: str) -> str:
        root, slash, rest = root_and_path(name)
        try:
            cid = CID.parse(root)
        except CidError:
            if scheme:
                raise
            cid = self._resolver.name(root)
        return f"{_IPFS}{cid}{slash}{rest}"

    # Shapes.

    def _map(self, value: Any, path: Path) -> dict[str, Any]:
        if type(value) is not dict:
            raise self._place.error(path, "a map is needed", "Write {key: value}.")
        return value

    def _list(self, value: Any, path: Path) -> list[Any]:
        if value is None:
            return []
        if type(value) is not list:
            raise self._place.error(path, "a list is needed", "Write [a, b], also for one.")
        return value

    def _read_list(self, value: Any, path: Path) -> list[Any]:
        read: list[Any] = self._values.read(self._list(value, path), path)
        return read

    def _known(self, value: dict[str, Any], keys: tuple[str, ...], path: Path) -> None:
        for key in value:
            if key not in keys:
                hint = did_you_mean(str(key), keys)
                if not path and key in _UNDER_META:
                    hint = f"Of the whole workflow it stands under meta: {{{key}: true}}."
                raise self._place.error((*path, key), "is not a field here", hint)


def _splits(text: str) -> Iterator[tuple[str, str | None]]:
    """The whole, then every way to cut it at a colon, the longest first part first."""
    yield text, None
    at = len(text)
    for _ in range(_COLONS_MAX):
        at = text.rfind(":", 0, at)
        if at <= 0 or text.startswith("://", at):
            return
        yield text[:at], text[at + 1 :] or None


def _as_written(error: UsageError, draft: _Draft) -> UsageError:
    """An error of an instruction, with the name that its field has in a step."""
    if not isinstance(error, FieldError) or not error.path:
        return error
    names: dict[str | int, Path] = {"nnc": ("nonce",)}
    if draft.run is not None:
        names |= {"rsc": ("run",), "input": ()}
    path = (*names.get(error.path[0], error.path[:1]), *error.path[1:])
    return FieldError(path, error.problem, hint=error.hint)
