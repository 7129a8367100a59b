"""Text entry: how many keystrokes word predictions save, and how well each character is predicted.

    python demos/text_entry.py [FILE] [--model NAME|FILE] [-n N]

FILE has a phrase a line; without it, some phrases of this demo are typed. They are measured as TextSlinger does it: in
lower case, without what is not a letter, an apostrophe or a space.

bits, perplexity    the mean surprisal per character among these 28, and 2 to its power; the two cases of a letter count
                    as one
5 words %           (characters - keystrokes) / characters, for a user who types letter by letter, and selects a word as
                    soon as it is among the 5 that are suggested; this takes one keystroke, and adds the space
literal %           the same if one of the 5 is what was typed of the word so far
+ space %           the same, and each phrase ends with a space, which has to be typed or added as well
ms                  the time to suggest 5 words

"frozen" predicts each phrase from the beginning of a stream. "learning" reads each phrase after it was typed.
"""

import argparse
import re
import time
from pathlib import Path

import numpy as np

from streamlstm import StreamPredictor, complete

SLOTS = 5
SYMBOLS = "abcdefghijklmnopqrstuvwxyz' "
PHRASES = """
could you open the window please
i'll be there in about ten minutes
the nurse said that i should drink more water
what would you like to eat tonight
my sister is coming to see us on sunday
please turn down the television
i am too tired to go out this evening
where did you put my glasses
that was the best soup i have had in years
can we talk about it tomorrow
the battery of my chair is almost empty
it looks as if it will rain again
thank you for the lovely flowers
i need to call the doctor about my medicine
do you remember the name of that little island
we should leave before the traffic gets bad
"""

PUBLISHED = """
Published, by other models on other phrases (perplexity; savings with 5 words, no literal slot, no trailing space):
  124 COMM phrases (TextSlinger, 2025)    12-gram of characters, 22 MB  2.87   54.8 %      7 ms a prediction
                                          ByGPT5 small (bytes)          3.76   50.1 %  4,478 ms a prediction
                                          an LLM with subword tokens    2.62           211 ms a symbol
  4,567 sentences (imagineville, 2019)    12-grams, 22 MB to 2.7 GB     3.18 to 2.73; with limited punctuation
                                  (2021)  Dasher's 4-gram, 2.8 MB       4.61
"""


def letters(phrase: str) -> str:
    """A phrase as it is typed: in lower case, without other symbols."""
    return " ".join(re.sub(f"[^{SYMBOLS}]", "", phrase.lower()).split())


def cased(text: str) -> str:
    """Capital letters where English always has them, for models that know both cases."""
    return re.sub(r"\bi\b", "I", text[:1].upper() + text[1:])


def surprisals(predictor: StreamPredictor, phrase: str) -> list[float]:
    """The surprisal of each character in bits, among `SYMBOLS`."""
    lower = np.array(predictor.vocabulary.encode(SYMBOLS))
    upper = np.array(predictor.vocabulary.encode(SYMBOLS[:26].upper()))
    bits = []
    for at, symbol in enumerate(phrase):
        reader = predictor.fork(learning=False)
        reader.observe_many(cased(phrase[:at]))
        p = reader.predict().astype(np.float64)
        chances = p[lower]
        chances[:26] += p[upper]
        bits.append(-float(np.log2(chances[SYMBOLS.index(symbol)] / chances.sum())))
    return bits


def suggestions(predictor: StreamPredictor, text: str) -> list[str]:
    """The most probable words, whose first letters may have been typed; both cases count as one word."""
    typed, chances = text[text.rfind(" ") + 1 :], {}
    for candidate in complete(predictor, 3 * SLOTS, cased(text)):
        word = typed + candidate.text.lower()
        chances[word] = chances.get(word, 0) + candidate.probability
    return sorted((word for word in chances if word), key=lambda word: -chances[word])[:SLOTS]


def keystrokes(phrase: str, suggested: dict[str, list[str]], literal_slot: bool) -> int:
    """How many keys are pressed to type a phrase, given the words that are suggested after each beginning of it."""
    keys = at = 0
    while at < len(phrase):
        start, end = phrase.rfind(" ", 0, at) + 1, (phrase + " ").find(" ", at)
        typed, words = phrase[start:at], suggested[phrase[:at]]
        if literal_slot and typed and typed not in words:
            words = [*words[: SLOTS - 1], typed]
        at = end + 1 if phrase[start:end] in words else at + 1
        keys += 1
    return keys


def row(predictor: StreamPredictor, phrases: list[str], learns: bool) -> str:
    """Measure a predictor on the phrases: a row of the table."""
    bits, n_predictions, seconds = [], 0, 0.0
    keys = np.zeros(3, dtype=int)
    for phrase in phrases:
        bits += surprisals(predictor, phrase)
        started = time.perf_counter()
        suggested = {phrase[:at]: suggestions(predictor, phrase[:at]) for at in range(len(phrase) + 1)}
        seconds += time.perf_counter() - started
        n_predictions += len(suggested)
        ways = ((phrase, False), (phrase, True), (phrase + " ", True))
        keys += [keystrokes(text, suggested, literal_slot) for text, literal_slot in ways]
        if learns:
            predictor.observe_many(cased(phrase) + "\n")
    n = len(bits)
    saved = 100 * (1 - keys / np.array([n, n, n + len(phrases)]))
    cells = [f"{np.mean(bits):.3f}", f"{2 ** np.mean(bits):.3f}", *(f"{each:.1f}" for each in saved)]
    return "".join(f"{cell:>12}" for cell in [*cells, f"{1000 * seconds / n_predictions:.1f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE")
    parser.add_argument("--model", action="append", metavar="NAME|FILE", help="may be repeated; default: small")
    parser.add_argument("-n", type=int, metavar="N", help="type only the first N phrases")
    options = parser.parse_args()
    written = options.file.read_text().splitlines() if options.file else PHRASES.splitlines()
    phrases = [phrase for phrase in map(letters, written) if phrase][: options.n]
    print(f"{len(phrases)} phrases of {sum(map(len, phrases)):,} characters\n")
    names = ("bits", "perplexity", "5 words %", "literal %", "+ space %", "ms")
    print(f"{'':<20}" + "".join(f"{name:>12}" for name in names))
    for model in options.model or ["small"]:
        for learns in (False, True):
            predictor = StreamPredictor.load(model) if "." in model else StreamPredictor.pretrained(model)
            name = f"{Path(model).stem}, {'learning' if learns else 'frozen'}"
            print(f"{name:<20}{row(predictor, phrases, learns)}")
    print(PUBLISHED, end="")


if __name__ == "__main__":
    main()
