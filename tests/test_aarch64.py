"""Another CPU: the library for aarch64, made here, gives on an emulated CPU what x86-64 gives.

It needs Debian's packages qemu-user-static and binutils-aarch64-linux-gnu. `apt-get` downloads Python and NumPy for
aarch64, with lists and a cache in a temporary folder, into which they are unpacked: nothing is installed, and the test
need not be root.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from extras import INSTALLED
from on_aarch64 import FOLDER, GOLDEN, results
from test_compat import DATA, FRAMES, expected_of
from test_determinism import EXPECTED

import streamlstm
from streamlstm.jit.warmup import entries

HERE = Path(__file__).parent
PACKAGES = ("python3", "python3-numpy", "python3-safetensors", "python3-filelock")
TOOLS = ("apt-get", "dpkg", "qemu-aarch64-static", "aarch64-linux-gnu-ld")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]


def download(folder: Path) -> None:
    """Download the packages for arm64 and all that they need, as for a system on which nothing is installed."""
    (folder / "state").mkdir()
    (folder / "cache").mkdir()
    (folder / "status").touch()
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dpkg::Use-Pty": "false",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    subprocess.run([*apt, "update"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*apt, "install", "--yes", "--download-only", *PACKAGES], check=True, stdout=subprocess.DEVNULL)


def unpack(folder: Path, root: Path) -> None:
    """Unpack the downloaded packages. Their scripts do not run: the links that those would make are made here."""
    (root / "usr" / "lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    for package in sorted((folder / "cache" / "archives").glob("*.deb")):
        subprocess.run(["dpkg", "-x", package, root], check=True)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the results are compared with those of x86-64")
@pytest.mark.skipif(bool(MISSING) and not INSTALLED, reason=f"{', '.join(MISSING)} not found")
def test_aarch64_gives_the_bits_of_x86_64(tmp_path):
    assert not MISSING
    try:
        download(tmp_path)
    except subprocess.CalledProcessError:
        if INSTALLED:
            raise
        pytest.skip("apt-get cannot download packages for arm64")
    root, package = tmp_path / "root", tmp_path / "package"
    unpack(tmp_path, root)
    ignored = shutil.ignore_patterns("__pycache__", "compiled")
    shutil.copytree(Path(streamlstm.__file__).parent, package / "streamlstm", ignore=ignored)
    environment = {**os.environ, "PYTHONPATH": str(package), "STREAMLSTM_JIT": "0"}
    make = [sys.executable, "-m", "streamlstm.jit.ahead", "aarch64"]
    subprocess.run(make, env=environment, cwd=package, check=True)  # in a folder where no other package is

    libraries = [f"/usr/lib/aarch64-linux-gnu/{name}" for name in ("blas", "lapack")]
    emulator = ["qemu-aarch64-static", "-L", root, "-E", f"LD_LIBRARY_PATH={':'.join(libraries)}"]
    command = [*emulator, root / "usr" / "bin" / "python3", HERE / "on_aarch64.py"]
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    emulated = json.loads(output)
    found = emulated["results"]
    assert found["golden"] == {name: EXPECTED[name] for name in GOLDEN}
    assert found["models"] == expected_of(FOLDER)["models"]
    decoded = {name: bytes.fromhex(content) for name, content in found["archives"].items()}
    assert decoded == {"small": DATA, "network": DATA, "memory": DATA, "frames": FRAMES}
    assert found == json.loads(json.dumps(results()))
    assert not emulated["numba"]
    assert emulated["called"] == sorted(entry.py_func.__name__ for entry in entries())
