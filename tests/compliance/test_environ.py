"""The WSGI environ, key by key."""

import pytest


@pytest.fixture(scope="module")
def server(shared):
    return shared.start("environ:app")


def environ(server, **request):
    return server.request(**request).json


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "X-OWN"])
def test_request_method(server, method):
    assert environ(server, method=method)["REQUEST_METHOD"] == method


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/a/b?c=d&e", "/a/b", "c=d&e"),
        ("/a?", "/a", ""),
        ("/a?b?c", "/a", "b?c"),
        ("/a%20b%2Fc?x%20y", "/a b/c", "x%20y"),
        ("/%E4%F6", "/\xe4\xf6", ""),
        ("/%c3%a4", "/\xc3\xa4", ""),
        ("/100%", "/100%", ""),
        ("/%zz%4", "/%zz%4", ""),
        ("/a+b", "/a+b", ""),
        ("/a;b=c", "/a;b=c", ""),
        ("//double//slash", "//double//slash", ""),
        ("/../up/./here", "/../up/./here", ""),
        ("/a#fragment", "/a", ""),
        ("/a?b#fragment", "/a", "b"),
        ("/%00", "/\0", ""),
        ("/%0a", "/\n", ""),
        ("http://other.example/abs?q", "/abs", "q"),
        ("http://other.example", "", ""),
        ("http://other.example:8080/", "/", ""),
    ],
)
def test_target(server, target, path, query):
    seen = environ(server, target=target)
    assert (seen["PATH_INFO"], seen["QUERY_STRING"], seen["RAW_URI"]) == (path, query, target)
    assert seen["SCRIPT_NAME"] == ""


def test_asterisk(server):
    assert environ(server, method="OPTIONS", target="*")["PATH_INFO"] == "*"


def test_server(server):
    """Its own address, whatever the Host says."""
    seen = environ(server, headers=[("Host", "other.example:81")])
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("127.0.0.1", str(server.address[1]))
    assert seen["HTTP_HOST"] == "other.example:81"


def test_client(server):
    with server.connect() as connection:
        host, port = connection.socket.getsockname()
        seen = connection.request().response().json
    assert (seen["REMOTE_ADDR"], seen["REMOTE_PORT"]) == (host, str(port))


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_protocol(server, version):
    assert environ(server, version=version)["SERVER_PROTOCOL"] == f"HTTP/{version}"


def test_software(server):
    software = environ(server)["SERVER_SOFTWARE"]
    assert software.startswith("gunicorn/27.0.1 (rgunicorn/") if server.ours else software == "gunicorn/27.0.1"


