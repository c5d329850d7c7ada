# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An authority, a server's and a client's certificate for tests; and a front that terminates TLS before a plain port."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SERVER_NAME = "triton.test"


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files. The server's certificate is for triton.test and 127.0.0.1 (other: for triton.test alone)."""

    ca: Path
    server: Path
    server_key: Path
    other: Path
    other_key: Path
    client: Path
    client_key: Path


def make_certificates(folder: Path) -> Certificates:
    """Fresh ones, valid for an hour."""
    authority, authority_key = _certificate("authority", None, None)
    names = {
        "server": [x509.DNSName(SERVER_NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))],
        "other": [x509.DNSName(SERVER_NAME)],
        "client": [x509.DNSName("client")],
    }
    _write(folder / "ca.pem", authority)
    for name, subjects in names.items():
        certificate, key = _certificate(name, (authority, authority_key), subjects)
        _write(folder / f"{name}.pem", certificate)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / f"{name}.key").write_bytes(key.private_bytes(*form))
    files = {name: folder / f"{name}.pem" for name in names}
    keys = {f"{name}_key": folder / f"{name}.key" for name in names}
    return Certificates(ca=folder / "ca.pem", **files, **keys)


class Authority:
    """Issues certificates for as long as a test needs them. Everything is PEM."""

    def __init__(self) -> None:
        self._certificate, self._key = _certificate("authority", None, None)

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, subjects: list[x509.GeneralName] | None = None, organization: str = "") -> tuple[bytes, bytes]:
        """A certificate and its key. Kubernetes takes the name for a user and the organization for a group."""
        certificate, key = _certificate(name, (self._certificate, self._key), subjects, organization)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(*form)


def _write(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _certificate(
    name: str,
    signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    subjects: list[x509.GeneralName] | None,
    organization: str = "",
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    group = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    subject = x509.Name([*group, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer[0].subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    )
    if subjects:
        builder = builder.add_extension(x509.SubjectAlternativeName(subjects), critical=False)
    return builder.sign(signer[1] if signer else key, hashes.SHA256()), key


@contextmanager
def tls_front(port: int, certificate: Path, key: Path, *, client_ca: Path | None = None) -> Iterator[str]:
    """Yields an https URL whose connections go on to 127.0.0.1:port. client_ca: demand a client certificate that it signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    listener = socket.create_server(("127.0.0.1", 0))
    acceptor = threading.Thread(target=_accept, args=(listener, context, port), daemon=True)
    acceptor.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(5)


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError):
        while True:
            threading.Thread(target=_forward, args=(listener.accept()[0], context, port), daemon=True).start()


def _forward(connection: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with (
        suppress(OSError),
        context.wrap_socket(connection, server_side=True) as client,
        socket.create_connection(("127.0.0.1", port)) as server,
    ):
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        _pump(client, server)
        back.join(5)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
