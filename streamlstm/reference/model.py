"""A model file: its arrays and values, its weights as the network reads them, and the identity of its predictor."""

import hashlib
import json
from typing import Any, NamedTuple

import numpy as np

from .arithmetic import ARITHMETIC, Array
from .layout import first_state, first_weights, without_computed

FORMAT = 2
TYPES = {"F32": "<f4", "F16": "<f2", "I32": "<i4", "I64": "<i8", "U8": "u1"}


class Model(NamedTuple):
    """The arrays of a model file by name, and its values."""

    arrays: dict[str, Array]
    values: dict[str, Any]

    @property
    def n_symbols(self) -> int:
        """The size V of the vocabulary."""
        return 256 if self.characters is None else len(self.characters)

    @property
    def characters(self) -> str | None:
        """The characters of the vocabulary; None for bytes."""
        characters = self.values["vocabulary"]["characters"]
        return "".join(map(chr, characters)) if isinstance(characters, list) else characters


def read_model(content: bytes) -> Model:
    """The model in a checkpoint file. Raises ValueError if its format is another one or its checksum is wrong."""
    end = 8 + int.from_bytes(content[:8], "little")
    header, arrays = json.loads(content[8:end]), dict[str, Array]()
    values = json.loads(header.pop("__metadata__")["streamlstm"])
    for name, entry in header.items():
        begin, stop = (end + offset for offset in entry["data_offsets"])
        arrays[name] = np.frombuffer(content[begin:stop], TYPES[entry["dtype"]]).reshape(entry["shape"])
    expected = values.pop("sha256")
    if values["format"] != FORMAT or expected != digest(arrays, values).hex():
        raise ValueError("it is not a model, or it is damaged")
    return Model(arrays, values)


def digest(arrays: dict[str, Array], values: dict[str, Any]) -> bytes:
    """The SHA-256 of the values, as JSON with sorted keys, and of the arrays in the order of their names."""
    sha256 = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        sha256.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return sha256.digest()


def identity(model: Model) -> bytes:
    """The 16 bytes by which an archive names the predictor that it was compressed with."""
    arrays = memory_arrays(model) | model.arrays
    for name in arrays:
        if name.startswith(("weight", "bias", "start")):
            arrays[name] = arrays[name].astype(np.float32)
    if "memory.state" in arrays:
        arrays["memory.state"] = without_computed(arrays["memory.state"])
    values = {key: model.values[key] for key in ("config", "vocabulary", "optimizer", "learn")}
    return digest(arrays, values | {"arithmetic": ARITHMETIC})[:16]


def memory_arrays(model: Model) -> dict[str, Array]:
    """The arrays of a memory that has seen nothing, beside a trained network; none if the model has no memory."""
    if not model.values["config"]["memory"]:
        return {}
    types = {"pages": np.int32, "words": np.int32, "lengths": np.uint8, "history": np.int32}
    arrays = {f"memory.{name}": np.zeros(0, dtype) for name, dtype in types.items()}
    others = {"memory.heads": np.zeros((2, 0), np.int32), "memory.state": first_state()}
    return arrays | others | {"memory.weights": first_weights(model.n_symbols)}


def theta_of(model: Model, prefix: str = "") -> Array:
    """The weights under names with this prefix, or an optimizer slot, in one padded array: see `Reference`."""
    config, V = model.values["config"], model.n_symbols
    H, L, skip = config["hidden"], config["layers"], config["connections"] == "skip"
    rows, C = -(-H // 32) * 32, -(-V // 128) * 128

    def named(name: str) -> Array:
        return model.arrays[prefix + name].astype(np.float32)

    def padded(weight: Array, n_rows: int, n_gates: int, n_columns: int) -> Array:
        """A weight [outputs, inputs] as [inputs, outputs], with zeros up to n_rows and, for each gate, n_columns."""
        result = np.zeros((n_rows, n_gates, n_columns), np.float32)
        parts = weight.T.reshape(weight.shape[1], n_gates, -1)
        result[: len(parts), :, : parts.shape[2]] = parts
        return result.ravel()

    layers_read, parts = range(L) if skip else [0], []
    for l in range(L):
        if l:
            parts.append(padded(named(f"weight_ih_l{l}")[:, -H:], rows, 4, rows))
        parts.append(padded(named(f"weight_hh_l{l}"), rows, 4, rows))
        parts.append(padded(named(f"bias_l{l}")[:, None], 1, 4, rows))
    for i in layers_read:
        parts.append(padded(named("weight_out")[:, i * H : (i + 1) * H], rows, 1, C))
    parts.append(padded(named("bias_out")[:, None], 1, 1, C))
    for l in layers_read:
        parts.append(padded(named(f"weight_ih_l{l}")[:, :V], V, 4, rows))
        parts.append(padded(named(f"start_l{l}")[:, None], 1, 4, rows))
    return np.concatenate(parts)
