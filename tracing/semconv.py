"""Every name that handrail writes into a trace, once.

Standard names follow the OpenTelemetry semantic conventions 1.44 (stable HTTP). There is no convention
for retries, breakers and deadlines yet; ours carry the prefix `handrail.` and use the words of
open-telemetry/semantic-conventions#2355 where it has some.
"""

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
SCOPE: Final = "handrail"

# Stable HTTP conventions (http-spans).
HTTP_METHOD: Final = "http.request.method"
HTTP_METHOD_ORIGINAL: Final = "http.request.method_original"
HTTP_RESEND_COUNT: Final = "http.request.resend_count"
HTTP_STATUS: Final = "http.response.status_code"
HTTP_ROUTE: Final = "http.route"
URL_PATH: Final = "url.path"
URL_QUERY: Final = "url.query"
URL_SCHEME: Final = "url.scheme"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
CLIENT_ADDRESS: Final = "client.address"
PEER_ADDRESS: Final = "network.peer.address"
PEER_PORT: Final = "network.peer.port"
PROTOCOL_NAME: Final = "network.protocol.name"
PROTOCOL_VERSION: Final = "network.protocol.version"
USER_AGENT: Final = "user_agent.original"
ERROR_TYPE: Final = "error.type"

KNOWN_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
)
WEBSOCKET: Final = "WS"
"""What the span of a websocket is named by, in place of a method."""

OTHER_METHOD: Final = "_OTHER"
"""What http.request.method says for a method outside KNOWN_METHODS; the span is then named HTTP."""

# Decisions, as events on the span that is current.
EVENT_RETRY_SCHEDULED: Final = "handrail.retry.scheduled"
EVENT_RETRY_REFUSED: Final = "handrail.retry.refused"
EVENT_RETRY_EXHAUSTED: Final = "handrail.retry.exhausted"
EVENT_CIRCUIT_BREAKER_CHANGED: Final = "handrail.circuit_breaker.changed"
EVENT_CALL_REJECTED: Final = "handrail.call.rejected"
EVENT_TIMEOUT: Final = "handrail.timeout"
EVENT_ATTEMPT_FAILED: Final = "handrail.attempt.failed"
EVENT_CALL_QUEUED: Final = "handrail.call.queued"
EVENT_HEDGE_SENT: Final = "handrail.hedge.sent"
EVENT_HEDGE_WON: Final = "handrail.hedge.won"
EVENT_FALLBACK: Final = "handrail.fallback.used"
EVENT_KEYS_HONOURED: Final = "handrail.idempotency.honoured"
EVENT_IDEMPOTENCY: Final = "handrail.idempotency.met"
EVENT_REQUEST_EXPIRED: Final = "handrail.request.expired"
EVENT_REQUEST_REFUSED: Final = "handrail.request.refused"
EVENT_REQUEST_SHARED: Final = "handrail.request.shared"
EVENT_LOAD_SHEDDING: Final = "handrail.load_shedding.changed"
EVENT_UNGUARDED: Final = "handrail.connection.unguarded"
EVENT_SECOND_RETRY: Final = "handrail.retry.second_layer"
EVENT_CHAOS: Final = "handrail.chaos.injected"
EVENT_CLIENT_LEFT: Final = "handrail.client.disconnected"
EVENT_LOOP_BLOCKED: Final = "handrail.event_loop.blocked"
EVENT_BACKGROUND_CUT: Final = "handrail.background.cancelled"
EVENT_WEBSOCKET_ACCEPTED: Final = "handrail.websocket.accepted"
EVENT_WEBSOCKET_REJECTED: Final = "handrail.websocket.rejected"
EVENT_WEBSOCKET_CLOSED: Final = "handrail.websocket.closed"

# A websocket's end, on its span and on its last event.
WEBSOCKET_SUBPROTOCOL: Final = "handrail.websocket.subprotocol"
WEBSOCKET_CLOSE_CODE: Final = "handrail.websocket.close_code"  # RFC 6455, 7.4; 1005 none was sent, 1006 cut off
WEBSOCKET_CLOSE_REASON: Final = "handrail.websocket.close_reason"
WEBSOCKET_CLOSED_BY: Final = "handrail.websocket.closed_by"  # server, client, or connection (lost without a close)
WEBSOCKET_RECEIVED: Final = "handrail.websocket.messages_received"
WEBSOCKET_SENT: Final = "handrail.websocket.messages_sent"

# Work after the response, and the link of a new trace to a caller who is not trusted.
SPAN_BACKGROUND: Final = "background"  # followed by what runs
CODE_FUNCTION: Final = "code.function.name"
CODE_FILE: Final = "code.file.path"
CODE_LINE: Final = "code.line.number"
CODE_STACKTRACE: Final = "code.stacktrace"
LINK_KIND: Final = "handrail.link"
LINK_CALLER: Final = "caller"

