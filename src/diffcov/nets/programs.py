"""Loading programs, which run whatever they say: whoever calls this has been told to trust one.

Two kinds travel as files: TorchScript (``torch.jit.save``) and exported programs (``torch.export.save``).
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from diffcov.errors import InputError

__all__ = ["Exported", "load_exported", "load_program", "reason"]


def load_program(source: Path | IO[bytes], device: torch.device | str = "cpu") -> torch.jit.ScriptModule:
    """The TorchScript program of a file, on a device.

    Raises:
        RuntimeError, ValueError: it is none that this torch can load; see :func:`reason`.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is (deprecated|not supported)", DeprecationWarning)
        module: torch.jit.ScriptModule = torch.jit.load(source, map_location=device)  # type: ignore[no-untyped-call]
    return module


def reason(error: Exception) -> str:
    """An error in one line; the interpreter's own stands below its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if lines[0].startswith("The following operation failed") else lines[0]


class Exported(nn.Module):
    """(x (B, C, H, W), times (B,)) -> the output of an exported program, for any B.

    Args:
        program: with two tensors as its inputs, the first dimension of both free.

    Raises:
        InputError: another signature, a fixed number of images, or layers that were exported as for training.
    """

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        inputs = _inputs(program)
        _refuse_training(program)
        self.takes = tuple(inputs[0].shape[1:])
        self.times = inputs[1].dtype
        self.inside = program.module()

    def forward(self, x: Tensor, times: Tensor) -> Any:
        """The program's output.

        Raises:
            InputError: images of another size than it was exported for, or times that are not whole where it takes
                whole ones.
        """
        if len(x.shape[1:]) != len(self.takes) or any(
            isinstance(size, int) and size != found for size, found in zip(self.takes, x.shape[1:], strict=True)
        ):
            raise InputError(
                f"the program was exported for images {_shape(self.takes)}, and these are {_shape(x.shape[1:])}"
            )
        if not self.times.is_floating_point:
            whole = times.round()
            if not torch.equal(whole, times):
                raise InputError(
                    f"the program takes whole times, and was told {float(times.flatten()[0]):g}; choose another "
                    "--time-offset or --time-scale"
                )
            times = whole.to(self.times)
        return self.inside(x, times)


def load_exported(content: bytes, device: torch.device) -> Exported:
    """The exported program in the bytes of a file, on a device.

    Raises:
        InputError: it is none that this torch can load, or as for :class:`Exported`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own ways of writing
            program = torch.export.load(io.BytesIO(content))
    except Exception as error:  # whatever a damaged or a newer file makes it raise
        raise InputError(f"it is no exported program that this torch can load ({reason(error)})") from error
    found = Exported(program)
    if any(tensor.device != device for tensor in program.state_dict.values()):
        found = Exported(_moved(program, device))
    for parameter in found.parameters():
        parameter.requires_grad_(False)
    return found


def _moved(program: torch.export.ExportedProgram, device: torch.device) -> torch.export.ExportedProgram:
    try:
        from torch.export.passes import move_to_device_pass
    except ImportError as error:
        raise InputError(
            f"torch {torch.__version__} cannot move an exported program to {device} ({error}); compute with --device "
            "cpu, or install a newer torch"
        ) from error
    return move_to_device_pass(program, device)


def _inputs(program: torch.export.ExportedProgram) -> list[Tensor]:
    """What stands for the two inputs: tensors without numbers, whose free dimensions are symbols."""
    stand_ins = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    given = [stand_ins.get(name) if isinstance(name, str) else name for name in program.graph_signature.user_inputs]
    found = [one for one in given if isinstance(one, Tensor)]
    if len(found) != len(given) or [one.ndim for one in found] != [4, 1]:
        told = ", ".join(_shape(one.shape) if isinstance(one, Tensor) else repr(one) for one in given)
        raise InputError(
            f"the exported program takes ({told}), and a mean takes images (B, C, H, W) and times (B,); export one of "
            "these two inputs"
        )
    fixed = [int(one.shape[0]) for one in found if isinstance(one.shape[0], int)]
    if fixed:
        raise InputError(
            f"the program was exported for batches of {fixed[0]} alone; export it with a dynamic batch dimension, "
            "torch.export.export(..., dynamic_shapes=({0: B}, {0: B})) with B = torch.export.Dim('B')"
        )
    return found


def _refuse_training(program: torch.export.ExportedProgram) -> None:
    """Refuse (InputError) dropout and batch norms that still train: an exported program cannot be switched."""
    for node in program.graph.nodes:
        arguments = getattr(getattr(node.target, "_schema", None), "arguments", ())
        for place, argument in enumerate(arguments):
            if argument.name in ("train", "training"):
                value = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
                if value is True:
                    raise InputError(
                        f"the program was exported as for training ({node.target}); call .eval() on the network and "
                        "export it again"
                    )


def _shape(sizes: Any) -> str:
    return f"({', '.join(str(size) for size in sizes)})"
