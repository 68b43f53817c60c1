"""A bare `llama_cpp.Llama` behind the smallest server.

    python -m benchmarks.summarize.peers.bare MODEL PORT THREADS CONTEXT_TOKENS

One request after another; those that come meanwhile wait in the socket's backlog, in order of arrival.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from llama_cpp import Llama


class Server(HTTPServer):
    request_queue_size = 64


def handler(llama: Any) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = {name: request[name] for name in ("messages", "max_tokens", "temperature")}
            streams = request.get("stream", False)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream" if streams else "application/json")
            self.end_headers()
            answer = llama.create_chat_completion(**known, stream=streams)
            if not streams:
                self.wfile.write(json.dumps(answer).encode())
                return
            for chunk in answer:
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_: Any) -> None:
            """Nothing: a client that went away is no news."""

    return Handler


def main() -> None:
    model, port, threads, context = sys.argv[1:]
    llama = Llama(model, n_threads=int(threads), n_ctx=int(context), verbose=False)
    Server(("127.0.0.1", int(port)), handler(llama)).serve_forever()


if __name__ == "__main__":
    main()
