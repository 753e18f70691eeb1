"""The linear model at run time: one score, and one head per kind of threat, with numpy alone.

Weights are eight-bit integers with a scale, kept in safetensors; nothing is ever unpickled. The columns of
rules are found by the rules' names, so that a model stays good when rules come or go.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from gatewright.errors import ConfigurationError
from gatewright.records import Record
from gatewright.threats.model.cascade import Screen
from gatewright.threats.model.features import BITS, COLUMNS, FINENESS, Columns, columns, means

FORMAT = "gatewright-linear-2"
SHIPPED = Path(__file__).with_name("detector.safetensors")
RULE_VALUE = 0.35
"""The value of a rule's or signal's column when it is set; n-grams have counts over the root of their number."""

TYPE_BITS = 13
_TYPE_SHIFT = BITS - TYPE_BITS

Floats = npt.NDArray[np.float32]


class ModelInfo(Record, frozen=True, kw_only=True):
    """What a model file says of itself. ``named`` are the columns behind the n-grams: rules, then signals.

    ``screen_bias`` belongs to the weights of the first look, if the file has any.
    """

    format: str
    bits: int
    bias: float
    scale: float
    type_scale: float
    named: list[str]
    types: list[str]
    thresholds: list[list[float]]
    rows: int
    seed: int
    screen_bias: float = 0.0


class LinearModel:
    """Scores windows of text.

    Args:
        info: what the file says.
        weights: int8, one a column of n-grams.
        named_weights: float32, one a name of ``info.named``.
        type_weights: int8, (types, 2 ** TYPE_BITS), and float32 type_named (types, names).
        screen: a first look that spares the model most of harmless text; none: it is asked about all of it.
    """

    def __init__(
        self,
        info: ModelInfo,
        weights: npt.NDArray[np.int8],
        named_weights: Floats,
        type_weights: npt.NDArray[np.int8],
        type_named: Floats,
        base_id: str,
        screen: Screen | None = None,
    ) -> None:
        self.info = info
        self.screen = screen
        self.base_id = base_id
        self._weights = weights.astype(np.float32)
        self._named = {name: number for number, name in enumerate(info.named)}
        self._named_weights = named_weights
        self._named_list: list[float] = named_weights.tolist()
        self._type_weights = type_weights
        self._type_named = type_named

    @classmethod
    def load(cls, path: str | Path | None = None) -> LinearModel:
        """Read a model file; the one that ships without a path.

        Raises:
            ConfigurationError: it is missing, damaged, or of another format.
        """
        place = Path(path or SHIPPED)
        try:
            data = place.read_bytes()
            return cls.from_bytes(data)
        except (OSError, SafetensorError, KeyError, ValueError, msgspec.MsgspecError) as error:
            raise ConfigurationError(
                f"{place}: not a model of this version ({type(error).__name__}); run `gatewright model train`.",
                code="MODEL_UNUSABLE",
            ) from None

    @classmethod
    def from_bytes(cls, data: bytes) -> LinearModel:
        """A model from what :func:`dump` gave. Raises ValueError, KeyError or SafetensorError for anything else."""
        tensors = load(data)
        info = msgspec.json.decode(tensors["info"].tobytes(), type=ModelInfo)
        if info.format != FORMAT or info.bits != BITS or tensors["weights"].shape != (COLUMNS,):
            raise ValueError("another format")
        return cls(
            info,
            tensors["weights"],
            tensors["named"],
            tensors["type_weights"],
            tensors["type_named"],
            hashlib.sha256(data).hexdigest()[:16],
            Screen(tensors["screen"], info.screen_bias) if "screen" in tensors else None,
        )

    def numbers_of(self, names: Iterable[str]) -> list[int]:
        """The columns of names (behind the n-grams); names that the model does not know are left out."""
        known = self._named
        return [known[name] for name in names if name in known]

    def scores(self, windows: Sequence[bytes]) -> list[float]:
        """What the n-grams of each window say; :meth:`margin` adds rules, signals and the bias."""
        scale = self.info.scale
        return [mean * scale for mean in means(windows, self._weights)]

    def margin(self, score: float, named: Sequence[int] = ()) -> float:
        """The score of a window with all that is known of it: over 0 it looks like an attack."""
        margin = score + self.info.bias
        return margin + RULE_VALUE * sum([self._named_list[number] for number in named]) if named else margin

    def weights_of(self, found: Columns) -> Floats:
        """What each of some columns of n-grams adds; a window's score is their sum over the root of their number."""
        return self._weights[found] * np.float32(self.info.scale)

    def most(self, named: Iterable[int]) -> float:
        """The most that some of these can add to a score, the bias included."""
        return self.info.bias + RULE_VALUE * sum(max(0.0, self._named_list[number]) for number in named)

    def corrected(self, indices: npt.NDArray[np.int64], values: Floats) -> LinearModel:
        """A copy with values added to some columns; the columns of names are counted behind the n-grams.

        It has no screen: what was learned is nothing that a first look knows of.
        """
        twin = copy.copy(self)
        twin.screen = None
        of_grams = indices < COLUMNS
        twin._weights = self._weights.copy()
        twin._weights[indices[of_grams]] += np.round(values[of_grams] * (FINENESS / self.info.scale)) / FINENESS
        named = self._named_weights.copy()
        behind = indices[~of_grams] - COLUMNS
        known = behind < len(named)
        named[behind[known]] += values[~of_grams][known]
        twin._named_weights, twin._named_list = named, named.tolist()
        return twin

    def kinds(self, window: bytes, named: list[int]) -> list[tuple[str, float]]:
        """The threat types by likelihood, the likeliest first, probabilities summing to 1."""
        found = columns(window) >> _TYPE_SHIFT
        scores = self._type_weights[:, found].sum(axis=1).astype(np.float64) * self.info.type_scale
        scores /= math.sqrt(len(found))
        if named:
            scores += RULE_VALUE * self._type_named[:, named].sum(axis=1)
        scores = np.exp(scores - scores.max())
        scores /= scores.sum()
        order = np.argsort(-scores)
        return [(self.info.types[i], float(scores[i])) for i in order]


def dump(
    info: ModelInfo,
    weights: npt.NDArray[np.int8],
    named: Floats,
    type_weights: npt.NDArray[np.int8],
    type_named: Floats,
) -> bytes:
    """A model as bytes: the same model, the same bytes."""
    return save(
        {
            "info": _said(info),
            "weights": weights,
            "named": named,
            "type_weights": type_weights,
            "type_named": type_named,
        }
    )


def with_screen(data: bytes, weights: npt.NDArray[np.int16], bias: float) -> bytes:
    """The model ``data`` with a screen, which is fitted to what the model says."""
    tensors = load(data)
    info = msgspec.json.decode(tensors["info"].tobytes(), type=ModelInfo)
    return save(tensors | {"info": _said(msgspec.structs.replace(info, screen_bias=bias)), "screen": weights})


def _said(info: ModelInfo) -> npt.NDArray[np.uint8]:
    return np.frombuffer(json.dumps(info.to_dict(), sort_keys=True, ensure_ascii=True).encode(), np.uint8)
