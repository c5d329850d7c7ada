# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Publishing to S3, against what else brings files there, with one local server that keeps up.

Ours is the task of `model_repository` less an empty task's (a ping that is built already); a peer's is its command. Each is the best of its
rounds; in a round all take turns. BENCH_PUBLISH=A,C,D,A_20ms,... chooses sets, BENCH_PUBLISH_PLOT the plot's file (.cache/publish.svg).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.certificates import make_certificates
from support.rolecheck import COLLECTIONS

from .common import BenchmarkError, Line, Task, faster, figure, run_tasks, seconds, workspace
from .publishing import plot, sets
from .publishing.peers import KEYS, Peer, environment, peers

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "plugins" / "modules" / "model_repository.py"
# How many times faster than a peer each set has to be.
GOALS = {"A": {"s5cmd": 2.0, "aws": 6.7}, "B": {"s5cmd": 1.0}, "C": {"s5cmd": 1.0}, "D": {"s5cmd": 1.0}}
VARIANTS = ("", "_20ms", "_https")
ROUNDS = {"A": 2, "B": 2, "C": 4, "D": 4, "E": 1}
MEMORY = 200
# Besides one PUT a file: the manifest twice, the lock, the proof that it holds, and its signs of life.
OWN_PUTS = 10
PAGE = 1000
# Seconds that a difference of two tasks' times tells.
LEAST = 0.02


@dataclass
class Stand:
    """A server and how it is reached. times: who → seconds of each round; requests: who → what came. whole: our task alone."""

    folder: Path
    url: str
    ca: str
    peers: list[Peer]
    source: Path
    times: dict[str, list[float]] = field(default_factory=dict)
    requests: dict[str, dict[str, int]] = field(default_factory=dict)
    whole: float = float("inf")

    def options(self, prefix: str) -> dict[str, object]:
        keys = {"access_key": KEYS["AWS_ACCESS_KEY_ID"], "secret_key": KEYS["AWS_SECRET_ACCESS_KEY"], "region": "us-east-1"}
        trust: dict[str, object] = {"ca_path": self.ca} if self.ca else {}
        # A cache of its own: the user's may hold the digests of many other files.
        trust["digest_cache"] = f"{self.source}.digests.json"
        return {"src": str(self.source), "repository": f"s3://{self.url}/bkt/{prefix}", "s3": keys, **trust}

    def round(self, prefix: str, *, slow: bool) -> None:
        """Everybody once. slow: also those that take minutes for little."""
        tasks: list[Task] = [
            # Builds the ping's payload: ours needs none here, and shall not be credited with that.
            {"name": "First", "ansible.builtin.ping": {}},
            {"name": "Empty", "ansible.builtin.ping": {}},
            {"name": "Publish", "serving.triton.model_repository": self.options(f"ours-{prefix}")},
        ]
        self.count()
        run = run_tasks(workspace(self.folder / "work"), tasks)
        self.whole = min(self.whole, seconds(run, "Publish"))
        self._note("serving.triton", seconds(run, "Publish") - seconds(run, "Empty"))
        for peer in self.peers:
            begun = time.perf_counter()
            command = peer.command(self.url, str(self.source), f"{peer.name}-{prefix}", self.ca)
            done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=900)
            if done.returncode:
                raise BenchmarkError(f"{peer.name}: {done.stderr[-500:]}")
            self._note(peer.name, time.perf_counter() - begun)
        if slow:
            self._s3_sync(prefix)

    def _s3_sync(self, prefix: str) -> None:
        keys = {"access_key": KEYS["AWS_ACCESS_KEY_ID"], "secret_key": KEYS["AWS_SECRET_ACCESS_KEY"], "region": "us-east-1"}
        options = {"bucket": "bkt", "file_root": str(self.source), "key_prefix": f"s3_sync-{prefix}", "endpoint_url": self.url, **keys}
        tasks: list[Task] = [{"name": "Empty", "ansible.builtin.ping": {}}, {"name": "Sync", "community.aws.s3_sync": options}]
        run = run_tasks(workspace(self.folder / "work"), tasks)
        self._note("s3_sync", seconds(run, "Sync") - seconds(run, "Empty"))

    def _note(self, name: str, value: float) -> None:
        # Where nothing is left of a task, it took as long as an empty one: no ratio is made of that.
        self.times.setdefault(name, []).append(max(value, LEAST))
        self.requests[name] = self.count()

    def count(self) -> dict[str, int]:
        """The requests since the last call."""
        trust = ["--cacert", self.ca] if self.ca else []
        done = subprocess.run(["curl", "-sS", *trust, f"{self.url}/_counts"], capture_output=True, text=True, check=True, timeout=60)
        return dict(json.loads(done.stdout))

    def direct(self, prefix: str) -> tuple[float, float]:
        """CPU seconds and MiB of the module alone."""
        arguments = json.dumps({"ANSIBLE_MODULE_ARGS": self.options(prefix)})
        with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as said:
            given.write(arguments)
            given.seek(0)
            env = {**environment(), "PYTHONPATH": str(COLLECTIONS)}
            process = subprocess.Popen([sys.executable, str(MODULE)], stdin=given, stdout=said, stderr=said, env=env)
            _pid, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                said.seek(0)
                raise BenchmarkError(said.read()[-500:])
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


