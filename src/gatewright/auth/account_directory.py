"""Account look-up by manufacturer id, account id or email address."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from gatewright.auth.records import ClientInfo
from gatewright.auth.root_secret import bounded_text
from gatewright.clock import Clock, SystemClock
from gatewright.errors import AuthorizationError, FieldError, ValidationError
from gatewright.records import Record
from gatewright.storage.tenants import StoredAccount, StoredManufacturer, TenantStore

MAX_ID_LENGTH = 128


class CallerContext(Protocol):
    """Any object that names a manufacturer and, where a person is calling, the account."""

    @property
    def manufacturer_id(self) -> str: ...

    @property
    def account_id(self) -> str | None: ...


class Person(Record, frozen=True, kw_only=True):
    """An account and the manufacturer it belongs to. ``known`` is False for one that only the caller knows."""

    account: StoredAccount
    manufacturer: StoredManufacturer
    known: bool = True

    @property
    def account_id(self) -> str:
        return self.account.account_id

    @property
    def manufacturer_id(self) -> str:
        return self.manufacturer.manufacturer_id

    @property
    def active(self) -> bool:
        """Whether neither the account nor its manufacturer is disabled."""
        return self.account.status == "active" and self.manufacturer.status == "active"


def event_fields(person: Person | None, client: ClientInfo | None = None) -> dict[str, str | None]:
    """The fields of an event that identify a person and a client."""
    return {
        "manufacturer_id": person.manufacturer_id if person else None,
        "account_id": person.account_id if person else None,
        "ip_address": client.ip_address if client else None,
    }


class AccountDirectory:
    """Looks people up.

    Args:
        strict: as in a foundation: unknown manufacturers are refused, and every call names the account it acts
            on. A manager that is built alone takes a manufacturer as it comes and defaults to its owner.
    """

    def __init__(self, store: TenantStore, *, strict: bool = False, clock: Clock | None = None) -> None:
        self.strict = strict
        self._store = store
        self._clock = clock or SystemClock()
        self._somebody = ""

    async def of(self, manufacturer: str | CallerContext, account_id: str | None = None) -> Person:
        """One account of a manufacturer. Only a manager that is built alone defaults to the owner.

        Args:
            manufacturer: its id, or a context, whose ``account_id`` counts where the argument is missing.

        Raises:
            ValidationError: no account is named where one must be (code ``ACCOUNT_ID_REQUIRED``), context and
                argument name two (``ACCOUNT_ID_MISMATCH``), or an id is not text of 1 to 128 characters
                (``INVALID_MANUFACTURER_ID``, ``INVALID_ACCOUNT_ID``).
            AuthorizationError: unknown or disabled, where that is refused (code ``UNKNOWN_MANUFACTURER``), or
                the account is not of this manufacturer.
        """
        manufacturer_id, account_id = _ids(manufacturer, account_id)
        if account_id is None and self.strict:
            raise _account_missing()
        return await self._find(manufacturer_id, account_id)

    async def of_session(self, manufacturer_id: str, account_id: str | None) -> Person:
        """Whose session it is.

        Raises:
            ValidationError: it was created without an account, so it belongs to nobody (code ``ACCOUNT_ID_REQUIRED``).
            AuthorizationError: as :meth:`of`.
        """
        if account_id is None and self.strict:
            raise _refused(
                "This session was created without an account_id. Only a person can present a second factor; sign in, or"
                " pass account_id to create_session.",
                code="ACCOUNT_ID_REQUIRED",
            )
        return await self._find(manufacturer_id, account_id)

    async def finishing(self, account_id: str | None) -> None:
        """Raise unless the account that finishes what it began is named and active; built alone, it may be omitted.

        Raises:
            ValidationError: it is missing (code ``ACCOUNT_ID_REQUIRED``).
            AuthorizationError: it is unknown or disabled (code ``UNKNOWN_MANUFACTURER``).
        """
        if not self.strict:
            return
        if account_id is None:
            raise _account_missing()
        _check_account_id(account_id)
        person = await self.by_account(account_id)
        if person is None or not person.active:
            raise _unknown()

    async def _find(self, manufacturer_id: str, account_id: str | None) -> Person:
        manufacturer = await self._store.get_manufacturer(manufacturer_id)
        if manufacturer is None:
            if self.strict or account_id not in (None, _stand_in_id(manufacturer_id)):
                raise _unknown()
            return self._stand_in(manufacturer_id)
        if account_id is None:
            account = await self._store.owner_of(manufacturer_id)
        else:
            account = await self._store.get_account(account_id)
        if account is None or account.manufacturer_id != manufacturer_id:
            raise _unknown()
        person = Person(account=account, manufacturer=manufacturer)
        if self.strict and not person.active:
            raise _unknown()
        return person

    async def by_address(self, email_key: str) -> Person | None:
        """The person with this canonical address; disabled ones too."""
        account = await self._store.find_account(email_key)
        return await self._complete(account)

    async def by_account(self, account_id: str) -> Person | None:
        """The person of an account id; disabled ones too."""
        account = await self._store.get_account(account_id)
        if account is None and not self.strict and account_id.startswith(_STAND_IN):
            return self._stand_in(account_id.removeprefix(_STAND_IN))
        return await self._complete(account)

    async def _complete(self, account: StoredAccount | None) -> Person | None:
        # An unknown address costs the same two look-ups as a known one, and the same making of records.
        manufacturer = await self._store.get_manufacturer(account.manufacturer_id if account else self._somebody)
        if account is None or manufacturer is None:
            _make_nobody()
            return None
        self._somebody = manufacturer.manufacturer_id
        return Person(account=account, manufacturer=manufacturer)

    def _stand_in(self, manufacturer_id: str) -> Person:
        now = self._clock.now()
        return Person(
            account=StoredAccount(
                account_id=_stand_in_id(manufacturer_id),
                manufacturer_id=manufacturer_id,
                email=manufacturer_id,
                email_key=manufacturer_id,
                created_at=now,
                updated_at=now,
            ),
            manufacturer=StoredManufacturer(
                manufacturer_id=manufacturer_id,
                company_name=manufacturer_id,
                tier="free",
                created_at=now,
                updated_at=now,
            ),
            known=False,
        )


_STAND_IN = "owner:"
_THREE_TIMES = (1.7e9, 1.7e9, 1.7e9)
_NOBODYS = StoredManufacturer(
    manufacturer_id="",
    company_name="",
    tier="",
    created_at=datetime.fromtimestamp(0, UTC),
    updated_at=datetime.fromtimestamp(0, UTC),
)


def _ids(manufacturer: str | CallerContext, account_id: str | None) -> tuple[str, str | None]:
    """The two ids that a call names, checked."""
    manufacturer_id: object = manufacturer
    if not isinstance(manufacturer, str):
        manufacturer_id = getattr(manufacturer, "manufacturer_id", None)
        within = getattr(manufacturer, "account_id", None)
        if account_id is not None and within not in (None, account_id):
            raise _refused(
                "The context and account_id name two different accounts. A call acts on one account. Pass the"
                " manufacturer id"
                " with account_id, or the context alone.",
                code="ACCOUNT_ID_MISMATCH",
            )
        account_id = within if account_id is None else account_id
    if not bounded_text(manufacturer_id, MAX_ID_LENGTH):
        raise ValidationError("manufacturer_id must be 1 to 128 characters.", code="INVALID_MANUFACTURER_ID")
    if account_id is not None:
        _check_account_id(account_id)
    return str(manufacturer_id), account_id


def _check_account_id(account_id: object) -> None:
    if not bounded_text(account_id, MAX_ID_LENGTH):
        raise _refused("An account id must be 1 to 128 characters.", code="INVALID_ACCOUNT_ID")


def _account_missing() -> ValidationError:
    return _refused(
        "account_id is required. In a foundation every call about MFA, passwords, passkeys, devices or API keys acts"
        " on one account and never defaults to the owner; pass account_id, or a ManufacturerContext that has one.",
        code="ACCOUNT_ID_REQUIRED",
    )


def _refused(message: str, *, code: str) -> ValidationError:
    return ValidationError(
        message, code=code, errors=[FieldError(field="account_id", error_type=code, message=message)]
    )


def _stand_in_id(manufacturer_id: str) -> str:
    return _STAND_IN + manufacturer_id


def _make_nobody() -> None:
    """Spend the work of reading a known person's row, so that the time tells no difference."""
    row = ("", "", "", "", "", "owner", "active", *(str(seconds) for seconds in _THREE_TIMES))
    moments = [datetime.fromtimestamp(float(seconds), UTC) for seconds in row[7:]]
    account = StoredAccount(
        account_id=row[0],
        manufacturer_id=row[1],
        email=row[2],
        email_key=row[3],
        password_hash=row[4],
        role=row[5],
        status=row[6],
        created_at=moments[0],
        updated_at=moments[1],
        last_login_at=moments[2],
    )
    Person(account=account, manufacturer=_NOBODYS)


def _unknown() -> AuthorizationError:
    return AuthorizationError("Unknown or disabled manufacturer or account.", code="UNKNOWN_MANUFACTURER")
