"""What a way of calling the network is worth: each over the plain call in float32, taken in turn in this one process.

Run: python benchmarks/the_call.py [--networks NAME,..] [--threads N] [--training] [--repeats N] [--out FILE]

A ratio is a median over rounds in which every way is called once. On one thread the time is the process's own, so that
other processes on the machine count for less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from timing import report

from diffcov import DataDescription, NoiseSchedule, TimeConvention
from diffcov.denoiser.call import PLAIN, Way
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.nets.unet import UNetConfig
from diffcov.runtime import keep_freed_memory

BATCH, T = 64, 1000
HALF = torch.bfloat16
NETWORKS = {
    "digits": UNetConfig(1, 8, 8, channels=32, multipliers=(1, 2), blocks=2, attention=(4,), dropout=0.0),
    "cifar10-16": UNetConfig(3, 16, 16, channels=48, multipliers=(1, 2, 2), blocks=1, attention=(8,), dropout=0.0),
    "small-32": UNetConfig(3, 32, 32, channels=32, multipliers=(1, 2, 2), blocks=1, attention=(8,), dropout=0.0),
}
WAYS: dict[str, tuple[Way, torch.dtype | None]] = {
    "plain fp32": (PLAIN, None),
    "channels_last": (Way("channels_last"), None),
    "channels_last, compiled": (Way("channels_last", BATCH), None),
    "plain bf16": (PLAIN, HALF),
    "channels_last, bf16": (Way("channels_last"), HALF),
    "channels_last, compiled, bf16": (Way("channels_last", BATCH), HALF),
}
"""The first is what the others are compared with."""


def mean_of(config: UNetConfig, training: bool) -> MeanModel:
    """A network with weights everywhere: those that start at 0 would cost nothing less, and show no error."""
    torch.manual_seed(0)
    network = config.build()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    data = DataDescription(config.image_channels, config.height, config.width)
    mean = MeanModel(network, Reading(NoiseSchedule.linear(T), data, TimeConvention()))
    return mean.train() if training else mean.freeze()


def called(config: UNetConfig, way: Way, dtype: torch.dtype | None, training: bool) -> Callable[[], torch.Tensor]:
    """One call, or one step of AdamW with its clip; returns the output."""
    mean = mean_of(config, training)
    mean.autocast = dtype
    mean.call_by(Way(way.layout, way.batch, training))
    draw = torch.Generator().manual_seed(1)
    x_t, eps = (torch.randn(BATCH, *mean.data.shape, generator=draw) for _ in range(2))
    t = torch.randint(1, T + 1, (BATCH,), generator=draw)

    @torch.inference_mode()
    def call() -> torch.Tensor:
        return mean.output(x_t, t)

    if not training:
        return call
    parameters = list(mean.network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        output = mean.output(x_t, t)
        (output - eps).square().mean().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return output.detach()

    return step


def measured(config: UNetConfig, training: bool, repeats: int) -> dict[str, dict[str, float]]:
    """By way: the ratio, milliseconds, the largest error relative to the largest output, and seconds of compiling."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    actions, found, first = {}, dict[str, dict[str, float]](), None
    for name, (way, dtype) in WAYS.items():
        action = called(config, way, dtype, training)
        started = time.monotonic()
        output = action()
        took = time.monotonic() - started
        first = output if first is None else first
        error = float((output - first).abs().max() / first.abs().max())
        found[name] = {"error": error, **({"seconds to compile": took} if way.compiled else {})}
        actions[name] = action
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(repeats):
        for name, action in actions.items():
            before = clock()
            action()
            times[name].append(clock() - before)
    plain = times[next(iter(WAYS))]
    for name, taken in times.items():
        ratio = statistics.median(one / other for one, other in zip(taken, plain, strict=True))
        found[name] = {"ratio": ratio, "milliseconds": 1e3 * statistics.median(taken), **found[name]}
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--training", action="store_true", help="a training step beside the forward call")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(given.threads)
    result: dict[str, object] = {"batch": BATCH}
    for name in given.networks.split(","):
        for training in (False, True) if given.training else (False,):
            sys.stderr.write(f"{name}, {'training step' if training else 'forward'}\n")
            torch._dynamo.reset()
            found = measured(NETWORKS[name], training, given.repeats)
            result[f"{name}, {'training step' if training else 'forward'}"] = found
    report(result, given.out)


if __name__ == "__main__":
    main()
