"""The server under strangers' load: one client's bytes, images, connections and web pages do not harm the others."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import re
import socket
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest

from gpt4roi.commands import serve
from gpt4roi.engine import Engine
from gpt4roi.errors import UserError
from gpt4roi.serving import connections
from gpt4roi.serving.connections import bind
from gpt4roi.serving.settings import ServerSettings
from tests.unit.image_bombs import encoded, jpeg_with_scans, png_header, webp
from tests.unit.serving.conftest import question, running_server

HI = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


@contextlib.contextmanager
def watched(url: str):
    """The longest time that /healthz took meanwhile, in the list that is given."""
    worst, stop = [0.0], threading.Event()

    def probe() -> None:
        with httpx.Client() as client:
            while not stop.is_set():
                begin = time.perf_counter()
                assert client.get(f"{url}/healthz", timeout=60).status_code == 200
                worst[0] = max(worst[0], time.perf_counter() - begin)
                time.sleep(0.02)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield worst
    finally:
        stop.set()
        thread.join()


def post(url: str, body, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{url}/v1/chat/completions", content=content, headers={"Content-Type": "application/json", **headers}, timeout=60)


def raw_post(url: str, body: bytes, host: str = "localhost") -> socket.socket:
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname or "", place.port or 0))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def image_body(data: bytes) -> bytes:
    url = "data:image/x;base64," + base64.b64encode(data).decode()
    return json.dumps(
        {
            **HI,
            "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "hi"}]}],
        }
    ).encode()


WRONG = {
    "messages of numbers": b'{"model":"tiny","messages":[' + b"1," * 900_000 + b"1]}",
    "just below the count": b'{"model":"tiny","messages":[' + b"1," * 90_000 + b"1]}",
    "parts of numbers": b'{"model":"tiny","messages":[{"role":"user","content":[' + b"1," * 90_000 + b"1]}]}",
    "regions of numbers": b'{"model":"tiny","messages":[{"role":"user","content":"hi"}],"regions":[' + b"1," * 90_000 + b"1]}",
    "stops of numbers": b'{"model":"tiny","messages":[{"role":"user","content":"hi"}],"stop":[' + b"1," * 90_000 + b"1]}",
    "lists": b'{"model":"tiny","messages":' + b"[" * 900_000 + b"]" * 900_000 + b"}",
}


@pytest.mark.parametrize("name", WRONG)
def test_large_wrong_json_does_not_stop_the_others(base_url: str, name: str) -> None:
    with watched(base_url) as worst:
        begin = time.perf_counter()
        assert post(base_url, WRONG[name]).status_code == 400
        assert time.perf_counter() - begin < 2
    assert worst[0] < 1


def test_a_text_question_does_not_wait_for_images_whose_clients_left(tiny) -> None:
    slow = jpeg_with_scans(60, (3800, 3800))
    with running_server(Engine(*tiny), ServerSettings(model_name="tiny")) as url:
        post(url, HI)
        gone = [raw_post(url, image_body(slow + bytes([number]))) for number in range(40)]
        time.sleep(0.3)
        for connection in gone:
            connection.close()
        begin = time.perf_counter()
        assert post(url, HI).status_code == 200
        assert time.perf_counter() - begin < 3
        # All that was queued is forgotten: the next image waits for those under way alone.
        begin = time.perf_counter()
        assert post(url, image_body(encoded_small())).status_code == 200
        assert time.perf_counter() - begin < 8


def encoded_small() -> bytes:
    from PIL import Image

    return encoded(Image.new("RGB", (20, 20)), "PNG")


def test_small_images_that_grow_are_decoded_one_by_one_and_forgotten(tiny) -> None:
    def memory(what: str) -> float:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) / 1e3 for line in status if line.startswith(what))

    data = webp()
    with running_server(Engine(*tiny), ServerSettings(model_name="tiny")) as url:
        post(url, image_body(webp(2500)))
        before = memory("VmRSS")
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda i=i: answers.append(post(url, image_body(data + bytes([i]))).status_code)) for i in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [200] * 6
        assert memory("VmRSS") - before < 250


def test_all_bodies_together_are_bounded(tiny) -> None:
    settings = ServerSettings(model_name="tiny", max_bodies_bytes=1_000_000, body_timeout_s=5)
    with running_server(Engine(*tiny), settings) as url:
        place = urlsplit(url)
        half = socket.create_connection((place.hostname or "", place.port or 0))
        half.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 990000\r\n\r\n"
        )
        half.sendall(b" " * 900_000)
        time.sleep(0.3)
        refused = post(url, b" " * 200_000)
        assert refused.status_code == 503 and refused.headers["Retry-After"]
        half.close()
        time.sleep(0.3)
        assert post(url, HI).status_code == 200


def test_half_sent_requests_keep_nobody_out(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SPARE_CONNECTIONS", 20)
    settings = ServerSettings(model_name="tiny", max_requests=10, header_timeout_s=1.0)
    with running_server(Engine(*tiny), settings) as url:
        place = urlsplit(url)
        half = []
        for _ in range(60):
            half.append(socket.create_connection((place.hostname or "", place.port or 0)))
            half[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        for _ in range(5):
            assert post(url, HI).status_code == 200
        # The oldest made room; the rest is closed when its time is over.
        time.sleep(1.5)
        for connection in half:
            connection.settimeout(2)
            with contextlib.suppress(ConnectionError):
                assert connection.recv(100) == b""
            connection.close()


def test_a_second_request_on_a_connection_has_the_deadline_too(tiny) -> None:
    with running_server(Engine(*tiny), ServerSettings(model_name="tiny", header_timeout_s=0.5)) as url:
        place = urlsplit(url)
        connection = socket.create_connection((place.hostname or "", place.port or 0))
        connection.settimeout(5)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in connection.recv(4000)
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        begin = time.perf_counter()
        while connection.recv(4000):
            pass
        assert time.perf_counter() - begin < 2
        # A slow answer is not cut by it.
        body = question() | {"max_tokens": 1000}
        assert post(url, body).status_code == 200


def test_more_requests_than_may_be_under_way_get_503_as_json(tiny) -> None:
    settings = ServerSettings(model_name="tiny", max_requests=2, body_timeout_s=3)
    with running_server(Engine(*tiny), settings) as url:
        place = urlsplit(url)
        slow = []
        for _ in range(2):
            slow.append(socket.create_connection((place.hostname or "", place.port or 0)))
            slow[-1].sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n"
            )
        time.sleep(0.3)
        refused = post(url, HI)
        assert refused.status_code == 503 and int(refused.headers["Retry-After"]) >= 1
        assert "under way already" in refused.json()["error"]["message"]
        assert httpx.get(f"{url}/healthz").status_code == 200
        for connection in slow:
            connection.close()


# Web pages


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:80"}, 403),
        ({"Host": "localhost"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:8", "Origin": "http://localhost:8"}, 200),
        ({"Origin": "http://localhost:5173"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_foreign_pages_and_hosts_are_refused(base_url: str, headers: dict[str, str], status: int) -> None:
    response = post(base_url, HI, **headers)
    assert response.status_code == status, response.text
    assert "access-control-allow-origin" not in response.headers
    if status != 200:
        assert response.json()["error"]["message"]


def test_allowed_origins_may_ask(tiny) -> None:
    with running_server(Engine(*tiny), ServerSettings(model_name="tiny", allowed_origins=("http://localhost:5173",))) as url:
        origin = {"Origin": "http://localhost:5173"}
        assert post(url, HI, **origin).headers["access-control-allow-origin"] == "http://localhost:5173"
        preflight = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,authorization"}
        assert httpx.options(f"{url}/v1/chat/completions", headers=preflight).status_code == 200
        assert post(url, HI, Origin="http://evil.example").status_code == 403


def test_beyond_loopback_names_without_a_dot_and_addresses_are_ours(tiny) -> None:
    with running_server(Engine(*tiny), ServerSettings(model_name="tiny", host="0.0.0.0")) as url:
        for host, status in (("gpt4roi:8000", 200), ("10.0.0.7:8000", 200), ("evil.example", 403)):
            assert post(url, HI, Host=host).status_code == status


# Fetching


class Slow(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(50):
                self.wfile.write(b"\0")
                self.wfile.flush()
                time.sleep(0.1)

    def log_message(self, *arguments: object) -> None:
        pass


def test_an_allowed_host_is_asked_on_its_port_and_within_the_time(tiny) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as host:
        port = host.server_address[1]
        threading.Thread(target=host.serve_forever, daemon=True).start()
        image = {"type": "image_url", "image_url": {"url": f"http://127.0.0.1:{port}/x.png"}}
        body = {**HI, "messages": [{"role": "user", "content": [image]}]}
        for allowed, sentence in (("127.0.0.1", "fetches none"), (f"127.0.0.1:{port}", "did not arrive|could not be fetched")):
            settings = ServerSettings(model_name="tiny", allowed_hosts=(allowed,), fetch_timeout_s=0.7)
            with running_server(Engine(*tiny), settings) as url:
                begin = time.perf_counter()
                refused = post(url, body)
                assert refused.status_code == 400 and re.search(sentence, refused.json()["error"]["message"])
                assert time.perf_counter() - begin < 3
        host.shutdown()


# Documentation


def test_the_pages_come_from_here_and_every_reference_resolves(base_url: str) -> None:
    page = httpx.get(f"{base_url}/docs").text
    scripts = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert scripts and all(script.startswith("/") for script in scripts)
    for script in scripts:
        assert httpx.get(base_url + script).status_code == 200
    document = httpx.get(f"{base_url}/openapi.json").json()
    references = set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)))
    assert "components/schemas/ChatRequest" in references and "components/schemas/RegionPart" in references
    for reference in references:
        place = document
        for step in reference.split("/"):
            place = place[step]


def test_with_a_key_there_are_no_pages(tiny) -> None:
    with running_server(Engine(*tiny), ServerSettings(model_name="tiny", api_key="k")) as url:
        for path in ("/docs", "/openapi.json", "/redoc"):
            assert httpx.get(url + path).status_code == 404


# The command


def run_serve(*arguments: str) -> int:
    import argparse

    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return serve.run(parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--api-key", ""), "--api-key is empty"),
        (("--api-key", "  "), "--api-key is empty"),
        (("--port", "70000"), "0 to 65535"),
        (("--host", "192.0.2.7"), "no address of this machine"),
        (("--allow-origin", "localhost"), "--allow-origin is like"),
        (("--timeout", "0"), "--timeout is more than 0"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str) -> None:
    monkeypatch.setattr("gpt4roi.commands.loading.load_chat", lambda *a: pytest.fail("the model was loaded"))
    with pytest.raises(UserError, match=sentence):
        run_serve(*arguments)


def test_a_taken_port_and_a_missing_key_are_told_before_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    class Loaded(Exception):
        pass

    def load(*arguments: object) -> None:
        raise Loaded

    monkeypatch.setattr("gpt4roi.commands.loading.load_chat", load)
    monkeypatch.delenv(serve.KEY_VARIABLE, raising=False)
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(UserError, match="is taken"):
            run_serve("--port", str(taken.getsockname()[1]))
    for host, warned in (("0.0.0.0", True), ("127.0.0.1", False)):
        with pytest.raises(Loaded):
            run_serve("--host", host, "--port", "0")
        assert ("no API key is set" in capsys.readouterr().err) == warned
    monkeypatch.setenv(serve.KEY_VARIABLE, "")
    with pytest.raises(UserError, match="is empty"):
        run_serve()


def test_a_bomb_costs_a_sentence(base_url: str) -> None:
    assert post(base_url, image_body(png_header(50_000, 50_000))).status_code == 400
