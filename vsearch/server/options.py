"""What a server is told when it starts, and what it refuses before it listens."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass

from vsearch.errors import UsageError
from vsearch.ingest import usable_cores

MIB = 2**20
TOKEN_LENGTH = 16
_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?")
_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve.

    Attributes:
        host, port: where to listen; port 0 takes a free one.
        token: what clients must show; ``None`` for nobody must.
        insecure: allow another host than loopback without a token.
        allow_add: take photos by upload.
        allow_hosts: names under which browsers may reach the server, besides IP addresses and ``host``.
        max_upload_bytes: largest request body.
        max_megapixels: largest uploaded picture.
        kept_answers_bytes: room for answers given before; 0 for none.
        readers: threads that answer from the index.
        decoders: threads that decode and encode uploads.
        waiting: uploads that may wait for a decoder; beyond, the answer is 503.
        queued: other requests that may wait for a reader.

    Raises:
        UsageError: these options would open the photos to everybody, or make no sense.
    """

    host: str = "127.0.0.1"
    port: int = 8750
    token: str | None = None
    insecure: bool = False
    allow_add: bool = False
    allow_hosts: tuple[str, ...] = ()
    max_upload_bytes: int = 64 * MIB
    max_megapixels: float = 50.0
    kept_answers_bytes: int = 8 * MIB
    readers: int = max(2, usable_cores())
    decoders: int = usable_cores()
    waiting: int = 64
    queued: int = 1024

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_megapixels) and self.max_megapixels > 0):
            raise UsageError(f"--max-megapixels must be a number above 0; received {self.max_megapixels}")
        for name in self.allow_hosts:
            if not _HOST.fullmatch(name):
                raise UsageError(f"--allow-host is a name alone, such as photos.lan; received {name!r}")
        if self.token is not None and (len(self.token) < TOKEN_LENGTH or not _TOKEN.fullmatch(self.token)):
            raise UsageError(
                f"the token must be {TOKEN_LENGTH} or more printable ASCII characters without spaces; "
                "make one with `python -c 'import secrets; print(secrets.token_urlsafe())'`"
            )
        if not self.loopback and self.token is None and not self.insecure:
            raise UsageError(
                f"serving on {self.host} would show the photos to everyone who reaches it; "
                "give a --token, or --insecure if that is what you want"
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
