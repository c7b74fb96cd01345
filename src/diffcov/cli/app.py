"""The program ``diffcov``: its commands, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import os
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from diffcov.cli.compare import compare
from diffcov.cli.completion import ASKED, SHELLS, answer
from diffcov.cli.demo import demo
from diffcov.cli.estimate_var import estimate_var
from diffcov.cli.evaluate import evaluate
from diffcov.cli.export import export
from diffcov.cli.fit_var_head import fit_var_head
from diffcov.cli.import_ import import_model
from diffcov.cli.inspect import inspect
from diffcov.cli.interrupt import heard, listen
from diffcov.cli.sample import sample
from diffcov.cli.several import quiet_unless_first, together
from diffcov.cli.train_mean import train_mean
from diffcov.cli.trajectory import trajectory
from diffcov.cli.tune import tune
from diffcov.cli.voice import forgive_listeners
from diffcov.errors import DiffcovError, Interrupted
from diffcov.runtime import fill_standard_descriptors, keep_freed_memory, spin_briefly
from diffcov.version import __version__

__all__ = ["app", "main"]

EPILOG = """Exit codes: 0 done, 1 failure, 2 usage, 3 missing or incompatible input, 4 numbers that are not finite,
130 interrupted."""
INTERRUPTED = "interrupted; nothing half-written was left"
"""What Ctrl-C is answered with where no training has more to say."""


class PlainFlags:
    """A command in whose help a flag is its name alone: that it is true or false goes without saying."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, those that typer adds included."""
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for one in found:
            if getattr(one, "is_flag", False):
                one.metavar = ""
        return found


class OneCommand(PlainFlags, TyperCommand):
    """One of our commands."""


class ErrorBoundary(PlainFlags, TyperGroup):
    """Turns a :class:`DiffcovError` into one message on stderr and its exit code; anything else is a bug."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with together():
                return super().invoke(ctx)
        except DiffcovError as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            if heard() and not isinstance(error, Interrupted):
                typer.echo(INTERRUPTED, err=True)
                raise typer.Exit(130) from None
            kind = "" if isinstance(error, Interrupted) else "error: "
            typer.echo(f"{kind}{error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo(INTERRUPTED, err=True)
            raise typer.Exit(130) from None
        except RuntimeError as error:
            if ctx.params.get("debug") or not _out_of_memory(error):
                raise
            typer.echo("error: out of memory; lower --batch-size, or choose another --device", err=True)
            raise typer.Exit(1) from None


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether torch could not allocate, on a GPU or on the CPU."""
    return "out of memory" in str(error).lower() or "can't allocate memory" in str(error)


app = typer.Typer(
    name="diffcov",
    cls=ErrorBoundary,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"diffcov {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback instead of a message.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The covariance of diffusion models: estimate it, fit it, and sample with it in few steps.

    `diffcov demo` draws a first picture in half a minute, with a mean that is trained already.

    Typed in this order in an empty folder, these four train on a small set of digits and draw some, in ten minutes on
    two CPU cores:

    - diffcov train-mean
    - diffcov estimate-var
    - diffcov fit-var-head
    - diffcov sample --steps 50
    """


COMMANDS = {
    "train-mean": train_mean,
    "estimate-var": estimate_var,
    "fit-var-head": fit_var_head,
    "sample": sample,
    "evaluate": evaluate,
    "trajectory": trajectory,
    "compare": compare,
    "tune": tune,
    "inspect": inspect,
    "import": import_model,
    "export": export,
    "demo": demo,
}
for name, command in COMMANDS.items():
    app.command(name, cls=OneCommand)(command)


def main() -> None:
    """Entry point of the program."""
    fill_standard_descriptors()
    forgive_listeners()
    way, _, shell = os.environ.get(ASKED, "").partition("_")
    if way == "complete" and shell in SHELLS:
        requests = {name: command.request for name, command in COMMANDS.items()}  # type: ignore[attr-defined]
        typer.echo(answer(requests, shell))
        raise SystemExit(0)
    if not way:
        spin_briefly()
        keep_freed_memory()
        listen()
    try:
        with quiet_unless_first():
            app(prog_name="diffcov")
    except KeyboardInterrupt:  # before any command has begun
        typer.echo(INTERRUPTED, err=True)
        raise SystemExit(130) from None
