"""The network as a PyTorch module: to train it on a GPU, to take its gradients, or to build on it.

`CharLSTM` computes what a `StreamPredictor` without a memory computes. The parameters have the names and shapes of
`StreamPredictor.weights`, and the gates are in the same order, so that weights go both ways unchanged. The order of
sums is PyTorch's: results agree to float32 rounding, not to the last bit.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from ..model import Config, Layout, fresh_theta
from ..optim import Optimizer
from ..predictor import StreamPredictor
from ..training.trainer import OFFLINE_INIT, streaming_optimizer
from ..vocabulary import Vocabulary
from .extras import missing_extra

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional
except ModuleNotFoundError as error:
    raise missing_extra(error, "torch") from None

State = tuple[Tensor, Tensor]
"""h and c of every layer, [L, B, H] each, as `torch.nn.LSTM` takes them."""


class CharLSTM(nn.Module):
    """The network of a `StreamPredictor`, without its memory.

    vocabulary  the symbols; default: bytes
    config      the network's shape; its window and memory are those of the predictor that it becomes
    seed        of the initial weights, which are those of `Trainer`

    The token V, one more than the last symbol's, is the begin-of-stream symbol: a stream forgets its state where it
    reads it. It is never predicted. As long as all its weights, `start_l0` …, are zero, a stream is in the zero state
    after it, as in a predictor; their gradients are those of the step that it would make, so that they can learn.

    >>> import torch
    >>> from streamlstm import Config, Vocabulary
    >>> model = CharLSTM(Vocabulary.from_text("hello"), Config(hidden=8, layers=2))
    >>> logits, state = model(torch.tensor([[1, 0, 2], [0, 2, 2]]))
    >>> logits.shape, state[0].shape
    (torch.Size([2, 3, 4]), torch.Size([2, 2, 8]))
    >>> sorted(model.state_dict())[:3]
    ['bias_l0', 'bias_l1', 'bias_out']
    """

    def __init__(self, vocabulary: Vocabulary | None = None, config: Config | None = None, seed: int = 0) -> None:
        super().__init__()
        self.vocabulary, self.config = vocabulary or Vocabulary.bytes(), config or Config()
        self._layout = Layout(self.config, len(self.vocabulary))
        for name, weight in self._layout.named(fresh_theta(self._layout, seed, OFFLINE_INIT)).items():
            self.register_parameter(name, nn.Parameter(torch.from_numpy(weight)))

    @classmethod
    def from_predictor(cls, predictor: StreamPredictor) -> CharLSTM:
        """A module with the weights of a predictor. What its memory has counted stays behind."""
        module = cls(predictor.vocabulary, predictor.config)
        module.load_state_dict({name: torch.from_numpy(weight) for name, weight in predictor.weights().items()})
        return module

    def to_predictor(self, optimizer: Optimizer | None = None, about: dict[str, Any] | None = None) -> StreamPredictor:
        """A predictor with these weights and, if the config has one, an empty memory.

        optimizer  how it learns; default: `streaming_optimizer` for this hidden size
        about      information to be saved with it

        Raises ValueError if a weight is not finite.
        """
        weights = {name: weight.detach().to("cpu", torch.float32).numpy() for name, weight in self.named_parameters()}
        optimizer = optimizer or streaming_optimizer(self.config.hidden)
        return StreamPredictor.from_weights(weights, self.vocabulary, self.config, optimizer, about)

    def initial_state(self, batch: int = 1) -> State:
        """The state in which streams begin: after the begin-of-stream symbol, or zero if its weights are all zero."""
        state = self._zero_state(batch)
        if not self._has_start():
            return state
        begin = torch.full((batch, 1), len(self.vocabulary), device=self.bias_out.device)
        after: State = self(begin, state)[1]
        return after

    def state_of(self, predictor: StreamPredictor) -> State:
        """The present state of a predictor, as that of a batch of one."""
        h, c = (torch.from_numpy(part).unsqueeze(1).to(self.bias_out) for part in predictor.state)
        return h, c

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The logits of the symbol after each token, [B, T, V], and the state after the last one.

        tokens  int64 [B, T], from 0 to V
        state   what the streams carry; default: `initial_state`

        Raises ValueError for tokens of another shape.
        """
        if tokens.dim() != 2 or not tokens.shape[1]:
            raise ValueError(f"tokens must have the shape [B, T] with T above 0, not {list(tokens.shape)}")
        if state is None:
            state = self.initial_state(len(tokens))
        begins = tokens == len(self.vocabulary)
        columns = begins.any(0).nonzero().flatten().tolist()
        makes_steps = not columns or self._has_start()
        after = [] if makes_steps else [column + 1 for column in columns]
        outputs = []
        for start, end in pairwise(sorted({0, *columns, *after, tokens.shape[1]})):  # no stream begins within a run
            begun = begins[:, start].view(1, -1, 1)
            h, c = (part.masked_fill(begun, 0) for part in state)
            output, (h, c) = self._run(tokens[:, start:end], h, c)
            if not makes_steps:  # 0, but with its gradient
                output, h, c = (
                    torch.where(where, part - part.detach(), part)
                    for where, part in ((begun.transpose(0, 1), output), (begun, h), (begun, c))
                )
            state = h, c
            outputs.append(output)
        return functional.linear(torch.cat(outputs, 1), self.weight_out, self.bias_out), state

    def _run(self, tokens: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, State]:
        """What the output layer reads at each token, and the state after the last one."""
        n_read = self._layout.n_read
        symbols = functional.one_hot(tokens, len(self.vocabulary) + 1).to(self.bias_out)
        outputs: list[Tensor] = []
        states: list[State] = []
        for layer in range(self.config.layers):
            inputs = [symbols] if layer < n_read else []
            inputs += outputs[-1:]
            weights = [self._input_weight(layer), self.get_parameter(f"weight_hh_l{layer}")]
            bias = self.get_parameter(f"bias_l{layer}")
            # PyTorch has two biases and adds them. The further arguments: has_biases, num_layers, dropout, train,
            # bidirectional, batch_first.
            options = True, 1, 0.0, self.training, False, True
            before = h[layer : layer + 1].contiguous(), c[layer : layer + 1].contiguous()
            output, *after = torch.lstm(
                torch.cat(inputs, 2), before, [*weights, bias, torch.zeros_like(bias)], *options
            )
            outputs.append(output)
            states.append((after[0], after[1]))
        return torch.cat(outputs[-n_read:], 2), (torch.cat([h for h, _ in states]), torch.cat([c for _, c in states]))

    def _input_weight(self, layer: int) -> Tensor:
        """weight_ih with a column for the begin-of-stream symbol after those of the symbols."""
        weight = self.get_parameter(f"weight_ih_l{layer}")
        if layer >= self._layout.n_read:
            return weight
        start, n = self.get_parameter(f"start_l{layer}"), len(self.vocabulary)
        return torch.cat([weight[:, :n], start.unsqueeze(1), weight[:, n:]], 1)

    def _has_start(self) -> bool:
        """Whether the weights from the begin-of-stream symbol were trained; see `Layout.has_start`."""
        return any(bool(self.get_parameter(f"start_l{layer}").any()) for layer in range(self._layout.n_read))

    def _zero_state(self, batch: int) -> State:
        shape = self.config.layers, batch, self.config.hidden
        return self.bias_out.new_zeros(shape), self.bias_out.new_zeros(shape)
