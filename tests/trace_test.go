package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// traced is a line of tr87proxy trace --json.
type traced struct {
	Number, Exchange                                                        uint64
	Lane, Kind, Name, Session, Identity, Front, Peer, Link, Reason, Message string
	Out, Allowed                                                            bool
	Devices, Calls                                                          []string
}

// trace returns the records that the flags select.
func (a *administered) trace(flags ...string) []traced {
	a.t.Helper()
	return recordsOf[traced](a, flags...)
}

// recordsOf returns the records of tr87proxy trace that the flags select.
func recordsOf[T any](a *administered, flags ...string) (list []T) {
	a.t.Helper()
	for line := range strings.Lines(a.admin(0, append([]string{"trace", "--json"}, flags...)...)) {
		if strings.HasPrefix(line, `{"note":`) { // that nothing matches
			continue
		}
		var r T
		if err := json.Unmarshal([]byte(line), &r); err == nil {
			list = append(list, r)
		} else {
			a.t.Errorf("%q: %v", line, err)
		}
	}
	return list
}

// steps returns what the records of one exchange show, in short.
func steps(list []traced) (short []string) {
	for _, r := range list {
		step := r.Lane + " " + map[bool]string{true: "<", false: ">"}[r.Out] + " " + r.Name
		switch r.Kind {
		case "decision":
			step = "decision " + map[bool]string{true: "allowed", false: "refused"}[r.Allowed]
		case "refusal":
			step = "refused by " + r.Link
		}
		short = append(short, step)
	}
	return short
}

