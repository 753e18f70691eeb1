"""People: from a manufacturer id, an account id or an address to the person meant."""

from __future__ import annotations

from datetime import UTC, datetime

from gatewright.auth.bounds import bounded_text
from gatewright.clock import Clock, SystemClock
from gatewright.errors import AuthorizationError, ValidationError
from gatewright.records import Record
from gatewright.storage.tenants import StoredAccount, StoredManufacturer, TenantStore

MAX_ID_LENGTH = 128


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


class People:
    """Looks people up.

    Args:
        strict: whether a manufacturer that the store does not know is refused (in a foundation) or taken as
            it comes (a manager that is built alone).
    """

    def __init__(self, store: TenantStore, *, strict: bool = False, clock: Clock | None = None) -> None:
        self.strict = strict
        self._store = store
        self._clock = clock or SystemClock()
        self._somebody = ""

    async def of(self, manufacturer_id: str, account_id: str | None = None) -> Person:
        """The owner of a manufacturer, or one of its accounts.

        Raises:
            ValidationError: the id is no text of 1 to 128 characters (code ``INVALID_MANUFACTURER_ID``).
            AuthorizationError: unknown or disabled, where that is refused (code ``UNKNOWN_MANUFACTURER``), or
                the account is not of this manufacturer.
        """
        if not bounded_text(manufacturer_id, MAX_ID_LENGTH):
            raise ValidationError("A manufacturer id is text of 1 to 128 characters.", code="INVALID_MANUFACTURER_ID")
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


def _stand_in_id(manufacturer_id: str) -> str:
    return _STAND_IN + manufacturer_id


def _make_nobody() -> None:
    """Do for nobody what reading a known person's row does, so that the time tells no difference."""
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
    return AuthorizationError("This manufacturer or account is not known, or is disabled.", code="UNKNOWN_MANUFACTURER")