def test_wsgi_keys(server):
    seen = environ(server)
    assert seen["wsgi.version"] == [1, 0]
    assert seen["wsgi.url_scheme"] == "http"
    assert seen["wsgi.multithread"] is False
    assert seen["wsgi.multiprocess"] is False
    assert seen["wsgi.run_once"] is False
    assert seen["wsgi.input_terminated"] is True
    assert {"wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "wsgi.early_hints", "gunicorn.socket"} <= seen.keys()


def test_no_other_keys(server):
    """Nothing of the process's environment is in it, nor anything else that Gunicorn's has not."""
    known = {
        "REQUEST_METHOD", "QUERY_STRING", "RAW_URI", "SERVER_PROTOCOL", "SERVER_SOFTWARE", "SERVER_NAME", "SERVER_PORT",
        "REMOTE_ADDR", "REMOTE_PORT", "PATH_INFO", "SCRIPT_NAME", "HTTP_HOST", "HTTP_CONNECTION", "gunicorn.socket",
        "wsgi.version", "wsgi.url_scheme", "wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once", "wsgi.input_terminated",
        "wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "wsgi.early_hints",
    }  # fmt: skip
    assert set(environ(server)) == known


def test_fields(server):
    seen = environ(server, headers=[("Accept-Language", "de"), ("x-lower", "1"), ("X-Empty", ""), ("Cookie", "a=b")])
    assert seen["HTTP_ACCEPT_LANGUAGE"] == "de"
    assert seen["HTTP_X_LOWER"] == "1"
    assert seen["HTTP_X_EMPTY"] == ""
    assert seen["HTTP_COOKIE"] == "a=b"


def test_content_fields_have_no_prefix(server):
    seen = environ(server, method="POST", headers=[("Content-Type", "text/x")], body=b"abc")
    assert (seen["CONTENT_TYPE"], seen["CONTENT_LENGTH"]) == ("text/x", "3")
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & seen.keys()


def test_without_content_there_are_none(server):
    assert not {"CONTENT_TYPE", "CONTENT_LENGTH"} & environ(server).keys()


def test_repeated_fields_are_joined(server):
    seen = environ(server, headers=[("X-A", "1"), ("Cookie", "a=1"), ("x-a", "2"), ("X-B", "b"), ("X-A", "3"), ("Cookie", "b=2")])
    assert seen["HTTP_X_A"] == "1,2,3"
    assert seen["HTTP_COOKIE"] == "a=1,b=2"


def test_blanks_around_values_are_cut(server):
    with server.connect() as connection:
        connection.send("GET / HTTP/1.1\r\nHost: a\r\nX-A: \t two  words\t \r\nX-B:tight\r\nConnection: close\r\n\r\n")
        seen = connection.response().json
    assert (seen["HTTP_X_A"], seen["HTTP_X_B"]) == ("two  words", "tight")


def test_values_are_latin_1(server):
    assert environ(server, headers=[("X-A", "\xe4\xff")])["HTTP_X_A"] == "\xe4\xff"


def test_no_host_on_1_0(server):
    with server.connect() as connection:
        assert "HTTP_HOST" not in connection.send("GET / HTTP/1.0\r\n\r\n").response().json


def test_no_host_on_1_1(server):
    """Accepted, although RFC 9112 asks for one."""
    with server.connect() as connection:
        assert "HTTP_HOST" not in connection.send("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").response().json


def test_proxy_field_is_no_environment_variable(server):
    """It becomes HTTP_PROXY, as CGI says (and is never exported)."""
    seen = environ(server, headers=[("Proxy", "http://evil.example")])
    assert seen.get("HTTP_PROXY") in (None, "http://evil.example")


# -- other workers, other listeners ---------------------------------------------------------------------------------------


def test_multiprocess(start):
    assert start("--workers", "2", "environ:app").get().json["wsgi.multiprocess"] is True


def test_https_is_told_by_a_trusted_proxy_only(start):
    secure = [("X-Forwarded-Proto", "https")]
    assert start("environ:app").get(headers=secure).json["wsgi.url_scheme"] == "https"
    trusting = start("--forwarded-allow-ips", "*", "environ:app")
    assert trusting.get(headers=secure).json["wsgi.url_scheme"] == "https"
    wary = start("--forwarded-allow-ips", "192.0.2.1", "environ:app")
    assert wary.get(headers=secure).json["wsgi.url_scheme"] == "http"
    assert wary.get(headers=secure).json["HTTP_X_FORWARDED_PROTO"] == "https"


@pytest.mark.parametrize(
    ("fields", "scheme"),
    [
        ([("X-Forwarded-Proto", "https")], "https"),
        ([("X-Forwarded-Protocol", "ssl")], "https"),
        ([("X-Forwarded-Ssl", "on")], "https"),
        ([("X-Forwarded-Proto", "http")], "http"),
        ([("X-Forwarded-Proto", "HTTPS")], "http"),
        ([("X-Forwarded-Proto", "https"), ("X-Forwarded-Ssl", "on")], "https"),
        ([("X-Forwarded-Scheme", "https")], "http"),
    ],
)
def test_scheme_fields(server, fields, scheme):
    assert environ(server, headers=fields)["wsgi.url_scheme"] == scheme


def test_contradictory_scheme_fields(server):
    assert server.request(headers=[("X-Forwarded-Proto", "https"), ("X-Forwarded-Ssl", "off")]).status == 400


def test_own_scheme_fields(start):
    server = start("environ:app", conf="secure_scheme_headers = {'X-TLS': 'yes'}")
    assert server.get(headers=[("x-tls", "yes")]).json["wsgi.url_scheme"] == "https"
    assert server.get(headers=[("X-Forwarded-Proto", "https")]).json["wsgi.url_scheme"] == "http"


def test_own_scheme_fields_are_upper_case(start):
    """A name that is not is never matched."""
    server = start("environ:app", conf="secure_scheme_headers = {'X-Tls': 'yes'}")
    assert server.get(headers=[("X-Tls", "yes")]).json["wsgi.url_scheme"] == "http"


def test_networks_are_trusted(start):
    server = start("--forwarded-allow-ips", "10.0.0.0/8,127.0.0.0/8", "environ:app")
    assert server.get(headers=[("X-Forwarded-Proto", "https")]).json["wsgi.url_scheme"] == "https"


def test_trust_from_the_environment(start):
    server = start("environ:app", env={"FORWARDED_ALLOW_IPS": "192.0.2.1"})
    assert server.get(headers=[("X-Forwarded-Proto", "https")]).json["wsgi.url_scheme"] == "http"


def test_script_name_from_the_environment(start):
    server = start("environ:app", env={"SCRIPT_NAME": "/shop"})
    seen = server.get("/shop/cart").json
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/shop", "/cart")
    seen = server.get("/shop").json
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/shop", "")


def test_script_name_from_env_flag(start):
    seen = start("-e", "SCRIPT_NAME=/shop", "environ:app").get("/shop/a%20b").json
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"], seen["RAW_URI"]) == ("/shop", "/a b", "/shop/a%20b")


def test_script_name_that_does_not_fit(start):
    server = start("environ:app", env={"SCRIPT_NAME": "/shop"})
    assert server.get("/other").status == 500


def test_script_name_from_a_trusted_proxy(start):
    server = start("environ:app")
    seen = server.get("/shop/cart", [("Script_Name", "/shop")]).json
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/shop", "/cart")
    assert seen["HTTP_SCRIPT_NAME"] == "/shop"


def test_script_name_from_a_stranger(start):
    server = start("--forwarded-allow-ips", "192.0.2.1", "environ:app")
    seen = server.get("/shop/cart", [("Script_Name", "/shop")]).json
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("", "/shop/cart")
    assert "HTTP_SCRIPT_NAME" not in seen


def test_unix(start, launcher):
    server = start("--bind", "unix:app.sock", "environ:app", bind=False)
    server.listening()
    server.address = str(launcher.directory / "app.sock")

    def names(host):
        with server.connect() as connection:
            field = f"Host: {host}\r\n" if host is not None else ""
            seen = connection.send(f"GET / HTTP/1.1\r\n{field}Connection: close\r\n\r\n").response().json
        assert seen["REMOTE_ADDR"] == ""
        assert "REMOTE_PORT" not in seen
        return seen["SERVER_NAME"], seen["SERVER_PORT"]

    assert names("a.example") == ("a.example", "80")
    assert names("a.example:8080") == ("a.example", "8080")
    # Without a Host Gunicorn names the socket's path.
    assert names(None)[1] == ""


def test_unix_peers_are_trusted(start, launcher):
    server = start("--bind", "unix:app.sock", "--forwarded-allow-ips", "192.0.2.1", "environ:app", bind=False)
    server.listening()
    server.address = str(launcher.directory / "app.sock")
    seen = server.get(headers=[("Host", "a"), ("X-Forwarded-Proto", "https")]).json
    assert (seen["wsgi.url_scheme"], seen["SERVER_PORT"]) == ("https", "443")


@pytest.mark.parametrize(
    ("flags", "status", "seen"),
    [([], 200, False), (["--header-map", "drop"], 200, False), (["--header-map", "refuse"], 400, None), (["--header-map", "dangerous"], 200, True)],
    ids=["default", "drop", "refuse", "dangerous"],
)
def test_header_map(start, flags, status, seen):
    """Fields with an underscore could be taken for those with a dash."""
    response = start(*flags, "environ:app").get(headers=[("X_Forwarded_For", "evil")])
    assert response.status == status
    if status == 200:
        assert ("HTTP_X_FORWARDED_FOR" in response.json) == seen


def test_forwarder_headers(start):
    server = start("--forwarder-headers", "REMOTE_USER,SCRIPT_NAME", "environ:app")
    seen = server.get(headers=[("Remote_User", "frank"), ("Other_One", "x")]).json
    assert seen["HTTP_REMOTE_USER"] == "frank"
    assert "HTTP_OTHER_ONE" not in seen
