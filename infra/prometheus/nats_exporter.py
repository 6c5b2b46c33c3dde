#!/usr/bin/env python3
"""Tells Prometheus what one nats-server says on its monitoring port; it runs beside that server and asks at each scrape.

    infra/prometheus/nats_exporter.py [--listen 127.0.0.1:7777] [--monitor http://127.0.0.1:8222]

nats-server has no /metrics of its own. The names are those of prometheus-nats-exporter (`-varz -jsz=all`), a subset, so that
either can be scraped; only jetstream_stream_first_message_timestamp_seconds is not among them. A server that does not answer is
a scrape that fails: `up` says it.
"""

import argparse
import json
import sys
import urllib.request
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER_WITHIN_S = 5
KIND = "text/plain; version=0.0.4; charset=utf-8"

VARZ = ("connections", "subscriptions", "slow_consumers", "in_msgs", "out_msgs", "in_bytes", "out_bytes", "mem", "cpu")
SERVER = {"total_streams": "streams", "total_consumers": "consumers", "total_messages": "messages", "total_message_bytes": "bytes"}
STREAM = {
    "total_messages": "messages",
    "total_bytes": "bytes",
    "first_seq": "first_seq",
    "last_seq": "last_seq",
    "consumer_count": "consumer_count",
}
CONSUMER = ("num_ack_pending", "num_redelivered", "num_waiting", "num_pending")


def ask(monitor, path):
    """What the server answers."""
    with urllib.request.urlopen(monitor + path, timeout=ANSWER_WITHIN_S) as answer:
        return json.load(answer)


def lines(varz, jsz):
    """Name, labels and value of each sample."""
    server = {"server_id": varz["server_id"], "server_name": varz["server_name"]}
    for key in VARZ:
        yield f"gnatsd_varz_{key}", server, varz[key]
    server["cluster"] = jsz.get("meta_cluster", {}).get("name", "")
    for name, key in SERVER.items():
        yield f"jetstream_server_{name}", server, jsz.get(key, 0)
    for key in ("max_memory", "max_storage"):
        yield f"jetstream_server_{key}", server, jsz.get("config", {}).get(key, 0)
    for account in jsz.get("account_details", []):
        for stream in account.get("stream_detail", []):
            leads = stream.get("cluster", {}).get("leader") in (None, varz["server_name"])
            of_stream = {
                **server,
                "account": account["name"],
                "stream_name": stream["name"],
                "is_stream_leader": str(leads).lower(),
            }
            state = stream["state"]
            for name, key in STREAM.items():
                yield f"jetstream_stream_{name}", of_stream, state.get(key, 0)
            if state["messages"] > 0:
                first = datetime.fromisoformat(state["first_ts"][:19] + "+00:00").timestamp()
                yield "jetstream_stream_first_message_timestamp_seconds", of_stream, first
            for consumer in stream.get("consumer_detail", []):
                # Those who only follow have a new random name at each start: series without end.
                if not consumer.get("config", {}).get("durable_name"):
                    continue
                of_consumer = {**of_stream, "consumer_name": consumer["name"]}
                for key in CONSUMER:
                    yield f"jetstream_consumer_{key}", of_consumer, consumer.get(key, 0)


def text(samples):
    """Samples of one name together, as the text format wants them."""
    by_name = {}
    for name, labels, value in samples:
        quoted = (v.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for v in labels.values())
        shown = ",".join(f'{key}="{value}"' for key, value in zip(labels, quoted, strict=True))
        by_name.setdefault(name, []).append(f"{name}{{{shown}}} {value}")
    return "".join(f"# TYPE {name} gauge\n" + "\n".join(found) + "\n" for name, found in by_name.items())


def handler(monitor):
    """Answers GET /metrics, and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/metrics":
                return self.answer(404, "ask for /metrics\n")
            try:
                samples = lines(ask(monitor, "/varz"), ask(monitor, "/jsz?streams=true&consumers=true&config=true"))
                return self.answer(200, text(samples))
            except (OSError, ValueError, KeyError) as error:
                return self.answer(502, f"{monitor} does not answer as a nats-server: {error!r}\n")

        def answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Type", KIND)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", default="127.0.0.1:7777")
    parser.add_argument("--monitor", default="http://127.0.0.1:8222")
    args = parser.parse_args()
    host, _, port = args.listen.rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), handler(args.monitor.rstrip("/")))
    print(f"metrics on http://{host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