# Attributes of those events, and of the short INTERNAL span of a call that was never sent.
TARGET: Final = "handrail.target"  # origin, e.g. http://payment:8003
OPERATION: Final = "handrail.operation"  # e.g. POST
POLICY: Final = "handrail.policy"  # e.g. circuit_breaker
RETRY_ATTEMPT: Final = "handrail.retry.attempt"  # 1 is the first attempt
RETRY_DELAY: Final = "handrail.retry.delay"  # seconds
RETRY_CAUSE: Final = "handrail.retry.cause"  # what the failed attempt met
RETRY_AFTER_HONOURED: Final = "handrail.retry.after_honoured"  # the delay is the Retry-After of the answer
RETRY_REASON: Final = "handrail.retry.reason"  # why there was no further attempt
RETRY_AFTER: Final = "handrail.retry_after"  # seconds
CIRCUIT_BREAKER_FROM: Final = "handrail.circuit_breaker.from"
CIRCUIT_BREAKER_TO: Final = "handrail.circuit_breaker.to"
CIRCUIT_BREAKER_FAILURE_RATE: Final = "handrail.circuit_breaker.failure_rate"  # 0 to 1
CIRCUIT_BREAKER_CALLS: Final = "handrail.circuit_breaker.calls"
CIRCUIT_BREAKER_CAUSE: Final = "handrail.circuit_breaker.cause"  # failures, slow_calls, probe, manual, shared
CIRCUIT_BREAKER_OPEN_FOR: Final = "handrail.circuit_breaker.open_for"  # seconds
QUEUE_WAIT: Final = "handrail.bulkhead.wait"  # seconds
QUEUE_LIMIT: Final = "handrail.bulkhead.limit"  # calls at a time
HEDGE_DELAY: Final = "handrail.hedge.delay"  # seconds
FALLBACK_KIND: Final = "handrail.fallback.kind"  # fallback, stale
FALLBACK_AGE: Final = "handrail.fallback.age"  # seconds since the answer was new
IDEMPOTENCY_HONOURED: Final = "handrail.idempotency.honoured"
IDEMPOTENCY_KEY: Final = "handrail.idempotency.key"  # of the key's digest: what belongs together has the same
IDEMPOTENCY_OUTCOME: Final = "handrail.idempotency.outcome"  # replayed, in_flight, mismatch, ...
IDEMPOTENCY_FIRST_TRACE: Final = "handrail.idempotency.first_trace"  # the trace of the request that was carried out
REFUSED_REASON: Final = "handrail.request.refused.reason"  # limit, queue, delay, ...
SHARED_TRACE: Final = "handrail.request.shared.trace"  # the trace of the request whose answer it was
SHEDDING_BEGAN: Final = "handrail.load_shedding.began"  # whether, or it ended
SHEDDING_UNDER_WAY: Final = "handrail.load_shedding.under_way"  # requests
SHEDDING_LIMIT: Final = "handrail.load_shedding.limit"  # requests at a time
SHEDDING_REFUSED: Final = "handrail.load_shedding.refused"  # requests, in the time of SHEDDING_SECONDS
SHEDDING_SECONDS: Final = "handrail.load_shedding.seconds"
DEADLINE_LATE: Final = "handrail.deadline.late"  # seconds since the deadline
DEADLINE_MODE: Final = "handrail.deadline.mode"  # observe, propagate, enforce
UNGUARDED_REFUSED: Final = "handrail.connection.refused"
RETRY_LAYER: Final = "handrail.retry.layer"  # tenacity, stamina, backoff, ..., hand-written
PLACE: Final = "handrail.place"  # file:line of the service's code
CHAOS: Final = "handrail.chaos"  # true on every SERVER and CLIENT span of a process where faults may be injected
CHAOS_INJECTED: Final = "handrail.chaos.injected"  # the kind: latency, error, refuse, ...
CHAOS_DIRECTION: Final = "handrail.chaos.direction"  # in, out
CHAOS_RULE: Final = "handrail.chaos.rule"  # the fault as it was written
TIMEOUT_LIMIT: Final = "handrail.timeout.limit"  # seconds
TIMEOUT_ELAPSED: Final = "handrail.timeout.elapsed"  # seconds
BLOCKED_DURATION: Final = "handrail.event_loop.blocked.duration"  # seconds
BLOCKED_REQUESTS: Final = "handrail.event_loop.blocked.requests"  # open at that time, the culprit's included
BLOCKED_CULPRIT: Final = "handrail.event_loop.blocked.culprit"  # whether it was this request's code, where known