// What passes through is shown in order, with the decision between, as the client wrote it and as the switch got it: over
// CSTA-XML, with a number that a rule translates, for what is carried out, refused by the rules, refused by the switch and
// unclear; and no password, neither in the trace nor in the log.
func TestTrace(t *testing.T) {
	t.Parallel()
	accounts := filepath.Join(t.TempDir(), "accounts")
	account(t, accounts, "crm", "s3cret <&>")
	a := administer(t, "application-sessions: {xml: mandatory, accounts: "+accounts+"}\nlog: {level: debug}\n"+
		"numbers: {rules: [{match: '/77(.*)/', replace: '10$1'}]}\ngrants: [{who: crm, control: [\"10*\"], dial: [\"10*\"]}]\n")
	follow := start(t, program(t), "trace", "--follow", "--failures", "--socket", a.socket)
	c := a.xml()
	stranger := a.xml()
	if m := stranger.ask(call("1000", "1001")); m.Err() == nil {
		t.Fatalf("a stranger: %s", m)
	}
	if m := c.login("crm", "wr0ng päss", uacsta.LoginAvaya, 60); m.Name() != "StartApplicationSessionNegResponse" {
		t.Fatalf("%s", m)
	}
	if m := c.login("crm", "s3cret <&>", uacsta.LoginPlain, 60); m.Name() != "StartApplicationSessionPosResponse" {
		t.Fatalf("%s", m)
	}
	c.monitor("1001")
	made := c.ask(call("1000", "7701"))
	if made.Err() != nil {
		t.Fatalf("%s", made)
	}
	id := made.Connections()[0].CallID()
	if m := c.ask(call("1000", "05550199")); m.Err() == nil {
		t.Fatalf("%s", m)
	}
	if m := c.ask(call("1000", "1002")); m.Err() == nil {
		t.Fatalf("a second call: %s", m)
	}

	all := a.trace()
	if !slices.IsSortedFunc(all, func(a, b traced) int { return int(a.Number) - int(b.Number) }) {
		t.Error("the trace is out of order")
	}
	var requests []traced
	for _, r := range all {
		if r.Name == uacsta.NameMakeCall && r.Lane == "client" && r.Identity == "crm" {
			requests = append(requests, r)
		}
	}
	if len(requests) != 3 {
		t.Fatalf("%d calls are traced", len(requests))
	}
	of := func(n int) (list []traced) {
		for _, r := range all {
			if r.Exchange == requests[n].Exchange {
				list = append(list, r)
			}
		}
		return list
	}
	carried := of(0)
	if got, want := steps(carried), []string{"client > MakeCall", "decision allowed", "switch < MakeCall", "switch > MakeCallResponse", "client < MakeCallResponse"}; !slices.Equal(got, want) {
		t.Errorf("a call that was made: %q, want %q", got, want)
	} else {
		if !slices.Equal(carried[0].Devices, []string{"1000", "7701"}) || !slices.Equal(carried[1].Devices, []string{"1000", "1001"}) || !slices.Equal(carried[2].Devices, []string{"1000", "1001"}) {
			t.Errorf("the number on its way: %q, %q, %q", carried[0].Devices, carried[1].Devices, carried[2].Devices)
		}
		if carried[1].Reason == "" || carried[0].Front != "xml" || !strings.Contains(carried[0].Peer, "127.0.0.1:") || carried[2].Link != "switch" || !slices.Contains(carried[4].Calls, id) {
			t.Errorf("%+v", carried)
		}
		if !strings.Contains(carried[0].Message, ">7701<") || !strings.Contains(carried[2].Message, ">1001<") {
			t.Errorf("the messages on their way: %s and %s", carried[0].Message, carried[2].Message)
		}
	}
	if got, want := steps(of(1)), []string{"client > MakeCall", "decision refused", "client < CSTAErrorCode"}; !slices.Equal(got, want) {
		t.Errorf("a call that the rules refuse: %q, want %q", got, want)
	}
	if got, want := steps(of(2)), []string{"client > MakeCall", "decision allowed", "switch < MakeCall", "refused by switch", "client < CSTAErrorCode"}; !slices.Equal(got, want) {
		t.Errorf("a call that the switch refuses: %q, want %q", got, want)
	}

	// an event, and what the client got of it
	for _, event := range a.trace("--service", "Delivered", "--call", id) {
		if event.Exchange == 0 || event.Lane == "switch" && event.Link != "switch" || event.Lane == "client" && event.Identity != "crm" {
			t.Errorf("%+v", event)
		}
	}
	if got, want := steps(a.trace("--service", "Delivered")), []string{"switch > DeliveredEvent", "client < DeliveredEvent"}; !slices.Equal(got, want) {
		t.Errorf("an event: %q, want %q", got, want)
	}

	// filters, and text
	for _, r := range a.trace("--device", "05550199") {
		if r.Exchange != requests[1].Exchange {
			t.Errorf("--device shows %+v", r)
		}
	}
	if list := a.trace("--device", "nobody"); len(list) != 0 {
		t.Errorf("--device of nobody shows %+v", list)
	}
	if list := a.trace("--last", "1ns"); len(list) != 0 {
		t.Errorf("the last nanosecond had %d records", len(list))
	}
	text := a.admin(0, "trace", "--device", "7701", "--raw")
	for _, want := range []string{
		`\d\d:\d\d:\d\d\.\d\d\d crm +-- MakeCall 1000 .*->\|\n`, `\| allowed: .*crm`, `\|-- MakeCall 1000 .*->\| switch\n`, `\|<-- ok MakeCall .*-\| switch\n`,
		`crm +<-- ok MakeCall .*-\|\n`, `(?m)^ +<calledDirectoryNumber>7701</`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("the ladder does not match %s:\n%s", want, text)
		}
	}
	waitFor(t, "the refusals that were followed", func() bool {
		return strings.Contains(follow.out.String(), "connectedCallExists") && strings.Contains(follow.out.String(), "privilegeViolationCalledDevice")
	})
	if strings.Contains(follow.out.String(), "DeliveredEvent") {
		t.Errorf("--failures shows what went well:\n%s", follow.out.String())
	}

	// secrets
	shown := a.admin(0, "trace", "--raw") + a.admin(0, "trace", "--json") + follow.out.String() + a.out.String()
	for _, secret := range []string{"s3cret", "wr0ng", "ssword</"} {
		if strings.Contains(shown, secret) {
			t.Errorf("%q is shown", secret)
		}
	}
	if !strings.Contains(shown, "(masked)") {
		t.Error("no password is masked: the test shows none")
	}

	if out, status := command(t, "trace", "--last", "-5m", "--socket", a.socket); status != 2 || !strings.Contains(out, "such as 5m") {
		t.Errorf("a negative time: status %d, %s", status, out)
	}
	a.stop()
}

