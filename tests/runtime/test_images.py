from __future__ import annotations

import hashlib
import io
import json
import os
import threading
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.runtime.apart import run_apart
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import BundleError, ImageError
from tlc_edge.runtime.images import given as sources
from tlc_edge.runtime.images import load as images
from tlc_edge.runtime.images.load import decode_image, load_image, read_bytes, source_name

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
TRANSPOSES = {  # what a camera did to the upright picture before it wrote this orientation
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def spec(height: int = 4, width: int = 6, channels: int = 3, **more: object) -> Preprocessing:
    return Preprocessing(height, width, channels, **more)  # type: ignore[arg-type]


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def one_colour(image: Image.Image, kind: str = "PNG", **options: object) -> list[int]:
    pixels = load_image(encode(image, kind, **options), spec())
    assert (pixels == pixels[0, 0]).all()
    return pixels[0, 0].tolist()


@pytest.fixture
def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


@pytest.fixture
def quadrants() -> NDArray[np.uint8]:
    """64 high, 96 wide: red and green above, blue and white below."""
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :48], picture[:32, 48:], picture[32:, :48], picture[32:, 48:] = RED, GREEN, BLUE, WHITE
    return picture


class TestSources:
    def test_every_kind_gives_the_same_pixels(self, noise: NDArray[np.uint8], tmp_path: Path) -> None:
        data = encode(Image.fromarray(noise))
        path = tmp_path / "photo.jpg"  # a PNG under a wrong name: the content decides
        path.write_bytes(data)
        with path.open("rb") as file:
            sources = [
                str(path),
                path,
                data,
                bytearray(data),
                memoryview(data),
                io.BytesIO(data),
                file,
                noise,
            ]
            for source in [*sources, Image.fromarray(noise)]:
                got = load_image(source, spec())
                assert got.dtype == np.uint8
                np.testing.assert_array_equal(got, noise)

    def test_a_stream_that_cannot_seek(self, noise: NDArray[np.uint8]) -> None:
        reader, writer = os.pipe()
        with open(writer, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(encode(Image.fromarray(noise)))
        with open(reader, "rb") as file:  # noqa: PTH123
            np.testing.assert_array_equal(load_image(file, spec()), noise)

    def test_an_array_of_the_models_size_is_not_copied(self, noise: NDArray[np.uint8]) -> None:
        grey = noise[:, :, :1]
        assert load_image(noise, spec()) is noise
        assert load_image(grey, spec(channels=1)) is grey
        flat = np.ascontiguousarray(noise[:, :, 0])
        assert np.shares_memory(load_image(flat, spec(channels=1)), flat)

    def test_an_image_before_it_is_resized(self, noise: NDArray[np.uint8]) -> None:
        for source in (encode(Image.fromarray(noise)), Image.fromarray(noise), noise):
            np.testing.assert_array_equal(np.asarray(decode_image(source, spec(99, 99))), noise)
        grey = noise[:, :, :1]
        for layout in (grey, grey[:, :, 0]):
            np.testing.assert_array_equal(np.asarray(decode_image(layout, spec(99, 99))), grey[:, :, 0])
        with pytest.raises(ImageError, match="array of float64"):
            decode_image(noise / 2, spec())  # type: ignore[arg-type]

    def test_when_decoding_was_over_is_told(self, noise: NDArray[np.uint8]) -> None:
        for source in (noise, encode(Image.fromarray(noise)), Image.fromarray(noise)):
            before = perf_counter()
            pixels, decoded = images.load_timed(source, spec())
            np.testing.assert_array_equal(pixels, noise)
            assert before <= decoded <= perf_counter()

    def test_bgr_is_turned_and_rgb_left_alone(self, noise: NDArray[np.uint8]) -> None:
        np.testing.assert_array_equal(load_image(noise, spec(), order="BGR"), noise[:, :, ::-1])
        wide = spec(8, 12)
        np.testing.assert_array_equal(load_image(noise, wide, "BGR"), load_image(noise[:, :, ::-1].copy(), wide))
        red = np.full((3, 3, 3), RED, np.uint8)
        assert load_image(red, spec(channels=1), "BGR")[0, 0].tolist() == [29]  # blue's share of grey, not red's
        opaque = np.dstack([noise, np.full((4, 6), 255, np.uint8)])
        np.testing.assert_array_equal(load_image(opaque, spec(), "BGR"), noise[:, :, ::-1])
        for blue, colour in ((200, (0, 0, 200)), (0, (0, 0, 0))):  # and the background, which is given as RGB, stays
            under = np.dstack([np.full((4, 6, 1), blue, np.uint8), np.zeros((4, 6, 2), np.uint8)])
            seen = np.dstack([under, np.full((4, 6), 255, np.uint8)])
            assert load_image(seen, spec(background=RED), "BGR")[0, 0].tolist() == list(colour)
            clear = np.dstack([under, np.zeros((4, 6), np.uint8)])
            clear[0, 0, 3] = 255  # else it is padding
            assert load_image(clear, spec(background=RED), "BGR")[1, 1].tolist() == list(RED)
        with pytest.raises(ValueError, match="'GBR'"):
            load_image(noise, spec(), order="GBR")

    def test_array_layouts(self, noise: NDArray[np.uint8]) -> None:
        grey = noise[:, :, 0]
        for layout in (grey, grey[:, :, None], np.dstack([grey, grey, grey])):
            np.testing.assert_array_equal(load_image(layout, spec()), np.dstack([grey] * 3))
            np.testing.assert_array_equal(load_image(layout, spec(channels=1)), grey[:, :, None])
            np.testing.assert_array_equal(load_image(layout, spec(8, 9), "BGR"), load_image(grey, spec(8, 9)))
        clear = np.dstack([noise, np.zeros((4, 6), np.uint8)])
        clear[0, 0, 3] = 255
        assert load_image(clear, spec(background=RED))[1:].tolist() == [[list(RED)] * 6] * 3

    @pytest.mark.parametrize("fill", [0, 1, 128, 255])
    def test_a_fourth_byte_that_is_everywhere_the_same_is_padding(self, noise: NDArray[np.uint8], fill: int) -> None:
        frame = np.dstack([noise, np.full((4, 6), fill, np.uint8)])
        np.testing.assert_array_equal(load_image(frame, spec()), noise)
        np.testing.assert_array_equal(load_image(frame, spec(), "BGR"), noise[:, :, ::-1])
        np.testing.assert_array_equal(np.asarray(decode_image(frame, spec())), noise)
        black = np.zeros((4, 6, 4), np.uint8)
        black[:, :, 3] = fill
        assert not load_image(black, spec()).any()

    def test_a_file_whose_alpha_was_never_filled_is_a_picture(self, noise: NDArray[np.uint8]) -> None:
        clear = np.dstack([noise, np.zeros((4, 6), np.uint8)])
        np.testing.assert_array_equal(load_image(encode(Image.fromarray(clear)), spec()), noise)
        clear[0, 0, 3] = 1
        assert load_image(encode(Image.fromarray(clear)), spec(background=RED))[1, 1].tolist() == list(RED)

    def test_a_pil_image_is_not_changed(self, quadrants: NDArray[np.uint8]) -> None:
        image = Image.open(io.BytesIO(encode(Image.fromarray(quadrants), "JPEG")))
        load_image(image, spec())
        assert (image.size, image.mode) == ((96, 64), "RGB")

    def test_names(self, noise: NDArray[np.uint8], tmp_path: Path) -> None:
        assert source_name("a/b.png") == source_name(Path("a/b.png")) == "a/b.png"
        assert source_name(b"1234") == "image of 4 bytes"
        assert source_name(noise) == "array uint8 [4, 6, 3]"
        assert source_name(io.BytesIO()) == "image stream"
        assert source_name(Image.new("L", (2, 3))) == "L image 2x3"
        assert source_name(os.fsdecode(b"caf\xe9.png")).encode().isascii()
        with (tmp_path / "f").open("wb") as file:
            assert source_name(file) == str(tmp_path / "f")  # type: ignore[arg-type]


PASSES = [(300, 1300, "vertical"), (720, 1000, "horizontal"), (1300, 300, "horizontal"), (120, 400, "vertical")]


class TestResize:
    def test_shrinking_averages(self) -> None:
        checkers = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
        assert np.ptp(load_image(checkers, spec(8, 8))[1:-1, 1:-1]) <= 2

    def test_the_whole_image_is_stretched(self, quadrants: NDArray[np.uint8]) -> None:
        small = load_image(quadrants, spec(8, 30))
        assert small.shape == (8, 30, 3)
        np.testing.assert_array_equal(small[[0, -1]][:, [0, -1]], [[RED, GREEN], [BLUE, WHITE]])

    def test_grey_resizes_like_its_three_equal_channels(self) -> None:
        grey = np.random.default_rng(1).integers(0, 256, (37, 53), dtype=np.uint8)
        np.testing.assert_array_equal(load_image(grey, spec()), load_image(np.dstack([grey] * 3), spec()))

    @pytest.mark.parametrize("size", [(1, 1), (60000, 1), (1, 60000)])
    def test_extreme_shapes(self, size: tuple[int, int]) -> None:
        assert one_colour(Image.new("RGB", size, (10, 20, 30))) == [10, 20, 30]

    @pytest.mark.parametrize(("width", "height", "first"), PASSES)
    def test_the_pass_that_the_bundle_means_comes_first(self, width: int, height: int, first: str) -> None:
        image = np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)
        between = {"vertical": (width, 96), "horizontal": (96, height)}
        by_hand = {
            way: np.asarray(
                Image.fromarray(image)
                .resize(size, Image.Resampling.BILINEAR)
                .resize((96, 96), Image.Resampling.BILINEAR)
            )
            for way, size in between.items()
        }
        assert (by_hand["vertical"] != by_hand["horizontal"]).any()
        pixels = load_image(image, spec(96, 96))
        np.testing.assert_array_equal(pixels, by_hand[first])
        assert np.abs(by_hand["vertical"].astype(int) - by_hand["horizontal"]).max() == 1

    def test_the_bytes_are_those_of_every_pillow(self) -> None:
        digest = hashlib.sha256()
        for width, height in ((720, 1280), (300, 1300), (640, 480), (5, 2000), (1000, 4), (223, 225), (50, 60)):
            y, x = np.mgrid[:height, :width].astype(np.uint64)
            grey = ((x * 2654435761 + y * 40503 * 65537 + x * y * 97) >> 7).astype(np.uint8)
            image = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=2)
            digest.update(load_image(image, spec(224, 224)).tobytes())
        # The same with Pillow 9.5, 12.1, 12.3 and 13.0, of which each but the last has an order of its own.
        assert digest.hexdigest() == "69e0ab3a12acd2c7f0c4512fe447be862c119768498fb7f61b0d7c94fdc3c483"

    def test_a_bundle_of_before_is_resized_as_pillow_does(self) -> None:
        image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (1280, 720, 3), dtype=np.uint8))
        plain = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(load_image(image, spec(224, 224, passes="")), plain)

    @pytest.mark.parametrize(
        "change", [{"fit": "crop"}, {"filter": "nearest"}, {"channels": 4}, {"passes": "diagonal"}]
    )
    def test_unknown_preprocessing_is_refused(self, change: dict[str, object], noise: NDArray[np.uint8]) -> None:
        asked = Preprocessing(**{"height": 4, "width": 6} | change)  # type: ignore[arg-type]
        for read in (load_image, decode_image):
            for source in (noise, encode(Image.fromarray(noise))):
                with pytest.raises(BundleError, match=f"{next(iter(change.values()))}.*upgrade"):
                    read(source, asked)


