"""The plainest start there is."""


def test_it_serves_and_stops(start):
    server = start("hello:app")
    response = server.get("/")
    assert (response.status, response.reason, response.body) == (200, "OK", b"hello\n")
    assert response.header("content-type") == "text/plain"
    assert server.stop() == 0
