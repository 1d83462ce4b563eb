"""The one web push subscriber of every sandbox: a fixed test key pair that protects nothing.

Never use it live. Every example subscription carries these keys, so that the sandbox can really decrypt what
it is sent (RFC 8291). Its endpoints are PUSH_ORIGIN/push/<word>: a name that never resolves (RFC 6761,
`.invalid`), so a file of example people holds no port; in sandbox mode the web push adapter sends to the
sandbox's own URL instead.
"""

from __future__ import annotations

#: The origin of every example subscription; also accepted as the VAPID audience.
PUSH_ORIGIN = "https://push.sandbox.invalid"

#: Public key: 65 bytes, an uncompressed point of P-256, in base64url without padding.
SUBSCRIBER_P256DH = "BAOV31Nj_J0M-obxu5tzf0Lr-uo4XT1_biqMqL7yW46YBOIH18eYC3iqu6tBswIJ2EwVkYOLNW0ZbH9luReuUJk"

#: Authentication secret: 16 bytes, in base64url without padding.
SUBSCRIBER_AUTH = "3-oMI_qvI2CvQCh7ijrktA"

#: Private key: the 32 bytes of its scalar, in base64url without padding.
SUBSCRIBER_PRIVATE = "lxdJ4PEK3twNOPYpUvvlT-BnyUmu6sMmUH3SOzkgcag"


def push_endpoint(word: str) -> str:
    """The endpoint of an example subscription; `word` steers the sandbox, as in `gone-17`."""
    return f"{PUSH_ORIGIN}/push/{word}"
