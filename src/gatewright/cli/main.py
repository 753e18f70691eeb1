"""Entry point: the commands, and the conversion of errors to one line and an exit code.

A command imports what it needs when it runs, so that ``gatewright --help`` is fast.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from gatewright._version import __version__
from gatewright.cli import (
    audit,
    doctor,
    evaluate,
    init,
    inspect,
    keys,
    manufacturer,
    migrate,
    model,
    policy,
    posture,
    scan,
    serve,
    usage,
)
from gatewright.cli.output import FAILED, fail
from gatewright.errors import SecurityError

app = typer.Typer(
    name="gatewright",
    help="The security foundation for business-to-business APIs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve.serve)
app.command("init")(init.init)
app.command()(doctor.doctor)
app.command()(migrate.migrate)
app.command()(evaluate.evaluate)
app.command(context_settings={"ignore_unknown_options": True})(inspect.inspect)  # a value may start with a hyphen
app.command()(scan.scan)
app.add_typer(keys.app, name="keys")
app.add_typer(audit.app, name="audit")
app.add_typer(model.app, name="model")
app.add_typer(manufacturer.app, name="manufacturer")
app.add_typer(usage.app, name="usage")
app.add_typer(policy.app, name="policy")
app.add_typer(posture.app, name="posture")

# Newer versions of Typer vendor Click. The base class of its errors has the same name in both.
_CommandError: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"gatewright {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """The security foundation for business-to-business APIs."""


def main(arguments: list[str]) -> int:
    """Run a command and return the exit code: 0 done, 1 findings, 2 failed.

    Files that a command writes (stores, exports, reports) are private to the user.
    """
    previous = os.umask(0o077)
    try:
        return _run(arguments)
    finally:
        os.umask(previous)


def _run(arguments: list[str]) -> int:
    try:
        result: Any = typer.main.get_command(app)(args=arguments, prog_name="gatewright", standalone_mode=False)
    except SecurityError as error:
        return fail(error.code, error.message)
    except typer.Exit as stop:
        return int(stop.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return fail("INTERRUPTED", "Interrupted.")
    except BrokenPipeError:
        # The reader closed the pipe (`| head`). Silence the interpreter's own message as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return fail("FILE_ERROR", f"{error.filename or 'a file'}: {error.strerror or error}")
    except _CommandError as error:
        text = error.format_message() if hasattr(error, "format_message") else str(error)
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(text + "\n")
            return FAILED
        return fail("USAGE", f"{text} See `gatewright --help`.")
    return result if isinstance(result, int) else 0


def run() -> None:
    """The ``gatewright`` command."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":  # `python -m gatewright.cli.main`
    run()
