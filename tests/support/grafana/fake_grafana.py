"""Fakes Grafana's HTTP API as far as a push uses it: keeps what is sent, and adds and refuses as Grafana does.

It is written from the documentation of Grafana 12 and 13 (docs/sources/developers/http_api/: folder.md, dashboard.md,
data_source.md, other.md, alerting_provisioning.md with shared/alerts/alerting_provisioning.md; the last two moved to
developer-resources/api-reference/http-api/api-legacy/ in 13). Where that says nothing about a status or a conflict, it
does what Grafana's own handlers do (pkg/services/ngalert/api, provisioning). It evaluates no rule and shows no board.
"""

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.grafana.fake_alerting import FakeAlerting
from tests.support.grafana.fake_answers import Answer, Json, Refused, a_uid, an_object, needs, there

ADMIN, VIEWER, EDITOR = "glsa_admin", "glsa_viewer", "glsa_editor"
READS = {"folders:read", "dashboards:read", "datasources:read", "alert.provisioning:read"}
TOKENS: dict[str, set[str] | None] = {
    ADMIN: None,
    VIEWER: READS,
    EDITOR: READS | {"folders:create", "folders:write", "dashboards:write", "annotations:create"},
}


class FakeGrafana:
    """Keeps its state in plain dictionaries: a test changes it as a person would in Grafana."""

    def __init__(self) -> None:
        self.version = "13.0.1"
        self.broken: Answer | None = None  # the answer to every call instead
        self.meanwhile: Callable[[], object] | None = None  # runs just before the next write
        self.folders: dict[str, Json] = {}
        self.sources: dict[str, Json] = {}
        self.dashboards: dict[str, Json] = {}
        self.annotations: list[Json] = []
        self.calls: list[tuple[str, str]] = []
        self._ids = iter(range(1, 10_000))
        self.alerting = FakeAlerting(self.folders, self.sources, self._ids)
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, body = fake.answer(self.command, self.path, self.headers.get("Authorization", ""), sent)
                is_text = isinstance(body, str)
                raw = b"" if status == 204 else body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=UTF-8" if is_text else "application/json")
                if status in {301, 302}:
                    self.send_header("Location", body)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  http.server names them so

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] != "GET"]

    def answer(self, method: str, target: str, authorization: str, sent: bytes) -> Answer:
        path = urlsplit(target).path
        self.calls.append((method, path))
        if self.broken is not None:
            return self.broken
        if path == "/api/health":
            return Answer(200, {"commit": "0", "database": "ok", "version": self.version})
        if method != "GET" and self.meanwhile is not None:
            change, self.meanwhile = self.meanwhile, None
            change()
        try:
            return self._handle(method, path, authorization, sent)
        except Refused as refused:
            return Answer(refused.status, refused.body)

    def _handle(self, method: str, path: str, authorization: str, sent: bytes) -> Answer:
        token = authorization.removeprefix("Bearer ")
        if token not in TOKENS:
            raise Refused(401, "Invalid API key", messageId="api-key.invalid", statusCode=401, traceID="")
        for verb, pattern, permission, handler in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and verb == method:
                allowed = TOKENS[token]
                if allowed is not None and permission not in allowed:
                    message = "You'll need additional permissions to perform this action."
                    message = f"{message} Permissions needed: {permission}"
                    raise Refused(403, message, title="Access denied", accessErrorId="ACE0000000001")
                names = [unquote(one) for one in match.groups()]
                return handler(
                    self.alerting if path.startswith(ALERTING) else self,
                    *names,
                    *([an_object(sent)] if method in {"POST", "PUT"} else []),
                )
        raise Refused(404, "Not found")

    def get_folder(self, uid: str) -> Answer:
        return Answer(200, there(self.folders, uid, "folder not found"))

    def post_folder(self, body: Json) -> Answer:
        needs(body, "title")
        uid = a_uid(body.get("uid") or f"made-{next(self._ids)}")
        if uid in self.folders:
            raise Refused(409, "the folder has been created already")
        self.folders[uid] = {
            "id": next(self._ids),
            "uid": uid,
            "title": body["title"],
            "url": f"/dashboards/f/{uid}",
            "hasAcl": False,
            "version": 1,
        }
        return Answer(200, self.folders[uid])

    def put_folder(self, uid: str, body: Json) -> Answer:
        folder = there(self.folders, uid, "folder not found")
        if not body.get("overwrite") and body.get("version") != folder["version"]:
            raise Refused(412, "The folder has been changed by someone else", status="version-mismatch")
        folder |= {"title": body["title"], "version": folder["version"] + 1}
        return Answer(200, folder)

    def get_dashboard(self, uid: str) -> Answer:
        return Answer(200, there(self.dashboards, uid, "Dashboard not found"))

    def post_dashboard(self, body: Json) -> Answer:
        needs(body, "dashboard")
        board = body["dashboard"]
        needs(board, "title")
        folder = body.get("folderUid", "")
        if folder and folder not in self.folders:
            raise Refused(400, "folder not found")
        uid = a_uid(board.get("uid") or f"made-{next(self._ids)}")
        current = self.dashboards.get(uid)
        if current is not None and not body.get("overwrite"):
            same = board.get("version") == current["dashboard"]["version"]
            if board.get("id") is None:
                raise Refused(412, "A dashboard with the same uid already exists", status="name-exists")
            if not same:
                raise Refused(412, "The dashboard has been changed by someone else", status="version-mismatch")
        version = 1 if current is None else current["dashboard"]["version"] + 1
        number = next(self._ids) if current is None else current["dashboard"]["id"]
        kept = board | {"id": number, "uid": uid, "version": version}
        self.dashboards[uid] = {"dashboard": kept, "meta": {"folderUid": folder, "slug": "s", "version": version}}
        return Answer(
            200, {"id": number, "uid": uid, "url": f"/d/{uid}/s", "status": "success", "version": version, "slug": "s"}
        )

    def post_annotation(self, body: Json) -> Answer:
        if not body.get("text"):
            raise Refused(400, "Failed to save annotation")
        self.annotations.append({key: value for key, value in body.items() if value is not None})
        return Answer(200, {"message": "Annotation added", "id": len(self.annotations)})

    def list_sources(self) -> Answer:
        shown = "id orgId uid name type access url user database basicAuth isDefault jsonData readOnly".split()
        return Answer(200, [{key: one[key] for key in shown} for one in self.sources.values()])

    def get_source(self, uid: str) -> Answer:
        return Answer(200, there(self.sources, uid, "Data source not found"))

    def post_source(self, body: Json) -> Answer:
        needs(body, "name", "type", "access")
        uid = a_uid(body.get("uid") or f"made-{next(self._ids)}")
        if any(one["name"] == body["name"] or one["uid"] == uid for one in self.sources.values()):
            raise Refused(409, "data source with the same name already exists")
        empty = {
            "url": "",
            "user": "",
            "database": "",
            "basicAuth": False,
            "basicAuthUser": "",
            "isDefault": False,
            "jsonData": {},
            "readOnly": False,
        }
        self.sources[uid] = (
            empty | body | {"id": next(self._ids), "uid": uid, "orgId": 1, "version": 1, "secureJsonFields": {}}
        )
        return Answer(
            200,
            {
                "datasource": self.sources[uid],
                "id": self.sources[uid]["id"],
                "message": "Datasource added",
                "name": body["name"],
            },
        )

    def put_source(self, uid: str, body: Json) -> Answer:
        current = there(self.sources, uid, "Data source not found")
        needs(body, "name", "type", "access")
        # A data source is replaced: a field that isn't sent is emptied.
        emptied = {key: None if key == "jsonData" else "" for key in ("url", "basicAuthUser", "jsonData")}
        self.sources[uid] = current | emptied | body | {"version": current["version"] + 1}
        return Answer(
            200,
            {
                "datasource": self.sources[uid],
                "id": current["id"],
                "message": "Datasource updated",
                "name": body["name"],
            },
        )


