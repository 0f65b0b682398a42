"""A service of one page; `--check` asks it once, over a real socket, and ends."""
import sys
import threading
import urllib.request
from wsgiref.simple_server import WSGIRequestHandler, make_server

import bottle

app = bottle.Bottle()


@app.get("/")
def index():
    return "service ready\n"


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


def check():
    server = make_server("127.0.0.1", 0, app, handler_class=Quiet)
    threading.Thread(target=server.handle_request).start()
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/") as answer:
        print(f"bottle {bottle.__version__}: {answer.read().decode()}", end="")


if "--check" in sys.argv:
    check()
else:
    app.run(host="0.0.0.0", port=8080)
