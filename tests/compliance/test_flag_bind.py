"""`--bind`: TCP, IPv6, unix sockets, descriptors, several of them, and what goes wrong with each."""

import os
import socket
import stat

import pytest


def test_tcp(start):
    server = start("--bind", "127.0.0.1:0", "hello:app", bind=False)
    (host, port), = server.listening()
    assert host == "127.0.0.1" and port != 0
    assert server.get().status == 200


@pytest.mark.parametrize("spelling", ["-b=127.0.0.1:0", "-b127.0.0.1:0", "--bind=127.0.0.1:0", "-b 127.0.0.1:0", "-btcp://127.0.0.1:0"])
def test_spellings(start, spelling):
    assert start(spelling, "hello:app", bind=False).get().status == 200


def test_host_name(start):
    assert start("--bind", "localhost:0", "hello:app", bind=False).get().status == 200


def test_ipv6(start):
    server = start("--bind", "[::1]:0", "environ:app", bind=False)
    (host, port), = server.listening()
    assert host == "::1"
    environ = server.get().json
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["REMOTE_ADDR"]) == ("::1", str(port), "::1")


def test_ipv6_any_takes_ipv4_too(start):
    server = start("--bind", "[::]:0", "environ:app", bind=False)
    (_, port), = server.listening()
    server.address = ("127.0.0.1", port)
    assert server.get().json["REMOTE_ADDR"] == "::ffff:127.0.0.1"


def test_several(start):
    server = start("-b", "127.0.0.1:0", "--bind", "unix:a.sock", "-b", "127.0.0.1:0", "process:app", bind=False)
    addresses = server.listening()
    assert addresses[1] == "a.sock"
    pids = set()
    for address in addresses:
        server.address = str(server.directory / address) if isinstance(address, str) else address
        pids.add(server.get().json["pid"])
    assert len(pids) == 1


def test_several_from_config_file(start):
    server = start("hello:app", bind=False, conf="bind = ['127.0.0.1:0', 'unix:a.sock']")
    addresses = server.listening()
    assert len(addresses) == 2
    for address in addresses:
        server.address = str(server.directory / address) if isinstance(address, str) else address
        assert server.get().status == 200


def test_the_command_line_replaces_the_files_binds(start):
    server = start("-b", "unix:cli.sock", "hello:app", bind=False, conf="bind = ['unix:file.sock']")
    assert server.listening() == ["cli.sock"]


# -- unix sockets ---------------------------------------------------------------------------------------------------------


def serve_unix(start, *arguments, app="environ:app"):
    server = start("--bind", "unix:app.sock", *arguments, app, bind=False)
    server.listening()
    server.address = str(server.directory / "app.sock")
    return server


def test_unix(start):
    server = serve_unix(start)
    assert server.get().status == 200
    assert server.stop() == 0
    assert not (server.directory / "app.sock").exists()


@pytest.mark.parametrize("prefix", ["unix:", "unix://"])
def test_unix_absolute(start, launcher, prefix):
    path = launcher.directory / "absolute.sock"
    server = start("--bind", f"{prefix}{path}", "hello:app", bind=False)
    assert server.listening() == [str(path)]
    assert server.get().status == 200


def test_unix_is_open_to_all_by_default(start):
    server = serve_unix(start)
    assert stat.S_IMODE(os.stat(server.address).st_mode) == 0o777


@pytest.mark.parametrize(("umask", "mode"), [("0077", 0o700), ("0o007", 0o770), ("23", 0o750), ("0x1f", 0o740)])
def test_umask_is_for_unix_sockets(start, umask, mode):
    """Octal, hexadecimal and plain numbers; the worker's own umask is not touched."""
    server = serve_unix(start, "--umask", umask, app="process:app")
    assert stat.S_IMODE(os.stat(server.address).st_mode) == mode
    assert server.get().json["umask"] == 0o022


def test_unix_replaces_a_socket_that_is_there(start, launcher):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(launcher.directory / "app.sock"))
    server = serve_unix(start)
    assert server.get().status == 200
    stale.close()


def test_unix_does_not_replace_a_file(run, launcher):
    path = launcher.write("app.sock", "precious\n")
    run("--bind", "unix:app.sock", "hello:app", bind=False, code=1)
    assert path.read_text() == "precious\n"


def test_unix_in_a_missing_directory(run):
    run("--bind", "unix:nowhere/app.sock", "hello:app", bind=False, code=1)


def test_unix_path_too_long(run):
    run("--bind", "unix:" + "x" * 120, "hello:app", bind=False, code=1)


@pytest.mark.root
def test_unix_belongs_to_the_user(start):
    server = serve_unix(start, "--user", "65534", "--group", "65534", app="hello:app")
    found = os.stat(server.address)
    assert (found.st_uid, found.st_gid) == (65534, 65534)
    assert server.get().status == 200


# -- descriptors ----------------------------------------------------------------------------------------------------------


def test_fd_of_a_listening_socket(start):
    assert start("hello:app").get().status == 200


def test_fd_of_a_bound_socket(start):
    """One that does not listen yet is made to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = start("--bind", f"fd://{bound.fileno()}", "hello:app", bind=False, pass_fds=(bound.fileno(),))
        assert server.listening() == [bound.getsockname()]
        assert server.get().status == 200


def test_fd_of_a_unix_socket(start, launcher):
    path = str(launcher.directory / "given.sock")
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(path)
        given.listen()
        server = start("--bind", f"fd://{given.fileno()}", "environ:app", bind=False, pass_fds=(given.fileno(),))
    server.address = path
    assert server.get().json["REMOTE_ADDR"] == ""
    assert server.stop() == 0
    if server.ours:
        # Unlinked is only what is our own: whoever passed it may pass it again.
        assert os.path.exists(path)
        os.unlink(path)
    else:
        assert not os.path.exists(path)


def test_fd_drops_addresses(start):
    with socket.create_server(("127.0.0.1", 0)) as given:
        server = start(
            "-b", f"fd://{given.fileno()}", "-b", "unix:unused.sock", "hello:app", bind=False, pass_fds=(given.fileno(),)
        )
        assert server.listening() == [given.getsockname()]
        assert server.get().status == 200
    assert not (server.directory / "unused.sock").exists()


def test_fd_that_is_not_open(run):
    run("--bind", "fd://77", "hello:app", bind=False, code=1)


def test_fd_that_is_no_number(run):
    run("--bind", "fd://x", "hello:app", bind=False, code=1)


# -- failures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1:port", "127.0.0.1:99999", "[::1]:x", "no.such.host.invalid:0"])
def test_bad_address(run, address):
    run("--bind", address, "hello:app", bind=False, code=1)


def test_foreign_address(run):
    """Five tries, a second apart: the address may still come up."""
    server = run("--bind", "192.0.2.1:0", "hello:app", bind=False, code=1)
    assert "192.0.2.1" in server.stderr.text


def test_address_in_use(run):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        server = run("--bind", f"127.0.0.1:{port}", "hello:app", bind=False, code=1)
    assert len(server.stderr.find("Connection in use: .*127.0.0.1.*%d" % port, 5)) == 5


def test_address_that_becomes_free(start):
    """The port of a server that is still stopping is taken over as soon as it is free."""
    # An address that no other test has: none of them gets the port while it is free.
    with socket.create_server(("127.0.0.77", 0)) as holder:
        port = holder.getsockname()[1]
        server = start("--bind", f"127.0.0.77:{port}", "hello:app", bind=False, allowed=["in use", "connection to .* failed"])
        server.stderr.find("Connection in use")
    assert server.listening() == [("127.0.0.77", port)]
    assert server.get().status == 200
