"""Invitations by mail: rbac knows the invitation, auth the password and the way a mail leaves."""

from __future__ import annotations

from gatewright.auth import ManufacturerAuthManager
from gatewright.errors import DuplicateAccountError, ValidationError
from gatewright.notify import Directions
from gatewright.rbac import ManufacturerRBACManager, Member


class Invitations:
    """Invites people into a manufacturer, and lets them join.

    Args:
        rbac, auth: keep members, and check passwords and send mail.
        directions: how a mail tells to use its token.
    """

    def __init__(self, rbac: ManufacturerRBACManager, auth: ManufacturerAuthManager, directions: Directions) -> None:
        self._members, self._auth, self._directions = rbac.members, auth, directions

    async def invite(self, manufacturer_id: str, email: str, role: str, *, by: str | None) -> None:
        """Invite a person by mail. A known address is answered alike and gets no invitation.

        Raises:
            ValidationError: the role is none, or too many invitations are open.
            InsufficientPermissionsError: ``by`` is no owner.
        """
        try:
            made = await self._members.invite(manufacturer_id, email, role, by)
        except DuplicateAccountError:
            return
        words = {"password": "a password of yours"}
        how, data = self._directions.for_token(str(made.token), "/v1/members/join", "join", **words)
        await self._auth.access.outbox.post(
            made.email,
            "You are invited",
            f"You are invited to join as {made.role}. To accept, {how}\n\nIt works once, until "
            f"{made.expires_at:%Y-%m-%d %H:%M} UTC. If you did not expect it, do nothing.",
            kind="invitation",
            data=data,
        )

    async def accept(self, token: str, password: str) -> Member:
        """Join with the token of the mail and a password of one's own.

        Raises:
            ValidationError: the password breaks the policy, or the invitation is unknown, used or expired.
        """
        invitation = await self._members.invitation_of(token)  # before the dear hash, which anybody could ask for
        hashed = await self._auth.hash_new_password(password, words=[invitation.email])
        try:
            return await self._members.accept(token, password_hash=hashed)
        except DuplicateAccountError:
            raise ValidationError("This invitation is unknown, used or expired.", code="INVALID_INVITATION") from None
