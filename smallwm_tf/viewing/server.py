"""The web server of `smallwm_tf.play`: one page, one dream, this machine only.

    GET  /                the page, read once when the application is made
    GET  api/view         what there is to see: ``DreamSession.view``
    POST api/reset        {"start": 0 … S−1 or null}            → view
    POST api/step         {"action": 0 … M−1 or null (agent)}   → view
    POST api/overwrite    {"row": …, "column": …, "index": …}   → view
    POST api/mode         {"mode": "dream" or "beside"}         → view

Other web pages must not reach it: ``Host`` has to be this machine's (which also stops DNS
rebinding), ``Origin`` this page's. Nothing from a request is ever used as a path.
"""

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable
from importlib import resources
from typing import Any

import flask
from werkzeug.exceptions import HTTPException

from smallwm_tf.models.grid_convolution import GRID_SIZE
from smallwm_tf.viewing.dream_session import MODES, DreamSession

_MOST_BYTES = 4096
_COLAB_HOSTS = (".googleusercontent.com", ".colab.dev", "colab.research.google.com")


class RequestError(ValueError):
    """A request whose content cannot be used; the message is one line."""


def make_app(session: DreamSession) -> Any:
    """The Flask application around one dream.

    Args:
      session: what all tabs of the browser share; a lock keeps their requests apart.
    """
    app = flask.Flask("smallwm_tf.viewing", static_folder=None, template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _MOST_BYTES
    page = resources.files("smallwm_tf.viewing").joinpath("page.html").read_text("utf-8")
    in_colab = bool(os.environ.get("COLAB_RELEASE_TAG"))
    policy = _content_security_policy(page, in_colab)
    lock = threading.Lock()

    def whole_number(count: int, or_null: bool = False) -> Callable[[str, Any], None]:
        def check(name: str, value: Any) -> None:
            is_number = isinstance(value, int) and not isinstance(value, bool)
            if not (is_number and 0 <= value < count) and not (or_null and value is None):
                null = ", or null" if or_null else ""
                raise RequestError(f"{name}: must be a whole number from 0 to {count - 1}{null}")

        return check

    def mode_name(name: str, value: Any) -> None:
        if not isinstance(value, str) or value not in MODES:
            raise RequestError(f"{name}: must be {' or '.join(MODES)}")

    def add_command(name: str, act: Callable[..., None], **checks: Callable) -> None:
        def command():
            values = _read_fields(checks)
            with lock:
                act(**values)
                return session.view()

        app.add_url_rule(f"/api/{name}", name, command, methods=["POST"])

    add_command("reset", session.reset, start=whole_number(session.num_starts, or_null=True))
    num_actions = len(session.action_meanings)
    add_command("step", session.step, action=whole_number(num_actions, or_null=True))
    add_command(
        "overwrite",
        session.overwrite,
        row=whole_number(GRID_SIZE),
        column=whole_number(GRID_SIZE),
        index=whole_number(session.num_embeddings),
    )
    add_command("mode", session.set_mode, mode=mode_name)

    @app.get("/")
    def show_page():
        return flask.Response(page, mimetype="text/html")

    @app.get("/api/view")
    def view():
        with lock:
            return session.view()

    @app.before_request
    def refuse_foreign_requests():
        problem = _foreign(flask.request, in_colab)
        if problem:
            return {"error": problem}, 403
        return None

    @app.after_request
    def add_headers(response):
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.errorhandler(RequestError)
    def explain(error):
        return {"error": str(error)}, 400

    @app.errorhandler(HTTPException)
    def explain_status(error):
        return {"error": error.name}, error.code

    return app


def _read_fields(checks: dict[str, Callable[[str, Any], None]]) -> dict[str, Any]:
    """The fields of the present request's JSON object, all of them checked.

    Raises:
      RequestError: they are not what ``checks`` ask for.
    """
    request = flask.request
    if request.mimetype != "application/json":
        raise RequestError("Content-Type: must be application/json")
    try:
        body = request.get_data(cache=False)
    except HTTPException as error:
        raise RequestError(f"body: must be at most {_MOST_BYTES} bytes") from error
    try:
        values = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RequestError("body: is not JSON") from error
    if not isinstance(values, dict) or set(values) != set(checks):
        raise RequestError(f"body: must be an object with exactly {', '.join(checks)}")
    for name, check in checks.items():
        check(name, values[name])
    return values


def _foreign(request: Any, in_colab: bool) -> str | None:
    """Why the request is refused, or None."""
    port = request.environ["SERVER_PORT"]
    names = ("127.0.0.1", "localhost")
    own = {name if port == "80" else f"{name}:{port}" for name in names}  # as browsers write it
    host = request.headers.get("Host", "")
    if host not in own and not (in_colab and _is_colab(host)):
        return "this server answers requests for 127.0.0.1 only"
    origin = request.headers.get("Origin")
    if origin is not None:
        is_own = origin == f"http://{host}"
        if not is_own and not (in_colab and _is_colab(origin.removeprefix("https://"))):
            return "requests from other pages are refused"
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    # Colab shows the page itself, and nothing else, in a frame of another site.
    is_framed_page = in_colab and request.path == "/"
    if site not in ("same-origin", "none") and not is_framed_page:
        return "requests from other pages are refused"
    return None


def _is_colab(host: str) -> bool:
    """Whether a host, with or without port, is one of Colab's."""
    name = re.sub(r":\d+$", "", host)
    if not re.fullmatch(r"[a-z0-9.-]+", name):
        return False
    return any(name.endswith(end) if end[0] == "." else name == end for end in _COLAB_HOSTS)


def _content_security_policy(page: str, in_colab: bool) -> str:
    """Allows the page's own script and style, requests to this server, and nothing else."""

    def hash_of(element: str) -> str:
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = hashlib.sha256(content.encode("utf-8")).digest()
        return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"

    ancestors = "'none'"
    if in_colab:
        hosts = [f"*{host}" if host[0] == "." else host for host in _COLAB_HOSTS]
        ancestors = " ".join(f"https://{host}" for host in hosts)
    rules = {
        "default-src": "'none'",
        "script-src": hash_of("script"),
        "style-src": hash_of("style"),
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": ancestors,
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())
