"""Memberships: inviting people by email, joining, changing roles and leaving.

Roles and invitations belong to ``rbac``; passwords, second factors, sessions, keys and email belong to ``auth``.
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
    """A person who has joined. ``mfa`` is the authenticator enrollment of platform staff, shown only once."""

    member: Member
    mfa: MFAEnrolment | None = None


class Memberships:
    """Invites people to a manufacturer, lets them join, and changes their roles.

    Args:
        rbac: stores members and invitations.
        auth: checks passwords, ends sessions and sends email.
        directions: instructions for using the token of an invitation.
    """

    def __init__(self, rbac: ManufacturerRBACManager, auth: ManufacturerAuthManager, directions: Directions) -> None:
        self._members, self._auth, self._directions = rbac.members, auth, directions

    async def invite(self, manufacturer_id: str, email: str, role: str, *, by: str | None) -> None:
        """Invite a person by email.

        If the address has an account with another company, the response, the list of invitations and the email look
        the same, but the email contains no token: an account belongs to one company.

        Raises:
            ValidationError: unknown role, or too many open invitations.
            DuplicateAccountError: the address belongs to a member already.
            InsufficientPermissionsError: ``by`` may not manage members, or may not assign this role.
        """
        made = await self._members.invite(manufacturer_id, email, role, by)
        if made.token is None:
            body = (
                f"You have been invited to join as {made.role}, but this address already has an account, and an "
                "account belongs to one company. Ask to be invited at another address."
            )
            data: dict[str, Any] = {}
        else:
            words = {"password": "your new password"}
            how, data = self._directions.for_token(made.token, "/v1/members/join", "join", **words)
            body = (
                f"You have been invited to join as {made.role}. To accept, {how}\n\nThe invitation can be used once, "
                f"until {made.expires_at:%Y-%m-%d %H:%M} UTC. If you did not expect it, ignore this email."
            )
        await self._auth.services.mailer.post(made.email, "You have been invited", body, kind="invitation", data=data)

    async def accept(self, token: str, password: str) -> Joined:
        """Join with the token of an invitation and a new password.

        Platform staff need a second factor from the start: the result contains their authenticator enrollment.

        Raises:
            ValidationError: the password breaks the policy, or the invitation is unknown, used, expired or void.
        """
        invitation = await self._members.invitation_of(token)  # before hashing, which is expensive
        hashed = await self._auth.hash_new_password(password, words=[invitation.email])
        try:
            member = await self._members.accept(token, password_hash=hashed)
        except DuplicateAccountError:
            raise ValidationError(
                "This invitation is unknown, used or expired. Ask for a new one.", code="INVALID_INVITATION"
            ) from None
        if member.manufacturer_id != PLATFORM_TENANT:
            return Joined(member=member)
        enrolment = await self._auth.setup_mfa(PLATFORM_TENANT, account_id=member.account_id)
        return Joined(member=member, mfa=enrolment)

    async def change(
        self, manufacturer_id: str, account_id: str, *, by: str | None, role: Any = None, status: str | None = None
    ) -> bool:
        """Change a member's role, or disable or enable them. Returns False if there is no such member.

        Their sessions end, and so do the API keys that they could not create under the new role. This is tidiness, not
        enforcement: every request is checked against the stored role anyway.

        Raises:
            ValidationError: unknown role, or the last owner would be removed (code ``LAST_OWNER``).
            InsufficientPermissionsError: ``by`` is not allowed to do this.
        """
        if not await self._members.change(manufacturer_id, account_id, by, role=role, status=status):
            return False
        await self._auth.invalidate_sessions(manufacturer_id, reason="member changed", account_id=account_id)
        await self._auth.revoke_unfounded_api_keys(manufacturer_id, account_id)
        return True
