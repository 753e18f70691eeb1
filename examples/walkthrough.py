"""The whole story over HTTP, against a running `gatewright serve --demo`.

Registers three manufacturers, verifies them from the demo's outbox, lets the platform's admin put two of them
on higher tiers, signs in with MFA, uploads a catalog with attacks of every type mixed in, uses up the free
manufacturer's quota, and ends with a table. Exit code 0 if everything worked as expected.

    python examples/walkthrough.py [--url http://127.0.0.1:8000] [--data gatewright-data] [--uploads 320]

A server that is stopped and started again in the middle is waited for.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import random
import secrets
import statistics
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyotp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

HERE = Path(__file__).resolve().parent
CORPUS = HERE.parent.parent / "shared" / "threat-corpus"
CATALOGUE_SOURCES = {
    "saleor-products",
    "bestbuy-open-data",
    "opencart-catalogue",
    "oscar-catalogue",
    "oscar-products:json",
}

ATTACKS: dict[str, list[Any]] = json.loads((HERE / "attacks.json").read_text())
"""By threat type: what is sent as a product's description, or as its attributes where it is an object."""


class Failed(Exception):
    """Something did not come out as it must."""


class Client:
    """One kept-alive connection that waits for a server which restarts, and times every call."""

    def __init__(self, url: str, timings: dict[str, list[float]]) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._timings = timings
        self._connection: http.client.HTTPConnection | None = None

    def call(
        self, step: str, method: str, path: str, body: Any = None, *, token: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one call."""
        headers = {"content-type": "application/json", "user-agent": "gatewright-walkthrough/1"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        for attempt in range(120):
            try:
                return self._once(step, method, path, data, headers)
            except (OSError, http.client.HTTPException):
                self._connection = None
                if attempt == 119:
                    raise
                time.sleep(0.25)
        raise Failed("the server did not come back")

    def _once(
        self, step: str, method: str, path: str, data: bytes | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=30)
        started = time.perf_counter()
        self._connection.request(method, path, data, headers)
        response = self._connection.getresponse()
        raw = response.read()
        self._timings[step].append((time.perf_counter() - started) * 1000)
        return response.status, json.loads(raw) if raw else {}


class Authenticator:
    """An authenticator app. A code works once, so it never shows the same one twice."""

    def __init__(self, secret: str) -> None:
        self._totp = pyotp.TOTP(secret)
        self._last = int(time.time()) // 30 - 2

    def code(self) -> str:
        """A code of a step that was not used, within the one step of tolerance; waits where there is none."""
        while True:
            now = int(time.time()) // 30
            step = max(self._last + 1, now - 1)
            if step <= now + 1:
                self._last = step
                return str(self._totp.at(step * 30))
            time.sleep(1)


class Walkthrough:
    """The story, step by step."""

    def __init__(self, url: str, data: Path, uploads: int, console: Console) -> None:
        self.timings: dict[str, list[float]] = defaultdict(list)
        self.client = Client(url, self.timings)
        self.data = data
        self.uploads = uploads
        self.console = console
        self.accepted: dict[str, list[str]] = defaultdict(list)
        self.blocked: Counter[str] = Counter()
        self.sent_attacks: Counter[str] = Counter()
        self.by_quota = 0
        self.false_alarms: list[str] = []

    def expect(self, wanted: int, got: tuple[int, dict[str, Any]], what: str) -> dict[str, Any]:
        if got[0] != wanted:
            raise Failed(f"{what}: expected {wanted}, got {got[0]}: {json.dumps(got[1])[:400]}")
        return got[1]

    # --- people -------------------------------------------------------------------------------------------------

    def register(self, company: str) -> dict[str, str]:
        """Register, find the token in the outbox, verify."""
        email = f"owner-{secrets.token_hex(4)}@{company.lower().replace(' ', '-')}.example.com"
        password = f"{secrets.token_urlsafe(12)} plum {secrets.token_hex(3)}"
        body = {
            "email": email,
            "password": password,
            "company_name": company,
            "business_license": "BL-2024-77120",
            "tax_id": "12-3456789",
            "phone": "+1 202 456 1111",
            "website": "https://www.example.com",
        }
        self.expect(202, self.client.call("register", "POST", "/v1/manufacturers", body), f"register {company}")
        verified = self.expect(
            201,
            self.client.call("verify", "POST", "/v1/manufacturers/verify", {"token": self.token_for(email)}),
            f"verify {company}",
        )
        return {"email": email, "password": password, "manufacturer_id": verified["manufacturer_id"]}

    def token_for(self, email: str) -> str:
        """The newest token that the outbox holds for an address."""
        outbox = self.data / "outbox.jsonl"
        for _ in range(100):
            if outbox.exists():
                for line in reversed(outbox.read_text().splitlines()):
                    message = json.loads(line)
                    if message["to"] == email and message.get("data", {}).get("token"):
                        return str(message["data"]["token"])
            time.sleep(0.05)
        raise Failed(f"no message for {email} in {outbox}")

    def sign_in(self, email: str, password: str, app: Authenticator | None = None) -> str:
        """Sign in, with a second factor where there is one; the access token."""
        answer = self.expect(
            200,
            self.client.call("login", "POST", "/v1/auth/login", {"email": email, "password": password}),
            f"login {email}",
        )
        for attempt in range(3):
            if answer["status"] != "mfa_required":
                return str(answer["access_token"])
            if app is None:
                raise Failed(f"{email} needs a second factor")
            body = {"challenge_id": answer["challenge_id"], "code": app.code()}
            status, reply = self.client.call("mfa", "POST", "/v1/auth/mfa", body)
            if status == 200:
                return str(reply["access_token"])
            if attempt == 2:
                raise Failed(f"second factor of {email}: {status} {reply}")
        raise Failed(f"{email} could not sign in")

    def enrol(self, token: str) -> Authenticator:
        """Turn the second factor on."""
        enrolment = self.expect(200, self.client.call("enroll", "POST", "/v1/mfa/totp", {}, token=token), "enroll TOTP")
        app = Authenticator(enrolment["secret"])
        self.expect(
            200,
            self.client.call("confirm", "POST", "/v1/mfa/totp/confirm", {"code": app.code()}, token=token),
            "confirm TOTP",
        )
        return app

    # --- work ---------------------------------------------------------------------------------------------------

    def upload(self, who: dict[str, str], token: str, product: dict[str, Any]) -> int:
        """Upload one product of real values; it must be accepted, or refused by quota."""
        status, reply = self.client.call("upload", "POST", "/demo/products", product, token=token)
        if status == 201:
            self.accepted[who["manufacturer_id"]].append(reply["product_id"])
        elif status == 429 and reply.get("code") == "QUOTA_EXCEEDED":
            self.by_quota += 1
        elif status == 403 and reply.get("code") == "THREAT_DETECTED":
            self.false_alarms.append(product["name"])
        else:
            raise Failed(f"upload: {status} {json.dumps(reply)[:300]}")
        return status

    def attack(self, token: str, threat_type: str, payload: Any) -> None:
        """Send an attack as a product; it must be blocked."""
        product = {"name": "Garden chair", "description" if isinstance(payload, str) else "attributes": payload}
        status, reply = self.client.call("attack", "POST", "/demo/products", product, token=token)
        self.sent_attacks[threat_type] += 1
        if status == 403 and reply.get("code") == "THREAT_DETECTED":
            self.blocked[threat_type] += 1

    def run(self) -> bool:
        """Run the story; True if everything worked as expected."""
        console = self.console
        console.print("[bold]1[/] register and verify three manufacturers")
        names = ("Alder Works", "Birch Instruments", "Cedar Foods")
        people = [self.register(f"{name} {secrets.token_hex(2)}") for name in names]

        console.print("[bold]2[/] the platform's admin signs in with MFA and raises two tiers")
        lines = (self.data / "demo.env").read_text().splitlines()
        known = {name: value.strip("'") for name, value in (line.split("=", 1) for line in lines)}
        app = Authenticator(known["ADMIN_TOTP_SECRET"])
        admin = self.sign_in(known["ADMIN_EMAIL"], known["ADMIN_PASSWORD"], app)
        for person, tier in zip(people, ("professional", "enterprise"), strict=False):
            path = f"/v1/admin/manufacturers/{person['manufacturer_id']}/tier"
            body = {"tier": tier, "reason": "walkthrough: signed contract"}
            self.expect(200, self.client.call("tier", "PUT", path, body, token=admin), f"raise to {tier}")

        console.print("[bold]3[/] enroll a second factor for each and sign in with it")
        tokens = []
        for person in people:
            app = self.enrol(self.sign_in(person["email"], person["password"]))
            tokens.append(self.sign_in(person["email"], person["password"], app))
        me = self.expect(200, self.client.call("me", "GET", "/v1/me", token=tokens[1]), "me")
        if me["tier"] != "enterprise":
            raise Failed(f"the tier should be enterprise, it is {me['tier']}")

        console.print("[bold]4[/] upload a catalog with attacks of every type mixed in")
        self.upload_all(people, tokens)

        console.print("[bold]5[/] use up the free manufacturer's quota")
        self.into_quota(people[2], tokens[2])

        console.print("[bold]6[/] check: nothing accepted is lost, the quota holds, the audit log verifies")
        verified = self.check(people, tokens, admin)
        self.report(verified)
        return self.came_out(verified)

    def upload_all(self, people: list[dict[str, str]], tokens: list[str]) -> None:
        rng = random.Random(7)  # noqa: S311 - a story that is the same each time
        products = catalogue(self.uploads)
        attacks = [(kind, payload) for kind, payloads in ATTACKS.items() for payload in payloads]
        rng.shuffle(attacks)
        every = max(1, len(products) // len(attacks))
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task("uploads", total=len(products))
            for number, product in enumerate(products):
                which = number % 2
                self.upload(people[which], tokens[which], product)
                if number % every == 0 and attacks:
                    self.attack(tokens[which], *attacks.pop())
                progress.advance(task)
            while attacks:
                self.attack(tokens[0], *attacks.pop())

    def into_quota(self, person: dict[str, str], token: str) -> None:
        for number in range(140):
            product = {"name": f"Oak shelf no. {number + 1}", "price_cents": 4900 + number}
            if self.upload(person, token, product) == 429 and self.by_quota >= 3:
                return
        raise Failed("140 uploads of a free manufacturer met no quota")

    def check(self, people: list[dict[str, str]], tokens: list[str], admin: str) -> dict[str, Any]:
        for person, token in zip(people, tokens, strict=True):
            kept: set[str] = set()
            after = ""
            while True:
                path = f"/demo/products?limit=500&after={after}"
                listed = self.expect(200, self.client.call("list", "GET", path, token=token), "list products")
                kept.update(item["product_id"] for item in listed["items"])
                if listed["next"] is None:
                    break
                after = listed["next"]
            lost = set(self.accepted[person["manufacturer_id"]]) - kept
            if lost:
                raise Failed(f"{len(lost)} accepted products are lost")
            usage = self.expect(200, self.client.call("usage", "GET", "/v1/usage", token=token), "usage")
            quota = next(r for r in usage["resources"] if r["resource"] == "product_uploads")
            if quota["limit"] >= 0 and (quota["current"] > quota["limit"] or len(kept) > quota["limit"]):
                raise Failed(f"over the limit: {quota}, {len(kept)} products")
        return self.expect(200, self.client.call("audit", "GET", "/v1/admin/audit/verify", token=admin), "audit verify")

    # --- the end ------------------------------------------------------------------------------------------------

    def came_out(self, verified: dict[str, Any]) -> bool:
        caught = all(self.blocked[kind] == self.sent_attacks[kind] for kind in ATTACKS)
        accepted = sum(map(len, self.accepted.values()))
        return bool(caught and self.by_quota and verified["valid"] and accepted >= 300 and not self.false_alarms)

    def report(self, verified: dict[str, Any]) -> None:
        table = Table(title="Walkthrough", title_justify="left")
        table.add_column("what")
        table.add_column("count", justify="right")
        table.add_row("products accepted", str(sum(map(len, self.accepted.values()))))
        for kind in ATTACKS:
            table.add_row(f"blocked: {kind}", f"{self.blocked[kind]} of {self.sent_attacks[kind]}")
        table.add_row("harmless uploads blocked", str(len(self.false_alarms)))
        table.add_row("refused by quota", str(self.by_quota))
        table.add_row("audit log verified", f"{'yes' if verified['valid'] else 'NO'}, {verified['size']} events")
        self.console.print(table)
        for name in self.false_alarms:
            self.console.print(f"  blocked though harmless: {name[:100]!r}")
        timings = Table(title="Milliseconds by step", title_justify="left")
        for column in ("step", "calls", "p50", "p99"):
            timings.add_column(column, justify="left" if column == "step" else "right")
        for step, values in self.timings.items():
            p99 = statistics.quantiles(values, n=100)[98] if len(values) > 1 else values[0]
            timings.add_row(step, str(len(values)), f"{statistics.median(values):.1f}", f"{min(p99, max(values)):.1f}")
        self.console.print(timings)


def catalogue(count: int) -> list[dict[str, Any]]:
    """Products of real values: from the corpus beside the repository where it is, else from the sample file."""
    texts: list[str] = []
    for name in ("dev.jsonl.gz", "benign-rich.jsonl.gz"):
        path = CORPUS / name
        if not path.exists():
            continue
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if row["label"] == 0 and row["source"] in CATALOGUE_SOURCES and isinstance(row["payload"], str):
                    texts.append(row["payload"])
    if not texts:
        texts = [json.loads(line)["text"] for line in (HERE / "catalogue.jsonl").read_text().splitlines()]
    products = []
    for number in range(count):
        text = texts[number % len(texts)]
        name = text if len(text) <= 80 else f"Product {number + 1}"
        products.append(
            {"name": name, "description": text[:5_000], "sku": f"SKU-{number + 1:05d}", "price_cents": 999 + number}
        )
    return products


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the whole story against a running demo server.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the server is")
    parser.add_argument("--data", type=Path, default=Path("gatewright-data"), help="the server's data directory")
    parser.add_argument("--uploads", type=int, default=320, help="products to upload, at least 300")
    arguments = parser.parse_args()
    console = Console()
    story = Walkthrough(arguments.url, arguments.data, max(300, arguments.uploads), console)
    try:
        good = story.run()
    except Failed as failure:
        console.print(f"[red]failed:[/] {failure}", highlight=False)
        return 1
    console.print("[green]everything worked as expected[/]" if good else "[red]something did not work as expected[/]")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
