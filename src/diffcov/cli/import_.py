"""``diffcov import``: a published model in, a run's mean out."""

from __future__ import annotations

from dataclasses import replace

from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.bring import ImportRequest


@command(ImportRequest)
def import_model(request: ImportRequest, console: Console, as_json: bool) -> None:
    """Make a published model the mean of a run: read, checked on real images, saved as safetensors.

    Folders of diffusers, weights of improved-diffusion and guided-diffusion, files of denoising-diffusion-pytorch,
    pickles of EDM, TorchScript and torch.export; Extended-Analytic-DPM and OCM-DPM with their variance heads, and
    tables of norms for their means.

    It takes some seconds, and up to a minute for the check of a large network.

    Examples:

    - `diffcov import theirs --run runs/theirs --data photos.zip`: reads a folder and checks it on these images.
    - `diffcov import theirs --run runs/unchecked --no-check`: believes what the files say.
    """
    from diffcov.present.terminal.imported import check_table, ways_table
    from diffcov.study.bring import import_mean

    imported = import_mean(request, console)
    if imported.ways:
        console.show(ways_table(imported.ways))
    if imported.check is not None:
        console.show(check_table(imported.check))
    console.finish(imported.as_dict(), as_json, str(imported.norms or imported.mean))
    replace(console, module=imported.program).next_step("diffcov estimate-var")
