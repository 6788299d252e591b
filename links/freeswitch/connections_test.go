package freeswitch

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/connections"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

const (
	// rings1001 is a call that rings at 1001.
	rings1001 = "CHANNEL_CREATE id=A dir=inbound who=1002@pbx.test to=1001\nCHANNEL_CREATE id=B of=A dir=outbound who=1001@pbx.test\nCHANNEL_PROGRESS id=B\n"
	// two1001 are two calls of 1001: one that it holds, and one that it talks in.
	two1001 = talking + "CHANNEL_HOLD id=A\nCHANNEL_CREATE id=C dir=inbound who=1001@pbx.test to=1003\n" +
		"CHANNEL_CREATE id=D of=C dir=outbound who=1003@pbx.test\nCHANNEL_PROGRESS id=D\nCHANNEL_ANSWER id=D\nCHANNEL_ANSWER id=C\n"
)

// foreigners are calls of 1005 with a far end that presents the number 1001, or none.
var foreigners = map[string]string{
	"who claims to be 1001": " from=1001",
	"who says nothing":      "",
}

// situations say where a service that names connections starts from: the connections of 1001 are
// in the calls A, and C where there are two.
var situations = map[string]struct{ events, active, held string }{
	"AlternateCall":            {two1001, "C", "A"},
	"AnswerCall":               {rings1001, "A", ""},
	"ClearConnection":          {talking, "A", ""},
	"ConferenceCall":           {two1001, "C", "A"},
	"ConsultationCall":         {talking, "A", ""},
	"DeflectCall":              {rings1001, "A", ""},
	"DirectedPickupCall":       {rings1001, "A", ""},
	"GenerateDigits":           {talking, "A", ""},
	"HoldCall":                 {talking, "A", ""},
	"MonitorStart":             {talking, "A", ""},
	"ParkCall":                 {talking, "A", ""},
	"PlayMessage":              {talking, "A", ""},
	"ReconnectCall":            {two1001, "C", "A"},
	"RecordMessage":            {talking, "A", ""},
	"RetrieveCall":             {talking + "CHANNEL_HOLD id=A\n", "A", ""},
	"SingleStepConferenceCall": {talking, "A", ""},
	"SingleStepTransferCall":   {talking, "A", ""},
	"SnapshotCall":             {talking, "A", ""},
	"Stop":                     {talking, "A", ""},
	"TransferCall":             {two1001, "C", "A"},
}

// carries reports whether the link has a service.
func (tr *trial) carries(service string) bool {
	nobody := uacsta.Conn("1", "1")
	_, err := (&player{t: tr.t, link: tr.link}).send(connections.Request(tr.t, service, connections.Named{Active: nobody, Held: nobody, To: "1"}))
	return err == nil || !strings.HasSuffix(err.Error(), "serviceNotSupported")
}

// A service acts on exactly the connection it names. A request for any other is refused,
// without commands and events.
func TestConnections(t *testing.T) {
	carried := connections.Services(newTrial(t, LinkConfig{Recordings: "/var/rec"}).carries)
	if len(carried) != len(situations) {
		t.Errorf("%d services name connections, %d have a situation", len(carried), len(situations))
	}
	for _, service := range carried {
		for name, foreigner := range foreigners {
			t.Run(service+" beside somebody "+name, func(t *testing.T) { namesConnections(t, service, foreigner) })
		}
	}
}

func namesConnections(t *testing.T, service, foreigner string) {
	at, known := situations[service]
	if !known {
		t.Fatal("no situation")
	}
	tr := newTrial(t, LinkConfig{Recordings: "/var/rec"}, "1001", "1002", "1003", "1005")
	tr.tell(at.events + "CHANNEL_CREATE id=F dir=inbound to=1005" + foreigner + "\nCHANNEL_CREATE id=G of=F dir=outbound who=1005@pbx.test\n" +
		"CHANNEL_PROGRESS id=G\nCHANNEL_ANSWER id=G\nCHANNEL_ANSWER id=F\n")
	named := connections.Named{Active: uacsta.Conn(at.active, "1001"), Held: uacsta.Conn(at.held, "1001"), To: "1009"}
	if service == "Stop" {
		tr.must(uacsta.PlayMessage{MessageToBePlayed: "hello", OverConnection: named.Active})
	}
	tr.settle()
	before := tr.happened()
	ask := func(m *uacsta.Message) error {
		_, err := (&player{t: tr.t, link: tr.link}).send(m)
		tr.settle()
		return err
	}
	for _, wrong := range connections.Wrong(t, service, named, uacsta.Conn("F", "1005")) {
		want := "invalidConnectionID"
		if service == "MonitorStart" { // calls are not monitored
			want = "invalidMonitorObject"
		}
		if err := ask(wrong.Request); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v", wrong.Name, err)
		}
		if now := tr.happened(); now != before {
			t.Fatalf("%s: there is more than\n%s\nnow\n%s", wrong.Name, before, now)
		}
	}
	if err := ask(connections.DeviceOnly(t, service, named)); err == nil {
		t.Error("a device alone is a connection")
	}
	if err := ask(connections.Request(t, service, named)); err != nil && service != "MonitorStart" {
		t.Errorf("as it should be: %v", err)
	}
}

// happened returns the commands and events so far.
func (tr *trial) happened() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.core.mu.Lock()
	defer tr.core.mu.Unlock()
	text := strings.Join(tr.commands, "\n")
	for _, device := range []string{"1001", "1002", "1003", "1005"} {
		text += "\n" + device + ": " + strings.Join(tr.core.told[device], ", ")
	}
	return text
}
