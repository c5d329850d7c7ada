# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A plugin of Helm that says what an upgrade would change: diff upgrade RELEASE CHART [-f=FILE …]. It prints nothing where that is nothing.

kubernetes.core.helm asks a plugin of this name whether a release would change, and shows what it prints. Without one it compares values and
the chart's version alone, so a changed template goes unnoticed. The usual plugin, helm-diff, does the same; this one needs no download.
Contents of Secrets are never printed. SERVING_TRITON_DRIFT: more that an upgrade mends, one line each, as the role has found it.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import sys

TIMEOUT_SECONDS = 120
_SAME, _OTHER = "(secret)", "(another secret)"
_ENTRY = re.compile(r"  ([\w.-]+): (.*)")
# A line that Helm puts above each object.
_SOURCE = re.compile(r"# Source: .*\n?")


class HelmError(Exception):
    """What helm said."""


def helm(*arguments: str) -> str:
    command = [os.environ.get("HELM_BIN", "helm"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)  # noqa: S603 - the user's helm
    if done.returncode:
        raise HelmError(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def deployed(release: str) -> list[str]:
    return [helm("get", "manifest", release), helm("get", "hooks", release)]


def wanted(release: str, chart: str, flags: list[str]) -> list[str]:
    """What an upgrade would send, with the cluster's own capabilities and its Secrets looked up."""
    answer = json.loads(helm("upgrade", release, chart, "--dry-run=server", "--output=json", *flags))
    return [answer.get("manifest") or "", *("---\n" + hook["manifest"] for hook in answer.get("hooks") or ())]


def objects(texts: list[str]) -> dict[str, str]:
    """Kind and name → the object's text."""
    found: dict[str, str] = {}
    for document in (document for text in texts for document in re.split(r"(?m)^---\s*$", text)):
        body = _SOURCE.sub("", document).strip("\n")
        if body.strip():
            found[_title(body)] = body
    return found


def _title(body: str) -> str:
    kind = re.search(r"(?m)^[\"']?kind[\"']? *: *[\"']?(\w+)", body)
    name = re.search(r"(?m)^[\"']?metadata[\"']?:\n(?:  .*\n)*?  [\"']?name[\"']?: *(\S+)", body + "\n")
    return f"{kind[1] if kind else '?'} {name[1] if name else '?'}"


def hide(title: str, before: str, after: str) -> tuple[str, str]:
    """Both texts of a Secret without what it holds; nothing of a list, or of what is written in JSON, which may hold Secrets."""
    kind = title.partition(" ")[0]
    if kind == "?" or kind.endswith("List"):
        return before and f"{title} {_SAME}", after and f"{title} {_OTHER if before else _SAME}"
    if not title.startswith("Secret "):
        return before, after
    old, new = _entries(before), _entries(after)
    return _hidden(before, dict.fromkeys(old, _SAME)), _hidden(
        after, {key: _SAME if old.get(key, value) == value else _OTHER for key, value in new.items()}
    )


def _entries(body: str) -> dict[str, str]:
    """data and stringData, by key."""
    found: dict[str, str] = {}
    section = ""
    for line in body.splitlines():
        if not line.startswith(" "):
            section = _section(line)
        entry = _ENTRY.fullmatch(line)
        if entry and section in ("data", "stringData"):
            found[entry[1]] = entry[2]
    return found


def _section(line: str) -> str:
    return line.partition(":")[0].strip("\"' ")


def _hidden(body: str, shown: dict[str, str]) -> str:
    lines = []
    section = ""
    for line in body.splitlines():
        if not line.startswith(" "):
            section = _section(line)
        inside = section in ("data", "stringData") and line.startswith((" ", "}"))
        entry = _ENTRY.fullmatch(line) if inside else None
        if entry:
            lines.append(f"  {entry[1]}: {shown[entry[1]]}")
        elif not inside:
            # Its values may be on the same line.
            lines.append(f"{section}:" if section in ("data", "stringData") else line)
    return "\n".join(lines)


def compare(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Unified diffs of all objects that differ."""
    found: list[str] = []
    for title in sorted({*before, *after}):
        if before.get(title) == after.get(title):
            continue
        old, new = hide(title, before.get(title, ""), after.get(title, ""))
        names = (title if old else "/dev/null", title if new else "/dev/null")
        found += difflib.unified_diff(old.splitlines(), new.splitlines(), f"before: {names[0]}", f"after: {names[1]}", lineterm="")
    return found


def main(arguments: list[str]) -> int:
    words = [each for each in arguments if not each.startswith("-")]
    if len(words) != 3 or words[0] != "upgrade":
        print(__doc__, file=sys.stderr)
        return 2
    flags = ["--reset-values" if each.startswith("--reset-values") else each for each in arguments if each.startswith("-")]
    try:
        lines = compare(objects(deployed(words[1])), objects(wanted(words[1], words[2], flags)))
    except HelmError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join([*filter(None, os.environ.get("SERVING_TRITON_DRIFT", "").splitlines()), *lines]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
