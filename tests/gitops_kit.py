"""A forge in a directory: real git, the real program, stubs for `gh` and `curl`, and a runner of workflow files.

The stubs are this very file, run as a program; what they know of the forge is one JSON file.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).parent.parent
TOKEN = "token-of-the-forge"
TOOLS = tuple(found for name in ("git", "bash") if (found := shutil.which(name)))
"""What a runner has besides; tests that need them are skipped where they are not."""
PAGE = 2
"""Comments on one page: few, so that a comment on a later page is found, or not."""

MANIFEST = """\
version: 1
name: gpu-server
registry: ~/registry
locations:
  weights: { store: huggingface, root: ~/weights }
variants:
  tiny-chat:
    source: hf:acme/Tiny-Chat
"""


_LOCKED: dict[str, str] = {}


class Ran(NamedTuple):
    """What one command said."""

    code: int
    out: str


@dataclass
class Forge:
    """A directory with an origin, a home, programs, and what the forge's API would know."""

    here: Path
    hub: str
    state: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("bin", "home", "temp"):
            (self.here / name).mkdir(parents=True)
        python = shlex.quote(sys.executable)
        self._program("reconciler", f'exec {python} -m reconciler "$@"')
        self._program("python3", f'case "$*" in "-m pip "*) echo "$*" >> "$STUB_PIP" ;; *) exec {python} "$@" ;; esac')
        self._program("pip", 'echo "$*" >> "$STUB_PIP"')
        for name in ("gh", "curl"):
            self._program(name, f'exec {python} {shlex.quote(__file__)} {name} "$@"')
        self.write({"comments": [], "pulls": {}, "pull_requests": [], "calls": [], **self.state})

    def _program(self, name: str, line: str) -> None:
        path = self.here / "bin" / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def read(self) -> dict[str, Any]:
        """Return what the forge knows."""
        known: dict[str, Any] = json.loads((self.here / "forge.json").read_text())
        return known

    def write(self, state: Mapping[str, Any]) -> None:
        """Let the forge know this."""
        (self.here / "forge.json").write_text(json.dumps(state))

    def environment(self) -> dict[str, str]:
        """Return the variables that every command sees; no token is among them."""
        home = str(self.here / "home")
        return {
            "PATH": ":".join([str(self.here / "bin"), os.defpath, *{str(Path(each).parent) for each in TOOLS}]),
            "HOME": home, "XDG_CACHE_HOME": f"{home}/.cache", "XDG_CONFIG_HOME": f"{home}/.config",
            "XDG_DATA_HOME": f"{home}/.local/share", "HF_ENDPOINT": self.hub, "no_proxy": "127.0.0.1",
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "PYTHONPATH": str(ROOT),
            "STUB_STATE": str(self.here / "forge.json"), "STUB_PIP": str(self.here / "pip.log"),
        }  # fmt: skip

    def run(self, *words: str, cwd: Path | None = None, **more: str) -> Ran:
        """Run a command, as the test itself."""
        author = {
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@t",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@t",
        }
        return _run(list(words), cwd or self.here, self.environment() | author | more)

    def git(self, *words: str, cwd: Path) -> str:
        """Run git, which must succeed."""
        ran = self.run("git", *words, cwd=cwd)
        assert ran.code == 0, ran.out
        return ran.out.strip()

    def found(self, manifest: str = MANIFEST) -> Path:
        """Make the origin: one machine's manifest, locked, on the branch `main`."""
        work = self.here / "seed"
        (work / "gpu-server").mkdir(parents=True)
        (work / "gpu-server/reconciler.yaml").write_text(manifest)
        lock = work / "gpu-server/reconciler.lock.json"
        if manifest in _LOCKED:  # the same bytes upstream have the same lock
            lock.write_text(_LOCKED[manifest])
        else:
            ran = self.run("reconciler", "lock", "gpu-server/reconciler.yaml", cwd=work)
            assert ran.code == 0, ran.out
            _LOCKED[manifest] = lock.read_text()
        self.git("init", "--quiet", "--initial-branch=main", cwd=work)
        self.git("add", ".", cwd=work)
        self.git("commit", "--quiet", "--message=start", cwd=work)
        self.git("clone", "--quiet", "--bare", str(work), str(self.here / "origin.git"), cwd=self.here)
        self.git("config", "receive.advertisePushOptions", "true", cwd=self.origin)
        return work

    @property
    def origin(self) -> Path:
        """The bare repository."""
        return self.here / "origin.git"

    def clone(self, name: str) -> Path:
        """Return a new checkout of `main`."""
        self.git("clone", "--quiet", str(self.origin), str(self.here / name), cwd=self.here)
        return self.here / name


def _run(words: list[str], cwd: Path, environment: Mapping[str, str]) -> Ran:
    ran = subprocess.run(
        words, cwd=cwd, env=dict(environment), capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
        check=False,
    )  # fmt: skip
    return Ran(ran.returncode, ran.stdout + ran.stderr)


