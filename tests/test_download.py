"""Downloads: what `-hf` and `-mu` bring to this machine, and that nothing but whole files is taken for a model."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import TOKEN, FakeHub, oid, serving

from llamahttp import flags
from llamahttp.download import fetched
from llamahttp.errors import StartupError
from llamahttp.hub import cache_directory, cached_models
from llamahttp.transfer import SUFFIX

REPO = "ab/model-GGUF"
DATA = os.urandom(300_000)
OTHER = os.urandom(200_000)


class Machine:
    """A machine with an empty cache that knows one hub."""

    def __init__(self, hub: FakeHub, home: Path) -> None:
        self.hub = hub
        self.home = home
        self.environ = {"HF_ENDPOINT": hub.url, "HOME": str(home)}

    def fetch(self, line: str) -> Path:
        """The model that a command line serves."""
        return fetched(flags.parse(line.split(), self.environ), self.environ, pause_s=0.001).engine.model

    def left_over(self) -> list[str]:
        """Files of unfinished downloads that hold anything."""
        return [path.name for path in self.home.rglob(f"*{SUFFIX}") if path.stat().st_size]


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    repos = {REPO: {"README.md": b"hello", "model-Q4_K_M.gguf": DATA, "model-Q8_0.gguf": OTHER}}
    with serving(FakeHub(repos)) as served:
        yield served


@pytest.fixture
def machine(hub: FakeHub, tmp_path: Path) -> Machine:
    return Machine(hub, tmp_path)


@pytest.mark.parametrize(
    ("line", "name", "data"),
    [
        (f"-hf {REPO}", "model-Q4_K_M.gguf", DATA),
        (f"-hf {REPO}:q8_0", "model-Q8_0.gguf", OTHER),
        (f"-hf {REPO}:Q4_K_M -hff model-Q8_0.gguf", "model-Q8_0.gguf", OTHER),
    ],
)
def test_a_quant_or_a_file_is_fetched_and_only_once(machine: Machine, line: str, name: str, data: bytes) -> None:
    path = machine.fetch(line)
    assert (path.name, path.read_bytes()) == (name, data)
    assert machine.fetch(line) == path
    assert len(machine.hub.downloads()) == 1
    assert machine.left_over() == []


def test_the_cache_is_laid_out_as_others_lay_it_out(machine: Machine) -> None:
    path = machine.fetch(f"-hf {REPO}")
    home = machine.home / ".cache/huggingface/hub/models--ab--model-GGUF"
    commit = machine.hub.commit(REPO)
    assert path == home / "snapshots" / commit / "model-Q4_K_M.gguf"
    assert os.readlink(path) == f"../../blobs/{oid(DATA)}"
    assert (home / "refs/main").read_text() == commit


def test_hugging_faces_own_tool_finds_what_was_fetched_and_the_reverse(machine: Machine) -> None:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    path = machine.fetch(f"-hf {REPO}")
    directory = cache_directory(machine.environ)
    assert try_to_load_from_cache(REPO, "model-Q4_K_M.gguf", cache_dir=directory) == str(path)
    theirs = hf_hub_download(REPO, "model-Q8_0.gguf", cache_dir=directory, endpoint=machine.hub.url)
    assert machine.fetch(f"-hf {REPO}:Q8_0 --offline") == Path(theirs)
    assert list(cached_models(machine.environ)) == [f"{REPO}:Q4_K_M", f"{REPO}:Q8_0"]


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({"LLAMA_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c", "HOME": "/d"}, "/c/huggingface/hub"),
        ({"HOME": "/d", "LLAMA_CACHE": ""}, "/d/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_llama_server_looks_for_it(environ: dict[str, str], directory: str) -> None:
    assert cache_directory(environ) == Path(directory)


def test_all_parts_of_a_split_model_are_fetched(machine: Machine) -> None:
    parts = {f"x/big-F16-0000{i}-of-00003.gguf": os.urandom(1000) for i in (1, 2, 3)}
    machine.hub.repos[REPO] = dict(reversed(parts.items()))
    path = machine.fetch(f"-hf {REPO}:F16")
    assert path.name == "big-F16-00001-of-00003.gguf"
    assert [each.read_bytes() for each in sorted(path.parent.iterdir())] == list(parts.values())


def test_a_split_model_that_lacks_a_part_is_refused(machine: Machine) -> None:
    machine.hub.repos[REPO] = {"big-00001-of-00002.gguf": b"x"}
    with pytest.raises(StartupError, match=r"lacks 1 of 2 parts: big-00002-of-00002\.gguf"):
        machine.fetch(f"-hf {REPO}")


# --- interruptions


def test_an_interrupted_download_goes_on_where_it_stopped(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    machine.hub.cut_after = [100_000, 50_000]
    with caplog.at_level(logging.WARNING, "llamahttp"):
        path = machine.fetch(f"-hf {REPO}")
    assert path.read_bytes() == DATA
    ranges = [request.split()[2] for request in machine.hub.downloads()[1:]]
    assert ranges == ["bytes=100000-", "bytes=150000-"]
    assert "was interrupted" in caplog.text


def test_the_next_start_goes_on_where_this_one_was_killed(machine: Machine) -> None:
    blobs = cache_directory(machine.environ) / "models--ab--model-GGUF/blobs"
    blobs.mkdir(parents=True)
    (blobs / (oid(DATA) + SUFFIX)).write_bytes(DATA[:123_456])
    assert machine.fetch(f"-hf {REPO}").read_bytes() == DATA
    assert machine.hub.downloads()[0].endswith("bytes=123456-")


def test_a_server_without_ranges_is_asked_for_everything_again(machine: Machine) -> None:
    machine.hub.takes_ranges, machine.hub.cut_after = False, [100_000]
    assert machine.fetch(f"-hf {REPO}").read_bytes() == DATA


def test_a_passing_fault_of_the_server_is_waited_for(machine: Machine) -> None:
    machine.hub.statuses = [503, 500]
    assert machine.fetch(f"-hf {REPO}").read_bytes() == DATA


def test_a_download_that_never_comes_is_given_up_and_no_model(machine: Machine) -> None:
    machine.hub.cut_after = [0] * 9
    with pytest.raises(StartupError, match=r"^cannot download http://127\.0\.0\.1"):
        machine.fetch(f"-hf {REPO}")
    with pytest.raises(StartupError, match="--offline"):
        machine.fetch(f"-hf {REPO} --offline")
    machine.hub.cut_after = []
    assert machine.fetch(f"-hf {REPO}").read_bytes() == DATA


def test_a_damaged_file_is_no_model(machine: Machine) -> None:
    machine.hub.corrupts = True
    with pytest.raises(StartupError, match=r"arrived damaged: its checksum is wrong"):
        machine.fetch(f"-hf {REPO}")
    assert machine.left_over() == []
    machine.hub.corrupts = False
    assert machine.fetch(f"-hf {REPO}").read_bytes() == DATA


def test_a_damaged_beginning_is_found_at_the_end(machine: Machine) -> None:
    blobs = cache_directory(machine.environ) / "models--ab--model-GGUF/blobs"
    blobs.mkdir(parents=True)
    (blobs / (oid(DATA) + SUFFIX)).write_bytes(bytes(1000))
    with pytest.raises(StartupError, match="checksum"):
        machine.fetch(f"-hf {REPO}")
    assert machine.fetch(f"-hf {REPO}").read_bytes() == DATA


def test_what_the_disk_has_no_room_for_is_not_begun(machine: Machine) -> None:
    machine.hub.claims = 1 << 60
    with pytest.raises(
        StartupError, match=r"^the disk has no room: \w+ needs 1073741824\.0 GiB more, but has [\d.]+ GiB"
    ):
        machine.fetch(f"-hf {REPO}")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_meanwhile_is_said(machine: Machine) -> None:
    blobs = cache_directory(machine.environ) / "models--ab--model-GGUF/blobs"
    blobs.mkdir(parents=True)
    (blobs / (oid(DATA) + SUFFIX)).symlink_to("/dev/full")
    with pytest.raises(StartupError, match=r"^the disk is full: "):
        machine.fetch(f"-hf {REPO}")


# --- refusals


def test_a_gated_repository_wants_a_token(machine: Machine) -> None:
    machine.hub.gated.add(REPO)
    with pytest.raises(StartupError, match=rf"^{REPO} is gated: accept its conditions at .*--hf-token or HF_TOKEN$"):
        machine.fetch(f"-hf {REPO}")
    assert machine.fetch(f"-hf {REPO} -hft {TOKEN}").read_bytes() == DATA


def test_the_token_may_be_a_variable(machine: Machine) -> None:
    machine.hub.gated.add(REPO)
    machine.environ["HF_TOKEN"] = TOKEN
    assert machine.fetch(f"-hf {REPO}").read_bytes() == DATA


def test_what_does_not_exist_is_named(machine: Machine) -> None:
    with pytest.raises(StartupError, match=r"^there is no repository ab/none at http://127.*or it is private"):
        machine.fetch("-hf ab/none")
    with pytest.raises(StartupError, match=rf"^{REPO} has no Q5_K_S; there is Q4_K_M, Q8_0$"):
        machine.fetch(f"-hf {REPO}:Q5_K_S")
    with pytest.raises(StartupError, match=rf"^{REPO} has no file x\.gguf; there is model-Q4_K_M\.gguf, "):
        machine.fetch(f"-hf {REPO} -hff x.gguf")
    machine.hub.repos[REPO] = {"README.md": b""}
    with pytest.raises(StartupError, match=rf"^{REPO} has no GGUF model$"):
        machine.fetch(f"-hf {REPO}")
    machine.hub.repos[REPO]["preset.ini"] = b""
    with pytest.raises(StartupError, match=rf"^{REPO} describes several models; one server serves one model$"):
        machine.fetch(f"-hf {REPO}")


def test_a_mirror_writes_nothing_outside_the_cache(machine: Machine) -> None:
    hub, outside = machine.hub, "../" * 9 + f"{machine.home}/outside"
    hub.repos[REPO] = {f"{outside}.gguf": DATA, f"/{outside}-Q4_K_M.gguf": DATA}
    with pytest.raises(StartupError, match=rf"^{REPO} has no GGUF model$"):
        machine.fetch(f"-hf {REPO}")
    hub.repos[REPO] = {"model.gguf": DATA}
    hub.oids["model.gguf"] = outside
    with pytest.raises(StartupError, match=rf"^{REPO} has no GGUF model$"):
        machine.fetch(f"-hf {REPO}")
    hub.oids.clear()
    hub.commits[REPO] = outside
    with pytest.raises(StartupError, match=r"names no commit of the repository, but '\.\./"):
        machine.fetch(f"-hf {REPO}")
    assert not list(machine.home.rglob("outside*")) and not hub.downloads()


@pytest.mark.parametrize(
    ("host", "reason"), [("127.0.0.1:1", "Connection refused"), ("nowhere.invalid", "nowhere.invalid:80: ")]
)
def test_a_server_that_cannot_be_reached_is_not_tried_again(
    machine: Machine, caplog: pytest.LogCaptureFixture, host: str, reason: str
) -> None:
    with pytest.raises(StartupError, match=rf"^cannot download http://{host}/a\.gguf: .*{reason}"):
        machine.fetch(f"-mu http://{host}/a.gguf")
    assert "interrupted" not in caplog.text


def test_a_file_needs_a_repository(machine: Machine) -> None:
    with pytest.raises(StartupError, match=r"^--hf-file names a file of the repository"):
        machine.fetch("-hff x.gguf")


def test_a_projector_beside_the_model_is_said_to_be_left_out(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.hub.repos[REPO]["mmproj-model-F16.gguf"] = b"x"
    with caplog.at_level(logging.WARNING, "llamahttp"):
        machine.fetch(f"-hf {REPO} --no-mmproj")
        assert not [record for record in caplog.records if record.levelno == logging.WARNING]
        machine.fetch(f"-hf {REPO}")
    assert f"{REPO} has mmproj-model-F16.gguf for images, which are not understood yet" in caplog.text


# --- without a network


def test_offline_takes_what_is_there_and_asks_nobody(machine: Machine) -> None:
    with pytest.raises(StartupError, match=rf"^{REPO} is not in the cache .*, and --offline forbids to download it$"):
        machine.fetch(f"-hf {REPO} --offline")
    path = machine.fetch(f"-hf {REPO}")
    machine.hub.requests.clear()
    assert machine.fetch(f"-hf {REPO} --offline") == path
    with pytest.raises(StartupError, match=rf"^{REPO} has no Q8_0; there is Q4_K_M$"):
        machine.fetch(f"-hf {REPO}:Q8_0 --offline")
    assert machine.hub.requests == []


def test_a_hub_that_cannot_be_reached_does_not_matter_once_it_is_cached(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    path = machine.fetch(f"-hf {REPO}")
    machine.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    with caplog.at_level(logging.WARNING, "llamahttp"):
        assert machine.fetch(f"-hf {REPO}") == path
    assert "cannot reach http://127.0.0.1:9" in caplog.text
    with pytest.raises(StartupError, match=r"^cannot reach http://127\.0\.0\.1:9: "):
        machine.fetch("-hf ab/other")


def test_a_new_version_that_breaks_off_leaves_the_old_one_in_use(machine: Machine) -> None:
    machine.fetch(f"-hf {REPO}")
    machine.hub.repos[REPO]["model-Q4_K_M.gguf"] = new = os.urandom(1000)
    machine.hub.cut_after = [10, *[0] * 9]
    with pytest.raises(StartupError, match="cannot download"):
        machine.fetch(f"-hf {REPO}")
    assert machine.fetch(f"-hf {REPO} --offline").read_bytes() == DATA
    machine.hub.cut_after = []
    assert machine.fetch(f"-hf {REPO}").read_bytes() == new


# --- by URL


def test_a_url_goes_where_llama_server_puts_it_and_is_asked_for_changes(machine: Machine) -> None:
    machine.hub.repos["files"] = {"m.gguf": DATA}
    line = f"-mu {machine.hub.url}/files/m.gguf?download=true"
    path = machine.fetch(line)
    assert path == machine.home / ".cache/llama.cpp/m.gguf"
    assert path.read_bytes() == DATA
    assert machine.fetch(line) == path
    assert sum(request.startswith("GET") for request in machine.hub.requests) == 1
    machine.hub.repos["files"]["m.gguf"] = OTHER
    assert machine.fetch(line).read_bytes() == OTHER
    assert machine.fetch(f"{line} --offline") == path


def test_a_url_and_a_path_say_from_where_to_where(machine: Machine, tmp_path: Path) -> None:
    machine.hub.repos["files"] = {"m.gguf": DATA}
    target = tmp_path / "here" / "mine.gguf"
    assert machine.fetch(f"-mu {machine.hub.url}/files/m.gguf -m {target}") == target
    assert target.read_bytes() == DATA


def test_a_token_goes_to_the_hub_alone(machine: Machine) -> None:
    machine.hub.gated.add(REPO)
    line = f"-mu {machine.hub.url}/{REPO}/resolve/main/model-Q8_0.gguf -hft {TOKEN}"
    assert machine.fetch(line).read_bytes() == OTHER
    assert machine.fetch(line).read_bytes() == OTHER
    assert len(machine.hub.downloads()) == 1, "asking for changes needs it too"
    machine.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    machine.environ["HOME"] += "/new"
    with pytest.raises(StartupError, match=r"may not be read \(401\): at Hugging Face it takes a token"):
        machine.fetch(line)


def test_all_parts_of_a_url_are_fetched(machine: Machine, tmp_path: Path) -> None:
    machine.hub.repos["files"] = {f"m-0000{i}-of-00002.gguf": bytes([i]) for i in (1, 2)}
    path = machine.fetch(f"-mu {machine.hub.url}/files/m-00001-of-00002.gguf -m {tmp_path}/x.gguf")
    assert path == tmp_path / "m-00001-of-00002.gguf"
    assert (tmp_path / "m-00002-of-00002.gguf").read_bytes() == b"\2"


def test_a_changed_file_is_not_glued_to_the_beginning_of_the_old_one(machine: Machine) -> None:
    machine.environ["LLAMA_CACHE"] = str(machine.home)
    machine.hub.repos["files"] = {"m.gguf": DATA}
    machine.hub.cut_after = [1000, *[0] * 9]
    line = f"-mu {machine.hub.url}/files/m.gguf"
    with pytest.raises(StartupError, match="cannot download"):
        machine.fetch(line)
    assert machine.left_over() == ["m.gguf" + SUFFIX]
    machine.hub.cut_after, machine.hub.repos["files"]["m.gguf"] = [], OTHER
    assert machine.fetch(line).read_bytes() == OTHER


def test_a_url_that_is_not_there_is_said(machine: Machine) -> None:
    machine.hub.repos["files"] = {}
    with pytest.raises(StartupError, match=r"^there is no http://127\.0\.0\.1:\d+/files/m\.gguf \(404\)$"):
        machine.fetch(f"-mu {machine.hub.url}/files/m.gguf")
    with pytest.raises(StartupError, match="--offline forbids"):
        machine.fetch(f"-mu {machine.hub.url}/files/m.gguf --offline")
