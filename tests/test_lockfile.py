from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler import lockfile
from reconciler.errors import DiskError, LockfileError
from reconciler.lockfile import Lock
from reconciler.paths import check_relative
from reconciler.state import Artifact, Digest, Pin, Support

SHA256 = Digest("sha256:" + "ab" * 32)
SHA1 = Digest("git-sha1:" + "cd" * 20)
COMMIT = "0123456789abcdef0123456789abcdef01234567"

TINY = Pin(
    "hf:owner/repo",
    COMMIT,
    (Artifact("config.json", 812, SHA1), Artifact("model-Q4_K_M.gguf", 2019377696, SHA256)),
    "apache-2.0",
)
LENT = Pin(
    "hf:owner/quants",
    COMMIT,
    (Artifact("config.json", 812, SHA1, support=True), Artifact("m.gguf", 1, SHA256)),
    None,
    Support("hf:owner/repo", COMMIT),
)
WEB = Pin("https://host/a.gguf", None, (Artifact("a.gguf", 1, SHA256, url="https://host/a.gguf"),))
LOCK = Lock(1, {"tiny": TINY, "lent": LENT, "web": WEB})

SUPPORT = f'{{"source": "hf:owner/repo", "revision": "{COMMIT}"}}'
TEXT = f"""\
{{"version": 1, "variants": {{
  "lent": {{"source": "hf:owner/quants", "revision": "{COMMIT}", "support": {SUPPORT}, "files": [
    {{"path": "config.json", "size": 812, "digest": "{SHA1}", "support": true}},
    {{"path": "m.gguf", "size": 1, "digest": "{SHA256}"}}]}},
  "tiny": {{"source": "hf:owner/repo", "revision": "{COMMIT}", "license": "apache-2.0", "files": [
    {{"path": "config.json", "size": 812, "digest": "{SHA1}"}},
    {{"path": "model-Q4_K_M.gguf", "size": 2019377696, "digest": "{SHA256}"}}]}},
  "web": {{"source": "https://host/a.gguf", "files": [
    {{"path": "a.gguf", "size": 1, "digest": "{SHA256}", "url": "https://host/a.gguf"}}]}}}}}}
"""


def test_a_lock_is_sorted_with_one_file_a_line_and_what_is_absent_left_out():
    assert lockfile.dumps(LOCK) == TEXT
    assert lockfile.loads(TEXT, "x.lock.json") == LOCK
    assert json.loads(TEXT)["version"] == 1


def test_an_empty_lock_is_one_line():
    assert lockfile.dumps(Lock()) == '{"version": 1, "variants": {}}\n'
    assert lockfile.loads(lockfile.dumps(Lock()), "x") == Lock()


def test_the_order_of_variants_and_files_does_not_matter_to_the_bytes():
    turned = Pin(TINY.source, TINY.revision, tuple(reversed(TINY.files)), TINY.license)
    assert lockfile.dumps(Lock(1, {"web": WEB, "tiny": turned, "lent": LENT})) == TEXT


def test_files_in_another_order_are_read_as_the_same_pin():
    first, second = TEXT.splitlines()[5:7]
    turned = TEXT.replace(f"{first}\n{second}", f"{second[:-3]},\n{first[:-1]}]}},")
    assert turned != TEXT
    assert lockfile.loads(turned, "x") == LOCK


def is_safe(path: str) -> bool:
    """Whether a path may stand in a lock at all: `prn` may not, on any system."""
    with contextlib.suppress(ValueError):
        return bool(check_relative(path))
    return False


