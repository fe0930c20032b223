"""Photos to pixels: decode, turn upright, resize (the one module that knows Pillow's decoders).

The order matters: open, check the pixel count, let libjpeg shrink while it decodes (``draft``),
load, scale deep grey to 8 bits, composite transparency on white, turn upright, and only then
resize.  All results come from one small working picture: a 12-megapixel JPEG costs a fraction of
its full decode.
"""

from vsearch.images.decoding import Box, Decoded, as_png, decode, read_picture, read_pixels
from vsearch.images.opening import (
    MAX_MEGAPIXELS,
    Measure,
    Source,
    frames,
    from_array,
    measure,
    name_of,
)

__all__ = [
    "MAX_MEGAPIXELS",
    "Box",
    "Decoded",
    "Measure",
    "Source",
    "as_png",
    "decode",
    "frames",
    "from_array",
    "measure",
    "name_of",
    "read_picture",
    "read_pixels",
]