class TestOrientation:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "MPO"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif(self, orientation: int, kind: str, quadrants: NDArray[np.uint8]) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = Image.fromarray(np.ascontiguousarray(TRANSPOSES[orientation](quadrants)))
        data = encode(stored, kind, exif=exif.tobytes() if kind != "TIFF" else exif)
        got = load_image(data, spec(64, 96)).astype(int)
        inside = np.ones(got.shape[:2], bool)
        inside[24:40], inside[:, 40:56] = False, False  # where lossy formats blur
        assert np.abs(got - quadrants)[inside].max() < 12

    def test_an_unknown_orientation_is_ignored(self, quadrants: NDArray[np.uint8]) -> None:
        exif = Image.Exif()
        exif[0x0112] = 77
        data = encode(Image.fromarray(quadrants), "PNG", exif=exif.tobytes())
        np.testing.assert_array_equal(load_image(data, spec(64, 96)), quadrants)


class TestDraft:
    @pytest.mark.parametrize("orientation", [1, 4, 5, 6])
    def test_a_large_jpeg_decodes_reduced_yet_alike(self, orientation: int) -> None:
        y, x = np.mgrid[0:600, 0:1600]
        picture = np.stack([x * 255 // 1600, y * 255 // 600, (x + y) % 256], -1).astype(np.uint8)
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encode(Image.fromarray(picture), "JPEG", quality=95, exif=exif.tobytes())
        undo = {1: picture, 4: picture[::-1], 5: picture.transpose(1, 0, 2), 6: np.rot90(picture, -1)}
        upright = undo[orientation]
        small = spec(32, 96) if orientation < 5 else spec(96, 32)
        full = load_image(np.ascontiguousarray(upright), small).astype(int)
        assert np.abs(load_image(data, small) - full).mean() < 2
        with Image.open(io.BytesIO(data)) as image:
            images._draft(image, small)
            assert image.size == (200, 75)  # 1/8: still at least twice 96x32, whichever way it is turned

    def test_a_jpeg_near_the_size_is_decoded_in_full(self, quadrants: NDArray[np.uint8]) -> None:
        with Image.open(io.BytesIO(encode(Image.fromarray(quadrants), "JPEG"))) as image:
            images._draft(image, spec(33, 49))
            assert image.size == (96, 64)


class TestModes:
    def test_palette(self) -> None:
        image = Image.new("P", (6, 4), 1)
        image.putpalette([*RED, *GREEN])
        assert one_colour(image) == list(GREEN)
        assert one_colour(image, transparency=1) == list(WHITE)
        assert one_colour(image, transparency=0) == list(GREEN)
        assert one_colour(image, transparency=bytes([255, 0])) == list(WHITE)
        assert one_colour(image, "GIF") == list(GREEN)

    def test_alpha_lies_over_the_background(self) -> None:
        assert one_colour(Image.new("RGBA", (6, 4), (*RED, 255))) == list(RED)
        assert one_colour(Image.new("RGBA", (6, 4), (*RED, 0))) == list(WHITE)
        assert one_colour(Image.new("RGBA", (6, 4), (*RED, 128))) == [255, 127, 127]
        assert one_colour(Image.new("LA", (6, 4), (0, 128))) == [127, 127, 127]
        half = encode(Image.new("RGBA", (6, 4), (0, 0, 0, 128)))
        assert load_image(half, spec(background=BLUE))[0, 0].tolist() == [0, 0, 127]
        assert load_image(half, spec(channels=1, background=(200, 200, 200)))[0, 0].tolist() == [100]

    def test_premultiplied_alpha(self) -> None:
        for mode, colour in (("RGBA", (200, 100, 0, 128)), ("LA", (200, 128))):
            plain = Image.new(mode, (6, 4), colour)
            difference = load_image(plain.convert(mode[:-1] + "a"), spec()).astype(int) - load_image(plain, spec())
            assert np.abs(difference).max() <= 2

    def test_a_transparent_colour(self) -> None:
        assert one_colour(Image.new("RGB", (6, 4), RED), transparency=RED) == list(WHITE)
        assert one_colour(Image.new("RGB", (6, 4), RED), transparency=BLUE) == list(RED)
        assert one_colour(Image.new("L", (6, 4), 7), transparency=7) == list(WHITE)
        assert one_colour(Image.new("1", (6, 4), 0), transparency=0) == list(WHITE)

    def test_one_bit_is_resized_with_antialias(self) -> None:
        checkers = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)).convert("1")
        assert np.abs(load_image(encode(checkers), spec(8, 8)).astype(int) - 127).max() < 20

    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
    def test_sixteen_bit_grey_is_scaled_not_clipped(self, kind: str) -> None:
        high = np.arange(24, dtype=np.uint16).reshape(4, 6) * 11
        deep = (high * 256 + 200).astype(np.uint16)
        image = Image.fromarray(deep)
        data = b"P5 6 4 65535\n" + deep.astype(">u2").tobytes() if kind == "PPM" else encode(image, kind)
        np.testing.assert_array_equal(load_image(data, spec(channels=1))[:, :, 0], high)
        np.testing.assert_array_equal(load_image(image.convert("I"), spec())[:, :, 1], high)

    def test_a_transparent_shade_of_sixteen_bits(self) -> None:
        deep = np.full((4, 6), 0x1234, np.uint16)
        deep[:, 3:] = 0x1235  # the same in eight bits, but not transparent
        data = encode(Image.fromarray(deep), transparency=0x1234)
        pixels = load_image(data, spec(background=RED))
        assert pixels[:, :3].tolist() == [[list(RED)] * 3] * 4
        assert (pixels[:, 3:] == 0x12).all()
        assert (load_image(encode(Image.fromarray(deep)), spec(background=RED)) == 0x12).all()

    def test_floats_just_above_one_are_no_shares(self) -> None:
        values = np.array([[0.0, 0.6, 1.0, 1.5, 1.6, 2.0]] * 4, np.float32)
        assert load_image(Image.fromarray(values), spec())[0, :, 0].tolist() == [0, 1, 1, 2, 2, 2]
        assert load_image(Image.fromarray(values - 0.1), spec())[0, :, 0].tolist() == [0, 0, 1, 1, 2, 2]
        assert load_image(Image.fromarray(values / 2), spec())[0, :, 0].tolist() == [0, 76, 128, 191, 204, 255]

    @pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 65535.0), (-120.0, 130.0), (-3.0, -1.0)])
    def test_floats_on_another_scale_are_refused(self, low: float, high: float) -> None:
        ramp = np.linspace(low, high, 24, dtype=np.float32).reshape(4, 6)
        with pytest.raises(ImageError, match=f"floats from {low:g} to {high:g}, expected 0 to 1 or 0 to 255"):
            load_image(Image.fromarray(ramp), spec())

    def test_floats_that_overshoot_a_little_are_clipped(self) -> None:
        ramp = np.linspace(-12, 270, 24, dtype=np.float32).reshape(4, 6)
        assert load_image(Image.fromarray(ramp), spec())[0, 0, 0] == 0

    def test_floats(self) -> None:
        ramp = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
        expected = np.rint(ramp * 255).astype(np.uint8)
        for values in (ramp, ramp * 255):
            got = load_image(encode(Image.fromarray(values), "TIFF"), spec(channels=1))[:, :, 0]
            assert np.abs(got.astype(int) - expected).max() <= 1
        bad = np.array([[np.nan, np.inf, -np.inf, 300.0, 100.0, 2.0]] * 4, np.float32)
        assert load_image(Image.fromarray(bad), spec())[0, :, 0].tolist() == [0, 255, 0, 255, 100, 2]

    def test_cmyk_jpeg(self) -> None:
        image = Image.new("CMYK", (6, 4), (0, 255, 255, 0))
        pixels = load_image(encode(image, "JPEG", quality=100), spec()).astype(int)
        assert np.abs(pixels - RED).max() < 6

    def test_grey_when_the_model_wants_one_channel(self, noise: NDArray[np.uint8]) -> None:
        expected = noise @ np.array([0.299, 0.587, 0.114])
        got = load_image(encode(Image.fromarray(noise)), spec(channels=1))
        assert got.shape == (4, 6, 1)
        assert np.abs(got[:, :, 0] - expected).max() <= 1

    @pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF"])
    def test_an_animation_gives_its_first_frame(self, kind: str) -> None:
        frames = [Image.new("RGB", (6, 4), colour) for colour in (RED, BLUE)]
        assert one_colour(frames[0], kind, save_all=True, append_images=frames[1:]) == list(RED)


