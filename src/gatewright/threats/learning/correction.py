"""How a correction is kept: safetensors, bound to the base model that it was fitted to. Nothing is ever unpickled."""

from __future__ import annotations

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from gatewright.errors import ValidationError
from gatewright.threats.learning.fit import MAX_COLUMNS, Correction


def encode_correction(correction: Correction) -> bytes:
    """The correction as bytes; :func:`decode_correction` gives the same to the bit."""
    return save(
        {"indices": correction.indices.astype(np.int64), "values": correction.values.astype(np.float32)},
    )


def decode_correction(data: bytes) -> Correction:
    """A correction from bytes.

    Raises:
        ValidationError: it is damaged, or not of the shape that fitting gives.
    """
    try:
        tensors = load(data)
        indices, values = tensors["indices"], tensors["values"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValidationError("The stored model version is damaged.", code="MODEL_DAMAGED") from error
    if (
        indices.dtype != np.int64
        or values.dtype != np.float32
        or indices.shape != values.shape
        or indices.ndim != 1
        or indices.size > MAX_COLUMNS
        or not np.isfinite(values).all()
        or (indices.size and (indices[0] < 0 or (np.diff(indices) <= 0).any()))
    ):
        raise ValidationError("The stored model version is damaged.", code="MODEL_DAMAGED")
    return Correction(indices, values)
