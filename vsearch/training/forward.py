"""The autoencoder's forward pass, as training computes it: the same function, in less time and memory.

A 3x3 convolution behind a 2x nearest-neighbour upsampling sees each value two or four times.  Its result at
the four positions (even or odd row, even or odd column) is a 2x2 convolution of the small picture, with the
kernel's rows and columns added up accordingly (Shi et al. 2016, "Is the deconvolution layer the same as a
convolutional layer?").  That is 4/9 of the multiplications, and the large picture, of which the backward
pass would keep a copy, is never made.  Values differ by rounding alone; weights are those of the plain
layers.
"""

from __future__ import annotations

from typing import Any


def forward(autoencoder: Any, pictures: Any) -> Any:
    """What ``autoencoder(pictures)`` computes: float32 [N, S, S, 3] -> float32 [N, S, S, 3]."""
    from keras import layers

    tensor, upsampled = pictures, False
    for layer in autoencoder.layers[1:]:
        if isinstance(layer, layers.UpSampling2D):
            upsampled = True
        elif upsampled:
            tensor = layer.activation(_upsampled_convolution(tensor, layer.kernel, layer.bias))
            upsampled = False
        else:
            tensor = layer(tensor)
    return tensor


def _upsampled_convolution(small: Any, kernel: Any, bias: Any) -> Any:
    """``conv3x3(upsample2x(small))``: [N, h, w, i], [3, 3, i, o], [o] -> [N, 2h, 2w, o]."""
    import tensorflow as tf

    height, width = small.shape[1], small.shape[2]
    padded = tf.pad(small, [[0, 0], [1, 1], [1, 1], [0, 0]])
    rows = []
    for row, by_row in enumerate(_phases(kernel, axis=0)):
        columns = []
        for column, weights in enumerate(_phases(by_row, axis=1)):
            part = padded[:, row : row + height + 1, column : column + width + 1]
            columns.append(tf.nn.conv2d(part, weights, strides=1, padding="VALID"))
        rows.append(tf.stack(columns, axis=3))
    interleaved = tf.reshape(tf.stack(rows, axis=2), [-1, 2 * height, 2 * width, kernel.shape[3]])
    return tf.nn.bias_add(interleaved, bias)


def _phases(kernel: Any, axis: int) -> tuple[Any, Any]:
    """A kernel's three taps along ``axis`` as the two that even, and that odd, positions see."""
    import tensorflow as tf

    first, second, third = tf.unstack(kernel, axis=axis)
    return tf.stack([first, second + third], axis=axis), tf.stack([first + second, third], axis=axis)
