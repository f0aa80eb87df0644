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
import zipfile
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

HEAD = "c0ffee" * 6 + "abcd"
"""The last commit of pull request 12."""

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
        self._program("reconciler", f'exec {python} -P -m reconciler "$@"')  # as its console script: not from here
        here = shlex.quote(str(self.here / "bin"))
        venv = f'mkdir -p "$4/bin" && ln -sf {here}/python3 "$4/bin/python" && ln -sf {here}/reconciler "$4/bin/"'
        cases = f'"-I -m pip "*) echo "$*" >> "$STUB_PIP" ;; "-I -m venv "*) {venv} ;; *) exec {python} "$@" ;;'
        self._program("python3", f'case "$*" in {cases} esac')
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
        self.git("commit", "--quiet", "--allow-empty", "--message=nothing yet", cwd=work)
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

    def keep(self, name: str, directory: Path) -> None:
        """Keep a directory as an artifact: an archive of it, which names nothing above it."""
        with zipfile.ZipFile(self.here / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(directory.rglob("*")):
                archive.write(path, path.relative_to(directory))

    def kept(self, name: str) -> dict[str, bytes]:
        """Return what an artifact holds."""
        with zipfile.ZipFile(self.here / f"{name}.zip") as archive:
            return {each: archive.read(each) for each in archive.namelist()}


def _run(words: list[str], cwd: Path, environment: Mapping[str, str]) -> Ran:
    ran = subprocess.run(
        words, cwd=cwd, env=dict(environment), capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
        check=False,
    )  # fmt: skip
    return Ran(ran.returncode, ran.stdout + ran.stderr)


# -- running workflows ------------------------------------------------------------------------------------------------

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_EQUALS = re.compile(r"(\S+) (==|!=) '([^']*)'")
_ALSO_AFTER_A_FAILURE = "success() || failure()"


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
    log: str = ""
    failed: str = ""
    """Name of the step that failed, '' for none."""
    summary: str = ""

    @property
    def temp(self) -> Path:
        """The directory of the runner that no checkout reaches."""
        found = self.forge.here / "temp" / self.workspace.name
        found.mkdir(exist_ok=True)
        return found

    def value(self, expression: str) -> str:
        """Return what an expression means; what nobody defined is a mistake in the workflow, or in the test."""
        if expression == "runner.temp":
            return str(self.temp)
        if expression in self.context:
            return self.context[expression]
        if found := re.fullmatch(r"steps\.(\w+)\.outputs\.([\w-]+)", expression):
            return self.outputs.get(found[1], {}).get(found[2], "")
        raise AssertionError(f"nobody says what {expression} is")

    def text(self, text: str) -> str:
        """Return a text with its expressions filled in."""
        return _EXPRESSION.sub(lambda found: self.value(found[1]), text)

    def holds(self, condition: str) -> bool:
        """Whether an `if:` holds; without a word about failures it does not after one."""
        if condition == _ALSO_AFTER_A_FAILURE:
            return True
        found = _EQUALS.fullmatch(condition)
        assert found, f"a condition that nobody here understands: {condition}"
        return not self.failed and (self.value(found[1]) == found[3]) is (found[2] == "==")

    def steps(self, steps: list[dict[str, Any]], environment: Mapping[str, str]) -> Job:
        """Run steps; after one that fails, only those that ask for it."""
        for number, step in enumerate(steps):
            if not (self.holds(step["if"]) if "if" in step else not self.failed):
                continue
            name = step.get("name") or step.get("uses") or str(number)
            if "uses" in step:
                self._uses(step)
            elif self._shell(step, environment):
                self.failed = self.failed or name
        return self

    def _shell(self, step: dict[str, Any], environment: Mapping[str, str]) -> int:
        assert "${{" not in step["run"], "an expression in a script: whoever chooses its value writes the script"
        files = {"GITHUB_OUTPUT": self.temp / "output", "GITHUB_STEP_SUMMARY": self.temp / "summary"}
        for path in files.values():
            path.write_text("")
        said = {**environment, **step.get("env", {})}
        variables = self.forge.environment() | {"RUNNER_TEMP": str(self.temp), "GITHUB_ACTION_PATH": str(ROOT)}
        variables |= {key: str(path) for key, path in files.items()}
        variables |= {key: self.text(value) for key, value in said.items()}
        cwd = self.workspace / self.text(step.get("working-directory", "."))
        ran = _run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], cwd, variables)
        self.log += ran.out
        pairs = (line.partition("=") for line in files["GITHUB_OUTPUT"].read_text().splitlines())
        self.outputs[step.get("id", "")] = {key: value for key, _, value in pairs}
        self.summary += files["GITHUB_STEP_SUMMARY"].read_text()
        return ran.code

    def _uses(self, step: dict[str, Any]) -> None:
        said = step.get("with", {})
        match step["uses"].partition("@")[0]:
            case "actions/setup-python":
                self.outputs[step.get("id", "")] = {"python-path": str(self.forge.here / "bin/python3")}
            case "actions/checkout":
                shutil.copytree(Path(self.context["checkout"]), self.workspace, dirs_exist_ok=True, symlinks=True)
            case "actions/upload-artifact":
                self.forge.keep(said["name"], Path(self.text(said["path"])))
            case action:
                raise AssertionError(f"nobody here knows {action}")


