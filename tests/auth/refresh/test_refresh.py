"""Refresh tokens: single use, families, and the one grace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gatewright.auth import AuthOptions, AuthResult, ClientInfo, ManufacturerAuthManager, SessionRules
from gatewright.errors import (
    InvalidTokenError,
    MFARequiredError,
    RefreshTokenReuseError,
    SecurityError,
    TokenExpiredError,
    TokenRevokedError,
)
from gatewright.storage import SqliteStore
from gatewright.testing import ListSink, ManualClock
from tests.auth.identity import CHROME, ELSEWHERE, HOME, NEIGHBOUR, SECRET, START, known_account, sign_in


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


@pytest.fixture
async def auth(clock: ManualClock, sink: ListSink) -> AsyncIterator[ManufacturerAuthManager]:
    async with ManufacturerAuthManager(SECRET, clock=clock, sink=sink) as manager:
        yield manager


def token_of(result: AuthResult) -> str:
    assert result.refresh_token is not None
    return result.refresh_token


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def refused_as_reuse(auth: ManufacturerAuthManager, token: str, client: ClientInfo | None) -> None:
    with pytest.raises(RefreshTokenReuseError) as caught:
        await auth.refresh_tokens(token, client=client)
    assert caught.value.code == "REFRESH_TOKEN_REUSED"


async def test_a_new_pair_each_time(auth: ManufacturerAuthManager, clock: ManualClock) -> None:
    """The session stays, its end moves, and the claims are those of now."""
    result = await sign_in(auth)
    assert result.status == "authenticated" and result.manufacturer and result.manufacturer.email
    before = await auth.get_session_info(result.session_id or "")
    seen = {result.refresh_token}
    for _ in range(5):
        clock.advance(hours=1)
        result = await auth.refresh_tokens(token_of(result), client=HOME)
        assert result.refresh_token not in seen and result.status == "authenticated"
        seen.add(result.refresh_token)
        claims = await auth.validate_token(result.access_token or "")
        assert claims["sid"] == result.session_id and claims["sub"] == "acc_acme"
    after = await auth.get_session_info(result.session_id or "")
    assert before and after and after.expires_at > before.expires_at and after.last_activity == clock.now()


async def test_the_tier_of_now(auth: ManufacturerAuthManager) -> None:
    """A token is refreshed to what the manufacturer is by now."""
    result = await sign_in(auth)
    await auth.store.update_manufacturer("mfr_acme", tier="enterprise")
    result = await auth.refresh_tokens(token_of(result), client=HOME)
    claims = await auth.validate_token(result.access_token or "")
    assert claims["tier"] == "enterprise" and claims["roles"] == ["manufacturer_enterprise"]
    assert result.manufacturer and result.manufacturer.tier == "enterprise"


@pytest.mark.parametrize("client", [HOME, NEIGHBOUR])
async def test_the_grace(auth: ManufacturerAuthManager, clock: ManualClock, client: ClientInfo) -> None:
    """Within ten seconds, from the same network and user agent: the very same successor, as often as it asks."""
    first = await sign_in(auth)
    second = await auth.refresh_tokens(token_of(first), client=HOME)
    for _ in range(3):
        clock.advance(3)
        again = await auth.refresh_tokens(token_of(first), client=client)
        assert again.refresh_token == second.refresh_token
        assert again.session_id == second.session_id
        assert await auth.validate_token(again.access_token or "")
    third = await auth.refresh_tokens(token_of(second), client=HOME)
    assert third.refresh_token not in (first.refresh_token, second.refresh_token)
    clock.advance(2)
    await refused_as_reuse(auth, token_of(first), HOME)


async def test_parallel_refreshes_converge(auth: ManufacturerAuthManager) -> None:
    """Twenty tabs at once: one successor, no fork, no one signed out."""
    first = await sign_in(auth)
    results = await asyncio.gather(*(auth.refresh_tokens(token_of(first), client=HOME) for _ in range(20)))
    assert len({result.refresh_token for result in results}) == 1
    assert len({result.access_token for result in results}) == 20
    await auth.refresh_tokens(token_of(results[0]), client=HOME)


@pytest.mark.parametrize(
    ("first_client", "second_client"),
    [
        pytest.param(HOME, ELSEWHERE, id="another client"),
        pytest.param(HOME, ClientInfo(HOME.ip_address, "curl/8.0"), id="another agent"),
        pytest.param(HOME, ClientInfo("192.0.2.1", CHROME), id="another network"),
        pytest.param(HOME, None, id="unknown then"),
        pytest.param(None, HOME, id="unknown before"),
        pytest.param(None, None, id="unknown both times"),
        pytest.param(ClientInfo(None, CHROME), ClientInfo(None, CHROME), id="no address"),
    ],
)
async def test_any_other_second_use_ends_it(
    auth: ManufacturerAuthManager, sink: ListSink, first_client: ClientInfo | None, second_client: ClientInfo | None
) -> None:
    """Family revoked, session ended, access token dead, event told: also for whoever has the successor."""
    first = await sign_in(auth)
    second = await auth.refresh_tokens(token_of(first), client=first_client)
    await refused_as_reuse(auth, token_of(first), second_client)
    with pytest.raises(TokenRevokedError):
        await auth.validate_token(second.access_token or "")
    with pytest.raises(TokenRevokedError):
        await auth.refresh_tokens(token_of(second), client=first_client)
    await refused_as_reuse(auth, token_of(first), first_client)
    info = await auth.get_session_info(first.session_id or "")
    assert info and not info.is_active and info.ended_reason == "refresh_token_reused"
    [told] = [event for event in sink.events if event.kind == "auth:refresh:reused"][:1]
    assert told.severity == "high" and told.session_id == first.session_id


async def test_one_machine_on_two_networks_at_once_is_refused_like_a_thief(
    auth: ManufacturerAuthManager, clock: ManualClock
) -> None:
    """A dual-stack machine refreshes over IPv4, and a second later over IPv6: the session ends.

    It looks exactly like a stolen token: a user agent is copied with the token, and the thief is on another network.
    The same successor would give the thief a working pair. A refusal that leaves the session alive would leave it to
    the thief when he comes first: the owner's refusal is then the only sign of the theft, and a client that is
    refused signs in again, which no one connects with the stolen session. Both cost more than one sign-in does. A
    machine that merely moves from one network to the other, without using a token twice, stays signed in.
    """
    four, six = ClientInfo("203.0.113.7", CHROME), ClientInfo("2001:db8:1:2::5", CHROME)
    first = await sign_in(auth, client=four)
    moved = await auth.refresh_tokens(token_of(first), client=six)
    following = await auth.refresh_tokens(token_of(moved), client=four)
    clock.advance(1)
    await refused_as_reuse(auth, token_of(moved), six)
    with pytest.raises(TokenRevokedError):
        await auth.validate_token(following.access_token or "")


async def test_a_late_second_use(auth: ManufacturerAuthManager, clock: ManualClock) -> None:
    """After the grace, or days later: still known for what it is."""
    for wait in (10.5, 20 * 86400):
        first = await sign_in(auth, f"m{int(wait)}")
        await auth.refresh_tokens(token_of(first), client=HOME)
        clock.advance(wait)
        await refused_as_reuse(auth, token_of(first), HOME)


async def test_the_grace_can_be_off(clock: ManualClock) -> None:
    async with ManufacturerAuthManager(SECRET, clock=clock, options=AuthOptions(refresh_grace=0)) as auth:
        first = await sign_in(auth)
        await auth.refresh_tokens(token_of(first), client=HOME)
        clock.advance(0.001)
        await refused_as_reuse(auth, token_of(first), HOME)


async def test_expiry(auth: ManufacturerAuthManager, clock: ManualClock) -> None:
    """Of the token, and of the session however often it is refreshed."""
    first = await sign_in(auth)
    clock.advance(days=30)
    with pytest.raises(TokenExpiredError, match="expired"):
        await auth.refresh_tokens(token_of(first), client=HOME)
    result = await sign_in(auth, "other")
    for _ in range(3):
        clock.advance(days=29)
        result = await auth.refresh_tokens(token_of(result), client=HOME)
    clock.advance(days=4)
    with pytest.raises((TokenExpiredError, TokenRevokedError)):
        await auth.refresh_tokens(token_of(result), client=HOME)


async def test_an_idle_session_is_not_refreshed(clock: ManualClock) -> None:
    options = AuthOptions(sessions=SessionRules(idle=timedelta(hours=1)))
    async with ManufacturerAuthManager(SECRET, clock=clock, options=options) as auth:
        result = await sign_in(auth)
        clock.advance(hours=2)
        with pytest.raises(TokenRevokedError):
            await auth.refresh_tokens(token_of(result), client=HOME)


async def test_ended_sessions_do_not_refresh(auth: ManufacturerAuthManager) -> None:
    """Ended by the user, by all, or by revoking the refresh token; not even within the grace."""
    for number, end in enumerate(("one", "all", "token")):
        result = await sign_in(auth, f"n{number}")
        successor = await auth.refresh_tokens(token_of(result), client=HOME)
        if end == "one":
            await auth.invalidate_session(result.session_id or "")
        elif end == "all":
            await auth.invalidate_sessions(f"mfr_n{number}", reason="test")
        else:
            await auth.revoke_token(token_of(successor))
        with pytest.raises(TokenRevokedError):
            await auth.refresh_tokens(token_of(successor), client=HOME)
        with pytest.raises(InvalidTokenError):
            await auth.validate_token(successor.access_token or "")
        with pytest.raises((TokenRevokedError, RefreshTokenReuseError)):
            await auth.refresh_tokens(token_of(result), client=HOME)


async def test_a_disabled_account_or_manufacturer_does_not_refresh(auth: ManufacturerAuthManager) -> None:
    result = await sign_in(auth)
    await auth.store.update_account("acc_acme", status="disabled")
    with pytest.raises(TokenRevokedError, match="disabled"):
        await auth.refresh_tokens(token_of(result), client=HOME)
    assert not await auth.validate_session(result.session_id or "")
    result = await sign_in(auth, "other")
    await auth.store.update_manufacturer("mfr_other", status="disabled")
    with pytest.raises(SecurityError):
        await auth.refresh_tokens(token_of(result), client=HOME)


@pytest.mark.parametrize("token", [None, 5, b"gwr_x", "", "gwr_", "gwr_" + "A" * 65, "x" * 10**6, "gwr_" + "é" * 65])
async def test_what_is_no_token_of_ours(auth: ManufacturerAuthManager, token: Any) -> None:
    with pytest.raises(InvalidTokenError, match="invalid"):
        await auth.refresh_tokens(token, client=HOME)
    if isinstance(token, str) and token.startswith("gwr_") and token != "gwr_" and len(token) < 100:
        await auth.revoke_token(token)


async def test_access_tokens_are_no_refresh_tokens(auth: ManufacturerAuthManager) -> None:
    result = await sign_in(auth)
    with pytest.raises(InvalidTokenError):
        await auth.refresh_tokens(result.access_token or "", client=HOME)
    with pytest.raises(InvalidTokenError):
        await auth.validate_token(token_of(result))


async def test_nothing_usable_is_kept(tmp_path: Path) -> None:
    """The store has neither a token nor, without the token that yields the key, its successor."""
    async with SqliteStore(tmp_path / "a.db") as store, ManufacturerAuthManager(SECRET, store=store) as auth:
        first = await sign_in(auth)
        second = await auth.refresh_tokens(token_of(first), client=HOME)
    raw = everything_in(tmp_path)
    for token in (first.refresh_token, second.refresh_token, first.access_token, second.access_token):
        assert token and token.encode() not in raw and token.removeprefix("gwr_").encode() not in raw


async def test_refreshing_across_processes_and_restarts(tmp_path: Path) -> None:
    """A token of one process is good in the other, and the grace holds between them."""
    path = tmp_path / "a.db"
    async with SqliteStore(path) as here, SqliteStore(path) as there:
        a, b = (ManufacturerAuthManager(SECRET, store=store) for store in (here, there))
        async with a, b:
            first = await sign_in(a)
            one, two = await asyncio.gather(
                a.refresh_tokens(token_of(first), client=HOME), b.refresh_tokens(token_of(first), client=HOME)
            )
            assert one.refresh_token == two.refresh_token
    async with SqliteStore(path) as store, ManufacturerAuthManager(SECRET, store=store) as auth:
        await auth.refresh_tokens(token_of(one), client=HOME)
        await refused_as_reuse(auth, token_of(one), ELSEWHERE)


async def test_the_last_gate_asks_for_the_second_factor(auth: ManufacturerAuthManager, sink: ListSink) -> None:
    """Whatever path led there: no session without a factor that the account must show."""

    async def always(account: object) -> bool:
        return True

    account, manufacturer = await known_account(auth)
    auth.services.issuer._must_show_second_factor = always
    with pytest.raises(MFARequiredError):
        await auth.services.issuer.issue(account, manufacturer, HOME, factors=frozenset({"pwd"}))
    assert "auth:mfa:bypass_refused" in sink.kinds() and await auth.list_sessions("mfr_acme") == []
    result = await auth.services.issuer.issue(
        account, manufacturer, HOME, factors=frozenset({"pwd", "otp"}), mfa_at=auth.sessions._clock.now()
    )
    await auth.require_recent_mfa(result.session_id or "")


class Family(RuleBasedStateMachine):
    """However clients use the tokens of a family, at most one of them is ever good, and a theft ends it all."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock(START)
        self.auth = ManufacturerAuthManager(SECRET, clock=self.clock)
        self.alive = True
        self.chain: list[str] = []
        self.rotated_at: list[float] = []
        self.rotated_by: list[str] = []

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.run(self.auth.close())
        self.loop.close()

    @initialize()
    def begin(self) -> None:
        self.run(self.auth.initialize())
        self.chain.append(token_of(self.run(sign_in(self.auth))))

    @rule(seconds=st.sampled_from([0.5, 4.0, 11.0, 600.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.alive)
    @rule(who=st.sampled_from(["home", "elsewhere"]), back=st.integers(0, 2))
    def present(self, who: str, back: int) -> None:
        place = max(0, len(self.chain) - 1 - back)
        client = HOME if who == "home" else ELSEWHERE
        used = place < len(self.rotated_at)
        in_grace = used and self.clock.timestamp() - self.rotated_at[place] <= 10 and self.rotated_by[place] == who
        try:
            result = self.run(self.auth.refresh_tokens(self.chain[place], client=client))
        except RefreshTokenReuseError:
            assert used and not in_grace
            self.alive = False
            return
        if used:
            assert in_grace and token_of(result) == self.chain[place + 1]
        else:
            self.chain.append(token_of(result))
            self.rotated_at.append(self.clock.timestamp())
            self.rotated_by.append(who)

    @precondition(lambda self: not self.alive)
    @rule(back=st.integers(0, 2))
    def nothing_works_any_more(self, back: int) -> None:
        with pytest.raises((RefreshTokenReuseError, TokenRevokedError)):
            self.run(self.auth.refresh_tokens(self.chain[max(0, len(self.chain) - 1 - back)], client=HOME))

    @invariant()
    def one_session_or_none(self) -> None:
        if self.chain:
            assert len(self.run(self.auth.list_sessions("mfr_acme"))) == int(self.alive)


Family.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
TestFamily = Family.TestCase
