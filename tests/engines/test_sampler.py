"""The identity of a sampler: whatever changes an image changes it, nothing else does, and it is known before a fit."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffcov.covariance import registry
from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import FittedHead, Ingredients
from diffcov.denoiser.base import Denoiser, View
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.through import through
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.grid import explicit
from diffcov.diffusion.grids import even, make_grid
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.classes import Classes
from diffcov.engines.recipe import LITERATURE, Recipe
from diffcov.engines.sampler import Sampler, ScaleFit
from diffcov.engines.sampling import sample
from diffcov.errors import InputError, UsageError
from diffcov.nets.unet import UNet, UNetConfig
from diffcov.noise import ImageNoise
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.solver.registry import make_solver
from diffcov.statistics.image_gaussian import ImageGaussian
from diffcov.statistics.knots import Knots
from diffcov.statistics.table import VarianceTable
from oracles.tiny import DATA, tiny_covariance, tiny_ingredients, tiny_model

T = 20
READING = Reading(NoiseSchedule.cosine(T), DATA, TimeConvention.spanning_thousand(T), classes=3)
CLIPPED = View(clip_x0=True)
FIT = ScaleFit(version=1, samples=64, data="d1")
SPOKEN = {"mean", "precision", "clip_x0", "eps_scale", "guidance", "solver", "covariance", "grid", "last_noise_levels"}
SPOKEN |= {"classes", "seed", "noise"}


def network() -> UNet:
    """A small U-Net of three classes with weights everywhere, the same each time."""
    torch.manual_seed(0)
    config = UNetConfig(1, 8, 8, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0.0, classes=3)
    found = UNet(config)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.normal_(0, 0.3)
    return found


def mean(*, autocast: torch.dtype | None = None, **reading: Any) -> MeanModel:
    """Of :func:`network`, read as told."""
    return MeanModel(network(), replace(READING, **reading), autocast=autocast).freeze()


def other_weights() -> MeanModel:
    """One weight of all is off by little."""
    found = network()
    with torch.no_grad():
        found.out[-1].bias.add_(1e-3)
    return MeanModel(found, READING).freeze()


def covariance(name: str = "corrected", model: MeanModel | None = None) -> Covariance:
    return tiny_covariance(name, model or mean())


def quieter() -> Covariance:
    """``corrected`` of a table that holds other numbers."""
    model = mean()
    table = tiny_ingredients("corrected", model)[VarianceTable]
    assert table.error_sq is not None
    return registry.load("corrected")(
        Ingredients.of(model.schedule, DATA, replace(table, error_sq=0.5 * table.error_sq))
    )


def other_head() -> Covariance:
    """``npr`` of a head with one weight that is off by little."""
    found = covariance("npr")
    head = copy.deepcopy(found.head)
    with torch.no_grad():
        next(head.parameters()).add_(1e-3)
    return registry.load("npr")(Ingredients.of(READING.schedule, DATA, FittedHead(head)))


def sampler(model: MeanModel | None = None, view: View = CLIPPED, **changes: Any) -> Sampler:
    """The one that all others are compared with, or as it is changed."""
    found = model or mean()
    parts = {
        "covariance": covariance(model=found),
        "solver": DDPM(),
        "grid": even(T, 4),
        "cap_levels": 2.0,
        "classes": Classes.all(3),
    }
    return Sampler(through(found, view), **{**parts, **changes})


CHANGES: dict[str, Callable[[], Sampler]] = {
    "a weight": lambda: sampler(other_weights()),
    "the schedule": lambda: sampler(mean(schedule=NoiseSchedule.vp(T))),
    "the times that the network counts": lambda: sampler(mean(time=TimeConvention(1.0, 1.0))),
    "what it predicts": lambda: sampler(mean(predicts="v")),
    "the range of the data": lambda: sampler(mean(data=replace(DATA, low=-2.0))),
    "the grey levels": lambda: sampler(mean(data=replace(DATA, levels=256))),
    "half precision inside": lambda: sampler(mean(autocast=torch.bfloat16)),
    "double precision inside": lambda: sampler(mean().double().freeze()),
    "no clip": lambda: sampler(view=View()),
    "a scale": lambda: sampler(view=replace(CLIPPED, eps_scale=1.01)),
    "guidance": lambda: sampler(view=replace(CLIPPED, guidance=2.0)),
    "more guidance": lambda: sampler(view=replace(CLIPPED, guidance=3.0)),
    "the solver": lambda: sampler(solver=DDIM()),
    "eta": lambda: sampler(solver=DDIM(0.5)),
    "the solver of the same eta": lambda: sampler(solver=DDIM(1.0)),
    "the covariance": lambda: sampler(covariance=covariance("spectral")),
    "what it was measured to be": lambda: sampler(covariance=quieter()),
    "a head": lambda: sampler(covariance=covariance("npr")),
    "a weight of the head": lambda: sampler(covariance=other_head()),
    "more steps": lambda: sampler(grid=even(T, 5)),
    "one time of the grid": lambda: sampler(grid=explicit(T, (1, 8, 14, 20))),
    "the cap": lambda: sampler(cap_levels=1.0),
    "no cap": lambda: sampler(cap_levels=None),
    "no classes": lambda: sampler(classes=None),
    "one class alone": lambda: sampler(classes=Classes.chosen([1], 3)),
    "classes in another order": lambda: sampler(classes=Classes.chosen([2, 1, 0], 3)),
    "classes like those of some images": lambda: sampler(classes=Classes.like(torch.tensor([2, 2, 0, 2]))),
    "the seed": lambda: sampler(seed=1),
    "the generator of the noise": lambda: sampler(noise=1),
}


def images(chosen: Sampler) -> Tensor:
    """The first four."""
    which = range(4)
    return sample(chosen, ImageNoise(chosen.seed, which, DATA.shape, version=chosen.noise), chosen.labels_of(which))


# --- what is part of it


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_an_image_changes_the_identity(change: str) -> None:
    plain, changed = sampler(), CHANGES[change]()
    assert not torch.equal(images(plain), images(changed)), "it does change an image"
    assert plain.as_dict() != changed.as_dict()
    assert plain.digest != changed.digest


def test_all_that_differ_have_digests_of_their_own() -> None:
    digests = {"plain": sampler().digest, **{name: make().digest for name, make in CHANGES.items()}}
    assert [(a, b) for a, b in combinations(digests, 2) if digests[a] == digests[b]] == []


@pytest.mark.parametrize("change", ["plain", *CHANGES])
def test_equal_ones_are_equal(change: str) -> None:
    """Made anew from the same parts, they have one identity and draw the same images, bit for bit."""
    make = CHANGES.get(change, sampler)
    one, other = make(), make()
    assert one is not other
    assert one.as_dict() == other.as_dict()
    assert one.digest == other.digest
    assert one.label == other.label
    assert torch.equal(images(one), images(other))


def test_numbers_that_are_equal_are_equal_however_they_are_written() -> None:
    """2 and 2.0 are one number to whoever draws, and so to whoever looks a sampler up."""
    whole = sampler(
        mean(data=replace(DATA, low=-1, high=1), time=TimeConvention(1, 50)),
        replace(CLIPPED, guidance=2, eps_scale=2),
        solver=DDIM(0),
        cap_levels=2,
    )
    floats = sampler(
        mean(data=replace(DATA, low=-1.0, high=1.0), time=TimeConvention(1.0, 50.0)),
        replace(CLIPPED, guidance=2.0, eps_scale=2.0),
        solver=DDIM(0.0),
        cap_levels=2.0,
    )
    assert whole.as_dict() == floats.as_dict()
    assert whole.digest == floats.digest


@pytest.mark.parametrize("change", ["plain", *CHANGES])
def test_it_is_plain_values(change: str) -> None:
    values = CHANGES.get(change, sampler)().as_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values.keys() == SPOKEN - ({"noise"} if change == "the generator of the noise" else set())


def test_before_there_was_another_generator_nothing_was_said_of_it() -> None:
    """So an old manifest, and whatever was kept under its digest, is that of version 1."""
    old = sampler(noise=1)
    assert old.as_dict() == {name: value for name, value in sampler().as_dict().items() if name != "noise"}
    assert old.way == sampler().way + "-noise1"


def test_a_generator_that_is_not_known_is_refused() -> None:
    with pytest.raises(UsageError, match="--noise must be 1, 2 or 3, found 7"):
        sampler(noise=7)


def test_what_it_says() -> None:
    chosen = sampler(view=View(True, 1.25, 2.0), solver=DDIM(0.5), classes=Classes.chosen([2, 0], 3), seed=7)
    table = tiny_ingredients("corrected", mean())[VarianceTable]
    assert chosen.as_dict() == {
        "mean": mean().digest,
        "precision": "fp32",
        "clip_x0": True,
        "eps_scale": 1.25,
        "guidance": 2.0,
        "solver": {"name": "ddim", "eta": 0.5},
        "covariance": {"name": "corrected", "made_of": {"variance.safetensors": table.digest}},
        "grid": {"name": "even", "times": [1, 7, 14, 20]},
        "last_noise_levels": 2.0,
        "classes": {"name": "2-0", "classes": [2, 0]},
        "seed": 7,
        "noise": 3,
    }


class TwoLayers(nn.Module):
    """Convolutions of equally many channels: a head fits behind either."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        found: Tensor = self.last(self.second(self.first(x)))
        return found


