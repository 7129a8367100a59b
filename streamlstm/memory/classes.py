"""The character classes of a vocabulary's symbols, by which `contexts` finds words, fields and lines."""

import string

import numpy as np

from ..vocabulary import Tokens, Vocabulary
from . import brackets
from .contexts import DIGIT, LETTERS, LOWER, NEWLINE, NON_ASCII, OTHER, PUNCTUATION, SEPARATOR, UPPER

_CHARACTERS = {
    NEWLINE: "\n",
    SEPARATOR: " \t,",
    DIGIT: string.digits,
    LOWER: string.ascii_lowercase,
    UPPER: string.ascii_uppercase,
    PUNCTUATION: ".;:'\"",
}
_BRACKETS = {
    "(": brackets.ROUND,
    ")": brackets.CLOSING + brackets.ROUND,
    "[": brackets.SQUARE,
    "]": brackets.CLOSING + brackets.SQUARE,
    "{": brackets.CURLY,
    "}": brackets.CLOSING + brackets.CURLY,
    "<": brackets.TAG,
    ">": brackets.TAG_END,
    "/": brackets.SLASH,
    '"': brackets.QUOTE,
    "\n": brackets.NEWLINE,
}


def classify(vocabulary: Vocabulary) -> Tokens:
    """int32 [V]: the class of each symbol, the code of its lower-case letter, and its bracket: see `contexts`.

    Letters are those of ASCII, and every character or byte above ASCII.
    """
    if vocabulary.characters is None:
        codes = np.arange(256, dtype=np.int32)
    else:
        codes = np.array([ord(character) for character in vocabulary.characters], dtype=np.int32)
    classes = np.full(len(codes), OTHER, dtype=np.int32)
    classes[codes >= 128] = NON_ASCII
    for char_class, characters in _CHARACTERS.items():
        classes[np.isin(codes, [ord(character) for character in characters])] = char_class
    lower_case = np.where(classes == UPPER, codes + 32, codes)
    is_letter = np.isin(classes, (LOWER, UPPER, NON_ASCII))
    kinds = np.where(is_letter, brackets.LETTER, brackets.NO_BRACKET)
    for character, bracket in _BRACKETS.items():
        kinds[codes == ord(character)] = bracket
    letters = np.where(is_letter, lower_case, 0)
    return classes + 16 * letters.astype(np.int32) + 16 * LETTERS * kinds.astype(np.int32)
