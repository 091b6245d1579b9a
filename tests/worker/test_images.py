"""Pictures in every form give the pixels that were put into them, and damaged ones one clear error."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from cerebro_nas.worker import decode_image
from cerebro_nas.worker import image_shape

_RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
_SMOOTH = np.stack(np.meshgrid(np.arange(0, 256, 16), np.arange(0, 128, 16)), -1).astype(np.uint8)


def _file(pixels: NDArray[Any], format: str = "PNG", mode: str | None = None) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(stream, format)
    return stream.getvalue()


def _struct(pixels: NDArray[np.uint8], kind: int = 16) -> dict[str, Any]:
    height, width, channels = pixels.shape
    turned = pixels[..., [2, 1, 0, 3][:channels]] if channels > 1 else pixels
    sizes = {"height": height, "width": width, "nChannels": channels}
    return {"origin": "file:/x", **sizes, "mode": kind, "data": turned.tobytes()}


@pytest.mark.parametrize("format", ["PNG", "BMP", "WEBP"])
def test_what_was_written_is_read(format: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(_RGB).save(stream, format, lossless=True)
    found = decode_image(stream.getvalue())
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, _RGB)
    np.testing.assert_array_equal(decode_image(bytearray(stream.getvalue()), (4, 6, 3)), _RGB)


def test_jpeg_is_close() -> None:
    smooth = np.repeat(_SMOOTH[..., :1], 3, axis=-1)
    found = decode_image(_file(smooth, "JPEG"))
    assert found.shape == smooth.shape
    assert np.abs(found.astype(int) - smooth).max() < 16


@pytest.mark.parametrize("mode", ["P", "RGBA", "L", "LA", "1", "CMYK"])
def test_every_mode_becomes_three_channels_or_one(mode: str) -> None:
    black_white = np.repeat(np.array([[0, 255], [255, 0]], dtype=np.uint8)[..., None], 3, axis=-1)
    data = _file(black_white, "JPEG" if mode == "CMYK" else "PNG", mode)
    assert decode_image(data).shape == (2, 2, 3)
    np.testing.assert_array_equal(decode_image(data, (2, 2, 1)) > 127, black_white[..., :1] > 127)


def test_alpha_is_kept_if_it_is_asked_for() -> None:
    pixels = np.dstack([_RGB, _RGB[..., 0]])
    np.testing.assert_array_equal(decode_image(_file(pixels), (4, 6, 4)), pixels)
    np.testing.assert_array_equal(decode_image(_file(pixels)), _RGB)


def test_greys_of_16_bits_are_scaled() -> None:
    deep = np.array([[0, 256, 0xFFFF]], dtype=np.uint16)
    assert decode_image(_file(deep), (1, 3, 1)).tolist() == [[[0], [1], [255]]]


def test_another_size_is_resized() -> None:
    found = decode_image(_file(_SMOOTH[..., 0]), (4, 8, 1))
    assert found.shape == (4, 8, 1)
    expected = np.asarray(Image.fromarray(_SMOOTH[..., 0]).resize((8, 4), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(found[..., 0], expected)
    assert decode_image(_file(_RGB), (2, 2, 3)).shape == (2, 2, 3)


# --- Spark's struct ---------------------------------------------------------------------------------------------------


def test_the_order_of_sparks_colours_is_turned() -> None:
    assert decode_image(_struct(np.array([[[9, 5, 1]]], dtype=np.uint8))).tolist() == [[[9, 5, 1]]]
    np.testing.assert_array_equal(decode_image(_struct(_RGB), (4, 6, 3)), _RGB)
    pixels = np.dstack([_RGB, _RGB[..., 0]])
    np.testing.assert_array_equal(decode_image(_struct(pixels), (4, 6, 4)), pixels)
    np.testing.assert_array_equal(decode_image(_struct(pixels)), _RGB)


def test_sparks_greys() -> None:
    grey = _RGB[..., :1]
    np.testing.assert_array_equal(decode_image(_struct(grey), (4, 6, 1)), grey)
    np.testing.assert_array_equal(decode_image(_struct(grey)), np.repeat(grey, 3, axis=-1))
    assert decode_image(_struct(grey), (2, 3, 1)).shape == (2, 3, 1)


def test_a_row_of_spark_is_read_as_a_dict_is() -> None:
    from pyspark.sql import Row

    np.testing.assert_array_equal(decode_image(Row(**_struct(_RGB))), _RGB)


@pytest.mark.parametrize(
    "change",
    [
        {"height": -1, "width": -1, "nChannels": -1, "data": b""},
        *({"nChannels": 2}, {"height": 5}, {"data": b""}, {"height": 0, "data": b""}),
    ],
)
def test_a_struct_that_holds_no_picture(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a byte for each. Received: height="):
        decode_image({**_struct(_RGB), **change})


@pytest.mark.parametrize("data", [None, 3, "text", [1, 2], {}, {"height": 1}, (1, 2), {**_struct(_RGB), "data": None}])
def test_what_is_no_picture_at_all(data: Any) -> None:
    with pytest.raises(ValueError, match="must be the bytes of a file, or a struct"):
        decode_image(data)


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"text", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n"])
def test_other_bytes(data: bytes) -> None:
    with pytest.raises(ValueError, match="no picture in one of the formats|damaged"):
        decode_image(data)


def test_a_file_that_ends_early() -> None:
    with pytest.raises(ValueError, match="The picture is damaged: .*truncated"):
        decode_image(_file(np.tile(_RGB, (20, 20, 1)))[:-200])


def _png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 10_000, 60_000])
def test_a_picture_of_too_many_pixels_is_not_unpacked(side: int) -> None:
    with pytest.raises(ValueError, match="too large"):
        decode_image(_png_header(side, side))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 2), (4, 6, 3, 1), ()])
def test_a_shape_that_pictures_do_not_have(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape of a picture must be"):
        decode_image(_file(_RGB), shape)


_FILES = [_file(_RGB), _file(_RGB, "JPEG"), _file(_RGB, "GIF"), _file(_RGB, "BMP"), _file(_RGB, "WEBP")]


@given(st.sampled_from(_FILES), st.data())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_any_damage_is_read_or_a_value_error(file: bytes, data: st.DataObject) -> None:
    damaged = bytearray(file)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode_image(bytes(damaged), (4, 6, 3)).shape == (4, 6, 3)
    except ValueError as error:
        assert "picture" in str(error)


def test_without_pillow_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="`pip install pillow`"):
        decode_image(_FILES[0])
    # Spark's structs need none.
    np.testing.assert_array_equal(decode_image(_struct(_RGB)), _RGB)


# --- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (_file(_RGB), (4, 6, 3)),
        (_file(_RGB, "GIF"), (4, 6, 3)),
        (_file(_RGB[..., 0]), (4, 6, 1)),
        (_file(_RGB[..., 0].astype(np.uint16)), (4, 6, 1)),
        (_struct(_RGB), (4, 6, 3)),
        (_struct(_RGB[..., :1]), (4, 6, 1)),
    ],
)
def test_the_shape_without_decoding(data: Any, shape: tuple[int, int, int]) -> None:
    assert image_shape(data) == shape
    assert decode_image(data, shape).shape == shape


def test_the_shape_of_no_picture() -> None:
    with pytest.raises(ValueError, match="no picture"):
        image_shape(b"text")
