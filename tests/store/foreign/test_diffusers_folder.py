"""Folders of diffusers: every variant gives the original's output, every configuration its schedule, or a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffcov.denoiser.mean_model import MeanModel
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.nets.built_by import BuiltBy
from diffcov.store.foreign.facts import Foreign
from diffcov.store.foreign.recognise import read_foreign
from diffcov.study.reading_bench import built
from oracles.foreign import tiny_pipeline, tiny_unet

ROUNDING = 1e-5
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one head": {"attention_head_dim": None},
    "asymmetric padding": {"downsample_padding": 0},
    "DDPM's times": {"flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6},
    "scale and shift": {"resnet_time_scale_shift": "scale_shift"},
    "ADM": {
        "resnet_time_scale_shift": "scale_shift", "downsample_type": "resnet", "upsample_type": "resnet",
        "attn_norm_num_groups": 4, "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
    },
    "skip blocks": {
        "in_channels": 3, "out_channels": 3, "block_out_channels": (32, 64), "norm_num_groups": 32,
        "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
    },
    "classes": {"num_class_embeds": 10},
    "learned variance": {"out_channels": 2},
    "colour": {"in_channels": 3, "out_channels": 3},
    "not square": {"sample_size": (8, 16)},
    "no attention": {
        "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "add_attention": False,
    },
    "learned times": {"time_embedding_type": "learned", "num_train_timesteps": 1000},
}  # fmt: skip


def model_of(found: Foreign) -> MeanModel:
    return built(found, found.meaning)


def inputs(model: MeanModel) -> tuple[torch.Tensor, int, torch.Tensor | None]:
    draw = torch.Generator().manual_seed(3)
    label = torch.tensor([1, 7]) if model.classes else None
    return torch.randn(2, *model.data.shape, generator=draw), 501, label


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_output_is_the_original_s(tmp_path: Path, variant: str) -> None:
    pipeline = tiny_pipeline(VARIANTS[variant])
    pipeline.save_pretrained(tmp_path / "it")
    model = model_of(read_foreign(tmp_path / "it"))
    x, t, label = inputs(model)
    told = torch.full((2,), t - 1)
    with torch.no_grad():
        theirs = pipeline.unet(x, told, class_labels=label).sample
    channels = model.data.channels
    look = model.look(x, t, label)
    torch.testing.assert_close(look.predicted, theirs[:, :channels], rtol=0, atol=ROUNDING)
    assert (look.learned is not None) == model.reading.learned_range == (variant == "learned variance")
    if look.learned is not None:
        torch.testing.assert_close(look.learned, theirs[:, channels:], rtol=0, atol=ROUNDING)
    assert look.features.activations.shape[1] == pipeline.unet.config.block_out_channels[0] or variant == "skip blocks"
    assert theirs.std() > 0.01


def test_heads_matter_and_are_read(tmp_path: Path) -> None:
    """What trap 1 of any reader is: the shapes are the same whatever the width of a head."""
    outputs = []
    for width in (8, None, 4):
        tiny_pipeline({"attention_head_dim": width}).save_pretrained(tmp_path / str(width))
        model = model_of(read_foreign(tmp_path / str(width)))
        outputs.append(model.output(*inputs(model)))
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-4)
    assert not torch.allclose(outputs[0], outputs[2], atol=1e-4)


def test_a_lost_key_leaves_heads_open(tmp_path: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "it")
    config = json.loads((tmp_path / "it" / "unet" / "config.json").read_text())
    del config["attention_head_dim"]
    (tmp_path / "it" / "unet" / "config.json").write_text(json.dumps(config))
    found = read_foreign(tmp_path / "it")
    (heads,) = (one for one in found.open if one.name == "heads")
    assert list(heads.ways) == ["8 wide", "one head", "16 wide"], "those that divide 16 channels"
    ways = dict(heads.of(found.meaning))
    network = ways["one head"].network
    assert isinstance(network, BuiltBy)
    assert network.arguments["attention_head_dim"] is None


@pytest.mark.parametrize("form", ["nested", "flat", "unet alone", "bin", "sharded", "average", "old names"])
def test_every_layout_is_read(tmp_path: Path, form: str) -> None:
    pipeline = tiny_pipeline()
    path = tmp_path / "it"
    pipeline.save_pretrained(path)
    weights = path / "unet" / "diffusion_pytorch_model.safetensors"
    if form == "flat":
        for file in (path / "unet").iterdir():
            shutil.move(file, path)
        shutil.move(path / "scheduler" / "scheduler_config.json", path)
        shutil.rmtree(path / "unet")
    elif form == "unet alone":
        path = path / "unet"
    elif form == "bin":
        torch.save(pipeline.unet.state_dict(), weights.with_suffix(".bin"))
        weights.unlink()
    elif form == "sharded":
        pipeline.unet.save_pretrained(path / "unet", max_shard_size="20KB")
        weights.unlink()
        assert (path / "unet" / "diffusion_pytorch_model.safetensors.index.json").is_file()
    elif form == "average":
        shutil.copytree(path / "unet", path / "unet_ema")
        raw = tiny_unet(layers_per_block=1)
        with torch.no_grad():
            next(raw.parameters()).add_(1)
        raw.save_pretrained(path / "unet")
    elif form == "old names":
        new = load_file(weights)
        names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        old = {}
        for name, tensor in new.items():
            for now, before in names.items():
                name = name.replace(f".{now}.", f".{before}.")
            old[name] = tensor
        assert any("proj_attn" in name for name in old)
        save_file(old, weights)
    found = read_foreign(path)
    model = model_of(found)
    x, t, _ = inputs(model)
    with torch.no_grad():
        theirs = pipeline.unet(x, torch.full((2,), t - 1)).sample
    torch.testing.assert_close(model.output(x, t), theirs, rtol=0, atol=ROUNDING)
    said = {fact.name: fact.value for fact in found.facts}
    assert ("average" in said["network"]) == (form == "average")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"beta_schedule": "sigmoid"},
        {"trained_betas": [0.1, 0.2, 0.3], "num_train_timesteps": 3},
        {"num_train_timesteps": 400, "beta_end": 0.03},
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
        {"prediction_type": "sample"},
    ],
    ids=str,
)
def test_schedules_are_the_library_s_in_float64(tmp_path: Path, options: dict[str, Any]) -> None:
    pipeline = tiny_pipeline(**options)
    pipeline.save_pretrained(tmp_path / "it")
    reading = read_foreign(tmp_path / "it").meaning.reading
    theirs = pipeline.scheduler.alphas_cumprod.double()
    assert len(theirs) == reading.schedule.T
    torch.testing.assert_close(reading.schedule.alpha_bar[1:], theirs, rtol=2e-5, atol=1e-7)
    assert reading.predicts == {"v_prediction": "v", "sample": "x0"}.get(options.get("prediction_type", ""), "eps")
    assert reading.schedule.ends_at_zero == options.get("rescale_betas_zero_snr", False)
    if not options:
        assert reading.schedule == NoiseSchedule.linear(1000)


UNET, SCHEDULER = Path("unet", "config.json"), Path("scheduler", "scheduler_config.json")


def change(path: Path, **values: Any) -> None:
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **values}))


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda p: (p / "unet" / "diffusion_pytorch_model.safetensors").unlink(), "fetch the weights too"),
        (lambda p: (p / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"version https://git-lfs.github.com"),
         "Git-LFS pointer"),
        (lambda p: (p / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"12345678"), "cut off"),
        (lambda p: (p / UNET).write_text("{"), "is no JSON"),
        (lambda p: change(p / UNET, _class_name="UNet2DConditionModel"), "UNet2DModel alone is read"),
        (lambda p: change(p / UNET, time_embedding_type="fourier"), "VE models are not read yet"),
        (lambda p: change(p / UNET, class_embed_type="identity"), "takes embeddings and not class labels"),
        (lambda p: change(p / SCHEDULER, _class_name="KarrasVeScheduler"), "KarrasVeScheduler"),
        (lambda p: change(p / SCHEDULER, beta_schedule="laplace"), "laplace is not known"),
        (lambda p: change(p / SCHEDULER, prediction_type="flow"), "predicts flow"),
        (lambda p: (p / "vae").mkdir(), "codes of its vae"),
        (lambda p: shutil.rmtree(p / "unet"), "holds no config.json"),
    ],
    ids=[
        "no weights", "pointer", "cut", "json", "class", "fourier", "identity", "ve", "laplace", "flow", "latent",
        "empty",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said(tmp_path: Path, break_it: Any, words: str) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "it")
    break_it(tmp_path / "it")
    with pytest.raises(InputError, match=words):
        read_foreign(tmp_path / "it")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    tiny_unet().save_pretrained(tmp_path / "it", max_shard_size="20KB")
    shards = sorted((tmp_path / "it").glob("*-of-*.safetensors"))
    shards[1].unlink()
    with pytest.raises(InputError, match=f"{shards[1].name} is not there; fetch it"):
        read_foreign(tmp_path / "it")


def test_weights_of_another_size_are_named(tmp_path: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "it")
    change(tmp_path / "it" / "unet" / "config.json", block_out_channels=[16, 16])
    with pytest.raises(InputError, match="do not fit their own configuration"):
        model_of(read_foreign(tmp_path / "it"))


def test_keys_that_nobody_knows_are_let_pass(tmp_path: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "it")
    change(tmp_path / "it" / "unet" / "config.json", decay=0.999, optimization_step=7)
    change(tmp_path / "it" / "scheduler" / "scheduler_config.json", timestep_values=None, tensor_format="np")
    assert model_of(read_foreign(tmp_path / "it")).data.shape == (1, 8, 8)


def test_two_readings_are_two_means(tmp_path: Path) -> None:
    """Statistics that were measured under one are refused by the other."""
    tiny_pipeline().save_pretrained(tmp_path / "it")
    found = read_foreign(tmp_path / "it")
    ways = [meaning for one in found.open for _, meaning in one.of(found.meaning)]
    digests = {built(found, meaning).digest for meaning in ways}
    readings = {str((meaning.network.as_dict(), meaning.reading.as_dict())) for meaning in ways}
    assert len(digests) == len(readings) == 1 + len(ways) - len(found.open), "the first way of each is what is assumed"