# -- running workflows ------------------------------------------------------------------------------------------------

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_EQUALS = re.compile(r"(\S+) == '([^']*)'")


def load(path: str) -> Any:
    """Read a YAML file of the repository; what YAML 1.1 takes for a truth value under `on:` stays text."""
    import yaml

    return yaml.load((ROOT / path).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


@dataclass
class Job:
    """One run of one job: what it was told, what its steps said, and how it ended."""

    forge: Forge
    workspace: Path
    context: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    log: str = ""
    failed: str = ""
    """Name of the step that failed, '' for none."""
    summary: str = ""

    def value(self, expression: str) -> str:
        """Return what an expression means; what nobody defined is a mistake in the workflow, or in the test."""
        if expression in self.context:
            return self.context[expression]
        if found := re.fullmatch(r"steps\.(\w+)\.outputs\.([\w-]+)", expression):
            return self.outputs.get(found[1], {}).get(found[2], "")
        if found := re.fullmatch(r"steps\.(\w+)\.outcome", expression):
            return self.outcomes[found[1]]
        raise AssertionError(f"nobody says what {expression} is")

    def text(self, text: str) -> str:
        """Return a text with its expressions filled in."""
        return _EXPRESSION.sub(lambda found: self.value(found[1]), text)

    def holds(self, condition: str) -> bool:
        """Whether an `if:` holds."""
        found = _EQUALS.fullmatch(condition)
        assert found, f"a condition that nobody here understands: {condition}"
        return self.value(found[1]) == found[2]

    def steps(self, steps: list[dict[str, Any]], environment: Mapping[str, str]) -> Job:
        """Run steps until one fails."""
        for number, step in enumerate(steps):
            if "if" in step and not self.holds(step["if"]):
                continue
            name = step.get("name") or step.get("uses") or str(number)
            code = self._uses(step) if "uses" in step else self._shell(step, environment)
            self.outcomes[step.get("id", name)] = "failure" if code else "success"
            if code and step.get("continue-on-error") != "true":
                self.failed = name
                break
        return self

    def _shell(self, step: dict[str, Any], environment: Mapping[str, str]) -> int:
        assert "${{" not in step["run"], "an expression in a script: whoever chooses its value writes the script"
        temp = self.forge.here / "temp" / self.workspace.name
        temp.mkdir(exist_ok=True)
        files = {"GITHUB_OUTPUT": temp / "output", "GITHUB_STEP_SUMMARY": temp / "summary"}
        for path in files.values():
            path.write_text("")
        said = {**environment, **step.get("env", {})}
        variables = self.forge.environment() | {"RUNNER_TEMP": str(temp), "GITHUB_ACTION_PATH": str(ROOT)}
        variables |= {key: str(path) for key, path in files.items()}
        variables |= {key: self.text(value) for key, value in said.items()}
        cwd = self.workspace / self.text(step.get("working-directory", "."))
        ran = _run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], cwd, variables)
        self.log += ran.out
        pairs = (line.partition("=") for line in files["GITHUB_OUTPUT"].read_text().splitlines())
        self.outputs[step.get("id", "")] = {key: value for key, _, value in pairs}
        self.summary += files["GITHUB_STEP_SUMMARY"].read_text()
        return ran.code

    def _uses(self, step: dict[str, Any]) -> int:
        action, said = step["uses"].partition("@")[0], step.get("with", {})
        store = self.forge.here / "artifacts"
        match action:
            case "actions/setup-python":
                pass
            case "actions/checkout":
                there = self.workspace / said.get("path", ".")
                of = Path(self.text(said["ref"])) if "ref" in said else Path(self.context["checkout"])
                shutil.copytree(of, there, dirs_exist_ok=True, symlinks=True)
            case "actions/upload-artifact":
                shutil.copytree(self.workspace / said["path"], store / said["name"], symlinks=True)
            case "actions/download-artifact":
                if not (store / said["name"]).exists():
                    return 1
                shutil.copytree(store / said["name"], self.workspace / said["path"], symlinks=True)
            case _:
                raise AssertionError(f"nobody here knows {action}")
        return 0


def run_workflow(forge: Forge, path: str, job: str, context: Mapping[str, str]) -> Job:
    """Run one job of a workflow of GitHub in an empty workspace; its steps see what the workflow gives them."""
    workflow = load(path)
    spec = workflow["jobs"][job]
    workspace = forge.here / f"workspace-{len(list(forge.here.glob('workspace-*')))}"
    workspace.mkdir()
    running = Job(forge, workspace, dict(context))
    if "if" in spec and not running.holds(spec["if"]):
        return running
    return running.steps(spec["steps"], workflow.get("env", {}))


