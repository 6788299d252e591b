"""Prints who calls a telephone, as soon as it rings.

    python3 screenpop.py 101

TR87_URL is the proxy (http://127.0.0.1:8880), TR87_TOKEN the token; without one, the proxy knows you by your address.
The file screenpop-101.position has the last event that was handled: after a restart, calls that came meanwhile are
printed, too.
"""

import http.client
import json
import os
import sys
import time
import urllib.parse

URL = urllib.parse.urlsplit(os.environ.get("TR87_URL", "http://127.0.0.1:8880"))
TOKEN = os.environ.get("TR87_TOKEN")
SILENCE = 75  # seconds; the proxy sends a heartbeat every 30


def events(device, after):
    """Yields the events of a stream, until it ends. The error is an OSError or an HTTPException."""
    query = {"devices": device, "types": "delivered,snapshot", "snapshot": "true"}
    if after:
        query["after"] = after
    secure = URL.scheme == "https"
    connection = (http.client.HTTPSConnection if secure else http.client.HTTPConnection)(URL.netloc, timeout=SILENCE)
    try:
        headers = {"Authorization": "Bearer " + TOKEN} if TOKEN else {}
        connection.request("GET", "/v1/events?" + urllib.parse.urlencode(query), headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            problem = response.read().decode()
            if response.headers["Content-Type"] == "application/problem+json":
                problem = json.loads(problem)["detail"]
            if response.status < 500 and response.status != 429:
                sys.exit(problem)  # it would be the same the next time
            raise OSError(problem)
        while line := response.readline():
            if line.startswith(b"data: "):
                yield json.loads(line[len(b"data: "):])
    finally:
        connection.close()


def show(call, device):
    print(call.get("caller", "somebody"), "calls", device, flush=True)


def handle(event, device):
    if event["type"] == "delivered" and event.get("state") == "alerting":
        show(event, device)
    elif event["type"] == "snapshot":  # the calls that there are, at the beginning and after a gap
        for call in event["calls"]:
            if call["state"] == "alerting":
                show(call, device)
    elif event["type"] == "gap":
        print("events are missing:", event["reason"], file=sys.stderr)


def main(device):
    file = f"screenpop-{device}.position"
    after = ""
    if os.path.exists(file):
        with open(file, encoding="ascii") as f:
            after = f.read().strip()
    while True:
        try:
            for event in events(device, after):
                handle(event, device)
                if event["id"] != after:  # only now: an event that was not handled comes again
                    after = event["id"]
                    with open(file + ".new", "w", encoding="ascii") as f:
                        f.write(after)
                    os.replace(file + ".new", file)
        except (OSError, http.client.HTTPException) as e:
            print("no events:", e, file=sys.stderr)
        time.sleep(2)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
