"""etcd's watch through its HTTP gateway: one put, W watchers, time until the last has its event.

Run in the peers' environment (`python -m tests.bench.peers.etcd_fan_out --help`).  Starts a
private etcd on loopback with its data beneath FOLDER.  The put goes by gRPC, the watchers are one
TCP connection each.  Prints a JSON line: each put's milliseconds.
"""

import argparse
import base64
import importlib
import json
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

from tests.bench.receivers import Receivers, cpu_of

KEY = b"/policy/revision"
WARM_UP = 5

PROTO = """
syntax = "proto3";
package etcdserverpb;
message PutRequest { bytes key = 1; bytes value = 2; }
message PutResponse { }
service KV { rpc Put(PutRequest) returns (PutResponse) {} }
"""


def compiled(folder: Path) -> ModuleType:
    """Return the messages that are needed, with wire-compatible fields."""
    (folder / "etcdput.proto").write_text(PROTO)
    protoc = importlib.import_module("grpc_tools.protoc")
    if protoc.main(["", f"-I{folder}", f"--python_out={folder}", str(folder / "etcdput.proto")]):
        raise SystemExit("protoc failed")
    sys.path.insert(0, str(folder))
    return importlib.import_module("etcdput_pb2")


def start(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    ports = []
    for _ in range(2):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            ports.append(sock.getsockname()[1])
    client, mate = (f"http://127.0.0.1:{port}" for port in ports)
    flags = {
        "--name": "b",
        "--data-dir": str(folder / "data"),
        "--listen-client-urls": client,
        "--advertise-client-urls": client,
        "--listen-peer-urls": mate,
        "--initial-advertise-peer-urls": mate,
        "--initial-cluster": f"b={mate}",
        "--log-level": "error",
    }
    command = ["etcd", *(part for flag in flags.items() for part in flag)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return process, ports[0]


def watchers(port: int, count: int) -> Receivers:
    wanted = {"create_request": {"key": base64.b64encode(KEY).decode()}}
    body = json.dumps(wanted).encode()
    head = (
        f"POST /v3/watch HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    return Receivers(port, request, count=count, ready=b'"created":true', event=b'"events"')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--puts", type=int, default=200)
    given = parser.parse_args()
    grpc = importlib.import_module("grpc")
    messages = compiled(given.folder)
    process, port = start(given.folder)
    try:
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        grpc.channel_ready_future(channel).result(30)
        put = channel.unary_unary(
            "/etcdserverpb.KV/Put",
            request_serializer=messages.PutRequest.SerializeToString,
            response_deserializer=None,
        )
        time.sleep(1)
        receivers = watchers(port, given.watchers)
        request = messages.PutRequest(key=KEY, value=b"v" * 1024)
        last, middle = [], []
        spent = 0.0
        for number in range(given.puts + WARM_UP):
            if number == WARM_UP:
                spent = cpu_of(process.pid)
            receivers.expect()
            begun = time.perf_counter()
            put(request)
            times = receivers.wait()
            last.append((max(times) - begun) * 1e3)
            middle.append((statistics.median(times) - begun) * 1e3)
        spent = (cpu_of(process.pid) - spent) / given.puts * 1e3
        answer = {"last_ms": last[WARM_UP:], "middle_ms": middle[WARM_UP:], "etcd_cpu_ms": spent}
        sys.stdout.write(json.dumps(answer) + "\n")
        receivers.close()
    finally:
        process.terminate()
        process.wait(15)


if __name__ == "__main__":
    main()
