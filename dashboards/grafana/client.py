"""Speaks with Grafana over grafana-client. Knows how to read and send each thing, not what it holds.

Every failure becomes an error of calmops: what failed, where, what Grafana answered, and what to do. Written for the
HTTP API of Grafana 12 and 13 as documented; their provisioning API takes rules, contact points and mute timings.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaException
from requests import exceptions

from calmops.foundation.errors import CalmopsError, ConfigError, UnavailableError
from dashboards.grafana.diff import Change
from dashboards.grafana.push import GrafanaState
from dashboards.ownership import FOLDER, TAG, Json

TIMEOUT_S = 10.0
OLDEST_VERSION = 12
MAX_SHOWN_CHARS = 300  # of an answer
ROLES = "Editor is enough for folders and dashboards, Admin for data sources and alerts"


class Grafana:
    """Speaks with one Grafana, with one token. Every method raises CalmopsError."""

    def __init__(self, url: str, token: str) -> None:
        """``url``: with the path under which Grafana is served, if any."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        prefix = parts.path.strip("/")
        self.url = url.rstrip("/")
        self._api = GrafanaApi(
            token,
            protocol=parts.scheme,
            host=f"[{host}]" if ":" in host else host,
            port=parts.port,
            url_path_prefix=f"{prefix}/" if prefix else "",
            timeout=TIMEOUT_S,
        )
        # A redirected POST becomes a GET, and would seem to have succeeded.
        self._api.client.s.max_redirects = 0
        self._check()

    def dashboards_state(self, uids: Iterable[str]) -> GrafanaState:
        """Read what a push of dashboards concerns."""
        read = self._api.dashboard.get_dashboard
        boards = {uid: self._read(f"read dashboard {uid}", partial(read, uid)) for uid in uids}
        existing = {uid: board for uid, board in boards.items() if board is not None}
        return GrafanaState(self._folder(), self._sources(), existing)

    def alerts_state(self, groups: Iterable[str]) -> GrafanaState:
        """Read what a push of alerts concerns."""
        rules = self._api.alertingprovisioning
        calls = {name: partial(rules.get_rule_group, FOLDER["uid"], quote(name, safe="")) for name in groups}
        answers = {name: self._read(f"read rule group {name}", call) for name, call in calls.items()}
        return GrafanaState(
            self._folder(),
            self._sources(),
            contact_points=self._call("read contact points", rules.get_contactpoints),
            mute_timings=self._call("read mute timings", rules.get_mute_timings),
            rules=self._call("read alert rules", rules.get_alertrules_all),
            intervals_s={name: int(group["interval"]) for name, group in answers.items() if group is not None},
        )

    def send(self, change: Change) -> None:
        """Send one change. Nothing is sent for a rule that goes with its group."""
        call = {
            "folder": self._send_folder,
            "data source": self._send_source,
            "dashboard": self._send_dashboard,
            "contact point": self._send_contact_point,
            "mute timing": self._send_mute_timing,
            "rule group": self._send_group,
            "alert rule": self._remove_rule,
        }[change.kind](change)
        if call is not None:
            self._call(f"{change.action} {change.kind} {change.name}", call)

    def mark(self, tag: str, text: str, begins_ms: int, ends_ms: int | None = None) -> None:
        """Write an annotation that our dashboards show: a moment, or a span of time. Unix time, ms."""
        write = partial(
            self._api.annotations.add_annotation, tags=[TAG, tag], text=text, time_from=begins_ms, time_to=ends_ms
        )  # fmt: skip
        self._call(f"mark a {tag}", write)

    def _folder(self) -> Json | None:
        return self._read(f"read folder {FOLDER['uid']}", lambda: self._api.folder.get_folder(FOLDER["uid"]))

    def _sources(self) -> list[Json]:
        sources: list[Json] = self._call("read data sources", self._api.datasource.list_datasources)
        return sources

    def _send_folder(self, change: Change) -> Callable[[], Any]:
        if change.current is None:
            return lambda: self._api.folder.create_folder(FOLDER["title"], FOLDER["uid"])
        version = change.current.get("version")
        return lambda: self._api.folder.update_folder(FOLDER["uid"], title=FOLDER["title"], version=version)

    def _send_source(self, change: Change) -> Callable[[], Any]:
        assert change.after is not None
        sources, wanted = self._api.datasource, change.after
        if change.current is None:
            return lambda: sources.create_datasource(wanted)
        # The list leaves out fields that would be lost if only what it holds were sent.
        return lambda: sources.update_datasource_by_uid(
            wanted["uid"], sources.get_datasource_by_uid(wanted["uid"]) | wanted
        )

    def _send_dashboard(self, change: Change) -> Callable[[], Any]:
        """Return a call that overwrites what has our uid, but nothing that appeared after the state was read."""
        assert change.after is not None
        message = {"message": "calmops dashboards push", "overwrite": change.current is not None}
        body = change.after | message | {"dashboard": {**change.after["dashboard"], "id": None}}
        return lambda: self._api.dashboard.update_dashboard(body)

    def _send_contact_point(self, change: Change) -> Callable[[], Any]:
        rules, body = self._api.alertingprovisioning, change.body
        assert body is not None
        uid = quote(body["uid"], safe="")
        if change.action == "remove":
            return lambda: rules.delete_contactpoint(uid)
        if change.action == "create":
            return lambda: rules.create_contactpoint(body)
        return lambda: rules.update_contactpoint(uid, body)

    def _send_mute_timing(self, change: Change) -> Callable[[], Any]:
        rules, name = self._api.alertingprovisioning, quote(change.name, safe="")
        if change.action == "remove":
            # grafana-client 3.11.2's delete_mute_timing sends a GET.
            return lambda: self._api.client.DELETE(f"/v1/provisioning/mute-timings/{name}")
        if change.action == "create":
            return lambda: rules.create_mute_timing(change.after)
        return lambda: rules.update_mute_timing(name, change.after)

    def _send_group(self, change: Change) -> Callable[[], Any]:
        name = quote(change.name, safe="")
        return lambda: self._api.alertingprovisioning.update_rule_group(FOLDER["uid"], name, change.body)

    def _remove_rule(self, change: Change) -> Callable[[], Any] | None:
        body = change.body
        if body is None:
            return None
        return lambda: self._api.alertingprovisioning.delete_alertrule(quote(body["uid"], safe=""))

    def _check(self) -> None:
        """Check that a Grafana answers and is new enough. This needs no permission."""
        answer = self._call("report its health", self._api.health.check, known=False)
        if not isinstance(answer, dict) or "database" not in answer:
            raise self._no_grafana("the answer isn't Grafana's")
        major = str(answer.get("version") or OLDEST_VERSION).split(".", maxsplit=1)[0]
        if major.isdigit() and int(major) < OLDEST_VERSION:
            raise ConfigError(
                f"Grafana at {self.url} is version {answer['version']}; "
                f"calmops pushes to {OLDEST_VERSION} or newer: update it"
            )

    def _read(self, purpose: str, call: Callable[[], Any]) -> Json | None:
        """Return the answer; None if there is no such thing."""
        try:
            answer: Json = self._call(purpose, call)
        except _NotFound:
            return None
        return answer

    def _call(self, purpose: str, call: Callable[[], Any], *, known: bool = True) -> Any:
        """Return the answer, or raise an error that names ``purpose``. ``known``: a Grafana has answered before."""
        try:
            answer = call()
        except GrafanaException as error:
            if not known and error.status_code < 500:
                raise self._no_grafana(f"status {error.status_code}") from error
            raise self._refused(purpose, error) from error
        except exceptions.TooManyRedirects as error:
            target = error.response.headers.get("location") if error.response is not None else None
            raise self._no_grafana(f"a redirect to {target or 'elsewhere'}") from error
        except exceptions.SSLError as error:
            remedy = "check http or https, and name your own authority's certificates in REQUESTS_CA_BUNDLE"
            raise ConfigError(f"Grafana at {self.url} can't be trusted ({_short(error)}); {remedy}") from error
        except exceptions.Timeout as error:
            raise UnavailableError(
                f"Grafana at {self.url} didn't answer within {TIMEOUT_S:g} s, asked to {purpose}; is it overloaded?"
            ) from error
        except exceptions.ConnectionError as error:
            raise UnavailableError(
                f"Grafana at {self.url} can't be reached ({_short(error)}); check --url, and that it runs"
            ) from error
        except (exceptions.RequestException, ValueError) as error:
            raise self._no_grafana(_short(error)) from error
        if answer is not None and not isinstance(answer, dict | list):
            raise self._no_grafana("a page instead of JSON")
        return answer

    def _refused(self, purpose: str, error: GrafanaException) -> CalmopsError:
        said = f"Grafana at {self.url}, asked to {purpose}, says: {_message(error.response)}"
        status = error.status_code
        if status == 401:
            remedy = (
                "give a service account's token (Administration, Users and access) with GRAFANA_TOKEN or --token-file"
            )
            return ConfigError(f"{said} ({status}); {remedy}")
        if status == 403:
            return ConfigError(
                f"{said} ({status}); give the token's service account that permission, or a role ({ROLES})"
            )
        if status == 404:
            return _NotFound(f"{said} ({status}); is it an older Grafana, or was it removed in between? Push again")
        if status in {409, 412}:
            remedy = "somebody changed or uses it: look at it in Grafana, or push again if it was changed just now"
            return CalmopsError(f"{said} ({status}); {remedy}")
        if status >= 500:
            return UnavailableError(f"{said} ({status}); its own log says why; push again once it is well")
        return CalmopsError(f"{said} ({status}); what is there already stays, and a push can be repeated")

    def _no_grafana(self, how: str) -> ConfigError:
        return ConfigError(
            f"{self.url} doesn't answer as Grafana does ({how}); "
            "give Grafana's own address, with the path that it is served under"
        )


class _NotFound(ConfigError):
    """Grafana has no such thing."""


def _message(response: Any) -> str:
    text = response.get("message") if isinstance(response, dict) else response
    return " ".join(str(text or "nothing").split())[:MAX_SHOWN_CHARS]


def _short(error: Exception) -> str:
    """Return an error's root cause, without the names of the client's own objects."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    text = str(reason or error)
    return (text.partition("): ")[2] or text)[:MAX_SHOWN_CHARS]
