# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the eascmd stand-in does when it is run: Alibaba's command line client for EAS, as its reference shows it.

It speaks to an EAS endpoint with its own ACS3 signature, as the real one does, so both backends see one state. Documented are the commands,
their tables and [OK] lines, the prompt of `delete` and `-c`. Not documented, so guesses (?): the form of the configuration file, the words
of errors and exit codes, and what modify, stop, start and version print.

Standard library alone: it starts once a command.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from support.eas_auth import API_VERSION, Signed, authorization, stamp

Json = dict[str, Any]
WRAP = 30
TIMEOUT_SECONDS = 30
_LOOPBACK = ("127.0.0.1", "localhost")
# The spellings that are read of a configuration file's keys, without case and punctuation.
_KEYS = {
    "endpoint": ("endpoint",),
    "identity": ("accessid", "accesskeyid"),
    "secret": ("accesskey", "accesskeysecret"),
    "token": ("ststoken", "securitytoken"),
}
_USAGE = "usage: eascmd [-c FILE] [-i ID -k KEY [-t TOKEN] -e ENDPOINT] config|create|modify|stop|start|delete|version|ls|desc|w|dw …"


class ToolError(Exception):
    """Ends the command with this message and code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Options:
    """A command line. defines: of -D. words: the sub-command and what follows it. keys_on_argv: whether a key was on it."""

    config: str = ""
    identity: str = ""
    secret: str = ""
    token: str = ""
    endpoint: str = ""
    file: str = ""
    defines: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    @property
    def keys_on_argv(self) -> bool:
        return bool(self.identity or self.secret or self.token)


_FLAGS = {"-c": "config", "-i": "identity", "-k": "secret", "-t": "token", "-e": "endpoint", "-s": "file"}


def parse(arguments: Sequence[str]) -> Options:
    options, rest = Options(), list(arguments)
    while rest:
        word = rest.pop(0)
        if word in _FLAGS:
            if not rest:
                raise ToolError(f"{word} needs a value\n{_USAGE}", 2)
            setattr(options, _FLAGS[word], rest.pop(0))
        elif word.startswith("-D"):
            options.defines.append(word[2:])
        elif word.startswith("-"):
            raise ToolError(f"unknown option {word}\n{_USAGE}", 2)
        else:
            options.words.append(word)
    if not options.words:
        raise ToolError(_USAGE, 2)
    return options


def read_config(path: Path) -> dict[str, str]:
    """JSON, or lines KEY=VALUE or KEY: VALUE (?)."""
    text = path.read_text(encoding="utf-8")
    with suppress(ValueError):
        return {str(key): str(value) for key, value in json.loads(text).items()}
    lines = (line.replace(":", "=", 1) if "=" not in line.split(":", 1)[0] else line for line in text.splitlines())
    return {key.strip(): value.strip().strip("\"'") for key, mark, value in (line.partition("=") for line in lines) if mark}


def write_config(path: Path, options: Options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)
    path.chmod(0o600)
    token = f"sts_token={options.token}\n" if options.token else ""
    path.write_text(f"access_id={options.identity}\naccess_key={options.secret}\n{token}endpoint={options.endpoint}\n", encoding="utf-8")


# --- the client


@dataclass(frozen=True)
class Client:
    """Signed requests to an endpoint: by https, to a stand-in on loopback by http."""

    endpoint: str
    identity: str
    secret: str
    token: str = ""

    @property
    def region(self) -> str:
        parts = self.endpoint.split(".")
        return parts[1] if parts[0] == "pai-eas" else "cn-test"

    def call(self, action: str, method: str, path: str, query: Mapping[str, str] | None = None, body: Json | None = None) -> Json:
        url = urlsplit(self.endpoint if "//" in self.endpoint else f"//{self.endpoint}")
        plain = url.scheme == "http" or url.hostname in _LOOPBACK
        data = b"" if body is None else json.dumps(body).encode()
        headers = {
            "host": url.netloc,
            "user-agent": "eascmd/2.4",
            "x-acs-action": action,
            "x-acs-version": API_VERSION,
            "x-acs-date": stamp(datetime.now(timezone.utc)),
            "x-acs-signature-nonce": uuid.uuid4().hex,
            "x-acs-content-sha256": hashlib.sha256(data).hexdigest(),
            **({"content-type": "application/json"} if data else {}),
            **({"x-acs-security-token": self.token} if self.token else {}),
        }
        signed = Signed(method, f"/api/v2{path}", query or {}, headers, data)
        headers["authorization"] = authorization(signed, self.identity, self.secret)
        target = f"{signed.path}?{urlencode(query, quote_via=quote)}" if query else signed.path
        kind = http.client.HTTPConnection if plain else http.client.HTTPSConnection
        connection = kind(url.netloc, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, target, data, headers)
            answer = connection.getresponse()
            return _decoded(answer.status, answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise ToolError(f"request to {self.endpoint} failed: {error}") from None
        finally:
            connection.close()

    def service(self, action: str, method: str, name: str, part: str = "", **more: Any) -> Json:
        return self.call(action, method, f"/services/{self.region}/{quote(name, safe='~')}{part}", **more)

    def describe(self, name: str) -> Json:
        return self.service("DescribeService", "GET", name)


def _decoded(status: int, data: bytes) -> Json:
    try:
        body: Json = json.loads(data)
    except ValueError:
        raise ToolError(f"HTTP {status}: {data[:200].decode(errors='replace')}") from None
    if status >= 400:
        raise ToolError(f"[RequestId]: {body.get('RequestId')}\n[ERROR] {body.get('Code')}: {body.get('Message')}")
    return body


# --- tables, as tablewriter draws them


def wrapped(text: str, width: int = WRAP) -> list[str]:
    """Lines of at most `width` characters where words allow it; words are never broken."""
    lines = []
    for line in text.split("\n"):
        current, *words = line.split(" ")
        for word in words:
            if current.strip() and len(current) + 1 + len(word) > width:
                lines.append(current)
                current = word
            else:
                current = f"{current} {word}"
        lines.append(current)
    return lines


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """A table of two columns without a header: keys to the right, values wrapped below each other with an empty left cell."""
    cells = [(key if number == 0 else "", line) for key, value in rows for number, line in enumerate(wrapped(value))]
    left, right = max(len(key) for key, _value in cells), max(len(value) for _key, value in cells)
    rule = f"+{'-' * (left + 2)}+{'-' * (right + 2)}+"
    return "\n".join([rule, *(f"| {key:>{left}} | {value:<{right}} |" for key, value in cells), rule])


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a centred header; columns of numbers to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    head = " | ".join(name.center(width) for name, width in zip(header, widths))
    lines = [
        " | ".join(cell.rjust(width) if cell.isdigit() else cell.ljust(width) for cell, width in zip(row, widths)).join(("| ", " |"))
        for row in rows
    ]
    return "\n".join([rule, f"| {head} |", rule, *lines, *([rule] if lines else [])])


def _when(text: str) -> str:
    return text.replace("T", " ").removesuffix("Z")


# --- the commands


class Tool:
    """One run. knobs: see `eascmd.Eascmd`. stdin: what was read of it."""

    def __init__(self, options: Options, knobs: Json) -> None:
        self.options, self.knobs = options, knobs
        self.stdin = ""

    def run(self) -> None:
        name, *words = self.options.words
        if name not in COMMANDS:
            raise ToolError(f"the stand-in does not know the command {name}\n{_USAGE}", 2)
        handler, count = COMMANDS[name]
        if len(words) != count:
            raise ToolError(f"{name} does not take {len(words)} words\n{_USAGE}", 2)
        # `config` takes them in no other way.
        if self.options.keys_on_argv and self.knobs["refuse_keys"] and name != "config":
            raise ToolError("a key is on the command line, where every user of this machine can read it", 9)
        time.sleep(self.knobs["delay"])
        handler(self, *words)

    def client(self) -> Client:
        options = self.options
        found = {"endpoint": options.endpoint, "identity": options.identity, "secret": options.secret, "token": options.token}
        path = Path(options.config or "~/.eas/config").expanduser()
        if not options.keys_on_argv and not path.is_file():
            raise ToolError(f"there is no configuration at {path}: run `eascmd config -i <id> -k <key> -e <endpoint>`")
        if path.is_file():
            if path.stat().st_mode & 0o077 and self.knobs["private_config"]:
                raise ToolError(f"others can read {path}", 9)
            kept = {"".join(filter(str.isalpha, key.lower())): value for key, value in read_config(path).items()}
            for key, names in _KEYS.items():
                found[key] = found[key] or next((kept[name] for name in names if name in kept), "")
        missing = [key for key in ("endpoint", "identity", "secret") if not found[key]]
        if missing:
            raise ToolError(f"{path} has no {', '.join(missing)}")
        return Client(**found)

    def say(self, *lines: str) -> None:
        for line in lines:
            print(line, flush=True)

    def noise(self) -> None:
        """What stands before a table where the knob says so."""
        kinds = {
            "": (),
            "warnings": ("WARNING: a new version of eascmd is available", "[WARN] the region cn-test is in maintenance at 03:00"),
            "ansi": ("\x1b[33mWARNING\x1b[0m: this terminal has colours", "\x1b[2K\x1b[1G\x1b[32m✔\x1b[0m connected"),
            "progress": ("loading  10%\rloading  55%\rloading 100%", "| not a table |", ""),
        }
        self.say(*kinds[self.knobs["noise"]])

    def show(self, text: str) -> None:
        self.noise()
        if self.knobs["ragged"]:
            # The reference shows a row that goes on behind its end.
            text = "\n".join(line + " " * 40 + "|" if number == 2 else line for number, line in enumerate(text.split("\n")))
        self.say(*(f"\x1b[0m{line}\x1b[0m" if self.knobs["noise"] == "ansi" else line for line in text.split("\n")))

    def requested(self, answer: Json) -> None:
        self.say(f"[RequestId]: {answer['RequestId']}")

    def confirm(self, verb: str, name: str, region: str) -> None:
        """Asks on stdin. An empty answer is yes, the end of the input is no."""
        if verb not in self.knobs["prompts"]:
            return
        print(
            f"Are you sure to {verb} the service [{name}] in [{region}]? [Y/n]", end="\n" if self.knobs["prompt_ends"] else "", flush=True
        )
        self.stdin = sys.stdin.readline()
        if self.stdin.rstrip("\n").lower() not in ("y", "yes") and self.stdin != "\n":
            raise ToolError("canceled")

    # what is waited for

    def wait(self, client: Client, name: str) -> None:
        """Until the service runs. Endless, as the real one is, when it never does."""
        while True:
            found = client.describe(name)
            if found["Status"] == "Running":
                return self.say("[OK] Service is running")
            if found["Status"] == "Stopped":
                return self.say("[OK] Service is stopped")
            if found["Status"] == "Failed":
                raise ToolError(f"[ERROR] Service is failed: {found['Reason']}: {found['Message']}")
            counts = f"Total: {found['TotalInstance']}, Pending: {found['PendingInstance']}, Running: {found['RunningInstance']}"
            self.say(f"[OK] {found['Status']} [{counts}]")
            time.sleep(self.knobs["poll_seconds"])

    # the commands

    def config(self) -> None:
        options = self.options
        if not (options.identity and options.secret and options.endpoint):
            raise ToolError("config needs -i, -k and -e", 2)
        path = Path(options.config or "~/.eas/config").expanduser()
        write_config(path, options)
        self.say(f"[OK] Configuration saved to: {path}")

    def create(self, path: str) -> None:
        client, body = self.client(), _service_file(path)
        made = client.call("CreateService", "POST", "/services", body=body)
        name = made["ServiceName"]
        self.requested(made)
        found = client.describe(name)
        rows = [("Internet Endpoint", made["InternetEndpoint"]), ("Intranet Endpoint", made["IntranetEndpoint"])]
        self.show(pairs([*rows, ("Token", found["AccessToken"])]))
        self.say("[OK] Creating api gateway", f"[OK] Building image [{found['Image']}]", f"[OK] Pushing image [{found['Image']}]")
        self.wait(client, name)

    def modify(self, name: str) -> None:
        if bool(self.options.file) == bool(self.options.defines):
            raise ToolError("modify needs -s FILE or -Dkey=value", 2)
        client = self.client()
        body = _service_file(self.options.file) if self.options.file else _defined(self.options.defines)
        answer = client.service("UpdateService", "PUT", name, query={"UpdateType": "merge"}, body=body)
        self.requested(answer)
        self.wait(client, name)

    def stop(self, name: str) -> None:
        client = self.client()
        self.confirm("stop", name, client.region)
        self.requested(client.service("StopService", "PUT", name, "/stop"))
        self.say(f"[OK] Service [{name}] in region [{client.region}] is stopping")
        while client.describe(name)["Status"] != "Stopped":
            time.sleep(self.knobs["poll_seconds"])
        self.say("[OK] Service is stopped")

    def start(self, name: str) -> None:
        client = self.client()
        self.confirm("start", name, client.region)
        self.requested(client.service("StartService", "PUT", name, "/start"))
        self.wait(client, name)

    def delete(self, name: str) -> None:
        client = self.client()
        self.confirm("delete", name, client.region)
        self.requested(client.service("DeleteService", "DELETE", name))
        self.say(f"[OK] Service [{name}] in region [{client.region}] is terminating")
        try:
            while (found := client.describe(name))["Status"] != "DeleteFailed":
                self.say("[OK] Service is terminating")
                time.sleep(self.knobs["poll_seconds"])
        except ToolError as error:
            if "InvalidService.NotFound" not in str(error):
                raise
            return self.say("[OK] Service was deleted successfully")
        raise ToolError(f"[ERROR] Service could not be deleted: {found['Message']}")

    def version(self, name: str, number: str) -> None:
        client = self.client()
        if not number.isdigit():
            raise ToolError(f"{number} is not a version", 2)
        self.requested(client.service("UpdateServiceVersion", "PUT", name, "/version", body={"Version": int(number)}))
        self.wait(client, name)

    def ls(self) -> None:
        client, number, total = self.client(), 0, 1
        rows: list[list[str]] = []
        while len(rows) < total:
            number += 1
            answer = client.call("ListServices", "GET", "/services", query={"PageNumber": str(number), "PageSize": "100"})
            rows += [_listed(each) for each in answer["Services"]]
            total = answer["TotalCount"] if answer["Services"] else len(rows)
        self.requested(answer)
        header = ("SERVICENAME", "REGION", "INSTANCE", "CREATETIME", "UPDATETIME", "STATUS", "WEIGHT", "SERVICEPATH")
        self.show(table(header, rows))

    def desc(self, name: str) -> None:
        self.show(pairs(_described(self.client().describe(name))))

    def workers(self, name: str) -> None:
        answer = self.client().service("ListServiceInstances", "GET", name, "/instances")
        self.requested(answer)
        header = ("INSTANCENAME", "INNERIP", "HOSTIP", "STARTAT", "RESTARTS", "STATUS", "READY", "REASON", "LASTSTATE")
        self.show(table(header, [_worker(each) for each in answer["Instances"]]))

    def delete_workers(self, name: str, instances: str) -> None:
        query = {"InstanceList": instances}
        self.requested(self.client().service("DeleteServiceInstances", "DELETE", name, "/instances", query=query))
        self.say(f"[OK] Instances [{instances}] of the service [{name}] are restarting")


# Command → what it does, and how many words follow it.
COMMANDS: dict[str, tuple[Callable[..., None], int]] = {
    "config": (Tool.config, 0),
    "create": (Tool.create, 1),
    "modify": (Tool.modify, 1),
    "update": (Tool.modify, 1),
    "stop": (Tool.stop, 1),
    "start": (Tool.start, 1),
    "delete": (Tool.delete, 1),
    "version": (Tool.version, 2),
    "ls": (Tool.ls, 0),
    "list": (Tool.ls, 0),
    "desc": (Tool.desc, 1),
    "w": (Tool.workers, 1),
    "showworkers": (Tool.workers, 1),
    "dw": (Tool.delete_workers, 2),
    "deleteworkers": (Tool.delete_workers, 2),
}


def _service_file(path: str) -> Json:
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ToolError(f"{path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ToolError(f"{path} does not hold a JSON object")
    return found


def _defined(defines: Sequence[str]) -> Json:
    """-Dmetadata.instance=3 → {"metadata": {"instance": 3}}."""
    body: Json = {}
    for each in defines:
        path, mark, text = each.partition("=")
        if not mark:
            raise ToolError(f"-D{each} has no value", 2)
        *parents, last = path.split(".")
        place = body
        for parent in parents:
            place = place.setdefault(parent, {})
        try:
            place[last] = json.loads(text)
        except ValueError:
            place[last] = text
    return body


def _listed(each: Json) -> list[str]:
    times = [_when(each["CreateTime"]), _when(each["UpdateTime"])]
    path = f"/api/predict/{each['ServiceName']}"
    return [each["ServiceName"], each["Region"], str(each["TotalInstance"]), *times, each["Status"], str(each["Weight"]), path]


def _worker(each: Json) -> list[str]:
    state = [str(each["RestartCount"]), each["Status"], f"[{each['ReadyProcesses']}/{each['TotalProcesses']}]", each["Reason"]]
    last = each.get("LastState")
    return [each["InstanceName"], each["InnerIP"], each["HostIP"], _when(each["StartAt"]), *state, json.dumps(last) if last else ""]


def _described(found: Json) -> list[tuple[str, str]]:
    shown = {
        **found,
        "AccessToken": "",
        "PrivateToken": found["AccessToken"],
        "CreateTime": _when(found["CreateTime"]),
        "UpdateTime": _when(found["UpdateTime"]),
        "CPU": found["Cpu"],
        "GPU": found["Gpu"],
        "Memory": f"{found['Memory']}M",
        "APIGatewayUrl": f"1c3b37ea83c047efa0dc6df0cacb0001-{found['Region']}.alicloudapi.com/EAPI_{found['ServiceName']}",
        "APIGatewayAppKey": "25640001",
        "APIGatewayAppSecret": "12562a7b8858bbba2c2e9c4517ff0001",
        "ServiceConfig": json.dumps(json.loads(found["ServiceConfig"]), indent=2, sort_keys=True),
    }
    rows = (
        *("Status", "ServiceName", "Region", "CreateTime", "UpdateTime", "AccessToken", "PrivateToken", "TotalInstance"),
        *("RunningInstance", "PendingInstance", "CPU", "GPU", "Memory", "Image", "Weight", "LatestVersion", "CurrentVersion"),
        *("Message", "APIGatewayUrl", "APIGatewayAppKey", "APIGatewayAppSecret", "InternetEndpoint", "IntranetEndpoint", "ServiceConfig"),
    )
    return [(row, str(shown[row])) for row in rows]


def main(folder: Path, arguments: Sequence[str]) -> int:
    """folder: holds the knobs and the log. Returns the exit code."""
    knobs = json.loads((folder / "knobs.json").read_text(encoding="utf-8"))
    tool, code, run = Tool(Options(), knobs), 0, uuid.uuid4().hex
    _note(folder, run=run, argv=list(arguments))
    try:
        tool.options = parse(arguments)
        if knobs["refuse_keys"] and any(secret in word for secret in knobs["secrets"] for word in arguments):
            raise ToolError("a secret of the tests' accounts is on the command line", 9)
        tool.run()
    except ToolError as error:
        code = error.code
        print(error, file=sys.stdout if knobs["errors_on_stdout"] else sys.stderr)
    command = next(iter(tool.options.words), "")
    code = int(knobs["codes"].get(command, code))
    _note(folder, run=run, stdin=tool.stdin, code=code)
    return code


def _note(folder: Path, **entry: Any) -> None:
    """A line of the log: one when a run begins, one when it ends."""
    with (folder / "log").open("a", encoding="utf-8") as log:
        log.write(json.dumps(entry) + "\n")
