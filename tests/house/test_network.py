"""No test reaches beyond this machine: the guard of tests/conftest.py."""

import socket
import urllib.request

import pytest


@pytest.mark.parametrize("host", ["192.0.2.1", "example.org"])
def test_a_connection_fails_the_test(host):
    with pytest.raises(pytest.fail.Exception, match="reached for the network"):
        socket.create_connection((host, 80), timeout=0.1)


def test_a_download_fails_the_test():
    with pytest.raises(pytest.fail.Exception, match="reached for the network"):
        urllib.request.urlopen("http://example.org", timeout=0.1)


def test_this_machine_may_be_reached():
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname(), timeout=5):
        pass
