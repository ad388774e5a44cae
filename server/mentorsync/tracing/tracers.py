"""The tracers of calls and of transactions: what describes this process in their spans, and which spans they record."""

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Tracer

from mentorsync import __version__
from mentorsync.storage.write_queue import MAX_BATCH_OPERATIONS

NAME = "mentorsync"
UNNAMED = "unknown_service"  # how the SDK begins the name of a service that nobody has named


def call_tracer(processor: SpanProcessor) -> Tracer:
    """Records the calls that the sampler of OTEL_TRACES_SAMPLER chooses: by default those whose caller does, and all
    without a caller's trace.
    """
    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider.get_tracer(NAME, __version__)


def transaction_tracer(processor: SpanProcessor) -> Tracer:
    """Records every transaction that it is asked for. A sampler would record too few, since each begins a trace."""
    limits = SpanLimits(max_links=MAX_BATCH_OPERATIONS)  # the default is half of that
    provider = TracerProvider(ALWAYS_ON, _resource(), shutdown_on_exit=False, span_limits=limits)
    provider.add_span_processor(processor)
    return provider.get_tracer(NAME, __version__)


def _resource() -> Resource:
    """Attributes of this process: those of OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, a name and the version."""
    resource = Resource.create({SERVICE_VERSION: __version__})
    if str(resource.attributes[SERVICE_NAME]).startswith(UNNAMED):
        resource = resource.merge(Resource({SERVICE_NAME: NAME}))
    return resource
