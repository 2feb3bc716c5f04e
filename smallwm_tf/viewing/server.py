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
_COLAB_HOST = re.compile(
    r"([a-z0-9.-]*\.(googleusercontent\.com|colab\.dev)|colab\.research\.google\.com)(:\d+)?"
)
_COLAB_PAGES = (
    "https://*.googleusercontent.com https://*.colab.dev https://colab.research.google.com"
)


class RequestError(ValueError):
    """A request whose content cannot be used; the message is one line."""


def make_app(session: DreamSession) -> Any:
    """The Flask application around a dream that all tabs of the browser share, one at a time."""
    app = flask.Flask("smallwm_tf.viewing", static_folder=None, template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _MOST_BYTES
    page = resources.files("smallwm_tf.viewing").joinpath("page.html").read_text("utf-8")
    in_colab = bool(os.environ.get("COLAB_RELEASE_TAG"))
    lock = threading.Lock()
    headers = {
        "Content-Security-Policy": _content_security_policy(page, in_colab),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }

    def whole_number(count: int, or_null: bool = False) -> Callable[[str, Any], None]:
        def check(name: str, value: Any) -> None:
            is_number = type(value) is int and 0 <= value < count
            if not is_number and not (or_null and value is None):
                null = ", or null" if or_null else ""
                raise RequestError(f"{name}: must be a whole number from 0 to {count - 1}{null}")

        return check

    def mode_name(name: str, value: Any) -> None:
        if value not in MODES:
            raise RequestError(f"{name}: must be {' or '.join(MODES)}")

    def add_command(name: str, act: Callable[..., None], **checks: Callable) -> None:
        def command():
            values = _read_fields(checks)
            with lock:
                act(**values)
                return session.view()

        app.add_url_rule(f"/api/{name}", name, command, methods=["POST"])

    position, index = whole_number(GRID_SIZE), whole_number(session.num_embeddings)
    start = whole_number(session.num_starts, or_null=True)
    action = whole_number(len(session.action_meanings), or_null=True)
    add_command("reset", session.reset, start=start)
    add_command("step", session.step, action=action)
    add_command("overwrite", session.overwrite, row=position, column=position, index=index)
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
        return ({"error": problem}, 403) if problem else None

    @app.after_request
    def add_headers(response):
        response.headers.update(headers)
        return response

    @app.errorhandler(RequestError)
    def explain(error):
        return {"error": str(error)}, 400

    @app.errorhandler(HTTPException)
    def explain_status(error):
        return {"error": error.name}, error.code

    return app


def _read_fields(checks: dict[str, Callable[[str, Any], None]]) -> dict[str, Any]:
    """The fields of the present request's JSON object, all of them checked."""
    request = flask.request
    if request.mimetype != "application/json":
        raise RequestError("Content-Type: must be application/json")
    try:
        values = json.loads(request.get_data(cache=False).decode("utf-8"))
    except HTTPException as error:
        raise RequestError(f"body: must be at most {_MOST_BYTES} bytes") from error
    except (ValueError, RecursionError) as error:
        raise RequestError("body: is not JSON") from error
    if not isinstance(values, dict) or set(values) != set(checks):
        raise RequestError(f"body: must be an object with exactly {', '.join(checks)}")
    for name, check in checks.items():
        check(name, values[name])
    return values


def _foreign(request: Any, in_colab: bool) -> str | None:
    """Why the request is refused, or None."""

    def is_colab(host: str) -> bool:
        return in_colab and bool(_COLAB_HOST.fullmatch(host))

    port = request.environ["SERVER_PORT"]
    # As browsers write them:
    own = {f"{name}:{port}".removesuffix(":80") for name in ("127.0.0.1", "localhost")}
    host = request.headers.get("Host", "")
    if host not in own and not is_colab(host):
        return "this server answers requests for 127.0.0.1 only"
    own_origin = f"http://{host}"
    origin = request.headers.get("Origin", own_origin)
    if origin != own_origin and not is_colab(origin.removeprefix("https://")):
        return "requests from other pages are refused"
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    # Colab shows the page itself, and nothing else, in a frame of another site.
    is_framed_page = in_colab and request.path == "/"
    if site not in ("same-origin", "none") and not is_framed_page:
        return "requests from other pages are refused"
    return None


def _content_security_policy(page: str, in_colab: bool) -> str:
    """Allows the page's own script and style, requests to this server, and nothing else."""

    def hash_of(element: str) -> str:
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = hashlib.sha256(content.encode("utf-8")).digest()
        return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"

    rules = {
        "default-src": "'none'",
        "script-src": hash_of("script"),
        "style-src": hash_of("style"),
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": _COLAB_PAGES if in_colab else "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())
