"""Training the autoencoders: photos -> pixels segments -> Keras -> an encoder bundle.

:func:`train` does all of it.  :mod:`staging` brings the photos to disk, :mod:`batches` streams them,
:mod:`loop` trains (:mod:`programs` are its steps, :mod:`forward` its forward pass, :mod:`checkpoints` its
memory, :mod:`devices` say on what), :mod:`exporting` writes the bundle, with :mod:`pictures` of the curves.
:mod:`labelled` is apart from these: it learns a projection from labels, without Keras.
"""

from vsearch.training.records import Epoch, Options, Outcome, Trained, VectorKind
from vsearch.training.session import Callbacks, Request, train

__all__ = ["Callbacks", "Epoch", "Options", "Outcome", "Request", "Trained", "VectorKind", "train"]
