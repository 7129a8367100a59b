"""Make the pictures of the documentation anew: python docs/pictures.py

Each is a screenshot, by a headless Chromium, of a page that `streamlstm predict --format html` writes. The picture
holds the digest of that page, so a test finds out when the command writes another one.
"""

import hashlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "tests" / "samples" / "lighthouse.txt"
HEAT_MAP = ROOT / "docs" / "pages" / "images" / "heat-map.png"
POINTED_AT = 155
"""The character that the panel describes: the K of the second Korvansee, as if a reader pointed at it."""
SIZE = (1080, 480)
"""Width and height of the window, in CSS pixels; the page shows its panel beside the text from 900 on."""
DIGEST = b"streamlstm page sha256"
"""The keyword of the PNG text chunk with the digest of the page."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def page() -> str:
    """What the command writes for the sample text."""
    command = [sys.executable, "-m", "streamlstm", "predict", str(SAMPLE), "--format", "html", "--top", "5"]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, encoding="utf-8").stdout


def digest(html: str) -> str:
    """The SHA-256 of a page, in hexadecimal."""
    return hashlib.sha256(html.encode()).hexdigest()


def screenshot(html: str) -> bytes:
    """A PNG of a page in a window of SIZE, in twice as many pixels."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise FileNotFoundError("needs Chromium on the path")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "page.html"), Path(folder, "page.png")
        source.write_text(html + f"<script>show({POINTED_AT})</script>", "utf-8")
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=2"]
        options += [f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={target}", source.as_uri()]
        subprocess.run([browser, *options], check=True, capture_output=True, timeout=60)
        return target.read_bytes()


def labelled(png: bytes, text: str) -> bytes:
    """The picture with a text chunk before its end; a chunk is a length, a kind, the data and a CRC-32 of both."""
    data = b"tEXt" + DIGEST + b"\0" + text.encode()
    end = png.rindex(b"IEND") - 4
    return png[:end] + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data)) + png[end:]


def label(png: bytes) -> str:
    """The digest that a picture holds.

    >>> label(labelled(bytes(4) + b"IEND", digest("<p>")))[:8] == digest("<p>")[:8]
    True
    """
    found = re.search(re.escape(DIGEST) + rb"\0([0-9a-f]{64})", png)
    return found[1].decode() if found else ""


if __name__ == "__main__":
    html = page()
    HEAT_MAP.parent.mkdir(exist_ok=True)
    HEAT_MAP.write_bytes(labelled(screenshot(html), digest(html)))
    print(f"{HEAT_MAP.relative_to(ROOT)}: {HEAT_MAP.stat().st_size:,} bytes")
