from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from lib_lora.data.images import NOTICE_ANIMATED, inspect_picture, load_picture
from lib_lora.data.pixels import NOTICE_ALPHA, NOTICE_DEEP, NOTICE_PROFILE, shrink_by_area
from lib_lora.errors import FileError

NOISE = bytes(range(255, 156, -1))
NUMBERS = np.arange(12, dtype=np.uint8).reshape(3, 4)  # 4 wide, 3 high


def grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values)


def pixels(picture: Image.Image) -> np.ndarray:
    assert picture.mode == "RGB"
    return np.asarray(picture)


@pytest.mark.parametrize("name", ["猫 耳😀.png", "krnk girl, [x] (1).png", "ｶﾞ.png", "a.b.c.png"])
def test_any_file_name_can_be_read(tmp_path: Path, name: str) -> None:
    grey(NUMBERS).save(tmp_path / name)
    assert np.array_equal(pixels(load_picture(tmp_path / name))[..., 0], NUMBERS)
    assert inspect_picture(str(tmp_path / name)).size == (4, 3)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, NUMBERS),
        (2, NUMBERS[:, ::-1]),
        (3, NUMBERS[::-1, ::-1]),
        (4, NUMBERS[::-1]),
        (5, NUMBERS.T),
        (6, np.rot90(NUMBERS, -1)),
        (7, np.rot90(NUMBERS, 2).T),
        (8, np.rot90(NUMBERS)),
        (99, NUMBERS),
    ],
)
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_exif_orientation_is_obeyed(tmp_path: Path, orientation: int, upright: np.ndarray, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{ending}"
    grey(NUMBERS).save(path, exif=exif)
    picture = load_picture(path)
    assert np.array_equal(pixels(picture)[..., 0], upright)
    assert inspect_picture(path).size == picture.size


def test_turned_jpeg_reports_its_upright_full_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (321, 123)).save(tmp_path / "a.jpg", exif=exif)
    assert inspect_picture(tmp_path / "a.jpg").size == (123, 321) == load_picture(tmp_path / "a.jpg").size


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257 * 7, 32768, 65535]], dtype=np.uint16)
    for ending in ("png", "tif"):
        Image.fromarray(values).save(tmp_path / f"deep.{ending}")
        notices: list[str] = []
        picture = load_picture(tmp_path / f"deep.{ending}", notices=notices)
        assert pixels(picture)[0, :, 0].tolist() == [0, 7, 128, 255]
        assert notices == [NOTICE_DEEP]


def test_sixteen_bit_color_is_scaled_not_clipped(tmp_path: Path) -> None:
    rows = b"\0" + struct.pack(">6H", 65535, 32768, 0, 257 * 9, 300, 60000)
    path = tmp_path / "deep.png"
    path.write_bytes(png(2, 1, depth=16, color=2, data=zlib.compress(rows)))
    assert pixels(load_picture(path)).tolist() == [[[255, 128, 0], [9, 1, 234]]]


def test_float_pictures_are_read_as_zero_to_one(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 0.5, 1.0, np.nan]], dtype=np.float32)).save(tmp_path / "f.tif")
    assert pixels(load_picture(tmp_path / "f.tif"))[0, :, 0].tolist() == [0, 128, 255, 0]


def test_hidden_colors_never_show_and_background_is_chosen(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (200, 10, 20, 0))
    image.putpixel((1, 0), (200, 10, 20, 255))
    image.save(tmp_path / "a.png")
    notices: list[str] = []
    shown = load_picture(tmp_path / "a.png", background=(0, 0, 255), notices=notices)
    assert pixels(shown).tolist() == [[[0, 0, 255], [200, 10, 20]]]
    assert notices == [NOTICE_ALPHA]
    assert pixels(load_picture(tmp_path / "a.png"))[0, 0].tolist() == [255, 255, 255]