paths = st.from_regex(r"[a-z0-9é世]{1,8}(/[a-zA-Z0-9_.-]{1,8}[a-z])?", fullmatch=True).filter(is_safe)
artifacts = st.builds(
    Artifact,
    paths,
    st.integers(0, 2**49),
    st.sampled_from([SHA1, SHA256]),
    st.booleans(),
    st.just(""),
    st.sampled_from(["", "application/vnd.ollama.image.model"]),
    st.sampled_from([(), (("autov2", "0123456789"),)]),
)
pins = st.builds(
    Pin,
    st.sampled_from(["hf:a/b", "hf:a/b@v1"]),
    st.none() | st.just(COMMIT),
    st.lists(artifacts, max_size=4, unique_by=lambda file: file.path).map(
        lambda files: tuple(sorted(files, key=lambda file: file.path))
    ),
    st.none() | st.text(min_size=1, max_size=20),
    st.none() | st.just(Support("hf:c/d", COMMIT)),
)


@given(st.dictionaries(st.text(min_size=1, max_size=12), pins, max_size=5))
def test_every_lock_reads_back_equal(found):
    text = lockfile.dumps(Lock(1, found))
    assert lockfile.loads(text, "x") == Lock(1, found)
    assert lockfile.dumps(lockfile.loads(text, "x")) == text


def test_names_that_would_fool_a_reviewer_are_escaped_and_others_stay_readable():
    text = lockfile.dumps(Lock(1, {"a\u202eb": WEB, "世界": WEB}))
    assert "\u202e" not in text
    assert "世界" in text
    assert lockfile.loads(text, "x").pins.keys() == {"a\u202eb", "世界"}


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('"version": 1', '"version": true', 1, "version"),
        ('"version": 1', '"version": 1, "extra": 1', 1, "extra"),
        ('"size": 2019377696', '"size": NaN', 7, "NaN"),
        ('"size": 2019377696', '"size": -1', 7, "expected"),
        ('"size": 2019377696', '"size": 1.5', 7, "expected"),
        ('"size": 2019377696', '"size": "1"', 7, "expected"),
        ('"size": 2019377696', '"size": true', 7, "expected"),
        ('"size": 2019377696', '"size": ' + "9" * 5000, 7, ""),
        (f'"digest": "{SHA256}"}}]}},\n  "web"', '"digest": "sha256:ABC"}]},\n  "web"', 7, "not a digest"),
        ("model-Q4_K_M.gguf", "../../etc/passwd", 7, ".."),
        ("model-Q4_K_M.gguf", "/etc/passwd", 7, "absolute"),
        ("model-Q4_K_M.gguf", "config.json", 7, "twice"),
        ('"tiny": {"source"', '"lent": {"source"', 5, "twice"),
        ('"license": "apache-2.0"', '"license": null', 5, "license"),
        (f'"revision": "{COMMIT}", "license"', '"revision": "main", "license"', 5, "no commit"),
        (f'"revision": "{COMMIT}"}}', '"revision": "../../x"}', 2, "no commit"),
        ('"license": "apache-2.0"', '"revision": "x"', 5, "twice"),
        ('"license": "apache-2.0"', '"licence": "x"', 5, "licence"),
        ('"url": "https://host/a.gguf"', '"url": "ftp://host/a.gguf"', 9, "url"),
        ('"url": "https://host/a.gguf"', '"urk": "https://host/a.gguf"', 9, "urk"),
        ('"support": true', '"support": 1', 3, "support"),
        ('"tiny": {"source": "hf:owner/repo", ', '"tiny": {', 5, "source"),
        ('  "tiny"', '<<<<<<< HEAD\n  "tiny"', 5, "conflict"),
        ('  "tiny"', "=======\n" + '  "tiny"', 5, "conflict"),
    ],
)
def test_a_damaged_lock_is_refused_with_its_line_and_what_to_do(old, new, line, says):
    damaged = TEXT.replace(old, new, 1)
    assert damaged != TEXT
    with pytest.raises(LockfileError) as error:
        lockfile.loads(damaged, "ws.lock.json")
    problem = error.value.problems[0]
    assert problem.where == f"ws.lock.json:{line}"
    assert says in problem.summary
    assert "reconciler lock" in problem.hint


