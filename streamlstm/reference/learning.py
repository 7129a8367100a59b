"""How a network learns from a window: whether, at which rate, and from what the optimizer remembers."""

from typing import Any

import numpy as np

from .arithmetic import in_order, log2
from .model import Model, theta_of
from .network import Reference

f32 = np.float32
DECAY, RATIO_WITHOUT_MEMORY, PULL_PERIOD = 0.995, 0.8, 4


class Learning:
    """The optimizer of a network."""

    def __init__(self, model: Model, network: Reference) -> None:
        self.options: dict[str, Any] = model.values["optimizer"]
        self.has_memory, self.window = model.values["config"]["memory"], model.values["config"]["window"]
        self.network, self.rule, self.n_steps = network, self.options["name"], self.options["n_steps"]
        self.powers, self.sums = self.options["powers"], self.options["surprisals"]
        betas = {"sgd": ("momentum", ""), "rmsprop": ("", "beta2"), "adam": ("beta1", "beta2")}[self.rule]
        self.betas = [self.options.get(name, 0.0) for name in betas]
        self.slots = [network.parts_of(np.zeros_like(theta_of(model))) for _ in range(2)]  # m and v
        for index, slot in enumerate({"sgd": [0], "rmsprop": [1], "adam": [1, 0]}[self.rule]):
            if f"optimizer.{index}.bias_out" in model.arrays:
                self.slots[slot] = network.parts_of(theta_of(model, f"optimizer.{index}."))
        if "first.bias_out" in model.arrays:
            network.first = network.parts_of(theta_of(model, "first."))

    def finish(self, tokens: list[int], bits: list[f32], next_token: int) -> None:
        """Learn from a window whose symbols had these surprisals; the next symbol is the target of its last step."""
        if self.has_memory and in_order(bits) < f32(self.options["skip_below"]) * f32(len(bits)):
            self.network.tape = []
            return
        window = self.window_bits(tokens, bits)
        lr = self.rate() * self.factor(window)
        grad = self.network.gradient([*tokens[1:], next_token])
        self.powers = [power * beta for power, beta in zip(self.powers, self.betas, strict=True)]
        self.network.descend(self.rule, grad, self.slots, self.hyper(lr))
        self.n_steps += 1
        if window[0] > 0:
            self.sums = [DECAY * total + more for total, more in zip(self.sums, window, strict=True)]

    def rate(self) -> float:
        """The learning rate that falls with the number of symbols."""
        lr, floor = self.options["lr"], self.options["floor"]
        return float(lr * (floor + (1 - floor) / (1 + self.n_steps * self.window / self.options["half_life"])))

    def window_bits(self, tokens: list[int], bits: list[f32]) -> list[float]:
        """The surprisals of a window without its first symbol: by the network alone, and by the mixture; or zeros."""
        if not (self.options["repetition"] and self.has_memory):
            return [0.0, 0.0]
        held = [record[-1] for record in self.network.tape]
        by_network = [f32(0), *(-log2(p[[token]])[0] for p, token in zip(held, tokens[1:], strict=False))]
        return [float(in_order(terms)) for terms in (by_network, [f32(0), *bits[1:]])]

    def factor(self, window: list[float]) -> float:
        """What the learning rate is multiplied by: less than 1 where the memory saves little."""
        repetition: float = self.options["repetition"]
        ratio = RATIO_WITHOUT_MEMORY
        if not repetition:
            return 1.0
        if self.has_memory:
            ratio = (DECAY * self.sums[1] + window[1]) / (DECAY * self.sums[0] + window[0])
        return min(1.0, 0.05 + repetition * max(0.0, 1 - ratio))

    def hyper(self, lr: float) -> dict[str, float]:
        """The numbers that an update needs, in float64; `Reference.descend` rounds them to float32."""
        options = self.options
        return {
            "lr": lr,
            "lr_candidate": lr * options["candidate"],
            "lr_output": lr * options["output"],
            "l2": options["l2"],
            "beta1": self.betas[0],
            "beta2": self.betas[1],
            "epsilon": options.get("epsilon", 0.0),
            "correct1": 1 / (1 - self.powers[0]),
            "correct2": 1 / (1 - self.powers[1]),
            "pull": PULL_PERIOD * options["pull_back"] if self.n_steps % PULL_PERIOD == PULL_PERIOD - 1 else 0.0,
            "scale": 1 / self.window,
            "clip": options["clip"],
        }
