# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Real tritonservers for tests: the ones inside of nvidia-pytriton's wheels, on loopback, gone when the tests are.

with TritonServer(repository, mode="explicit", options={"load-model": ["*"]}) as server:
    server.endpoint   # what the collection calls triton_endpoint
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "tritonserver"
# tritonserver's version → the wheel that carries it.
WHEELS = {"2.39": "nvidia-pytriton==0.4.2", "2.48": "nvidia-pytriton==0.5.10", "2.51": "nvidia-pytriton==0.7.0"}
# What models of the python backend may import. With numpy 2 they load and then fail to answer.
PYTHON_PACKAGES = ("numpy==1.26.4", "onnxruntime==1.31.1", "scipy==1.17.1", "treelite==4.8.1", "packaging", "protobuf", "flatbuffers")
START_SECONDS = 120
STOP_SECONDS = 30

# Ends the server, its stubs and its shared memory when the process that started it dies, however it dies: its stdin is a pipe of ours.
_WATCHDOG = """
import glob, os, signal, sys
sys.stdin.buffer.read()
try:
    os.killpg(int(sys.argv[1]), signal.SIGKILL)
except ProcessLookupError:
    pass
for path in glob.glob("/dev/shm/" + sys.argv[2] + "*"):
    os.unlink(path)
"""


class ServerError(Exception):
    """The server did not start, or died. The message ends with the last lines of its log."""


# --- installation


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _pip(*arguments: str, python: str = sys.executable) -> None:
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-script-location", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise ServerError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def _once(folder: Path, make: Any) -> Path:
    """Makes a folder of the cache once, also with several test processes; a broken attempt leaves nothing behind."""
    ready = folder / ".ready"
    if not ready.exists():
        with _lock(folder.with_name(f".{folder.name}.lock")):
            if not ready.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                ready.touch()
    return folder


def install(version: str) -> Path:
    """The folder that holds pytriton/tritonserver of this version; downloads it on first use (about 40-55 MB)."""

    def make(folder: Path) -> None:
        _pip("--no-deps", "--target", str(folder), WHEELS[version])
        for program in (folder / "pytriton/tritonserver/bin/tritonserver", *folder.glob("pytriton/tritonserver/python_backend_stubs/*/*")):
            program.chmod(0o755)

    return _once(CACHE / version, make)


def python_environment() -> Path:
    """A virtual environment of the running interpreter for the python backend: numpy below 2, onnxruntime, scipy, treelite."""

    def make(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
        _pip(*PYTHON_PACKAGES, python=str(folder / "bin" / "python"))

    return _once(CACHE / "python", make)


def python_versions() -> list[str]:
    """The versions of tritonserver whose wheel has a python backend stub for the running interpreter, oldest first."""
    newest = {"2.39": 11, "2.48": 12, "2.51": 13}
    return [version for version in WHEELS if sys.version_info[1] <= newest[version]]


def libpython_folder() -> Path:
    """Where the shared library of the running interpreter lies, which the stub is linked to."""
    name = f"libpython3.{sys.version_info[1]}.so.1.0"
    folders = [sysconfig.get_config_var("LIBDIR") or "", str(Path(sys.base_prefix) / "lib")]
    for folder in filter(None, folders):
        if (Path(folder) / name).exists():
            return Path(folder)
    listing = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, timeout=30, check=False).stdout
    for line in listing.splitlines():
        if line.strip().startswith(name) and "=>" in line:
            return Path(line.rsplit("=>", 1)[1].strip()).parent
    raise ServerError(f"{name} was not found: install Python's shared library (Debian: libpython3.{sys.version_info[1]})")


