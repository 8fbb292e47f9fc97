"""QUIC for a test host, by aioquic.

    python quic_peer.py serve NAME DIRECTORY      answers "TEXT" with "NAME TEXT"; its certificate goes to DIRECTORY
    python quic_peer.py ask ADDRESS TIMES         one connection; before each question but the first its port changes
"""

from __future__ import annotations

import asyncio
import datetime
import ssl
import sys
from pathlib import Path

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent, StreamDataReceived
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PORT = 4433


def certificate(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "service")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
    files = directory / "certificate.pem", directory / "key.pem"
    files[0].write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return files


async def run_server(name: str, directory: Path) -> None:
    def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def respond() -> None:
            text = await reader.read()
            writer.write(name.encode() + b" " + text)
            writer.write_eof()

        tasks.add(asyncio.ensure_future(respond()))

    tasks: set[asyncio.Future[None]] = set()
    settings = QuicConfiguration(is_client=False, alpn_protocols=["test"])
    settings.load_cert_chain(*certificate(directory))
    await serve("::", PORT, configuration=settings, stream_handler=answer)
    await asyncio.Future()


class Client(QuicConnectionProtocol):
    """Streams of questions, one at a time."""

    answer: asyncio.Future[bytes] | None = None
    read = b""

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self.read += event.data
            if event.end_stream and self.answer:
                self.answer.set_result(self.read)

    async def ask(self, text: str) -> str:
        self.read, self.answer = b"", asyncio.get_running_loop().create_future()
        stream = self._quic.get_next_available_stream_id()
        self._quic.send_stream_data(stream, text.encode(), end_stream=True)
        self.transmit()
        return (await asyncio.wait_for(self.answer, 10)).decode()


async def run_client(address: str, times: int) -> None:
    loop = asyncio.get_running_loop()
    settings = QuicConfiguration(is_client=True, alpn_protocols=["test"], verify_mode=ssl.CERT_NONE)
    async with connect(address, PORT, configuration=settings, create_protocol=Client) as client:
        assert isinstance(client, Client)
        for number in range(times):
            if number:  # another socket, so another port; the connection goes on (RFC 9000 §9)
                old = client._transport
                await loop.create_datagram_endpoint(lambda: client, local_addr=("::", 0))
                old.close()
            print(await client.ask(f"question {number}"), flush=True)


if __name__ == "__main__":
    _, verb, what, more = sys.argv
    asyncio.run(run_server(what, Path(more)) if verb == "serve" else run_client(what, int(more)))
