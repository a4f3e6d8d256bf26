"""Images as the world gives them: uploads, base64, raw files, sensors' depths, and sizes that cost too much."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, features

from tlc_edge.runtime.apart import run_apart
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import ImageError
from tlc_edge.runtime.images import bounds, plugins
from tlc_edge.runtime.images.load import decode_image, load_image, source_name

SPEC = Preprocessing(8, 8, 3)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


@pytest.fixture
def png(picture: NDArray[np.uint8]) -> bytes:
    return encode(Image.fromarray(picture))


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a coroutine that was never awaited, too
        yield


# Uploads


class Flask:
    """As werkzeug's FileStorage: it reads, and everything else is the stream's."""

    def __init__(self, data: bytes) -> None:
        self.stream, self.filename = io.BytesIO(data), "k.png"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.stream)


class Awaited:
    """As an upload that is read asynchronously, with the file inside it or without."""

    def __init__(self, data: bytes, inside: bool) -> None:
        self._data, self.filename = data, "k.png"
        if inside:
            self.file = io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        await asyncio.sleep(0)
        return self._data


def test_uploads_are_read(picture: NDArray[np.uint8], png: bytes) -> None:
    for upload in (Flask(png), Awaited(png, inside=True)):
        np.testing.assert_array_equal(load_image(upload, SPEC), picture)  # type: ignore[arg-type]


def test_an_upload_that_can_only_be_awaited_says_so(png: bytes) -> None:
    with pytest.raises(ImageError, match=r"^k.png: reads asynchronously; give the bytes, of `await file.read\(\)`"):
        load_image(Awaited(png, inside=False), SPEC)  # type: ignore[arg-type]


def test_what_was_read_before_says_so(png: bytes) -> None:
    upload = Flask(png)
    upload.read()
    with pytest.raises(ImageError, match=r"^k.png: was read to its end before.*seek\(0\)"):
        load_image(upload, SPEC)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="empty"):
        load_image(io.BytesIO(), SPEC)
    ends = os.pipe()
    os.close(ends[1])
    with os.fdopen(ends[0], "rb") as pipe, pytest.raises(ImageError, match="empty"):  # it has no place to be at
        load_image(pipe, SPEC)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("form", ["{}", "data:image/x;base64,{}", "data:;name=a;base64,{}", "lines"])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_base64_is_an_image(kind: str, form: str, as_bytes: bool) -> None:
    grain = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(grain), kind)
    text = base64.encodebytes(data).decode() if form == "lines" else form.format(base64.b64encode(data).decode())
    given = text.encode() if as_bytes else text
    np.testing.assert_array_equal(load_image(given, SPEC), load_image(data, SPEC))
    assert len(source_name(given)) < 60


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("data:image/png;base64,iVBOR" + "!" * 90_000, "damaged base64"),
        ("data:image/svg+xml,%3Csvg" + "x" * 90_000, "no image"),
        ("x" * 90_000, "90000 characters"),
        ("http://pi:secret@127.0.0.1:1/k.jpg?token=secret", "^http://127.0.0.1:1: an address, .*; fetch it first"),
        ("rtsp://pi:secret@camera/1", "^rtsp://camera: an address"),
    ],
)
def test_what_is_no_image_is_one_short_sentence(given: str, said: str) -> None:
    with pytest.raises(ImageError, match=said) as found:
        load_image(given, SPEC)
    assert len(str(found.value)) < 320
    assert "secret" not in str(found.value)


def test_a_file_may_have_a_name_that_looks_like_something_else(
    png: bytes, picture: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("iVBORw0KGgo", "R0lGOD.png", "http:"):
        Path(name).write_bytes(png)
        np.testing.assert_array_equal(load_image(name, SPEC), picture)


def test_the_bytes_of_a_file_in_an_array_are_decoded(picture: NDArray[np.uint8], png: bytes) -> None:
    for data in (png, encode(Image.fromarray(picture), "BMP")):
        flat = np.frombuffer(data, np.uint8)
        for array in (flat, flat[:, None], flat[None, :]):
            np.testing.assert_array_equal(load_image(array, SPEC), picture)
    line = np.arange(64, dtype=np.uint8)[None, :]
    assert load_image(line, SPEC).shape == (8, 8, 3)  # a picture of one row


# What Pillow reads of them is not the picture


def tiff(**tags: Any) -> bytes:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for number, value in tags.items():
        info[int(number[1:])] = value
    return encode(Image.new("RGB", (64, 48), (200, 10, 10)), "TIFF", tiffinfo=info)


def canons() -> bytes:
    """A TIFF with Canon's mark behind its header, where the directory was; that is now at the end."""
    whole = tiff()
    assert whole[4:8] == b"\x08\0\0\0"
    size = 2 + 12 * int.from_bytes(whole[8:10], "little") + 4
    return whole[:4] + len(whole).to_bytes(4, "little") + b"CR\2\0" + whole[12:] + whole[8 : 8 + size]


