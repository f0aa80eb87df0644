"""Every setting and where it came from: flag, environment, the user's file, the project's file, default.

Settings say how this machine works, never what should be on it: that is the manifest's. No secret is ever one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reconciler import home
from reconciler.errors import InputError, Problem
from reconciler.inert import human_bytes, inert, suggest
from reconciler.secrets import redact
from reconciler.settingsfiles import Written, here, read_project, read_user
from reconciler.settingvalues import number, path, program, rate, records, url, word

Color = Literal["auto", "always", "never"]
Engine = Literal["auto", "aria2c", "huggingface_hub"]

_SECRETS: Mapping[str, str] = {
    "token": "HF_TOKEN or the token file of `hf auth login`",
    "civitai_token": "CIVITAI_TOKEN or the file that civitai_token_file names",
}
"""Never a setting: of these only whether they are there is told. Where each comes from."""
_SECRET_WORD = re.compile(r"token|secret|passw|api_?key|credential", re.IGNORECASE)

_READ = 20
"""Problems that are told."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How this machine works. `origins` says for every field where its value came from."""

    endpoint: str
    """The Hub, without a slash at the end."""
    token: bool
    """Whether a token for the Hub is there; its value is nobody's business here."""
    civitai_endpoint: str
    """Civitai, without a slash at the end."""
    civitai_token: bool
    """Whether a token for Civitai is there."""
    civitai_token_file: Path
    """Where it is read from when CIVITAI_TOKEN does not say it."""
    limit_rate: int | None
    """Bytes a second over everything; None: no limit."""
    connections: int
    """Connections for one file."""
    files: int
    """Large files under way at the same time."""
    connections_per_host: int
    retries: int
    aria2c: str | None
    """The program; None: looked for."""
    downloader: Engine
    cache: Path
    registry: Path
    log_dir: Path | None
    """Where runs are logged; None: in the registry of each manifest."""
    color: Color
    origins: Mapping[str, str] = field(default_factory=dict)


class _Setting(NamedTuple):
    parse: Callable[[object, Mapping[str, str]], Any]
    """Raises ValueError with what was expected."""
    variables: tuple[str, ...]
    default: Callable[[Mapping[str, str]], Any]
    shared: bool = False
    """Whether a project may say it for everybody who works with it. Never what says where bytes, tokens or programs
    come from or go to: whoever can change a repository would decide that."""


def load(
    environ: Mapping[str, str], flags: Mapping[str, object] | None = None, project: Path | None = None
) -> Settings:
    """Return the settings that hold for `environ` and `flags` (by name; None means not given).

    `project` is a manifest or directory: the nearest `pyproject.toml` from there upward may say `[tool.reconciler]`;
    None leaves it out. Raises InputError with every unknown key and wrong value of files, environment and flags at
    once.
    """
    problems: list[Problem] = []
    files = (read_user(user_file(environ), problems), read_project(project, problems) if project else Written())
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    problems += [problem for key in given for problem in _unknown(key, "flags")]
    problems += [problem for file in files for key in file.values for problem in _unknown(key, file.where(key))]
    problems += [_personal(key, files[1]) for key in files[1].values if key in _SETTINGS and not _SETTINGS[key].shared]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, setting in _SETTINGS.items():
        values[key], origins[key] = _choose(key, setting, environ, given, files, problems)
    if problems:
        raise InputError(list(_brief(problems)))
    values["token"], origins["token"] = _token(environ)
    values["civitai_token"], origins["civitai_token"] = _civitai_token(environ, values["civitai_token_file"])
    return Settings(**values, origins={key: origins[key] for key in Settings.__dataclass_fields__ if key in origins})


def user_file(environ: Mapping[str, str]) -> Path:
    """Return where the user's settings are: `$XDG_CONFIG_HOME/reconciler/config.toml`."""
    return home.base(environ, "XDG_CONFIG_HOME", ".config") / "reconciler" / "config.toml"