def test_a_lock_of_a_later_version_is_no_damage_and_is_not_to_be_deleted():
    with pytest.raises(LockfileError) as error:
        lockfile.loads(TEXT.replace('"version": 1', '"version": 2', 1), "ws.lock.json")
    (problem,) = error.value.problems
    assert problem.where == "ws.lock.json:1"
    assert "version 2" in problem.summary
    assert "upgrade reconciler" in problem.hint
    assert "delete" not in problem.hint


def test_a_truncated_lock_is_never_taken_for_a_shorter_one():
    for end in range(len(TEXT) - 1):
        with pytest.raises(LockfileError):
            lockfile.loads(TEXT[:end], "x")


def test_a_lock_that_is_cut_off_inside_a_text_is_told_as_that():
    with pytest.raises(LockfileError, match="the text ends too early"):
        lockfile.loads(TEXT[: TEXT.index("apache") + 3], "x")


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "1", '{"version": 1}', '{"version": 1, "variants": []}', "[" * 100_000]
)
def test_other_json_is_no_lock(text):
    with pytest.raises(LockfileError):
        lockfile.loads(text, "x")


def test_the_lock_stands_beside_the_manifest():
    assert lockfile.path_for(Path("a/workstation.yaml")) == Path("a/workstation.lock.json")
    assert lockfile.path_for(Path("reconciler.yml")) == Path("reconciler.lock.json")
    assert lockfile.path_for(Path("a/manifests/")) == Path("a/manifests.lock.json")


def test_no_lock_is_none_and_an_unreadable_one_is_an_error(world):
    assert lockfile.read(world / "x.lock.json") is None
    assert lockfile.digest(world / "x.lock.json") is None
    (world / "x.lock.json").mkdir()
    with pytest.raises(LockfileError, match="move it away"):
        lockfile.read(world / "x.lock.json")
    (world / "y.lock.json").write_bytes(b'{"version": 1,\n\xff')
    with pytest.raises(LockfileError, match=r"y\.lock\.json:2: not UTF-8"):
        lockfile.read(world / "y.lock.json")


def test_what_is_written_reads_back_and_the_same_is_not_written_again(world):
    path = world / "ws.lock.json"
    lockfile.write(path, LOCK)
    assert lockfile.read(path) == LOCK
    before = path.stat()
    lockfile.write(path, LOCK)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    digest = lockfile.digest(path)
    path.chmod(0o640)
    lockfile.write(path, Lock(1, {"tiny": TINY}))
    assert lockfile.digest(path) != digest
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(world) == ["ws.lock.json"]


def test_a_lock_that_cannot_be_written_leaves_the_old_one(world, monkeypatch):
    path = world / "ws.lock.json"
    lockfile.write(path, LOCK)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match="the disk is full"):
        lockfile.write(path, Lock())
    assert lockfile.read(path) == LOCK
    assert os.listdir(world) == ["ws.lock.json"]


def test_a_lock_behind_a_link_stays_behind_it(world):
    (world / "real").mkdir()
    (world / "ws.lock.json").symlink_to("real/lock.json")
    lockfile.write(world / "ws.lock.json", LOCK)
    assert (world / "ws.lock.json").is_symlink()
    assert lockfile.read(world / "real/lock.json") == LOCK


def test_ten_thousand_variants_load_in_a_moment():
    many = {
        f"variant-{n}": Pin(
            f"hf:owner-{n}/repo",
            f"{n:040x}",
            tuple(Artifact(f"{name}-{n}.gguf", n, Digest(f"sha256:{3 * n + i:064x}")) for i, name in enumerate("abc")),
        )
        for n in range(10_000)
    }
    text = lockfile.dumps(Lock(1, many))
    start = time.process_time()
    assert len(lockfile.loads(text, "x").pins) == 10_000
    assert time.process_time() - start < 2  # 0.2 s where nothing else runs; a quadratic reader needs minutes
