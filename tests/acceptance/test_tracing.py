"""Traces arrive where OTEL_EXPORTER_OTLP_ENDPOINT says: one of each request, through the stream and back."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from devstack import ports
from tests.service import Client, Service
from tests.waiting import until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


@dataclass
class Collector:
    """An OTLP receiver: the spans that came, with the service that made them."""

    port: int
    spans: list[tuple[str, Span]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for group in sent.resource_spans:
            [service] = [a.value.string_value for a in group.resource.attributes if a.key == "service.name"]
            self.spans += [(service, span) for scope in group.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    opened = Collector(ports.pick_free())
    app = web.Application()
    app.router.add_post("/v1/traces", opened.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", opened.port).start()
    yield opened
    await runner.cleanup()


async def test_trace__goes_from_the_callers_request_to_its_transaction_and_back(
    own_service: Service, collector: Collector
) -> None:
    to = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    own_service.start_gateway("gateway", None, **to)
    own_service.start_worker("", "worker", **to)
    await own_service.wait_ready()
    client = Client(own_service.url)
    wallet = await client.create_wallet()
    answer = await client.deposit(wallet, "1.00", traceparent=f"00-{TRACE}-{PARENT}-01")
    await client.close()
    assert answer.headers["X-Request-ID"] == TRACE

    async def has_come() -> bool:
        return sum(span.trace_id.hex() == TRACE for _, span in collector.spans) == 4

    await until(has_come)
    spans = {span.name: (service, span) for service, span in collector.spans if span.trace_id.hex() == TRACE}
    service, request = spans.pop("POST /api/v1/wallets/{wallet_id}/operation")
    assert (service, request.parent_span_id.hex()) == ("wallet-gateway", PARENT)
    assert set(spans) == {"wait in the stream", "settle", "reply and finish"}
    operation_id = answer.body["operation"]["id"]
    for service, span in spans.values():
        assert (service, span.parent_span_id) == ("wallet-worker", request.span_id)
        assert operation_id in {attribute.value.string_value for attribute in span.attributes}
        assert request.start_time_unix_nano <= span.end_time_unix_nano
    settle = spans["settle"][1]
    assert request.start_time_unix_nano <= settle.start_time_unix_nano < settle.end_time_unix_nano
    assert settle.end_time_unix_nano <= request.end_time_unix_nano


async def test_collector_that_is_away__holds_up_neither_requests_nor_the_end(own_service: Service) -> None:
    to = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{ports.pick_free()}"}
    own_service.start_gateway("gateway", None, **to)
    own_service.start_worker()
    await own_service.wait_ready()
    client = Client(own_service.url)
    wallet = await client.create_wallet()
    assert (await client.deposit(wallet, "1.00")).status == 200
    await client.close()

    assert own_service.stop() == [0, 0]
