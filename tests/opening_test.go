package tests

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A request in an INVITE over UDP is carried out when its sender has shown, by the ACK or by
// another request in the dialog, that it gets our answers: not for whoever forges the address
// of a trusted peer. The status is told at once, and over TCP everything is.
func TestOpeningOverUDP(t *testing.T) {
	t.Parallel()
	r := serve(t, everybody)
	o := &overseer{xmlClient: r.xml(), refs: map[string]string{}}
	makeCall := string(uacsta.Encode(call("1000", "1001"), uacsta.Edition3).Bytes())
	status := string(uacsta.Encode(uacsta.RequestSystemStatus{}, uacsta.Edition3).Bytes())
	const kind = "Content-Type: application/csta+xml"
	open := func(transport, body string) (*handset, *sipDialog, *sipText) {
		t.Helper()
		h := newHandset(t, transport, r.port, "crm", "")
		d := h.dialog("x")
		headers := []string{kind}
		if body == "" {
			headers = nil
		}
		m := d.begin("INVITE", headers, body).final()
		if m.code() != 200 {
			t.Fatal(m.start)
		}
		d.follow(m)
		return h, d, m
	}
	silent := func(when string) {
		t.Helper()
		if calls := o.calls("1000"); len(calls) != 0 {
			t.Fatalf("%s: %v", when, calls)
		}
	}
	cleared := func(d *sipDialog) {
		t.Helper()
		for _, c := range o.calls("1000") {
			o.must(uacsta.ClearConnection{ConnectionToBeCleared: c})
		}
		d.ask("BYE", nil, "")
	}
	for _, body := range []string{status, ""} {
		_, d, m := open("udp", body)
		if !strings.Contains(m.body, "<systemStatus>normal</systemStatus>") {
			t.Errorf("%q: %s", body, m.body)
		}
		d.ack(m)
		d.ask("BYE", nil, "")
	}
	_, d, m := open("tcp", makeCall)
	if !strings.Contains(m.body, "MakeCallResponse") {
		t.Errorf("%s", m.body)
	}
	d.ack(m)
	cleared(d)
	// the ACK
	h, d, m := open("udp", makeCall)
	if m.body != "" {
		t.Errorf("a body before the ACK: %s", m.body)
	}
	silent("before the ACK")
	forged := *m
	forged.headers = append([]string{"To: <sip:x@" + h.server + ">;tag=guessed"}, m.headers...)
	d.ack(&forged)
	stranger := d.remote
	d.remote = "<sip:x@" + h.server + ">;tag=guessed"
	if m := d.ask("INFO", []string{kind}, status); m.code() != 481 { // behind the forged ACK
		t.Error(m.start)
	}
	d.remote = stranger
	silent("after a forged ACK")
	d.number = 1
	d.ack(m)
	info := h.expect("INFO")
	if !strings.Contains(info.body, "MakeCallResponse") || info.header("Content-Type") != "application/csta+xml" {
		t.Errorf("%v %s", info.headers, info.body)
	}
	h.answer(info, 200, nil, "")
	if calls := o.calls("1000"); len(calls) != 1 {
		t.Errorf("%v", calls)
	}
	cleared(d)
	// a request of the dialog, when the ACK was lost: the former comes first
	h, d, _ = open("udp", makeCall)
	snapshot := string(uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1000")}, uacsta.Edition3).Bytes())
	if m := d.ask("INFO", []string{kind}, snapshot); m.code() != 200 || !strings.Contains(m.body, "<callID>") {
		t.Errorf("%s %s", m.start, m.body)
	}
	if info := h.expect("INFO"); !strings.Contains(info.body, "MakeCallResponse") {
		t.Errorf("%s", info.body)
	} else {
		h.answer(info, 200, nil, "")
	}
	cleared(d)
	// what is refused is told as well
	h, d, m = open("udp", strings.Replace(makeCall, "1001", "", 1))
	d.ack(m)
	if info := h.expect("INFO"); !strings.Contains(info.body, "CSTAErrorCode") {
		t.Errorf("%s", info.body)
	} else {
		h.answer(info, 200, nil, "")
	}
	d.ask("BYE", nil, "")
	r.stop()
}
