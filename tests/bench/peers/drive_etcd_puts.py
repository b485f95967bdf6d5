"""Put to a private etcd, one after another, and print how many a second as JSON lines.

    .venv-bench/bin/python drive_etcd_puts.py FOLDER --seconds 3

Starts one etcd with its data in FOLDER.  Prints {"ready": true}, then one line for each line that it
reads from standard input.  Runs in the peers' environment and imports nothing of ours.
"""

import argparse
import importlib
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# The few messages that are needed, with the wire format of etcd's own.
PROTO = """
syntax = "proto3";
package etcdserverpb;
message PutRequest { bytes key = 1; bytes value = 2; }
message PutResponse { }
service KV { rpc Put(PutRequest) returns (PutResponse) {} }
"""


def messages(folder: Path) -> Any:
    (folder / "etcdmini.proto").write_text(PROTO)
    from grpc_tools import protoc

    given = ["", f"-I{folder}", f"--python_out={folder}", str(folder / "etcdmini.proto")]
    if protoc.main(given):
        raise SystemExit("protoc failed")
    sys.path.insert(0, str(folder))
    return importlib.import_module("etcdmini_pb2")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def command(folder: Path, port: int, peer: int) -> list[str]:
    client, mate = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    return [
        *("etcd", "--name", "b", "--data-dir", str(folder / "data"), "--log-level", "error"),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", mate, "--initial-advertise-peer-urls", mate),
        *("--initial-cluster", f"b={mate}"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Durable puts a second to a private etcd.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--value", type=int, default=256, help="bytes of the value")
    options = parser.parse_args()
    import grpc

    pb = messages(options.folder)
    port, peer = free_ports(2)
    server = subprocess.Popen(
        command(options.folder, port, peer), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        grpc.channel_ready_future(channel).result(30)
        put = channel.unary_unary(
            "/etcdserverpb.KV/Put",
            request_serializer=pb.PutRequest.SerializeToString,
            response_deserializer=None,
        )
        request = pb.PutRequest(key=b"/load/0", value=b"x" * options.value)
        put(request)
        sys.stdout.write(json.dumps({"ready": True}) + "\n")
        sys.stdout.flush()
        for _ in sys.stdin:
            start = time.perf_counter()
            end, done = start + options.seconds, 0
            while time.perf_counter() < end:
                put(request)
                done += 1
            rate = done / (time.perf_counter() - start)
            sys.stdout.write(json.dumps({"puts_per_s": rate}) + "\n")
            sys.stdout.flush()
    finally:
        server.terminate()
        server.wait(15)


if __name__ == "__main__":
    main()