# Metrics: name, unit (UCUM), and the question that each answers. The http ones are the conventions' (http-metrics).
METRIC_SERVER_DURATION: Final = (
    "http.server.request.duration",
    "s",
    "Duration of HTTP server requests.",
)
METRIC_SERVER_ACTIVE: Final = (
    "http.server.active_requests",
    "{request}",
    "Number of active HTTP server requests.",
)
METRIC_CLIENT_DURATION: Final = (
    "http.client.request.duration",
    "s",
    "Duration of HTTP client requests, one per attempt, failures included.",
)
METRIC_LOOP_BLOCKED: Final = (
    "handrail.event_loop.blocked.duration",
    "s",
    "How often and how long did something hold the event loop?",
)
LOOP_BLOCKED_BOUNDARIES: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METRIC_RETRIES: Final = (
    "handrail.client.retries",
    "{retry}",
    "How much load do retries add, and what caused them? Attempts after the first.",
)
METRIC_RETRIES_REFUSED: Final = (
    "handrail.client.retries.refused",
    "{call}",
    "Why was a failed call not tried again? Calls whose failure was final although it was transient.",
)
METRIC_RETRIES_EXHAUSTED: Final = (
    "handrail.client.retries.exhausted",
    "{call}",
    "Which calls failed in spite of all retries?",
)
METRIC_CALLS_REJECTED: Final = (
    "handrail.client.calls.rejected",
    "{call}",
    "Which calls were refused without being sent, and by which policy?",
)
METRIC_CALLS_QUEUED: Final = (
    "handrail.client.calls.queued",
    "{call}",
    "Which target has more calls than may be under way at a time?",
)
METRIC_CALLS_ACTIVE: Final = (
    "handrail.client.calls.active",
    "{call}",
    "How many calls to a target are under way now?",
)
METRIC_CALLS_WAITING: Final = (
    "handrail.client.calls.waiting",
    "{call}",
    "How many calls wait now for others to the same target to end?",
)
METRIC_CALLS_LIMIT: Final = (
    "handrail.client.calls.limit",
    "{call}",
    "How many calls at a time does a target take now, by the adaptive limit?",
)
METRIC_HEDGES: Final = (
    "handrail.client.hedges",
    "{hedge}",
    "How much load do second requests add?",
)
METRIC_HEDGES_WON: Final = (
    "handrail.client.hedges.won",
    "{hedge}",
    "How often did the second request answer first?",
)
METRIC_FALLBACKS: Final = (
    "handrail.client.fallbacks",
    "{call}",
    "How often do callers get something else than the answer of the target?",
)
METRIC_EXPIRED: Final = (
    "handrail.server.requests.expired",
    "{request}",
    "How many requests come when nobody waits for them any more?",
)
METRIC_REQUESTS_UNDER_WAY: Final = (
    "handrail.server.requests.under_way",
    "{request}",
    "Requests that count against the limit of load shedding",
)
METRIC_REQUESTS_WAITING: Final = (
    "handrail.server.requests.waiting",
    "{request}",
    "Requests that wait for a place among them",
)
METRIC_REQUESTS_LIMIT: Final = (
    "handrail.server.requests.limit",
    "{request}",
    "Requests that may be under way at a time, as load shedding found it",
)
METRIC_STREAMS_OPEN: Final = (
    "handrail.server.streams.open",
    "{stream}",
    "Websockets and event streams that are open",
)
METRIC_SHEDDING_CHANGED: Final = (
    "handrail.server.load_shedding.changes",
    "{change}",
    "Times that load shedding began or ended",
)
METRIC_REQUESTS_REFUSED: Final = (
    "handrail.server.requests.refused",
    "{request}",
    "Which requests were answered in place of the application, and by which policy?",
)
METRIC_REQUESTS_SHARED: Final = (
    "handrail.server.requests.shared",
    "{request}",
    "How many requests got the answer to one like them that was under way?",
)
METRIC_IDEMPOTENCY: Final = (
    "handrail.server.requests.repeated",
    "{request}",
    "Which requests with an idempotency key were not simply carried out, and why?",
)
METRIC_UNGUARDED: Final = (
    "handrail.connections.unguarded",
    "{connection}",
    "Which destinations are reached without any policy?",
)
METRIC_SECOND_RETRIES: Final = (
    "handrail.client.retries.second_layer",
    "{call}",
    "Which calls are retried by the service over our retries?",
)
METRIC_CHAOS: Final = (
    "handrail.chaos.faults",
    "{fault}",
    "Which failures did we make ourselves? Faults that were injected on purpose.",
)
METRIC_TIMEOUTS: Final = (
    "handrail.client.timeouts",
    "{timeout}",
    "Which limit of ours ended an attempt?",
)
METRIC_BODY_FAILURES: Final = (
    "handrail.client.bodies.failed",
    "{attempt}",
    "Which attempts broke off after their headers had come?",
)
METRIC_BREAKER_STATE: Final = (
    "handrail.circuit_breaker.state",
    "{state}",
    "Which target is cut off now? 0 closed, 1 half open or due for a probe, 2 open.",
)
METRIC_BREAKER_TRANSITIONS: Final = (
    "handrail.circuit_breaker.transitions",
    "{transition}",
    "How often does the breaker of a target change, and to what?",
)
CIRCUIT_BREAKER_STATES: Final = ("closed", "half_open", "open")
"""By the number that METRIC_BREAKER_STATE has for it."""
