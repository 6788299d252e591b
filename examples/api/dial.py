"""Has a telephone call a number.

    python3 dial.py 100 101

TR87_URL is the proxy (http://127.0.0.1:8880), TR87_TOKEN the token; without one, the proxy knows you by your address.
"""

import http.client
import json
import os
import sys
import time
import urllib.parse
import uuid

URL = urllib.parse.urlsplit(os.environ.get("TR87_URL", "http://127.0.0.1:8880"))
TOKEN = os.environ.get("TR87_TOKEN")


def post(path, body, key):
    """Sends a request once. Returns the status, the header Retry-After, and the body."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    if TOKEN:
        headers["Authorization"] = "Bearer " + TOKEN
    secure = URL.scheme == "https"
    connection = (http.client.HTTPSConnection if secure else http.client.HTTPConnection)(URL.netloc, timeout=40)
    try:
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.getheader("Retry-After"), json.loads(response.read())
    finally:
        connection.close()


def dial(device, number):
    """Returns the call. The same Idempotency-Key at each attempt: however often it is sent, one call is placed."""
    path, key = "/v1/devices/" + urllib.parse.quote(device, safe="") + "/calls", str(uuid.uuid4())
    problem = ""
    for _ in range(4):
        try:
            status, retry, answer = post(path, {"to": number}, key)
        except (OSError, http.client.HTTPException, ValueError) as e:
            problem, retry = str(e), "1"
        else:
            if status == 201:
                return answer["call"]
            problem = answer["detail"]
            if retry is None:
                break
        time.sleep(int(retry))
    sys.exit(problem)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print("call", dial(*sys.argv[1:]))
