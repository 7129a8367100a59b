"""Distributions, loss and gradients of PyTorch's nn.LSTM for networks with random weights, in float64.

This script writes them to `tests/torch_answers.safetensors`, so that the tests need no PyTorch.
    python tests/torch_answers.py
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

FILE = Path(__file__).with_suffix(".safetensors")
SHAPES = [(5, 1, 7, 6), (9, 2, 12, 11), (6, 3, 8, 20)]  # hidden, layers, symbols, window


def answers(hidden: int, layers: int, n_symbols: int, window: int) -> dict[str, np.ndarray]:
    """Tokens and weights, and PyTorch's results for them; the loss is the mean over the window."""
    import torch  # here, so that the module can be imported without PyTorch

    torch.manual_seed(hidden)
    lstm = torch.nn.LSTM(n_symbols, hidden, layers, dtype=torch.float64)
    output = torch.nn.Linear(hidden, n_symbols, dtype=torch.float64)
    for parameter in [*lstm.parameters(), *output.parameters()]:
        torch.nn.init.normal_(parameter, 0, 0.5)
    for layer in range(layers):
        torch.nn.init.zeros_(getattr(lstm, f"bias_hh_l{layer}"))  # PyTorch adds two biases; one is enough
    tokens = torch.randint(n_symbols, (window + 1,))
    hiddens, _ = lstm(torch.nn.functional.one_hot(tokens[:-1], n_symbols).double())
    logits = output(hiddens)
    loss = torch.nn.functional.cross_entropy(logits, tokens[1:])
    loss.backward()
    named = {name: parameter for name, parameter in lstm.named_parameters() if not name.startswith("bias_hh")}
    named = {name.replace("bias_ih", "bias"): parameter for name, parameter in named.items()}
    named |= {"weight_out": output.weight, "bias_out": output.bias}
    arrays = {f"weight/{name}": parameter.detach() for name, parameter in named.items()}
    arrays |= {f"gradient/{name}": parameter.grad for name, parameter in named.items()}
    arrays |= {"tokens": tokens, "distributions": torch.softmax(logits, 1).detach(), "loss": loss.detach()}
    return {name: np.ascontiguousarray(array.numpy()) for name, array in arrays.items()}


if __name__ == "__main__":
    everything = {}
    for shape in SHAPES:
        prefix = "-".join(map(str, shape))
        everything |= {f"{prefix}/{name}": array for name, array in answers(*shape).items()}
    save_file(everything, FILE)
