"""The published U-Net (improved-diffusion, ADM) as plain functions of a state dict: no module, no configuration.

The structure is read off the parameters' names; only heads, the base width and where residual blocks halve the size
have to be given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from itertools import count

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]


def sinusoids(times: np.ndarray, width: int) -> np.ndarray:
    """cos and sin of t / 10000^(2i/width), i = 0..width/2-1."""
    rates = 10000.0 ** (-2.0 * np.arange(width // 2) / width)
    angles = times[:, None] * rates
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def conv(w: Weights, name: str, x: Tensor, stride: int = 1) -> Tensor:
    kernel = w[f"{name}.weight"]
    return F.conv2d(x, kernel, w[f"{name}.bias"], stride=stride, padding=kernel.shape[-1] // 2)


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.group_norm(x, 32, w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-5)


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def halved(x: Tensor) -> Tensor:
    """Means of 2x2 pixels."""
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def residual(
    w: Weights, name: str, x: Tensor, embedding: Tensor, resized: Callable[[Tensor], Tensor] = lambda x: x
) -> Tensor:
    h = conv(w, f"{name}.in_layers.2", resized(silu(norm(w, f"{name}.in_layers.0", x))))
    x = resized(x)
    film = linear(w, f"{name}.emb_layers.1", silu(embedding))[:, :, None, None]
    scale, shift = film[:, : h.shape[1]], film[:, h.shape[1] :]
    h = norm(w, f"{name}.out_layers.0", h) * (1 + scale) + shift
    h = conv(w, f"{name}.out_layers.3", silu(h))
    return h + (conv(w, f"{name}.skip_connection", x) if f"{name}.skip_connection.weight" in w else x)


def attention(w: Weights, name: str, x: Tensor, heads: int, apart: bool) -> Tensor:
    """Rows of the projection: (head 0: q, k, v), (head 1: q, k, v), ...; apart: (q: all heads), (k: ...), (v: ...)."""
    batch, channels, height, width = x.shape
    normed = norm(w, f"{name}.norm", x).flatten(2)
    qkv = w[f"{name}.qkv.weight"][:, :, 0] @ normed + w[f"{name}.qkv.bias"][:, None]
    size = channels // heads
    mixed = []
    for head in range(heads):
        places = [part * heads + head if apart else 3 * head + part for part in range(3)]
        q, k, v = (qkv[:, place * size : (place + 1) * size] for place in places)
        attend = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(size), dim=-1)  # (B, queries, keys)
        mixed.append(v @ attend.transpose(1, 2))
    out = w[f"{name}.proj_out.weight"][:, :, 0] @ torch.cat(mixed, dim=1) + w[f"{name}.proj_out.bias"][:, None]
    return x + out.reshape(batch, channels, height, width)


def stage(
    w: Weights, name: str, x: Tensor, embedding: Tensor, heads: Callable[[int], int], apart: bool, down: bool = False
) -> Tensor:
    for i in count():
        part = f"{name}.{i}"
        if f"{part}.weight" in w:
            x = conv(w, part, x)
        elif f"{part}.op.weight" in w:
            x = conv(w, f"{part}.op", x, stride=2)
        elif f"{part}.conv.weight" in w:
            x = conv(w, f"{part}.conv", doubled(x))
        elif f"{part}.qkv.weight" in w:
            x = attention(w, part, x, heads(x.shape[1]), apart)
        elif f"{part}.in_layers.0.weight" in w:
            up = i > 0 and name.startswith("output_blocks")
            x = residual(w, part, x, embedding, halved if down else doubled if up else lambda x: x)
        else:
            return x
    raise AssertionError("unreachable")


def unet(
    w: Weights,
    x: Tensor,
    times: Tensor,
    width: int,
    heads: int,
    head_width: int = 0,
    apart: bool = False,
    downs: Collection[int] = (),
) -> tuple[Tensor, Tensor]:
    """(the output, the activations before the output norm); ``downs`` are the input blocks that halve the size."""

    def many(channels: int) -> int:
        return channels // head_width if head_width else heads

    embedding = torch.from_numpy(sinusoids(times.double().numpy(), width)).to(x.dtype)
    embedding = linear(w, "time_embed.2", silu(linear(w, "time_embed.0", embedding)))
    kept: list[Tensor] = []
    depth = len({name.split(".")[1] for name in w if name.startswith("input_blocks.")})
    for i in range(depth):
        x = stage(w, f"input_blocks.{i}", x, embedding, many, apart, down=i in downs)
        kept.append(x)
    x = stage(w, "middle_block", x, embedding, many, apart)
    for i in range(depth):
        x = stage(w, f"output_blocks.{i}", torch.cat([x, kept.pop()], dim=1), embedding, many, apart)
    return conv(w, "out.2", silu(norm(w, "out.0", x))), x
