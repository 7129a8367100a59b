"""What tells predictors apart that predict differently."""

from ..checkpoint import digest
from ..predictor import StreamPredictor

ARITHMETIC = "8d27c81539662937"
"""Part of every identity: the digest of `tests/golden.json`, which changes with any bit of any distribution."""


def identity(predictor: StreamPredictor) -> bytes:
    """16 bytes that are equal for predictors that predict and learn the same, and differ for others.

    The first half of the SHA-256 of what its checkpoint would contain, with the arithmetic in place of what does not
    matter for that: see the page on containers.
    """
    arrays, described = predictor.to_checkpoint(whole=True)
    values = {key: described[key] for key in ("config", "optimizer", "learn")}
    values["vocabulary"] = {"characters": predictor.vocabulary.characters, "unknown": predictor.vocabulary.unknown}
    return bytes.fromhex(digest(arrays, values | {"arithmetic": ARITHMETIC}))[:16]
