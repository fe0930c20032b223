"""The autoencoders that ``vsearch train`` knows: one small description each, built in code by Keras.

``pet160`` and ``travel600`` are those of the 2020 study, to the parameter.  ``compact`` has the same idea
at a fraction of the cost: strided convolutions in place of a full-size convolution and a pooling
(docs/training.md says how it was chosen).

A description is a line of words, one a layer:

    64      3x3 convolution to 64 channels, ReLU, padding ``same``
    S64     the same with stride 2
    P       2x2 max-pooling, padding ``same``
    U       2x upsampling, nearest neighbour

The decoder ends in a 3x3 convolution to RGB with a sigmoid.  Keras is imported when a model is built.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vsearch.errors import EncoderError
from vsearch.records import EncoderInfo

Pooling = Literal["flat", "mean"]
Shape = tuple[int, int, int]
CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Architecture:
    """One autoencoder.

    Attributes:
        input_size: side S of the square pictures, pixels; they are stretched to it.
        encoder, decoder: a word for each layer.
        batch_size, epochs, learning_rate: what the study used, or what suits ``compact``.
    """

    name: str
    input_size: int
    encoder: str
    decoder: str
    batch_size: int
    epochs: int = 10
    learning_rate: float = 1e-3

    @property
    def latent_shape(self) -> Shape:
        """Height, width and channels of the encoder's output."""
        side, channels = self.input_size, CHANNELS
        for layer in _layers(self.encoder):
            side, channels = -(-side // layer.shrink), layer.channels or channels
        return side, side, channels

    @property
    def dimension(self) -> int:
        """Length of a flattened latent."""
        height, width, channels = self.latent_shape
        return height * width * channels

    @property
    def parameters(self) -> int:
        """Weights and biases of encoder and decoder together."""
        total, channels = 0, CHANNELS
        for layer in (*_layers(self.encoder), *_layers(self.decoder), _Layer(CHANNELS)):
            if layer.channels:
                total += (9 * channels + 1) * layer.channels
                channels = layer.channels
        return total

    @property
    def multiplications(self) -> int:
        """Multiply-adds that encoding one picture takes."""
        total, side, channels = 0, self.input_size, CHANNELS
        for layer in _layers(self.encoder):
            side = -(-side // layer.shrink)
            if layer.channels:
                total += side * side * 9 * channels * layer.channels
                channels = layer.channels
        return total

    @property
    def info(self) -> EncoderInfo:
        """What ``encoders`` lists."""
        return EncoderInfo(
            self.name, self.input_size, self.dimension, self.parameters, trained=False, licence="yours"
        )


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            "pet160",
            160,
            "64 P 128 P 256 256 P 512 512 P",
            "512 512 U 256 256 U 128 U 64 U",
            batch_size=10,
        ),
        Architecture("travel600", 600, "64 P 32 32 P 16 16 P", "16 U 32 32 U 64 U", batch_size=5),
        Architecture(
            "compact", 160, "S32 S64 64 S128 64", "64 U 64 64 U 32 U 16", batch_size=10, learning_rate=2e-3
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Models:
    """The Keras models of one autoencoder, which share their layers.

    Attributes:
        autoencoder: float32 [N, S, S, 3] in 0..1 -> the same, rebuilt.
        encoder: float32 [N, S, S, 3] -> latents, float32 [N, h, w, c].
    """

    autoencoder: Any
    encoder: Any


def build(architecture: Architecture) -> Models:
    """The models of ``architecture`` with fresh weights (seed them with ``keras.utils.set_random_seed``)."""
    import keras

    size = architecture.input_size
    pictures = keras.Input((size, size, CHANNELS), name="pictures")
    latents = _stack(pictures, architecture.encoder)
    rebuilt = _stack(latents, architecture.decoder)
    rebuilt = keras.layers.Conv2D(CHANNELS, 3, activation="sigmoid", padding="same")(rebuilt)
    return Models(
        keras.Model(pictures, rebuilt, name=architecture.name),
        keras.Model(pictures, latents, name=f"{architecture.name}_encoder"),
    )


def pooled(encoder: Any, pooling: Pooling) -> Any:
    """The model from pictures to vectors: latents flattened (D = h * w * c) or averaged (D = c)."""
    import keras

    layer = keras.layers.Flatten() if pooling == "flat" else keras.layers.GlobalAveragePooling2D()
    model = keras.Model(encoder.input, layer(encoder.output))
    model(keras.ops.zeros((1, *encoder.input.shape[1:])))  # Keras exports no model that was never called
    return model


def load_weights(models: Models, architecture: Architecture, path: Path) -> None:
    """Load ``model.weights.h5`` into the models.

    Raises:
        EncoderError: the file is unreadable, or holds the weights of another architecture.
    """
    try:
        with warnings.catch_warnings():
            # Keras warns, and leaves fresh weights, where the file lacks some of the layers.
            warnings.simplefilter("error", UserWarning)
            models.autoencoder.load_weights(path)
    except (ValueError, KeyError, OSError, UserWarning) as error:
        raise EncoderError(
            f"{path} does not hold the weights of {architecture.name}: {str(error).splitlines()[0]}; "
            "name the architecture it was trained with, or train anew without --resume"
        ) from error


class _Layer(NamedTuple):
    channels: int = 0
    stride: int = 1
    pool: bool = False
    upsample: bool = False

    @property
    def shrink(self) -> int:
        return 2 if self.pool else self.stride


def _layers(words: str) -> list[_Layer]:
    """
    >>> [layer.channels for layer in _layers("64 P S32")]
    [64, 0, 32]
    """
    return [_layer(word) for word in words.split()]


def _layer(word: str) -> _Layer:
    if word == "P":
        return _Layer(pool=True)
    if word == "U":
        return _Layer(upsample=True)
    if word.startswith("S"):
        return _Layer(int(word[1:]), stride=2)
    return _Layer(int(word))


def _stack(tensor: Any, words: str) -> Any:
    from keras import layers

    for layer in _layers(words):
        if layer.pool:
            tensor = layers.MaxPooling2D(2, padding="same")(tensor)
        elif layer.upsample:
            tensor = layers.UpSampling2D(2)(tensor)
        else:
            convolution = layers.Conv2D(
                layer.channels, 3, strides=layer.stride, activation="relu", padding="same"
            )
            tensor = convolution(tensor)
    return tensor
