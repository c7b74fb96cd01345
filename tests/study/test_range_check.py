"""What a run keeps of the comparison of a learned range, and what is said where there can be none."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import torch

from diffcov.denoiser.mean_model import MeanModel
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.range_check import RangeCheck
from diffcov.store.range_check import load_range_check
from diffcov.store.run import RunFolder
from diffcov.study.range_check import IMAGES, keep_range_check
from oracles.listening import Recorder
from oracles.tiny import tiny_examples, tiny_model


def test_the_first_64_images_are_compared(tmp_path: Path) -> None:
    run, model, heard = RunFolder(tmp_path), tiny_model(3), Recorder()
    keep_range_check(run, model, tiny_examples(IMAGES + 3), {"source": "here"}, heard)
    kept = load_range_check(run.range_check)
    assert (len(kept.found.learned), len(kept.found.corrected), kept.trunk) == (IMAGES, IMAGES, model.digest)
    assert heard.said(f"on {IMAGES} images at 3 steps")


def test_a_mean_that_learned_none_is_not_compared(tmp_path: Path) -> None:
    model = tiny_model(3)
    without = MeanModel(model.network, replace(model.reading, learned_range=False)).freeze()
    keep_range_check(RunFolder(tmp_path), without, tiny_examples(2), {}, Recorder())
    assert not RunFolder(tmp_path).range_check.exists()


def test_a_chain_of_one_step_is_left_alone_with_a_warning(tmp_path: Path) -> None:
    """It has no step whose variance could be told, and an import does not fail over that."""
    run, model, heard = RunFolder(tmp_path), tiny_model(2), Recorder()
    short = MeanModel(model.network, replace(model.reading, schedule=NoiseSchedule.cosine(1))).freeze()
    keep_range_check(run, short, tiny_examples(2), {}, heard)
    assert not run.range_check.exists()
    assert heard.warnings[0].startswith("learned-range was not compared with corrected, so auto leaves it alone: ")


def test_of_one_image_nothing_follows_and_what_is_told_is_json() -> None:
    one = RangeCheck((1, 2), 64, torch.tensor([1.0]).double(), torch.tensor([5.0]).double())
    assert math.isnan(one.difference.stderr)
    assert one.as_dict()["difference_stderr"] is None
    assert json.loads(json.dumps(one.as_dict(), allow_nan=False))["auto"] == "leaves learned-range alone"
