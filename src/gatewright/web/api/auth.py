"""Routes for registration, sign-in and passwords. Most require no credentials."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from gatewright.auth import AuthResult, ClientInfo, ManufacturerAuthManager
from gatewright.errors import ValidationError
from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.records import Record
from gatewright.web.api import DocumentedRoute, models
from gatewright.web.api.models import json_response
from gatewright.web.dependencies import open_to_all, requires, state_of

PUBLIC = [Depends(open_to_all())]
SignedIn = Annotated[ManufacturerContext, Depends(requires(credentials="session", audience="everyone with a session"))]
ACCEPTED = {
    "status": "accepted",
    "detail": "If the address is eligible, an email is on its way. Follow the instructions in it.",
}


def router(foundation: SecurityFoundation) -> APIRouter:
    """The routes below ``/v1/manufacturers`` and ``/v1/auth``."""
    api = APIRouter(prefix="/v1", tags=["access"], route_class=DocumentedRoute)
    _registration(api, foundation.auth)
    _sign_in(api, foundation.auth)
    _passwords(api, foundation.auth)
    return api


def _registration(api: APIRouter, auth: ManufacturerAuthManager) -> None:
    @api.post("/manufacturers", status_code=202, dependencies=PUBLIC)
    async def register(body: models.Registration, request: Request) -> Response:
        """Register a manufacturer. The response is the same for new and known addresses."""
        await auth.request_registration(body.model_dump(exclude_none=True), client=_client(request))
        return json_response(ACCEPTED, 202)

    @api.post("/manufacturers/verify", status_code=201, dependencies=PUBLIC)
    async def verify(body: models.Verification) -> Response:
        """Verify an email address. Send the token from the email; the manufacturer starts on the default tier."""
        account = await auth.verify_registration(body.token)
        return json_response(account, 201)


def _sign_in(api: APIRouter, auth: ManufacturerAuthManager) -> None:
    @api.post("/auth/login", dependencies=PUBLIC)
    async def login(body: models.Login, request: Request) -> Response:
        """Sign in with email and password. Accounts with a second factor also need a code."""
        result = await auth.authenticate_manufacturer(
            body.email, body.password, body.mfa_code, client=_client(request, body.device_token)
        )
        return json_response(tokens(result))

    @api.post("/auth/mfa", dependencies=PUBLIC)
    async def second_factor(body: models.MFACompletion, request: Request) -> Response:
        """Complete a sign-in with a TOTP code, a backup code or a passkey."""
        proof = body.code if body.code is not None else body.assertion
        if proof is None:
            raise ValidationError("Send code (TOTP or backup code) or assertion (passkey).", code="MFA_PROOF_MISSING")
        result = await auth.complete_mfa(
            body.challenge_id, proof, client=_client(request), remember_device=body.remember_device
        )
        return json_response(tokens(result))

    @api.post("/auth/refresh", dependencies=PUBLIC)
    async def refresh(body: models.Refresh, request: Request) -> Response:
        """Refresh the tokens of a session. Each refresh token works once."""
        return json_response(
            tokens(await auth.refresh_tokens(body.refresh_token, client=_client(request, body.device_token)))
        )

    @api.post("/auth/logout", status_code=204)
    async def logout(request: Request, _: SignedIn) -> Response:
        """End the current session."""
        state = state_of(request)
        if state.session_id is not None:
            await auth.invalidate_session(state.session_id)
        return Response(status_code=204)


def _passwords(api: APIRouter, auth: ManufacturerAuthManager) -> None:
    @api.post("/auth/password/forgot", status_code=202, dependencies=PUBLIC)
    async def forgot(body: models.Forgot, request: Request) -> Response:
        """Request a password reset by email. The response does not reveal whether the address is known."""
        await auth.request_password_reset(body.email, client=_client(request))
        return json_response(ACCEPTED, 202)

    @api.post("/auth/password/reset", status_code=204, dependencies=PUBLIC)
    async def reset(body: models.Reset, request: Request) -> Response:
        """Reset a password. Send the token from the email; accounts with a second factor also need a code."""
        await auth.reset_password(body.token, body.new_password, mfa_code=body.mfa_code, client=_client(request))
        return Response(status_code=204)

    @api.post("/auth/password/change", status_code=204)
    async def change(
        body: models.PasswordChange,
        request: Request,
        caller: Annotated[ManufacturerContext, Depends(requires("factors:own", credentials="session"))],
    ) -> Response:
        """Change your password. Your other sessions end."""
        state = state_of(request)
        await auth.change_password(
            caller.manufacturer_id,
            body.current_password,
            body.new_password,
            account_id=caller.account_id,
            session_id=state.session_id,
            client=state.client,
        )
        return Response(status_code=204)


def _client(request: Request, device_token: str | None = None) -> ClientInfo:
    client = state_of(request).client
    if device_token is None:
        return client
    return ClientInfo(ip_address=client.ip_address, user_agent=client.user_agent, device_token=device_token)


def tokens(result: AuthResult) -> dict[str, Any]:
    """The response to a sign-in: tokens, or the challenge for the second factor."""
    if result.status == "mfa_required":
        return {
            "status": result.status,
            "challenge_id": result.challenge_id,
            "mfa_methods": list(result.mfa_methods or ()),
        }
    manufacturer = result.manufacturer
    return {
        "status": result.status,
        "access_token": result.access_token,
        "refresh_token": result.refresh_token,
        "token_type": "Bearer",
        "expires_in": result.expires_in,
        "session_id": result.session_id,
        "manufacturer": manufacturer.to_dict() if isinstance(manufacturer, Record) else manufacturer,
        **({"device_token": result.device_token} if result.device_token else {}),
    }
