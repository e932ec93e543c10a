"""One tree holds every error that calmops raises on purpose.

A message says what is wrong and where, the limit, the value and the remedy. In the drawing, a class that isn't defined
here is followed by its module in brackets. A class has the status and the exit code of its parent unless it states one.

CalmopsError                  an error that calmops raises on purpose        HTTP 500, exit code 1
├── InputError                the caller's request is wrong                  HTTP 400
│   ├── UnknownModel          no such model                                  HTTP 404
│   ├── UnknownRequest        no such live request                           HTTP 404
│   └── NotReplayable         the request can't be run again                 exit code 2  [calmops.cli.request_replay]
├── TokenizationError         a tokenizer failed on valid input
├── LoadError                 too much work is waiting                       HTTP 429
├── UnavailableError          no healthy replica                             HTTP 503, exit code 5
├── DeadlineError             the request's deadline passed                  HTTP 408
├── Forbidden                 the operator's token is missing or wrong       HTTP 401  [actors.gateway.operator_guard]
├── ConfigError               calmops.yaml or a setting is wrong             exit code 2
│   └── _NotFound             Grafana has no such object                     [dashboards.grafana.client]
├── SetupError                a part is missing on this machine              exit code 3
├── ReleaseError              files don't match their release.json            exit code 4
├── UnsupportedModel          a model family or shape that we don't run      exit code 4
├── GangError                 a rank died, stalled or fell out of step
│   └── OutOfStep             a delta leaves a gap or overlaps               [calmops.streams.journal]
├── RecordError               bytes are no telemetry record that we read     [calmops.telemetry.log.codec]
│   └── UnknownSchema         a record has another schema version            [calmops.telemetry.log.codec]
├── LogUnavailable            the telemetry log can't be reached             [calmops.telemetry.log.errors]
└── MeterEnded                the thread that folds the log has ended        [calmops.telemetry.metering.meter]
"""


class CalmopsError(Exception):
    """This is the root of every error that calmops raises on purpose."""

    status = 500
    exit_code = 1
    type = "server_error"
    code: str | None = None


class InputError(CalmopsError):
    """The caller's request is wrong. ``param`` is the JSON path of the wrong field, None if it is the whole body."""

    status = 400
    type = "invalid_request_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class UnknownModel(InputError):
    """The named model isn't served here."""

    status = 404


class UnknownRequest(InputError):
    """No live request has that id."""

    status = 404


class TokenizationError(CalmopsError):
    """A model's tokenizer failed on input that it should accept. ``stage`` is "encode" or "decode"."""

    code = "tokenization_failed"

    def __init__(self, message: str, *, model: str, stage: str) -> None:
        super().__init__(message)
        self.model = model
        self.stage = stage


class LoadError(CalmopsError):
    """Too much work is waiting, so the request is refused at once; try again after ``retry_after_s`` seconds."""

    status = 429
    type = "rate_limit_error"
    code = "too_many_waiting"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(CalmopsError):
    """No healthy replica can take the request; try again after ``retry_after_s`` seconds."""

    status = 503
    exit_code = 5
    type = "service_unavailable"
    code = "no_healthy_replica"

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineError(CalmopsError):
    """The request's deadline passed before it ended."""

    status = 408
    type = "timeout"
    code = "deadline_exceeded"


class ConfigError(CalmopsError):
    """A setting is wrong. The message names file, line and remedy."""

    exit_code = 2


class SetupError(CalmopsError):
    """A part that must be installed or built is missing. The message names the command that provides it."""

    exit_code = 3


class ReleaseError(CalmopsError):
    """A release's files don't match its release.json."""

    exit_code = 4


class UnsupportedModel(CalmopsError):
    """Calmops can't run a model family, shape or setting correctly. The message names it and the reason."""

    exit_code = 4


class GangError(CalmopsError):
    """A rank of the gang died, stalled or fell out of step; the whole gang must end."""
