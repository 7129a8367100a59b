"""A model for the lm-evaluation-harness: `--model streamlstm`.

    python -m streamlstm.integrations.lm_eval --model streamlstm --model_args pretrained=small --tasks …

This is the harness's own command, with the model registered. A model of bytes has no tokenizer: texts are scored as
they are, to the byte, contexts are never truncated, and an empty context is the begin of a stream.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..predictor import PRETRAINED, StreamPredictor
from ..search.generate import generate
from .extras import missing_extra

try:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
except ModuleNotFoundError as error:
    raise missing_extra(error, "lm-eval") from None

MAX_SYMBOLS = 256
"""How many symbols are generated if neither the task nor the user says it."""


@register_model("streamlstm")
class StreamLM(LM):
    """A predictor as a model of the lm-evaluation-harness.

    pretrained      a bundled model (small or large), a model file, or a StreamPredictor
    learn           learn from the context of a request (its examples and question) before the continuation is scored
    max_gen_toks    how many symbols to generate at most; default: what the task says, or 256
    others          options of the harness for other models, which are ignored: batch_size, device, …

    Requests are independent: each begins with the model as it was. Raises ValueError for a model that is not there.
    """

    def __init__(
        self,
        pretrained: str | StreamPredictor = "small",
        learn: bool | str = False,
        max_gen_toks: int | str = 0,
        **others: Any,
    ) -> None:
        super().__init__()
        self.predictor = pretrained if isinstance(pretrained, StreamPredictor) else _loaded(pretrained)
        self._learn = str(learn).lower() in ("true", "1", "yes")
        self._max_gen_toks = int(max_gen_toks)

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """For each (context, continuation): ln p(continuation | context), and whether greedy decoding gives it."""
        results = []
        for context, continuation, reader in self._readers([request.args for request in requests]):
            trace = reader.trace(continuation, 0)
            result = -float(trace.bits.sum(dtype="float64")) * math.log(2), bool((trace.ranks == 1).all())
            self.cache_hook.add_partial("loglikelihood", (context, continuation), result)
            results.append(result)
        return results

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """For each (text,): ln p(text) from the begin of a stream; all that comes before a symbol is its context."""
        results = []
        for (text,) in [request.args for request in requests]:
            reader = self.predictor.fork(learning=self._learn)
            result = -float(reader.observe_many(text).sum(dtype="float64")) * math.log(2)
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), result)
            results.append(result)
        return results

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """For each (context, options): the text generated up to the first of the strings `options["until"]`."""
        results = []
        for context, options, reader in self._readers([request.args for request in requests]):
            plan = Decoding.parse(options, self._max_gen_toks)
            result = plan.text(reader)
            self.cache_hook.add_partial("generate_until", (context, options), result)
            results.append(result)
        return results

    @property
    def tokenizer_name(self) -> str:
        """The name of the tokenizer, for the harness's caches."""
        return "bytes" if self.predictor.vocabulary.characters is None else "characters"

    def _readers(self, requests: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, Any, StreamPredictor]]:
        """Each request with a frozen predictor that has read its context; equal ones in a row are read once."""
        last, reader = None, self.predictor
        for context, rest in requests:
            if context != last:
                last, reader = context, self.predictor.fork(learning=self._learn)
                reader.observe_many(context)
            yield context, rest, reader.fork(learning=False)


class Decoding(NamedTuple):
    """How to generate.

    until        the strings that end the text, of which none becomes part of it
    n_symbols    how many symbols at most
    temperature  as for `generate`; 0 is greedy
    top_k, top_p, seed  as for `generate`
    """

    until: list[bytes]
    n_symbols: int
    temperature: float
    top_k: int
    top_p: float
    seed: int

    @classmethod
    def parse(cls, options: dict[str, Any], n_symbols: int = 0) -> Decoding:
        """From the harness's options of a request; those of other models are ignored.

        >>> Decoding.parse({"until": "\\n", "max_gen_toks": 9}).temperature
        0.0
        """
        until = options.get("until") or []
        ends = [until] if isinstance(until, str) else list(until)
        samples = bool(options.get("do_sample", options.get("temperature", 0.0)))
        return cls(
            [end.encode() for end in ends if end],
            n_symbols or int(options.get("max_gen_toks", options.get("max_tokens", MAX_SYMBOLS))),
            float(options.get("temperature", 1.0)) if samples else 0.0,
            int(options.get("top_k", 0)),
            float(options.get("top_p", 1.0)),
            int(options.get("seed", 0)),
        )

    def text(self, predictor: StreamPredictor) -> str:
        """The text that the predictor generates; bytes that are not valid UTF-8 become U+FFFD."""
        data = bytearray()
        options = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p, "seed": self.seed}
        for symbol in generate(predictor, self.n_symbols, **options):  # type: ignore[arg-type]
            data += symbol if isinstance(symbol, bytes) else symbol.encode()
            end = next((end for end in self.until if data.endswith(end)), None)
            if end is not None:
                del data[-len(end) :]
                break
        return data.decode("utf-8", "replace")


def _loaded(name: str) -> StreamPredictor:
    is_bundled = (PRETRAINED / f"{name}.safetensors").exists()
    return StreamPredictor.load(name) if Path(name).exists() and not is_bundled else StreamPredictor.pretrained(name)


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
