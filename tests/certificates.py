"""Certificates of the test's own making, by openssl: an authority, and what it vouches for."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["Certified", "authority", "certified"]

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_DAYS = ("-days", "2")


@dataclass(frozen=True)
class Certified:
    """The files of a certificate and of its key."""

    cert: Path
    key: Path


def _openssl(*arguments: str | Path) -> None:
    found = shutil.which("openssl")
    if found is None:
        text = "no openssl found on PATH to make certificates with"
        if os.environ.get("REQUIRE_OPENSSL") == "1":  # `.ci/run` installs it
            pytest.fail(text)
        pytest.skip(text)
    done = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def authority(folder: Path, name: str) -> Certified:
    """One that vouches for itself."""
    made = Certified(folder / f"{name}.pem", folder / f"{name}.key")
    # Python 3.13 is strict (RFC 5280, 4.2.1): an authority says what its key is for, and whom it vouches for names it.
    extended = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    subject = ("-subj", f"/CN={name}", *extended)
    _openssl("req", "-x509", *_EC, "-keyout", made.key, "-out", made.cert, *_DAYS, *subject)
    return made


def certified(folder: Path, name: str, by: Certified, at: str = "IP:127.0.0.1,DNS:localhost") -> Certified:
    """A server or client at these addresses, for which `by` vouches."""
    made = Certified(folder / f"{name}.pem", folder / f"{name}.key")
    asked, also = folder / f"{name}.csr", folder / f"{name}.ext"
    also.write_text(f"subjectAltName={at}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
    _openssl("req", *_EC, "-keyout", made.key, "-out", asked, "-subj", f"/CN={name}")
    signing = ("-CA", by.cert, "-CAkey", by.key, "-CAcreateserial", "-extfile", also)
    _openssl("x509", "-req", "-in", asked, "-out", made.cert, *_DAYS, *signing)
    return made
