"""Members: several people in one manufacturer, invited, each with a role that cuts what the manufacturer may do."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any

from gatewright.clock import Clock
from gatewright.errors import DuplicateAccountError, InsufficientPermissionsError, ValidationError
from gatewright.events import EventSink, Severity, event
from gatewright.rbac.names import plain, role_name
from gatewright.rbac.standing import Standings, id_of
from gatewright.records import Record
from gatewright.storage.invitations import StoredInvitation
from gatewright.storage.protocol import Store
from gatewright.storage.tenants import PLATFORM_TENANT, StoredAccount

OPEN_INVITATIONS = 100
_LIFETIME = timedelta(days=7)


class Member(Record, frozen=True, kw_only=True):
    """A person in a manufacturer."""

    account_id: str
    manufacturer_id: str
    email: str
    role: str
    status: str
    permissions: tuple[str, ...]
    created_at: datetime


class Invitation(Record, frozen=True, kw_only=True):
    """An invitation; ``token`` is there once, for whoever sends the mail, and kept nowhere."""

    invitation_id: str
    manufacturer_id: str
    email: str
    role: str
    expires_at: datetime
    token: str | None = None


class Members:
    """Invites people and changes what they may do. Only owners (or the platform) are let to: ``by`` says who asks."""

    def __init__(self, store: Store, standings: Standings, sink: EventSink, clock: Clock) -> None:
        self._store = store
        self._standings = standings
        self._sink = sink
        self._clock = clock

    async def invite(self, manufacturer: Any, email: str, role: Any, by: str | None) -> Invitation:
        """Invite an address with a role.

        Raises:
            ValidationError: the role or address is none, or too many invitations are open.
            DuplicateAccountError: the address has an account.
        """
        manufacturer_id, name = id_of(manufacturer), self._role(manufacturer, role)
        await self._owner_only(manufacturer_id, by)
        address = email.strip() if isinstance(email, str) else ""
        if not 3 <= len(address) <= 254 or address.count("@") != 1 or address.startswith("@") or address.endswith("@"):
            raise ValidationError("Give the e-mail address of the person to invite.", code="INVALID_EMAIL_FORMAT")
        if await self._store.find_account(address.casefold()) is not None:
            raise DuplicateAccountError("This address has an account already.")
        token, now = secrets.token_urlsafe(32), self._clock.now()
        made = StoredInvitation(
            invitation_id="inv_" + secrets.token_hex(12),
            manufacturer_id=manufacturer_id,
            email=address,
            role=name,
            token_hash=_hash(token),
            invited_by=by,
            created_at=now,
            expires_at=now + _LIFETIME,
        )
        if not await self._store.add_invitation(made, most=OPEN_INVITATIONS):
            raise ValidationError("Too many invitations are open; withdraw some first.", code="TOO_MANY_INVITATIONS")
        self._tell("rbac:member:invited", manufacturer_id, by, invitation_id=made.invitation_id, role=name)
        return _public(made, token)

    async def invitation_of(self, token: object) -> Invitation:
        """The open invitation that a token stands for.

        Raises:
            ValidationError: it is unknown, used or expired (code ``INVALID_INVITATION``).
        """
        found = None
        if isinstance(token, str):
            found = await self._store.find_invitation(_hash(token), self._clock.now())
        if found is None:
            raise _no_invitation()
        return _public(found, None)

    async def accept(self, token: str, *, password_hash: str | None) -> Member:
        """Use an invitation up and add the person; exactly one of several tries wins.

        Raises:
            ValidationError: it is unknown, used or expired (code ``INVALID_INVITATION``).
            DuplicateAccountError: the address has got an account meanwhile.
        """
        now = self._clock.now()
        found = await self.invitation_of(token)
        account = StoredAccount(
            account_id="acc_" + secrets.token_hex(12),
            manufacturer_id=found.manufacturer_id,
            email=found.email,
            email_key=found.email.casefold(),
            password_hash=password_hash,
            role=found.role,
            created_at=now,
            updated_at=now,
        )
        if not await self._store.accept_invitation(_hash(token), account, now):
            raise _no_invitation()
        self._tell("rbac:member:joined", account.manufacturer_id, account.account_id, role=account.role)
        return await self._member(account)

    async def invitations(self, manufacturer: Any) -> list[Invitation]:
        """The open ones, oldest first."""
        return [_public(i, None) for i in await self._store.list_invitations(id_of(manufacturer), self._clock.now())]

    async def withdraw(self, manufacturer: Any, invitation_id: str, by: str | None) -> bool:
        """Take an invitation back; whether there was one to take."""
        manufacturer_id = id_of(manufacturer)
        await self._owner_only(manufacturer_id, by)
        return await self._store.withdraw_invitation(manufacturer_id, invitation_id)

    async def members(self, manufacturer: Any) -> list[Member]:
        """The people of a manufacturer, oldest first."""
        return [await self._member(account) for account in await self._store.list_accounts(id_of(manufacturer))]

    async def change(
        self, manufacturer: Any, account_id: str, by: str | None, *, role: Any = None, status: str | None = None
    ) -> bool:
        """Give another role, disable or let in again; False where the manufacturer has no such person.

        Raises:
            ValidationError: the role is none, or the last owner would go.
        """
        manufacturer_id = id_of(manufacturer)
        name = None if role is None else self._role(manufacturer, role)
        await self._owner_only(manufacturer_id, by)
        before = await self._store.change_member(manufacturer_id, account_id, role=name, status=status)
        if before is None:
            return False
        after = {"role": name or before.role, "status": status or before.status}
        change = {"before": {"role": before.role, "status": before.status}, "after": after}
        self._tell("rbac:member:changed", manufacturer_id, by, member=account_id, **change)
        return True

    async def _owner_only(self, manufacturer_id: str, by: str | None) -> None:
        """``None`` stands for the platform itself; anybody else must be an active owner of this manufacturer."""
        if by is None:
            return
        account = await self._store.get_account(by)
        role = "platform_admin" if manufacturer_id == PLATFORM_TENANT else "owner"
        if (
            account is None
            or account.manufacturer_id != manufacturer_id
            or (account.role, account.status) != (role, "active")
        ):
            context = {"manufacturer_id": manufacturer_id, "permission": "manage_members"}
            raise InsufficientPermissionsError("Only an owner may manage the members.", context=context)

    def _role(self, manufacturer: Any, role: Any) -> str:
        staff, name = id_of(manufacturer) == PLATFORM_TENANT, role_name(plain(role))
        known = [n for n, r in self._standings.compiled.policy.roles.items() if r.platform == staff]
        if name not in known:
            raise ValidationError(
                f"No role of members is called {name!r}; use {', '.join(known)}.", code="UNKNOWN_ROLE"
            )
        return name

    async def _member(self, account: StoredAccount) -> Member:
        standing = await self._standings.of(account.manufacturer_id)
        compiled = self._standings.compiled
        cut = (standing.members or {}).get(account.account_id, 0)
        return Member(
            account_id=account.account_id,
            manufacturer_id=account.manufacturer_id,
            email=account.email,
            role=account.role,
            status=account.status,
            permissions=tuple(compiled.names(standing.mask(compiled, None) & cut)),
            created_at=account.created_at,
        )

    def _tell(self, kind: str, manufacturer_id: str, actor: str | None, **data: Any) -> None:
        self._sink.emit(
            event(
                kind,
                severity=Severity.NOTICE,
                timestamp=self._clock.now(),
                manufacturer_id=manufacturer_id,
                actor=actor,
                **data,
            )
        )


def _hash(token: str) -> str:
    """Tokens are 256 random bits, so a plain hash cannot be searched backwards."""
    return hashlib.sha256(token.encode()).hexdigest()


def _no_invitation() -> ValidationError:
    return ValidationError("This invitation is unknown, used or expired.", code="INVALID_INVITATION")


def _public(made: StoredInvitation, token: str | None) -> Invitation:
    return Invitation(
        invitation_id=made.invitation_id,
        manufacturer_id=made.manufacturer_id,
        email=made.email,
        role=made.role,
        expires_at=made.expires_at,
        token=token,
    )
