"""Damaged and hostile pictures: every one gives an array of the promised shape or an ImageError, in bounded time.

The damage is that of real life (a card that fails, a transfer that breaks off) and of malice (sizes that
lie, chunks that swell). Anything else that comes out, or a load that works for ten seconds, fails.
"""

from __future__ import annotations

import io
import random
import signal
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import ImageError
from tlc_edge.runtime.images.load import load_image

SPEC = Preprocessing(12, 16)
LIMIT = 10
# Every format that a picture may come in, the common ones first, and how it may be stored.
KINDS: list[tuple[str, str, dict[str, object]]] = [
    ("JPEG", "RGB", {"quality": 80}),
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "CMYK", {}),
    ("JPEG", "L", {"restart_marker_rows": 1}),
    ("PNG", "RGB", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "I;16", {}),
    ("PNG", "1", {}),
    ("WEBP", "RGB", {"quality": 70}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("GIF", "P", {}),
    ("GIF", "RGB", {"save_all": True}),
    ("TIFF", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "L", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", "1", {"compression": "group4"}),
    ("TIFF", "F", {}),
    ("BMP", "RGB", {}),
    ("BMP", "P", {}),
    ("PPM", "RGB", {}),
    ("ICO", "RGBA", {}),
    ("ICNS", "RGBA", {}),
    ("JPEG2000", "RGB", {}),
    ("TGA", "RGBA", {"compression": "tga_rle"}),
    ("PCX", "P", {}),
    ("SGI", "RGB", {}),
    ("DDS", "RGBA", {}),
    ("DIB", "RGB", {}),
    ("IM", "RGB", {}),
    ("MSP", "1", {}),
    ("SPIDER", "F", {}),
    ("XBM", "1", {}),
    ("MPO", "RGB", {}),
    ("AVIF", "RGB", {}),
    ("QOI", "RGB", {}),
]
HUGE = [b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\0\0\xff\xff"]


@cache
def seeds() -> dict[str, bytes]:
    """Return one small real picture a kind, of those that this Pillow writes."""
    Image.init()
    y, x = np.mgrid[0:40, 0:56]
    photo = Image.fromarray(np.stack([x * 4, y * 6, (x * y) % 251], -1).astype(np.uint8))
    made: dict[str, bytes] = {}
    for kind, mode, options in KINDS:
        picture = Image.fromarray((y * 1500).astype(np.uint16)) if mode == "I;16" else photo.convert(mode)
        if options.get("save_all"):
            options = {**options, "append_images": [picture.rotate(90), picture.rotate(180)]}
        out = io.BytesIO()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of formats that Pillow will drop
                picture.save(out, kind, **options)
        except (KeyError, OSError, ValueError):
            continue  # this Pillow was made without it
        made[f"{kind} {mode} {' '.join(options)}".strip()] = out.getvalue()
    return made


@contextmanager
def in_time() -> Iterator[None]:
    """Fail what works longer than LIMIT, where the system has an alarm clock for that; waiting its turn is no work."""
    if not hasattr(signal, "SIGPROF") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: object) -> None:
        pytest.fail(f"a picture took more than {LIMIT} s of the processor")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def check(data: bytes, spec: Preprocessing = SPEC) -> bool:
    """Load; return whether it was a picture."""
    with in_time():
        try:
            pixels = load_image(data, spec)
        except ImageError:
            return False
    assert (pixels.shape, pixels.dtype) == ((spec.height, spec.width, spec.channels), np.uint8)
    return True


def fuzz(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_the_seeds_are_pictures() -> None:
    assert {name.split()[0] for name in seeds()} >= {"JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"}
    assert len(seeds()) > 25
    for name, data in seeds().items():
        assert check(data), name


@fuzz(1500)
@given(st.data())
def test_damaged(data: st.DataObject) -> None:
    """Cut short, bits flipped, bytes overwritten, a piece lost, doubled, or taken from another picture."""
    kinds = list(seeds())
    raw = bytearray(seeds()[data.draw(st.sampled_from(kinds), label="kind")])
    for _ in range(data.draw(st.integers(1, 4))):
        if not raw:
            break
        # Headers are the smaller and the more telling part.
        at = data.draw(st.integers(0, min(len(raw) - 1, 80)) | st.integers(0, len(raw) - 1))
        how = data.draw(st.sampled_from(["cut", "flip", "write", "huge", "lose", "double", "graft"]))
        if how == "cut":
            del raw[at:]
        elif how == "flip":
            raw[at] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "write":
            new = data.draw(st.binary(min_size=1, max_size=6))
            raw[at : at + len(new)] = new
        elif how == "huge":
            raw[at : at + 4] = data.draw(
                st.sampled_from([b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\0\0\xff\xff"])
            )
        elif how == "lose":
            del raw[at : at + data.draw(st.integers(1, 40))]
        elif how == "double":
            raw[at:at] = raw[at : at + data.draw(st.integers(1, 200))]
        else:
            other = seeds()[data.draw(st.sampled_from(kinds))]
            raw[at:] = other[min(at, len(other)) :]
    check(bytes(raw), data.draw(st.sampled_from([SPEC, Preprocessing(9, 7, 1)])))


@pytest.mark.parametrize("name", [n for n in seeds() if n.split()[0] in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")])
def test_cut_short_at_every_length(name: str) -> None:
    """As a camera that is pulled out while it writes: at a hundred lengths."""
    data = seeds()[name]
    lengths = sorted({len(data) * i // 100 for i in range(100)})
    whole = [check(data[:n]) for n in lengths]
    assert not whole[0]
    assert not any(whole[:5])


def test_nothing_is_printed_about_a_damaged_picture(capfd: pytest.CaptureFixture[str]) -> None:
    """Decoders in C write to standard error by themselves; the ImageError says it."""
    rng = random.Random(0)
    for name, whole in seeds().items():
        refused = 0
        for _ in range(60):
            raw = bytearray(whole)
            for _ in range(3):
                raw[rng.randrange(len(raw))] = rng.randrange(256)
            refused += not check(bytes(raw))
        assert capfd.readouterr() == ("", ""), name
        assert refused or not name.startswith("TIFF L")  # the damage does reach the decoder


@fuzz(100)
@given(st.binary(max_size=300))
def test_random_bytes_with_and_without_a_head(data: bytes) -> None:
    check(data)
    for head in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0", b"BM", b"RIFF\xff\0\0\0WEBP", b"P6 "):
        check(head + data)


# --- sizes that lie, and little that becomes much


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def zeros(size: int) -> bytes:
    """Return so many zeros, deflated to a thousandth."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    pieces = [packer.compress(block[: min(len(block), size - i)]) for i in range(0, size, len(block))]
    return b"".join([*pieces, packer.flush()])


def tiff(width: int, height: int, samples: int = 1) -> bytes:
    tags = [
        (256, width),
        (257, height),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, samples),
        (278, height),
        (279, 99),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4)


def bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def gif(width: int, height: int, frame: int) -> bytes:
    image = b"," + struct.pack("<HHHHB", 0, 0, frame, frame, 0) + b"\2\0"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + (image if frame else b"") + b";"


def webp(side: int) -> bytes:
    size = struct.pack("<I", side - 1)[:3]
    return b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + size * 2 + bytes(8)


def ico(width: int, height: int) -> bytes:
    inner = png(width, height, chunk(b"IDAT", zeros(1000)))
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner


def small(*chunks: bytes) -> bytes:
    return png(4, 4, *chunks, chunk(b"IDAT", zlib.compress(bytes(4 * 13))))


BOMBS = {
    "a PNG of 20,000 x 20,000": lambda: png(20_000, 20_000, chunk(b"IDAT", zeros(1000))),
    "a PNG of 2^31 x 2^31": lambda: png(2**31 - 1, 2**31 - 1, chunk(b"IDAT", zeros(1000))),
    "a PNG just above the limit, with all its pixels": lambda: png(
        9500, 9500, chunk(b"IDAT", zeros(9500 * 1189)), depth=1, colour=0
    ),
    "a GIF of 65,535 x 65,535": lambda: gif(65_535, 65_535, 0),
    "a GIF with such a frame": lambda: gif(2, 2, 65_535),
    "a BMP of 2^31 x 2^31": lambda: bmp(2**31 - 1, 2**31 - 1),
    "a BMP of negative sizes": lambda: bmp(-5, -70_000),
    "a TIFF of 2^32 x 2^32": lambda: tiff(2**32 - 1, 2**32 - 1),
    "a TIFF of 65,535 samples": lambda: tiff(9, 9, 65535),
    "a PPM of 10^9 x 10^9": lambda: b"P6 1000000000 1000000000 255\n" + bytes(99),
    "a PPM with a number that never ends": lambda: b"P6 " + b"9" * 100_000,
    "an ICO of 16 x 16 that holds a PNG of 30,000 x 30,000": lambda: ico(30_000, 30_000),
    "a JPEG of 65,500 x 65,500": lambda: seeds()["JPEG RGB quality"].replace(
        struct.pack(">HH", 40, 56), struct.pack(">HH", 65_500, 65_500), 1
    ),
    "a WebP of 16,383 x 16,383": lambda: webp(16_383),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused(name: str) -> None:
    assert not check(BOMBS[name]())


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_what_swells_beside_the_pixels_is_bounded(kind: bytes) -> None:
    """A hundred megabytes of text or colour profile in a hundred kilobytes: refused, or passed over."""
    packed = zeros(100 << 20)
    body = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind] + packed
    assert len(body) < 150_000
    check(small(chunk(kind, body)))
    assert check(small(chunk(b"tEXt", b"k\0short")))


def test_a_picture_within_the_limit_is_not_refused() -> None:
    assert check(png(9000, 9000, chunk(b"IDAT", zeros(9000 * 1126)), depth=1, colour=0))


def test_ten_thousand_frames_cost_no_more_than_one() -> None:
    frame = b"," + struct.pack("<HHHHB", 0, 0, 2, 2, 0) + b"\2\3\x84\x51\5\0"
    head = b"GIF89a" + struct.pack("<HHBBB", 2, 2, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    assert check(head + frame * 10_000 + b";")


def test_an_exif_block_that_points_at_itself() -> None:
    """A loop of directories, as a fuzzer makes it."""
    entry = struct.pack(">HHII", 0x8769, 4, 1, 8)  # the Exif directory is the first one
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 1) + entry + struct.pack(">I", 8)
    out = io.BytesIO()
    Image.new("RGB", (6, 4)).save(out, "JPEG", exif=exif)
    assert check(out.getvalue())
