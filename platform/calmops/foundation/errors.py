"""The one error tree. A message says what, where, the limit, the value and what to do.

CalmopsError
├── InputError            the caller's request is wrong            HTTP 400
│   ├── UnknownModel      no such model                            HTTP 404
│   └── UnknownRequest    no such request                          HTTP 404
├── LoadError             too much work waiting                    HTTP 429
├── UnavailableError      no healthy replica                       HTTP 503
├── DeadlineError         the request's deadline passed            HTTP 408
├── ConfigError           calmops.yaml or a setting is wrong       exit code 2
├── SetupError            a part is missing on this machine        exit code 3
├── ReleaseError          weights and tokenizer don't match (F3)   refuses to start
├── UnsupportedModel      a family or shape we don't run           refuses to start
└── GangError             a rank died, stalled or fell out of step
"""


class CalmopsError(Exception):
    """Root of every error that calmops raises on purpose."""

    status = 500
    exit_code = 1
    type = "server_error"
    code: str | None = None


class InputError(CalmopsError):
    """Bad input. ``param`` is the JSON path of the offending field, None if it is the whole body."""

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
    """No live request bears that id."""

    status = 404


class TokenizationError(CalmopsError):
    """A model's tokenizer broke on what it should take. ``stage``: "encode" or "decode"."""

    code = "tokenization_failed"

    def __init__(self, message: str, *, model: str, stage: str) -> None:
        super().__init__(message)
        self.model = model
        self.stage = stage


class LoadError(CalmopsError):
    """Refused at once because too much is waiting; come back after ``retry_after_s`` seconds."""

    status = 429
    type = "rate_limit_error"
    code = "too_many_waiting"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(CalmopsError):
    """No healthy replica can take the request; come back after ``retry_after_s`` seconds."""

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
    """A part that must be installed or built is missing. The message names the command that brings it."""

    exit_code = 3


class ReleaseError(CalmopsError):
    """A release's files don't match its release.json (failure mode F3)."""

    exit_code = 4


class UnsupportedModel(CalmopsError):
    """A model family, shape or setting that calmops can't run rightly, named with the reason."""

    exit_code = 4


class GangError(CalmopsError):
    """A rank of the gang died, stalled or fell out of step; the whole gang must end."""
