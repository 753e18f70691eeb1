"""Memberships: people are invited by mail, join, change and leave, with all that hangs on them.

Roles and invitations are rbac's; passwords, second factors, sessions, keys and the mail are auth's.
"""

from __future__ import annotations

from typing import Any

from gatewright.auth import ManufacturerAuthManager, MFAEnrolment
from gatewright.errors import DuplicateAccountError, ValidationError
from gatewright.notify import Directions
from gatewright.rbac import ManufacturerRBACManager, Member
from gatewright.records import Record
from gatewright.storage.tenants import PLATFORM_TENANT


class Joined(Record, frozen=True, kw_only=True):
    """A person who has just joined. ``mfa`` is the authenticator app of the platform's staff, shown this once."""

    member: Member
    mfa: MFAEnrolment | None = None


class Memberships:
    """Invites people into a manufacturer, lets them join, and changes what they may do.

    Args:
        rbac, auth: keep members; check passwords, end sessions and send mail.
        directions: how a mail tells to use its token.
    """

    def __init__(self, rbac: ManufacturerRBACManager, auth: ManufacturerAuthManager, directions: Directions) -> None:
        self._members, self._auth, self._directions = rbac.members, auth, directions

    async def invite(self, manufacturer_id: str, email: str, role: str, *, by: str | None) -> None:
        """Invite a person by mail.

        An address with an account elsewhere is answered, listed and mailed alike, but its mail has no token: an
        account belongs to one company.

        Raises:
            ValidationError: no such role, or too many invitations are open.
            DuplicateAccountError: the address is a member's already.
            InsufficientPermissionsError: ``by`` may not manage members, or not give this role.
        """
        made = await self._members.invite(manufacturer_id, email, role, by)
        if made.token is None:
            body = (
                f"You are invited to join as {made.role}, but this address has an account already, and an account "
                "belongs to one company. Ask to be invited under another address."
            )
            data: dict[str, Any] = {}
        else:
            words = {"password": "a password of yours"}
            how, data = self._directions.for_token(made.token, "/v1/members/join", "join", **words)
            body = (
                f"You are invited to join as {made.role}. To accept, {how}\n\nIt works once, until "
                f"{made.expires_at:%Y-%m-%d %H:%M} UTC. If you did not expect it, do nothing."
            )
        await self._auth.access.outbox.post(made.email, "You are invited", body, kind="invitation", data=data)

    async def accept(self, token: str, password: str) -> Joined:
        """Join with the token of the mail and a password of one's own.

        The platform's staff have an authenticator app from joining on: it is part of the answer.

        Raises:
            ValidationError: the password breaks the policy, or the invitation is unknown, used, expired or void.
        """
        invitation = await self._members.invitation_of(token)  # before the hash, which costs more than a look-up
        hashed = await self._auth.hash_new_password(password, words=[invitation.email])
        try:
            member = await self._members.accept(token, password_hash=hashed)
        except DuplicateAccountError:
            raise ValidationError("This invitation is unknown, used or expired.", code="INVALID_INVITATION") from None
        if member.manufacturer_id != PLATFORM_TENANT:
            return Joined(member=member)
        enrolment = await self._auth.setup_mfa(PLATFORM_TENANT, account_id=member.account_id)
        return Joined(member=member, mfa=enrolment)

    async def change(
        self, manufacturer_id: str, account_id: str, *, by: str | None, role: Any = None, status: str | None = None
    ) -> bool:
        """Give a person another role, disable or enable them; False where the manufacturer has no such person.

        Their sessions end, so that they act under the new role from the next sign-in on, and so do the keys that they
        could not make now. Each request is judged by what the store says of the person in any case: ending is for
        good order, not what the refusal rests on.

        Raises:
            ValidationError: no such role, or the last owner would go (code ``LAST_OWNER``).
            InsufficientPermissionsError: ``by`` may not.
        """
        if not await self._members.change(manufacturer_id, account_id, by, role=role, status=status):
            return False
        await self._auth.invalidate_sessions(manufacturer_id, reason="member changed", account_id=account_id)
        await self._auth.revoke_unfounded_api_keys(manufacturer_id, account_id)
        return True
