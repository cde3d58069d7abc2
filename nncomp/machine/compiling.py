"""From a kernel's Python source to object code, with Numba. Only a process that compiles imports this module.

Object code allocates nothing and raises nothing: it is compiled without Numba's runtime, so it needs nothing but the C library.
Its one function takes the address of the words that `nncomp.machine.object_code` makes of the arguments.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numba.np import arrayobj
from numba.np.numpy_support import from_dtype

from nncomp.machine import processor
from nncomp.machine.object_code import ENTRY

# Python does not call compiled functions; the wrappers for such calls would take a sixth of the time. Counting references to
# arrays that nobody frees took a quarter of the time of inlined functions.
# Numba reads these when it first compiles: its own view of a processor may differ, as where NUMBA_ENABLE_AVX=0.
config.CPU_NAME, config.CPU_FEATURES = processor.name(), processor.features_text()
_OPTIONS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False, "error_model": "numpy"}
_WORD = ir.IntType(64)
_OBJECTS_COLLECTED = 100_000  # new ones until Python looks for garbage: at 700 that takes a twentieth of the time


def dispatcher(function: Any, is_inlined: bool) -> Any:
    """Return Numba's view of a Python function that other compiled functions call."""
    return njit(**_OPTIONS, nogil=True, forceinline=is_inlined)(function)


def numba_type(value: Any) -> Any:
    """Return Numba's type of a compiled function or an intrinsic."""
    cpu_target.typing_context.refresh()  # the module of an intrinsic may be new
    cpu_target.target_context.refresh()
    return cpu_target.typing_context.resolve_value_type(value)


def _type_of(value: Any) -> Any:
    """Return Numba's type of an argument: arrays are in C order and may be written."""
    if isinstance(value, np.ndarray):
        return types.Array(from_dtype(value.dtype), value.ndim, "C")
    if isinstance(value, tuple):
        parts = [_type_of(part) for part in value]
        return types.BaseTuple.from_types(parts, type(value) if hasattr(value, "_fields") else None)
    if isinstance(value, bool | np.bool_):
        return types.boolean
    return types.uint64 if isinstance(value, np.uint64) else types.int64


def _reader(kind: Any) -> Any:
    """Return an intrinsic that reads a value of a type from the words at an address."""

    @intrinsic  # type: ignore[untyped-decorator]
    def read(typingctx: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            start, taken = builder.inttoptr(values[0], _WORD.as_pointer()), 0

            def word() -> Any:
                nonlocal taken
                taken += 1
                return builder.load(builder.gep(start, [_WORD(taken - 1)]))

            def made(kind: Any) -> Any:
                if isinstance(kind, types.BaseTuple):
                    return context.make_tuple(builder, kind, [made(part) for part in kind])
                if isinstance(kind, types.Array):
                    return array(kind)
                if kind is types.boolean:
                    return builder.icmp_unsigned("!=", word(), _WORD(0))
                return word()

            def array(kind: Any) -> Any:
                view = context.make_array(kind)(context, builder)
                element = context.get_data_type(kind.dtype)
                item_bytes = context.get_abi_sizeof(element)
                data = builder.inttoptr(word(), element.as_pointer())
                shape = [word() for _ in range(kind.ndim)]
                strides = [_WORD(item_bytes)]
                for size in shape[:0:-1]:
                    strides.insert(0, builder.mul(strides[0], size))
                view.data, view.itemsize = data, _WORD(item_bytes)
                view.shape, view.strides = cgutils.pack_array(builder, shape, _WORD), cgutils.pack_array(builder, strides, _WORD)
                count = _WORD(1)
                for size in shape:
                    count = builder.mul(count, size)
                view.nitems = count
                view.meminfo = cgutils.get_null_value(view.meminfo.type)
                view.parent = cgutils.get_null_value(view.parent.type)
                return view._getvalue()

            return made(kind)

        return kind(types.uint64), generate

    return read


def object_code(kernel: Any, arguments: tuple[Any, ...]) -> bytes:
    """Return the object code of a kernel (`nncomp.machine.kernels`) for arguments of these types."""
    read = _reader(_type_of(arguments))

    def entry(address: Any) -> None:
        kernel(*read(address))

    made = njit(**_OPTIONS)(entry)
    with _unoptimised():
        made.compile((types.uint64,))
    (result,) = made.overloads.values()
    return _emitted(result.library, result.fndesc.llvm_func_name)


class _Source(JITCodeLibrary):  # type: ignore[misc]
    """The code of one function, not optimised and not made into machine code: both is done once, for a whole kernel."""

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


def _plain_index(context: Any, builder: Any, kind: Any, index: Any, size: Any) -> Any:
    """Return an index as it is. Numba's own function lets a negative one count from the end, which takes three instructions."""
    return context.cast(builder, index, kind, types.intp)


@contextmanager
def _unoptimised() -> Iterator[None]:
    codegen = cpu_target.target_context.codegen()
    with global_compiler_lock:
        before, wrapped, collected = codegen._library_class, arrayobj.fix_integer_index, gc.get_threshold()
        gc.set_threshold(_OBJECTS_COLLECTED, *collected[1:])
        codegen._library_class, arrayobj.fix_integer_index = _Source, _plain_index
        codegen.set_env = lambda name, environment: None  # object code has no environment of Python
        try:
            yield
        finally:
            codegen._library_class, arrayobj.fix_integer_index = before, wrapped
            gc.set_threshold(*collected)
            del codegen.set_env


def _emitted(library: Any, inner: str) -> bytes:
    """Return the object code of a library, with a C function named ENTRY that calls its function `inner`."""
    codegen = cpu_target.target_context.codegen()
    module = ir.Module("entry")
    module.triple, module.data_layout = library._final_module.triple, codegen._data_layout
    byte = ir.IntType(8).as_pointer()
    # Numba's convention: the place of the result, the place of an error, then the arguments
    callee = ir.Function(module, ir.FunctionType(ir.IntType(32), [byte.as_pointer(), byte.as_pointer(), _WORD]), inner)
    function = ir.Function(module, ir.FunctionType(ir.IntType(32), [_WORD]), ENTRY)
    builder = ir.IRBuilder(function.append_basic_block())
    result, error = builder.alloca(byte), builder.alloca(byte)
    builder.ret(builder.call(callee, [result, error, function.args[0]]))  # 0 if nothing was raised
    linked = library._final_module.clone()
    linked.link_in(llvm.parse_assembly(str(module)))
    for found in linked.functions:
        if not found.is_declaration and found.name != ENTRY:
            found.linkage = "internal"  # what is inlined everywhere is dropped
    JITCodeLibrary._optimize_functions(library, linked)
    library._final_module = linked
    JITCodeLibrary._optimize_final_module(library)
    if any(found.name.startswith("numba.dynamic.globals") for found in library._final_module.global_variables):
        raise RuntimeError("A kernel reads a global array that is too large to be part of its code.")
    return bytes(codegen._tm.emit_object(library._final_module))
