"""validate_token against PyJWT: first sight (session check included) and remembered, in one run.

Prints one line of JSON a figure. Run: ``python -m bench.tokens``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import time

import jwt

from gatewright.auth import ManufacturerAuthManager

TOKENS = 2_000
ROUNDS = 15
REQUIRED = ["exp", "iat", "nbf", "iss", "aud", "sub", "jti"]
MANUFACTURER = {
    "manufacturer_id": "mfr_0123456789abcdef",
    "company_name": "Acme Industrial Supplies",
    "email": "security@acme-industrial.example",
    "tier": "professional",
}


async def main() -> None:
    """Measure and print."""
    async with ManufacturerAuthManager() as auth:
        session = await auth.create_session(MANUFACTURER)
        data = {**MANUFACTURER, "session_id": session.session_id}
        secret = auth.keys.current.export()
        options = {"require": REQUIRED}

        def pyjwt(tokens: list[str]) -> float:
            begin = time.perf_counter()
            for token in tokens:
                jwt.decode(token, secret, ["HS256"], audience="gatewright", issuer="gatewright", options=options)
            return (time.perf_counter() - begin) / TOKENS * 1e6

        async def validate(tokens: list[str]) -> float:
            begin = time.perf_counter()
            for token in tokens:
                await auth.validate_token(token)
            return (time.perf_counter() - begin) / TOKENS * 1e6

        figures: dict[str, list[float]] = {"pyjwt": [], "first_sight": [], "remembered": []}
        for _ in range(ROUNDS):  # interleaved, so that all three see the same machine
            tokens = [await auth.generate_manufacturer_token(data) for _ in range(TOKENS)]
            gc.collect()
            figures["pyjwt"].append(pyjwt(tokens))
            figures["first_sight"].append(await validate(tokens))
            figures["remembered"].append(await validate(tokens))
    medians = {name: statistics.median(values) for name, values in figures.items()}
    targets = {"first_sight": 1.5, "remembered": 15.0}
    print(
        json.dumps({"figure": "validate_token", "peer": f"PyJWT {jwt.__version__}", "us": round(medians["pyjwt"], 2)})
    )
    for name, target in targets.items():
        ratio = medians["pyjwt"] / medians[name]
        row = {"figure": f"validate_token {name}", "us": round(medians[name], 2), "ratio": round(ratio, 1)}
        print(json.dumps({**row, "target": target, "met": ratio >= target}))


if __name__ == "__main__":
    asyncio.run(main())
