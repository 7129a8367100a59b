"""Compile all kernels ahead of time: write the libraries of `precompiled`, one for each level of CPU.

    python -m streamlstm.jit.ahead                      # all levels
    python -m streamlstm.jit.ahead x86-64-v3

It needs the GNU linker: `ld`, and `aarch64-linux-gnu-ld` for aarch64. A level takes half a minute. The same
sources and the same numba and llvmlite give the same bytes. Numba compiles each entry as it does for the CPU that it
runs on, but for the level; then a function is put around each entry that takes and returns Python objects.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target

from ..system.files import opened_atomically
from .precompiled import (
    DATA,
    FOLDER,
    LENGTHS,
    PACKAGE,
    SOURCES,
    TUPLE_ITEMS,
    digest_of,
    kernel_sources,
    sealed,
    symbol_of,
)
from .warmup import entries


class Level(NamedTuple):
    """What a level of CPU is compiled and linked with.

    triple    LLVM's name of the system
    cpu       LLVM's name of the CPU
    code      the CPU that numba compiles for, which must be one of its own family
    features  what `lanes` must be told about that CPU
    linker    the command that links for the system
    """

    triple: str
    cpu: str
    code: str
    features: str = ""
    linker: str = "ld"


_X86, _AVX512 = "x86_64-unknown-linux-gnu", "+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl"

LEVELS = {
    "x86-64-v4": Level(_X86, "x86-64-v4", "x86-64-v4", _AVX512),
    "x86-64-v3": Level(_X86, "x86-64-v3", "x86-64-v3"),
    "x86-64-v2": Level(_X86, "x86-64-v2", "x86-64-v2"),
    "aarch64": Level("aarch64-unknown-linux-gnu", "generic", "x86-64-v2", "", "aarch64-linux-gnu-ld"),
}

_I1, _I8, _I32, _I64 = (ir.IntType(n) for n in (1, 8, 32, 64))
_OBJECT, _DOUBLE, _VOID = _I8.as_pointer(), ir.DoubleType(), ir.VoidType()


# The function around an entry


def _add_function(module: ir.Module, entry: Any) -> None:
    """Add the function of an entry to a module: a METH_FASTCALL of Python's C interface."""
    context, native = cpu_target.target_context, entry.overloads[entry.arguments].fndesc
    convention, kinds = context.call_conv, native.argtypes
    callee = ir.Function(module, convention.get_function_type(native.restype, kinds), native.llvm_func_name)
    kind = ir.FunctionType(_OBJECT, [_OBJECT, _OBJECT.as_pointer(), _I64])
    function = ir.Function(module, kind, symbol_of(entry.py_func))
    builder = ir.IRBuilder(function.append_basic_block())
    given = [builder.load(builder.gep(function.args[1], [_I64(i)])) for i in range(len(kinds))]
    arguments = [_value(context, builder, kind, item) for kind, item in zip(kinds, given, strict=True)]
    thread = _call(builder, "PyEval_SaveThread", _OBJECT)
    status, result = convention.call_function(builder, callee, native.restype, kinds, arguments)
    _call(builder, "PyEval_RestoreThread", _VOID, thread)
    with builder.if_then(status.is_error, likely=False):  # no kernel raises anything
        _call(builder, "llvm.trap", _VOID)
    builder.ret(_object(builder, native.restype, result))


def _value(context: Any, builder: Any, kind: types.Type, item: Any) -> Any:
    """Numba's value of an argument, given as the Python object `item`."""
    if isinstance(kind, types.Boolean):
        return builder.trunc(_call(builder, "PyObject_IsTrue", _I32, item), _I1)
    if isinstance(kind, types.Integer):
        return _call(builder, "PyLong_AsLongLong", _I64, item)
    if isinstance(kind, types.Float):
        return _call(builder, "PyFloat_AsDouble", _DOUBLE, item)
    return _arrays(context, builder, kind, builder.ptrtoint(item, _I64))


