"""The system calls with which a child process changes files, and what goes wrong in them.

A function runs in a forked child. Whenever the child is about to change a file in a folder, the kernel stops it
(seccomp and ptrace, as in `strace --inject`), whether the call comes from Python or from C, as SQLite's do. The call is
recorded, and may be made to fail, to write only a part, or to be the last thing that the process does.
"""

import contextlib
import ctypes
import errno
import json
import os
import platform
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

IS_SUPPORTED = sys.platform == "linux" and platform.machine() == "x86_64"
"""Elsewhere the registers have other names."""

_OPEN = ("open", "openat", "creat")
_WRITE = ("write", "pwrite64")
_SYNC = ("fsync", "fdatasync")
_RENAME = ("rename", "renameat", "renameat2")
_NUMBERS = {
    **{"write": 1, "open": 2, "close": 3, "mmap": 9, "pwrite64": 18, "fsync": 74, "fdatasync": 75, "ftruncate": 77},
    **{"rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "unlink": 87, "chmod": 90, "fchmod": 91},
    **{"openat": 257, "mkdirat": 258, "unlinkat": 263, "renameat": 264, "fchmodat": 268, "renameat2": 316},
}
_UNEXPECTED = {
    **{"writev": 20, "sendfile": 40, "truncate": 76, "link": 86, "symlink": 88, "linkat": 265, "symlinkat": 266},
    **{"splice": 275, "fallocate": 285, "pwritev": 296, "copy_file_range": 326, "pwritev2": 328, "openat2": 437},
}
"""Other calls that change files. Nothing uses them; if something does, this module must learn them."""

_NAMES = {number: name for name, number in (_NUMBERS | _UNEXPECTED).items()}


class Call(NamedTuple):
    """A call that changes a file or folder.

    name    of the call; "open" also for those like it
    path    of the file, in the folder that is watched; "" for the folder itself
    to      the new path, of a rename
    offset  where it writes, or to what length it cuts
    data    what it writes
    flags   of open
    """

    name: str
    path: str
    to: str = ""
    offset: int = 0
    data: bytes = b""
    flags: int = 0


class Fault(NamedTuple):
    """What goes wrong.

    name     for the names of tests
    error    with which the call fails; 0: none
    is_late  whether the call takes effect before it fails or the process ends
    kills    whether the process ends by SIGKILL
    share    of the data that is written
    """

    name: str
    error: int = 0
    is_late: bool = False
    kills: bool = False
    share: float = 1.0

    def can_happen(self, call: Call) -> bool:
        """Whether a system may do so."""
        if self.share < 1:
            return len(call.data) > 1
        if self.error == errno.ENOSPC:
            return call.name in ("open", "write", "rename", "mkdir", "fsync")
        if self.error == errno.EINTR:
            return call.name in ("open", "write", "ftruncate", "fsync")
        return self.kills or call.name != "close" or self.is_late


FAULTS = (
    Fault("ENOSPC", errno.ENOSPC),
    Fault("EIO", errno.EIO),
    Fault("late EIO", errno.EIO, is_late=True),
    Fault("EINTR", errno.EINTR),
    Fault("short write", share=0.5),
    Fault("short write, then ENOSPC", errno.ENOSPC, share=0.5),
    Fault("kill before", kills=True),
    Fault("kill after", kills=True, is_late=True),
    Fault("kill amid", kills=True, is_late=True, share=0.5),
)


class Outcome(NamedTuple):
    """What a child has done.

    calls   which changed files
    code    its exit code; -9 if it was killed
    result  what the function returned, as JSON
    error   its exception in one line; "" for none
    file    which file that names
    trace   the exception's traceback
    hit     the call in which something went wrong; None if it made fewer calls
    """

    calls: list[Call]
    code: int
    result: Any
    error: str
    file: str
    trace: str
    hit: Call | None


def run_child(
    act: Callable[[], Any],
    folder: Path,
    fault: Fault | None = None,
    at: int = 0,
    starts: Callable[[], Any] | None = None,
) -> Outcome:
    """Run a function in a child.

    act     the function, which returns what JSON can represent
    folder  whose files are watched
    fault   what goes wrong in the call number `at`, from 0 on, of those in which it can happen
    """
    tracer = _Tracer(folder.resolve(), fault, at)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_child(act, reader, writer)
    os.close(writer)
    try:
        code = tracer.follow(pid)
        with open(reader, "rb") as pipe:
            said = json.loads(pipe.read() or b"{}")
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        raise
    result, error, file, trace = (said.get(name, "") for name in ("result", "error", "file", "trace"))
    return Outcome(tracer.calls, code, result, error, file, trace, tracer.hit)


def _be_child(act: Callable[[], Any], reader: int, writer: int) -> None:
    """Run the function, traced by the parent, tell what it did, and end."""
    try:
        os.setpgid(0, 0)
        os.close(reader)
        _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: end with the parent, before it has told ptrace so too
        if _LIBC.ptrace(_TRACEME, 0, None, None):
            os._exit(99)
        os.kill(os.getpid(), signal.SIGSTOP)
        _install_filter()
        said: dict[str, Any] = {}
        try:
            said["result"] = act()
        except BaseException as error:
            said = {"error": str(error), "file": str(getattr(error, "filename", "") or "")}
            said["trace"] = traceback.format_exc()
        os.write(writer, json.dumps(said).encode())
        os._exit(0)
    finally:
        os._exit(98)


# seccomp and ptrace, see seccomp(2), ptrace(2) and linux/filter.h

_LIBC = ctypes.CDLL(None, use_errno=True) if IS_SUPPORTED else None
_TRACEME, _CONT, _GETREGS, _SETREGS, _SYSCALL, _SETOPTIONS = 0, 7, 12, 13, 24, 0x4200
_FOLLOW = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
"""Tell of system calls, forks, vforks, clones, other programs and the filter; end the child with its tracer."""
_SECCOMP_STOP, _WALL = 7, 0x40000000
_AT_FDCWD = -100


class _Registers(ctypes.Structure):
    """user_regs_struct: the number of a call is in orig_rax, its arguments are in rdi, rsi, rdx, r10 and r8."""

    _NAMES = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss".split()  # noqa: SIM905
    _fields_ = [(name, ctypes.c_ulonglong) for name in (*_NAMES, "fs_base", "gs_base", "ds", "es", "fs", "gs")]


def _install_filter() -> None:
    """Stop at the calls of `_NAMES`; the others run at full speed."""
    rows = [(0x20, 0, 0, 0)]  # load the number of the call
    numbers = sorted(_NAMES)
    rows += [(0x15, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]  # equal: go to the end
    rows += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x7FF00000)]  # allow; tell the tracer
    program = b"".join(struct.pack("HBBI", *row) for row in rows)
    content = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rows), ctypes.addressof(content)))
    assert _LIBC.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert _LIBC.prctl(22, 2, header) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


