"""OTEL_* variables: what they mean, what is refused, and with which words."""

from pathlib import Path

import pytest

from handrail.tracing import _environ
from handrail.tracing.settings import Problem, TracingSettings, from_environ


def read(**environ: str) -> tuple[TracingSettings, list[Problem]]:
    return from_environ(environ, service_name="shop", store=Path("/tmp/store"), store_max_bytes=1, flush_timeout=0.5)


def good(**environ: str) -> TracingSettings:
    settings, problems = read(**environ)
    assert problems == []
    return settings


def test_without_any_variable_spans_go_to_the_local_store() -> None:
    """Our one own default."""
    assert good() == TracingSettings(
        service_name="shop", exporters=("local",), store=Path("/tmp/store"), store_max_bytes=1, flush_timeout=0.5
    )


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_an_endpoint_is_enough_to_export_there(name: str) -> None:
    """The general endpoint gets the path of traces, the specific one is used as it is."""
    settings = good(**{name: "http://jaeger:4318/"})
    assert settings.exporters == ("otlp",)
    suffix = "v1/traces" if name == "OTEL_EXPORTER_OTLP_ENDPOINT" else ""
    assert settings.endpoint == f"http://jaeger:4318/{suffix}"


def test_the_specific_variable_wins() -> None:
    """OTLP exporter specification: TRACES_ before the general one, for endpoint and protocol."""
    settings = good(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://a:1",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://b:2/x",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="grpc",
    )
    assert (settings.endpoint, settings.protocol) == ("http://b:2/x", "grpc")


@pytest.mark.parametrize(
    ("value", "exporters", "protocol", "endpoint"),
    [
        ("otlp", ("otlp",), "http/protobuf", "http://localhost:4318/v1/traces"),
        ("otlp_proto_grpc", ("otlp",), "grpc", "http://localhost:4317"),
        ("console, otlp,console", ("console", "otlp"), "http/protobuf", "http://localhost:4318/v1/traces"),
        ("none", (), "http/protobuf", None),
        ("local", ("local",), "http/protobuf", None),
        ("", ("local",), "http/protobuf", None),
    ],
)
def test_exporters(value: str, exporters: tuple[str, ...], protocol: str, endpoint: str | None) -> None:
    """A list; an empty value is an unset one."""
    settings = good(OTEL_TRACES_EXPORTER=value)
    assert (settings.exporters, settings.protocol, settings.endpoint) == (exporters, protocol, endpoint)