@contextmanager
def serving(folder: Path, variant: str) -> Iterator[tuple[str, str]]:
    """The server's URL, and the authority's certificate (empty for plain http)."""
    command = [sys.executable, "-m", "benchmarks.publishing.server"]
    ca = ""
    if variant == "_https":
        made = make_certificates(folder)
        command += ["--certificate", str(made.server), "--key", str(made.server_key)]
        ca = str(made.ca)
    if variant == "_20ms":
        command += ["--delay", "0.02"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        yield f"{'https' if ca else 'http'}://127.0.0.1:{port}", ca
    finally:
        process.kill()
        process.wait()


def measure() -> Iterator[Line]:
    chosen = [each for each in os.environ.get("BENCH_PUBLISH", "").split(",") if each]
    results: dict[str, dict[str, float]] = {}
    found = peers(ROOT)
    with tempfile.TemporaryDirectory(prefix="publish-") as folder:
        for variant in VARIANTS:
            wanted = [name for name in ("A", "C", "D", "B", "E") if _is_wanted(name, variant, chosen)]
            if wanted:
                yield from _variant(Path(folder), variant, wanted, found, results)
    yield from _told(results, found)


def _is_wanted(name: str, variant: str, chosen: list[str]) -> bool:
    # C and D need A's objects there.
    follow = name == "A" and any(f"{each}{variant}" in chosen for each in "CD")
    return follow or (f"{name}{variant}" in chosen if chosen else name != "E" or not variant)


def _variant(root: Path, variant: str, wanted: list[str], found: list[Peer], results: dict[str, dict[str, float]]) -> Iterator[Line]:
    folder = Path(tempfile.mkdtemp(dir=root))
    with serving(folder, variant) as (url, ca):
        for name in wanted:
            source = _source(root, name)
            stand = Stand(folder, url, ca, found, source)
            yield from _set(stand, name, variant)
            results[name + variant] = {who: min(times) for who, times in stand.times.items()}
            for who, count in stand.requests.items():
                print(f"# {name}{variant} {who}: {results[name + variant][who]:.2f} s, requests {count}", flush=True)


def _source(root: Path, name: str) -> Path:
    source = root / {"B": "B", "E": "E"}.get(name, "A")
    if not source.exists():
        if name == "B":
            sets.write_large(source, 8, 128 << 20)
        elif name == "E":
            sets.write_small(source, 1000, 100, 256)
        else:
            sets.write_small(source, 400, 10, sets.SMALL)
        # What is as new as this is read again by the next run: see DigestCache.
        time.sleep(2.1)
    return source


def _set(stand: Stand, name: str, variant: str) -> Iterator[Line]:
    slow = not variant
    rounds = ROUNDS[name]
    if name in ("A", "B"):
        for number in range(rounds):
            stand.round("C" if name == "A" and not number else f"{name}{number}", slow=slow and name == "A" and not number)
    elif name in ("C", "D"):
        for number in range(rounds):
            if name == "D":
                sets.change(stand.source)
            stand.round("C", slow=slow and not number)
    else:
        stand.direct("ours-E")
        time.sleep(2.1)
    cpu, memory = stand.direct("ours-E" if name == "E" else "ours-C" if name in ("C", "D") else f"ours-{name}-direct")
    yield figure(f"{name}{variant}", "MiB", memory, at_most=MEMORY)
    yield figure(f"{name}{variant}", "cpu_seconds", cpu, at_most=3.0 if name == "E" else None)
    if "serving.triton" in stand.times:
        yield figure(f"{name}{variant}", "task_seconds", stand.whole)
    yield from _requests(stand, name, variant)
    ours = min(stand.times.get("serving.triton", [0]))
    for who, times in stand.times.items():
        if who != "serving.triton":
            yield faster(f"{name}{variant}", who, ours, min(times), at_least=GOALS.get(name, {}).get(who))


def _requests(stand: Stand, name: str, variant: str) -> Iterator[Line]:
    """Of our last round, what the set's goal counts."""
    came = stand.requests.get("serving.triton")
    if came is None or name not in ("A", "C"):
        return
    files = sum(each.is_file() for each in stand.source.rglob("*"))
    if name == "A":
        yield figure(f"A{variant}", "puts", came.get("PUT object", 0), at_most=files + OWN_PUTS)
    else:
        # The manifest is a key too.
        yield figure(f"C{variant}", "lists", came.get("GET bucket", 0), at_most=-(-(files + 1) // PAGE))


def _told(results: Mapping[str, Mapping[str, float]], found: list[Peer]) -> Iterator[Line]:
    """The table, and the plot; the last line says what ours takes."""
    versions = ", ".join(f"{peer.name} {peer.version}" for peer in found)
    names = list(dict.fromkeys(name for each in results.values() for name in each))
    print(f"# seconds; {versions}\n# | set | {' | '.join(names)} |\n# |{'---|' * (len(names) + 1)}")
    for group, each in results.items():
        print(f"# | {group} | {' | '.join(f'{each[name]:.2f}' if name in each else '' for name in names)} |")
    drawn = {group: each for group, each in results.items() if each}
    if drawn:
        place = Path(os.environ.get("BENCH_PUBLISH_PLOT") or ROOT / ".cache" / "publish.svg")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(plot.draw(drawn, f"Publishing to S3 (seconds, logarithmic): {versions}"))
        print(f"# plot: {place}", flush=True)
    for group, each in drawn.items():
        yield figure(group, "seconds", each["serving.triton"])
