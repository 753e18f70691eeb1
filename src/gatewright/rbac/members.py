"""Members of a manufacturer: invitations, roles and status."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any

from gatewright import event_kinds
from gatewright.business import canonical_email
from gatewright.clock import Clock
from gatewright.errors import DuplicateAccountError, InsufficientPermissionsError, ValidationError
from gatewright.events import EventSink, Severity, event
from gatewright.rbac.entitlements import EntitlementCache
from gatewright.rbac.records import role_name
from gatewright.records import Record
from gatewright.references import manufacturer_id_of, plain
from gatewright.storage.protocol import Store
from gatewright.storage.tenants import PLATFORM_TENANT, StoredAccount, StoredInvitation

OPEN_INVITATIONS = 100
MANAGE = "members:manage"
_LIFETIME = timedelta(days=7)


class Member(Record, frozen=True, kw_only=True):
    """A person in a manufacturer. ``permissions`` are the policy's, ``access`` those of Gatewright's own calls."""

    account_id: str
    manufacturer_id: str
    email: str
    role: str
    status: str
    permissions: tuple[str, ...]
    access: tuple[str, ...] = ()
    created_at: datetime


class Invitation(Record, frozen=True, kw_only=True):
    """An invitation; ``token`` is present once, for the email, and stored nowhere."""

    invitation_id: str
    manufacturer_id: str
    email: str
    role: str
    expires_at: datetime
    token: str | None = None


class Members:
    """Invites people and changes what they may do.

    ``by`` is the account that asks, None for the platform itself (the command line, code). An account needs
    ``members:manage``, and no one gives a role, or changes a person, with a permission that they lack themselves: so
    no way leads up.
    """

    def __init__(self, store: Store, entitlements: EntitlementCache, sink: EventSink, clock: Clock) -> None:
        self._store = store
        self._entitlements = entitlements
        self._sink = sink
        self._clock = clock

    async def invite(self, manufacturer: Any, email: str, role: Any, by: str | None) -> Invitation:
        """Invite an address with a role.

        An address that has an account in another company gets an invitation like any other, which cannot be accepted:
        neither the answer nor the list of open invitations tells that it is known.

        Raises:
            ValidationError: no such role or address, or too many invitations are open.
            DuplicateAccountError: the address is a member's already.
            InsufficientPermissionsError: ``by`` may not manage members, or not give this role.
        """
        manufacturer_id, name = manufacturer_id_of(manufacturer), self._role(manufacturer, role)
        await self._require_manager(manufacturer_id, by, name)
        address = _canonical(email)
        known = await self._store.find_account(address)
        if known is not None and known.manufacturer_id == manufacturer_id:
            raise DuplicateAccountError("This address already belongs to a member. List members with GET /v1/members.")
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
        if not await self._store.add_invitation(made, limit=OPEN_INVITATIONS):
            raise ValidationError(
                f"At most {OPEN_INVITATIONS} invitations can be open. Withdraw some first.",
                code="TOO_MANY_INVITATIONS",
            )
        self._emit(event_kinds.RBAC_MEMBER_INVITED, manufacturer_id, by, invitation_id=made.invitation_id, role=name)
        return _public(made, None if known is not None else token)

    async def invitation_of(self, token: object) -> Invitation:
        """The open invitation that a token represents.

        It is worth nothing once the person who sent it could not send it anymore: someone demoted or disabled
        leaves no door open behind them.

        Raises:
            ValidationError: it is unknown, used, expired or void (code ``INVALID_INVITATION``).
        """
        found = None
        if isinstance(token, str):
            found = await self._store.find_invitation(_hash(token), self._clock.now())
        if found is None or not await self._may_manage(found.manufacturer_id, found.invited_by, found.role):
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
            email_key=canonical_email(found.email),
            password_hash=password_hash,
            role=found.role,
            created_at=now,
            updated_at=now,
        )
        if not await self._store.accept_invitation(_hash(token), account, now):
            raise _no_invitation()
        self._emit(event_kinds.RBAC_MEMBER_JOINED, account.manufacturer_id, account.account_id, role=account.role)
        return await self._member(account)

    async def invitations(self, manufacturer: Any) -> list[Invitation]:
        """The open ones, oldest first."""
        return [
            _public(i, None)
            for i in await self._store.list_invitations(manufacturer_id_of(manufacturer), self._clock.now())
        ]

    async def withdraw(self, manufacturer: Any, invitation_id: str, by: str | None) -> bool:
        """Take an invitation back; whether there was one to take."""
        manufacturer_id = manufacturer_id_of(manufacturer)
        await self._require_manager(manufacturer_id, by)
        return await self._store.withdraw_invitation(manufacturer_id, invitation_id)

    async def members(self, manufacturer: Any) -> list[Member]:
        """The people of a manufacturer, oldest first."""
        return [
            await self._member(account) for account in await self._store.list_accounts(manufacturer_id_of(manufacturer))
        ]

    async def change(
        self, manufacturer: Any, account_id: str, by: str | None, *, role: Any = None, status: str | None = None
    ) -> bool:
        """Give another role, disable or enable; False where the manufacturer has no such person.

        A foundation's ``memberships.change`` ends the person's sessions and keys as well; here it is the store's
        answer that changes, by which each request is authorized.

        Raises:
            ValidationError: no such role, or the last owner would go (code ``LAST_OWNER``).
            InsufficientPermissionsError: ``by`` may not manage members, or lacks a permission that the person has
                now or would get.
        """
        manufacturer_id = manufacturer_id_of(manufacturer)
        name = None if role is None else self._role(manufacturer, role)
        await self._require_manager(manufacturer_id, by, name)
        present = await self._store.get_account(account_id)
        if present is None or present.manufacturer_id != manufacturer_id:
            return False
        await self._require_manager(manufacturer_id, by, present.role)
        before = await self._store.change_member(
            manufacturer_id, account_id, role=name, status=status, expected_role=present.role
        )
        if before is None:
            return False
        after = {"role": name or before.role, "status": status or before.status}
        change = {"before": {"role": before.role, "status": before.status}, "after": after}
        self._emit(event_kinds.RBAC_MEMBER_CHANGED, manufacturer_id, by, member=account_id, **change)
        return True

    async def require_authority(self, manufacturer: Any, account_id: str, by: str) -> None:
        """Raise InsufficientPermissionsError unless the role of ``by`` has every permission of a member's role.

        For calls that touch another person's sessions or factors, by a permission other than ``members:manage``.
        """
        manufacturer_id = manufacturer_id_of(manufacturer)
        target, actor = await self._store.get_account(account_id), await self._store.get_account(by)
        if target is None or actor is None or {target.manufacturer_id, actor.manufacturer_id} != {manufacturer_id}:
            raise InsufficientPermissionsError("This person is not a member of your company.")
        if not self._covers(actor, target.role):
            raise InsufficientPermissionsError(
                f"You cannot manage a member with the role {target.role}: it has permissions that yours does not have.",
                context={"manufacturer_id": manufacturer_id},
            )

    def _covers(self, account: StoredAccount, role: str) -> bool:
        """Whether an account's role has every permission of ``role``."""
        compiled, staff = self._entitlements.compiled, account.manufacturer_id == PLATFORM_TENANT
        return not compiled.member_mask(role, staff=staff) & ~compiled.member_mask(account.role, staff=staff)

    async def _require_manager(self, manufacturer_id: str, by: str | None, role: str | None = None) -> None:
        if await self._may_manage(manufacturer_id, by):
            if await self._may_manage(manufacturer_id, by, role):
                return
            reason = f"You cannot give or change the role {role}: it has permissions that yours does not have."
        else:
            reason = "Managing members requires the permission members:manage; ask an owner."
        context = {"manufacturer_id": manufacturer_id, "permission": MANAGE}
        raise InsufficientPermissionsError(reason, context=context)

    async def _may_manage(self, manufacturer_id: str, by: str | None, role: str | None = None) -> bool:
        """Whether an account may manage members, and those of ``role``; ``None`` is the platform itself."""
        if by is None:
            return True
        account = await self._store.get_account(by)
        if account is None or account.manufacturer_id != manufacturer_id or account.status != "active":
            return False
        compiled = self._entitlements.compiled
        own = compiled.member_mask(account.role, staff=manufacturer_id == PLATFORM_TENANT)
        return bool(own & compiled.bits[MANAGE]) and (role is None or self._covers(account, role))

    def _role(self, manufacturer: Any, role: Any) -> str:
        staff, name = manufacturer_id_of(manufacturer) == PLATFORM_TENANT, role_name(plain(role))
        known = [n for n, r in self._entitlements.compiled.roles.items() if r.platform == staff]
        if name not in known:
            raise ValidationError(f"Unknown role {name!r}; use {', '.join(known)}.", code="UNKNOWN_ROLE")
        return name

    async def _member(self, account: StoredAccount) -> Member:
        entitled = await self._entitlements.of(account.manufacturer_id)
        compiled = self._entitlements.compiled
        mask = entitled.mask(compiled, None) & (entitled.members or {}).get(account.account_id, 0)
        return Member(
            account_id=account.account_id,
            manufacturer_id=account.manufacturer_id,
            email=account.email,
            role=account.role,
            status=account.status,
            permissions=tuple(compiled.names(mask)),
            access=tuple(compiled.access_names(mask)),
            created_at=account.created_at,
        )

    def _emit(self, kind: str, manufacturer_id: str, actor: str | None, **data: Any) -> None:
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


def _canonical(email: object) -> str:
    """The address as accounts are found by it. Raises ValidationError."""
    address = canonical_email(email) if isinstance(email, str) and len(email) <= 254 else ""
    if len(address) < 3 or address.count("@") != 1 or address.startswith("@") or address.endswith("@"):
        raise ValidationError("email is required: the address of the person to invite.", code="INVALID_EMAIL_FORMAT")
    return address


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
