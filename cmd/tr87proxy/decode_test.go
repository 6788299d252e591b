package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// heads returns the lines of decode that begin messages.
func heads(text string) []string {
	return regexp.MustCompile(`(?m)^<!-- 2026-.*$`).FindAllString(text, -1)
}

// A capture that dumpcap has made on the loopback has a call in TR/87 over TCP, a question over UDP, one in CSTA-XML whose frame
// came in two segments, a PDU of ASN.1, and HTTP, which is counted: all messages are shown, with time, direction and readable
// bodies, up to where the file is cut.
func TestDecodeCapture(t *testing.T) {
	const file = "testdata/loopback.pcap"
	r := runCommand(t.Context(), "", "decode", "--file", file)
	list := heads(r.out)
	if r.status != 0 || len(list) != 17 || !strings.Contains(r.errOut, "of other protocols") {
		t.Fatalf("status %d, %d messages, %s", r.status, len(list), r.errOut)
	}
	for at, want := range map[int]string{
		0: `127\.0\.0\.1:44070 -> 127\.0\.0\.1:35962, SIP -->`, 1: `127\.0\.0\.1:35962 -> 127\.0\.0\.1:44070, SIP -->`, 10: `127\.0\.0\.1:47319 -> 127\.0\.0\.1:35962, SIP -->`,
		14: `127\.0\.0\.1:45756 -> 127\.0\.0\.1:35982, CSTA-XML, invoke 0001 -->`, 16: `127\.0\.0\.1:36180 -> 127\.0\.0\.1:35980, Phase III, Invoke 02, operation 73 -->`,
	} {
		if !regexp.MustCompile(`^<!-- 2026-11-30 \d\d:07:13\.\d{3} ` + want + `$`).MatchString(list[at]) {
			t.Errorf("message %d: %s, want %s", at, list[at], want)
		}
	}
	for _, want := range []string{"\nINFO sip:x@127.0.0.1:35962;transport=tcp SIP/2.0\nVia: ", "\n\n<MakeCall xmlns=", "\n  <callingDevice>100</callingDevice>\n", "\n<MonitorStop"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is not in it", want)
		}
	}
	if strings.Contains(r.out, "GET /v1/devices") {
		t.Error("HTTP is shown")
	}
	n := 0
	for line := range strings.Lines(runCommand(t.Context(), "", "decode", "--json", "--file", file).out) {
		var d decoded
		if err := json.Unmarshal([]byte(line), &d); err != nil || d.Time.IsZero() || d.From == "" || d.To == "" || d.What == "" || d.Text == "" {
			t.Errorf("%v: %s", err, line)
		}
		n++
	}
	if n != len(list) {
		t.Errorf("%d values of JSON", n)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cut := runCommand(t.Context(), string(data[:len(data)/2]), "decode")
	if got := heads(cut.out); cut.status != 0 || len(got) == 0 || len(got) >= len(list) || !slices.Equal(got, list[:len(got)]) {
		t.Errorf("half the file: status %d, %d messages, %s", cut.status, len(got), cut.errOut)
	}
	empty := filepath.Join(t.TempDir(), "empty.pcap")
	if err := os.WriteFile(empty, data[:24], 0o600); err != nil {
		t.Fatal(err)
	}
	if none := runCommand(t.Context(), "", "decode", "--file", empty); none.status != exitUsage || !strings.Contains(none.errOut, "nothing to decode") {
		t.Errorf("without packets: status %d, %s", none.status, none.errOut)
	}
}

// A message is shown once it is whole, wherever it was cut, and no password is.
func TestMessagesOf(t *testing.T) {
	xml := "\x00\x00\x00\x220007<StartApplicationSession/>"
	sip := "\r\n\r\nINFO sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INFO\r\nAuthorization: Digest username=\"u\", response=\"hunter2\"\r\nContent-Length: 18\r\n\r\n<GetCSTAFeatures/>"
	ber := "\x26\x80\x0e\xa1\x0c\x02\x01\x02\x02\x01\x49\x30\x04\x55\x02\x00\x01"
	for name, stream := range map[string]string{"CSTA-XML": xml + xml, "SIP": sip + sip, "ASN.1": ber + ber} {
		whole, rest := messagesOf([]byte(stream), false)
		if len(whole) != 2 || len(rest) != 0 || strings.Contains(whole[0].Text, "hunter2") {
			t.Fatalf("%s: %+v, %q left", name, whole, rest)
		}
		for at := 1; at < len(stream); at++ {
			first, rest := messagesOf([]byte(stream[:at]), false)
			second, left := messagesOf(append(rest, stream[at:]...), false)
			if len(first)+len(second) != 2 || len(left) != 0 {
				t.Fatalf("%s, cut at %d: %d and %d messages, %q left", name, at, len(first), len(second), left)
			}
		}
	}
	for _, other := range []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00", "220 mail ESMTP\r\n", strings.Repeat("\xff", 100)} {
		if list, rest := messagesOf([]byte(other), false); len(list) != 0 || len(rest) != 0 {
			t.Errorf("%q: %+v, %q", other, list, rest)
		}
	}
}

// No octets end the program, and each call makes less of them or waits for more.
func FuzzMessagesOf(f *testing.F) {
	for _, seed := range []string{"\x00\x00\x00\x220007<StartApplicationSession/>", "\x26\x80\x0e\xa1\x0c\x02\x01\x02\x02\x01\x49\x30\x04\x55\x02\x00\x01", "\r\n\r\nINFO sip:a@b SIP/2.0\r\nContent-Length: 0\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n"} {
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, datagram bool) {
		list, rest := messagesOf(data, datagram)
		if len(rest) > len(data) || datagram && len(rest) > 0 {
			t.Errorf("%d messages, %d octets left of %d", len(list), len(rest), len(data))
		}
	})
}
