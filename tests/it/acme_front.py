"""An ACME server in front of Pebble, that does what Pebble does not. What, says the last argument:

window: ARI (RFC 9773), which Debian's Pebble is older than. The first certificate that it is asked about is
to be renewed at once, all others in a year. What it was asked, and what orders say that they replace, goes
to standard output.
account: the first account is made, and nobody is told. What became of each goes to standard output.
orders: there were too many orders, for an hour.
forgets: the first order is of an account that it does not know."""
import base64
import email.utils
import http.client
import http.server
import json
import ssl
import sys
import time

behind, certificate, key, port_file, what = sys.argv[1:]
accounts = []
forgotten = []
asked = []


def window(name):
    start = time.time() + (2 if name == asked[0] else 365 * 86400)
    text = lambda at: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    return {"suggestedWindow": {"start": text(start), "end": text(start + 2)}}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        name = self.path.removeprefix("/window/")
        if name != self.path:
            if name not in asked:
                asked.append(name)
                print("asked", name, flush=True)
            return self.answer(200, [("Retry-After", "3600")], json.dumps(window(name)).encode())
        if self.path == "/order-plz" and what == "window":
            payload = json.loads(body)["payload"]
            order = json.loads(base64.urlsafe_b64decode(payload + "=="))
            print("order", order.get("replaces", "-"), flush=True)
        if self.path == "/order-plz" and what == "orders":
            problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many"}
            until = email.utils.formatdate(time.time() + 3600, usegmt=True)
            return self.refuse(429, problem, {"Retry-After": until, "Replay-Nonce": "none"})
        if self.path == "/order-plz" and what == "forgets" and not forgotten:
            forgotten.append(self.path)
            problem = {"type": "urn:ietf:params:acme:error:accountDoesNotExist", "detail": "who?"}
            return self.refuse(400, problem, {"Replay-Nonce": "none"})
        server = http.client.HTTPSConnection(behind, context=ssl._create_unverified_context())
        server.request(self.command, self.path, body, dict(self.headers))
        answer = server.getresponse()
        text = answer.read()
        if self.path == "/sign-me-up" and what in ("account", "forgets") and answer.status < 300:
            print("account", answer.status, flush=True)
            accounts.append(answer.status)
            if len(accounts) == 1 and what == "account":
                self.close_connection = True
                return
        if self.path == "/dir" and what == "window":
            directory = json.loads(text)
            directory["renewalInfo"] = f"https://{self.headers['host']}/window"
            text = json.dumps(directory).encode()
        kept = ("content-type", "location", "replay-nonce", "link", "retry-after")
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() in kept]
        self.answer(answer.status, headers, text)

    def refuse(self, status, problem, headers):
        headers["Content-Type"] = "application/problem+json"
        self.answer(status, headers.items(), json.dumps(problem).encode())

    def answer(self, status, headers, text):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, *_):
        pass

    do_GET = do_HEAD = do_POST = pass_on


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server = http.server.ThreadingHTTPServer((behind.split(":")[0], 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
with open(port_file, "w") as file:
    file.write(f"{server.server_port}\n")
server.serve_forever()
