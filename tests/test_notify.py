"""Notifiers: every message arrives, and nothing leaks on the way."""

from __future__ import annotations

import asyncio
import base64
import datetime
import io
import ssl
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gatewright.notify import (
    ConsoleNotifier,
    FileNotifier,
    MemoryNotifier,
    Message,
    NotificationError,
    SmtpNotifier,
)

MESSAGE = Message(
    to="ann@example.com",
    subject="Verify your address",
    body="Open https://example.com/verify?token=planted-secret",
    kind="verify_email",
    data={"token": "planted-secret"},
)


def test_a_message_does_not_show_its_secret() -> None:
    assert "planted-secret" not in repr(MESSAGE)
    assert "planted-secret" not in str(MESSAGE)


async def test_memory_keeps_messages() -> None:
    notifier = MemoryNotifier()
    await notifier.send(MESSAGE)
    assert notifier.last("ann@example.com", kind="verify_email") is MESSAGE
    with pytest.raises(LookupError):
        notifier.last(kind="other")


async def test_console_prints() -> None:
    stream = io.StringIO()
    await ConsoleNotifier(stream).send(MESSAGE)
    assert "ann@example.com" in stream.getvalue()
    assert MESSAGE.body in stream.getvalue()


async def test_file_keeps_lines_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "mail" / "outbox.jsonl"
    assert FileNotifier.read(path) == []
    notifier = FileNotifier(path)
    await asyncio.gather(*(notifier.send(MESSAGE) for _ in range(20)))
    messages = FileNotifier.read(path)
    assert len(messages) == 20
    assert messages[0]["data"] == {"token": "planted-secret"}
    assert messages[0]["kind"] == "verify_email"
    assert datetime.datetime.fromisoformat(messages[0]["sent_at"]).tzinfo is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotificationError, match="Cannot write the outbox"):
        await FileNotifier(tmp_path / "file" / "outbox").send(MESSAGE)


class MailServer:
    """A small SMTP server (RFC 5321) with STARTTLS and AUTH PLAIN; keeps what it is sent."""

    def __init__(self, tls: ssl.SSLContext, *, refuse: bool = False) -> None:
        self.tls, self.refuse = tls, refuse
        self.mails: list[str] = []
        self.logins: list[str] = []
        self.encrypted = False
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())

        say("220 test")
        while line := (await reader.readline()).decode().strip():
            word = line.upper()
            if word.startswith("EHLO"):
                say("250-test")
                say("250-AUTH PLAIN" if self.encrypted else "250-STARTTLS")
                say("250 8BITMIME")
            elif word == "STARTTLS":
                say("220 go")
                await writer.drain()
                await writer.start_tls(self.tls)
                self.encrypted = True
            elif word.startswith("AUTH PLAIN"):
                self.logins.append(base64.b64decode(line.split()[2]).decode())
                say("235 welcome")
            elif word == "DATA":
                say("354 go on")
                lines = []
                while (part := (await reader.readline()).decode()) != ".\r\n":
                    lines.append(part)
                self.mails.append("".join(lines))
                say("250 kept")
            elif word.startswith("RCPT") and self.refuse:
                say("550 no such user ann@example.com")
            elif word == "QUIT":
                say("221 bye")
                break
            else:
                say("250 ok")
        writer.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for a server called localhost, and for a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=str(path))


@pytest.fixture
async def mail_server(certificate: tuple[ssl.SSLContext, ssl.SSLContext]) -> AsyncIterator[MailServer]:
    server = MailServer(certificate[0])
    listening = await asyncio.start_server(server.answer, "localhost", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()


async def test_smtp_sends_encrypted_and_signs_in(
    mail_server: MailServer, certificate: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    notifier = SmtpNotifier(
        "localhost",
        mail_server.port,
        sender="no-reply@example.com",
        user="mailer",
        password="mail-password",
        tls=certificate[1],
    )
    await notifier.send(MESSAGE)
    notifier.close()
    assert mail_server.encrypted
    assert mail_server.logins == ["\0mailer\0mail-password"]
    assert "Subject: Verify your address" in mail_server.mails[0]
    assert "planted-secret" in mail_server.mails[0]
    assert "mail-password" not in repr(notifier)


async def test_smtp_refuses_a_server_it_cannot_trust(mail_server: MailServer) -> None:
    notifier = SmtpNotifier("localhost", mail_server.port, sender="no-reply@example.com")
    with pytest.raises(NotificationError, match="SSLCertVerificationError"):
        await notifier.send(MESSAGE)
    assert mail_server.mails == []


async def test_smtp_does_not_repeat_what_the_server_said(mail_server: MailServer) -> None:
    mail_server.refuse = True
    notifier = SmtpNotifier("localhost", mail_server.port, sender="no-reply@example.com", encrypt=False)
    with pytest.raises(NotificationError) as caught:
        await notifier.send(MESSAGE)
    assert "ann@example.com" not in str(caught.value)


async def test_smtp_without_a_server_says_so() -> None:
    notifier = SmtpNotifier("localhost", 1, sender="no-reply@example.com", encrypt=False)
    with pytest.raises(NotificationError, match="did not accept"):
        await notifier.send(MESSAGE)


async def test_a_second_header_cannot_be_smuggled_in() -> None:
    notifier = SmtpNotifier("localhost", 1, sender="no-reply@example.com", encrypt=False)
    with pytest.raises(NotificationError, match="a single line"):
        await notifier.send(Message(to="a@example.com", subject="x\r\nBcc: all@example.com", body=""))


def test_a_password_never_travels_unencrypted() -> None:
    with pytest.raises(NotificationError, match="unencrypted"):
        SmtpNotifier("localhost", sender="a@example.com", password="p", encrypt=False)
