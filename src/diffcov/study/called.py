"""How a training calls its network: chosen when it begins, kept among its settings, and the same when it goes on."""

from __future__ import annotations

from typing import Any

from diffcov.denoiser.call import Way
from diffcov.denoiser.mean_model import PRECISIONS, MeanModel
from diffcov.engines.training.config import Budget
from diffcov.processes.base import current
from diffcov.study.listener import Listener
from diffcov.study.quickest import Work, choose_way, measured_precision
from diffcov.study.requests.words import AUTO

__all__ = ["call_as_begun", "call_quickly", "without_auto"]


def without_auto(wanted: dict[str, Any]) -> dict[str, Any]:
    """What was asked for and is not left to a measurement: a training that goes on does as it began."""
    return {name: value for name, value in wanted.items() if name not in ("compile", "precision") or value != AUTO}


def call_quickly(
    model: MeanModel,
    settings: dict[str, Any],
    wanted: dict[str, Any],
    budget: Budget,
    say: Listener,
    training: bool,
    accumulate: int = 1,
) -> None:
    """Choose for a training that begins, and write into its settings what was chosen.

    Args:
        model: called in training mode, or frozen, as it will be.
        settings: of the training; ``precision``, ``compile`` and ``layout`` are written.
        wanted: what was asked for by name, "auto" included.
        budget: of the training.
        say: told what was chosen.
        training: whether the network itself is trained.
        accumulate: calls that a batch is made in.

    Raises:
        UsageError: the network is to be compiled and cannot be.
    """
    batch = _images_a_call(settings, accumulate)
    if wanted.get("precision") == AUTO:
        settings["precision"] = measured_precision(model, batch, say)
        model.autocast = PRECISIONS[settings["precision"]]
    seconds = None if budget.minutes is None else 60 * budget.minutes
    way = choose_way(
        model,
        Work(batch, None if budget.iterations is None else budget.iterations * accumulate, seconds, training),
        wanted.get("compile", AUTO),
        say,
    )
    settings |= {"compile": "on" if way.compiled else "off", "layout": way.layout}


def call_as_begun(
    model: MeanModel, settings: dict[str, Any], say: Listener, training: bool, accumulate: int = 1
) -> None:
    """Call the network as the settings of a training say that it was called.

    Raises:
        UsageError: it was compiled and cannot be here.
    """
    if settings["compile"] == "on":
        way = choose_way(model, Work(_images_a_call(settings, accumulate), training=training), "on", say)
        settings["layout"] = way.layout  # of one that was not compiled when it began, another
    else:
        model.call_by(Way(settings["layout"]))


def _images_a_call(settings: dict[str, Any], accumulate: int) -> int:
    """The most images that one process gives its network at once."""
    batch: int = settings["batch_size"]
    return -(-batch // (current().size * accumulate))
