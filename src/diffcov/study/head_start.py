"""What heads begin with: the kinds that can, where each starts, and what it will belong to for good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from diffcov.covariance.ingredients import Ingredients
from diffcov.engines.training.head_fit import HeadPlan
from diffcov.errors import InputError
from diffcov.noise import key
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.run import RunFolder
from diffcov.study.known import known_ingredients
from diffcov.study.listener import Listener
from diffcov.study.training_run import TrainingRun

__all__ = ["check_over", "digests_under", "fresh_heads", "start_of", "startable"]


def startable(run: RunFolder, settings: Mapping[str, Any], say: Listener) -> list[str]:
    """The kinds that are fitted unasked and can start from what the run holds; all of them where it holds nothing."""
    lacking, held = dict[str, str](), False
    for kind in settings["kind"]:
        wanted = HeadPlan.of(kind, settings["loss"], settings["head"]).wanted
        missing = [one for one in wanted if not run.ingredient(one, kind).is_file()]
        held |= len(missing) < len(wanted)
        if missing:
            lacking[kind] = missing[0].command_for(kind)
    if not held:
        return list(settings["kind"])
    for kind, command in lacking.items():
        say.note(f"without {kind}: run {command} first")
    return [kind for kind in settings["kind"] if kind not in lacking]


def start_of(run: RunFolder, plan: HeadPlan, mean: MeanCheckpoint, guidance: float, say: Listener) -> Ingredients:
    """What a head starts from and is measured against; warns of a start that was measured at another guidance.

    Raises:
        InputError: something is missing (the command that makes it is named), damaged or made for another mean.
    """
    ingredients, measured_at = known_ingredients(run, plan.kind, plan.wanted, mean)
    plan.require(ingredients)
    if measured_at - {guidance}:
        say.warn(
            f"the {plan.kind} head is fitted at guidance {guidance:g} and starts from what was measured at another; "
            f"measure it with: diffcov estimate-var --guidance {guidance:g} --force"
        )
    return ingredients


def digests_under(start: Ingredients, plan: HeadPlan) -> dict[str, str]:
    """Digests of the files that a head will belong to for good, by name."""
    kinds = [kind for kind in plan.covariance.needs if kind in start]
    return {kind.file_for(plan.kind): start[kind].digest for kind in kinds}


def check_over(
    task: TrainingRun, begun: Mapping[str, Mapping[str, str]], over: Mapping[str, Mapping[str, str]]
) -> None:
    """Refuse (InputError) to go on over another table or spectrum than a fit was begun over."""
    for kind, files in begun.items():
        for file, made_with in files.items():
            if over[kind][file] != made_with:
                raise InputError(
                    f"the unfinished {kind} head in {task.state} was begun over another {file} ({made_with[:12]}, this "
                    f"one is {over[kind][file][:12]}); start over with: diffcov fit-var-head --force"
                )


def fresh_heads(
    plans: Sequence[HeadPlan], mean: MeanCheckpoint, starts: Mapping[str, Ingredients], seed: int
) -> dict[str, nn.Module]:
    """Heads that say their starts, each initialised by a seed of its own, on the mean's device."""
    heads: dict[str, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        for plan in plans:
            torch.manual_seed(key(seed, "initial head weights", plan.kind))
            heads[plan.kind] = plan.spec(mean.model).build(plan.start(starts[plan.kind])).to(mean.model.device)
    return heads
