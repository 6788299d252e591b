#!/usr/bin/env bash
# Prints who calls a telephone, as soon as it rings. It needs curl and jq.
#
#     ./screenpop.sh 101
#
# TR87_URL is the proxy (http://127.0.0.1:8880), TR87_TOKEN the token; without one, the proxy knows you by your address.
# The file screenpop-101.position has the last event that was handled: after a restart, calls that came meanwhile are
# printed, too.
set -uo pipefail
device=${1:?"usage: screenpop.sh DEVICE"}
url=${TR87_URL:-http://127.0.0.1:8880}
file=screenpop-$device.position
show='def show($d): "\(.caller // "somebody") calls \($d)";
	if .type == "delivered" and .state == "alerting" then show($d)
	elif .type == "snapshot" then .calls[] | select(.state == "alerting") | show($d)
	elif .type == "gap" then "events are missing: \(.reason)" else empty end'

# the token comes from a file descriptor: in the command line, everybody could read it
credentials() { [ -z "${TR87_TOKEN:-}" ] || printf 'header = "Authorization: Bearer %s"\n' "$TR87_TOKEN"; }

trap 'kill $! 2>/dev/null' EXIT
while true; do
	query=(--data-urlencode "devices=$device" -d types=delivered,snapshot -d snapshot=true)
	if [ -s "$file" ]; then query+=(-d "after=$(<"$file")"); fi
	while IFS= read -r line; do
		case $line in
		data:\ *)
			event=${line#data: }
			jq -r --arg d "$device" "$show" <<<"$event"
			jq -r .id <<<"$event" >"$file.new" && mv "$file.new" "$file" # only now: an event that was not handled comes again
			;;
		{*) jq -r .detail <<<"$line" >&2 ;; # the proxy has refused the request
		esac
		# without an octet for 75 s the connection is dead: the proxy sends a heartbeat every 30 s
	done < <(curl -sSNG --fail-with-body -Y 1 -y 75 -K <(credentials) "${query[@]}" "$url/v1/events")
	sleep 2
done
