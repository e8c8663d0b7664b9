"""Spans for OpenTelemetry, where it is installed (`agon[otel]`) and asked for. Where not, nothing of it is imported, and a span
is a new id in its trace.

Asked for is it by OTEL_EXPORTER_OTLP_ENDPOINT, or by AGON_OTEL=1 for the collector on this machine; OpenTelemetry's own variables say
the rest. Names of attributes are its semantic conventions'.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from trainer import trace
from trainer.trace import Trace
from trainer.wire import RunFile, SearchFile

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
FLUSH_SECONDS = 5.0
Value = str | int | float | bool
_PROVIDER: list[TracerProvider] = []
"""Of this process: at most one."""
logger = logging.getLogger("agon.spans")


@dataclass(frozen=True)
class Span:
    """Something that takes a while."""

    trace: Trace
    """Where it is: the parent of what happens in it."""
    recorded: Any = None
    """OpenTelemetry's; None: nobody records it."""

    def set(self, attributes: Mapping[str, Value], *, name: str | None = None, error: str | None = None) -> None:
        """What is known of it by now. error: what it failed of, in one word."""
        if self.recorded is None:
            return
        if name is not None:
            self.recorded.update_name(name)
        self.recorded.set_attributes(dict(attributes))
        if error is not None:
            from opentelemetry.trace import StatusCode

            self.recorded.set_attribute("error.type", error)
            self.recorded.set_status(StatusCode.ERROR)


@contextmanager
def span(
    name: str,
    parent: Trace | None = None,
    *,
    kind: Literal["internal", "server", "client"] = "internal",
    attributes: Mapping[str, Value] | None = None,
) -> Iterator[Span]:
    """The block. parent: default is where this thread or task is; without either it begins a trace."""
    before = parent or trace.current()
    if _PROVIDER:
        with _recorded(name, before, kind, attributes or {}) as found, trace.within(found.trace):
            yield found
        return
    here = before.child() if before else trace.begin()
    with trace.within(here):
        yield Span(here)


@contextmanager
def _recorded(name: str, before: Trace | None, kind: str, attributes: Mapping[str, Value]) -> Iterator[Span]:
    from opentelemetry import trace as api
    from opentelemetry.context import Context

    context = Context()  # nothing but what is said here
    if before is not None:
        flags = api.TraceFlags(trace.SAMPLED if before.sampled else 0)
        there = api.SpanContext(int(before.id, 16), int(before.span, 16), is_remote=True, trace_flags=flags)
        context = api.set_span_in_context(api.NonRecordingSpan(there), context)
    tracer = _PROVIDER[0].get_tracer("agon")
    made = tracer.start_span(name, context, kind=api.SpanKind[kind.upper()], attributes=dict(attributes))
    found = made.get_span_context()
    sampled = bool(found.trace_flags & trace.SAMPLED)
    with api.use_span(made, end_on_exit=True):
        yield Span(Trace(f"{found.trace_id:032x}", f"{found.span_id:016x}", sampled), made)


def wanted() -> bool:
    """Whether the environment asks for it."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not off and (os.environ.get("AGON_OTEL") == "1" or any(os.environ.get(name) for name in ENDPOINTS))


def configure(service: str, processor: SpanProcessor | None = None) -> None:
    """Begin to record, once a process, if it is wanted. service: what this process is, unless OTEL_SERVICE_NAME says it.

    processor: where spans go; default: over HTTP to the collector, in the background.
    """
    if _PROVIDER or (processor is None and not wanted()):
        return
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        processor = processor or _exporting()
    except ImportError as error:
        logger.warning("spans are asked for, but %s is not installed: pip install 'agon[otel]'", error.name)
        return
    named = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME") or service})
    provider = TracerProvider(resource=named)
    provider.add_span_processor(processor)
    _PROVIDER.append(provider)


def _exporting() -> SpanProcessor:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter())


@contextmanager
def attempt(run: RunFile, service: str) -> Iterator[Span]:
    """One attempt at a run, of its driver. service: what the driver is."""
    configure(service)
    kind = "search" if isinstance(run, SearchFile) else "job"
    facts: dict[str, Value] = {f"agon.{kind}": run.job_id, "agon.attempt": run.attempt}
    with span(f"{kind} attempt", trace.parse(run.traceparent), attributes=facts) as found:
        yield found


def flush() -> None:
    """Send what has ended: this process may end without a word."""
    for provider in _PROVIDER:
        provider.force_flush(int(FLUSH_SECONDS * 1000))


def stop() -> None:
    """Record no more."""
    while _PROVIDER:
        _PROVIDER.pop().shutdown()
