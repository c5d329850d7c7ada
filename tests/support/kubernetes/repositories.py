# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Charts packed at test time, and a repository of them over HTTP."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..file_server import FileServer


@dataclass(frozen=True)
class Chart:
    """templates, crds: file name → text. values: the defaults. schema: of values."""

    name: str
    version: str
    templates: Mapping[str, str] = field(default_factory=dict)
    crds: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)
    schema: Mapping[str, object] = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, str]:
        return {"apiVersion": "v2", "name": self.name, "version": self.version, "appVersion": self.version}

    def pack(self) -> bytes:
        """The archive that `helm package` makes."""
        files = {
            "Chart.yaml": json.dumps(self.metadata),
            "values.yaml": json.dumps(self.values),
            "values.schema.json": json.dumps(self.schema),
        }
        files |= {f"templates/{name}": text for name, text in self.templates.items()}
        files |= {f"crds/{name}": text for name, text in self.crds.items()}
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, text in files.items():
                entry = tarfile.TarInfo(f"{self.name}/{name}")
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))
        return buffer.getvalue()


def offer(server: FileServer, *charts: Chart) -> None:
    """Makes the server a repository of these charts."""
    entries: dict[str, list[dict[str, object]]] = {}
    for chart in charts:
        path = f"{chart.name}-{chart.version}.tgz"
        server.files[f"/{path}"] = chart.pack()
        entries.setdefault(chart.name, []).append({**chart.metadata, "urls": [path]})
    server.files["/index.yaml"] = json.dumps({"apiVersion": "v1", "entries": entries}).encode()
