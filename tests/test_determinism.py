"""P7: every CPU gives the same bits."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "golden.json").read_text())

# The CPUs that LLVM compiles for, and the flags of /proc/cpuinfo that are needed to run the code.
TARGETS = {
    "generic": (),
    "x86-64": (),
    "x86-64-v3": ("avx2", "fma", "bmi2"),
    "haswell": ("avx2", "fma", "bmi2"),
    "znver3": ("avx2", "fma", "bmi2", "vaes", "vpclmulqdq", "sha_ni", "clzero"),
    "skylake-avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"),
    "znver4": ("avx512f", "avx512bw", "avx512vl", "avx512_bf16", "avx512_vbmi2", "clzero"),
}


def golden(tmp_path, **environment):
    """What tests/golden.py prints in a new process with a new kernel cache."""
    run = subprocess.run(
        [sys.executable, str(HERE / "golden.py")],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), **environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(run.stdout)


def test_this_cpu_gives_the_golden_bits(tmp_path):
    assert golden(tmp_path) == EXPECTED


@pytest.mark.parametrize("level", ["1", "2"])
def test_every_level_of_optimisation_gives_the_golden_bits(tmp_path, level):
    assert golden(tmp_path, NUMBA_OPT=level) == EXPECTED


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the targets are x86-64 CPUs")
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_gives_the_golden_bits(tmp_path, target):
    cpu_info = Path("/proc/cpuinfo")
    flags = cpu_info.read_text().split() if cpu_info.exists() else []
    missing = [flag for flag in TARGETS[target] if flag not in flags]
    if missing and target not in ("generic", "x86-64", "x86-64-v3"):
        pytest.skip(f"this CPU lacks {missing[0]}, which code for {target} needs")
    assert golden(tmp_path, NUMBA_CPU_NAME=target, NUMBA_CPU_FEATURES="") == EXPECTED


ASSEMBLY = """
import re, sys
from streamlstm.kernels import jit
from streamlstm.tasks.warmup import warmup
warmup()
for entry in jit.ENTRIES:
    code = entry.inspect_asm(entry.signatures[0])
    assert len(code) > 1000
    fused = sorted(set(re.findall(r"\\bv?fn?m(?:add|sub)\\w*", code)))
    called = sorted(set(re.findall(r"call\\w*\\s+\\*?(\\S*(?:exp|log|tanh|pow|sqrt|fma|sin|cos)\\w*)", code)))
    print(entry.py_func.__name__, "fused:", fused, "called:", called)
    symbols = set(re.findall(r"\\b(?:expf?|exp2f?|logf?|log2f?|tanhf?|powf?|sqrtf?|fmaf?)\\b", code))
    assert not fused and not called and not symbols, symbols
print(len(jit.ENTRIES), "entries")
"""


def test_no_kernel_fuses_a_multiply_and_an_add_or_calls_libm(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", ASSEMBLY],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1] == "13 entries"
