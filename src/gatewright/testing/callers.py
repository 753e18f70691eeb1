"""Tenants, members, staff and API keys to call an application with.

Each is created through the foundation's own calls and holds a credential that the foundation issued.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from gatewright import ClientInfo, SecurityFoundation

PASSWORD = "gravel-otter-lantern-4471"  # noqa: S105 - of accounts that live as long as a test
"""The password of every account that is created here without another."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A person who is signed in. Secrets are left out of its ``repr``, which ends up in test logs."""

    manufacturer_id: str
    account_id: str
    email: str
    role: str
    tier: str
    session_id: str
    password: str = field(repr=False)
    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    user_agent: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Request headers that authenticate this person."""
        headers = {"authorization": f"Bearer {self.access_token}"}
        return headers if self.user_agent is None else {**headers, "user-agent": self.user_agent}


@dataclass(frozen=True, kw_only=True)
class ApiKeyCaller:
    """A machine with an API key. The key is left out of its ``repr``."""

    manufacturer_id: str
    account_id: str
    key_id: str
    permissions: tuple[str, ...]
    key: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """Request headers that authenticate this machine."""
        return {"x-api-key": self.key}


async def create_tenant(
    foundation: SecurityFoundation,
    *,
    tier: str = "professional",
    role: str = "owner",
    email: str | None = None,
    password: str = PASSWORD,
    company_name: str | None = None,
    recent_mfa: bool = False,
    client: ClientInfo | None = None,
    **profile: Any,
) -> Caller:
    """Register a manufacturer and sign in the person who has ``role`` there.

    A role other than ``owner`` adds a second person; the owner exists as well, and is not signed in.

    Args:
        email: of the person who is returned; unique by default.
        recent_mfa: whether the session has just passed a second factor.
        client: where the sign-in comes from. By default it has no address, so a request from anywhere fits the session.
        profile: business fields, or a ``manufacturer_id``.

    Raises:
        ValidationError: a field, the tier or the role is invalid.
    """
    tag = secrets.token_hex(4)
    wanted = email or f"{role.replace('_', '-')}-{tag}@example.com"
    account = await foundation.auth.register_manufacturer(
        {
            "email": wanted if role == "owner" else f"owner-{tag}@example.com",
            "password": password if role == "owner" else PASSWORD,
            "company_name": company_name or f"Company {tag}",
            "tier": tier,
            **profile,
        }
    )
    if role != "owner":
        return await create_member(
            foundation,
            account.manufacturer_id,
            role=role,
            email=wanted,
            password=password,
            recent_mfa=recent_mfa,
            client=client,
        )
    return await _signed_in(foundation, account.account_id, password, recent_mfa=recent_mfa, client=client)


async def create_member(
    foundation: SecurityFoundation,
    tenant: Caller | str,
    *,
    role: str = "member",
    email: str | None = None,
    password: str = PASSWORD,
    recent_mfa: bool = False,
    client: ClientInfo | None = None,
) -> Caller:
    """Invite a person into a tenant, accept the invitation and sign in.

    Args:
        tenant: anyone of the tenant, or its ``manufacturer_id``.

    Raises:
        ValidationError: no such role, or an invalid address or password.
    """
    manufacturer_id = tenant if isinstance(tenant, str) else tenant.manufacturer_id
    wanted = email or f"{role.replace('_', '-')}-{secrets.token_hex(4)}@example.com"
    members = foundation.rbac.members
    invitation = await members.invite(manufacturer_id, wanted, role, None)
    password_hash = await foundation.auth.hash_new_password(password)
    joined = await members.accept(str(invitation.token), password_hash=password_hash)
    return await _signed_in(foundation, joined.account_id, password, recent_mfa=recent_mfa, client=client)


async def create_staff(
    foundation: SecurityFoundation,
    *,
    role: str = "platform_admin",
    email: str | None = None,
    password: str = PASSWORD,
    recent_mfa: bool = True,
    client: ClientInfo | None = None,
) -> Caller:
    """Create a member of the platform's staff, signed in and, by default, with a recent second factor.

    Raises:
        ValidationError: no such role, or an invalid address or password.
    """
    wanted = email or f"{role.replace('_', '-')}-{secrets.token_hex(4)}@example.com"
    account = await foundation.auth.register_staff(wanted, password, role=role)
    return await _signed_in(foundation, account.account_id, password, recent_mfa=recent_mfa, client=client)


async def create_api_key(
    foundation: SecurityFoundation,
    owner: Caller,
    *permissions: str,
    name: str = "test",
    expires_at: datetime | None = None,
) -> ApiKeyCaller:
    """Create an API key that belongs to ``owner``.

    Raises:
        InsufficientPermissionsError: ``owner`` lacks one of the permissions.
        ValidationError: no such permission.
    """
    made = await foundation.auth.create_api_key(
        owner.manufacturer_id, name, permissions=permissions, expires_at=expires_at, account_id=owner.account_id
    )
    return ApiKeyCaller(
        manufacturer_id=made.manufacturer_id,
        account_id=owner.account_id,
        key_id=made.key_id,
        permissions=tuple(made.permissions),
        key=str(made.key),
    )


async def _signed_in(
    foundation: SecurityFoundation,
    account_id: str,
    password: str,
    *,
    recent_mfa: bool,
    client: ClientInfo | None,
) -> Caller:
    """Sign in with the password; where a second factor is required, open the session that follows it."""
    account = await foundation.store.get_account(account_id)
    manufacturer = None if account is None else await foundation.store.get_manufacturer(account.manufacturer_id)
    if account is None or manufacturer is None:
        raise LookupError(f"The store has no account {account_id}, although it was just created.")
    result = await foundation.auth.authenticate_manufacturer(account.email, password, client=client)
    session_id, access_token = result.session_id, result.access_token
    if result.mfa_required:
        session_id, access_token = await _session_after_mfa(foundation, account, manufacturer, client)
    if recent_mfa:
        await foundation.auth.note_mfa(str(session_id))
    return Caller(
        manufacturer_id=account.manufacturer_id,
        account_id=account_id,
        email=account.email,
        role=account.role,
        tier=manufacturer.tier,
        session_id=str(session_id),
        password=password,
        access_token=str(access_token),
        refresh_token=result.refresh_token,
        user_agent=None if client is None else client.user_agent,
    )


async def _session_after_mfa(
    foundation: SecurityFoundation, account: Any, manufacturer: Any, client: ClientInfo | None
) -> tuple[str, str]:
    session = await foundation.auth.create_session(
        {
            "manufacturer_id": account.manufacturer_id,
            "account_id": account.account_id,
            "company_name": manufacturer.company_name,
            "email": account.email,
            "tier": manufacturer.tier,
            "roles": [account.role],
            "ip_address": None if client is None else client.ip_address,
            "user_agent": None if client is None else client.user_agent,
        }
    )
    token = await foundation.auth.generate_manufacturer_token(
        {**session.to_dict(), "account_id": account.account_id},
        expires_in=timedelta(minutes=foundation.settings.access_token_minutes),
    )
    return session.session_id, token
