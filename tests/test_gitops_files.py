"""The workflow files that we ship, read: by the schemas of the forges, and for the mistakes that are made most."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gitops_kit import ROOT, load

WORKFLOWS = sorted(path.relative_to(ROOT) for path in (ROOT / "examples/github").glob("*.yml"))
GITHUB = [*WORKFLOWS, Path("action.yml")]
GITLAB = Path("examples/gitlab/.gitlab-ci.yml")
UNITS = sorted((ROOT / "examples/systemd").iterdir())


def steps(path: Path) -> list[dict[str, Any]]:
    found = load(str(path))
    jobs = found["jobs"].values() if "jobs" in found else [found["runs"]]
    return [step for job in jobs for step in job["steps"]]


def scripts(path: Path) -> list[str]:
    if path == GITLAB:
        pipeline = load(str(path))
        return ["\n".join(job["script"]) for job in pipeline.values() if "script" in job]
    return [step["run"] for step in steps(path) if "run" in step]


def is_valid(schema: str, path: Path, *options: str) -> bool:
    """Whether a file answers a schema that comes with the checker; it asks nobody."""
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *options, str(path)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    return ran.returncode == 0


@pytest.mark.parametrize(
    ("path", "schema", "options", "key"),
    [
        *((path, "vendor.github-workflows", (), "runs-on:") for path in WORKFLOWS),
        (Path("action.yml"), "vendor.github-actions", (), "using: composite"),
        (GITLAB, "vendor.gitlab-ci", ("--data-transform", "gitlab-ci"), "stage: plan"),
    ],
    ids=str,
)
def test_the_forge_reads_it(tmp_path: Path, path: Path, schema: str, options: tuple[str, ...], key: str) -> None:
    """The control is the same file with one key spelt wrongly."""
    assert is_valid(schema, ROOT / path, *options)
    text = (ROOT / path).read_text()
    assert key in text
    wrong = tmp_path / path.name
    wrong.write_text(text.replace(key, f"x{key}") if key.endswith(":") else text.replace(key, "unknown: nonsense"))
    assert not is_valid(schema, wrong, *options)


@pytest.mark.parametrize("path", GITHUB, ids=str)
def test_no_script_holds_an_expression(path: Path) -> None:
    """Whoever chooses the value of an expression in a script writes the script: a branch may be called `$(…)`."""
    assert scripts(path)
    assert not [script for script in scripts(path) if "${{" in script]


@pytest.mark.parametrize("path", GITHUB, ids=str)
def test_what_others_wrote_is_taken_at_one_commit_whose_version_is_told(path: Path) -> None:
    lines = re.findall(r"uses: (.*)", (ROOT / path).read_text())
    assert lines
    assert not [line for line in lines if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)]


def test_one_action_is_taken_at_one_commit_everywhere() -> None:
    pins = {step["uses"] for path in GITHUB for step in steps(path) if "uses" in step}
    assert len({pin.partition("@")[0] for pin in pins}) == len(pins)


@pytest.mark.parametrize("path", WORKFLOWS, ids=str)
def test_every_job_says_its_permissions_and_a_limit_of_time(path: Path) -> None:
    workflow = load(str(path))
    assert workflow["permissions"] == {}, "what a job may do stands at the job"
    assert all(job["permissions"] and "timeout-minutes" in job for job in workflow["jobs"].values())
    assert workflow["defaults"] == {"run": {"shell": "bash"}}
    assert workflow["concurrency"]


@pytest.mark.parametrize("path", [*GITHUB, GITLAB], ids=str)
def test_python_looks_for_no_module_where_it_stands(path: Path) -> None:
    """Without `-I` it would run a `json.py` of the pull request."""
    calls = [
        call for script in scripts(path) for call in re.findall(r"(?:python3|bin/python\"|\"\$PYTHON\") .*", script)
    ]
    assert not [call for call in calls if not re.match(r"\S+ -I ", call)]


@pytest.mark.parametrize("path", [*WORKFLOWS, GITLAB], ids=str)
def test_nothing_is_installed_by_a_bare_name(path: Path) -> None:
    """On an index of packages the name belongs to whoever was first: it would run beside a token."""
    text = (ROOT / path).read_text()
    installed = re.findall(r"pip install (.*)", text)
    assert installed
    assert {line.removeprefix("--quiet ") for line in installed} == {'"$RECONCILER"'}
    assert "  RECONCILER: git+https://github.com/OWNER/reconciler@TAG " in text


def test_shell_steps_need_no_program_beyond_those_of_a_runner() -> None:
    """Python, git, `gh` or `curl`, and the shell's own: no `jq` that a small image has not."""
    assert not [path for path in [*GITHUB, GITLAB] if re.search(r"\bjq\b", (ROOT / path).read_text())]


def test_every_trigger_is_known_and_none_runs_foreign_code_with_our_token() -> None:
    triggers = {event for path in WORKFLOWS for event in load(str(path))["on"]}
    assert triggers == {"pull_request", "workflow_run", "schedule", "workflow_dispatch"}
    assert "secrets." not in "".join((ROOT / path).read_text() for path in GITHUB)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_reads_every_unit(tmp_path: Path) -> None:
    for path in UNITS:
        text = path.read_text().replace("/usr/local/bin/reconciler", "/bin/true").replace("/usr/bin/git", "/bin/true")
        (tmp_path / path.name).write_text(text)
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr


def test_every_file_stands_in_the_page() -> None:
    page = (ROOT / "docs/gitops.md").read_text()
    names = [Path(path).name for path in [*WORKFLOWS, *UNITS, GITLAB, "action.yml", ".pre-commit-hooks.yaml"]]
    assert not [name for name in names if name not in page]
