"""How credentials are read from settings: all or none of them, as text or as the path of a file.

Every refusal is a WrongSettings of one line that names the setting and never shows its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from msgxc.errors import WrongSettings


def all_or_none(named: Mapping[str, str]) -> bool:
    """True when every value is set, False when none is. Raises WrongSettings when only some are."""
    missing = [name for name, value in named.items() if not value]
    if missing and len(missing) < len(named):
        present = next(name for name, value in named.items() if value)
        raise WrongSettings(f"{', '.join(missing)}: needed because {present} is set")
    return not missing


def key_text(name: str, value: str) -> str:
    """The key itself: `value`, or the content of the file that it is the path of.

    A PEM text may stand on one line, with `\\n` for its line ends, as .env files hold it.
    """
    if value.lstrip().startswith(("{", "-----BEGIN")):
        return value.strip() if value.lstrip().startswith("{") else value.replace("\\n", "\n").strip()
    try:
        path = Path(value).expanduser()
        if _is_file(path):
            return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError, RuntimeError):
        raise WrongSettings(f"{name}: the file cannot be read") from None
    if value.startswith(("/", "~", "./", "../")) or path.suffix in (".p8", ".pem", ".json", ".key"):
        raise WrongSettings(f"{name}: there is no such file")
    return value.strip()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long for a name, or NUL: a key, not a path
        return False


def check_p256_pem(name: str, text: str) -> str:
    """`text` when it is an unencrypted P-256 private key in PEM form; else raises WrongSettings."""
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise WrongSettings(f"{name}: not a private key in PEM form, nor the path of one") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise WrongSettings(f"{name}: the key is not on the curve P-256")
    return text