def test_where_the_features_are_taken_that_a_head_reads_is_part_of_it() -> None:
    """The same network, the same head, other features: other images."""
    schedule = NoiseSchedule.cosine(T)
    layer = nn.Conv2d(4, 1, 1).requires_grad_(False)
    reads = FittedHead(lambda features, t: layer(features.activations).square())
    found = []
    for name in ("first", "second"):
        model = MeanModel.of(TwoLayers(), predicts="v", schedule=schedule, data=DATA, features=name)
        npr = registry.load("npr")(Ingredients.of(schedule, DATA, reads))
        found.append(Sampler.of(through(model, CLIPPED), npr, steps=5))
    assert not torch.equal(*(images(chosen) for chosen in found))
    assert found[0].digest != found[1].digest


def test_a_mean_in_training_is_asked_anew_each_time() -> None:
    """Its weights are about to change."""
    model = MeanModel(network(), READING).train()
    chosen = sampler(model)
    before = chosen.digest
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    assert chosen.digest != before


# --- its name


@pytest.mark.parametrize(
    ("changes", "view", "label"),
    [
        ({}, CLIPPED, "corrected-ddpm-even4-last2-seed0"),
        ({"cap_levels": 1.0}, CLIPPED, "corrected-ddpm-even4-seed0"),
        ({"cap_levels": 0.5}, CLIPPED, "corrected-ddpm-even4-last0.5-seed0"),
        ({"cap_levels": None}, CLIPPED, "corrected-ddpm-even4-lastoff-seed0"),
        ({"cap_levels": 1.0, "solver": DDIM()}, CLIPPED, "corrected-ddim-even4-seed0"),
        ({"cap_levels": 1.0, "solver": DDIM(0.5)}, CLIPPED, "corrected-ddim-eta0.5-even4-seed0"),
        ({"cap_levels": 1.0, "grid": explicit(T, (3, 20))}, CLIPPED, "corrected-ddpm-explicit2-0d655b-seed0"),
        ({"cap_levels": 1.0}, View(), "corrected-ddpm-even4-noclip-seed0"),
        ({"cap_levels": 1.0}, replace(CLIPPED, eps_scale=1.05), "corrected-ddpm-even4-eps1.05-seed0"),
        ({"cap_levels": 1.0}, replace(CLIPPED, guidance=2.5), "corrected-ddpm-even4-guided2.5-seed0"),
        ({"cap_levels": 1.0, "seed": 3}, CLIPPED, "corrected-ddpm-even4-seed3"),
        ({"cap_levels": 1.0, "classes": None}, CLIPPED, "corrected-ddpm-even4-seed0"),
        ({"cap_levels": 1.0, "classes": Classes.chosen([2, 0], 3)}, CLIPPED, "corrected-ddpm-even4-class2-0-seed0"),
        ({"cap_levels": 1.0, "classes": Classes.like(torch.tensor([1, 0]))}, CLIPPED, "corrected-ddpm-even4-seed0"),
        ({"cap_levels": 1.0, "scale_fit": FIT}, CLIPPED, "corrected-ddpm-even4-epsfitted-seed0"),
        (
            {"cap_levels": None, "solver": DDIM(1.0), "classes": Classes.chosen([1], 3), "seed": 9},
            View(False, 1.1, 3.0),
            "corrected-ddim-eta1-even4-lastoff-noclip-eps1.1-guided3-class1-seed9",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_its_label_says_what_is_not_as_by_default(changes: dict[str, Any], view: View, label: str) -> None:
    assert sampler(view=view, **changes).label == label


def test_the_published_cap_is_that_of_the_schedule_and_the_solver() -> None:
    """2 grey levels for the Markov chain on a linear schedule, else 1: what is so is not said."""
    model = tiny_model(50)
    linear = MeanModel(model.network, replace(model.reading, schedule=NoiseSchedule.linear(50))).freeze()
    for mean_of, solver, cap in ((linear, DDPM(), 2.0), (linear, DDIM(), 1.0), (model, DDPM(), 1.0)):
        seen = through(mean_of, CLIPPED)
        small = tiny_covariance("small", mean_of)
        chosen = Sampler(seen, small, solver, even(50, 3), cap)
        assert chosen.label == f"small-{solver.name}-even3-seed0"
        named = Sampler.of(seen, small, steps=3, solver=solver.name)
        assert named.cap_levels == cap
        assert named.digest == chosen.digest


# --- a scale that is fitted


@pytest.mark.parametrize("scale", [1.0, 1.07])
def test_with_a_fitted_scale_it_holds_the_plan_and_not_the_value(scale: float) -> None:
    """So it is known before the fit, and the same after it."""
    model = mean()
    before = sampler(model, scale_fit=FIT)
    after = replace(before, denoiser=through(model, replace(CLIPPED, eps_scale=scale)))
    assert before.as_dict()["eps_scale"] == {"fitted": {"version": 1, "samples": 64, "data": "d1"}}
    assert after.as_dict() == before.as_dict()
    assert after.digest == before.digest
    assert after.label == before.label
    assert after.denoiser.view.eps_scale == scale
    told = sampler(model, replace(CLIPPED, eps_scale=scale))
    assert torch.equal(images(after), images(told)), "it is drawn through the scale all the same"
    assert told.digest != after.digest


@pytest.mark.parametrize("other", [{"version": 2}, {"samples": 65}, {"data": "d2"}], ids=lambda part: next(iter(part)))
def test_another_plan_is_another_sampler(other: dict[str, Any]) -> None:
    assert sampler(scale_fit=replace(FIT, **other)).digest != sampler(scale_fit=FIT).digest


def test_the_rest_of_the_view_is_still_part_of_it() -> None:
    fitted = sampler(scale_fit=FIT)
    unclipped = replace(fitted, denoiser=through(mean(), View(eps_scale=1.07)))
    assert unclipped.digest != fitted.digest
    assert unclipped.label == "corrected-ddpm-even4-last2-noclip-epsfitted-seed0"


# --- refusals


class Unlabelled(nn.Module):
    """Takes no labels."""

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        return x


def test_a_grid_of_another_T_is_refused() -> None:
    with pytest.raises(UsageError, match="the grid is one of T=30, and the mean was trained with T=20"):
        sampler(grid=even(30, 4))


@pytest.mark.parametrize("levels", [-1.0, math.nan, -math.inf])
def test_a_cap_below_nothing_is_refused(levels: float) -> None:
    with pytest.raises(UsageError, match="must be at least 0 grey levels, found"):
        sampler(cap_levels=levels)


def test_a_covariance_without_a_meaning_for_the_solver_is_refused() -> None:
    with pytest.raises(UsageError, match=r"large covariance .* means nothing for ddim, whose steps"):
        sampler(covariance=covariance("large"), solver=DDIM())


def test_classes_of_a_mean_that_knows_none_are_refused() -> None:
    plain = MeanModel(Unlabelled(), replace(READING, classes=0)).freeze()
    with pytest.raises(UsageError, match="classes were asked for, and this mean knows none"):
        sampler(plain, covariance=covariance("small"))
    sampler(plain, covariance=covariance("small"), classes=None)


def test_a_mean_that_needs_labels_is_refused_without() -> None:
    needy = mean(needs_labels=True)
    with pytest.raises(UsageError, match="has never seen an image without a class: say which are wanted"):
        sampler(needy, classes=None)
    sampler(needy)


def test_a_changed_sampler_is_checked_anew() -> None:
    with pytest.raises(UsageError, match="at least 0 grey levels"):
        replace(sampler(), cap_levels=-1.0)


# --- by names


def named(**options: Any) -> Sampler:
    model: Denoiser = through(mean(), CLIPPED)
    return Sampler.of(model, covariance(), **{"steps": 4, "classes": Classes.all(3), **options})


def test_names_and_objects_make_the_same_sampler() -> None:
    assert named().digest == sampler(cap_levels=1.0).digest
    by_names = named(steps=5, grid="stride", solver="ddim", eta=0.5, seed=4)
    by_hand = sampler(cap_levels=1.0, grid=by_names.grid, solver=DDIM(0.5), seed=4)
    assert (by_names.grid.name, by_names.grid.K) == ("stride", 5)
    assert by_names.digest == by_hand.digest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": "odd"}, "unknown grid 'odd'; choose one of even, stride, quad"),
        ({"solver": "euler"}, "unknown solver 'euler'; choose one of ddpm, ddim"),
        (
            {"solver": "deis", "eta": 0.5},
            "deis has no eta, but eta 0.5 was asked for; it takes --order, ",
        ),
        ({"solver": "ddim", "eta": 1.5}, "eta must be between 0"),
        ({"steps": 21}, "steps must be between 1 and T=20"),
        ({"steps": 0}, "steps must be between 1 and T=20"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_names_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        named(**options)


# --- from a recipe


def from_recipe(recipe: Recipe | str, *parts: Any, **options: Any) -> Sampler:
    return Sampler.of_recipe(recipe, mean(), *parts, **{"steps": 4, "classes": Classes.all(3), **options})


def table() -> VarianceTable:
    return tiny_ingredients("corrected", mean())[VarianceTable]


def test_a_recipe_is_what_it_says_written_out() -> None:
    recipe = Recipe("ddim", "corrected", "stride", 0.5, share=0.25, eps_scale=1.02, clip_x0=False)
    seen = through(mean(), View(clip_x0=False, eps_scale=1.02, guidance=2.0))
    grid = make_grid("stride", READING.schedule, 4)
    by_hand = Sampler(seen, covariance(), DDIM(0.5), grid, 1.0, Classes.all(3), seed=3, share=0.25)
    assert from_recipe(recipe, table(), guidance=2.0, seed=3).digest == by_hand.digest


def test_a_name_is_a_recipe_of_the_literature() -> None:
    plain, named_one = from_recipe(LITERATURE["dpmpp-3m"]), from_recipe("dpmpp-3m")
    assert plain.digest == named_one.digest
    assert (plain.solver, plain.grid) == (make_solver("dpmpp", order=3), even(T, 4))
    assert plain.denoiser.view == CLIPPED


def test_its_parts_serve_covariance_and_solver() -> None:
    both = from_recipe(Recipe("addim", "corrected"), table())
    assert both.solver.made_of == both.covariance.made_of == {"variance.safetensors": table().digest}
    made = from_recipe(Recipe("addim", "corrected"), covariance=both.covariance, solver=both.solver)
    assert made.digest == both.digest


def test_listed_times_are_taken() -> None:
    assert from_recipe(Recipe("ddim", grid=(1, 7, 20)), steps=3).grid == explicit(T, (1, 7, 20))


def test_what_a_recipe_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^unknown recipe 'euler'; choose one of ddpm-small, "):
        from_recipe("euler")
    with pytest.raises(UsageError, match=r"^the recipe lists 3 times, and 4 steps were asked for; leave --steps out$"):
        from_recipe(Recipe("ddim", grid=(1, 7, 20)))
    with pytest.raises(InputError, match=r"^the npr covariance needs a fitted head and none was found; run: "):
        from_recipe("npr-ddim")
    with pytest.raises(InputError, match=r"^the solver addim needs a variance table and none was found; run: "):
        from_recipe("addim")
    holes = replace(table(), count=torch.where(torch.arange(T + 1) == 7, 0.0, table().count))
    with pytest.raises(InputError, match=r"\b7\b"):
        from_recipe(Recipe("ddpm", "analytic", (1, 7, 20)), holes, steps=3)


def test_a_recipe_that_starts_below_T_has_its_start() -> None:
    """Made of the parts, or given; without the images there is none to be had."""
    images = ImageGaussian.empty(Knots((1, T)), DATA.shape, torch.eye(1, dtype=torch.float64))
    images.add(0, torch.linspace(-1, 1, 256, dtype=torch.float64).reshape(-1, *DATA.shape))
    recipe = Recipe("ddim", start=13)
    made = from_recipe(recipe, images)
    assert made.start is not None
    assert (made.grid.times[-1], made.start.made_of) == (13, {"image-gaussian.safetensors": images.digest})
    assert torch.equal(made.start.var, images.var)
    given = from_recipe(recipe, start=made.start)
    assert given.start is made.start
    assert given.digest == made.digest != replace(made, start=None).digest
    with pytest.raises(InputError, match=r"^a start below T needs a Gaussian of the images and none was found; run: "):
        from_recipe(recipe)