@pytest.mark.parametrize(
    "data",
    [tiff(t254=1), tiff(t50706=b"\1\4\0\0"), canons()],
    ids=["a reduced picture first", "DNG", "CR2"],
)
def test_raw_files_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(ImageError, match="raw file, of which only a preview of 64x48"):
        load_image(data, SPEC)


def test_other_tiff_files_are_pictures() -> None:
    for data in (tiff(), tiff(t254=0), tiff(t270="a photo")):
        assert load_image(data, SPEC)[0, 0].tolist() == [200, 10, 10]


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_sensors_bits_in_sixteen_are_seen(bits: int, kind: str) -> None:
    ramp = np.linspace(0, (1 << bits) - 1, 64).astype(np.uint16).reshape(8, 8)
    seen = load_image(encode(Image.fromarray(ramp), kind), SPEC)[:, :, 0]
    assert np.abs(seen.astype(int) - np.linspace(0, 255, 64).reshape(8, 8)).max() <= 2


@pytest.mark.parametrize(("most", "shift"), [(1, 0), (255, 0), (256, 2), (1023, 2), (1024, 4), (4095, 4), (4096, 8)])
def test_how_many_bits_a_sensor_has_is_told_by_its_brightest_pixel(most: int, shift: int) -> None:
    deep = np.linspace(0, most, 64).astype(np.uint16).reshape(8, 8)
    np.testing.assert_array_equal(load_image(encode(Image.fromarray(deep)), SPEC)[:, :, 0], deep >> shift)


