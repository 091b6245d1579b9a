"""Pictures as they come in a column, encoded files or Spark's structs, as arrays of pixels."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

# No other of Pillow's formats: some of them start programs, most are read by code that few people look at.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
_MAX_PIXELS = 1 << 26
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_GREY_16 = ("I", "I;16", "I;16B", "I;16L")
_GREYS = ("1", "L", "LA", *_GREY_16)
# What damaged files make Pillow raise.
_BROKEN = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, ArithmeticError),
    *(struct.error, zlib.error, AttributeError, MemoryError, RuntimeError),
)


def decode_image(data: Any, shape: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """Turn a picture into pixels.

    Args:
        data: the bytes of a PNG, JPEG, BMP, GIF or WebP file, or a struct as Spark's data source `image` gives it.
        shape: (height, width, channels) of the result: 1 channel is grey, 3 are RGB, 4 are RGBA. A picture of another
            size is resized (bilinear). None: RGB, of the size that the picture has.

    Raises:
        ValueError: it is no picture, is damaged or is too large; the message has the reason.
        ImportError: Pillow is needed, and missing.
    """
    channels = _channels(shape)
    if isinstance(data, (bytes, bytearray, memoryview)):
        picture = _opened(bytes(data))
        return _fitted(_decoded(picture, channels), shape)
    pixels = _of_struct(data)
    if pixels.shape[-1] != channels:
        pixels = _decoded(_pillow().fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), channels)
    return _fitted(pixels, shape)


def image_shape(data: Any) -> tuple[int, int, int]:
    """Height, width and channels (1 for grey, 3 for colours) of a picture, without decoding it; else `decode_image`."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        picture = _opened(bytes(data))
        return (picture.height, picture.width, 1 if picture.mode in _GREYS else 3)
    height, width, channels = _of_struct(data).shape
    return (height, width, 1 if channels == 1 else 3)


def _channels(shape: tuple[int, ...] | None) -> int:
    if shape is None:
        return 3
    if len(shape) != 3 or shape[-1] not in _MODES:
        raise ValueError(
            f"The shape of a picture must be (height, width, channels), with 1, 3 or 4 channels. Received: {shape}."
        )
    return shape[-1]


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "Decoding pictures needs Pillow, which is not installed here: `pip install pillow`, on executors too."
        ) from error
    return Image


def _opened(data: bytes) -> Any:
    """The picture with its header read, and no more."""
    image = _pillow()
    try:
        picture = image.open(io.BytesIO(data), formats=_FORMATS)
    # Pillow's own limit comes as a warning, or as an error if it is exceeded by far.
    except (image.DecompressionBombError, image.DecompressionBombWarning) as error:
        raise ValueError(f"The picture is too large: {error}") from error
    except image.UnidentifiedImageError as error:
        raise ValueError(
            f"The bytes are no picture in one of the formats {', '.join(_FORMATS)}. Received: {len(data):,} bytes "
            f"that begin with {data[:12]!r}."
        ) from error
    except _BROKEN as error:
        raise _broken(error) from error
    if picture.width * picture.height > _MAX_PIXELS:
        raise ValueError(
            f"The picture is too large: {picture.width} x {picture.height} pixels, where {_MAX_PIXELS:,} are allowed. "
            "Scale it down first."
        )
    return picture


def _decoded(picture: Any, channels: int) -> NDArray[np.uint8]:
    try:
        if picture.mode in _GREY_16:
            # Pillow would cut such values off at 255.
            deep = np.clip(np.asarray(picture).astype(np.int64), 0, 0xFFFF) >> 8
            picture = _pillow().fromarray(deep.astype(np.uint8))
        pixels: NDArray[np.uint8] = np.asarray(picture.convert(_MODES[channels]))
    except _BROKEN as error:
        raise _broken(error) from error
    return pixels.reshape(*pixels.shape[:2], channels)


def _broken(error: BaseException) -> ValueError:
    return ValueError(f"The picture is damaged: {str(error)[:200] or type(error).__name__}.")


def _fitted(pixels: NDArray[np.uint8], shape: tuple[int, ...] | None) -> NDArray[np.uint8]:
    if shape is None or pixels.shape == shape:
        return pixels
    image = _pillow()
    flat = pixels[..., 0] if shape[-1] == 1 else pixels
    resized = image.fromarray(flat).resize((shape[1], shape[0]), image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8).reshape(shape)


def _of_struct(data: Any) -> NDArray[np.uint8]:
    """The pixels of Spark's struct, rows first; its bytes are in the order blue, green, red (, alpha)."""
    try:
        height, width, channels = (int(data[name]) for name in ("height", "width", "nChannels"))
        raw = np.frombuffer(data["data"], dtype=np.uint8)
    except (TypeError, KeyError, ValueError, IndexError) as error:
        raise ValueError(
            "A picture must be the bytes of a file, or a struct with height, width, nChannels and data as Spark's "
            f"`image` source gives it. Received: a {type(data).__name__}."
        ) from error
    if channels not in _MODES or min(height, width) < 1 or raw.size != height * width * channels:
        raise ValueError(
            "A picture must have at least one pixel, 1, 3 or 4 channels, and a byte for each. Received: "
            f"height={height}, width={width}, nChannels={channels} with {raw.size:,} bytes. Spark gives -1 for files "
            "that it could not read: `option('dropInvalid', True)` leaves them out."
        )
    pixels = raw.reshape(height, width, channels)
    if channels == 1:
        return pixels
    return pixels[..., [2, 1, 0, 3][:channels]]
