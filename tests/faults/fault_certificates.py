"""Certificates that are right, or wrong in one way each."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey


def server_context(folder: Path, wrong: str, protocol: str) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS, and the file of the authority that the client trusts.

    `wrong`: "" (all is right), "expired", "not yet", "other host", "self-signed", "other authority".
    """
    folder.mkdir(parents=True, exist_ok=True)
    authority, stranger = _key(), _key()
    root, other = _root(authority), _root(stranger)
    trusted = folder / "trusted.pem"
    trusted.write_bytes(root.public_bytes(Encoding.PEM))
    key = _key()
    issuer, signer = (root, authority) if wrong != "other authority" else (other, stranger)
    leaf = _leaf(key, issuer.subject if wrong != "self-signed" else _name("localhost"), wrong)
    signed = leaf.sign(key if wrong == "self-signed" else signer, hashes.SHA256())
    chain = folder / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain.write_bytes(private + signed.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    context.set_alpn_protocols([protocol])
    return context, trusted


def _key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _root(key: Key) -> x509.Certificate:
    """An authority."""
    return (
        _dated(_name("tests' authority"), _name("tests' authority"), key, days=(-10, 10))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def _leaf(key: Key, issuer: x509.Name, wrong: str) -> x509.CertificateBuilder:
    days = {"expired": (-10, -1), "not yet": (1, 10)}.get(wrong, (-10, 10))
    host = "push.example.org" if wrong == "other host" else "localhost"
    names = x509.SubjectAlternativeName([x509.DNSName(host)])
    return _dated(_name(host), issuer, key, days).add_extension(names, critical=False)


def _dated(subject: x509.Name, issuer: x509.Name, key: Key, days: tuple[int, int]) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )
