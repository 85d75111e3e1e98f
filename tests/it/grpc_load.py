"""Calls of gRPC, over and over until standard input ends, from the reference implementation.

Says what came of each, on a line: `good`, or why it failed."""

import sys
import threading
import time

import grpc

address, host, ca, cert, key = sys.argv[1:6]
over = threading.Event()
telling = threading.Lock()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def one(channel):
    assert channel.unary_unary("/all.All/Unary")(b"abc", timeout=30) == b"cba"

    def messages():
        for number in range(20):
            yield b"message %d" % number
            time.sleep(0.01)

    answers = list(channel.stream_stream("/all.All/Chat")(messages(), timeout=30))
    assert answers == [(b"message %d" % number)[::-1] for number in range(20)], answers


def calls():
    credentials = grpc.ssl_channel_credentials(read(ca), read(key), read(cert))
    # Each with connections of its own.
    options = (
        ("grpc.ssl_target_name_override", host),
        ("grpc.default_authority", host),
        ("grpc.use_local_subchannel_pool", 1),
    )
    with grpc.secure_channel(address, credentials, options) as channel:
        while not over.is_set():
            try:
                one(channel)
                said = "good"
            except grpc.RpcError as error:
                said = f"{error.code()} {error.details()}"
            except AssertionError as error:
                said = f"another answer: {error}"
            with telling:
                print(said.replace("\n", " "), flush=True)


threads = [threading.Thread(target=calls) for _ in range(2)]
for thread in threads:
    thread.start()
sys.stdin.read()
over.set()
for thread in threads:
    thread.join()
