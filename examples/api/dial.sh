#!/usr/bin/env bash
# Has a telephone call a number. It needs curl and jq.
#
#     ./dial.sh 100 101
#
# TR87_URL is the proxy (http://127.0.0.1:8880), TR87_TOKEN the token; without one, the proxy knows you by your address.
set -euo pipefail
device=${1:?"usage: dial.sh DEVICE NUMBER"} number=${2:?"usage: dial.sh DEVICE NUMBER"}
url=${TR87_URL:-http://127.0.0.1:8880}
key=$(</proc/sys/kernel/random/uuid)

# the token comes from a file descriptor: in the command line, everybody could read it
credentials() { [ -z "${TR87_TOKEN:-}" ] || printf 'header = "Authorization: Bearer %s"\n' "$TR87_TOKEN"; }

# The same Idempotency-Key at each attempt: however often curl sends it, one call is placed. curl waits as long as
# Retry-After says.
answer=$(curl -sS --fail-with-body --retry 3 --retry-connrefused -m 120 -K <(credentials) -H "Idempotency-Key: $key" \
	--json "$(jq -n --arg to "$number" '{$to}')" "$url/v1/devices/$(jq -rn --arg d "$device" '$d|@uri')/calls") ||
	{ jq -r '.detail // empty' <<<"$answer" >&2; exit 1; }
echo "call $(jq -r .call <<<"$answer")"
