"""Networks that benchmarks are taken on: from one that fits a laptop to one that is work."""

from __future__ import annotations

from dataclasses import dataclass, replace

from diffcov import DataDescription, NoiseSchedule, TimeConvention
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.spec import MeanSpec
from diffcov.nets.unet import UNetConfig

__all__ = ["SIZES", "Size"]


@dataclass(frozen=True)
class Size:
    """A U-Net without dropout, and the images of a network call.

    Attributes:
        network: the U-Net.
        batch: images a call.
        levels: grey levels of its images.
    """

    network: UNetConfig
    batch: int
    levels: int = 256

    @property
    def spec(self) -> MeanSpec:
        """With fresh weights and the linear schedule of 1000 times."""
        of = self.network
        data = DataDescription(of.image_channels, of.height, of.width, self.levels)
        return MeanSpec(of, Reading(NoiseSchedule.linear(), data, TimeConvention()))

    def square(self, side: int) -> Size:
        """The same for images of ``side`` x ``side``, with attention on the same level."""
        of = self.network
        attention = tuple(side * length // of.height for length in of.attention)
        return replace(self, network=replace(of, height=side, width=side, attention=attention))


SIZES = {
    "digits": Size(UNetConfig(1, 8, 8, 32, (1, 2), 2, (4,), 4, 0.0), 128, 17),
    "photographs": Size(UNetConfig(3, 32, 32, 32, (1, 2, 2), 1, (8,), 4, 0.0), 32),
}
"""1.08 M parameters at 8x8 and 1.19 M at 32x32, as the presets digits and small take them."""
