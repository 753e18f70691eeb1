"""Notifiers: delivery of messages to people by console, file or SMTP."""

from __future__ import annotations

import asyncio
import os
import smtplib
import ssl
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol, TextIO

import msgspec

from gatewright.errors import SecurityError
from gatewright.records import Record


class Message(Record, frozen=True, kw_only=True):
    """A message to one person.

    ``kind`` identifies the occasion (``verify_email``, ``reset_password``, ``new_device``). ``data`` has the parts
    (``{"token": ..., "link": ...}``) for a notifier that renders its own text. Subject and recipient must each be a
    single line.
    """

    to: str
    subject: str
    body: str
    kind: str = "message"
    data: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        """Omit body and data, which may contain a link that signs someone in."""
        return f"Message(kind={self.kind!r}, subject={self.subject!r})"


class Directions(Record, frozen=True, kw_only=True):
    """Instructions for using a token that arrives by email.

    ``api_url`` is the URL of the HTTP API, or None without one (a manager built alone). ``pages_url`` is the base URL
    of the installation's account pages. If set, emails contain a link to ``{pages_url}/{page}#token={token}``. A
    fragment is not sent to servers, so it appears in no log.
    """

    api_url: str | None = None
    pages_url: str | None = None

    def for_token(self, token: str, path: str, page: str, **fields: str) -> tuple[str, dict[str, str]]:
        """The instructions, as they follow "To do so, ", and the ``data`` of the message.

        Args:
            token: the token, which appears only in this message.
            path: the API call that accepts it, as ``{"token": ...}``.
            page: the last segment of the page's URL.
            fields: other fields of the call, each with a placeholder.
        """
        data = {"token": token}
        ways = []
        if self.pages_url is not None:
            data["link"] = f"{self.pages_url.rstrip('/')}/{page}#token={token}"
            ways.append(f"open {data['link']}")
        if self.api_url is None:
            ways.append(f"use this token: {token}")
        else:
            body = ", ".join([f'"token": "{token}"', *(f'"{name}": "<{value}>"' for name, value in fields.items())])
            ways.append(f"send\n\n    POST {self.api_url.rstrip('/')}{path}\n    {{{body}}}")
        return ", or ".join(ways), data


class NotificationError(SecurityError):
    """The message could not be delivered."""

    default_code = "NOTIFICATION_FAILED"
    category = "configuration"
    http_status = 503
    recommended_action = "Check the mail settings with `gatewright doctor`."


class Notifier(Protocol):
    """Sends messages to people."""

    async def send(self, message: Message) -> None:
        """Deliver the message.

        Raises:
            NotificationError: delivery failed.
        """
        ...


class MemoryNotifier:
    """Keeps messages in a list, for tests and examples."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    def last(self, to: str | None = None, *, kind: str | None = None) -> Message:
        """The latest message, optionally to one address or of one kind. Raises LookupError if there is no such mail."""
        for message in reversed(self.messages):
            if (to is None or message.to == to) and (kind is None or message.kind == kind):
                return message
        raise LookupError(f"no message of kind {kind!r} among {len(self.messages)}")


class ConsoleNotifier:
    """Prints messages, for development only: server logs are not a mailbox."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    async def send(self, message: Message) -> None:
        stream = self._stream or sys.stderr
        stream.write(f"--- {message.kind} to {message.to}\n{message.subject}\n\n{message.body}\n---\n")
        stream.flush()


class FileNotifier:
    """Appends messages as JSON lines to an outbox file with mode 0600.

    Args:
        path: the outbox. Its directory is created if missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    async def send(self, message: Message) -> None:
        line = msgspec.json.encode({**message.to_dict(), "sent_at": datetime.now(UTC)}) + b"\n"
        await asyncio.to_thread(self._append, line)

    def _append(self, line: bytes) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line)  # a single write, so that lines of several processes do not interleave
            finally:
                os.close(descriptor)
        except OSError as error:
            raise NotificationError(f"Cannot write the outbox {self.path}: {error.strerror}.") from error

    @staticmethod
    def read(path: str | Path) -> list[dict[str, Any]]:
        """The messages in an outbox, oldest first. A missing file is an empty outbox."""
        try:
            lines = Path(path).read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [msgspec.json.decode(line) for line in lines if line]


class SmtpNotifier:
    """Sends plain-text email over STARTTLS (RFC 3207) or, on port 465, implicit TLS (RFC 8314).

    Args:
        host, port: the submission server.
        sender: the ``From`` address.
        user, password: credentials, if required. Never sent over an unencrypted connection.
        encrypt: set to False only for a server on the same machine.
        tls: the TLS context. Defaults to the certificate authorities of the system.
        timeout: seconds for each step of the dialogue.
    """

    def __init__(
        self,
        host: str,
        port: int = 587,
        *,
        sender: str,
        user: str | None = None,
        password: str | None = None,
        encrypt: bool = True,
        tls: ssl.SSLContext | None = None,
        timeout: float = 15.0,
    ) -> None:
        if password is not None and not encrypt:
            raise NotificationError("An SMTP password must not be sent unencrypted. Remove encrypt=False.")
        self._host, self._port, self._sender = host, port, sender
        self._user, self._password = user, password
        self._encrypt, self._tls, self._timeout = encrypt, tls, timeout
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="gatewright-smtp")

    def __repr__(self) -> str:
        return f"SmtpNotifier({self._host!r}, {self._port})"

    async def send(self, message: Message) -> None:
        mail = EmailMessage()
        try:
            mail["From"], mail["To"], mail["Subject"] = self._sender, message.to, message.subject
            mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation replies
        except ValueError as error:
            raise NotificationError("The recipient and subject must each be a single line.") from error
        mail.set_content(message.body)
        await asyncio.get_running_loop().run_in_executor(self._pool, self._deliver, mail)

    def close(self) -> None:
        """Wait for deliveries in progress, and accept no more."""
        self._pool.shutdown(wait=True)

    def _deliver(self, mail: EmailMessage) -> None:
        try:
            with self._connect() as connection:
                if self._user is not None and self._password is not None:
                    connection.login(self._user, self._password)
                connection.send_message(mail)
        except (OSError, smtplib.SMTPException) as error:
            # The server's reply may repeat the address or the password: report only the type of the error.
            raise NotificationError(
                f"The mail server {self._host}:{self._port} did not accept the message ({type(error).__name__})."
            ) from None

    def _connect(self) -> smtplib.SMTP:
        tls = self._tls or ssl.create_default_context()
        if self._encrypt and self._port == 465:
            return smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout, context=tls)
        connection = smtplib.SMTP(self._host, self._port, timeout=self._timeout)
        if self._encrypt:
            try:
                connection.starttls(context=tls)
            except BaseException:
                connection.close()
                raise
        return connection
