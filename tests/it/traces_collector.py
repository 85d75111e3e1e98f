"""A collector of OTLP over HTTP that reads with OpenTelemetry's own messages, and writes each span as a line
of JSON. Arguments: the file of its port, the file of spans."""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service

port_file, spans_file = sys.argv[1:]


def plain(value):
    return getattr(value, value.WhichOneof("value"))


def read(attributes):
    read = {one.key: plain(one.value) for one in attributes}
    assert len(read) == len(attributes), "an attribute is there twice"
    return read


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        assert self.path == "/v1/traces", self.path
        assert self.headers["Content-Type"] == "application/x-protobuf"
        message = service.ExportTraceServiceRequest()
        message.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
        # What this version does not know would be kept beside it.
        assert message.SerializeToString(deterministic=True)
        with open(spans_file, "a") as out:
            for resource in message.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        assert len(span.trace_id) == 16 and len(span.span_id) == 8
                        assert len(span.parent_span_id) in (0, 8)
                        out.write(json.dumps({
                            "service": read(resource.resource.attributes)["service.name"],
                            "trace_id": span.trace_id.hex(),
                            "span_id": span.span_id.hex(),
                            "parent_span_id": span.parent_span_id.hex(),
                            "name": span.name,
                            "kind": span.kind,
                            "flags": span.flags,
                            "start": span.start_time_unix_nano,
                            "end": span.end_time_unix_nano,
                            "status": span.status.code,
                            "attributes": read(span.attributes),
                        }) + "\n")
        answer = service.ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


# A connection that is kept open keeps nobody else waiting: gateways of an upgrade send beside each other.
server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
with open(port_file + ".new", "w") as out:
    out.write(str(server.server_port))
os.rename(port_file + ".new", port_file)
server.serve_forever()