def run_gitlab(forge: Forge, job: str, workspace: Path, **variables: str) -> Ran:
    """Run one job of the GitLab example; its script is one script, as a runner makes of it."""
    pipeline = load("examples/gitlab/.gitlab-ci.yml")
    lines = [*pipeline["default"]["before_script"], *pipeline[job]["script"]]
    script = "set -eo pipefail\n" + "\n".join(lines)
    environment = forge.environment() | pipeline["variables"] | variables
    return _run(["bash", "--noprofile", "--norc", "-c", script], workspace, environment)


# -- the stubs --------------------------------------------------------------------------------------------------------


def _options(words: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Part plain words from options; only what the workflows use is known."""
    flags = {"--paginate", "--slurp", "--fail", "--silent", "--show-error"}
    plain: list[str] = []
    options: dict[str, list[str]] = {}
    while words:
        word, *words = words
        if word in flags:
            options[word] = []
        elif word.startswith("-"):
            value, *words = words
            options.setdefault(word, []).append(value)
        else:
            plain.append(word)
    return plain, options


def _gh(words: list[str], state: dict[str, Any]) -> Any:
    if os.environ.get("GH_TOKEN") != TOKEN:
        sys.exit("gh: no token")
    plain, options = _options(words)
    if plain[0] == "pr":
        return _gh_pr(plain, options, state)
    assert plain[0] == "api", words
    url = urlsplit(plain[1])
    body = json.loads(Path(options["--input"][0]).read_text()) if "--input" in options else {}
    match options.get("--method", ["GET"])[0], url.path.split("/"):
        case "GET", ["repos", _, _, "pulls", number]:
            return {"number": int(number), "head": {"sha": state["pulls"][number]}}
        case "GET", ["repos", _, _, "issues", number, "comments"]:
            assert "--paginate" in options
            assert "--slurp" in options
            mine = [comment for comment in state["comments"] if comment["issue"] == int(number)]
            return [mine[start : start + PAGE] for start in range(0, len(mine) or 1, PAGE)]
        case "POST", ["repos", _, _, "issues", number, "comments"]:
            made = {"id": 1000 + len(state["comments"]), "issue": int(number), "user": {"login": "github-actions[bot]"}}
            state["comments"].append(made | body)
            return made
        case "PATCH", ["repos", _, _, "issues", "comments", number]:
            [comment] = [each for each in state["comments"] if each["id"] == int(number)]
            comment.update(body)
            return comment
    raise AssertionError(words)


def _gh_pr(plain: list[str], options: dict[str, list[str]], state: dict[str, Any]) -> Any:
    said = {key.removeprefix("--"): values[0] for key, values in options.items()}
    if "body-file" in said:
        said["body"] = Path(said.pop("body-file")).read_text()
    opened = [pull for pull in state["pull_requests"] if pull["open"]]
    match plain:
        case ["pr", "list"]:
            return [{"number": pull["number"]} for pull in opened if pull["head"] == said["head"]]
        case ["pr", "create"]:
            state["pull_requests"].append({"number": 1 + len(state["pull_requests"]), "open": True, **said})
        case ["pr", "edit", head]:
            [pull] = [pull for pull in opened if pull["head"] == head]
            pull.update(said)
        case _:
            raise AssertionError(plain)
    return {}


def _curl(words: list[str], state: dict[str, Any]) -> Any:
    [url], options = _options(words)
    [header] = options["--header"]
    assert header.startswith("@"), "a token on a command line"
    assert stat.S_IMODE(Path(header[1:]).stat().st_mode) == 0o600
    if Path(header[1:]).read_text() != f"PRIVATE-TOKEN: {TOKEN}\n":
        sys.exit("curl: 401")
    path, query = urlsplit(url).path, parse_qs(urlsplit(url).query)
    body = {}
    for each in options.get("--data-urlencode", ()):
        key, _, file = each.partition("@")
        body[key] = Path(file).read_text()
    match options.get("--request", ["GET"])[0], path.split("/")[3:]:
        case "GET", ["user"]:
            return {"id": 7}
        case "GET", ["projects", _, "merge_requests", _, "notes"]:
            start = PAGE * (int(query["page"][0]) - 1)
            return state["comments"][start : start + PAGE]
        case "POST", ["projects", _, "merge_requests", _, "notes"]:
            state["comments"].append({"id": 1000 + len(state["comments"]), "author": {"id": 7}, **body})
            return state["comments"][-1]
        case "PUT", ["projects", _, "merge_requests", _, "notes", number]:
            [note] = [each for each in state["comments"] if each["id"] == int(number)]
            note.update(body)
            return note
    raise AssertionError(words)


def main(name: str, words: list[str]) -> None:
    """Answer as the forge would."""
    path = Path(os.environ["STUB_STATE"])
    state = json.loads(path.read_text())
    answer = {"gh": _gh, "curl": _curl}[name](words, state)
    state["calls"].append([name, *words])
    path.write_text(json.dumps(state))
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
