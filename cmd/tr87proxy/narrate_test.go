package main

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Events become lines of at most 80 columns that say what has happened at the device.
func TestNarrate(t *testing.T) {
	at := time.Date(2026, 3, 1, 5, 33, 1, 0, time.UTC)
	device := func(element, id string) string {
		return "<" + element + "><deviceIdentifier>" + id + "</deviceIdentifier></" + element + ">"
	}
	connection := func(element, id string) string {
		return "<" + element + "><callID>7</callID><deviceID>" + id + "</deviceID></" + element + ">"
	}
	calling, called := device("callingDevice", "100"), device("calledDevice", "101")
	for _, c := range []struct{ name, content, at, want string }{
		{"Delivered", connection("connection", "101") + device("alertingDevice", "101") + calling + called + "<cause>newCall</cause>", "101", "101 rings, from 100  call 7"},
		{"Delivered", connection("connection", "101") + device("alertingDevice", "101") + calling + called + "<cause>newCall</cause>", "100", "100 hears 101 ring  call 7"},
		{"Delivered", connection("connection", "101") + device("alertingDevice", "101") + calling + called + "<cause>newCall</cause>", "300", "300 sees: 101 rings, from 100  call 7"},
		{"Delivered", connection("connection", "101") + device("alertingDevice", "101") + "<callingDevice><restricted/></callingDevice>" + called + "<lastRedirectionDevice><numberDialed>102</numberDialed></lastRedirectionDevice><cause>callForwardNoAnswer</cause>", "101",
			"101 rings, from unknown, sent on by 102 \"Carol?\" (call forward no answ…"},
		{"Established", connection("establishedConnection", "101") + device("answeringDevice", "101") + calling + called + "<cause>newCall</cause>", "101", "101 has answered 100  call 7"},
		{"Established", connection("establishedConnection", "101") + device("answeringDevice", "101") + calling + called + "<cause>newCall</cause>", "100", "100 talks with 101  call 7"},
		{"Held", connection("heldConnection", "101") + device("holdingDevice", "101") + "<cause>normal</cause>", "101", "101 holds the call  call 7"},
		{"Held", connection("heldConnection", "101") + device("holdingDevice", "101") + "<cause>normal</cause>", "100", "100 sees: 101 has put the call on hold  call 7"},
		{"Failed", connection("failedConnection", "101") + device("failingDevice", "101") + calling + called + "<cause>busy</cause>", "100", "100 call to 101 failed: busy  call 7"},
		{"ConnectionCleared", connection("droppedConnection", "100") + device("releasingDevice", "100") + "<cause>normalClearing</cause>", "100", "100 has hung up  call 7"},
		{"Transfered", connection("primaryOldCall", "101") + device("transferringDevice", "101") + device("transferredToDevice", "102") +
			"<transferredConnections><connectionListItem>" + connection("newConnection", "100") + "</connectionListItem><connectionListItem>" + connection("newConnection", "102") + "</connectionListItem></transferredConnections><cause>transfer</cause>", "101",
			"101 has transferred the call: now 100, 102 \"Carol?\"  call 7"},
		{"Queued", connection("queuedConnection", "300") + device("queue", "300") + calling + called + "<numberQueued>2</numberQueued><cause>normal</cause>", "300", "300 has a caller waiting: 100, place 2  call 7"},
		{"DoNotDisturb", "<device><deviceIdentifier>100</deviceIdentifier></device><doNotDisturbOn>true</doNotDisturbOn>", "100", "DoNotDisturb  100  on true"},
		{"Delivered", connection("connection", "101") + device("alertingDevice", "101") + device("callingDevice", strings.Repeat("é\x7f", 200)) + called + "<cause>newCall</cause>", "101", "101 rings, from é?é?"},
	} {
		m, err := uacsta.Parse([]byte("<" + c.name + `Event xmlns="` + uacsta.NamespaceED3 + `">` + c.content + "</" + c.name + "Event>"))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got := narrate(m, c.at, deviceNames{"102": "Carol\x1b"}, at)
		if got != "05:33:01 "+c.want && (utf8.RuneCountInString(c.want) > 20 || !strings.HasPrefix(got, "05:33:01 "+c.want)) {
			t.Errorf("%s at %s: %q, want %q", c.name, c.at, got, c.want)
		}
		if n := utf8.RuneCountInString(got); n > narrow {
			t.Errorf("%q has %d columns", got, n)
		}
	}
}
