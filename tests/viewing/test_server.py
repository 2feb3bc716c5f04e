"""The web server: who may ask, and for what."""

import json

import pytest

pytest.importorskip("flask", reason="the extra [play] is not installed")

from smallwm_tf.viewing.server import make_app  # noqa: E402

OWN = "http://127.0.0.1:8600"


class NotingSession:
    """Notes what it is asked to do."""

    num_starts, num_embeddings, action_meanings = 4, 10, ("STAY", "LEFT", "RIGHT")

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda **values: self.calls.append((name, values))

    def view(self):
        return {"step": len(self.calls)}


@pytest.fixture
def session():
    return NotingSession()


@pytest.fixture
def client(session, monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    return make_app(session).test_client()


@pytest.fixture
def colab_client(session, monkeypatch):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-1")
    return make_app(session).test_client()


def post(client, command, fields, **headers):
    return client.post(f"/api/{command}", json=fields, base_url=OWN, headers=headers)


GOOD = {
    "reset": [{"start": None}, {"start": 0}, {"start": 3}],
    "step": [{"action": None}, {"action": 0}, {"action": 2}],
    "overwrite": [{"row": 0, "column": 5, "index": 9}],
    "mode": [{"mode": "beside"}, {"mode": "dream"}],
}


@pytest.mark.parametrize("command", GOOD)
def test_good_requests_reach_the_dream_and_return_the_view(client, session, command):
    for fields in GOOD[command]:
        response = post(client, command, fields)
        assert response.status_code == 200
        name = "set_mode" if command == "mode" else command
        assert session.calls[-1] == (name, fields)
        assert response.json == {"step": len(session.calls)}
    assert client.get("/api/view", base_url=OWN).json == {"step": len(GOOD[command])}


BAD_FIELDS = [
    *(("reset", {"start": value}) for value in (-1, 4, 1.0, True, "0", [], {})),
    *(("step", {"action": value}) for value in (-1, 3, 0.0, False, "LEFT", [0])),
    ("overwrite", {"row": 6, "column": 0, "index": 0}),
    ("overwrite", {"row": 0, "column": -1, "index": 0}),
    ("overwrite", {"row": 0, "column": 0, "index": 10}),
    ("overwrite", {"row": None, "column": 0, "index": 0}),
    ("overwrite", {"row": 0, "column": 0}),
    ("overwrite", {"row": 0, "column": 0, "index": 0, "path": "/etc/passwd"}),
    *(("mode", {"mode": value}) for value in ("awake", "", None, 0, ["dream"])),
    ("mode", {}),
    ("step", []),
    ("step", None),
    ("step", "action"),
]


@pytest.mark.parametrize(("command", "fields"), BAD_FIELDS)
def test_bad_fields_are_refused_with_one_line(client, session, command, fields):
    response = post(client, command, fields)
    assert response.status_code == 400
    assert list(response.json) == ["error"] and "\n" not in response.json["error"]
    assert session.calls == []


BAD_BODIES = [
    (b"", "application/json"),
    (b"{", "application/json"),
    (b'{"action": NaN}', "application/json"),
    (b'{"action": \xff}', "application/json"),
    (b"[" * 4000, "application/json"),
    (b'{"action": 0}' + b" " * 4096, "application/json"),
    (b'{"action": 0}', "text/plain"),
    (b"action=0", "application/x-www-form-urlencoded"),
]


@pytest.mark.parametrize(("body", "content_type"), BAD_BODIES)
def test_bad_bodies_are_refused(client, session, body, content_type):
    response = client.post("/api/step", data=body, content_type=content_type, base_url=OWN)
    assert response.status_code == 400 and response.json["error"]
    assert session.calls == []


FOREIGN = [
    {"Host": "evil.example"},
    {"Host": "evil.example:8600"},
    {"Host": "127.0.0.1:1"},
    {"Host": "127.0.0.1"},
    {"Host": "127.0.0.1.evil.example:8600"},
    {"Host": ""},
    {"Host": "x.googleusercontent.com"},
    {"Origin": "http://evil.example"},
    {"Origin": "https://127.0.0.1:8600"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost:8600"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "https://x.googleusercontent.com"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": ""},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_requests_from_elsewhere_are_refused(client, session, headers):
    answers = [post(client, "step", {"action": 0}, **headers)]
    answers += [
        client.get(path, base_url=OWN, headers=headers) for path in ("/", "/api/view", "/x")
    ]
    for response in answers:
        assert response.status_code == 403 and list(response.json) == ["error"]
    assert session.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": OWN, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Host": "localhost:8600", "Origin": "http://localhost:8600"},
    ],
)
def test_requests_of_this_machine_are_answered(client, headers):
    assert post(client, "step", {"action": 0}, **headers).status_code == 200


@pytest.mark.parametrize("host", ["a-8600.googleusercontent.com", "b.colab.dev", "localhost:8600"])
def test_colabs_proxy_is_answered_in_colab(colab_client, host):
    origin = "https://a-8600-colab.googleusercontent.com"
    headers = {"Host": host, "Origin": origin, "Sec-Fetch-Site": "same-origin"}
    assert post(colab_client, "step", {"action": 0}, **headers).status_code == 200
    framed = {"Host": host, "Sec-Fetch-Site": "cross-site"}
    assert colab_client.get("/", base_url=OWN, headers=framed).status_code == 200
    assert colab_client.get("/api/view", base_url=OWN, headers=framed).status_code == 403


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://evilcolab.dev",
        "https://colab.dev.evil.example",
        "https://evil.example/.colab.dev",
        "https://x.colab.research.google.com",
        "http://x.colab.dev",
    ],
)
def test_others_are_refused_in_colab_too(colab_client, origin):
    assert post(colab_client, "step", {"action": 0}, Origin=origin).status_code == 403
    host = origin.partition("//")[2]
    if not origin.startswith("http:"):
        assert post(colab_client, "step", {"action": 0}, Host=host).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/page.html",
        "/../setup.py",
        "/..%2f..%2fsetup.py",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/static/page.html",
        "/api/",
        "/api/../page.html",
        "/api/close",
        "/api/step/",
    ],
)
def test_no_path_leads_to_a_file(client, path):
    response = client.get(path, base_url=OWN)
    assert response.status_code == 404 and response.json == {"error": "Not Found"}


def test_commands_are_posted(client, session):
    assert client.get("/api/step", base_url=OWN).status_code == 405
    assert client.post("/", base_url=OWN).status_code == 405
    assert session.calls == []


def test_a_failure_is_json_without_its_reason(client, session):
    session.view = lambda: 1 / 0
    response = client.get("/api/view", base_url=OWN)
    assert response.status_code == 500
    assert json.loads(response.data) == {"error": "Internal Server Error"}


def test_the_page_may_run_its_own_script_only(client):
    response = client.get("/", base_url=OWN)
    assert response.mimetype == "text/html" and "<script>" in response.text
    rules = dict(
        rule.strip().split(" ", 1)
        for rule in response.headers["Content-Security-Policy"].split(";")
    )
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    assert rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    for kind in ("script-src", "style-src"):
        assert rules[kind].startswith("'sha256-") and " " not in rules[kind]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    for attribute in ('src="', "url(", "http://", "https://", 'style="', 'onclick="'):
        assert attribute not in response.text.replace("http://www.w3.org/2000/svg", "")
