"""Samples of diffcov as torch-fidelity sees them: its Frechet and kernel distances of PNG folders beside ours.

Run: python benchmarks/torch_fidelity.py RUN [--steps 10] [--count 500] [--covariance NAME] [--out FILE]
RUN knows its images, and these have classes: the features are those of the run's classifier, as a TorchScript file that
both read, so that nothing is downloaded but the two packages. torch-fidelity gets an environment of its own, which
borrows torch, numpy and pillow from this one: the registry's torchvision would bring a torch of several gigabytes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import venv
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
from timing import report
from torch import Tensor, nn

from diffcov import Run
from diffcov.engines.distances.distances import Reference, distances
from diffcov.engines.distances.features import FeatureSpace, features_of
from diffcov.engines.distances.frechet import Gaussian
from diffcov.nets.classifier import Classifier
from diffcov.store.classifier import load_classifier, load_digits_classifier
from diffcov.store.datasets import load_images
from diffcov.store.images import save_png_folder
from diffcov.store.torchscript import load_torchscript

WHITE = 255

WORKER = """
import json, sys
import torch
# The registry's torchvision is compiled against a torch for CUDA. Beside another its operators do not load, and its
# import then fails where it says how two of them trace. They are declared here; nothing below calls them.
declared = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    declared.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import torch_fidelity

class Eyes(torch_fidelity.FeatureExtractorBase):
    def __init__(self, name, features_list, **unused):
        super().__init__(name, features_list)
        self.module = torch.jit.load(sys.argv[1])
    @staticmethod
    def get_provided_features_list():
        return ("features",)
    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "features"
    @staticmethod
    def can_be_compiled():
        return False
    def forward(self, images):
        return (self.module(images.float()),)

torch_fidelity.register_feature_extractor("eyes", Eyes)
samples, real, count = sys.argv[2], sys.argv[3], int(sys.argv[4])
found = torch_fidelity.calculate_metrics(
    input1=samples, input2=real, feature_extractor="eyes", fid=True, kid=True, kid_subsets=1, kid_subset_size=count,
    cuda=False, cache=False, verbose=False,
)
print(json.dumps({"fid": found["frechet_inception_distance"], "kid": found["kernel_inception_distance_mean"]}))
"""


class Eyes(nn.Module):
    """float32 (B, 3, H, W) in 0..255, as a PNG of grey levels has them -> (B, F)."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.scale = (classifier.spec.data.levels - 1) / WHITE

    def forward(self, images: Tensor) -> Tensor:
        """The features of the classifier's last layer but one."""
        channels = self.classifier.spec.data.channels
        levels = (images if channels == images.shape[1] else images.mean(1, keepdim=True)) * self.scale
        return self.classifier.features(levels)


def environment(folder: Path) -> tuple[Path, dict[str, str]]:
    """A Python that has torch-fidelity, and the versions of what it runs on."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    major, minor = torch.__version__.split(".")[:2]
    assert major == "2", "torchvision 0.(n + 15) belongs to torch 2.n"
    wanted = [f"torchvision==0.{int(minor) + 15}.*", "torch-fidelity"]
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", *wanted], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    lent = {str(Path(module.__file__).parents[1]) for module in (torch,) if module.__file__}
    (site / "lent.pth").write_text("\n".join(sorted(lent)) + "\n", encoding="utf-8")
    asked = "import json; from importlib.metadata import version as v; print(json.dumps({n: v(n) for n in %s}))"
    names = ["torch-fidelity", "torchvision", "torch", "numpy", "pillow"]
    said = subprocess.run([python, "-c", asked % names], check=True, capture_output=True, text=True)
    return python, json.loads(said.stdout)


def eyes_of(run: Run, path: Path) -> Path:
    """The run's classifier as a TorchScript file."""
    own = run.checkpoint.data or {}
    digits = own.get("source") == "digits"
    found = load_digits_classifier() if digits else load_classifier(run.folder.classifier)
    module = Eyes(found.classifier).eval()
    data = module.classifier.spec.data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that TorchScript is on its way out
        traced = torch.jit.trace(module, torch.rand(2, 3, data.height, data.width) * WHITE)
        torch.jit.save(traced, path)
    return path


def main() -> None:
    """Draw, write, measure with both, and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--covariance", default="auto")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    run = Run(given.run)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = {"steps": given.steps, "count": given.count, "covariance": given.covariance}
        run.draw(out=folder / "samples", format=("folder",), **options)
        own = load_images((run.checkpoint.data or {})["source"], given.count)
        save_png_folder(folder / "real", own.images, own.description.levels, 0)
        eyes = eyes_of(run, folder / "eyes.pt")
        places = {"samples": folder / "samples" / "images", "real": folder / "real"}
        python, versions = environment(folder / "environment")
        told = [python, "-c", WORKER, eyes, places["samples"], places["real"], str(given.count)]
        said = subprocess.run(told, check=True, capture_output=True, text=True, cwd=folder)
        theirs = json.loads(said.stdout.splitlines()[-1])
        images = {which: load_images(str(place)) for which, place in places.items()}
        scripted = load_torchscript(eyes, images["real"].description, torch.device("cpu"))
        space = FeatureSpace("eyes", scripted.digest, scripted.dims, scripted.extract)
        features = {which: features_of(space, one.images) for which, one in images.items()}
    reference = Reference(Gaussian.of(features["real"]), features["real"], given.count)
    ours = distances(features["samples"], reference)
    sampler = run.sampler(steps=given.steps, covariance=given.covariance)
    result = {
        "samples": sampler.label,
        "images": given.count,
        "features": f"{scripted.dims} of the classifier",
        "versions": {"diffcov": version("diffcov"), **versions},
        "torch-fidelity": theirs,
        "diffcov": {"fid": ours.fid, "kid": ours.kid},
        "relative difference": {
            "fid": abs(ours.fid / theirs["fid"] - 1),
            "kid": abs(float(ours.kid or 0.0) / theirs["kid"] - 1),
        },
    }
    report(result, given.out)


if __name__ == "__main__":
    main()
