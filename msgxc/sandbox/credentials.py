"""Keys, certificates and secrets of a sandbox, made once and kept: a restart is the same sandbox.

Each file appears whole or not at all, and only its owner may read it.
"""

from __future__ import annotations

import json
import os
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from msgxc.sandbox import subscriber

PROJECT = "msgxc-sandbox"
CLIENT_EMAIL = f"sender@{PROJECT}.iam.gserviceaccount.com"


@dataclass(frozen=True, slots=True)
class Credentials:
    """All that a sandbox knows to be right. Keys are objects of `cryptography`."""

    directory: Path
    apns_key: ec.EllipticCurvePrivateKey
    fcm_key: rsa.RSAPrivateKey
    vapid_key: ec.EllipticCurvePrivateKey
    sms_token: str = field(repr=False)
    email_key: str = field(repr=False)
    fcm_secret: str = field(repr=False)  # signs the access tokens that the sandbox gives out
    key_id: str = "SANDBOXKEY"
    team_id: str = "SANDBOXTEA"
    topic: str = "com.example.app"
    vapid_contact: str = "mailto:push@example.com"
    account_sid: str = "AC" + "5a" * 16
    cell: str = "+15005550006"
    email: str = "news@example.com"

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def apns_file(self) -> Path:
        return self.directory / "apns.p8"

    @property
    def fcm_file(self) -> Path:
        return self.directory / "fcm.json"

    @property
    def vapid_file(self) -> Path:
        return self.directory / "vapid.pem"

    @property
    def subscriber_file(self) -> Path:
        return self.directory / "subscriber.json"


def credentials_in(directory: Path) -> Credentials:
    """The credentials kept in the directory; what is missing is made now.

    Raises OSError when the directory cannot be written, ValueError when a file in it cannot be read.
    """
    directory.mkdir(parents=True, exist_ok=True)
    found = Credentials(
        directory=directory,
        apns_key=_ec_key(directory / "apns.p8"),
        fcm_key=_rsa_key(directory / "fcm.key"),
        vapid_key=_ec_key(directory / "vapid.pem"),
        sms_token=_secret(directory / "sms.token", lambda: secrets.token_hex(16)),
        email_key=_secret(directory / "email.key", _email_key),
        fcm_secret=_secret(directory / "fcm.secret", lambda: secrets.token_hex(32)),
    )
    keys = {
        "p256dh": subscriber.SUBSCRIBER_P256DH,
        "auth": subscriber.SUBSCRIBER_AUTH,
        "private": subscriber.SUBSCRIBER_PRIVATE,
    }
    _write(found.subscriber_file, json.dumps(keys, indent=1).encode())
    return found


def write_service_account(credentials: Credentials, url: str) -> None:
    """The service account's file; its token_uri names the port of this start."""
    account = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "sandbox",
        "private_key": _pem(credentials.fcm_key).decode(),
        "client_email": CLIENT_EMAIL,
        "client_id": "100000000000000000000",
        "token_uri": f"{url}/token",
        "universe_domain": "googleapis.com",
    }
    _write(credentials.fcm_file, json.dumps(account, indent=1).encode())


def server_tls(directory: Path, *protocols: str) -> ssl.SSLContext:
    """TLS of one server: `protocols` are offered by ALPN. Needs `renew_certificate` before."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(directory / "server.pem")
    context.set_alpn_protocols(list(protocols))
    return context


def renew_certificate(directory: Path, now: datetime, host: str = "localhost") -> None:
    """A fresh server certificate for `host`, localhost and 127.0.0.1, signed by the directory's own CA."""
    ca_key = _ec_key(directory / "ca.key")
    ca = _ca(directory / "ca.pem", ca_key, now)
    key = ec.generate_private_key(ec.SECP256R1())
    hosts = [x509.DNSName(name) for name in dict.fromkeys((host, "localhost"))]
    names = x509.SubjectAlternativeName([*hosts, x509.IPAddress(IPv4Address("127.0.0.1"))])
    server_auth = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        _certificate("msgxc sandbox", ca.subject, key.public_key(), now, days=365)
        .add_extension(names, critical=False)
        .add_extension(server_auth, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    _write(directory / "server.pem", _pem(key) + certificate.public_bytes(Encoding.PEM))


def _ca(path: Path, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """The CA's certificate; made anew when it is missing, of another key, or ends within 30 days."""
    if path.exists():
        found = x509.load_pem_x509_certificate(path.read_bytes())
        if found.public_key() == key.public_key() and found.not_valid_after_utc > now + timedelta(days=30):
            return found
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "msgxc sandbox CA")])
    fresh = (
        _certificate("msgxc sandbox CA", name, key.public_key(), now, days=3650)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_CA_USAGE, critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(path, fresh.public_bytes(Encoding.PEM))
    return fresh


def _certificate(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, *, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


_CA_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _ec_key(path: Path) -> ec.EllipticCurvePrivateKey:
    text = _kept(path, lambda: _pem(ec.generate_private_key(ec.SECP256R1())))
    key = _load(path, text)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} holds no P-256 key")
    return key


def _rsa_key(path: Path) -> rsa.RSAPrivateKey:
    text = _kept(path, lambda: _pem(rsa.generate_private_key(65537, 2048)))
    key = _load(path, text)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"{path} holds no RSA key")
    return key


def _load(path: Path, text: bytes) -> object:
    try:
        return load_pem_private_key(text, None)
    except ValueError:
        raise ValueError(f"{path} holds no key; remove it, and a new one is made") from None


def _email_key() -> str:
    return f"SG.{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(32)}"


def _secret(path: Path, make: Callable[[], str]) -> str:
    return _kept(path, lambda: make().encode()).decode()


def _kept(path: Path, make: Callable[[], bytes]) -> bytes:
    if not path.exists():
        _write(path, make())
    return path.read_bytes()


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)


def now_utc() -> datetime:
    """The time that certificates are dated with."""
    return datetime.now(UTC)
