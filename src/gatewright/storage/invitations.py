"""Invitations of people into a manufacturer: single use, kept by a hash of their token."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from gatewright.records import Record
from gatewright.storage.tenants import StoredAccount


class StoredInvitation(Record, frozen=True, kw_only=True):
    """``token_hash`` is all that is kept of the token that went out by mail."""

    invitation_id: str
    manufacturer_id: str
    email: str
    role: str
    token_hash: str
    invited_by: str | None = None
    created_at: datetime
    expires_at: datetime


class InvitationStore(Protocol):
    """Invitations, and changes to people that must keep an owner in place."""

    async def add_invitation(self, invitation: StoredInvitation, *, most: int) -> bool:
        """Keep it, replacing an open one of the same address in the same manufacturer; False when ``most`` are open."""
        ...

    async def list_invitations(self, manufacturer_id: str, at: datetime) -> list[StoredInvitation]:
        """Those open at that time, oldest first."""
        ...

    async def find_invitation(self, token_hash: str, at: datetime) -> StoredInvitation | None: ...

    async def withdraw_invitation(self, manufacturer_id: str, invitation_id: str) -> bool: ...

    async def accept_invitation(self, token_hash: str, account: StoredAccount, at: datetime) -> bool:
        """Use the invitation up and add the person, both or neither; False when it is used, expired or unknown.

        Raises:
            DuplicateAccountError: the address has an account.
        """
        ...

    async def change_member(
        self,
        manufacturer_id: str,
        account_id: str,
        *,
        role: str | None = None,
        status: str | None = None,
        expected_role: str | None = None,
    ) -> StoredAccount | None:
        """Change a person of this manufacturer and return what they were; None when there is no such person here.

        Args:
            expected_role: None is returned, and nothing changed, where the person has another role by now.

        Raises:
            ValidationError: the last active owner (or, of the platform, admin) would go (code ``LAST_OWNER``).
        """
        ...
