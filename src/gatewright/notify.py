"""Notifier: how a message reaches a person: the console, a file, or SMTP."""

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
    """One message to one person.

    ``kind`` names the occasion (``verify_email``, ``reset_password``, ``new_device``), ``data`` holds the parts
    (``{"token": ..., "link": ...}``) for a notifier that writes its own text. Subject and recipient must be
    one line each.
    """

    to: str
    subject: str
    body: str
    kind: str = "message"
    data: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        """Without body and data, which may hold a link that signs someone in."""
        return f"Message(kind={self.kind!r}, subject={self.subject!r})"


class Directions(Record, frozen=True, kw_only=True):
    """How somebody who gets a token by mail is told to use it.

    ``api_url`` is where the HTTP API is reached, None where there is none (a manager built alone). ``pages_url``
    is the base of the installation's own account pages: only where it is set does a mail have a link, to
    ``{pages_url}/{page}#token={token}``; a fragment is not sent to servers, so no log has it.
    """

    api_url: str | None = None
    pages_url: str | None = None

    def for_token(self, token: str, path: str, page: str, **fields: str) -> tuple[str, dict[str, str]]:
        """The words that follow "To do so, ", and the message's ``data``.

        Args:
            token: shown once, in this message.
            path: the call that takes it, as ``{"token": ...}``.
            page: the last part of the page's address.
            fields: what else the call wants, each with a word for its value.
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
    """The message could not be handed over."""

    default_code = "NOTIFICATION_FAILED"
    category = "configuration"
    http_status = 503
    recommended_action = "Check the mail settings with `gatewright doctor`."


class Notifier(Protocol):
    """Sends messages to people."""

    async def send(self, message: Message) -> None:
        """Hand the message over.

        Raises:
            NotificationError: it could not be handed over.
        """
        ...


class MemoryNotifier:
    """Keeps messages in a list, for tests and examples."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    def last(self, to: str | None = None, *, kind: str | None = None) -> Message:
        """The newest message (to that address, of that kind); LookupError when there is none."""
        for message in reversed(self.messages):
            if (to is None or message.to == to) and (kind is None or message.kind == kind):
                return message
        raise LookupError(f"no message of kind {kind!r} among {len(self.messages)}")


class ConsoleNotifier:
    """Prints messages, for development. Never for production: the log of a server is no mailbox."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    async def send(self, message: Message) -> None:
        stream = self._stream or sys.stderr
        stream.write(f"--- {message.kind} to {message.to}\n{message.subject}\n\n{message.body}\n---\n")
        stream.flush()


class FileNotifier:
    """Appends each message as one line of JSON to an outbox that only its owner may read (0600).

    Args:
        path: the outbox; its directory is made when missing.
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
                os.write(descriptor, line)  # one write: lines of several processes do not mix
            finally:
                os.close(descriptor)
        except OSError as error:
            raise NotificationError(f"The outbox {self.path} cannot be written: {error.strerror}.") from error

    @staticmethod
    def read(path: str | Path) -> list[dict[str, Any]]:
        """The messages of an outbox, oldest first; an outbox that is not there yet is empty."""
        try:
            lines = Path(path).read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [msgspec.json.decode(line) for line in lines if line]


class SmtpNotifier:
    """Sends plain-text mail. Encrypted by STARTTLS (RFC 3207) or, on port 465, from the start (RFC 8314).

    Args:
        host, port: the submission server.
        sender: the ``From`` address.
        user, password: for servers that ask; never sent over an unencrypted connection.
        encrypt: False only for a server on this machine.
        tls: the context that checks the server's certificate; the system's authorities by default.
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
            raise NotificationError("A password for SMTP must not travel unencrypted; leave encrypt on.")
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
            raise NotificationError("The recipient or subject is not one line of text.") from error
        mail.set_content(message.body)
        await asyncio.get_running_loop().run_in_executor(self._pool, self._deliver, mail)

    def close(self) -> None:
        """Let what is being sent end, and take nothing more."""
        self._pool.shutdown(wait=True)

    def _deliver(self, mail: EmailMessage) -> None:
        try:
            with self._connect() as connection:
                if self._user is not None and self._password is not None:
                    connection.login(self._user, self._password)
                connection.send_message(mail)
        except (OSError, smtplib.SMTPException) as error:
            # The server's words may repeat the address or the password: only the kind of fault is told.
            raise NotificationError(
                f"The mail server {self._host}:{self._port} did not take the message ({type(error).__name__})."
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
