"""One request is found in the lines of every process by its id, and no line says what is nobody's business."""

import json
import signal
from typing import Any
from uuid import UUID

import pytest
import redis

from devstack import ports
from devstack.process import ChildProcess
from shared import keys
from shared.database import connect
from tests.commands import saying
from tests.service import Client, Service
from tests.waiting import until

AMOUNTS = ("4711.17", "471117", "1313.13", "131313", "98765.43")
KEY = "a-key-that-is-the-callers-own-business"


def lines_of(process: ChildProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.log_path.read_text().splitlines()]


async def refuse_one_amount(service: Service) -> None:
    """Let the database refuse one amount by a constraint, whose error repeats the row."""
    connection = await connect(service.settings, "test")
    await connection.execute(
        "ALTER TABLE operations ADD CONSTRAINT unlucky CHECK (amount <> 131313 OR status = 'REJECTED')"
    )
    await connection.close()


def bury(service: Service, wallet: str) -> None:
    """Leave a message in the wallet's stream that is no command."""
    partition = keys.partition_of(UUID(wallet), service.settings.partition_count)
    with redis.Redis.from_url(service.settings.redis_url.get_secret_value()) as client:
        message = saying({"id": "broken-1", "request_id": "by-hand", "amount": "98765.43"})
        client.xadd(keys.wallet_stream(partition, wallet), message)
        client.xadd(keys.ready_stream(partition), {"wallet": wallet})


async def test_request__is_found_in_every_process_and_nothing_private_is(own_service: Service) -> None:
    gateway = own_service.start_gateway(LOG_LEVEL="debug")
    worker = own_service.start_worker(LOG_LEVEL="debug")
    await own_service.wait_ready()
    client = Client(own_service.url)
    wallet = await client.create_wallet()
    await refuse_one_amount(own_service)

    answer = await client.deposit(
        wallet, "4711.17", x_request_id="order-1", idempotency_key=KEY, authorization="Bearer none-of-yours"
    )
    operation_id = answer.body["operation"]["id"]
    refused = await client.deposit(wallet, "1313.13", x_request_id="order-2")
    bury(own_service, wallet)

    async def is_dead() -> bool:
        return [line["event"] for line in lines_of(worker)].count("dead letter") == 2

    await until(is_dead)
    await client.close()
    assert (answer.status, refused.status) == (200, 422)

    [asked] = [line for line in lines_of(gateway) if line.get("request_id") == "order-1"]
    assert (asked["event"], asked["operation_id"], asked["status"]) == ("request", operation_id, 200)
    [batch] = [line for line in lines_of(worker) if "order-1" in line.get("request_ids", [])]
    assert (batch["event"], batch["operation_ids"]) == ("batch", [operation_id])
    concerned = [line for line in lines_of(worker) if line["event"] in {"database refused a command", "dead letter"}]
    assert {line.get("request_id") for line in concerned} == {"order-2", "by-hand"}
    assert all(line["operation_id"] for line in concerned)
    assert "unlucky" in {line.get("constraint_name") for line in concerned}

    logged = "".join(path.read_text() for path in own_service.logs.glob("*.log"))
    for secret in (*AMOUNTS, KEY, "none-of-yours", "Failing row", "insufficient"):
        assert secret not in logged, secret


async def test_batches__are_told_at_debug_only(own_service: Service) -> None:
    own_service.start_gateway()
    worker = own_service.start_worker()
    await own_service.wait_ready()
    client = Client(own_service.url)
    assert (await client.deposit(await client.create_wallet(), "1.00")).status == 200
    await client.close()
    own_service.stop()

    events = [line["event"] for line in lines_of(worker)]
    assert "took partitions" in events
    assert "batch" not in events


async def test_every_line_of_every_process__is_json_also_what_libraries_say(own_service: Service) -> None:
    """Nobody listens where the traces go: OpenTelemetry, which knows no structlog, has something to say."""
    nobody = f"http://127.0.0.1:{ports.pick_free()}"
    gateway = own_service.start_gateway(GATEWAY_PROCESSES="2", OTEL_EXPORTER_OTLP_ENDPOINT=nobody)
    gateway.death_signal = signal.SIGTERM
    worker = own_service.start_worker(OTEL_EXPORTER_OTLP_ENDPOINT=nobody)
    own_service.start_worker("maintenance", "worker.maintenance")
    await own_service.wait_ready()
    client = Client(own_service.url)
    wallet = await client.create_wallet()
    assert (await client.deposit(wallet, "1.00")).status == 200

    async def has_complained() -> bool:
        return any(str(line.get("logger", "")).startswith("opentelemetry") for line in lines_of(worker))

    await until(has_complained, 20)
    await client.close()
    assert own_service.stop() == [0, 0, 0]
    for process in (*own_service.gateways.values(), *own_service.workers.values()):
        lines = lines_of(process)
        assert lines, process.name
        assert all({"event", "level", "timestamp", "process"} <= line.keys() for line in lines), process.name


@pytest.mark.parametrize("module", ["gateway", "worker"])
async def test_redis_that_cannot_be_reached__is_named_without_its_password(own_service: Service, module: str) -> None:
    port = ports.pick_free()
    url = f"redis://user:{KEY}@127.0.0.1:{port}/0?password={KEY}"
    process = own_service.start_worker("waiting", module, REDIS_URL=url, PORT="0", START_TIMEOUT_SECONDS="0.3")

    async def has_given_up() -> bool:
        return not process.is_alive

    await until(has_given_up, 20)
    said = process.log_path.read_text()
    assert process.exit_code == 1
    assert said.splitlines()[-1].startswith(f"Redis at 127.0.0.1:{port} did not answer within 0.3 s")
    assert f'"address":"127.0.0.1:{port}"' in said
    assert KEY not in said
