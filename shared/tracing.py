"""Traces by OpenTelemetry, if OTEL_EXPORTER_OTLP_ENDPOINT is set: from the HTTP request to its transaction and back.

The trace travels in what a message carries anyway: its trace id is the request id, the span id of the request is the
command's token. Spans are made when they are over, so that nothing is kept meanwhile. Guarantees that where it is off,
nothing of OpenTelemetry is imported and a request costs two comparisons.
"""

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from random import getrandbits
from typing import TYPE_CHECKING, Any

from shared.commands import Command
from shared.errors import Misconfigured
from shared.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

HEADER = "traceparent"
# https://www.w3.org/TR/trace-context/: version, trace id, parent id, flags; later versions may add fields.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?\Z")
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}\Z")
_EXPORT_SECONDS = 2.0  # how long a collector may take, also at the end of the process


class Tracer:
    """Makes the spans of one process."""

    def __init__(self, processor: "SpanProcessor", service: str, sampled_share: float) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 only where it is asked for

        self._processor = processor
        self._resource = Resource.create({"service.name": f"wallet-{service}"})
        self._sampled_below = int(sampled_share * 2**64)

    def request(
        self,
        request_id: str,
        name: str,
        began_ns: int,
        status: int,
        traceparent: str | None = None,
        command: Command | None = None,
    ) -> None:
        """Make the span of an HTTP request; `command` is what it asked for, if it came so far."""
        if not self._is_sampled(trace_id := trace_id_of(request_id)):
            return
        match = _TRACEPARENT.match(traceparent or "")
        # The caller's own span is the parent, unless the caller also chose another request id.
        parent = int(match[2], 16) if match and int(match[1], 16) == trace_id else 0
        span_id = (command.token if command else 0) or getrandbits(63) | 1
        attributes = {"http.response.status_code": status, "wallet.request_id": request_id}
        if command:
            attributes["wallet.operation_id"] = str(command.id)
        self._span(name, trace_id, span_id, parent, (began_ns, time.time_ns()), attributes, kind="SERVER")

    def settled(self, command: Command, began_ns: int, committed_ns: int, batch_commands: int) -> None:
        """Make the spans of a command that was settled and answered by now: its wait, its transaction, its reply."""
        if not command.request_id or not self._is_sampled(trace_id := trace_id_of(command.request_id)):
            return
        submitted_ns = min(int(command.submitted_at.timestamp() * 1e6) * 1_000, began_ns)
        attributes = {"wallet.operation_id": str(command.id), "wallet.batch_commands": batch_commands}
        for name, kind, times in (
            ("wait in the stream", "CONSUMER", (submitted_ns, began_ns)),
            ("settle", "INTERNAL", (began_ns, committed_ns)),
            ("reply and finish", "PRODUCER", (committed_ns, time.time_ns())),
        ):
            self._span(name, trace_id, getrandbits(63) | 1, command.token, times, attributes, kind)

    def _is_sampled(self, trace_id: int) -> bool:
        # By the trace id, so that all processes decide alike.
        return (trace_id & (2**64 - 1)) < self._sampled_below

    def _span(
        self,
        name: str,
        trace_id: int,
        span_id: int,
        parent_id: int,
        times: tuple[int, int],
        attributes: Mapping[str, Any],
        kind: str,
    ) -> None:
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415 only where it is asked for
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags  # noqa: PLC0415

        sampled = TraceFlags(TraceFlags.SAMPLED)
        span = ReadableSpan(
            name,
            SpanContext(trace_id, span_id, is_remote=False, trace_flags=sampled),
            SpanContext(trace_id, parent_id, is_remote=True, trace_flags=sampled) if parent_id else None,
            self._resource,
            attributes,
            kind=SpanKind[kind],
            start_time=times[0],
            end_time=times[1],
        )
        self._processor.on_end(span)


tracer: Tracer | None = None  # of this process; None: off


def trace_id_of(request_id: str) -> int:
    """Return the request id as a trace id: itself where it can be one, as those that gateways make are, else a hash."""
    if _TRACE_ID.match(request_id):
        return int(request_id, 16)
    return int.from_bytes(blake2b(request_id.encode(), digest_size=16).digest())


def request_id_in(traceparent: str | None) -> str | None:
    """Return the id of the trace that a request belongs to, to be its request id; None when there is none."""
    match = _TRACEPARENT.match(traceparent or "")
    return match[1] if match else None


@contextlib.contextmanager
def exporting(settings: Settings, service: str) -> Iterator[None]:
    """Send spans to where OTEL_EXPORTER_OTLP_ENDPOINT says; raises Misconfigured when the extra is not installed."""
    global tracer  # noqa: PLW0603 of this process
    if not settings.otel_exporter_otlp_endpoint:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        raise Misconfigured(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: pip install 'wallet-streams[otel]'"
        ) from None
    endpoint = f"{settings.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces"
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=_EXPORT_SECONDS), max_queue_size=10_000)
    tracer = Tracer(processor, service, settings.otel_traces_sampler_arg)
    try:
        yield
    finally:
        tracer = None
        processor.shutdown()  # type: ignore[no-untyped-call]
