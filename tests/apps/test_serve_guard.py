"""Who is let in by `visionkit serve`, and what other requests get (torture H03-H05, H10-H12, H14)."""

import json
from urllib.parse import quote

import pytest

from tests.apps.serving import TOKEN, Serving, head, opened, png


@pytest.fixture(scope="module")
def served(weights):
    with Serving({"boxes": opened(weights)}) as serving:
        yield serving


FOREIGN = [
    "evil.com",
    "127.0.0.1",
    "127.0.0.1:1",
    "localhost",
    "127.0.0.1.evil.com:{port}",
    "0.0.0.0:{port}",
    "[::1]:{port}",
    "evil.com:{port}",
    "127.0.0.1:{port}@evil.com",
    "user@127.0.0.1:{port}",
]


@pytest.mark.parametrize("host", FOREIGN)
def test_foreign_host(served, host):
    """H10: a name that its owner lets point at 127.0.0.1 (DNS rebinding)."""
    reply = served.ask("GET", "/", headers={"Host": host.format(port=served.port)})
    assert reply.status == 403
    assert "127.0.0.1" in reply.error


def test_both_names_of_this_machine(served):
    for host in (served.host, f"localhost:{served.port}", f"LOCALHOST:{served.port}"):
        assert served.ask("GET", "/", headers={"Host": host}).status == 200


def test_no_host_or_two(served):
    assert served.raw(f"GET /{TOKEN}/ HTTP/1.0\r\n\r\n".encode()).startswith(b"HTTP/1.1 403")
    two = head("GET", f"/{TOKEN}/", served.host, "Host: evil.com")
    assert served.raw(two).startswith(b"HTTP/1.1 400")
    foreign = head("GET", f"http://evil.com/{TOKEN}/", served.host)
    assert served.raw(foreign).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.com",
        "null",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://127.0.0.1:{port}.evil.com",
        "",
        "file://",
    ],
)
def test_foreign_origin(served, origin):
    """H10: pages of other sites, whatever they send."""
    origin = origin.format(port=served.port)
    for kind in ("image/png", "text/plain"):
        reply = served.find(png(), Origin=origin, **{"Content-Type": kind})
        assert reply.status == 403
        assert "own" in reply.error
    assert served.ask("GET", "/models", headers={"Origin": origin}).status == 403


def test_own_origin_or_none(served):
    """The page, and programs, which have none."""
    assert served.find(png(), Origin=served.origin).status == 200
    assert served.find(png(), Origin=f"http://localhost:{served.port}").status == 200
    assert served.find(png()).status == 200


@pytest.mark.parametrize(
    "token",
    [
        "",
        "/",
        "/wrong",
        f"/{TOKEN}x",
        f"/{TOKEN[:-1]}",
        f"/{TOKEN.upper()}",
        f"//{TOKEN}",
        f"/x/../{TOKEN}",
        f"/%00{TOKEN}",
        "/%ff",
        "/é".encode().decode("latin-1"),
    ],
)
def test_without_the_token_there_is_nothing(served, token):
    for path in ("", "/", "/models", "/app.js"):
        text = served.raw(head("GET", token + path or "/", served.host, "Connection: close"))
        assert text.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400")), text


def test_the_token_without_a_slash_leads_to_the_page(served):
    reply = served.ask("GET", "")
    assert reply.status == 307
    assert reply.headers["location"] == f"{served.origin}/{TOKEN}/"


def test_every_answer_carries_the_policy(served):
    """H12, errors included."""
    replies = [
        served.ask("GET", "/"),
        served.ask("GET", "/models"),
        served.find(png()),
        served.find(b"no"),
        served.ask("GET", "/nothing"),
        served.ask("DELETE", "/find"),
        served.ask("GET", "/", root="/x"),
    ]
    assert [reply.status for reply in replies] == [200, 200, 200, 422, 404, 405, 403]
    for reply in replies:
        assert reply.headers["content-security-policy"].startswith("default-src 'self';")
        assert "unsafe" not in reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in reply.headers
        assert "server" not in reply.headers


def test_markup_in_an_error_stays_json(served):
    """H12: reasons quote what was sent, but no browser takes them for a page."""
    reply = served.find(b"<script>alert(1)</script>")
    assert reply.headers["content-type"] == "application/json"
    assert served.find(png(), "?model=" + quote("<script>")).status == 400