def deep_colours(most: int) -> bytes:
    """A PNG with colours of 16 bits, the brightest of them `most`."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    values = np.linspace(0, most, 8 * 8 * 3).astype(">u2").reshape(8, 24)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("most", [256, 1023, 4095])
def test_sixteen_bit_colours_that_would_be_black_are_refused(most: int) -> None:
    with pytest.raises(ImageError, match="16-bit colours of 12 bits"):
        load_image(deep_colours(most), SPEC)


@pytest.mark.parametrize("most", [0, 4096, 8191, 65535])  # black, dark and no sensor's, bright
def test_other_sixteen_bit_colours_are_their_upper_eight(most: int) -> None:
    assert load_image(deep_colours(most), SPEC).max() == most >> 8


def scene(seed: int) -> Image.Image:
    """A picture of a few coloured patches with a fine grain."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(90, 166, (3, 4, 3), dtype=np.uint8)
    patches = Image.fromarray(colours).resize((128, 96), Image.Resampling.BICUBIC)
    grain = rng.integers(-60, 61, (96, 128, 1))
    return Image.fromarray(np.clip(np.asarray(patches).astype(int) + grain, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("seed", range(6))
def test_planes_of_a_frame_are_no_grey_picture(seed: int) -> None:
    brightness, *colours = (np.asarray(band) for band in scene(seed).convert("YCbCr").split())
    u, v = (np.asarray(Image.fromarray(c).resize((64, 48), Image.Resampling.BOX)) for c in colours)
    i420 = np.concatenate([brightness.ravel(), u.ravel(), v.ravel()]).reshape(144, 128)
    nv12 = np.concatenate([brightness.ravel(), np.stack([u, v], -1).ravel()]).reshape(144, 128)
    for frame in (i420, nv12):
        with pytest.raises(ImageError, match=r"looks like the YUV planes of a 128x96 frame; .*YUV2RGB"):
            load_image(frame, SPEC)
    for grey in (
        brightness,
        np.asarray(scene(seed).resize((128, 144)).convert("L")),
        np.full((144, 128), 128, np.uint8),
    ):
        assert load_image(grey, SPEC).shape == (8, 8, 3)


def test_grey_pictures_of_the_same_shape_are_left_alone() -> None:
    rng = np.random.default_rng(0)
    floor = np.concatenate([rng.integers(0, 256, (96, 128)), np.full((48, 128), 40)]).astype(np.uint8)
    for grey in (floor, rng.integers(0, 256, (144, 128), dtype=np.uint8), np.zeros((144, 128), np.uint8)):
        assert load_image(grey, SPEC).shape == (8, 8, 3)


# HEIC


def test_heic_without_pillow_heif_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    plugins._register_heif.cache_clear()
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
    with pytest.raises(ImageError, match=r"a HEIC picture, which takes pillow-heif to read; run: pip install .*heic"):
        load_image(data, SPEC)
    plugins._register_heif.cache_clear()


def test_heic_with_pillow_heif_is_an_image() -> None:
    heif = pytest.importorskip("pillow_heif")
    plugins._register_heif.cache_clear()
    heif.register_heif_opener()
    grain = np.zeros((64, 96, 3), np.uint8)
    grain[:, 48:] = 255
    seen = load_image(encode(Image.fromarray(grain), "HEIF"), SPEC)
    assert seen[:, 0].max() < 20
    assert seen[:, -1].min() > 235


# What it costs


def test_a_jpeg_far_above_the_limit_is_read_at_a_fraction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_PIXELS", 10_000)
    large = Image.new("RGB", (800, 640), (200, 10, 10))
    assert np.abs(load_image(encode(large, "JPEG"), SPEC)[0, 0].astype(int) - (200, 10, 10)).max() < 4
    with pytest.raises(ImageError, match="800x640 pixels, more than the limit of 10000"):
        load_image(encode(large), SPEC)
    monkeypatch.setattr(bounds, "_MAX_ENCODED", 100_000)
    with pytest.raises(ImageError, match="800x640 pixels, more than the limit of 100000 for a JPEG"):
        load_image(encode(large, "JPEG"), SPEC)


def test_pillows_own_limit_of_a_jpeg_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert load_image(encode(Image.new("RGB", (400, 320)), "JPEG"), SPEC).shape == (8, 8, 3)


def _animated(side: int) -> bytes:
    return encode(Image.new("P", (side, side)), "GIF")


@pytest.mark.parametrize(
    "make",
    [
        lambda side: encode(Image.new("RGB", (side, side)), "WEBP", quality=1),
        lambda side: encode(Image.new("RGBA", (side, side))),
        lambda side: encode(Image.new("CMYK", (side, side)), "TIFF", compression="tiff_lzw"),
        _animated,
        lambda side: encode(Image.new("L", (side, side)), "PNG", transparency=3),
    ],
    ids=["WebP", "PNG with alpha", "TIFF", "GIF", "PNG with a transparent grey"],
)
def test_what_would_take_too_much_memory_is_refused_before(
    make: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MAX_MEMORY", 1 << 20)
    with pytest.raises(ImageError, match=r"600x600 pixels, .* MB to decode, more than the limit of 1; make it smaller"):
        load_image(make(600), SPEC)
    assert load_image(make(100), SPEC).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("mode", "kind", "settings"),
    [
        ("RGB", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("1", "PNG", {}),
        ("LA", "PNG", {}),
        ("P", "PNG", {"transparency": 3}),
        ("RGB", "WEBP", {"quality": 20, "method": 0}),
        ("RGBA", "WEBP", {"quality": 20, "method": 0}),
        ("RGB", "JPEG2000", {}),
        ("RGBA", "JPEG2000", {}),
        ("CMYK", "TIFF", {"compression": "tiff_lzw"}),
        ("P", "GIF", {}),
        ("RGB", "BMP", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the most memory that was held")
def test_no_image_takes_more_than_is_said_before(
    mode: str, kind: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    if not features.check({"WEBP": "webp", "JPEG2000": "jpg_2000"}.get(kind, "zlib")):
        pytest.skip(f"this Pillow does not know {kind}")
    y, x = np.mgrid[:1500, :2000]
    picture = Image.fromarray(np.stack([x // 16 % 256, y // 16 % 256, (x + y) // 32 % 256], -1).astype(np.uint8))
    (tmp_path / "a").write_bytes(encode(picture.convert(mode), kind, **settings))
    done = run_apart(Path(__file__).parents[1] / "decode_cost.py", str(tmp_path / "a"))
    said, taken = (float(word) for word in done.stdout.split())
    assert said > 0
    assert taken <= 1.1 * said + 4, (said, taken)  # and what the allocator holds back


def test_a_small_device_has_less_for_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = encode(Image.new("RGB", (600, 600)))
    told = (
        r"600x600 pixels, .* MB to decode, more than the limit of 1 for the device that the bundle is built for; make"
    )
    for load in (load_image, decode_image):
        with pytest.raises(ImageError, match=told):
            load(picture, SPEC, memory=1 << 20)
        load(picture, SPEC, memory=4 << 20)
        load(picture, SPEC, memory=1 << 40)
    monkeypatch.setattr(bounds, "MAX_MEMORY", 1 << 20)
    with pytest.raises(ImageError, match="more than the limit of 1; make"):
        load_image(picture, SPEC, memory=1 << 40)


def test_a_progressive_jpeg_is_judged_by_its_scans_and_its_coefficients(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.new("RGB", (400, 400)), "JPEG", progressive=True)
    assert load_image(data, SPEC).shape == (8, 8, 3)
    last = data[data.rfind(b"\xff\xda") : -2]
    with pytest.raises(ImageError, match="a JPEG of 1010 scans, more than the limit of 64"):
        load_image(data[:-2] + last * 1000 + data[-2:], SPEC)
    monkeypatch.setattr(bounds, "MAX_MEMORY", 1 << 18)
    with pytest.raises(ImageError, match="not progressive"):
        load_image(data, SPEC)
    assert load_image(encode(Image.new("RGB", (400, 400)), "JPEG"), SPEC).shape == (8, 8, 3)