def run_workflow(forge: Forge, path: str, job: str, context: Mapping[str, str]) -> Job:
    """Run one job of a workflow of GitHub in an empty workspace; its steps see what the workflow gives them."""
    workflow = load(path)
    spec = workflow["jobs"][job]
    workspace = forge.here / f"workspace-{len(list(forge.here.glob('workspace-*')))}"
    workspace.mkdir()
    running = Job(forge, workspace, dict(context))
    if "if" in spec and not running.holds(spec["if"]):
        return running
    return running.steps(spec["steps"], {**workflow.get("env", {}), **spec.get("env", {})})


def knows(forge: Forge, *comments: dict[str, Any]) -> None:
    """Let the forge have two pull requests and these comments."""
    forge.write(forge.read() | {"pulls": {"12": HEAD, "13": "0" * 40}, "comments": list(comments)})


def comment_job(forge: Forge, ended: str = "success") -> Job:
    """Run the trusted job, after a run of the other one for the commit `HEAD`."""
    context = {
        "github.event.workflow_run.event": "pull_request",
        "github.event.workflow_run.id": "1",
        "github.event.workflow_run.head_sha": HEAD,
        "github.event.workflow_run.conclusion": ended,
        "github.server_url": "https://forge.example",
        "github.token": TOKEN,
        "github.repository": "acme/models",
        "github.workflow": "comment",
    }
    return run_workflow(forge, "examples/github/comment.yml", "comment", context)


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
        case "GET", ["repos", _, _, "actions", "runs", _, "artifacts"]:
            kept = Path(os.environ["STUB_STATE"]).parent / f"{parse_qs(url.query)['name'][0]}.zip"
            size = state.get("claimed_size") or (kept.stat().st_size if kept.exists() else 0)
            return {
                "artifacts": [{"id": 3, "size_in_bytes": 1 << 40}, {"id": 9, "size_in_bytes": size}][: 2 * bool(size)]
            }
        case "GET", ["repos", _, _, "actions", "artifacts", "9", "zip"]:
            return (Path(os.environ["STUB_STATE"]).parent / "plan.zip").read_bytes()
        case "GET", ["repos", _, _, "pulls", number]:
            return {"number": int(number), "head": {"sha": state["pulls"][number]}}
        case "GET", ["repos", _, _, "pulls", _, "files"]:
            changed = [{"filename": path} for path in state.get("files", ["gpu-server/reconciler.yaml"])]
            return [changed[start : start + PAGE] for start in range(0, len(changed), PAGE)]
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
    assert stat.S_IMODE(Path(header[1:]).parent.stat().st_mode) == 0o700
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
    sys.stdout.buffer.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
