"""Every kind of gRPC call through the gateway, from the reference implementation to itself."""

import os
import sys
import threading
import time
from concurrent import futures

import grpc

address, host, ca, cert, key, port_file = sys.argv[1:7]
LARGE = 50 * 1024 * 1024
OPTIONS = (
    ("grpc.max_receive_message_length", 2 * LARGE),
    ("grpc.max_send_message_length", 2 * LARGE),
    ("grpc.max_metadata_size", 128 * 1024),
    ("grpc.absolute_max_metadata_size", 128 * 1024),
)
cancelled = threading.Semaphore(0)


def read(path):
    with open(path, "rb") as file:
        return file.read()


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        def unary(request, context):
            return request[::-1]

        def count(requests, context):
            return b"%d" % sum(len(request) for request in requests)

        def repeat(request, context):
            for index in range(int(request)):
                yield b"%d" % index

        def chat(requests, context):
            for request in requests:
                yield request[::-1]

        def hang(request, context):
            context.add_callback(cancelled.release)
            while context.is_active():
                time.sleep(0.01)
            return b""

        def flow(request, context):
            context.add_callback(cancelled.release)
            while context.is_active():
                yield b"x" * 1000

        def gone(request, context):
            return b"yes" if cancelled.acquire(timeout=30) else b"no"

        def trailers(request, context):
            context.set_trailing_metadata((("x-large", "t" * int(request)),))
            context.abort(grpc.StatusCode.OUT_OF_RANGE, "with trailers")

        unary_unary = grpc.unary_unary_rpc_method_handler
        return {
            "/all.All/Unary": unary_unary(unary),
            "/all.All/Count": grpc.stream_unary_rpc_method_handler(count),
            "/all.All/Repeat": grpc.unary_stream_rpc_method_handler(repeat),
            "/all.All/Chat": grpc.stream_stream_rpc_method_handler(chat),
            "/all.All/Hang": unary_unary(hang),
            "/all.All/Flow": grpc.unary_stream_rpc_method_handler(flow),
            "/all.All/Gone": unary_unary(gone),
            "/all.All/Trailers": unary_unary(trailers),
        }.get(details.method)


def serve():
    pool = futures.ThreadPoolExecutor(max_workers=16)
    server = grpc.server(pool, options=OPTIONS)
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with open(port_file + ".new", "w") as file:
        file.write(str(port))
    os.rename(port_file + ".new", port_file)
    server.wait_for_termination(300)


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("no error")


def ask():
    credentials = grpc.ssl_channel_credentials(read(ca), read(key), read(cert))
    named = (("grpc.ssl_target_name_override", host), ("grpc.default_authority", host))
    with grpc.secure_channel(address, credentials, OPTIONS + named) as channel:
        unary = lambda name: channel.unary_unary("/all.All/" + name)
        assert unary("Unary")(b"abc", timeout=60) == b"cba"
        pieces = iter([b"x" * 1000] * 1000)
        assert channel.stream_unary("/all.All/Count")(pieces, timeout=60) == b"1000000"
        answers = list(channel.unary_stream("/all.All/Repeat")(b"1000", timeout=60))
        assert answers == [b"%d" % index for index in range(1000)]
        messages = [b"message %d" % index for index in range(100)]
        answers = list(channel.stream_stream("/all.All/Chat")(iter(messages), timeout=60))
        assert answers == [message[::-1] for message in messages]

        large = os.urandom(LARGE)
        assert unary("Unary")(large, timeout=120) == large[::-1]

        error = code_of(lambda: unary("Hang")(b"", timeout=5))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
        assert unary("Gone")(b"", timeout=60) == b"yes", "the origin hears of a deadline"
        flow = channel.unary_stream("/all.All/Flow")(b"", timeout=60)
        assert len(next(flow)) == 1000
        flow.cancel()
        error = code_of(lambda: list(flow))
        assert error.code() == grpc.StatusCode.CANCELLED, error
        assert unary("Gone")(b"", timeout=60) == b"yes", "the origin hears of a cancellation"

        error = code_of(lambda: unary("Trailers")(b"40000", timeout=60))
        assert error.code() == grpc.StatusCode.OUT_OF_RANGE, error
        told = dict(error.trailing_metadata())
        assert len(told["x-large"]) == 40000, {name: len(value) for name, value in told.items()}
        # All of that went over connections that are still good.
        assert unary("Unary")(b"end", timeout=60) == b"dne"
    print("all good")


if address == "serve":
    serve()
else:
    ask()