def test_palette_transparency_is_put_on_the_background(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([9, 9, 9, 50, 60, 70])
    image.putpixel((1, 0), 1)
    for name in ("a.png", "a.gif"):
        image.save(tmp_path / name, transparency=0)
        assert pixels(load_picture(tmp_path / name, background=(1, 2, 3))).tolist() == [[[1, 2, 3], [50, 60, 70]]]


def test_grey_with_alpha_and_deep_grey_with_transparent_level(tmp_path: Path) -> None:
    Image.merge("LA", (grey(NUMBERS), grey(np.zeros_like(NUMBERS)))).save(tmp_path / "la.png")
    assert np.all(pixels(load_picture(tmp_path / "la.png", background=(4, 5, 6))) == (4, 5, 6))
    rows = b"\0" + struct.pack(">2H", 1000, 65535)
    data = png(2, 1, depth=16, color=0, data=zlib.compress(rows), extra=chunk(b"tRNS", struct.pack(">H", 1000)))
    (tmp_path / "deep.png").write_bytes(data)
    assert pixels(load_picture(tmp_path / "deep.png", background=(4, 5, 6))).tolist() == [[[4, 5, 6], [255] * 3]]


def test_an_embedded_profile_is_obeyed_and_srgb_changes_nothing(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"tmp_").replace(b"bXYZ", b"rXYZ").replace(b"tmp_", b"bXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "xRGB".encode("utf-16-be"))
    expected = {srgb: [250, 0, 30], swapped: [30, 0, 250]}  # red and blue primaries exchanged
    for alpha in (False, True):
        image = Image.new("RGBA" if alpha else "RGB", (8, 8), (250, 0, 30))
        for profile, color in expected.items():
            image.save(tmp_path / "a.png", icc_profile=profile)
            found = pixels(load_picture(tmp_path / "a.png"))[0, 0].astype(int)
            assert np.abs(found - color).max() <= (0 if profile == srgb else 2)


def test_lab_and_cmyk_become_the_colors_they_mean(tmp_path: Path) -> None:
    Image.new("LAB", (8, 8), (128, 128, 128)).save(tmp_path / "lab.tif")
    middle = pixels(load_picture(tmp_path / "lab.tif"))[0, 0]
    assert np.ptp(middle.astype(int)) <= 3
    assert 100 < middle[0] < 140
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
    assert np.abs(pixels(load_picture(tmp_path / "red.jpg"))[0, 0].astype(int) - [255, 0, 0]).max() <= 3


def test_an_unusable_profile_is_said_and_ignored(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "a.png", icc_profile=b"nonsense")
    notices: list[str] = []
    assert pixels(load_picture(tmp_path / "a.png", notices=notices))[0, 0].tolist() == [1, 2, 3]
    assert notices == [NOTICE_PROFILE]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGBA", "I;16", "F", "RGBX"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    kind = "TIFF" if mode in ("CMYK", "F", "RGBX") else "PNG"
    Image.new(mode, (5, 6)).save(tmp_path / "a.bin", format=kind)
    assert load_picture(tmp_path / "a.bin").mode == "RGB"


def test_first_frame_of_an_animation_with_a_notice(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 5), color) for color in ("red", "blue")]
    for name in ("a.gif", "a.png", "a.webp"):
        options = {"lossless": True} if name.endswith("webp") else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert pixels(load_picture(tmp_path / name))[0, 0].tolist() == [255, 0, 0]
        assert NOTICE_ANIMATED in inspect_picture(tmp_path / name).notices


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp"])
@pytest.mark.parametrize("lenient", [False, True])
def test_cut_off_files_are_refused_whatever_the_host_allows(
    make_picture, monkeypatch, name: str, lenient: bool
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    path = make_picture(name, size=(90, 80))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for read in (load_picture, inspect_picture):
        with pytest.raises(FileError) as error:
            read(path)
        assert error.value.cure
        assert str(path) in str(error.value)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is lenient


def test_a_bomb_is_refused_by_its_header_alone(tmp_path: Path) -> None:
    for side in (20_000, 200_000):  # above our limit, and above Pillow's own
        path = tmp_path / f"{side}.png"
        path.write_bytes(png(side, side, depth=8, color=2, data=b""))
        with pytest.raises(FileError, match="too large"):
            inspect_picture(path)


def test_the_limit_can_be_chosen(make_picture) -> None:
    path = make_picture("a.png", size=(70, 66))
    assert load_picture(path, max_pixels=70 * 66).size == (70, 66)
    with pytest.raises(FileError, match="70 x 66"):
        load_picture(path, max_pixels=70 * 66 - 1)


@pytest.mark.parametrize("data", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", NOISE])
def test_what_is_no_picture_says_so(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(FileError):
        inspect_picture(tmp_path / "a.png")


def test_missing_files_and_folders_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        load_picture(tmp_path / "gone.png")
    with pytest.raises(FileError):
        load_picture(tmp_path)


def test_a_wrong_ending_does_not_matter(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (7, 7, 7)).save(tmp_path / "a.png", format="WEBP", lossless=True)
    assert inspect_picture(tmp_path / "a.png").size == (4, 4)


def test_shrinking_by_whole_factors_is_the_block_mean() -> None:
    values = np.random.default_rng(1).integers(0, 256, (6, 12, 3), dtype=np.uint8)
    means = values.reshape(2, 3, 3, 4, 3).mean(axis=(1, 3))
    small = shrink_by_area(Image.fromarray(values), (3, 2))
    assert np.array_equal(np.asarray(small), np.floor(means + 0.5).astype(np.uint8))


def test_shrinking_between_whole_factors_weighs_border_pixels_by_area() -> None:
    row = np.array([[0, 90, 240]], dtype=np.uint8)
    small = np.asarray(shrink_by_area(grey(row), (2, 1)))
    assert small.tolist() == [[30, 190]]  # (0 + 90/2)/1.5 and (90/2 + 240)/1.5


def test_a_flat_picture_stays_flat_at_any_size() -> None:
    flat = Image.new("RGB", (37, 23), (3, 128, 251))
    assert np.all(np.asarray(shrink_by_area(flat, (11, 7))) == (3, 128, 251))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *, depth: int, color: int, data: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")
