"""Certificates that tests need, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """A CA whose files, and those that it has signed, are in one directory."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.directory = directory
        self.name = name
        self._openssl("req", "-x509", *KEY, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2",
                      "-subj", f"/CN={name}")  # fmt: skip

    def certify(self, name: str, *also: str, days: int = 2, ca: bool = False) -> None:
        """NAME.pem and NAME.key, with the common name NAME and these other names, such as DNS:ctl.example.

        ``ca``: of an intermediate CA.
        """
        extensions = self.directory / f"{name}.ext"
        constraints = f"basicConstraints=CA:{'TRUE' if ca else 'FALSE'}\n"
        extensions.write_text(f"subjectAltName={','.join(also)}\n" if also else constraints)
        self._openssl("req", *KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{self.name}.pem", "-CAkey", f"{self.name}.key",
                      "-CAcreateserial", "-out", f"{name}.pem", "-days", str(days),
                      "-extfile", str(extensions))  # fmt: skip

    def expired(self, name: str, *also: str) -> None:
        """As ``certify``; its last day was yesterday."""
        self.certify(name, *also, days=-1)

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.directory, check=True, capture_output=True, timeout=60)
