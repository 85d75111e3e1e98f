"""A gRPC server with the health service, which says what a file says: SERVING while it is there."""
import os
import sys
from concurrent import futures

import grpc

port_file, serving_file = sys.argv[1:]


def check(request, context):
    # HealthCheckRequest: the field `service`, or nothing.
    if request not in (b"", b"\x0a\x0dorders.Orders"):
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return b"\x08\x01" if os.path.exists(serving_file) else b"\x08\x02"


def echo(request, context):
    return request


health = {"Check": grpc.unary_unary_rpc_method_handler(check)}
orders = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((
    grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),
    grpc.method_handlers_generic_handler("orders.Orders", orders),
))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
with open(port_file + ".new", "w") as file:
    file.write(str(port))
os.rename(port_file + ".new", port_file)
server.wait_for_termination()
