"""The C functions of libwasmtime that the hot paths call, with plain integers for pointers.

The classes of the `wasmtime` package look types up and build objects at every call: 70 µs for a
fresh store and one call, against about 20 µs through these functions. They come from the same
shared library, which the package has loaded.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from lite.errors import EngineUnavailable

# One letter a type: p pointer, b bool, 1 u8, 4 u32, i int64, u uint64, z size_t, - nothing.
_TYPES: dict[str, Any] = {
    "p": ctypes.c_void_p,
    "b": ctypes.c_bool,
    "1": ctypes.c_uint8,
    "4": ctypes.c_uint32,
    "i": ctypes.c_int64,
    "u": ctypes.c_uint64,
    "z": ctypes.c_size_t,
    "-": None,
}

_PROTOTYPES = """
- wasm_byte_vec_delete p
- wasm_byte_vec_new pzp
- wasm_trap_delete p
- wasm_trap_message pp
p wasmtime_caller_context p
b wasmtime_caller_export_get ppzp
p wasmtime_component_func_call pppzpz
b wasmtime_component_instance_get_func pppp
p wasmtime_component_linker_instance_add_func ppzppp
p wasmtime_component_linker_instance_add_resource ppzpppp
p wasmtime_component_linker_instantiate pppp
- wasmtime_component_resource_any_delete p
p wasmtime_component_resource_any_to_host ppp
- wasmtime_component_resource_host_delete p
p wasmtime_component_resource_host_new b44
4 wasmtime_component_resource_host_rep p
p wasmtime_component_resource_host_to_any ppp
- wasmtime_component_val_delete p
p wasmtime_component_val_new p
- wasmtime_component_valflags_new_uninit pz
- wasmtime_component_vallist_new_uninit pz
- wasmtime_component_valrecord_new_uninit pz
- wasmtime_component_valtuple_new_uninit pz
p wasmtime_context_get_data p
p wasmtime_context_get_fuel pp
- wasmtime_config_host_memory_creator_set pp
- wasmtime_context_set_epoch_deadline pu
p wasmtime_context_set_fuel pu
- wasmtime_engine_increment_epoch p
- wasmtime_error_delete p
- wasmtime_error_message pp
p wasmtime_error_new p
p wasmtime_func_call_unchecked pppzp
b wasmtime_instance_export_get pppzp
p wasmtime_instance_pre_instantiate pppp
p wasmtime_linker_define_func_unchecked ppzpzpppp
p wasmtime_memory_data pp
z wasmtime_memory_data_size pp
p wasmtime_store_context p
- wasmtime_store_delete p
- wasmtime_store_epoch_deadline_callback pppp
- wasmtime_store_limiter piiiii
p wasmtime_store_new ppp
b wasmtime_trap_code pp
p wasmtime_trap_new pz
"""

# Sizes and offsets, in bytes, that the other modules rely on; checked against the package's own
# declarations when the library is loaded.
RAW_SIZE = 16  # wasmtime_val_raw_t
EXTERN_SIZE = 32  # wasmtime_extern_t
EXTERN_OF = 8
VAL_SIZE = 32  # wasmtime_component_val_t
VAL_OF = 8
ENTRY_SIZE = 48  # wasmtime_component_valrecord_entry_t: a name, then a value
ENTRY_VAL = 16
NAME_SIZE = 16  # wasm_byte_vec_t: size_t size, pointer data
# Room for handles, whose insides are wasmtime's affair and differ between versions.
FUNC_SIZE = 64  # wasmtime_component_func_t
INSTANCE_SIZE = 32  # wasmtime_instance_t and wasmtime_component_instance_t

VALUE_KINDS = (
    "BOOL", "S8", "U8", "S16", "U16", "S32", "U32", "S64", "U64", "F32", "F64", "CHAR", "STRING",
    "LIST", "RECORD", "TUPLE", "VARIANT", "ENUM", "OPTION", "RESULT", "FLAGS", "RESOURCE",
)  # fmt: skip
"""wasmtime_component_valkind_t: a kind's number is its place here."""

EXTERN_FUNC = 0
EXTERN_MEMORY = 3

# Called by the library. Each must catch everything: an exception cannot cross C code.
CoreCallback = ctypes.CFUNCTYPE(
    ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t
)  # (data, caller, raw values, their number) -> trap or 0
ComponentCallback = ctypes.CFUNCTYPE(
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_size_t,
)  # (data, context, type, arguments, their number, results, their number) -> error or 0
EpochCallback = ctypes.CFUNCTYPE(
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_uint64),
    ctypes.POINTER(ctypes.c_uint8),
)  # (context, data, ticks to go on, kind) -> error or 0
DestructorCallback = ctypes.CFUNCTYPE(
    ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32
)  # (data, context, representation) -> error or 0