class _Tracer:
    """Follows a child and its threads and children until all have ended."""

    def __init__(self, folder: Path, fault: Fault | None, at: int) -> None:
        self._folder, self._fault, self._left = str(folder), fault, at
        self.calls: list[Call] = []
        self.hit: Call | None = None
        self._leader = 0
        self._result: dict[int, int] = {}  # what a call that is being executed is to return; 0: what it does return
        self._known: set[int] = set()
        self._fails_next = False

    def follow(self, pid: int) -> int:
        """Follow a child; returns its exit code."""
        self._leader, code = pid, 0
        self._wait(pid)
        self._ptrace(_SETOPTIONS, pid, _FOLLOW)
        self._known.add(pid)
        self._ptrace(_CONT, pid, 0)
        while True:
            try:
                thread, status = os.waitpid(-pid, _WALL)
            except ChildProcessError:
                return code
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                code = os.waitstatus_to_exitcode(status) if thread == pid else code
            else:
                with contextlib.suppress(ProcessLookupError):  # it was killed
                    self._go_on(thread, status)

    def _wait(self, pid: int) -> None:
        _, status = os.waitpid(pid, _WALL)
        assert os.WIFSTOPPED(status), f"the child cannot be traced: {status:#x}"

    def _go_on(self, thread: int, status: int) -> None:
        number, event = os.WSTOPSIG(status), status >> 16
        if event == _SECCOMP_STOP:
            self._ptrace(self._enter(thread), thread, 0)
        elif number == signal.SIGTRAP | 0x80:
            self._leave(thread)
            self._ptrace(_CONT, thread, 0)
        elif event or thread not in self._known:  # a thread or process began, or another program
            self._known.add(thread)
            self._ptrace(_CONT, thread, 0)
        else:
            self._ptrace(_CONT, thread, number)

    def _enter(self, thread: int) -> int:
        """A call is about to be executed; returns how the thread continues."""
        registers = self._registers(thread)
        call = self._call(thread, registers)
        if call is None:
            return _CONT
        self.calls.append(call)
        fault = self._fault
        if fault is None:
            return _CONT
        if self._fails_next and call.name == "write":
            self._fails_next = False
            self._refuse(thread, registers, fault.error)
            return _CONT
        if self.hit is not None or not fault.can_happen(call):
            return _CONT
        self._left -= 1
        if self._left >= 0:
            return _CONT
        self.hit = call
        if fault.share < 1:
            registers.rdx = int(len(call.data) * fault.share)
            self._set_registers(thread, registers)
            self._fails_next = bool(fault.error)
        if fault.is_late or (fault.share < 1 and fault.kills):
            self._result[thread] = -fault.error
            return _SYSCALL
        if fault.kills:
            os.kill(self._leader, signal.SIGKILL)
        elif fault.error and fault.share == 1:
            self._refuse(thread, registers, fault.error)
        return _CONT

    def _refuse(self, thread: int, registers: _Registers, error: int) -> None:
        """Do not execute the call; it returns an error."""
        registers.orig_rax = 2**64 - 1
        registers.rax = 2**64 - error
        self._set_registers(thread, registers)

    def _leave(self, thread: int) -> None:
        """A call has been executed."""
        if thread not in self._result:
            return
        result = self._result.pop(thread)
        if self._fault is not None and self._fault.kills:
            os.kill(self._leader, signal.SIGKILL)
            return
        registers = self._registers(thread)
        registers.rax = (2**64 + result) % 2**64
        self._set_registers(thread, registers)

    def _call(self, thread: int, registers: _Registers) -> Call | None:
        """The call, if it changes a file in the folder."""
        name = _NAMES[registers.orig_rax]
        if name in _WRITE or name in _SYNC or name in ("close", "ftruncate", "fchmod"):
            path = self._path_of(thread, registers.rdi)
            return None if path is None else self._call_of_file(thread, registers, name, path)
        if name == "mmap":
            path = self._path_of(thread, registers.r8)
            is_written = registers.rdx & 2 and registers.r10 & 1  # PROT_WRITE, MAP_SHARED
            assert path is None or not is_written or path.endswith("-shm"), f"{path} is mapped to be written to"
            return None
        if name in _UNEXPECTED:
            number = registers.rdx if name == "copy_file_range" else registers.rdi
            assert self._path_of(thread, number) is None, f"what does {name} change?"
            return None
        return self._call_of_path(thread, registers, name)

    def _call_of_file(self, thread: int, registers: _Registers, name: str, path: str) -> Call | None:
        """A call with an open file."""
        number = registers.rdi
        if name in _WRITE:
            offset = registers.r10 if name == "pwrite64" else self._position(thread, number)
            return Call("write", path, offset=offset, data=self._memory(thread, registers.rsi, registers.rdx))
        if name == "close" and not self._flags(thread, number) & (os.O_WRONLY | os.O_RDWR):
            return None
        return Call("fsync" if name in _SYNC else name, path, offset=registers.rsi if name == "ftruncate" else 0)

    def _call_of_path(self, thread: int, registers: _Registers, name: str) -> Call | None:
        """A call with a path, which begins in an open folder if the call's name ends with "at"."""
        folder, *others = registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8
        if not name.endswith(("at", "at2")):
            folder, others = _AT_FDCWD, [folder, *others]
        path = self._path_in(thread, folder, others[0])
        if name in _RENAME:
            to_folder, to = (_AT_FDCWD, others[1]) if name == "rename" else (others[1], others[2])
            target = self._path_in(thread, to_folder, to)
            return None if path is None and target is None else Call("rename", path or "", target or "")
        if path is None:
            return None
        if name in _OPEN:
            flags = os.O_CREAT | os.O_TRUNC if name == "creat" else others[1]
            return Call("open", path, flags=flags) if flags & (os.O_CREAT | os.O_TRUNC) else None
        return Call({"fchmodat": "chmod"}.get(name, name.removesuffix("at")), path)

    def _relative(self, path: str) -> str | None:
        """A path in the folder; None for one that is not in it."""
        if path == self._folder:
            return ""
        return path[len(self._folder) + 1 :] if path.startswith(self._folder + "/") else None

    def _path_of(self, thread: int, descriptor: int) -> str | None:
        with contextlib.suppress(OSError):
            return self._relative(os.readlink(f"/proc/{thread}/fd/{descriptor}"))
        return None

    def _path_in(self, thread: int, folder: int, address: int) -> str | None:
        folder = struct.unpack("i", struct.pack("I", folder & 0xFFFFFFFF))[0] if folder != _AT_FDCWD else folder
        base = os.readlink(f"/proc/{thread}/cwd" if folder == _AT_FDCWD else f"/proc/{thread}/fd/{folder}")
        text = b""
        while b"\0" not in text:
            size = 4096 - (address + len(text)) % 4096  # a string may end where the memory does
            text += self._memory(thread, address + len(text), size)
        return self._relative(os.path.normpath(os.path.join(base, os.fsdecode(text.partition(b"\0")[0]))))

    def _memory(self, thread: int, address: int, size: int) -> bytes:
        with open(f"/proc/{thread}/mem", "rb", 0) as memory:
            memory.seek(address)
            return memory.read(size) if size else b""

    def _position(self, thread: int, descriptor: int) -> int:
        """Where `write` writes."""
        info = _info(thread, descriptor)
        if int(info["flags"], 8) & os.O_APPEND:
            return os.stat(f"/proc/{thread}/fd/{descriptor}").st_size
        return int(info["pos"])

    def _flags(self, thread: int, descriptor: int) -> int:
        return int(_info(thread, descriptor)["flags"], 8)

    def _registers(self, thread: int) -> _Registers:
        registers = _Registers()
        self._ptrace(_GETREGS, thread, ctypes.addressof(registers))
        return registers

    def _set_registers(self, thread: int, registers: _Registers) -> None:
        self._ptrace(_SETREGS, thread, ctypes.addressof(registers))

    def _ptrace(self, request: int, thread: int, data: int) -> None:
        if _LIBC.ptrace(ctypes.c_long(request), ctypes.c_long(thread), None, ctypes.c_void_p(data)):
            number = ctypes.get_errno()
            raise ProcessLookupError if number == errno.ESRCH else OSError(number, f"ptrace {request}")


def _info(thread: int, descriptor: int) -> dict[str, str]:
    with open(f"/proc/{thread}/fdinfo/{descriptor}") as file:
        rows = [row.split(":", 1) for row in file.read().splitlines()[:2]]
    return {name: value.strip() for name, value in rows}
