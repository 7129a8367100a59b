"""P7: every CPU gives the same bits."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from golden import arithmetic, golden
from on_this_cpu import archive

from streamlstm import warmup
from streamlstm.codec.coder import ARITHMETIC

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "golden.json").read_text())
ARCHIVE = HERE / "compressed" / "learning.slz"

# The CPUs that LLVM compiles for, and the flags of /proc/cpuinfo that are needed to run the code.
TARGETS = {
    "x86-64": (),
    "x86-64-v3": ("avx2", "fma", "bmi2"),
    "haswell": ("avx2", "fma", "bmi2"),
    "skylake-avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"),
    "znver4": ("avx512f", "avx512bw", "avx512vl", "avx512_bf16", "avx512_vbmi2", "clzero"),
}
DEFAULT_TARGET = "x86-64-v3"
LEVELS = {"x86-64": "1", "haswell": "2"}
"""The levels of optimisation for these targets; the others have numba's default, 3."""


def assert_the_same_bits(tmp_path, **environment):
    """Compile everything in a new process with a new cache; hashes and archive are as here, the code is clean."""
    run = subprocess.run(
        [sys.executable, str(HERE / "on_this_cpu.py"), str(ARCHIVE)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "STREAMLSTM_JIT": "1", **environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    result = json.loads(run.stdout)
    assert result["golden"] == EXPECTED
    assert result["archive"] == archive(ARCHIVE.read_bytes())
    assert list(result["forbidden"]) == [kernel.name for kernel in warmup()]
    assert not any(result["forbidden"].values()), result["forbidden"]
    assert result["shortest assembly"] > 1000


def test_this_cpu_gives_the_golden_bits():
    assert golden() == EXPECTED


def test_the_identity_of_the_arithmetic_is_that_of_the_golden_bits():
    assert arithmetic(EXPECTED) == ARITHMETIC


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the targets are x86-64 CPUs")
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_and_level_gives_the_golden_bits_and_reads_the_archive_of_another(tmp_path, target):
    cpu_info = Path("/proc/cpuinfo")
    flags = cpu_info.read_text().split() if cpu_info.exists() else []
    missing = [flag for flag in TARGETS[target] if flag not in flags]
    if missing and target != DEFAULT_TARGET:
        pytest.skip(f"this CPU lacks {missing[0]}, which code for {target} needs")
    level = LEVELS.get(target, "3")
    assert_the_same_bits(tmp_path, NUMBA_CPU_NAME=target, NUMBA_CPU_FEATURES="", NUMBA_OPT=level)
