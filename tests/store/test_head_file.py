"""Variance heads on disk: the same predictions, bit for bit, bound to their trunk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from diffcov.data import DataDescription
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError, NonFiniteError
from diffcov.nets.features import Features
from diffcov.nets.variance_head import LINKS, NETWORKS, HeadSpec
from diffcov.store import artifact
from diffcov.store.binding import Trunk
from diffcov.store.head import load_head, save_head

TRUNK, OTHER = "a1b2c3d4e5f6" + "0" * 52, "f6e5d4c3b2a1" + "1" * 52
SPEC = HeadSpec("npr", "simple", "log", 8.0, feature_channels=8, embedding_width=12, shape=(3, 4, 4), timesteps=40)
MEAN = Reading(NoiseSchedule.cosine(40), DataDescription(3, 4, 4, levels=17), TimeConvention(1.0, 25.0))
OWN = Trunk(TRUNK, None, MEAN.schedule.spec, MEAN.data.as_dict())
TRAINING = {"iterations": 4, "settings": {"lr": 0.1}, "relative_to": {"spectrum.safetensors": "ab" * 32}}
TIMES = torch.tensor([1, 37])
KILOBYTES_OF_A_SMALL_HEAD = 32


def saved(path: Path, spec: HeadSpec = SPEC) -> tuple[nn.Module, str]:
    torch.manual_seed(0)
    head = spec.build(torch.linspace(0.1, 0.9, spec.timesteps + 1))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    return head.eval(), save_head(path, head, spec, MEAN, TRUNK, TRAINING)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("network", NETWORKS)
def test_round_trip_predicts_the_same_bits(tmp_path: Path, network: str, link: str) -> None:
    """Weights, start and link, at every time."""
    spec = replace(SPEC, network=network, link=link)
    head, digest = saved(tmp_path / "head-npr.safetensors", spec)
    features = Features(torch.randn(2, 8, 4, 4), torch.randn(2, 12))
    for trunk in (None, OWN):
        found = load_head(tmp_path / "head-npr.safetensors", trunk)
        assert (found.spec, found.trunk, found.training, found.digest) == (spec, TRUNK, TRAINING, digest)
        assert not any(module.training for module in found.head.modules())
        assert not any(parameter.requires_grad for parameter in found.head.parameters())
        with torch.no_grad():
            assert torch.equal(found.head(features, TIMES), head(features, TIMES))
        assert torch.equal(found.head.start, torch.linspace(0.1, 0.9, 41))


def test_the_file_holds_the_head_alone(tmp_path: Path) -> None:
    saved(path := tmp_path / "head-npr.safetensors")
    assert path.stat().st_size < 1024 * KILOBYTES_OF_A_SMALL_HEAD


def test_the_header_says_for_which_images_and_schedule(tmp_path: Path) -> None:
    saved(path := tmp_path / "head-npr.safetensors")
    metadata = artifact.read(path, "head").metadata
    assert metadata["schedule"] == MEAN.schedule.spec
    assert DataDescription.from_dict(metadata["data"]) == MEAN.data


def test_another_trunk_names_both_digests_and_the_remedy(tmp_path: Path) -> None:
    saved(path := tmp_path / "head-npr.safetensors")
    with pytest.raises(InputError) as caught:
        load_head(path, replace(OWN, digest=OTHER))
    message = str(caught.value)
    assert str(path) in message
    assert TRUNK[:12] in message
    assert OTHER[:12] in message
    assert "diffcov fit-var-head --kind npr --force" in message


def test_missing_weight_is_named(tmp_path: Path) -> None:
    head, _ = saved(path := tmp_path / "head-npr.safetensors")
    kept = {name: value for name, value in head.state_dict().items() if name != "network.out.2.bias"}
    artifact.write(path, "head", kept, {"head": vars(SPEC), "trunk": TRUNK, "training": TRAINING})
    with pytest.raises(InputError, match=r"do not fit their own configuration: .*network\.out\.2\.bias"):
        load_head(path)


@pytest.mark.parametrize(
    "described",
    [
        {"kind": "npr"},
        {**vars(SPEC), "network": "transformer"},
        {**vars(SPEC), "link": "logit"},
        {**vars(SPEC), "depth": 2},
        {"kind": "npr", "architecture": "simple", "feature_channels": 8, "embedding_width": 12, "image_channels": 3},
    ],
    ids=["missing", "unknown network", "unknown link", "unknown field", "before there were links"],
)
def test_headers_that_describe_no_head(tmp_path: Path, described: dict[str, object]) -> None:
    head, _ = saved(path := tmp_path / "head-npr.safetensors")
    artifact.write(path, "head", head.state_dict(), {"head": described, "trunk": TRUNK, "training": TRAINING})
    with pytest.raises(InputError, match=r".*head-npr\.safetensors lacks what this diffcov needs \(.*\)"):
        load_head(path)


def test_configuration_of_another_head(tmp_path: Path) -> None:
    head, _ = saved(path := tmp_path / "head-npr.safetensors")
    wider = replace(SPEC, feature_channels=16)
    artifact.write(path, "head", head.state_dict(), {"head": vars(wider), "trunk": TRUNK, "training": TRAINING})
    with pytest.raises(InputError, match=r"do not fit their own configuration: .*size mismatch"):
        load_head(path)


def test_a_start_of_another_length(tmp_path: Path) -> None:
    """It holds one number a time of the schedule."""
    head, _ = saved(path := tmp_path / "head-npr.safetensors")
    longer = replace(SPEC, timesteps=1000)
    artifact.write(path, "head", head.state_dict(), {"head": vars(longer), "trunk": TRUNK, "training": TRAINING})
    with pytest.raises(
        InputError, match=r"do not fit their own configuration: it asks for 1,236 numbers, and there are 276$"
    ):
        load_head(path)


def test_a_missing_start_is_named(tmp_path: Path) -> None:
    """Without it a head would quietly begin at zero."""
    head, _ = saved(path := tmp_path / "head-npr.safetensors")
    kept = {name: value for name, value in head.state_dict().items() if name != "start"}
    artifact.write(path, "head", kept, {"head": vars(SPEC), "trunk": TRUNK, "training": TRAINING})
    with pytest.raises(InputError, match=r"do not fit their own configuration: .*start"):
        load_head(path)


@pytest.mark.parametrize("missing", ["head", "trunk", "training"])
def test_missing_header_entries(tmp_path: Path, missing: str) -> None:
    head, _ = saved(path := tmp_path / "head-npr.safetensors")
    metadata = {"head": vars(SPEC), "trunk": TRUNK, "training": TRAINING}
    del metadata[missing]
    artifact.write(path, "head", head.state_dict(), metadata)
    with pytest.raises(InputError, match=rf".*head-npr\.safetensors lacks .*\('{missing}'\)"):
        load_head(path, OWN)


def test_nan_weight(tmp_path: Path) -> None:
    head, _ = saved(path := tmp_path / "head-npr.safetensors")
    with torch.no_grad():
        head.network.out[2].bias[1] = torch.nan
    save_head(path, head, SPEC, MEAN, TRUNK, TRAINING)
    with pytest.raises(NonFiniteError, match=r"network\.out\.2\.bias"):
        load_head(path, OWN)
