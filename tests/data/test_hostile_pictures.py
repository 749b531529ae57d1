"""Files made to cost memory or time: refused by every door before a decoder meets them, measured from outside."""

from __future__ import annotations

import ast
import base64
import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_lora.data.images import inspect_picture, load_picture
from lib_lora.errors import FileError
from lib_lora.formats.cover import THUMBNAIL, read_cover
from lib_lora.picture_file import MAX_SCANS, MAX_TEXT
from lib_lora.report.render import picture_uri

ROOT = Path(__file__).resolve().parents[2]
SIDE = 30_000


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def zeros(count: int) -> bytes:
    """Zeros, packed without holding them."""
    packer, parts = zlib.compressobj(9), []
    for _ in range(count // 2**20):
        parts.append(packer.compress(bytes(2**20)))
    return b"".join((*parts, packer.flush()))


def png(width: int, height: int, *, depth: int = 8, color: int = 2, data: bytes = b"", extra: bytes = b"") -> bytes:
    header = struct.pack(">2I5B", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def fits() -> bytes:
    """Zeros as a packed FITS picture, which Pillow unpacks whole to look at its size."""
    rows = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    2"]
    rows += [f"NAXIS1  = {SIDE:20d}", f"NAXIS2  = {SIDE:20d}", "END"]
    return "".join(row.ljust(80) for row in rows).encode().ljust(2880) + zeros(2**28)


def webp(size: int) -> bytes:
    canvas = b"\x10\0\0\0" + (size - 1).to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + b"VP8L" + struct.pack("<I", 8) + b"\x2f" + b"\xff" * 7
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(*tags: tuple[int, int]) -> bytes:
    """A TIFF of 8 x 8 grey pixels with further tags, each one LONG."""
    every = sorted({256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 8, 278: 8, 279: 64, **dict(tags)}.items())
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in every)
    return b"II*\0" + struct.pack("<I", 80) + bytes(72) + struct.pack("<H", len(every)) + rows + bytes(4)


def jpeg(**changes: object) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(stream, "JPEG", progressive=True, **changes)
    return stream.getvalue()


def repeated_scans() -> bytes:
    """A progressive JPEG that begins the same scan again and again."""
    data = jpeg()
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * (MAX_SCANS + 1) + data[-2:]


def huge_jpeg() -> bytes:
    data = bytearray(jpeg())
    place = data.index(b"\xff\xc2") + 5
    data[place : place + 4] = struct.pack(">2H", 65_000, 65_000)
    return bytes(data)


def hostile() -> dict[str, bytes]:
    """Every file by its name."""
    text = b"parameters\0\0" + zeros(2 * MAX_TEXT)
    long_text = b"parameters\0\1\0\0\0" + zeros(2 * MAX_TEXT)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
    return {
        "packed.fits": fits(),
        "fits.png": fits(),
        "size.png": png(SIDE, SIDE, depth=1, color=0, data=zeros(SIDE * SIDE // 8)),
        "deep.png": png(SIDE, SIDE, depth=16, color=6, data=zeros(2**26)),
        "none.png": png(0, 5),
        "text.png": png(8, 8, extra=chunk(b"zTXt", text), data=zlib.compress(bytes(200))),
        "itxt.png": png(8, 8, extra=chunk(b"iTXt", long_text), data=zlib.compress(bytes(200))),
        "profile.png": png(
            8, 8, extra=chunk(b"iCCP", b"icc\0\0" + zeros(2 * MAX_TEXT)), data=zlib.compress(bytes(200))
        ),
        "many.png": png(8, 8, extra=chunk(b"zTXt", b"a\0\0" + zeros(2**20)) * 40, data=zlib.compress(bytes(200))),
        "canvas.webp": webp(16_384),
        "size.gif": b"GIF89a"
        + struct.pack("<2H", 65_535, 65_535)
        + b"\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;",
        "size.jpg": huge_jpeg(),
        "scans.jpg": repeated_scans(),
        "size.bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 60, 0, 54, 40, SIDE, SIDE, 1, 24, 0, 0, 0, 0, 0, 0),
        "size.ppm": f"P6 {SIDE} {SIDE} 255\n".encode(),
        "size.qoi": b"qoif" + struct.pack(">2I2B", SIDE, SIDE, 4, 0) + b"\xfd" * 64,
        "size.tga": bytes([0, 0, 10, *[0] * 9]) + struct.pack("<2H", 40_000, 40_000) + b"\x18\0",
        "size.tif": tiff((256, SIDE), (257, SIDE)),
        "tiles.tif": tiff((322, SIDE), (323, SIDE), (324, 8), (325, 64), (259, 8)),
        "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n",
        "drawing.svg": svg,
        "drawing.png": svg,
        "page.png": b"<html><script>alert(1)</script>",
    }


MEASURE = """
import json, resource, sys, time
from pathlib import Path
from lib_lora.data.images import inspect_picture, load_picture
from lib_lora.errors import FileError
from lib_lora.formats.cover import THUMBNAIL, read_cover
from lib_lora.report.render import picture_uri
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
warm = Path(sys.argv[2])
for door in (inspect_picture, load_picture, picture_uri):
    door(warm)
before, told, slow = peak(), {}, 0.0
for path in sorted(Path(sys.argv[1]).iterdir()):
    for door in (inspect_picture, load_picture, picture_uri):
        began = time.monotonic()
        try:
            door(path)
            told.setdefault(path.name, []).append("taken by " + door.__name__)
        except FileError as error:
            pass
        slow = max(slow, time.monotonic() - began)
print(json.dumps([told, peak() - before, slow]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the memory of a process is asked of a Unix")
def test_every_door_refuses_them_and_no_memory_is_spent(tmp_path: Path) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name, data in hostile().items():
        (folder / name).write_bytes(data)
    warm = tmp_path / "warm.png"
    Image.new("RGB", (64, 64)).save(warm)
    command = [sys.executable, "-c", MEASURE, str(folder), str(warm)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    taken, megabytes, seconds = json.loads(told.stdout.splitlines()[-1])
    assert taken == {}
    assert megabytes < 60
    assert seconds < 5


@pytest.mark.parametrize("name", ["size.png", "text.png", "canvas.webp", "scans.jpg"])
def test_a_file_that_brings_its_cover_is_no_way_around(name: str) -> None:
    assert read_cover({THUMBNAIL: "data:image/png;base64," + base64.b64encode(hostile()[name]).decode()}) is None


def test_an_ordinary_text_profile_and_progressive_jpeg_pass(tmp_path: Path) -> None:
    text = chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"a cat " * 10_000))
    (tmp_path / "a.png").write_bytes(png(8, 8, extra=text, data=zlib.compress(bytes(200))))
    (tmp_path / "a.jpg").write_bytes(jpeg())
    for path in tmp_path.iterdir():
        assert load_picture(path).size == inspect_picture(path).size
        assert picture_uri(path)[0].startswith("data:image/")


@pytest.mark.parametrize("sizes", [(70, 3), (3, 70)])
def test_sizes_of_every_webp_are_read(tmp_path: Path, sizes: tuple[int, int]) -> None:
    for lossless, alpha in ((True, False), (False, False), (False, True)):
        path = tmp_path / "a.webp"
        Image.new("RGBA" if alpha else "RGB", sizes, (9, 9, 9, 9) if alpha else "red").save(path, lossless=lossless)
        assert inspect_picture(path).size == sizes
        with pytest.raises(FileError, match="too large"):
            inspect_picture(path, max_pixels=sizes[0] * sizes[1] - 1)


@pytest.mark.skipif(sys.platform == "win32", reason="the memory of a process is asked of a Unix")
def test_a_deep_picture_costs_its_pixels_and_not_their_floats(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4000, 5000), dtype=np.uint16)).save(tmp_path / "deep.png")
    code = (
        "import resource, sys; from lib_lora.data.images import load_picture\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = peak(); load_picture(sys.argv[1]); print(peak() - before)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "deep.png")]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert int(told.stdout) < 420  # 20 million pixels: 40 MB, twice 80 MB as RGB, strips of floats; whole, 640 MB


def test_no_other_line_of_the_program_lets_pillow_open_a_file() -> None:
    """A new door has to go through `open_picture`, too."""
    found = set()
    for path in (ROOT / "lib_lora").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("Image.open", "PIL.Image.open"):
                found.add(path.relative_to(ROOT).as_posix())
    assert found == {"lib_lora/picture_file.py"}