Route = tuple[str, str, str, Callable[..., Answer]]
ALERTING = "/api/v1/provisioning"
ROUTES: tuple[Route, ...] = (
    ("GET", "/api/folders/([^/]+)", "folders:read", FakeGrafana.get_folder),
    ("POST", "/api/folders", "folders:create", FakeGrafana.post_folder),
    ("PUT", "/api/folders/([^/]+)", "folders:write", FakeGrafana.put_folder),
    ("GET", "/api/dashboards/uid/([^/]+)", "dashboards:read", FakeGrafana.get_dashboard),
    ("POST", "/api/dashboards/db", "dashboards:write", FakeGrafana.post_dashboard),
    ("POST", "/api/annotations", "annotations:create", FakeGrafana.post_annotation),
    ("GET", "/api/datasources", "datasources:read", FakeGrafana.list_sources),
    ("GET", "/api/datasources/uid/([^/]+)", "datasources:read", FakeGrafana.get_source),
    ("POST", "/api/datasources", "datasources:create", FakeGrafana.post_source),
    ("PUT", "/api/datasources/uid/([^/]+)", "datasources:write", FakeGrafana.put_source),
    ("GET", f"{ALERTING}/contact-points", "alert.provisioning:read", FakeAlerting.list_contact_points),
    ("POST", f"{ALERTING}/contact-points", "alert.provisioning:write", FakeAlerting.post_contact_point),
    ("PUT", f"{ALERTING}/contact-points/([^/]+)", "alert.provisioning:write", FakeAlerting.put_contact_point),
    ("DELETE", f"{ALERTING}/contact-points/([^/]+)", "alert.provisioning:write", FakeAlerting.delete_contact_point),
    ("GET", f"{ALERTING}/mute-timings", "alert.provisioning:read", FakeAlerting.list_mute_timings),
    ("POST", f"{ALERTING}/mute-timings", "alert.provisioning:write", FakeAlerting.post_mute_timing),
    ("PUT", f"{ALERTING}/mute-timings/([^/]+)", "alert.provisioning:write", FakeAlerting.put_mute_timing),
    ("DELETE", f"{ALERTING}/mute-timings/([^/]+)", "alert.provisioning:write", FakeAlerting.delete_mute_timing),
    ("GET", f"{ALERTING}/alert-rules", "alert.provisioning:read", FakeAlerting.list_rules),
    ("DELETE", f"{ALERTING}/alert-rules/([^/]+)", "alert.provisioning:write", FakeAlerting.delete_rule),
    ("GET", f"{ALERTING}/folder/([^/]+)/rule-groups/([^/]+)", "alert.provisioning:read", FakeAlerting.get_group),
    ("PUT", f"{ALERTING}/folder/([^/]+)/rule-groups/([^/]+)", "alert.provisioning:write", FakeAlerting.put_group),
)
