"""Train a model in PyTorch, on a GPU where there is one, and use it in a stream.

    python demos/train_torch.py FILE… -o model.safetensors --hidden 256 --epochs 4
    streamlstm predict text.txt --model model.safetensors

The documents are cut into pieces as `streamlstm train` does, see `streamlstm/training/excerpts.py`: each follows the
begin-of-stream symbol, and every order of magnitude of lengths gets the same share of the text. A row of the batch
reads its piece window by window and carries the state along (truncated BPTT); then it takes the next piece, at the
start of a window, so that cuDNN can read a window of all rows in one call.

Without files the demo trains on a page of made-up text, and without -o it writes nothing. Needs streamlstm[torch].
"""

import argparse
import math
import random
import time
from collections.abc import Iterator
from itertools import chain

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from streamlstm import Config, StreamPredictor, Vocabulary, generate
from streamlstm.integrations.torch import CharLSTM
from streamlstm.training.excerpts import Cutting, Pieces
from streamlstm.training.trainer import read_documents

CLIP, BETAS = 1.0, (0.9, 0.99)


def made_up(n_lines: int) -> str:
    """Sentences of a small grammar."""
    chance = random.Random(1)
    who, does, what = ("The keeper", "A gull", "Maria"), ("watches", "hears", "follows"), ("the sea", "a ship", "rain")
    return "".join(f"{chance.choice(who)} {chance.choice(does)} {chance.choice(what)}.\n" for _ in range(n_lines))


def windows(
    pieces: Pieces, epochs: int, begin: int, shape: tuple[int, int]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Inputs and targets [B, T] until so many epochs are read that fewer than half of the rows have a piece.

    A piece begins in column 0. Targets that are the begin-of-stream symbol do not count: they fill up the last window
    of a piece.
    """
    batch, window = shape
    rows = chain.from_iterable(map(pieces.epoch, range(epochs)))
    rests = [np.zeros(0, dtype=np.int32)] * batch
    while True:
        for row in range(batch):
            if len(rests[row]) < 2 and (piece := next(rows, None)) is not None:
                rests[row] = pieces.tokens(piece)
        if sum(len(rest) >= 2 for rest in rests) < (batch + 1) // 2:
            return
        inputs, targets = np.zeros(shape, dtype=np.int64), np.full(shape, begin, dtype=np.int64)
        for row, rest in enumerate(rests):
            n = min(window, len(rest) - 1)
            if n > 0:
                inputs[row, :n], targets[row, :n] = rest[:n], rest[1 : n + 1]
                rests[row] = rest[n:]
        yield torch.from_numpy(inputs), torch.from_numpy(targets)


def learning_rate(step: int, n_steps: int, warmup: int) -> float:
    """A linear rise, then half a cosine down to 0; a share of the highest rate."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - warmup) / max(1, n_steps - warmup)))


def train(model: CharLSTM, pieces: Pieces, options: argparse.Namespace) -> None:
    """Train for `options.epochs` epochs, and print the surprisal on the way."""
    device, begin = options.device, len(model.vocabulary)
    lengths = np.diff(pieces.epoch(0)[:, 1:3])
    n_steps = max(1, int(options.epochs * np.ceil(lengths / options.window).sum() / options.batch))
    optimizer = torch.optim.Adam(model.to(device).parameters(), lr=options.lr, betas=BETAS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, n_steps, options.warmup))
    started, n_read, recent = time.perf_counter(), 0, list[torch.Tensor]()
    state = model.initial_state(options.batch)
    blocks = windows(pieces, options.epochs, begin, (options.batch, options.window))
    for step, (inputs, targets) in enumerate(blocks, 1):
        logits, state = model(inputs.to(device), tuple(part.detach() for part in state))
        loss = cross_entropy(logits.flatten(0, 1), targets.to(device).flatten(), ignore_index=begin)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        recent.append(loss.detach())
        n_read += int((targets != begin).sum())
        if step % options.report == 0:
            bits = float(torch.stack(recent).mean()) / math.log(2)
            rate = n_read / (time.perf_counter() - started)
            print(f"{step:7,} updates  {n_read:12,} symbols  {bits:.4f} bits per symbol  {rate:,.0f} symbols/s")
            recent.clear()


def report(model: CharLSTM, predictor: StreamPredictor, text: np.ndarray) -> None:
    """Print how far the two agree on a text, and what the model writes."""
    with torch.no_grad():
        logits, _ = model(torch.from_numpy(text[None].astype(np.int64)))
        expected = torch.softmax(logits[0, -1], 0).numpy()
    network = StreamPredictor.from_weights(
        predictor.weights(), predictor.vocabulary, Config(**{**vars(predictor.config), "memory": False})
    )
    network.learning = False
    bits = network.observe_many(text.astype(np.int32))
    print(f"as a StreamPredictor: {bits.mean():.4f} bits per symbol on the first {len(bits):,} symbols")
    print(f"largest difference of a probability to PyTorch's: {np.abs(network.predict() - expected).max():.1e}")
    sample = generate(predictor, 120, seed=1, temperature=0.7)
    print(repr(b"".join(s if isinstance(s, bytes) else s.encode() for s in sample).decode("utf-8", "replace")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("-o", "--out", metavar="MODEL", help="the model file to write")
    parser.add_argument("--vocab", default="bytes", choices=("bytes", "text"))
    parser.add_argument("--connections", default="skip", choices=("skip", "stacked"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--longest", type=int, default=16384, help="the longest piece, in symbols")
    for name, value in (("hidden", 128), ("layers", 3), ("epochs", 2), ("batch", 64), ("window", 128)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, value in (("warmup", 100), ("report", 100)):
        parser.add_argument(f"--{name}", type=int, default=value, help="in updates")
    parser.add_argument("--lr", type=float, default=0.004)
    options = parser.parse_args()
    if options.files:
        documents, vocabulary = read_documents(options.files, options.vocab)
    else:
        documents, vocabulary = [Vocabulary.bytes().encode(made_up(400))], Vocabulary.bytes()
        options.hidden, options.layers, options.batch, options.window, options.longest = 32, 1, 8, 48, 512
        options.epochs, options.warmup, options.report, options.lr = 8, 10, 40, 0.02
        torch.set_num_threads(1)  # threads only wait for each other in so small a network
    pieces = Pieces(documents, vocabulary, Cutting(64, options.longest, 0.0, options.seed))
    model = CharLSTM(vocabulary, Config(options.hidden, options.layers, 32, options.connections), options.seed)
    train(model, pieces, options)
    predictor = model.cpu().to_predictor(about={"trained": f"in PyTorch for {options.epochs} epochs"})
    report(model, predictor, documents[0][:1000])
    if options.out:
        predictor.save(options.out)
        print(f"saved as {options.out}")


if __name__ == "__main__":
    main()
