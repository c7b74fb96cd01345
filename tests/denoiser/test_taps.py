"""Where heads read: what a network offers, a submodule by its name, or what goes in and comes out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffcov.data import DataDescription
from diffcov.denoiser.mean_model import PRECISIONS, MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.taps import EMBEDDING, Inputs, Own, Submodule
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.nets.blocks import timestep_embedding
from diffcov.nets.features import Features
from diffcov.nets.unet import UNetConfig

DATA = DataDescription(2, 8, 6)
SCHEDULE = NoiseSchedule.linear(50)
CONVENTION = TimeConvention(1.0, 20.0)
TIMES = torch.tensor([1, 25, 50])


def noisy() -> Tensor:
    return torch.randn(3, *DATA.shape, generator=torch.Generator().manual_seed(1))


class Plain(nn.Module):
    """An encoder at half the size and a decoder, as somebody else writes them; ``wide`` learns a variance as well."""

    def __init__(self, wide: bool = False, several: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.enter = nn.Conv2d(DATA.channels, 5, 3, padding=1)
            self.norm = nn.BatchNorm2d(5)
            self.down = nn.Sequential(nn.Conv2d(5, 7, 2, stride=2), nn.SiLU())
            self.up = nn.ConvTranspose2d(7, DATA.channels * (1 + wide), 2, stride=2)
            self.time = nn.Linear(1, 7)
        self.drop = nn.Dropout(0.5)
        self.several = several
        self.calls = 0

    def forward(self, x: Tensor, times: Tensor) -> Tensor | tuple[Tensor, str]:
        self.calls += 1
        h = self.drop(self.down(self.norm(self.enter(x)))) + self.time(times[:, None] / 1000)[:, :, None, None]
        out: Tensor = self.up(h)
        return (out, "and more") if self.several else out


def model(network: nn.Module, features: str | None = None, predicts: str = "eps") -> MeanModel:
    return MeanModel.of(network, predicts=predicts, schedule=SCHEDULE, data=DATA, time=CONVENTION, features=features)


def sinusoids() -> Tensor:
    return timestep_embedding((TIMES.float() - 1) * 20, EMBEDDING)


# --- its own


class Offering(nn.Module):
    """Features that are told apart from all else that could be read."""

    feature_channels, embedding_width = 4, 3
    calls = 0

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        self.calls += 1
        pictures = torch.cat([x, 2 * x], 1)
        return -x, Features(pictures, torch.stack([times, times + 1, times + 2], 1))


def test_features_that_a_network_offers_are_read_first() -> None:
    found = model(Offering())
    look = found.look(noisy(), TIMES)
    assert isinstance(found.tap, Own)
    assert (found.feature_channels, found.embedding_width, found.plain_features) == (4, 3, False)
    assert torch.equal(look.eps_hat, -noisy())
    assert torch.equal(look.features.activations, torch.cat([noisy(), 2 * noisy()], 1))
    assert look.features.embedding[:, 2].tolist() == [2.0, 482.0, 982.0]


def test_our_u_net_offers_its_own() -> None:
    network = UNetConfig(2, 8, 6, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1).build()
    found = model(network)
    look = found.look(noisy(), TIMES)
    assert isinstance(found.tap, Own)
    assert look.features.activations.shape == (3, found.feature_channels, 8, 6)
    assert look.features.embedding.shape == (3, found.embedding_width)
    torch.testing.assert_close(network.out(look.features.activations), look.eps_hat, rtol=1e-6, atol=1e-6)


# --- a submodule


def test_a_named_submodule_s_output_is_read_beside_the_time() -> None:
    network = Plain()
    found = model(network, "enter")
    look = found.look(noisy(), TIMES)
    assert isinstance(found.tap, Submodule)
    assert (found.feature_channels, found.embedding_width, found.plain_features) == (5, EMBEDDING, False)
    torch.testing.assert_close(look.features.activations, network.enter(noisy()), rtol=0, atol=0)
    assert torch.equal(look.features.embedding, sinusoids())


def test_a_smaller_submodule_s_output_is_read_at_the_size_of_the_images() -> None:
    """Each of its pixels is repeated where it stands."""
    network = Plain()
    found = model(network, "down.1")
    activations = found.look(noisy(), TIMES).features.activations
    half = F.silu(network.down[0](network.norm(network.enter(noisy()))))
    assert half.shape == (3, 7, 4, 3)
    assert found.feature_channels == 7
    torch.testing.assert_close(activations, half.repeat_interleave(2, 2).repeat_interleave(2, 3), rtol=0, atol=0)


def test_a_submodule_is_read_although_the_network_offers_others() -> None:
    network = UNetConfig(2, 8, 6, channels=8, multipliers=(1, 2), blocks=1, attention=(), heads=1).build()
    found = model(network, "middle_block.2")
    look = found.look(noisy(), TIMES)
    assert isinstance(found.tap, Submodule)
    assert (found.feature_channels, found.embedding_width) == (16, EMBEDDING)
    assert look.features.activations.shape == (3, 16, 8, 6)
    assert torch.equal(look.eps_hat, model(network).look(noisy(), TIMES).eps_hat)


def test_reading_a_submodule_changes_no_answer_and_leaves_nothing_behind() -> None:
    network = Plain()
    expected, found = model(network).look(noisy(), TIMES), model(network, "down").look(noisy(), TIMES)
    assert torch.equal(found.x0_hat, expected.x0_hat)
    assert torch.equal(found.eps_hat, expected.eps_hat)
    assert not any(module._forward_hooks for module in network.modules())


def test_nothing_is_left_behind_where_the_network_fails() -> None:
    network = Plain()
    found = model(network, "down")
    with pytest.raises(RuntimeError, match="channels"):
        found.look(torch.zeros(1, 3, 8, 6), 1)
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("training", [True, False])
def test_trying_a_submodule_leaves_the_network_as_it_is(training: bool) -> None:
    """Weights, averages of batch norms and modes; and no random number is drawn."""
    network = Plain().train(training)
    network.down.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes, state = [module.training for module in network.modules()], torch.get_rng_state()
    MeanModel(network, Reading(SCHEDULE, DATA, CONVENTION), "down")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_a_submodule_that_is_not_there_is_refused_and_those_that_are_there_are_named() -> None:
    with pytest.raises(
        InputError,
        match=r"^the network has no submodule 'middle'; it has enter, norm, down, down\.0, down\.1, up, time, drop$",
    ):
        model(Plain(), "middle")


@pytest.mark.parametrize("name", ["time", "unused"], ids=["no picture", "never called"])
def test_a_submodule_that_gives_no_picture_is_refused(name: str) -> None:
    network = Plain()
    network.unused = nn.Conv2d(2, 2, 1)
    with pytest.raises(InputError, match=rf"^the submodule '{name}' gives no activations \(B, F, h, w\); name another"):
        model(network, name)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_submodule_of_a_network_with_classes_is_tried_with_a_label() -> None:
    class Labelled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain, self.seen = Plain(), [torch.zeros(0, dtype=torch.int64)]

        def forward(self, x: Tensor, times: Tensor, labels: Tensor) -> Tensor:
            self.seen.append(labels)
            out: Tensor = self.plain(x, times)
            return out

    network = Labelled()
    found = MeanModel.of(
        network, predicts="v", schedule=SCHEDULE, data=DATA, classes=3, needs_labels=True, features="plain.down"
    )
    assert found.feature_channels == 7
    assert all(labels.tolist() == [0] and labels.dtype == torch.int64 for labels in network.seen[1:])
    assert len(network.seen) == 3, "for the submodule, and for the whole"


# --- its input and output


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
def test_a_network_that_offers_nothing_is_read_by_what_it_sees_and_by_the_noise_it_says(predicts: str) -> None:
    found = model(Plain(), predicts=predicts)
    look = found.look(noisy(), TIMES)
    assert isinstance(found.tap, Inputs)
    assert (found.feature_channels, found.embedding_width, found.plain_features) == (4, EMBEDDING, True)
    assert torch.equal(look.features.activations, torch.cat([noisy(), look.eps_hat], 1))
    assert torch.equal(look.features.embedding, sinusoids())


@pytest.mark.parametrize("features", [None, "enter"])
def test_the_first_of_several_things_is_the_output(features: str | None) -> None:
    one, several = (model(Plain(several=s), features).look(noisy(), TIMES) for s in (False, True))
    assert torch.equal(one.eps_hat, several.eps_hat)
    torch.testing.assert_close(one.features, several.features, rtol=0, atol=0)


@pytest.mark.parametrize("features", [None, "enter"])
def test_a_learned_variance_is_no_part_of_the_features(features: str | None) -> None:
    network = Plain(wide=True)
    found = model(network, features)
    look = found.look(noisy(), TIMES)
    output = network(noisy(), (TIMES.float() - 1) * 20)
    assert torch.equal(look.eps_hat, output[:, :2])
    assert torch.equal(look.learned, output[:, 2:])
    assert look.features.activations.shape == (3, found.feature_channels, 8, 6)


@pytest.mark.parametrize("features", [None, "enter", "down"])
def test_an_output_of_another_shape_is_refused_wherever_features_come_from(features: str | None) -> None:
    network = Plain()
    network.up = nn.ConvTranspose2d(7, 3, 2, stride=2)
    found = MeanModel(network, Reading(SCHEDULE, DATA, CONVENTION), features)
    with pytest.raises(InputError, match=r"output is \(3, 8, 6\) and its images are \(2, 8, 6\)"):
        found.look(noisy(), TIMES)


# --- all of them


TAPS = [(Offering(), None), (Plain(), "down"), (Plain(), None)]


@pytest.mark.parametrize(("network", "features"), TAPS, ids=["own", "submodule", "inputs"])
def test_one_look_is_one_call_and_features_are_single_precision_or_better(
    network: nn.Module, features: str | None
) -> None:
    found = MeanModel(network, Reading(SCHEDULE, DATA, CONVENTION), features, PRECISIONS["bf16"]).freeze()
    before = network.calls
    look = found.look(noisy(), TIMES)
    assert network.calls == before + 1
    assert {part.dtype for part in look.features} == {torch.float32}
    assert look.features.activations.shape == (3, found.feature_channels, 8, 6)
    assert look.features.embedding.shape == (3, found.embedding_width)


@pytest.mark.parametrize(("network", "features"), TAPS, ids=["own", "submodule", "inputs"])
def test_images_at_different_times_have_the_features_that_each_has_alone(
    network: nn.Module, features: str | None
) -> None:
    found = model(network, features)
    together = found.look(noisy(), TIMES)
    for i, t in enumerate(TIMES.tolist()):
        alone = found.look(noisy()[i : i + 1], t)
        torch.testing.assert_close(together.rows(slice(i, i + 1), t).features, alone.features, rtol=1e-5, atol=1e-5)