@pytest.mark.parametrize(
    "path",
    [
        "/results/../../etc/passwd",
        "/../../etc/passwd",
        "/%2e%2e%2f%2e%2e%2fetc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/%252e%252e%252fetc",
        "/....//etc/passwd",
        "/..\\..\\etc",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/app.js/",
        "/app.js%00.png",
        "/page/app.js",
        "/.",
        "/..",
        "/app.py",
        "/APP.JS",
        "/" + "a" * 4000,
        "/\\\\host\\share",
    ],
)
def test_nothing_is_served_by_path(served, path):
    """H05: a few files held in memory have names; nothing else does."""
    text = served.raw(head("GET", f"/{TOKEN}{path}", served.host, "Connection: close"))
    assert text.startswith((b"HTTP/1.1 404", b"HTTP/1.1 307", b"HTTP/1.1 403")), text[:200]
    assert b"root:" not in text


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "x\0y", "%2e%2e%2fx", "%252e%252e%252fx", "\\\\host\\share", "", "a" * 4096]
)
def test_names_of_files_are_not_taken(served, name, tmp_path, monkeypatch):
    """H04: there is no place to give one, and nothing is written wherever it may stand."""
    monkeypatch.chdir(tmp_path)
    assert served.find(png(), f"?name={quote(name)}").status == 400
    quoted = quote(name, safe="")
    reply = served.find(
        png(), **{"Content-Disposition": f'attachment; filename="{quoted}"', "X-File": quoted}
    )
    assert reply.status == 200
    assert reply.json["file"] == "picture"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "parts",
    [
        b"".join(b'--b\r\nContent-Disposition: form-data; name="%d"\r\n\r\nx\r\n' % k for k in range(10_000))
        + b"--b--",
        b"no boundary at all",
        b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n" * 100,
        b"--b",
    ],
)
@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=b", "multipart/mixed"]
)
def test_multipart_is_refused_unread(served, parts, kind):
    """H03."""
    reply = served.raw(
        head("POST", f"/{TOKEN}/find", served.host, f"Content-Type: {kind}", f"Content-Length: {len(parts)}")
        + parts
    )
    assert reply.startswith(b"HTTP/1.1 400" if "form" in kind else b"HTTP/1.1 415")


def test_forms_of_other_sites(served):
    """H10: what a form can send without being asked is not taken, from nowhere either."""
    for kind in ("text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded"):
        assert served.find(png(), **{"Content-Type": kind}).status == 403


@pytest.mark.parametrize(
    "source", ["http://169.254.169.254/", "file:///etc/passwd", "rtsp://evil.com/x", "0"]
)
def test_no_source_is_opened_for_a_visitor(served, source):
    """H11: no route and no parameter takes an address."""
    for key in ("source", "url", "file", "path"):
        assert served.find(png(), f"?{key}={quote(source, safe='')}").status == 400
    assert served.find(source.encode()).status == 422
    assert (
        served.find(json.dumps({"url": source}).encode(), **{"Content-Type": "application/json"}).status
        == 415
    )


@pytest.mark.parametrize(
    "query",
    [
        "?confidence=nan",
        "?confidence=inf",
        "?confidence=-1",
        "?confidence=1.5",
        "?confidence=",
        "?confidence=x",
        "?confidence=1e999",
        "?confidence=" + "9" * 5000,
        "?confidence=0.5&confidence=0.6",
        "?model=",
        "?model=none",
        "?model=../boxes",
        "?model=boxes&model=boxes",
        "?Model=boxes",
        "?model=boxes;confidence=0.5",
        "?x",
        "?" + "&".join(f"k{n}=1" for n in range(1000)),
    ],
)
def test_bad_parameters(served, query):
    """H14."""
    reply = served.find(png(), query)
    assert reply.status == 400
    assert len(reply.error) < 200


@pytest.mark.parametrize(
    "text",
    [
        b"NaN",
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b"9" * 5000,
        b'{"a":1,"a":2}',
        b"{",
        b"null",
        b"\xff\xfe",
    ],
)
def test_json_is_not_taken(served, text):
    """H14: nothing on the server parses any."""
    assert served.find(text, **{"Content-Type": "application/json"}).status == 415
    assert served.find(text).status == 422


def test_wrong_methods(served):
    """H14."""
    for method, path in [
        ("GET", "/find"),
        ("PUT", "/find"),
        ("DELETE", "/find"),
        ("POST", "/models"),
        ("POST", "/"),
        ("TRACE", "/"),
        ("OPTIONS", "/find"),
        ("PATCH", "/app.js"),
        ("NONSENSE", "/find"),
    ]:
        reply = served.ask(method, path)
        assert reply.status == 405
        assert reply.error
    assert served.ask("GET", "/live").status == 404  # a WebSocket only
    assert served.ask("HEAD", "/").body == b""


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01" + b"\0" * 50,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n bad: folded\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 200_000,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_not_http(served, data):
    """A 4xx, or nothing but the end; never a traceback."""
    text = served.raw(data)
    assert not text or text.startswith(b"HTTP/1.1 4")
    assert b"Traceback" not in text
    assert served.find(png()).status == 200
