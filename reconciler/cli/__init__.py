"""The commands: one module each, parsed by typer, and the one place where errors become exit codes."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from reconciler.cli import streams
from reconciler.errors import DiskError, InputError, ReconcilerError

if TYPE_CHECKING:
    import typer

COMMANDS = (
    "plan", "apply", "lock", "validate", "show", "status", "list", "roles",
    "stats", "duplicates", "outdated", "why", "diff", "analyze", "export", "history", "verify", "undo", "gc",
    "init", "import", "detect", "add", "mv", "forget", "fmt", "doctor", "config", "schema", "demo",
)  # fmt: skip
"""In the order of `--help`. The module of a command has its name, with `_` appended where Python needs it."""

_RESERVED = ("import", "list")

_EPILOG = (
    "Exit codes: 0 done, nothing to do; 1 error; 2 changes or drift (--detailed-exitcode, lock --check); "
    "3 blocked steps; 4 stale plan; 5 apply did part of it; 6 another apply holds the lock; 7 declined; "
    "130 interrupted, resumable."
)


def app(commands: Sequence[str] = COMMANDS) -> typer.Typer:
    """Build the command line with these commands."""
    import typer

    built = typer.Typer(
        name="reconciler",
        help="Terraform for model weights: write down what should be there, see the plan, apply it, undo it.",
        epilog=_EPILOG,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in commands:
        module = importlib.import_module(f"reconciler.cli.{name}{'_' * (name in _RESERVED)}")
        own_codes = "Exit codes:" in (module.command.__doc__ or "")
        built.command(name, epilog=None if own_codes else _EPILOG)(_told_when_interrupted(module.command))

    @built.callback()
    def _options(
        version: bool = typer.Option(
            False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ) -> None:
        pass

    return built


def _told_when_interrupted(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Say so when Ctrl-C ends a command that has nothing better to say; typer would end in silence."""

    @functools.wraps(command)
    def told(*arguments: Any, **options: Any) -> int | None:
        try:
            return command(*arguments, **options)
        except KeyboardInterrupt:
            streams.tell("interrupted")
            return 130

    return told


def _print_version(wanted: bool) -> None:
    if wanted:
        import typer

        from reconciler import __version__

        print(f"reconciler {__version__}")  # noqa: T201
        raise typer.Exit


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Whatever goes wrong ends as one clear error, never as a traceback."""
    import typer

    streams.complete()
    arguments = arguments or ["--help"]
    # Reading the options of one command is quicker than those of all; whoever asks for help or mistypes gets all.
    wanted = arguments[0]
    command = typer.main.get_command(app([wanted] if wanted in COMMANDS else COMMANDS))
    try:
        code = command.main(list(arguments), prog_name="reconciler", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except ReconcilerError as error:
        return _told(error)
    except KeyboardInterrupt:
        streams.tell("interrupted")
        return 130
    except BrokenPipeError:
        return 1  # whoever read has gone
    except SystemExit as ended:  # typer ends so itself: with 1 where whoever read has gone
        return int(ended.code or 0)
    except Exception as error:
        if hasattr(error, "format_message"):  # the parser's own complaints; typer keeps their class to itself
            return _told(_usage(error))
        return _told(_surroundings(error) or _unexpected(error))
    finally:
        streams.settle()


def _told(error: ReconcilerError) -> int:
    from reconciler.render.errors import error_text

    for line in error_text(error, _colour()):
        streams.tell(line)
    return error.exit_code


def _usage(error: Exception) -> InputError:
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "reconciler")
    return InputError(str(error.format_message()), hint=f"`{path} --help` shows what it takes")  # type: ignore[attr-defined]


def _surroundings(error: Exception) -> ReconcilerError | None:
    """Say what is wrong around the program where that is why `error` was raised; None when it is not."""
    import os

    if isinstance(error, RuntimeError) and "home directory" in str(error):  # pathlib's, of `~` and `~somebody`
        return InputError("a path begins with the home directory of somebody who has none", hint="write it out")
    if not isinstance(error, OSError):
        return None
    try:
        streams.say("")  # what the parser printed by itself is still waiting
    except DiskError as refused:
        return refused
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        return InputError("the current directory was removed", hint="go to a directory that is there")
    return None


def _unexpected(error: Exception) -> ReconcilerError:
    """A defect of ours: say what, and where the details are, without a traceback on the user's terminal."""
    import tempfile
    import traceback

    from reconciler.secrets import redact

    text = redact("".join(traceback.format_exception(error)))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="reconciler-", suffix=".log", delete=False) as file:
            file.write(text)
        where = file.name
    except OSError:  # the disk may be what is wrong
        where = "what you did before"
    summary = f"this is a defect in reconciler: {type(error).__name__}: {redact(str(error))}"
    return ReconcilerError(summary, hint=f"nothing was lost; please report it with {where}")


def _colour() -> bool:
    import os

    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")