// Where the trace is off, the command says how to turn it on.
func TestTraceOff(t *testing.T) {
	t.Parallel()
	a := administer(t, everybody+"trace: {max-mib: 0}\n")
	if m := a.xml().ask(call("1000", "1001")); m.Err() != nil {
		t.Errorf("%s", m)
	}
	if out := a.admin(1, "trace"); !strings.Contains(out, "trace: {max-mib: 8}") {
		t.Errorf("it says %s", out)
	}
	a.stop()
}

// In a terminal: the list of exchanges, calls and sessions, a filter, the ladder of one with its messages, and a file of it.
func TestTraceOnScreen(t *testing.T) {
	t.Parallel()
	a := administer(t, diallers)
	c := a.xml()
	c.monitor("1001")
	made := c.ask(call("1000", "1001"))
	if made.Err() != nil {
		t.Fatalf("%s", made)
	}
	id := made.Connections()[0].CallID()
	dir := t.TempDir()
	view := onTerminal(t, "env", "--chdir="+dir, program(t), "trace", "--interactive", "--socket", a.socket)
	shows := func(what string, patterns ...string) {
		t.Helper()
		waitFor(t, what, func() bool {
			picture := view.shows()
			return !slices.ContainsFunc(patterns, func(p string) bool { return !regexp.MustCompile("(?m)" + p).MatchString(picture) })
		})
	}
	shows("the exchanges", `MakeCall 1000 1001 +`+id+` +ok$`, `^> .*Delivered 1001 1000 +`+id)
	if m := c.ask(call("1000", "1002")); m.Err() == nil {
		t.Fatalf("a second call: %s", m)
	}
	shows("a refusal that comes while it shows", `^> .*MakeCall 1000 1002 .*stateIncompatibility/`)
	view.keys("Tab")
	shows("the calls", `^1 calls `, `^> .*MakeCall 1000 1001 +`+id)
	view.keys("Enter", "g")
	shows("the ladder of the call", `^> .*-- MakeCall 1000 1001 -+>\|`, `\| allowed: `, `\|-- MakeCall 1000 1001 -+>\| switch`, `<-- ok MakeCall 1000 -+\|`, `<calledDirectoryNumber>1001</`)
	view.keys("G")
	shows("the last message", `^> .*<-- Delivered 1001 1000`, `^ +<alertingDevice>`)
	view.keys("w")
	shows("the name of the file", `^\d+ records are in trace-`)
	files, err := filepath.Glob(filepath.Join(dir, "trace-*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %q, %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	var first traced
	if err == nil {
		err = json.Unmarshal([]byte(strings.SplitN(string(data), "\n", 2)[0]), &first)
	}
	if err != nil || first.Name != uacsta.NameMakeCall || first.Lane != "client" {
		t.Errorf("the file begins with %+v, %v", first, err)
	}
	view.keys("Escape")
	shows("the list again", `^1 calls `)
	view.keys("Tab", "Tab", "/", "1002", "Enter")
	shows("the filtered exchanges", `^1 exchanges .*filter: 1002`, `MakeCall 1000 1002`)
	view.keys("q")
	waitFor(t, "the end", func() bool { return view.shows() == "" })
	if out, status := command(t, "trace", "--interactive", "--socket", a.socket); status != 2 || !strings.Contains(out, "terminal") {
		t.Errorf("without a terminal: status %d, %s", status, out)
	}
	a.stop()
}