class TestErrors:
    def test_paths(self, tmp_path: Path) -> None:
        (tmp_path / "empty.png").touch()
        (tmp_path / "text.png").write_text("hello, this is no image\n" * 20)
        for name, message in {
            "gone.png": "gone.png: no such file",
            ".": "a folder",
            "empty.png": r"empty.png: empty \(0 bytes\)",
            "text.png": "text.png: not an image.*convert it to JPEG or PNG",
            "text.png/x": "cannot be read",
            "nul\0.png": "cannot be read|no such file",
        }.items():
            with pytest.raises(ImageError, match=message):
                load_image(os.path.join(tmp_path, name), spec())  # noqa: PTH118 - a NUL is no Path

    @pytest.mark.parametrize("kind", ["WEBP", "TIFF", "ICO", "PNG"])
    def test_a_fresh_process_reads_every_format(self, tmp_path: Path, kind: str) -> None:
        """Pillow loads most of its formats when it is first asked to, and here the first image asks for one of them."""
        path = tmp_path / "picture"
        path.write_bytes(encode(Image.new("RGB", (32, 32), GREEN), kind))
        script = tmp_path / "read.py"
        script.write_text(
            "import sys\nfrom tlc_edge.runtime.bundle.manifest import Preprocessing\n"
            "from tlc_edge.runtime.images.load import load_image\n"
            "print(load_image(sys.argv[1], Preprocessing(1, 1)).ravel().tolist())"
        )
        done = run_apart(script, str(path))
        assert done.returncode == 0, done.stderr.decode()
        assert np.abs(np.array(json.loads(done.stdout)) - GREEN).max() < 4

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"])
    def test_truncated(self, kind: str) -> None:
        picture = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        data = encode(Image.fromarray(picture), kind)
        load_image(data, spec())
        with pytest.raises(ImageError, match=r"damaged or incomplete|not an image"):
            load_image(data[: len(data) // 2], spec())

    @pytest.mark.parametrize("side", [9500, 19000])  # where Pillow warns, and where it raises
    def test_decompression_bomb(self, side: int) -> None:
        with pytest.raises(ImageError, match=f"pixels, more than the limit|more pixels than.* {images.MAX_PIXELS}"):
            load_image(encode(Image.new("1", (side, side))), spec())

    @pytest.mark.parametrize(
        ("array", "shown"),
        [
            (np.zeros((4, 6, 3), np.float32), r"float32 \[4, 6, 3\]"),
            (np.zeros((4, 6, 3), np.int64), "int64"),
            (np.zeros((1, 4, 6, 3), np.uint8), r"\[1, 4, 6, 3\]"),
            (np.zeros((4, 6, 2), np.uint8), r"\[4, 6, 2\]"),
            (np.zeros((0, 6, 3), np.uint8), r"\[0, 6, 3\]"),
            (np.zeros(6, np.uint8), r"\[6\]"),
        ],
    )
    def test_arrays(self, array: NDArray[np.uint8], shown: str) -> None:
        with pytest.raises(ImageError, match=shown + r".*expected uint8 \[H, W\]"):
            load_image(array, spec())

    def test_other_things(self) -> None:
        with pytest.raises(ImageError, match="list is not an image"):
            load_image([[1, 2], [3, 4]], spec())  # type: ignore[arg-type]
        with pytest.raises(ImageError, match="opened as text"):
            load_image(io.StringIO("text"), spec())  # type: ignore[arg-type]
        with pytest.raises(ImageError, match="0 bytes"):
            load_image(b"", spec())
        with pytest.raises(ImageError, match="RGB image 0x5: 0x5 pixels"):
            load_image(Image.new("RGB", (0, 5)), spec())

    def test_another_name_in_the_message(self, noise: NDArray[np.uint8]) -> None:
        with pytest.raises(ImageError, match=r"^mug\.jpg: not an image"):
            load_image(b"text", spec(), name="mug.jpg")
        with pytest.raises(ImageError, match=r"^mug\.jpg: empty"):
            read_bytes(io.BytesIO(), "mug.jpg")
        assert read_bytes(memoryview(noise[0, 0]), "x") == noise[0, 0].tobytes()

    def test_a_stream_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sources, "MAX_BYTES", 1 << 21)
        with pytest.raises(ImageError, match=f"/dev/zero: more than the limit of {1 << 21} bytes"):
            load_image("/dev/zero", spec())

    def test_a_file_beyond_the_limit(self, tmp_path: Path) -> None:
        with (tmp_path / "huge.png").open("wb") as file:
            file.truncate(images.MAX_BYTES + 1)  # a hole: takes no space
        with pytest.raises(ImageError, match="more than the limit"):
            load_image(tmp_path / "huge.png", spec())

    def test_postscript_is_never_run(self) -> None:
        data = encode(Image.new("RGB", (6, 4)), "EPS")
        with pytest.raises(ImageError, match="not an image"):
            load_image(data, spec())


class TestWarnings:
    """Pytest turns warnings into errors, so a warning that got out would fail these."""

    @staticmethod
    def _corrupt_exif() -> bytes:
        entries = b"\x00\x01" + b"\x01\x0f\x00\x02\x00\x00\xff\xff\x00\x00\xff\xff"  # points far outside
        exif = b"Exif\0\0MM\x00*\x00\x00\x00\x08" + entries + b"\0\0\0\0"
        return encode(Image.new("RGB", (6, 4), RED), "JPEG", quality=100, exif=exif)

    def test_pillow_does_warn_of_this_file(self) -> None:
        with (
            pytest.warns(UserWarning, match="larger than file|Truncated"),
            Image.open(io.BytesIO(self._corrupt_exif())) as image,
        ):
            image.getexif()

    def test_corrupt_exif_is_read_in_silence(self) -> None:
        before = list(warnings.filters)
        pixels = load_image(self._corrupt_exif(), spec()).astype(int)
        assert np.abs(pixels - RED).max() < 6
        assert list(warnings.filters) == before

    def test_threads_leave_the_filters_as_they_were(self) -> None:
        before, data, failed = list(warnings.filters), self._corrupt_exif(), []

        def work() -> None:
            try:
                for _ in range(20):
                    load_image(data, spec())
            except Exception as e:
                failed.append(e)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert list(warnings.filters) == before

    def test_the_filters_come_back_after_an_error(self) -> None:
        before = list(warnings.filters)
        with pytest.raises(ImageError):
            load_image(b"no image", spec())
        assert list(warnings.filters) == before


SEEDS = [
    encode(Image.new(mode, (9, 7)), kind)
    for mode, kind in [
        ("RGB", "PNG"),
        ("P", "GIF"),
        ("L", "JPEG"),
        ("RGB", "TIFF"),
        ("1", "BMP"),
        ("RGB", "WEBP"),
    ]
]


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=200)
    | st.builds(
        lambda data, at, new: data[: at % len(data)] + new + data[at % len(data) + len(new) :],
        st.sampled_from(SEEDS),
        st.integers(0, 1 << 12),
        st.binary(min_size=1, max_size=4),
    )
)
def test_any_bytes_give_an_image_or_an_image_error(data: bytes) -> None:
    try:
        pixels = load_image(data, spec())
    except ImageError:
        pass
    else:
        assert (pixels.shape, pixels.dtype) == ((4, 6, 3), np.uint8)
