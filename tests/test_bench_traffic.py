"""Traffic: figures of k6 and locust, and the script for k6 itself, run by node over a stand-in for k6's modules."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest
from process import FAKE, Server

from bench.traffic import bars, figures, main, percentile, read, seconds_of, table, text_plot

BENCH = Path(__file__).parent.parent / "bench"

STAND_INS = {
    "package.json": '{"name": "k6", "type": "module", "exports": {"./http": "./http.js", "./metrics": "./metrics.js"}}',
    "http.js": """
import { spawnSync } from "node:child_process";
export default {
  post(url, body, { headers }) {
    const began = performance.now();
    const flags = Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
    const ran = spawnSync("curl", ["-s", "-w", "\\n\\n%{http_code}", url, ...flags, "-d", "@-"], { input: body });
    const parts = String(ran.stdout).split("\\n\\n");
    const status = Number(parts.pop());
    return { status, body: parts.join("\\n\\n"), timings: { duration: performance.now() - began } };
  },
};
""",
    "metrics.js": """
class Metric {
  constructor(name) { this.name = name; }
  add(value) {
    const data = { time: new Date().toISOString(), value: Number(value), tags: {} };
    console.log(JSON.stringify({ type: "Point", metric: this.name, data }));
  }
}
export { Metric as Counter, Metric as Rate, Metric as Trend };
""",
}


def write(path: Path, points: list[tuple[str, float, float]]) -> Path:
    """A file of points (metric, second, value), among other lines that k6 writes."""
    lines: list[object] = [{"type": "Metric", "metric": "ttft_ms", "data": {"type": "trend"}}]
    lines += [
        {"type": "Point", "metric": metric, "data": {"time": f"2026-01-01T00:00:{at:012.9f}Z", "value": value}}
        for metric, at, value in [("http_reqs", 0.0, 1.0), *points]
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    points = [("failed", 50.0, 1.0)]
    for i in range(100):
        at = 1 + i / 2
        points += [("ttft_ms", at, i + 1.0), ("request_ms", at, 500.0), ("tokens", at, 10.0), ("failed", at, 0.0)]
    return write(tmp_path / "k6.json", points)


def test_the_table(file: Path) -> None:
    rows = figures(read(file))
    assert (rows["answers"], rows["failed"]) == (100, 1)
    assert rows["tokens/s"] == pytest.approx(1000 / 49.5)
    assert [rows[f"first token p{p} ms"] for p in (50, 95, 99)] == [50, 95, 99]
    assert math.isnan(rows["between tokens p50 ms"])
    assert "k6" in table([read(file)]).splitlines()[0]


@pytest.mark.parametrize(
    ("values", "share", "expected"), [([1, 2, 3, 4], 0.5, 2), ([1, 2, 3, 4], 0.99, 4), ([7], 0.01, 7)]
)
def test_percentiles(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


@pytest.mark.parametrize(
    "time",
    [
        "1970-01-01T00:00:10Z",
        "1970-01-01T00:00:10.000000000Z",
        "1970-01-01T02:00:10.0+02:00",
        "1970-01-01T00:00:10+00:00",
    ],
)
def test_times_as_k6_and_python_write_them(time: str) -> None:
    assert seconds_of(time) == 10


def test_bars() -> None:
    assert bars([0.0, 1, 8, math.nan, 4]) == "▁▁█ ▄"
    assert bars([]) == ""


def test_the_text_plot(file: Path) -> None:
    lines = text_plot(read(file), n_bins=10).splitlines()
    assert lines[0] == "k6: 50 s"
    assert lines[2].endswith("at most 100.0")
    assert lines[2].split("|")[1][-1] == "█"


def test_the_command(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(file)]) == 1, "a request has failed"
    assert "tokens/s" in capsys.readouterr().out
    (tmp_path / "empty").write_text("")
    assert main([str(tmp_path / "empty")]) == 1
    assert "no measurements" in capsys.readouterr().err


def test_the_picture(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: make integration")
    main([str(file), str(file), "--png", str(tmp_path / "plot.png")])
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_for_k6(tmp_path: Path) -> None:
    for name, text in STAND_INS.items():
        path = tmp_path / "node_modules" / "k6" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copy(BENCH / "k6.js", tmp_path / "k6.mjs")
    program = """
globalThis.__ENV = JSON.parse(process.argv[1]);
const script = await import("./k6.mjs");
for (let i = 0; i < 3; i++) script.default();
"""
    (tmp_path / "run.mjs").write_text(program.replace("process.argv[1]", "process.argv[2]"))
    with Server(FAKE, ["--port", "0", "-lv", "1"]) as server:
        variables = {"URL": server.ready(), "N_PREDICT": "6", "PROMPT_WORDS": "4", "API_KEY": "k"}
        command = ["node", "run.mjs", json.dumps(variables)]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        server.interrupt()
    assert ran.returncode == 0, ran.stderr
    (tmp_path / "points.json").write_text(ran.stdout)
    run = read(tmp_path / "points.json")
    assert run.values("tokens") == [6, 6, 6]
    assert run.values("failed") == [0, 0, 0]
    assert all(0 < first < whole for first, whole in zip(run.values("ttft_ms"), run.values("request_ms"), strict=True))
    assert all(9 < gap < 100 for gap in run.values("gap_ms")), "the fake takes 10 ms a step"