def free_ports(count: int) -> list[int]:
    """Loopback ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _unused in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


# --- the server


class TritonServer:
    """One tritonserver on loopback ports; a context manager.

    repository: a folder, or several. mode: none, poll or explicit. options: tritonserver's options in its own names; a list repeats
    the option. backends: a folder of python-based backends, added to the wheel's. env: more environment variables of the server.
    headers: what `endpoint` hands to clients. wait: False returns as soon as the process runs.
    """

    def __init__(
        self,
        repository: Path | str | Sequence[Path | str],
        version: str = "2.51",
        *,
        mode: str = "none",
        options: Mapping[str, Any] | None = None,
        backends: Path | None = None,
        env: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> None:
        many = not isinstance(repository, (str, Path))
        self.repositories = [str(each) for each in repository] if many else [str(repository)]  # type: ignore[union-attr]
        self.version = version
        self.mode = mode
        self.options = dict(options or {})
        self.headers = dict(headers or {})
        self._extra_backends = backends
        self._env = dict(env or {})
        self._wait = wait
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._shm = f"stt{uuid.uuid4().hex[:12]}_"
        self.http_port = self.grpc_port = self.metrics_port = 0

    # what tests read

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc(self) -> str:
        secure = str(self.options.get("grpc-use-ssl", "")).lower() in ("true", "1")
        return f"{'grpcs' if secure else 'grpc'}://127.0.0.1:{self.grpc_port}"

    @property
    def metrics(self) -> str:
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    @property
    def endpoint(self) -> dict[str, Any]:
        """The mapping that roles hand on as `triton_endpoint`."""
        return {"http": self.http, "grpc": self.grpc, "metrics": self.metrics, "headers": dict(self.headers)}

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    # life

    def __enter__(self) -> TritonServer:
        return self.start()

    def __exit__(self, *_unused: object) -> None:
        # A graceful end takes 3 s and proves nothing here; whoever tests it calls `stop`.
        self.kill()
        self._remove()

    def start(self) -> TritonServer:
        """Starts the server on fresh ports (also again after `stop` or `kill`)."""
        for attempt in range(3):
            try:
                self._launch(*free_ports(3))
                return self
            except ServerError as error:
                self.stop()
                # Somebody else took a port between our look and the server's bind.
                if attempt == 2 or "in use" not in str(error):
                    raise
        raise AssertionError("unreachable")

    def restart(self) -> TritonServer:
        """Starts a stopped or killed server again on the same ports."""
        self._launch(self.http_port, self.grpc_port, self.metrics_port)
        return self

    def kill(self) -> None:
        """SIGKILL, as a crash: the server and its stubs are gone at once."""
        self._signal_group(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_SECONDS)
        self._clean()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL to whatever is left; removes the server's folder and its shared memory."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self.kill()
        self._remove()

    def _remove(self) -> None:
        if self._folder != Path():
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = Path()

    def _launch(self, http: int, grpc: int, metrics: int) -> None:
        self.http_port, self.grpc_port, self.metrics_port = http, grpc, metrics
        if self._folder == Path():
            self._folder = Path(tempfile.mkdtemp(prefix="tritonserver-"))
        backends = self._backends()
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(backends), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment(),
                cwd=self._folder, start_new_session=True,
            )  # fmt: skip
        self._watchdog = subprocess.Popen(
            [sys.executable, "-S", "-c", _WATCHDOG, str(self._process.pid), self._shm], stdin=subprocess.PIPE, start_new_session=True
        )
        if self._wait:
            self.wait_live()

    def wait_live(self, seconds: float = START_SECONDS) -> None:
        """Waits until HTTP answers, which is after the initial loads. Raises ServerError when the server died."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not self.running():
                raise ServerError(
                    f"tritonserver {self.version} ended with {self._process and self._process.returncode}:\n{self.log[-4000:]}"
                )
            try:
                with urllib.request.urlopen(f"{self.http}/v2/health/live", timeout=2):
                    return
            except urllib.error.HTTPError:
                return  # It answers: a restricted health API, or not live yet.
            except OSError:
                time.sleep(0.05)
        raise ServerError(f"tritonserver {self.version} did not answer within {seconds:g} s:\n{self.log[-4000:]}")

    def _backends(self) -> Path:
        """A copy of the wheel's python backend with this interpreter's stub, and one such copy for each python-based backend.

        As a library of its own, rather than a bare model.py, a python-based backend has its own shared memory names: 2.39 lets two
        backends of one prefix run into each other.
        """
        folder = self._folder / "backends"
        if not folder.exists():
            self._backend(folder / "python")
            for source in sorted(self._extra_backends.iterdir()) if self._extra_backends else []:
                self._backend(folder / source.name)
                (folder / source.name / "model.py").symlink_to((source / "model.py").resolve())
        return folder

    def _backend(self, folder: Path) -> None:
        home = install(self.version) / "pytriton" / "tritonserver"
        folder.mkdir(parents=True)
        # Copies: 2.51 refuses a library that is a link out of its folder, and the stub finds its Python by its own place.
        shutil.copy2(home / "backends" / "python" / "libtriton_python.so", folder / f"libtriton_{folder.name}.so")
        shutil.copy2(home / "backends" / "python" / "triton_python_backend_utils.py", folder)
        stub = home / "python_backend_stubs" / f"3.{sys.version_info[1]}" / "triton_python_backend_stub"
        if stub.exists():
            shutil.copy2(stub, folder)

    def _command(self, backends: Path) -> list[str]:
        options: dict[str, Any] = {
            "model-repository": self.repositories,
            "model-control-mode": self.mode,
            "backend-directory": str(backends),
            "cache-directory": str(install(self.version) / "pytriton" / "tritonserver" / "caches"),
            "http-address": "127.0.0.1",
            "http-port": self.http_port,
            "grpc-address": "127.0.0.1",
            "grpc-port": self.grpc_port,
            "metrics-address": "127.0.0.1",
            "metrics-port": self.metrics_port,
            "exit-timeout-secs": 10,
            "http-thread-count": 4,
            **({"repository-poll-secs": 1} if self.mode == "poll" else {}),
            **self.options,
        }
        backend_config = [
            f"{each.name},{setting}"
            for each in backends.iterdir()
            for setting in (f"shm-region-prefix-name={self._shm}{each.name}_", "shm-default-byte-size=1048576")
        ]
        backend_config += _strings(options.pop("backend-config", []))
        options["backend-config"] = backend_config
        program = install(self.version) / "pytriton" / "tritonserver" / "bin" / "tritonserver"
        return [str(program), *(f"--{name}={text}" for name, value in options.items() for text in _strings(value))]

    def _environment(self) -> dict[str, str]:
        python = python_environment()
        inherited = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        return {
            **inherited,
            "PATH": f"{python / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "LD_LIBRARY_PATH": f"{install(self.version) / 'nvidia_pytriton.libs'}:{libpython_folder()}",
            # One thread each: two cores are shared by many servers.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self._env,
        }

    def _signal_group(self, number: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _clean(self) -> None:
        self._process = None
        if self._watchdog is not None:
            assert self._watchdog.stdin is not None
            self._watchdog.stdin.close()
            self._watchdog.wait(STOP_SECONDS)
            self._watchdog = None
        for path in glob.glob(f"/dev/shm/{self._shm}*"):
            Path(path).unlink(missing_ok=True)


def _strings(value: Any) -> list[str]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [str(each).lower() if isinstance(each, bool) else str(each) for each in values]


# --- tiny models

ADD_SUB_CONFIG = """
backend: "python"
max_batch_size: 8
input [
  { name: "INPUT0" data_type: TYPE_INT32 dims: [ 16 ] },
  { name: "INPUT1" data_type: TYPE_INT32 dims: [ 16 ] }
]
output [
  { name: "OUTPUT0" data_type: TYPE_INT32 dims: [ 16 ] },
  { name: "OUTPUT1" data_type: TYPE_INT32 dims: [ 16 ] }
]
"""

ADD_SUB_CODE = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            one, two = (pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in ("INPUT0", "INPUT1"))
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", one + two), pb_utils.Tensor("OUTPUT1", one - two)]))
        return responses
"""

BROKEN_CODE = """
class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError("the weights are missing")

    def execute(self, requests):
        return []
"""


def write_python_model(
    root: Path,
    name: str,
    version: int = 1,
    *,
    code: str = ADD_SUB_CODE,
    config: str = ADD_SUB_CONFIG,
    files: Mapping[str, str] | None = None,
) -> Path:
    """Writes one version of a model of the python backend and its config.pbtxt. files: path below the model's folder → text."""
    folder = root / name
    (folder / str(version)).mkdir(parents=True, exist_ok=True)
    (folder / str(version) / "model.py").write_text(code.lstrip())
    (folder / "config.pbtxt").write_text(f'name: "{name}"\n{config.lstrip()}')
    for path, text in (files or {}).items():
        (folder / path).write_text(text)
    return folder


def write_add_sub(root: Path, name: str = "add_sub", version: int = 1) -> Path:
    """A model with INT32[16] inputs INPUT0 and INPUT1; OUTPUT0 is their sum, OUTPUT1 their difference; batches up to 8."""
    return write_python_model(root, name, version)


def write_broken(root: Path, name: str = "broken") -> Path:
    """A model that always fails to load, with the reason "the weights are missing"."""
    return write_python_model(root, name, code=BROKEN_CODE)


def write_ensemble(root: Path, name: str, step: str = "add_sub", version: int = 1) -> Path:
    """A model that costs no process of its own: an ensemble of one step over an add_sub model."""
    keys = ("INPUT0", "INPUT1"), ("OUTPUT0", "OUTPUT1")
    inputs, outputs = (
        "".join(f' {way}_map {{ key: "{key}" value: "{key}" }}' for key in names) for way, names in zip(("input", "output"), keys)
    )
    config = ADD_SUB_CONFIG.replace('backend: "python"', 'platform: "ensemble"').lstrip()
    config += f'ensemble_scheduling {{ step [ {{ model_name: "{step}" model_version: -1{inputs}{outputs} }} ] }}\n'
    folder = root / name
    (folder / str(version)).mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(f'name: "{name}"\n{config}')
    return folder
