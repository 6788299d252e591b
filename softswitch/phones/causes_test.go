package phones

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

var update = flag.Bool("update", false, "write the table of causes into docs/softswitch.md; read the difference before you believe it")

// Each status code and each cause of Q.850 says one thing, and what a caller gets is read as it was meant.
func TestCauses(t *testing.T) {
	network := &leg{trunk: &trunk{}}
	var codes, numbers []int
	for _, r := range causes {
		for _, code := range r.from {
			if slices.Contains(codes, code) || code < 400 || code > 699 {
				t.Errorf("%d twice, or out of range", code)
			}
			codes = append(codes, code)
			if f := network.failure(code, sip.Causes{}); f.cause != r.cause || f.code != code {
				t.Errorf("%d is %s, want %s", code, f.cause, r.cause)
			}
			if f := network.failure(400, sip.Causes{SIP: code}); f.cause != r.cause {
				t.Errorf("400 with SIP;cause=%d is %s, want %s", code, f.cause, r.cause)
			}
		}
		for _, number := range r.heard {
			if slices.Contains(numbers, number) || number < 1 || number > 127 {
				t.Errorf("%d of Q.850 twice, or out of range", number)
			}
			numbers = append(numbers, number)
			if f := network.failure(486, sip.Causes{Q850: number, SIP: 404}); f.cause != r.cause {
				t.Errorf("486 with %d of Q.850 is %s, want %s", number, f.cause, r.cause)
			}
			if got := cleared(sip.Causes{Q850: number, SIP: 486}); (got == r.cause) != r.ends || got != "" && !r.ends {
				t.Errorf("the end of a call with %d of Q.850 is %q", number, got)
			}
		}
		if back := network.failure(r.status, sip.Causes{}).cause; refusal(back) != r.status {
			t.Errorf("%s is sent as %d, read as %s, and sent on as %d", r.cause, r.status, back, refusal(back))
		}
		if slices.Contains(r.from, r.status) != (len(r.from) > 0) && r.cause != uacsta.CauseDestNotObtainable {
			t.Errorf("%s is sent as %d, which is not read as it", r.cause, r.status)
		}
		e := refused(r.cause)
		if r.q850 == 0 {
			if e.code != r.status || e.headers != nil {
				t.Errorf("%s: %+v", r.cause, e)
			}
			continue
		}
		if e.code != r.status || len(e.headers) != 1 || e.headers[0].Value != fmt.Sprint("Q.850;cause=", r.q850) {
			t.Errorf("%s: %+v", r.cause, e)
		}
		if back := network.failure(e.code, sip.Causes{Q850: r.q850}).cause; back != r.cause {
			t.Errorf("%s is sent as %+v, and read as %s", r.cause, e, back)
		}
	}
	for _, tt := range []struct {
		trunk *trunk
		code  int
		why   sip.Causes
		want  uacsta.EventCause
	}{
		{nil, 486, sip.Causes{Q850: 16}, uacsta.CauseBusy}, // says nothing
		{nil, 486, sip.Causes{Q850: 127, SIP: 200}, uacsta.CauseBusy},
		{nil, 503, sip.Causes{}, uacsta.CauseDestOutOfOrder},
		{nil, 0, sip.Causes{}, uacsta.CauseDestOutOfOrder},
		{nil, 499, sip.Causes{}, uacsta.CauseDestOutOfOrder},
		{network.trunk, 503, sip.Causes{}, uacsta.CauseNetworkCongestion},
		{network.trunk, 0, sip.Causes{}, uacsta.CauseNetworkNotObtainable},
		{network.trunk, 499, sip.Causes{}, uacsta.CauseNetworkNotObtainable},
	} {
		if got := (&leg{trunk: tt.trunk}).failure(tt.code, tt.why).cause; got != tt.want {
			t.Errorf("trunk %v, %d %+v: %s, want %s", tt.trunk != nil, tt.code, tt.why, got, tt.want)
		}
	}
	if e := refused("somethingElse"); e.code != 480 || e.headers != nil {
		t.Error(e)
	}
}