_view_of = ctypes.pythonapi.PyMemoryView_FromMemory
_view_of.restype = ctypes.py_object
_view_of.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int]
_WRITABLE = 0x200


def view(address: int, size: int) -> memoryview:
    """`size` bytes of memory, writable. Valid only as long as the memory is: copy what you keep."""
    result: memoryview = _view_of(address, size, _WRITABLE)
    return result


class Trap(NamedTuple):
    """A trap or an error of the library, read and freed.

    Attributes:
        code: wasmtime's number of the trap, None for other errors.
        message: the whole text, the backtrace first, the cause last.
    """

    code: int | None
    message: str


class Capi:
    """The functions of `_PROTOTYPES` as attributes, and a few that put them together."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Any]: ...

    def __init__(self, dll: ctypes.CDLL) -> None:
        for line in _PROTOTYPES.strip().splitlines():
            result, name, *arguments = line.split()
            function = dll[name]
            function.restype = _TYPES[result]
            function.argtypes = [_TYPES[letter] for letter in "".join(arguments)]
            setattr(self, name, function)

    def take_error(self, error: int) -> Trap:
        """Read and free a `wasmtime_error_t`."""
        vec = (ctypes.c_size_t * 2)()
        self.wasmtime_error_message(error, ctypes.addressof(vec))
        message = ctypes.string_at(vec[1], vec[0]).decode()
        self.wasm_byte_vec_delete(ctypes.addressof(vec))
        self.wasmtime_error_delete(error)
        return Trap(None, message)

    def take_trap(self, trap: int) -> Trap:
        """Read and free a `wasm_trap_t`."""
        code = ctypes.c_uint8()
        known = self.wasmtime_trap_code(trap, ctypes.addressof(code))
        vec = (ctypes.c_size_t * 2)()
        self.wasm_trap_message(trap, ctypes.addressof(vec))
        message = ctypes.string_at(vec[1], vec[0] - 1).decode()  # ends in a NUL
        self.wasm_byte_vec_delete(ctypes.addressof(vec))
        self.wasm_trap_delete(trap)
        return Trap(code.value if known else None, message)


def address_of(pointer: Any) -> int:
    """The address in a ctypes pointer of the `wasmtime` package."""
    address = ctypes.cast(pointer, ctypes.c_void_p).value
    assert address is not None
    return address


@cache
def load() -> Capi:
    """The library that the `wasmtime` package brings.

    Raises:
        EngineUnavailable: the package cannot be imported, or is not one that is known here.
    """
    try:
        from wasmtime import _ffi
    except Exception as error:  # a 32-bit machine, another platform, a missing file…
        raise EngineUnavailable(
            f"wasmtime cannot be loaded here: {str(error) or type(error).__name__}",
            hint="it needs a 64-bit x86 or ARM machine; steps can be offloaded to one",
        ) from error
    try:
        _check_layout(_ffi)
        return Capi(_ffi.dll)
    except AttributeError as error:
        raise EngineUnavailable(
            f"this wasmtime has another C interface: {error}", hint="install a newer wasmtime"
        ) from error


def _check_layout(ffi: Any) -> None:
    size = ctypes.sizeof
    val = ffi.wasmtime_component_val_t
    entry = ffi.wasmtime_component_valrecord_entry_t
    found = (
        size(ffi.wasmtime_val_raw_t),
        size(ffi.wasmtime_extern_t),
        ffi.wasmtime_extern_t.of.offset,
        size(val),
        val.of.offset,
        size(entry),
        entry.val.offset,
        size(ffi.wasm_byte_vec_t),
        ffi.WASMTIME_EXTERN_FUNC.value,
        ffi.WASMTIME_EXTERN_MEMORY.value,
    )
    expected = (
        RAW_SIZE,
        EXTERN_SIZE,
        EXTERN_OF,
        VAL_SIZE,
        VAL_OF,
        ENTRY_SIZE,
        ENTRY_VAL,
        NAME_SIZE,
        EXTERN_FUNC,
        EXTERN_MEMORY,
    )
    kinds = [getattr(ffi, f"WASMTIME_COMPONENT_{kind}").value for kind in VALUE_KINDS]
    fits = (
        size(ffi.wasmtime_component_func_t) <= FUNC_SIZE
        and size(ffi.wasmtime_instance_t) <= INSTANCE_SIZE
        and size(ffi.wasmtime_component_instance_t) <= INSTANCE_SIZE
    )
    if found != expected or kinds != list(range(len(VALUE_KINDS))) or not fits:
        raise EngineUnavailable(
            f"this wasmtime has another memory layout: {found}", hint="install another version"
        )
