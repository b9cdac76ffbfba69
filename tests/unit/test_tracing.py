"""A trace goes from the HTTP request to its transaction with nothing in the message but what was there before."""

import time
from uuid import uuid4

import pytest
from msgspec.structs import replace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.codec import decode_command, encode_command
from shared.commands import Command
from shared.tracing import Tracer, request_id_in, trace_id_of
from tests.commands import deposit

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def command(request_id: str) -> Command:
    return replace(deposit(uuid4()), request_id=request_id, token=0x1234_5678_9ABC_DEF0)


def through_redis(sent: Command) -> Command:
    return decode_command(sent.wallet_id, {b"command": encode_command(sent)})


def spans_of(request_id: str, traceparent: str | None = None, share: float = 1.0) -> list[ReadableSpan]:
    """Return the spans that a gateway and a worker, which share nothing but the message, make of one request."""
    exporter = InMemorySpanExporter()
    gateway, worker = (Tracer(SimpleSpanProcessor(exporter), name, share) for name in ("gateway", "worker"))
    sent = command(request_id)
    now = time.time_ns()
    worker.settled(through_redis(sent), now, now + 1_000, 7)
    gateway.request(request_id, "POST /operation", now - 5_000, 200, traceparent, sent)
    return list(exporter.get_finished_spans())


def test_worker__continues_the_trace_of_the_gateway() -> None:
    *work, request = spans_of(TRACE)

    assert request.context
    assert request.context.trace_id == int(TRACE, 16)
    assert [span.name for span in work] == ["wait in the stream", "settle", "reply and finish"]
    for span in work:
        assert span.context
        assert span.context.trace_id == request.context.trace_id
        assert span.parent
        assert span.parent.span_id == request.context.span_id
        assert span.attributes
        assert span.attributes["wallet.operation_id"] == request.attributes["wallet.operation_id"]  # type: ignore[index]
    assert [span.resource.attributes["service.name"] for span in (request, work[0])] == [
        "wallet-gateway",
        "wallet-worker",
    ]


def test_callers_trace__goes_on_here() -> None:
    traceparent = f"00-{TRACE}-{PARENT}-01"

    request_id = request_id_in(traceparent)
    assert request_id == TRACE
    request = spans_of(request_id, traceparent)[-1]
    assert request.parent
    assert request.parent.span_id == int(PARENT, 16)


def test_caller_who_chose_a_request_id__gets_a_trace_of_that_name() -> None:
    request = spans_of("order-4711", f"00-{TRACE}-{PARENT}-01")[-1]

    assert request.context
    assert request.context.trace_id == trace_id_of("order-4711") != int(TRACE, 16)
    assert request.parent is None


@pytest.mark.parametrize(
    "traceparent",
    ["", "00", f"00-{TRACE}-{PARENT}", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-x-01"],
)
def test_traceparent_that_is_none__is_passed_over(traceparent: str) -> None:
    assert request_id_in(traceparent) is None


def test_share__is_decided_alike_by_gateway_and_worker() -> None:
    for _ in range(50):
        assert len(spans_of(uuid4().hex, share=0.5)) in {0, 4}
    assert spans_of(TRACE, share=0.0) == []
