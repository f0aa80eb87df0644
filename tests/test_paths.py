"""What may name a file, and what may be a root."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.inert import inert
from reconciler.paths import check_component, check_relative, check_root, collision_key


@pytest.mark.parametrize(
    "path",
    [
        "model.safetensors",
        "Llama-3.2-3B-Instruct-Q4_K_M.gguf",
        "onnx/model_q4f16.onnx_data",
        "my model (v2) [fp16].safetensors",
        "a+b,c=d@e#f&g!h%i;j'k.gguf",
        ".gitattributes",
        ".hidden/config.json",
        "日本語/モデル.gguf",
        "Übergröße.bin",
        "1_Pooling/config.json",
        "console.txt",
        "com10",
        "-leading-dash",
        "a..b",
        "…",
        "❤️.png",
        "x" * 255,
        "é" * 127,
    ],
)
def test_names_of_real_repositories_are_taken_as_they_are(path: str) -> None:
    assert check_relative(path) == path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "empty"),
        ("../x", r"\.\."),
        ("a/../x", r"\.\."),
        ("/etc/x", "absolute"),
        ("~/x", "~"),
        ("a/~x", "~"),
        ("C:\\x", "drive"),
        ("D:x", "drive"),
        ("\\x", r"\\"),
        ("\\\\host\\share", r"\\"),
        ("a\\..\\b", r"\\"),
        ("a/./b", r"`\.`"),
        ("a//b", "empty"),
        ("a/", "empty"),
        ("a.", "dot or a space"),
        ("a /b", "dot or a space"),
        ("CON", "reserved"),
        ("nul.safetensors", "reserved"),
        ("a/COM1", "reserved"),
        ("COM¹", "reserved"),
        ("lpt9 .txt", "reserved"),
        ("x:ads", ":"),
        ("a<b", "<"),
        ("a|b", r"\|"),
        ("a?b", r"\?"),
        ("a*b", r"\*"),
        ('a"b', '"'),
        ("a\nb", "U\\+000A"),
        ("a\x1b[2Kb", "U\\+001B"),
        ("a\x9bb", "U\\+009B"),
        ("a\u202eb", "U\\+202E"),
        ("a\u200bb", "U\\+200B"),
        ("a\U000e0041b", "U\\+E0041"),
        ("a\ud800b", "U\\+D800"),
        ("e\u0301", "NFC"),
        ("x" * 256, "256 bytes"),
        ("é" * 130, "260 bytes"),
        ("/".join(["x" * 200] * 6), "1205 bytes"),
    ],
)
def test_names_that_some_system_takes_for_something_else_are_refused(path: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        check_relative(path)
    assert inert(str(caught.value)) == str(caught.value)


_PIECES = st.sampled_from(
    [
        "..",
        ".",
        "",
        "/",
        "\\",
        "C:",
        "d:",
        "//",
        "\\\\",
        "~",
        "a",
        "b.gguf",
        " ",
        "CON",
        "nul.",
        "?",
        "é",
        "\0",
        "-",
        "aux.x",
    ]
)


@given(st.one_of(st.lists(_PIECES, max_size=8).map("".join), st.text(max_size=40)))
def test_nothing_is_accepted_that_python_or_the_hub_client_would_refuse(path: str) -> None:
    from huggingface_hub._local_folder import _validate_relative_filename

    try:
        check_relative(path)
    except ValueError:
        return
    _validate_relative_filename(path)
    posix, windows = PurePosixPath(path), PureWindowsPath(path)
    assert not posix.is_absolute()
    assert ".." not in posix.parts
    assert str(posix) == path
    assert not windows.drive
    assert not windows.root
    assert not windows.is_reserved()
    assert "\\".join(windows.parts) == path.replace("/", "\\")


@given(st.text(max_size=300))
def test_a_component_is_returned_unchanged_or_refused_in_words(name: str) -> None:
    try:
        taken = check_component(name)
    except ValueError as error:
        reason = str(error)
    else:
        assert taken == name
        assert "/" not in name
        assert len(name.encode()) <= 255
        return
    assert inert(reason) == reason


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A.gguf", "a.gguf"),
        ("\u00e9.gguf", "e\u0301.gguf"),
        ("Stra\u00dfe", "STRASSE"),
        ("\u1e9e", "ss"),
        ("\u0130x", "ix"),
        ("\u0131x", "Ix"),
        ("\ufb01le", "file"),
        ("a/B/c", "A/b/C"),
    ],
)
def test_names_that_are_one_file_on_some_volume_share_a_key(one: str, other: str) -> None:
    assert collision_key(one) == collision_key(other)


def test_names_that_differ_by_more_than_case_have_keys_of_their_own() -> None:
    assert len({collision_key(name) for name in ("a.gguf", "b.gguf", "a_b", "a-b", "ä", "a")}) == 6


def test_a_root_is_absolute_or_below_the_home_directory() -> None:
    home = Path("~").expanduser()
    assert check_root("~/ai models/weights") == f"{home}/ai models/weights"
    assert check_root("~/models/") == f"{home}/models"
    assert check_root("/mnt/d/ai stuff/models") == "/mnt/d/ai stuff/models"
    assert check_root("/srv/models") == "/srv/models"
    assert check_root("/dev/shm/models") == "/dev/shm/models"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("models", "relative"),
        ("./models", "relative"),
        ("~", "home directory itself"),
        ("~/", "home directory itself"),
        ("~root/models", "another user"),
        ("$HOME/models", "environment variable"),
        ("/data/${USER}/models", "environment variable"),
        ("%USERPROFILE%/models", "environment variable"),
        ("/data/../etc", r"\.\."),
        ("~/../other", r"\.\."),
        ("/data//models", "empty component"),
        ("/", "holds the home directory"),
        ("/etc", "system directory"),
        ("/etc/models", "system directory"),
        ("/usr/bin/models", "system directory"),
        ("/proc/1", "system directory"),
        ("/var", "system directory"),
        ("/tmp", "system directory|holds the home"),
        ("C:\\models", "Windows path"),
        ("D:/models", "Windows path"),
        ("\\\\host\\share", "Windows path"),
        ("/data/repo/.git/models", "belongs to another program"),
        ("~/ComfyUI/custom_nodes/x", "belongs to another program"),
        ("~/ComfyUI/Custom_Nodes", "belongs to another program"),
        ("/data/a\nb", "U\\+000A"),
        ("/data/" + "x" * 256, "too long"),
    ],
)
def test_a_root_is_never_a_place_of_somebody_else(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_root(text)


def test_a_directory_that_holds_the_home_directory_is_no_root() -> None:
    with pytest.raises(ValueError, match="holds the home directory"):
        check_root(str(Path("~").expanduser().parent))


@pytest.mark.parametrize("path", ["manifests/127.0.0.1:18500/acme/tiny/v1", "manifests/localhost:5000"])
def test_a_registry_with_a_port_is_filed_as_ollama_files_it(path: str) -> None:
    assert check_relative(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "blobs/127.0.0.1:80/x",
        "manifests/host:80:81/x",
        "manifests/host:port/x",
        "manifests/h:80/a:1",
        "x/manifests/h:80",
    ],
)
def test_no_other_colon_is_allowed(path: str) -> None:
    with pytest.raises(ValueError, match="`:`"):
        check_relative(path)
