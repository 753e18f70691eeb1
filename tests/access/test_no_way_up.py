"""No sequence of calls by a viewer, an API key or a disabled person ever raises what they may do, or touches others."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pyotp
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gatewright import ManufacturerContext
from tests.access.table import CALLS
from tests.access.test_matrix import REASON, VALID
from tests.access.world import PASSWORD, World, opened

T = TypeVar("T")
LOW = ("viewer", "key", "key without the permission", "token of the company", "disabled member")
UPWARDS = [call for call in CALLS if call.step_up or call.needs.startswith(("members:", "keys:", "sessions:"))]
"""Calls by which someone could get at more; they are tried as often as all others together."""
ROLES = ("owner", "admin", "member", "platform_admin", "people_reader", "manufacturer_paid", "nobody")
OTHERS = {
    "accounts": "account_id, manufacturer_id, role, status, password_hash",
    "invitations": "invitation_id, email, role",
    "grants": "*",
    "api_keys": "key_id, account_id, permissions, expires_at, revoked_at",
    "manufacturers": "manufacturer_id, tier, status, profile",
    "measures": "*",
    "totp": "account_id, secret, active",
    "passkeys": "credential_id, account_id",
    "sessions": "session_id, account_id, ended_at, mfa_at",
    "signing_keys": "kid",
}
"""What must stay as it is, but for the rows of the viewer, who may look after their own account."""

bodies = st.one_of(
    st.just({}),
    st.just(REASON),
    st.builds(lambda role: {"role": role}, st.sampled_from(ROLES)),
    st.builds(lambda status: {"status": status}, st.sampled_from(("active", "disabled"))),
    st.builds(
        lambda email, role: {"email": email, "role": role},
        st.sampled_from(("viewer@example.com", "acme@example.com", "mole@example.com", "VIEWER@example.com")),
        st.sampled_from(ROLES),
    ),
    st.builds(
        lambda names: {"name": "mine", "permissions": names},
        st.lists(st.sampled_from(("upload_products", "members:manage", "usage:read", "factors:own", "*")), min_size=1),
    ),
)


class NoWayUp(RuleBasedStateMachine):
    """Thirty calls against the real service, then a look at the store after each."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._directory = tempfile.TemporaryDirectory()
        self._opening = opened(Path(self._directory.name))
        self.world: World = self._run(self._opening.__aenter__())
        self.viewer = self.world.accounts["viewer"]
        self.places = sorted({*self.world.ids.values(), *self.world.accounts.values(), "platform"})
        self.secret: str | None = None
        self.before, self.power = self._run(self._others()), self._run(self._power())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def teardown(self) -> None:
        self._run(self._opening.__aexit__(None, None, None))
        self._loop.close()
        self._directory.cleanup()

    # --- what they try --------------------------------------------------------------------------------------------

    @rule(
        step=st.sampled_from(("call",) * 6 + ("factor", "sign in")),
        caller=st.sampled_from(LOW),
        call=st.sampled_from(UPWARDS) | st.sampled_from(CALLS),
        body=bodies,
        pick=st.integers(0, 99),
    )
    def try_something(self, step: str, caller: str, call: Any, body: dict[str, Any], pick: int) -> None:
        """One rule, so that no run goes without calls: Hypothesis leaves whole rules out of some."""
        if step == "call":
            self.make_a_call(caller, call, body, pick)
        elif step == "factor":
            self.use_a_factor_of_ones_own("/v1/mfa/step-up" if pick % 2 else "/v1/mfa/totp/confirm", pick % 3 == 0)
        else:
            self.sign_in_again("viewer" if pick % 4 else "disabled member")

    def make_a_call(self, caller: str, call: Any, body: dict[str, Any], pick: int) -> None:
        """Any call with any body, and real ids in the path."""
        method, path = call.route.split(" ", 1)
        path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: self._place(found[1], pick), path)
        harmful = VALID.get(call.route) if pick % 2 else None
        answer = self._run(self.world.call(caller, method, path, harmful or body))
        assert answer.status_code != 500, (call.route, answer.text)
        if call.route == "POST /v1/mfa/totp" and answer.status_code == 200:
            self.secret = answer.json()["secret"]

    def _place(self, name: str, pick: int) -> str:
        return self.world.ids[name] if pick % 3 else self.places[pick % len(self.places)]

    def use_a_factor_of_ones_own(self, finish: str, later: bool) -> None:
        """The viewer enrolls an app and steps up with it, at once and when it counts."""
        if later:
            self.world.foundation.clock.advance(minutes=2)  # type: ignore[attr-defined]  # a ManualClock
        if self.secret is not None:
            code = pyotp.TOTP(self.secret).at(int(self.world.foundation.clock.timestamp()))
            self._run(self.world.call("viewer", "POST", finish, {"code": code}))

    def sign_in_again(self, caller: str) -> None:
        """With the password, and a code where there is an app."""
        body = {"email": f"{'viewer' if caller == 'viewer' else 'disabled'}@example.com", "password": PASSWORD}
        if self.secret is not None and caller == "viewer":
            body["mfa_code"] = pyotp.TOTP(self.secret).at(int(self.world.foundation.clock.timestamp()))
        answer = self._run(self.world.call("anonymous", "POST", "/v1/auth/login", body)).json()
        if "access_token" in answer:
            assert caller == "viewer"
            self.world.callers[caller] = {"authorization": f"Bearer {answer['access_token']}"}

    # --- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def nobody_may_do_more(self) -> None:
        power = self._run(self._power())
        for who, allowed in power.items():
            assert allowed <= self.power[who], who

    @invariant()
    def nobody_else_is_touched(self) -> None:
        assert self._run(self._others()) == self.before

    async def _power(self) -> dict[str, set[str]]:
        """What each person of the two companies and the platform may do, by the store."""
        rbac, found = self.world.foundation.rbac, {}
        for name, account_id in self.world.accounts.items():
            account = await self.world.foundation.store.get_account(account_id)
            assert account is not None
            context = ManufacturerContext(account.manufacturer_id, account_id=account_id)
            allowed = {*await rbac.permissions_of(context), *await rbac.access_of(context)}
            found[name] = {*allowed, f"role {account.role}", f"status {account.status}", account.manufacturer_id}
        return found

    async def _others(self) -> dict[str, list[str]]:
        mine = self.viewer

        def read(connection: Any) -> dict[str, list[str]]:
            rows = {
                table: [repr(row) for row in connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1")]
                for table, columns in OTHERS.items()
            }
            own = ("accounts", "totp", "passkeys", "sessions")
            return {t: [row for row in found if t not in own or mine not in row] for t, found in rows.items()}

        return await self.world.foundation.store.engine.read(read)  # type: ignore[attr-defined]  # the embedded store


NoWayUp.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # thirty calls read well enough; to shrink them takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestNoWayUp = NoWayUp.TestCase
