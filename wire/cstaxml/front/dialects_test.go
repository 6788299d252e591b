package front

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A client of Zultys' that has other requests than keepalive keeps its session by them.
func TestZultysProlongs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &zultys{}
		if m := v.prolong(); m != nil {
			t.Errorf("before the login: %s", m)
		}
		v.write(uacsta.Encode(uacsta.StartApplicationSessionPosResponse{SessionID: "7"}, editionOfZultys))
		for range 3 {
			if m := v.prolong(); m != nil {
				t.Errorf("too early: %s", m)
			}
			time.Sleep(betweenProlonging)
			if m := v.prolong(); m == nil || m.Name() != uacsta.NameResetApplicationSessionTimer || m.Text("sessionID") != "7" {
				t.Errorf("a minute later: %v", m)
			}
		}
	})
}

// A client of Avaya's names the file to play in the private data of PlayMessage.
func TestAvayaPlaysFile(t *testing.T) {
	for document, want := range map[string]string{
		`<PlayMessage xmlns="http:// www.ecma-international.org/standards/ecma-323/csta/ed3"><messageToBePlayed>0</messageToBePlayed><overConnection><deviceID>100:SW1::0</deviceID></overConnection><extensions><privateData><private><PlayMessagePrivateData><fileList>0001.wav</fileList></PlayMessagePrivateData></private></privateData></extensions></PlayMessage>`: "0001.wav",
		`<PlayMessage><messageToBePlayed>welcome</messageToBePlayed><overConnection><deviceID>100:SW1::0</deviceID></overConnection></PlayMessage>`: "welcome",
	} {
		m, err := uacsta.Parse([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		q := newAvaya(&Server{resumable: newResumable()}, &association{}).read(m)
		if got := q.req.Text("messageToBePlayed"); got != want || q.own != nil || q.req.Text("overConnection/deviceID") != "100" {
			t.Errorf("%s plays %q", q.req, got)
		}
	}
}

// Sessions without a connection are kept as long as their clients wanted, some of each identity and some in all: those that end
// first go first.
func TestResumableIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newResumable()
		enter := func(id, identity string, keep time.Duration) *record {
			r := &record{id: id, identity: identity, keep: keep, monitors: map[string]string{"1": ""}}
			table.open(r)
			return r
		}
		enter("open", "a", time.Second)
		for i := range maxKeptOf + 1 {
			table.leave(enter(fmt.Sprint("a", i), "a", time.Minute+time.Duration(i)))
		}
		table.leave(enter("b", "b", time.Hour))
		for id, want := range map[string]bool{"a0": false, "a1": true, fmt.Sprint("a", maxKeptOf): true, "open": true} {
			if table.has(id, "a") != want || table.has(id, "b") {
				t.Errorf("%s is there: %v", id, !want)
			}
		}
		by := &record{id: "new", identity: "b"}
		if table.take("a1", by) != nil || len(table.take("b", by)) != 1 || table.take("b", by) != nil {
			t.Error("the identity or the session does not count")
		}
		time.Sleep(2 * time.Minute)
		if table.has("a1", "a") || !table.has("open", "a") {
			t.Error("a session is kept for too long, or too short")
		}
		for i := range maxKept + 10 {
			table.leave(enter(fmt.Sprint("c", i), fmt.Sprint(i), time.Hour+time.Duration(i)))
		}
		if n := len(table.sessions); n != maxKept+1 || table.has("c9", "9") || !table.has("c10", "10") {
			t.Errorf("%d sessions are kept", n)
		}
	})
}

// What a session has to start its monitors again is bounded: those above the bound end with MonitorStop.
func TestResumableForgetsRequests(t *testing.T) {
	table, r := newResumable(), &record{monitors: map[string]string{}}
	long := string(make([]byte, maxRecorded/2))
	for _, ref := range []string{"1", "2", "3"} {
		table.started(r, ref, long)
	}
	if r.monitors["1"] == "" || r.monitors["2"] == "" || r.monitors["3"] != "" || len(r.monitors) != 3 {
		t.Error("the bound does not hold")
	}
	table.stopped(r, "1")
	table.started(r, "3", long)
	if table.started(r, "2", ""); r.monitors["3"] == "" || r.octets != maxRecorded/2 || len(r.monitors) != 2 {
		t.Errorf("%d octets", r.octets)
	}
}
