"""Ending all that a person can act by: sessions, and the tokens that hang on none."""

from __future__ import annotations

from gatewright.auth.sessions import SessionService
from gatewright.auth.tokens.service import TokenService
from gatewright.storage.tenants import TenantStore


class Endings:
    """What a change of password, a reset of factors or a call of staff ends."""

    def __init__(self, store: TenantStore, sessions: SessionService, tokens: TokenService) -> None:
        self._store = store
        self._sessions = sessions
        self._tokens = tokens

    async def end_all(
        self, manufacturer_id: str, *, reason: str, account_id: str | None = None, except_session: str | None = None
    ) -> int:
        """End the sessions of a manufacturer, or of one account in it, and revoke its sessionless tokens.

        Tokens and sessions that name no account are the company's as a whole. They are no person's, yet end with
        the owner's: whoever resets the owner's password wants every door closed.

        Returns:
            How many sessions ended.
        """
        await self._tokens.revoke_sessionless(manufacturer_id, account_id=account_id)
        is_owner = False
        if account_id is not None:
            owner = await self._store.owner_of(manufacturer_id)
            is_owner = owner is not None and owner.account_id == account_id
            if is_owner:
                await self._tokens.revoke_sessionless(manufacturer_id, account_id=manufacturer_id)
        return await self._sessions.end_all(
            manufacturer_id,
            reason=reason,
            account_id=account_id,
            without_account=is_owner,
            except_session=except_session,
        )
