"""What a component imports and exports, and how to run a simple one as its core module.

A component is *simple* (path A) when it has exactly one core module, instantiated once and without
arguments, imports nothing but names of types, and its exports are functions lifted from that module
with options that `lite.engine.canonical` knows. Everything else is path B: the engine does it.

Source: component model, Binary.md.
"""

from __future__ import annotations

import re
from typing import Any

from lite.engine import core_module
from lite.engine.base import Wasm
from lite.engine.binary import COMPONENT_PREAMBLE, Names, Reader, bad_module, sections
from lite.engine.component_type import check_lift
from lite.engine.layout import Layouts
from lite.engine.plan import Encoding, Lift, Plan
from lite.engine.typespace import (
    SORTS,
    Exports,
    Extern,
    Func,
    Resource,
    Scope,
    Types,
    UnknownConstruct,
    entry_at,
    extern_name,
    flag,
    member,
    named,
)
from lite.engine.wit import FuncType
from lite.frozen import frozen
from lite.limits import MIB

NESTING_MAX = 20  # components inside one another
DEFINITION_BYTES_MAX = 4 * MIB  # of a whole file, modules and custom sections apart
RENAMES_MAX = 50_000  # exports of instances that stand for arguments, in a whole file

_COMMAND = re.compile(r"wasi:cli/run@0\.2\.\d+([-+].*)?")
_ENCODINGS: dict[int, Encoding] = {0: "utf8", 1: "utf16", 2: "latin1+utf16"}


@frozen
class ComponentInfo:
    """The outside of a component.

    Attributes:
        exports: functions by full name; incomplete when `typed` is False.
        plan: for a simple component.
        command: it exports `wasi:cli/run@0.2.x`.
    """

    imports: tuple[str, ...]
    exports: dict[str, FuncType]
    plan: Plan | None
    typed: bool
    command: bool


def read(data: Wasm) -> ComponentInfo:
    """Read the component that `data` is.

    Raises:
        GuestFailure: `bad-module`; `module-too-large` when it declares too much, see `Names`.
    """
    try:
        root = _Component(file=_File(data, Types()))
        root.read(0, len(data))
    except UnknownConstruct:
        return _names_only(data)
    return root.info()


def _names_only(data: Wasm) -> ComponentInfo:
    """The imports and the kind of a component with constructs that are not read here."""
    imports: list[str] = []
    command = False
    names = Names()
    for section, first, end in sections(data, 0, len(data)):
        reader = Reader(data, first, end, names)
        try:
            if section == 10:
                for _ in range(reader.count("imports")):
                    imports.append(extern_name(reader))
                    _skip_description(reader)
            elif section == 11:
                for _ in range(reader.count("exports")):
                    command |= _COMMAND.fullmatch(extern_name(reader)) is not None
                    _sort_index(reader)
                    if flag(reader):
                        _skip_description(reader)
        except UnknownConstruct:
            continue
    return ComponentInfo(tuple(imports), {}, None, typed=False, command=command)


def _sort_index(reader: Reader) -> tuple[int, int]:
    """A `sortidx`; core sorts are 0x100 and more."""
    sort = reader.byte()
    if sort == 0:
        sort = 0x100 + reader.byte()
    return sort, reader.u32()


def _skip_description(reader: Reader) -> None:
    code = reader.byte()
    if code == 0:
        reader.byte()
    if code == 3 and reader.byte() == 1:
        return
    if code == 2 or code > 5:
        raise UnknownConstruct(f"description {code:#x}")
    reader.u32()


class _File:
    """What all components of one file share."""

    def __init__(self, data: Wasm, types: Types) -> None:
        self.data = data
        self.types = types
        self.names = Names()
        self.simple = True
        self.renames = 0
        self.definition_bytes = 0

    def count_bytes(self, at: int, size: int) -> None:
        self.definition_bytes += size
        if self.definition_bytes > DEFINITION_BYTES_MAX:
            raise bad_module(f"more than {DEFINITION_BYTES_MAX} bytes of definitions, at byte {at}")


