"""Routes for second factors, passkeys, trusted devices and API keys."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from gatewright.auth import ManufacturerAuthManager
from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api import DocumentedRoute, models
from gatewright.web.api.auth import ACCEPTED, tokens
from gatewright.web.api.models import json_response, page
from gatewright.web.dependencies import open_to_all, requires, state_of

Person = Annotated[ManufacturerContext, Depends(requires("factors:own", credentials="session"))]
ConfirmedPerson = Annotated[
    ManufacturerContext, Depends(requires("factors:own", credentials="session", recent_mfa=True))
]
KeyReader = Annotated[ManufacturerContext, Depends(requires("keys:read", credentials="session"))]
KeyManager = Annotated[ManufacturerContext, Depends(requires("keys:manage", credentials="session", recent_mfa=True))]


def router(foundation: SecurityFoundation) -> APIRouter:
    """The routes below ``/v1/mfa``, ``/v1/passkeys``, ``/v1/devices`` and ``/v1/api-keys``."""
    api = APIRouter(prefix="/v1", tags=["factors"], route_class=DocumentedRoute)
    _totp(api, foundation)
    _passkeys(api, foundation)
    _devices(api, foundation.auth)
    _api_keys(api, foundation.auth)
    return api


async def _require_mfa_if_enrolled(
    foundation: SecurityFoundation, caller: ManufacturerContext, request: Request
) -> None:
    """Require a recent second factor from accounts that have one, so that a stolen session cannot add its own."""
    auth = foundation.auth
    if await auth.mfa_enabled(caller.manufacturer_id, account_id=caller.account_id):
        session_id = state_of(request).session_id or ""
        await auth.require_recent_mfa(session_id, max_age=foundation.settings.recent_mfa_seconds)


def _totp(api: APIRouter, foundation: SecurityFoundation) -> None:
    auth = foundation.auth

    @api.post("/mfa/totp")
    async def enrol(caller: Person, request: Request) -> Response:
        """Start TOTP enrollment. The secret, its QR code and ten backup codes are shown once.

        Replacing an existing factor requires a recent second factor.
        """
        await _require_mfa_if_enrolled(foundation, caller, request)
        return json_response(await auth.setup_mfa(caller.manufacturer_id, account_id=caller.account_id))

    @api.post("/mfa/totp/confirm")
    async def confirm(body: models.Code, caller: Person, request: Request) -> Response:
        """Complete TOTP enrollment with a code from the app. From then on, sign-in requires a code.

        A first factor counts for sensitive operations from `counts_from`, or once it is confirmed by email.
        """
        session_id = state_of(request).session_id or ""
        await auth.confirm_mfa(caller.manufacturer_id, body.code, account_id=caller.account_id, session_id=session_id)
        held_until = await auth.factors_held_until(caller.manufacturer_id, account_id=caller.account_id)
        return json_response({"enabled": True, **({"counts_from": held_until} if held_until else {})})

    @api.post("/mfa/confirmations", status_code=202)
    async def request_confirmation(caller: Person) -> Response:
        """Request confirmation of a new second factor by email. Once confirmed, it counts for sensitive operations."""
        await auth.request_factor_confirmation(caller.manufacturer_id, account_id=caller.account_id)
        return json_response(ACCEPTED, 202)

    @api.post("/mfa/confirmations/redeem", status_code=204)
    async def redeem_confirmation(body: models.Verification, caller: Person) -> Response:
        """Confirm a new second factor with the token from the email. Then step up with a code."""
        await auth.confirm_factor(caller.manufacturer_id, body.token, account_id=caller.account_id)
        return Response(status_code=204)

    @api.post("/mfa/step-up", status_code=204)
    async def step_up(body: models.StepUp, caller: Person, request: Request) -> Response:
        """Verify your second factor again. Sensitive operations require a recent verification."""
        state = state_of(request)
        proof: Any = body.code
        if body.assertion is not None:
            proof = {"challenge_id": body.challenge_id, "assertion": body.assertion}
        await auth.step_up(state.session_id or "", proof, client=state.client)
        return Response(status_code=204)

    @api.delete("/mfa/totp")
    async def remove(body: models.Code, caller: ConfirmedPerson) -> Response:
        """Remove your second factor. Requires one of its codes."""
        await auth.disable_mfa(caller.manufacturer_id, body.code, account_id=caller.account_id)
        return json_response({"enabled": False})

    @api.post("/mfa/backup-codes")
    async def backup_codes(caller: ConfirmedPerson) -> Response:
        """Replace your backup codes. Returns ten new ones, shown once."""
        codes = await auth.generate_backup_codes(caller.manufacturer_id, account_id=caller.account_id)
        return json_response({"backup_codes": codes})


def _passkeys(api: APIRouter, foundation: SecurityFoundation) -> None:
    auth = foundation.auth

    @api.get("/passkeys")
    async def passkeys(caller: Person) -> Response:
        """List your passkeys."""
        return json_response(page(await auth.list_passkeys(caller.manufacturer_id, account_id=caller.account_id), None))

    @api.post("/passkeys/register/begin")
    async def begin_registration(caller: Person, request: Request) -> Response:
        """Start passkey registration. Returns the options for `navigator.credentials.create`.

        If the account has a second factor, it must be recent.
        """
        await _require_mfa_if_enrolled(foundation, caller, request)
        return json_response(
            await auth.begin_passkey_registration(caller.manufacturer_id, account_id=caller.account_id)
        )

    @api.post("/passkeys/register/finish", status_code=201)
    async def finish_registration(body: models.PasskeyRegistration, caller: Person, request: Request) -> Response:
        """Complete passkey registration with the credential that the browser created."""
        passkey = await auth.finish_passkey_registration(
            body.challenge_id,
            body.credential,
            name=body.name,
            account_id=caller.account_id,
            session_id=state_of(request).session_id or "",
        )
        return json_response(passkey, 201)

    @api.delete("/passkeys/{passkey_id}", status_code=204)
    async def remove_passkey(passkey_id: str, caller: ConfirmedPerson) -> Response:
        """Remove one of your passkeys."""
        await auth.remove_passkey(caller.manufacturer_id, passkey_id, account_id=caller.account_id)
        return Response(status_code=204)

    @api.post("/passkeys/login/begin", dependencies=[Depends(open_to_all())])
    async def begin_login(body: models.PasskeyLogin, request: Request) -> Response:
        """Start a passkey sign-in. Returns options for `navigator.credentials.get`.

        The response is the same for unknown addresses.
        """
        return json_response(await auth.begin_passkey_login(body.email, client=state_of(request).client))

    @api.post("/passkeys/login/finish", dependencies=[Depends(open_to_all())])
    async def finish_login(body: models.PasskeyAssertion, request: Request) -> Response:
        """Sign in with a passkey. Possession and user verification count as two factors."""
        result = await auth.finish_passkey_login(body.challenge_id, body.assertion, client=state_of(request).client)
        return json_response(tokens(result))


def _devices(api: APIRouter, auth: ManufacturerAuthManager) -> None:
    @api.get("/devices")
    async def devices(caller: Person) -> Response:
        """List your trusted devices."""
        return json_response(page(await auth.list_devices(caller.manufacturer_id, account_id=caller.account_id), None))

    @api.delete("/devices/{device_id}", status_code=204)
    async def revoke_device(device_id: str, caller: ConfirmedPerson) -> Response:
        """Revoke a trusted device."""
        await auth.revoke_device(caller.manufacturer_id, device_id, account_id=caller.account_id)
        return Response(status_code=204)


def _api_keys(api: APIRouter, auth: ManufacturerAuthManager) -> None:
    @api.get("/api-keys")
    async def api_keys(caller: KeyReader) -> Response:
        """List the API keys of your company. Secrets are not included."""
        return json_response(page(await auth.list_api_keys(caller.manufacturer_id), None))

    @api.post("/api-keys", status_code=201)
    async def create_api_key(body: models.NewApiKey, caller: KeyManager) -> Response:
        """Create an API key. It is shown once, and has only the permissions listed, never more than your own."""
        created = await auth.create_api_key(
            caller.manufacturer_id,
            body.name,
            permissions=body.permissions,
            expires_at=body.expires_at,
            account_id=caller.account_id,
        )
        return json_response(created, 201)

    @api.post("/api-keys/{key_id}/rotate", status_code=201)
    async def rotate_api_key(key_id: str, caller: KeyManager) -> Response:
        """Rotate an API key. The new key is shown once and belongs to you; the old one works for 24 more hours."""
        return json_response(
            await auth.rotate_api_key(caller.manufacturer_id, key_id, account_id=caller.account_id), 201
        )

    @api.delete("/api-keys/{key_id}", status_code=204)
    async def revoke_api_key(key_id: str, caller: KeyManager) -> Response:
        """Revoke an API key. Takes effect immediately."""
        await auth.revoke_api_key(key_id, manufacturer_id=caller.manufacturer_id)
        return Response(status_code=204)