// The network says by a Reason why a call fails, ends or is given up: clients learn it, and so does the caller.
func TestCausesOfNetwork(t *testing.T) {
	w, peer, _ := withTrunk(t, "0309876", nil)
	a := w.handset("100")
	reason := func(value string) sip.Header { return sip.Header{Name: "Reason", Value: value} }
	final, _ := a.call(t.Context(), "0301234")
	wait.Next(t, peer.calls, "the call").Reject(sip.Answer{Code: 480, Headers: []sip.Header{reason("Q.850;cause=1"), reason("SIP;cause=486")}})
	o := wait.Next(t, final, "the refusal")
	var refused *sip.Refusal
	if !asRefusal(o.err, &refused) || o.code() != 404 || refused.Response.Causes().Q850 != 1 {
		t.Error(o.code(), o.err)
	}
	if cause := w.event("100", "Failed").Text("cause"); cause != "numberUnallocated" {
		t.Error(cause)
	}
	w.leave()

	for value, want := range map[string]string{"Q.850;cause=38": "networkOutOfOrder", "Q.850;cause=16": "normalClearing", "Q.850;cause=17": "normalClearing", "Q.850;cause=38, Q.850;cause=27": "normalClearing"} {
		w.mu.Lock()
		w.seen = nil
		w.mu.Unlock()
		final, _ = a.call(t.Context(), "0301234")
		out := peer.answer(wait.Next(t, peer.calls, "the call"))
		if o := wait.Next(t, final, "the answer"); o.err != nil {
			t.Fatal(o.err)
		}
		out.Send("BYE", "", nil, nil, reason(value))
		wait.Next(t, a.ended, "the end")
		m := w.event("900", "ConnectionCleared")
		for m.Text("releasingDevice/deviceIdentifier") != "900" {
			m = w.event("900", "ConnectionCleared")
		}
		if cause := m.Text("cause"); cause != want {
			t.Errorf("%s: %s, want %s", value, cause, want)
		}
		w.leave()
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	final, progress := peer.call(ctx, "5550100")
	a.ring(wait.Next(t, a.calls, "the call from the network"))
	wait.Next(t, progress, "ringing")
	cancel(sip.CancelReason("Q.850;cause=27"))
	wait.Next(t, final, "the end")
	for {
		m := w.event("100", "ConnectionCleared")
		if m.Text("releasingDevice/deviceIdentifier") == "900" && m.Text("cause") == "destOutOfOrder" {
			break
		}
	}
	w.leave()
}

// causeTable is the table for docs/softswitch.md.
func causeTable() string {
	list := func(numbers ...int) string {
		var texts []string
		for _, n := range numbers {
			if n != 0 {
				texts = append(texts, fmt.Sprint(n))
			}
		}
		return strings.Join(texts, ", ")
	}
	var b strings.Builder
	b.WriteString("| cause in events | from SIP | from Q.850 | to a caller | with Q.850 | of the end, too |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, r := range causes {
		ends := ""
		if r.ends {
			ends = "yes"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.cause, list(r.from...), list(r.heard...), list(r.status), list(r.q850), ends)
	}
	return b.String()
}

// The table in docs/softswitch.md is that of the code. With -update it is written.
func TestCausesDocumented(t *testing.T) {
	const name = "../../docs/softswitch.md"
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	table := causeTable()
	head, _, _ := strings.Cut(table, "\n")
	before, rest, found := strings.Cut(string(page), head)
	old, after, ended := strings.Cut(rest, "\n\n")
	if !found || !ended {
		t.Fatalf("%s has no table %q", name, head)
	}
	if head+old+"\n" == table {
		return
	}
	if !*update {
		t.Fatalf("%s has another table of causes; go test ./softswitch/phones -run TestCausesDocumented -update writes it", name)
	}
	if err := os.WriteFile(name, []byte(before+table+"\n"+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
