"""Tiny predictors for the targets; a case with them takes a fraction of a millisecond."""

import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the folder of `nets`
from nets import random_predictor

from streamlstm import Adam, Config, RMSprop, Vocabulary

SHAPE = Config(hidden=4, layers=1, window=16, memory_bits=10)
TEXT = b"abcd abcd, (aab) 12.5\nabcd abcd, (aac) 12.6\nabcd abcd, (aab) 12.5\nabcd abcd"


@cache
def of_bytes(memory=True):
    """A predictor of bytes."""
    return random_predictor(SHAPE, Vocabulary.bytes(), memory=memory)


@cache
def of_text(layers=1, memory=True, adam=False):
    """A predictor of the characters of TEXT."""
    shape = Config(hidden=3, layers=layers, window=4, connections="stacked" if layers > 1 else "skip", memory_bits=10)
    vocabulary = Vocabulary.from_text(TEXT.decode(), unknown="?")
    return random_predictor(shape, vocabulary, Adam(lr=0.01) if adam else RMSprop(), memory=memory)
