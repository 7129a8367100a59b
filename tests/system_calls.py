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
import re
import signal
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

IS_SUPPORTED = sys.platform == "linux" and platform.machine() == "x86_64"
"""Elsewhere the registers have other names."""

_CALLS = {
    number: (name, of)
    for name, of, *numbers in (
        ("write", "file", 1, 18), ("close", "file", 3), ("fsync", "file", 74, 75), ("ftruncate", "file", 77),
        ("fchmod", "file", 91), ("mmap", "mapping", 9), ("open", "path", 2), ("open", "at", 257),
        ("rename", "path", 82), ("rename", "at", 264, 316), ("unlink", "path", 87), ("unlink", "at", 263),
        ("mkdir", "path", 83), ("mkdir", "at", 258), ("rmdir", "path", 84), ("chmod", "path", 90), ("chmod", "at", 268),
        ("", "file", 20, 40, 275, 285, 296, 326, 328),  # writev, sendfile, splice, fallocate, pwritev, copy_file_range
        ("", "path", 76, 85, 86),  # truncate, creat, link
        ("", "at", 265, 437),  # linkat, openat2
    )
    for number in numbers
}  # fmt: skip
"""The number of each call that changes files: its name, and whether it names an open file, a path, or an open folder
and a path in it. Nothing uses those without a name; if something does, this module must learn them."""
_PWRITE, _COPY_FILE_RANGE = 18, 326


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
    error   of an exception: the file that it names and what it says, in one line, and the traceback; "" for none
    hit     the call in which something went wrong; None if it made fewer calls
    """

    calls: list[Call]
    code: int
    result: Any
    error: str
    hit: Call | None


def run_child(act: Callable[[], Any], folder: Path, fault: Fault | None = None, at: int = 0) -> Outcome:
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
            result, error = json.loads(pipe.read() or b'[null, ""]')
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        raise
    return Outcome(tracer.calls, code, result, error, tracer.hit)


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
        result, error = None, ""
        try:
            result = act()
        except BaseException as caught:
            where, what = getattr(caught, "filename", None), getattr(caught, "strerror", None)
            error = f"{where or ''}: {what or caught}\n{traceback.format_exc()}"
        os.write(writer, json.dumps([result, error]).encode())
        os._exit(0)
    finally:
        os._exit(98)


# Which call is to go wrong, and how


def kind_of(call: Call) -> tuple[str, str]:
    """Calls with the same name, and the same file but for digits of its name that are random."""
    return call.name, re.sub("[0-9a-f]{8,}", "", call.path)


def chances(calls: list[Call]) -> Iterator[list[tuple[Fault, list[int]]]]:
    """For each kind of call, the faults that can happen in it, each with the numbers that these calls have for it.

    The mapped files of SQLite are left out: another process makes them anew.
    """
    for kind in sorted({kind_of(call) for call in calls if not call.path.endswith("-shm")}):
        found = []
        for fault in FAULTS:
            possible = [call for call in calls if fault.can_happen(call)]
            numbers = [at for at, call in enumerate(possible) if kind_of(call) == kind]
            found += [(fault, numbers)] if numbers else []
        yield found


@contextlib.contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder in memory where there is such: there fsync costs nothing."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        yield Path(name).resolve()


# seccomp and ptrace, see seccomp(2), ptrace(2) and linux/filter.h

_LIBC = ctypes.CDLL(None, use_errno=True) if IS_SUPPORTED else None
_TRACEME, _CONT, _GETREGS, _SETREGS, _SYSCALL, _SETOPTIONS = 0, 7, 12, 13, 24, 0x4200
_FOLLOW = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
"""Tell of system calls, forks, vforks, clones, other programs and the filter; end the child with its tracer."""
_SECCOMP_STOP, _WALL = 7, 0x40000000
_CWD = -100 % 2**64


class _Registers(ctypes.Structure):
    """user_regs_struct: the number of a call is in orig_rax, its arguments are in rdi, rsi, rdx, r10 and r8."""

    _NAMES = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss".split()  # noqa: SIM905
    _fields_ = [(name, ctypes.c_ulonglong) for name in (*_NAMES, "fs_base", "gs_base", "ds", "es", "fs", "gs")]


def _install_filter() -> None:
    """Stop at the calls of `_CALLS`; the others run at full speed."""
    rows = [(0x20, 0, 0, 0)]  # load the number of the call
    numbers = sorted(_CALLS)
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
        self._late: set[int] = set()  # threads that execute the call which is to fail, or be the last, after it
        self._known: set[int] = set()
        self._fails_next = False

    def follow(self, pid: int) -> int:
        """Follow a child; returns its exit code."""
        self._leader, code = pid, 0
        _, status = os.waitpid(pid, _WALL)
        assert os.WIFSTOPPED(status), f"the child cannot be traced: {status:#x}"
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
                    self._go_on(thread, os.WSTOPSIG(status), status >> 16)

    def _go_on(self, thread: int, number: int, event: int) -> None:
        if event == _SECCOMP_STOP:
            self._ptrace(_SYSCALL if self._enter(thread) else _CONT, thread, 0)
            return
        if number == signal.SIGTRAP | 0x80:
            self._leave(thread)
            number = 0
        elif event or thread not in self._known:  # a thread or process began, or another program
            self._known.add(thread)
            number = 0
        self._ptrace(_CONT, thread, number)

    def _enter(self, thread: int) -> bool:
        """A call is about to be executed; returns whether to stop after it."""
        registers, fault = self._registers(thread), self._fault
        call = self._call(thread, registers)
        if call is None:
            return False
        self.calls.append(call)
        if fault is None:
            return False
        if self._fails_next and call.name == "write":
            self._fails_next = False
            self._refuse(thread, registers)
        elif self.hit is None and fault.can_happen(call):
            self._left -= 1
            if self._left < 0:
                self.hit = call
                return self._harm(thread, registers, fault, call)
        return False

    def _harm(self, thread: int, registers: _Registers, fault: Fault, call: Call) -> bool:
        """Let the fault happen in this call; returns whether to stop after it."""
        if fault.share < 1:
            registers.rdx = int(len(call.data) * fault.share)
            self._set_registers(thread, registers)
            self._fails_next = bool(fault.error)
        if fault.is_late:
            self._late.add(thread)
        elif fault.kills:
            os.kill(self._leader, signal.SIGKILL)
        elif fault.share == 1:
            self._refuse(thread, registers)
        return fault.is_late

    def _refuse(self, thread: int, registers: _Registers) -> None:
        """Do not execute the call; it returns the error."""
        registers.orig_rax = 2**64 - 1
        registers.rax = 2**64 - self._fault.error
        self._set_registers(thread, registers)

    def _leave(self, thread: int) -> None:
        """A call has been executed: if it is the one, end the process, or let the call return the error."""
        if thread in self._late:
            self._late.remove(thread)
            if self._fault.kills:
                os.kill(self._leader, signal.SIGKILL)
            else:
                registers = self._registers(thread)
                registers.rax = 2**64 - self._fault.error
                self._set_registers(thread, registers)

    def _call(self, thread: int, registers: _Registers) -> Call | None:
        """The call, if it changes a file in the folder."""
        name, of = _CALLS[registers.orig_rax]
        first, second, third, fourth = registers.rdi, registers.rsi, registers.rdx, registers.r10
        if of == "mapping":
            path, is_written = self._path_of(thread, registers.r8), third & 2 and fourth & 1  # PROT_WRITE, MAP_SHARED
            assert path is None or not is_written or path.endswith("-shm"), f"{path} is mapped to be written to"
            return None
        if of == "file":
            path = self._path_of(thread, third if registers.orig_rax == _COPY_FILE_RANGE else first)
            return None if path is None else self._call_of_file(thread, registers, name, path)
        if of == "path":  # as if it named the current folder too
            first, second, third, fourth = _CWD, first, _CWD if name == "rename" else second, second
        path = self._path_in(thread, first, second)
        if name == "rename":
            to = self._path_in(thread, third, fourth)
            return None if path is None and to is None else Call(name, path or "", to or "")
        if path is None or (name == "open" and not third & (os.O_CREAT | os.O_TRUNC)):
            return None
        assert name, f"what does call {registers.orig_rax} change in {path}?"
        return Call(name, path, flags=third if name == "open" else 0)

    def _call_of_file(self, thread: int, registers: _Registers, name: str, path: str) -> Call | None:
        """A call with an open file."""
        assert name, f"what does call {registers.orig_rax} change in {path}?"
        position, flags = self._info(thread, registers.rdi)
        if name == "write":
            offset = registers.r10 if registers.orig_rax == _PWRITE else position
            return Call(name, path, offset=offset, data=self._memory(thread, registers.rsi, registers.rdx))
        if name == "close" and not flags & (os.O_WRONLY | os.O_RDWR):
            return None
        return Call(name, path, offset=registers.rsi if name == "ftruncate" else 0)

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
        is_current = folder % 2**32 == _CWD % 2**32
        base = os.readlink(f"/proc/{thread}/cwd" if is_current else f"/proc/{thread}/fd/{folder}")
        path = os.fsdecode(self._memory(thread, address, 4096).partition(b"\0")[0])
        return self._relative(os.path.normpath(os.path.join(base, path)))

    def _memory(self, thread: int, address: int, size: int) -> bytes:
        """The memory from an address on; less where it ends before."""
        with open(f"/proc/{thread}/mem", "rb", 0) as memory:
            memory.seek(address)
            return memory.read(size) if size else b""

    def _info(self, thread: int, descriptor: int) -> tuple[int, int]:
        """Where the next `write` to an open file writes, and its flags."""
        rows = Path(f"/proc/{thread}/fdinfo/{descriptor}").read_text().splitlines()
        position, flags = int(rows[0].split()[1]), int(rows[1].split()[1], 8)
        return os.stat(f"/proc/{thread}/fd/{descriptor}").st_size if flags & os.O_APPEND else position, flags

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