def rows(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield (name, value, origin) of every setting, as `reconciler config` shows them."""
    for key, origin in settings.origins.items():
        value = getattr(settings, key)
        if key in _SECRETS:
            shown = "set" if value else "not set"
        elif key == "limit_rate":
            shown = "no limit" if value is None else f"{human_bytes(value)}/s"
        elif key == "log_dir":
            shown = "log/ in the registry" if value is None else redact(str(value))
        else:
            shown = "looked for" if value is None else redact(str(value))
        yield key, shown, origin


def to_json(settings: Settings) -> dict[str, Any]:
    """Return the settings as programs read them: `{name: {"value": …, "origin": …}}`; paths as text."""

    def plain(value: object) -> object:
        return redact(str(value)) if isinstance(value, Path | str) else value

    return {key: {"value": plain(getattr(settings, key)), "origin": origin} for key, origin in settings.origins.items()}


def wants_colour(settings: Settings, is_terminal: bool, environ: Mapping[str, str] | None = None) -> bool:
    """Whether output in colour is wanted; `TERM=dumb` is no terminal for colours."""
    if settings.color != "auto":
        return settings.color == "always"
    return is_terminal and (environ or {}).get("TERM") != "dumb"


def _choose(
    key: str,
    setting: _Setting,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
    files: tuple[Written, ...],
    problems: list[Problem],
) -> tuple[Any, str]:
    """Return the value that wins and its origin; note what is wrong with any of the others too."""
    found: list[tuple[Any, str]] = []
    candidates: list[tuple[object, str]] = []
    if key in flags:
        candidates.append((flags[key], "--" + key.replace("_", "-")))
    candidates += [(environ[variable], variable) for variable in setting.variables if environ.get(variable)]
    written = [(file.values[key], file.where(key)) for file in files if key in file.values]
    for raw, origin in candidates + written:
        value = {"NO_COLOR": "never", "FORCE_COLOR": "always"}.get(origin, raw)
        try:
            parsed = setting.parse(value, environ)
            if isinstance(parsed, Path) and not origin.startswith("--"):
                parsed = _absolute(parsed, origin)
            found.append((parsed, origin))
        except ValueError as error:
            told = redact(str(error))
            problems.append(Problem(origin, f"{key}: {told}" if (raw, origin) in written else told))
    return found[0] if found else (setting.default(environ), "default")


def _brief(problems: list[Problem]) -> Iterator[Problem]:
    """Yield problems as far as anybody reads, the list of all settings with the first of them."""
    listed = False
    for problem in problems[:_READ]:
        yield problem._replace(hint="" if listed and problem.hint == _ALL else problem.hint)
        listed |= problem.hint == _ALL
    if len(problems) > _READ:
        yield Problem("", f"and {len(problems) - _READ} more")


def _absolute(path: Path, origin: str) -> Path:
    """Return a path that means the same from every directory; ValueError for one that does not."""
    if not path.is_absolute() and origin.startswith("IMAGEWORKS_") and (current := here()):
        return current / path  # as that program takes it
    if not path.is_absolute():
        raise ValueError(f"expected an absolute path, or one that begins with ~/, found {str(path)[:80]!r}")
    return path


def _unknown(key: str, where: str) -> Iterator[Problem]:
    if key in _SETTINGS:
        return
    if key in _SECRETS or _SECRET_WORD.search(key):
        said = _SECRETS.get(key) or " and ".join(_SECRETS.values())
        yield Problem(where, f"{inert(key)[:80]}: a secret is not a setting", f"secrets come from {said}")
        return
    near = suggest(key.replace("-", "_").lower(), _SETTINGS)
    hint = f"did you mean {near}?" if near else _ALL
    if key == "tool" and where != "flags":
        hint = "in a file of your own the settings stand by themselves, below no table"
    yield Problem(where, f"unknown setting {key[:80]!r}", hint)


def _personal(key: str, project: Written) -> Problem:
    """Say why a project's file is not the place for a setting."""
    summary = f"{key}: not a project's to say, since it decides where bytes or tokens go, or what is run"
    hint = "`registry:` of the manifest says it" if key == "registry" else "say it in your own config.toml"
    variables = " or ".join(_SETTINGS[key].variables)
    return Problem(project.where(key), summary, f"{hint}, or {variables}")


def _token(environ: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether a token is there, and where; the order is huggingface_hub's."""
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if environ.get(variable, "").strip():
            return True, variable
    from reconciler.sources.tokens import hub_path

    return _file_of_token(hub_path(environ))


def _civitai_token(environ: Mapping[str, str], path: Path) -> tuple[bool, str]:
    if environ.get("CIVITAI_TOKEN", "").strip():
        return True, "CIVITAI_TOKEN"
    return _file_of_token(path)


def _file_of_token(path: Path) -> tuple[bool, str]:
    try:
        is_there = path.stat().st_size > 0
    except OSError:
        is_there = False
    return is_there, str(path) if is_there else "default"


def _cache(environ: Mapping[str, str]) -> Path:
    return home.base(environ, "XDG_CACHE_HOME", ".cache") / "reconciler"


def _token_file(environ: Mapping[str, str]) -> Path:
    return home.base(environ, "XDG_CONFIG_HOME", ".config") / "reconciler" / "civitai-token"


def _registry(environ: Mapping[str, str]) -> Path:
    return home.base(environ, "XDG_DATA_HOME", ".local/share") / "reconciler" / "registry"


_SETTINGS: Mapping[str, _Setting] = {
    "endpoint": _Setting(url, ("HF_ENDPOINT",), lambda _: "https://huggingface.co"),
    "civitai_endpoint": _Setting(url, ("CIVITAI_ENDPOINT",), lambda _: "https://civitai.com"),
    "civitai_token_file": _Setting(path, ("CIVITAI_TOKEN_FILE",), _token_file),
    "limit_rate": _Setting(rate, ("RECONCILER_LIMIT_RATE",), lambda _: None, shared=True),
    "connections": _Setting(number(1, 16), ("RECONCILER_CONNECTIONS",), lambda _: 8, shared=True),
    "files": _Setting(number(1, 64), ("RECONCILER_FILES",), lambda _: 4, shared=True),
    "connections_per_host": _Setting(number(1, 256), ("RECONCILER_CONNECTIONS_PER_HOST",), lambda _: 32, shared=True),
    "retries": _Setting(number(0, 100), ("RECONCILER_RETRIES",), lambda _: 5, shared=True),
    "aria2c": _Setting(program, ("RECONCILER_ARIA2C",), lambda _: None),
    "downloader": _Setting(
        word("auto", "aria2c", "huggingface_hub"), ("RECONCILER_DOWNLOADER",), lambda _: "auto", shared=True
    ),
    "cache": _Setting(path, ("RECONCILER_CACHE",), _cache),
    "registry": _Setting(records, ("RECONCILER_REGISTRY",), _registry),
    "log_dir": _Setting(path, ("RECONCILER_LOG_DIR", "IMAGEWORKS_LOG_DIR"), lambda _: None),
    "color": _Setting(
        word("auto", "always", "never"), ("RECONCILER_COLOR", "NO_COLOR", "FORCE_COLOR"), lambda _: "auto", shared=True
    ),
}
_ALL = "the settings are " + ", ".join(_SETTINGS)