class _Component(Scope):
    """One component's index spaces, filled section by section.

    Attributes:
        modules: (first byte, past the last) of each core module; None where it is not at hand.
        plain: for each core instance, whether it is the first module without arguments.
        core_funcs, memories: export name, for those that are exports of a plain instance.
    """

    def __init__(self, parent: Scope | None = None, *, file: _File) -> None:
        super().__init__(parent)
        self.file = file
        self.modules: list[tuple[int, int] | None] = []
        self.plain: list[bool] = []
        self.core_funcs: list[str | None] = []
        self.memories: list[str | None] = []
        self.imports: list[str] = []
        self.exports: Exports = {}

    def read(self, start: int, end: int) -> None:
        data = self.file.data
        if data[start : start + 8] != COMPONENT_PREAMBLE or end - start < len(COMPONENT_PREAMBLE):
            raise bad_module(f"no component at byte {start}")
        for section, first, past in sections(data, start, end):
            self.file.names.count_section(inner=section in (1, 4))
            if section == 1:
                self._module(first, past)
            elif section == 4:
                self._component(first, past)
            elif section == 9:
                self.file.simple = False
            elif section not in (0, 3):
                self.file.count_bytes(first, past - first)
                self._items(section, Reader(data, first, past, self.file.names))

    def _items(self, section: int, reader: Reader) -> None:
        read_item = _ITEMS.get(section)
        if read_item is None:
            raise UnknownConstruct(f"section {section}")
        for _ in range(reader.count("definitions")):
            self.file.types.declare(reader)
            read_item(self, reader)
        reader.finish(f"section {section}")

    def _module(self, first: int, past: int) -> None:
        if self.parent is not None or self.modules:
            self.file.simple = False
        self.modules.append((first, past))

    def _component(self, first: int, past: int) -> None:
        depth, outer = 1, self.parent
        while outer is not None:
            depth, outer = depth + 1, outer.parent
        if depth >= NESTING_MAX:
            raise bad_module(f"components are nested deeper than {NESTING_MAX}, at byte {first}")
        inner = _Component(self, file=self.file)
        inner.read(first, past)
        self.components.append(inner)

    # Core instances and aliases

    def _core_instance(self, reader: Reader) -> None:
        form = reader.byte()
        if form > 1:
            raise UnknownConstruct(f"core instance {form:#x}")
        if form == 0:
            module = entry_at(reader, self.modules, "core module")
        count = reader.count("arguments")
        for _ in range(count):
            reader.skip(reader.u32())  # its name: large components have many, nothing keeps them
            reader.byte()
            reader.u32()
        plain = form == 0 and count == 0 and module is not None
        if not plain or self.plain or self.parent is not None:
            self.file.simple = False
        self.plain.append(plain)

    def _alias(self, reader: Reader) -> None:
        sort = reader.byte()
        core_sort = reader.byte() if sort == 0 else None
        target = reader.byte()
        if target == 1 and core_sort is not None:
            plain = entry_at(reader, self.plain, "core instance")
            if plain and self.file.simple:
                self._add_core(core_sort, reader.name())
            else:
                reader.skip(reader.u32())
                self._add_core(core_sort, None)
        elif target == 0 and sort:
            self.add(member(reader, self, SORTS.get(sort, "core")))
        elif target == 2:
            self._outer_alias(reader, sort, core_sort)
        else:
            raise UnknownConstruct(f"alias of sort {sort:#x}, target {target:#x}")

    def _add_core(self, core_sort: int, name: str | None) -> None:
        if core_sort == 0:
            self.core_funcs.append(name)
        elif core_sort == 2:
            self.memories.append(name)
        elif core_sort > 4:
            raise UnknownConstruct(f"alias of core sort {core_sort:#x}")

    def _outer_alias(self, reader: Reader, sort: int, core_sort: int | None) -> None:
        outer = self.outward(reader, reader.u32())
        if sort == 3:
            self.types.append(entry_at(reader, outer.types, "type"))
        elif sort == 4:
            self.components.append(entry_at(reader, outer.components, "component"))
        elif core_sort == 0x11 and isinstance(outer, _Component):
            entry_at(reader, outer.modules, "core module")
            self.modules.append(None)
            self.file.simple = False
        elif core_sort == 0x10:
            reader.u32()
        else:
            raise UnknownConstruct(f"outer alias of sort {sort:#x}")

    # Types and canonical definitions

    def _type(self, reader: Reader) -> None:
        if not reader.more() or reader.data[reader.at] != 0x3F:
            self.types.append(self.file.types.define(reader, self))
            return
        reader.byte()
        reader.byte()  # the representation
        if flag(reader):
            reader.u32()  # the destructor
        self.file.simple = False
        self.types.append(Resource())

    def _canon(self, reader: Reader) -> None:
        code = reader.byte()
        if code in (0, 1) and reader.byte() != 0:
            raise UnknownConstruct("canonical definition of something else than a function")
        if code == 0:
            self._lift(reader)
            return
        if code > 4:
            raise UnknownConstruct(f"canonical definition {code:#x}")
        self.file.simple = False
        if code == 1:
            entry_at(reader, self.funcs, "function")
            self._options(reader)
        else:
            entry_at(reader, self.types, "type")
        self.core_funcs.append(None)

    def _lift(self, reader: Reader) -> None:
        core_func = entry_at(reader, self.core_funcs, "core function")
        options = self._options(reader)
        func_type = entry_at(reader, self.types, "type")
        if not isinstance(func_type, FuncType):
            raise reader.fail("a lift has a type that is not that of a function")
        if core_func is None or self.parent is not None:
            self.file.simple = False
            self.funcs.append(Func(func_type))
        else:
            self.funcs.append(Func(func_type, Lift(core_func, func_type, **options)))

    def _options(self, reader: Reader) -> dict[str, Any]:
        """Canonical options, as arguments of `Lift`."""
        options: dict[str, Any] = {}
        seen: set[int] = set()
        for _ in range(reader.count("options", len(_OPTIONS))):
            code = reader.byte()
            if code not in _OPTIONS:
                raise UnknownConstruct(f"canonical option {code:#x}")
            kind = min(code, 2) if code < 3 else code
            if kind in seen or (code < 3 and "encoding" in options):
                raise reader.fail(f"canonical option {code:#x} is given twice")
            seen.add(kind)
            if code < 3:
                options["encoding"] = _ENCODINGS[code]
            elif code < 6:
                space = self.memories if code == 3 else self.core_funcs
                options[_OPTIONS[code]] = entry_at(reader, space, "core definition")
                self.file.simple &= options[_OPTIONS[code]] is not None
            else:
                self.file.simple = False
                if code == 7:
                    reader.u32()
        return options

    # Instances, imports, exports

    def _instance(self, reader: Reader) -> None:
        form = reader.byte()
        if form == 1:
            self.instances.append(self._inline(reader))
            return
        if form != 0:
            raise UnknownConstruct(f"instance {form:#x}")
        component = entry_at(reader, self.components, "component")
        arguments: Exports = {}
        for _ in range(reader.count("arguments")):
            self.file.types.declare(reader)
            argument = reader.name()
            arguments[argument] = self._at(reader)
        if not isinstance(component, _Component):
            self.file.simple = False
            self.instances.append(component.exports)
        else:
            self.instances.append(self._renamed(reader, component.exports, arguments))

    def _renamed(self, reader: Reader, exports: Exports, arguments: Exports) -> Exports:
        """The exports of an instance: those that stand for an argument take its lift."""
        self._count_renames(reader, exports)
        renamed: Exports = {}
        for name, extern in exports.items():
            if extern.sort == "func" and extern.item.source is not None:
                argument = arguments.get(extern.item.source)
                if argument is None or argument.sort != "func":
                    raise reader.fail(f'an instance lacks the function "{extern.item.source}"')
                extern = Extern("func", Func(extern.item.type, argument.item.lift))
            renamed[name] = extern
        return renamed

    def _inline(self, reader: Reader) -> Exports:
        exports: Exports = {}
        for _ in range(reader.count("exports")):
            self.file.types.declare(reader)
            name = extern_name(reader)
            if name in exports:
                raise reader.fail(f'"{name[:100]}" is exported twice')
            exports[name] = self._at(reader)
        return exports

    def _at(self, reader: Reader) -> Extern:
        """What a `sortidx` refers to."""
        sort, index = _sort_index(reader)
        if sort > 5:
            return Extern("module", None)
        spaces: dict[int, list[Any]] = {
            1: self.funcs, 3: self.types, 4: self.components, 5: self.instances,
        }  # fmt: skip
        space = spaces.get(sort)
        if space is None:
            raise UnknownConstruct(f"sort {sort:#x}")
        if index >= len(space):
            raise reader.fail(f"{SORTS[sort]} {index} does not exist: there are {len(space)}")
        return Extern(SORTS[sort], space[index])

    def _import(self, reader: Reader) -> None:
        name = extern_name(reader)
        extern = self.file.types.described(reader, self)
        if self.parent is None and not _types_only(extern):
            self.imports.append(name)
            self.file.simple = False
        if extern.sort == "func":
            extern = Extern("func", Func(extern.item.type, source=name))
        elif extern.sort == "module":
            self.modules.append(None)
        elif extern.sort == "type" and isinstance(extern.item, Resource):
            extern.item.name = name
        self.add(extern)

    def _export(self, reader: Reader) -> None:
        name = extern_name(reader)
        extern = self._at(reader)
        if flag(reader):
            extern = self._ascribed(reader, extern, self.file.types.described(reader, self))
        if extern.sort in ("component", "module"):
            self.file.simple = False
        named(reader, self.exports, name, extern, self)

    def _ascribed(self, reader: Reader, extern: Extern, description: Extern) -> Extern:
        """An export seen as the type that it is given."""
        if extern.sort != description.sort:
            raise reader.fail(f"a {extern.sort} is exported as a {description.sort}")
        if extern.sort == "func":
            return Extern("func", Func(description.item.type, extern.item.lift, extern.item.source))
        if extern.sort == "instance":
            self._count_renames(reader, description.item)
            kept = {n: extern.item[n] for n in description.item if n in extern.item}
            return Extern("instance", kept)
        return description if extern.sort == "type" else extern

    def _count_renames(self, reader: Reader, exports: Exports) -> None:
        self.file.renames += len(exports)
        if self.file.renames > RENAMES_MAX:
            raise reader.fail(f"instances have more than {RENAMES_MAX} exports")

    # The whole

    def info(self) -> ComponentInfo:
        funcs = self._functions()
        plan = self._plan(funcs) if self.file.simple else None
        if plan is not None:
            exports = {name: lift.type for name, lift in plan.lifts.items()}
        else:
            exports = {name: func.type for name, func in funcs.items()}
        command = any(
            _COMMAND.fullmatch(name) is not None and f"{name}#run" in funcs for name in self.exports
        )
        return ComponentInfo(tuple(self.imports), exports, plan, typed=True, command=command)

    def _functions(self) -> dict[str, Func]:
        funcs: dict[str, Func] = {}
        names = Names()  # an instance may be exported often, and its name stands before each
        for name, extern in self.exports.items():
            if extern.sort == "func":
                funcs[name] = extern.item
            elif extern.sort == "instance":
                for inner, item in extern.item.items():
                    if item.sort == "func":
                        names.count(len(name) + len(inner))
                        funcs[f"{name}#{inner}"] = item.item
        return funcs

    def _plan(self, funcs: dict[str, Func]) -> Plan | None:
        if self.plain != [True] or self.modules[0] is None:
            return None
        first, past = self.modules[0]
        core = core_module.read(self.file.data, first, past)
        if core.imports:
            raise bad_module("the core module is instantiated without the imports it asks for")
        lifts: dict[str, Lift] = {}
        layouts = Layouts()
        for name, func in funcs.items():
            if func.lift is None:
                return None
            check_lift(core, name, func.lift, layouts)
            lifts[name] = func.lift
        return Plan(first, past - first, lifts)


def _types_only(extern: Extern) -> bool:
    """Whether an import only names types, so that the host need not provide anything."""
    if extern.sort == "instance":
        return all(map(_types_only, extern.item.values()))
    return extern.sort == "type" and not isinstance(extern.item, Resource)


_OPTIONS = {
    0: "encoding", 1: "encoding", 2: "encoding", 3: "memory", 4: "realloc", 5: "post_return",
    6: "async", 7: "callback",
}  # fmt: skip

_ITEMS = {
    2: _Component._core_instance,
    5: _Component._instance,
    6: _Component._alias,
    7: _Component._type,
    8: _Component._canon,
    10: _Component._import,
    11: _Component._export,
}