def _arrays(context: Any, builder: Any, kind: types.Type, address: Any) -> Any:
    """Numba's value of the array, or of the tuple of arrays, that is the Python object at an address."""

    def word(start: Any, offset: int) -> Any:
        return builder.load(builder.inttoptr(builder.add(start, _I64(offset)), _I64.as_pointer()))

    if isinstance(kind, types.BaseTuple):
        first = builder.add(address, builder.load(builder.module.globals[TUPLE_ITEMS]))
        items = [_arrays(context, builder, item, word(first, 8 * i)) for i, item in enumerate(kind.types)]
        return context.make_tuple(builder, kind, items)
    array, itemsize = context.make_array(kind)(context, builder), _I64(kind.dtype.bitwidth // 8)
    context.populate_array(
        array,
        data=builder.inttoptr(word(address, DATA), context.get_data_type(kind.dtype).as_pointer()),
        shape=cgutils.pack_array(builder, [word(word(address, LENGTHS), 0)]),
        strides=cgutils.pack_array(builder, [itemsize]),
        itemsize=itemsize,
        meminfo=None,
    )
    return array._getvalue()


def _object(builder: Any, kind: types.Type, value: Any) -> Any:
    """The Python object of a result."""
    if isinstance(kind, types.Boolean):
        return _call(builder, "PyBool_FromLong", _OBJECT, builder.zext(value, _I64))
    if isinstance(kind, types.Integer):
        return _call(builder, "PyLong_FromLongLong", _OBJECT, builder.sext(value, _I64))
    if isinstance(kind, types.Float):
        double = value if value.type == _DOUBLE else builder.fpext(value, _DOUBLE)
        return _call(builder, "PyFloat_FromDouble", _OBJECT, double)
    none = builder.module.globals.get("_Py_NoneStruct") or ir.GlobalVariable(builder.module, _I8, "_Py_NoneStruct")
    _call(builder, "Py_IncRef", _VOID, none)
    return none


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Call a function of C, or an instruction of LLVM."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


# The library


def write_library(name: str, folder: Path) -> None:
    """Write the library of a level. Numba must have been started for that level, see `main`."""
    level = LEVELS[name]
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple(level.triple)
    machine = target.create_target_machine(cpu=level.cpu, opt=3, reloc="pic", codemodel="default")
    module = _module(level.triple)
    module.data_layout = str(machine.target_data)
    passes = binding.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, binding.create_pass_builder(machine, binding.PipelineTuningOptions()))
    with tempfile.TemporaryDirectory() as temporary:
        unlinked, linked = Path(temporary) / "kernels.o", Path(temporary) / "kernels.so"
        unlinked.write_bytes(machine.emit_object(module))
        flags = ["-shared", "--build-id=none", "--strip-all", "-z", "noexecstack"]
        subprocess.run([level.linker, *flags, "-o", linked, unlinked], check=True)
        folder.mkdir(exist_ok=True)
        with opened_atomically(folder / f"{name}.so") as file:
            file.write(sealed(linked.read_bytes()))


def _module(triple: str) -> Any:
    """LLVM's module of all entries, in which only the functions around them and two variables are visible."""
    functions, codes, visible = ir.Module("streamlstm"), [], {SOURCES, TUPLE_ITEMS}
    ir.GlobalVariable(functions, _I64, TUPLE_ITEMS).initializer = _I64(0)  # set when the library is loaded
    for entry in entries():
        entry.compile(entry.arguments)
        codes.append(str(entry.overloads[entry.arguments].library._final_module))
        _add_function(functions, entry)
        visible.add(symbol_of(entry.py_func))
    _add_sources(functions)
    module = _parsed(str(functions), triple)
    for code in codes:
        module.link_in(_parsed(code, triple))
    for symbol in (*module.functions, *module.global_variables):
        if not symbol.is_declaration and symbol.name not in visible:
            symbol.linkage = "internal"
    return module


def _add_sources(module: ir.Module) -> None:
    """Add the digest of the sources and their names."""
    names = [source.relative_to(PACKAGE).as_posix() for source in kernel_sources(PACKAGE)]
    text = "\n".join([digest_of(PACKAGE / name for name in names), *names])
    data = bytearray(text.encode() + b"\0")
    variable = ir.GlobalVariable(module, ir.ArrayType(_I8, len(data)), SOURCES)
    variable.global_constant, variable.initializer = True, ir.Constant(variable.value_type, data)


def _parsed(code: str, triple: str) -> Any:
    """LLVM's module of a text, for this system, whatever it was written for."""
    lines = [line for line in code.splitlines() if not line.startswith(("target triple", "target datalayout"))]
    module = binding.parse_assembly("\n".join(lines))
    module.triple = triple
    return module


def main(names: list[str]) -> None:
    """Write the libraries of these levels, each in a process of its own: numba compiles for one CPU only."""
    for name in names:
        level = LEVELS[name]
        with tempfile.TemporaryDirectory() as cache:
            numbas = {"NUMBA_CPU_NAME": level.code, "NUMBA_CPU_FEATURES": level.features, "NUMBA_CACHE_DIR": cache}
            script = "from streamlstm.jit import ahead; ahead.write_library(ahead.sys.argv[1], ahead.FOLDER)"
            environment = {**os.environ, **numbas, "STREAMLSTM_JIT": "1", "NUMBA_BOUNDSCHECK": "0"}
            subprocess.run([sys.executable, "-c", script, name], check=True, env=environment)
        print(FOLDER / f"{name}.so")


if __name__ == "__main__":
    main(sys.argv[1:] or list(LEVELS))