def test_grpc_takes_a_bare_host_and_http_does_not() -> None:
    """OTLP exporter specification: a gRPC endpoint may come without a scheme."""
    settings = good(OTEL_EXPORTER_OTLP_ENDPOINT="jaeger:4317", OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert settings.endpoint == "http://jaeger:4317"
    assert read(OTEL_EXPORTER_OTLP_ENDPOINT="jaeger:4318")[1][0][0] == "OTEL_EXPORTER_OTLP_ENDPOINT"


def test_grpc_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is the command."""
    monkeypatch.setattr(_environ, "importable", lambda _module: False)
    settings, problems = read(OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert problems == [
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "grpc",
            "needs pip install 'handrail[grpc]'",
        )
    ]
    assert settings.protocol == "http/protobuf"


def test_importable_asks_without_importing() -> None:
    """A module below a package that is not there is not there."""
    assert _environ.importable("opentelemetry.exporter.otlp.proto.grpc")
    assert not _environ.importable("opentelemetry.exporter.nothing.at.all")


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"OTEL_SERVICE_NAME": "a", "OTEL_RESOURCE_ATTRIBUTES": "service.name=b"}, "a"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "x=1, service.name = b%20c ,y=2"}, "b c"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name="}, "shop"),
        ({"OTEL_SERVICE_NAME": "  "}, "shop"),
    ],
)
def test_the_service_name(environ: dict[str, str], name: str) -> None:
    """OTEL_SERVICE_NAME before OTEL_RESOURCE_ATTRIBUTES before what we found ourselves."""
    assert good(**environ).service_name == name


@pytest.mark.parametrize(("value", "disabled"), [("true", True), ("TRUE", True), ("false", False), ("", False)])
def test_disabled(value: str, disabled: bool) -> None:
    """Only "true", in any case."""
    assert good(OTEL_SDK_DISABLED=value).disabled is disabled


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "jaeger"),
        ("OTEL_TRACES_EXPORTER", "none,otlp"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://x"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x:99999"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_PROPAGATORS", "b4"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "soon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5000"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1.5"),
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1e300"),
        ("OTEL_BSP_SCHEDULE_DELAY", "999999999999999999999999"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1_000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "\u0663000"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "999999999999999999999999"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "-1"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "x"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "abc"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", ""),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "1.5"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "x"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "x"),
        ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "x"),
        ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "x"),
        ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "x"),
        ("OTEL_PYTHON_TRACER_PROVIDER", "foo"),
        ("OTEL_PYTHON_TRACER_PROVIDER", ""),
        ("OTEL_PYTHON_METER_PROVIDER", "foo"),
        ("OTEL_PYTHON_LOGGER_PROVIDER", "foo"),
        ("OTEL_PYTHON_CONTEXT", "foo"),
        ("OTEL_PYTHON_ID_GENERATOR", "foo"),
        ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "host,nonesuch"),
        ("OTEL_PYTHON_EXCLUDED_URLS", "(((("),
        ("OTEL_PYTHON_HTTPX_EXCLUDED_URLS", "livez,*"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,garbage"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name: str, value: str) -> None:
    """One problem, with name and value; the settings stay usable."""
    settings, problems = read(**{name: value})
    assert [(problem[0], problem[1]) for problem in problems] == [(name, value)]
    assert problems[0][2]
    assert settings.service_name == "shop"


@pytest.mark.parametrize("value", ["2", "-0.1", "nan", "half"])
def test_a_ratio_is_from_0_to_1(value: str) -> None:
    """OTEL_TRACES_SAMPLER_ARG counts for ratio samplers only."""
    problems = read(OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG=value)[1]
    assert problems == [("OTEL_TRACES_SAMPLER_ARG", value, "a number from 0 to 1")]
    assert not read(OTEL_TRACES_SAMPLER="always_on", OTEL_TRACES_SAMPLER_ARG=value)[1]


def test_all_problems_are_told_at_once() -> None:
    """A start fails once, not once per variable."""
    assert len(read(OTEL_TRACES_EXPORTER="x", OTEL_TRACES_SAMPLER="y", OTEL_SDK_DISABLED="z")[1]) == 3


@pytest.mark.parametrize("value", ["tracecontext", "tracecontext, baggage", "none", ""])
def test_known_propagators(value: str) -> None:
    """Those of the API, or whatever is installed as an entry point."""
    assert not read(OTEL_PROPAGATORS=value)[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "0"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", " Unset "),
        ("OTEL_PYTHON_TRACER_PROVIDER", "sdk_tracer_provider"),
        ("OTEL_PYTHON_CONTEXT", ""),
        ("OTEL_PYTHON_ID_GENERATOR", "random"),
        ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "*, process"),
        ("OTEL_PYTHON_HTTPX_EXCLUDED_URLS", "livez, ^https?://x/"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,, c = d=e,"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20eA==,"),
    ],
)
def test_what_opentelemetry_takes_is_taken(name: str, value: str) -> None:
    """A service that runs with OpenTelemetry alone starts with us too."""
    assert not read(**{name: value})[1]


@pytest.mark.parametrize("signal", ["", "TRACES_", "METRICS_"])
def test_headers_are_not_shown(signal: str) -> None:
    """What is refused among the headers of an exporter may be a token: the message names the variable alone."""
    name = f"OTEL_EXPORTER_OTLP_{signal}HEADERS"
    assert read(**{name: "a-secret"})[1] == [(name, "[hidden]", "a list of key=value, separated by commas")]
