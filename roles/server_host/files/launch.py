# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs one tritonserver: clears what a killed one left, hands it the key of its restricted APIs, and leaves nothing behind.

Usage: launch.py CONFIG, a JSON file with
  argv: the program and its arguments, without secrets
  environment: a JSON file with more environment variables, readable by this user alone
  paths: {PATH, LD_LIBRARY_PATH}, set for the server; all of this process's environment is handed on where it is empty (a container)
  shared_memory: prefix of this server's regions in /dev/shm
  scratch: patterns of what a killed server leaves elsewhere, such as models it was reading from a store; only where no other server runs
  key_file, key_arguments: the file that holds the key, and the arguments that the key is appended to

tritonserver takes the key on its command line only, where every user of the machine can read it. As soon as the server has read its
options (its second thread runs, usually within 0.1 s) the key is overwritten in the server's memory, so that `ps` shows asterisks.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where Triton's regions are
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
OPTIONS_READ_SECONDS = 30
STOP_SECONDS = 5
_libc = ctypes.CDLL(None, use_errno=True)


def say(text: str) -> None:
    print(f"launch: {text}", file=sys.stderr, flush=True)


# --- what a killed server leaves


def clear_shared_memory(prefix: str) -> list[str]:
    """Removes this server's regions. Call it only while no server of this prefix runs."""
    gone = []
    for path in glob.glob(os.path.join(SHARED_MEMORY, glob.escape(prefix) + "*")):
        try:
            os.unlink(path)
            gone.append(path)
        except OSError as error:
            say(f"{path} is in the way and cannot be removed: {error}")
    return gone


def clear_scratch(patterns: list[str]) -> list[str]:
    """Removes folders that match. Call it only while no server writes there."""
    gone = []
    for path in [path for pattern in patterns for path in glob.glob(pattern)]:
        try:
            shutil.rmtree(path)
            gone.append(path)
        except OSError as error:
            say(f"{path} is in the way and cannot be removed: {error}")
    return gone


def children(pid: int) -> list[int]:
    """The processes whose parent is `pid`."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as handle:
                if int(handle.read().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(name))
        except OSError:
            continue
    return found


def reap_orphans(seconds: float = STOP_SECONDS) -> None:
    """Ends the python processes of a server that is gone. As a subreaper this process has become their parent."""
    deadline = time.monotonic() + seconds
    while left := children(os.getpid()):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL if time.monotonic() > deadline - seconds / 2 else signal.SIGTERM)
            except ProcessLookupError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


# --- the key


def wait_for_options(server: subprocess.Popen, seconds: float = OPTIONS_READ_SECONDS) -> bool:
    """Waits until a server has read its options; false when it ended or took too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        if len(os.listdir(f"/proc/{server.pid}/task")) > 1:
            # The first thread is started after the options were copied. The pause is for a library that starts one of its own earlier.
            time.sleep(0.05)
            return True
        time.sleep(0.002)
    return False


def hide(pid: int, secret: str) -> bool:
    """Overwrites a secret on the command line of a child; false when it could not be done."""
    needle = secret.encode()
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as handle:
            fields = handle.read().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            shown = memory.read(end - start) or b""
            memory.seek(start)
            memory.write(shown.replace(needle, b"*" * len(needle)))
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            return needle not in handle.read()
    except (OSError, OverflowError, ValueError) as error:
        say(f"cannot overwrite the command line: {error}")
        return False


def read_key(config: dict) -> str:
    if not config.get("key_arguments"):
        return ""
    with open(config["key_file"], encoding="utf-8") as handle:
        return handle.read().strip()


# --- the server


def environment_of(config: dict) -> dict[str, str]:
    with open(config["environment"], encoding="utf-8") as handle:
        more = json.load(handle)
    names = ("HOME", "LANG", "TZ", "USER") if config["paths"] else tuple(os.environ)
    base = {name: os.environ[name] for name in names if name in os.environ}
    # A model's folder is not to be filled with bytecode, which would look like a change of a published version.
    return {**base, "PYTHONDONTWRITEBYTECODE": "1", **config["paths"], **{name: str(value) for name, value in more.items()}}


def prepare_child() -> None:
    """Runs in the child: whatever happens to this launcher, the server does not outlive it and keep the ports."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)


def start(config: dict, key: str) -> subprocess.Popen:
    arguments = [*config["argv"], *(argument + key for argument in config.get("key_arguments", []))]
    return subprocess.Popen(  # noqa: S603 - the role's own argv
        arguments,
        env=environment_of(config),
        stdin=subprocess.DEVNULL,
        preexec_fn=prepare_child,  # noqa: PLW1509 - one thread so far
    )


def serve(config: dict) -> int:
    """Runs the server to its end. Returns its exit status, 128 + n after signal n."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for path in clear_shared_memory(config["shared_memory"]) + clear_scratch(config.get("scratch", [])):
        say(f"removed {path}, which a killed server left")
    key = read_key(config)
    # From here on a signal is for the server, not for this process.
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    server = start(config, key)
    for number in FORWARDED:
        signal.signal(number, lambda received, _frame: server.send_signal(received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    if key and wait_for_options(server) and not hide(server.pid, key):
        say("the key of the restricted APIs stays visible on the server's command line to users of this machine")
    status = server.wait()
    reap_orphans()
    clear_shared_memory(config["shared_memory"])
    if status < 0:
        say(f"tritonserver was ended by signal {-status}")
        return 128 - status
    return status


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    with open(arguments[1], encoding="utf-8") as handle:
        return serve(json.load(handle))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
