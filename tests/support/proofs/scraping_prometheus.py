"""Run a real Prometheus that scrapes a platform under the shipped rules, and give it a bit of everything to see."""

import asyncio
import contextlib
import math
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import yaml

from calmops.local_services.prometheus import scraping
from calmops.objectives.promises_folder import shipped
from tests.support.alerts.real_servers import RealPrometheus
from tests.support.proofs import kit

MODEL, SCRAPE_S, EVALUATE_S = "stdlib-5m", 2, 5
REPORTS: tuple[dict[str, Any], ...] = (
    {"name": "pii_scans", "good": 5, "bad": 1}, {"name": "hallucination_checks", "good": 9, "bad": 1},
    {"name": "drift_checks", "value": 0.2},
)  # fmt: skip


class Answer(NamedTuple):
    """Holds what a query came to. ``refused``: why it wasn't answered."""

    series: list[dict[str, Any]]
    refused: str | None

    @property
    def has_data(self) -> bool:
        """Say whether any of its values is a number."""
        return any(math.isfinite(float(one["value"][1])) for one in self.series)


class Scraped:
    """Asks that Prometheus."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, query: str) -> Answer:
        """Return the answer to an instant query of a vector."""
        answer = httpx.post(f"{self._url}/api/v1/query", data={"query": query}, timeout=30).json()
        if answer["status"] != "success":
            return Answer([], str(answer.get("error")))
        if answer["data"]["resultType"] != "vector":
            return Answer([], f"it is a {answer['data']['resultType']}, not a vector")
        return Answer(answer["data"]["result"], None)

    def has(self, selector: str) -> bool:
        """Say whether the selector matches any series."""
        answer = httpx.get(f"{self._url}/api/v1/series", params={"match[]": selector}, timeout=30).json()
        assert answer["status"] == "success", answer
        return bool(answer["data"])

    def values(self, label: str, selector: str) -> list[str]:
        """Return a label's values among the series that match, as a dashboard's variable asks for them."""
        answer = httpx.get(f"{self._url}/api/v1/label/{label}/values", params={"match[]": selector}, timeout=30).json()
        assert answer["status"] == "success", answer
        return [str(value) for value in answer["data"]]


@contextlib.contextmanager
def scraped(url: str, folder: Path) -> Iterator[Scraped]:
    """Run it for the block; the rules are evaluated every 5 s, whatever their group says."""
    server = RealPrometheus(folder, settings=scraping([url.partition("://")[2]], "127.0.0.1:1", SCRAPE_S))
    rules = yaml.safe_load((shipped() / "generated" / "prometheus-rules.yaml").read_text(encoding="utf-8"))
    server.give_rules({"groups": [{**group, "interval": f"{EVALUATE_S}s"} for group in rules["groups"]]})
    try:
        server.start()
        yield Scraped(server.url)
    finally:
        server.stop()


async def load(url: str, rounds: int) -> None:
    """Send requests to which a bit of everything happens that can."""
    async with kit.client() as client:
        for number in range(rounds):
            body: dict[str, Any] = {
                "model": MODEL,
                "prompt": f"# {number}\n",
                "max_tokens": 60,
                "ignore_eos": True,
                "loop_guard": False,
            }
            many = [kit.complete_stream(client, url, {**body, "seed": seed}) for seed in range(6)]
            await asyncio.gather(
                *many,
                kit.complete_stream(client, url, {**body, "max_tokens": 1000, "timeout": 0.2}),
                _ended(client, url, {**body, "max_tokens": 1000, "stream": True}),
                client.post(f"{url}/v1/completions", json={**body, "n": 2}),
                client.post(f"{url}/v1/completions", json={**body, "temperature": 9}),
            )


async def _ended(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> None:
    """Send a request and end it as an operator does."""
    request_id = f"ended-{uuid.uuid4()}"
    asked = asyncio.create_task(client.post(f"{url}/v1/completions", json=body, headers={"x-request-id": request_id}))
    await asyncio.sleep(0.2)
    await client.post(f"{url}/admin/requests/{request_id}/cancel")
    await asked


def report(url: str) -> None:
    """Report what scanners and other jobs say about answers."""
    for entry in REPORTS:
        httpx.post(f"{url}/admin/reports", json={**entry, "model": MODEL}, timeout=10).raise_for_status()


def disturb(url: str) -> None:
    """Kill a gang under long streams."""

    async def killed() -> None:
        async with kit.client() as client:
            body = {"model": MODEL, "prompt": "def ", "max_tokens": 1000, "ignore_eos": True, "loop_guard": False}
            streams = [
                asyncio.create_task(kit.complete_stream(client, url, {**body, "seed": seed})) for seed in range(8)
            ]
            await asyncio.sleep(0.5)
            os.kill(kit.inventory(url)["gangs"][0]["ranks"][0]["pid"], signal.SIGKILL)
            await asyncio.gather(*streams)

    asyncio.run(killed())
