package phones

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A client answers a call that alerts at a telephone that obeys NOTIFY talk, and retrieves one that its user holds.
func TestTalk(t *testing.T) {
	w := aWorld(t, "", func(cfg *Config) { cfg.Telephones.Users[1].Talks = true })
	a, b := w.handset("100"), w.handset("101")
	final, progress := a.call(t.Context(), "101")
	in := wait.Next(t, b.calls, "the call")
	b.ring(in)
	wait.Next(t, progress, "ringing")
	m := w.event("101", "Delivered")
	w.must(uacsta.AnswerCall{CallToBeAnswered: connection(m, "101")})
	if got := wait.Next(t, b.asked, "the command"); got != "NOTIFY talk" {
		t.Error(got)
	}
	d := b.answer(in)
	if o := wait.Next(t, final, "the answer"); o.err != nil {
		t.Fatal(o.err)
	}
	w.event("101", "Established")
	held := make(chan int, 1)
	d.Reinvite(sdpType, sdp("sendonly"), func(res sip.Result) { held <- res.Code() })
	wait.Next(t, held, "the hold")
	w.event("101", "Held")
	w.must(uacsta.RetrieveCall{CallToBeRetrieved: connection(m, "101")})
	for _, want := range []string{"NOTIFY talk", "INVITE sendrecv"} {
		if got := wait.Next(t, b.asked, want); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	w.event("101", "Retrieved")
	d.Bye()
	wait.Next(t, a.ended, "the end")
	w.leave()
}

// A telephone that does not is told in its maker's way, with the call's Call-ID.
func TestMakersCommand(t *testing.T) {
	w := aWorld(t, "", func(cfg *Config) {
		cfg.Telephones.Models = []registrar.Model{{Name: "handset", Agent: regexp.MustCompile("^Handset"), Answer: &registrar.Notify{Event: "lift", Type: "text/plain", Body: "lift {call-id}"}}}
	})
	a, b := w.handset("100"), w.handset("101")
	final, progress := a.call(t.Context(), "101")
	in := wait.Next(t, b.calls, "the call")
	b.ring(in)
	wait.Next(t, progress, "ringing")
	m := w.event("101", "Delivered")
	w.must(uacsta.AnswerCall{CallToBeAnswered: connection(m, "101")})
	if got := wait.Next(t, b.asked, "the command"); got != "outside lift lift "+in.Header("Call-ID") {
		t.Error(got)
	}
	in.Reject(sip.Answer{Code: 486})
	wait.Next(t, final, "the refusal")
	w.leave()
}

// A second telephone of an extension takes over the call of the first, by INVITE with Replaces.
func TestTakeOver(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	caller, callee := w.talking(a, b)
	other := w.newHandset("101", b.server)
	local, remote := callee.Tags()
	for header, want := range map[string]int{";early-only": 486, "": 200} {
		o := outcomeOf(t, other, sip.Header{Name: "Replaces", Value: callee.CallID() + ";to-tag=" + remote + ";from-tag=" + local + header})
		if o.code() != want {
			t.Errorf("%q: %d %v", header, o.code(), o.err)
		}
		if want == 200 {
			wait.Next(t, b.ended, "the end at the first telephone")
			break
		}
	}
	if _, legs := w.Counts(); legs > 3 {
		t.Errorf("%d legs", legs)
	}
	caller.Bye()
	wait.Next(t, other.ended, "the end")
	w.leave()
}

// What a telephone says before it answers is heard by the caller.
func TestEarlyMedia(t *testing.T) {
	w := aWorld(t, "", nil)
	a, b := w.handset("100"), w.handset("101")
	final, progress := a.call(t.Context(), "101")
	in := wait.Next(t, b.calls, "the call")
	if _, err := in.Progress(b, sip.Answer{Code: 183, ContentType: sdpType, Body: sdp("sendrecv")}); err != nil {
		t.Fatal(err)
	}
	for wait.Next(t, progress, "early media") != 183 {
	}
	b.answer(in).Bye()
	wait.Next(t, final, "the answer")
	w.leave()
}

// Messages are played and recorded in a call; a telephone's keys, and clients, stop them.
func TestMessages(t *testing.T) {
	dir := t.TempDir()
	for name, samples := range map[string]int{"short": 800, "long": 8000 * 60} {
		if err := os.WriteFile(filepath.Join(dir, name+".wav"), sound(samples), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := aWorld(t, "", func(cfg *Config) { cfg.Messages, cfg.Music = dir, filepath.Join(dir, "short.wav") })
	a, b := w.handset("100"), w.handset("101")
	caller, _ := w.talking(a, b)
	active := uacsta.ConnectionID{}
	w.Server.mu.Lock()
	for _, p := range w.parties {
		if p.Device == "100" {
			active = uacsta.Conn(p.call, "100")
		}
	}
	w.Server.mu.Unlock()
	w.must(uacsta.PlayMessage{OverConnection: active, MessageToBePlayed: "short"})
	w.event("100", "Play")
	w.stops("100", uacsta.CauseEndOfMessageDetected)
	w.must(uacsta.PlayMessage{OverConnection: active, MessageToBePlayed: "long", Termination: &uacsta.TerminatingConditions{DTMFDigitDetected: true}})
	w.event("100", "Play")
	pressed := make(chan int, 1)
	caller.Send("INFO", "application/dtmf", []byte("1"), func(res sip.Result) { pressed <- res.Code() })
	wait.Next(t, pressed, "the response")
	w.stops("100", uacsta.CauseDTMFDigitDetected)
	if _, err := w.do(uacsta.PlayMessage{OverConnection: active, MessageToBePlayed: "none"}); err == nil {
		t.Error("a message that there is not is played")
	}
	res := w.must(uacsta.RecordMessage{CallToBeRecorded: active})
	w.event("100", "Record")
	var recording uacsta.RecordMessageResponse
	if err := res.Decode(&recording); err != nil {
		t.Fatal(err)
	}
	w.must(uacsta.HoldCall{CallToBeHeld: active}) // the other one hears music
	wait.Next(t, a.asked, "the hold")
	w.must(uacsta.RetrieveCall{CallToBeRetrieved: active})
	wait.Next(t, a.asked, "the retrieval") // what the switch said before the hold has been followed
	begun := func(path string) {
		wait.For(t, "the recording", func() bool { _, err := os.Stat(path); return err == nil })
	}
	begun(recording.ResultingMessage)
	w.must(uacsta.Stop{MessageToBeStopped: recording.ResultingMessage, Connection: active})
	w.stops("100", uacsta.CauseMessageDurationExceeded)
	second := w.must(uacsta.RecordMessage{CallToBeRecorded: active}).Text("resultingMessage")
	begun(second)
	caller.Bye()
	w.stops("100", uacsta.CauseNormal)
	wait.Next(t, b.ended, "the end")
	w.leave()
	w.Close() // which completes what is written
	for _, path := range []string{recording.ResultingMessage, second} {
		if data, err := os.ReadFile(path); err != nil || len(data) < 44 || filepath.Dir(path) != dir {
			t.Error(path, len(data), err)
		}
	}
}

// A caller whose call rings hears a message as early media, and can be answered then.
func TestMessageBeforeTheAnswer(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "short.wav"), sound(800), 0o600); err != nil {
		t.Fatal(err)
	}
	w := aWorld(t, "", func(cfg *Config) { cfg.Messages = dir })
	a, b := w.handset("100"), w.handset("101")
	final, progress := a.call(t.Context(), "101")
	in := wait.Next(t, b.calls, "the call")
	b.ring(in)
	for wait.Next(t, progress, "ringing") != 180 {
	}
	w.must(uacsta.PlayMessage{OverConnection: uacsta.Conn(connection(w.event("100", "Delivered"), "101").CallID, "100"), MessageToBePlayed: "short"})
	for wait.Next(t, progress, "early media") != 183 {
	}
	w.stops("100", uacsta.CauseEndOfMessageDetected)
	b.answer(in).Bye()
	wait.Next(t, final, "the answer")
	w.leave()
}

// stops waits for the end of a message at a device, and compares its cause.
func (w *world) stops(device string, want uacsta.EventCause) *uacsta.Message {
	w.t.Helper()
	m := w.event(device, "Stop")
	if got := m.Text("cause"); got != string(want) {
		w.t.Errorf("%s, want %s", m, want)
	}
	return m
}

// In a call of virtual phones messages last their time, and a recording is a file with as much silence.
func TestMessagesOfVirtualPhones(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"short": sound(4000), "broken": []byte("RIFF, or not"), "truncated": sound(4000)[:1000],
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".wav"), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := aWorld(t, "", func(cfg *Config) { cfg.Messages = dir })
	active := connection(w.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("108"), CalledDirectoryNumber: uacsta.Dev("109"), AutoOriginate: uacsta.DoNotPrompt}), "108")
	w.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(active.CallID, "109")})
	plays := func(name string, limit int, want uacsta.EventCause) time.Duration {
		t.Helper()
		begun := time.Now()
		req := uacsta.PlayMessage{OverConnection: active, MessageToBePlayed: name}
		if limit > 0 {
			req.Duration = &limit
		}
		w.must(req)
		w.stops("108", want)
		return time.Since(begun)
	}
	if took := plays("short", 0, uacsta.CauseEndOfMessageDetected); took < 480*time.Millisecond {
		t.Errorf("half a second took %v", took)
	}
	if took := plays("short", 300, uacsta.CauseMessageDurationExceeded); took < 280*time.Millisecond || took > 5*time.Second {
		t.Errorf("300 ms took %v", took)
	}
	plays("broken", 0, uacsta.CauseBlocked)
	plays("truncated", 0, uacsta.CauseBlocked)
	limit := 1234
	record := uacsta.RecordMessage{CallToBeRecorded: active, Resource: "orders-7", MaxDuration: &limit}
	path := w.must(record).Text("resultingMessage")
	w.stops("108", uacsta.CauseMessageDurationExceeded)
	data, err := os.ReadFile(path)
	if want := sound(1234 * 8); err != nil || path != filepath.Join(dir, "orders-7.wav") || !bytes.Equal(data[40:], want[40:]) {
		t.Errorf("%s: %d octets, want %d; %v", path, len(data), len(want), err)
	}
	if _, err := w.do(record); err == nil {
		t.Error("a recording replaces another one")
	}
	plays(path, 0, uacsta.CauseEndOfMessageDetected)
	w.must(uacsta.ClearConnection{ConnectionToBeCleared: active})
	w.event("108", "ConnectionCleared")
}

// Passwords and status are the registrar's.
func TestTelephonesOfTheServer(t *testing.T) {
	w := aWorld(t, "", nil)
	w.handset("100")
	if st := w.Status(true); st.Reachable != 1 || len(st.Telephones) != 1 || st.Telephones[0].Number != "100" {
		t.Errorf("%+v", st)
	}
	users := []registrar.User{{Number: "100", Password: "another"}, {Number: "101", Password: "secret"}, {Number: "102", Password: "secret"}, {Number: "103", Password: "secret"}}
	if changed := w.SetPasswords(users); strings.Join(changed, " ") != "100" {
		t.Error(changed)
	}
	w.event("100", "OutOfService")
	if st := w.Status(false); st.Reachable != 0 || st.Telephones != nil {
		t.Errorf("%+v", st)
	}
}

// A telephone that speaks uaCSTA takes services on itself, and answers by it.
func TestPhysical(t *testing.T) {
	w := aWorld(t, "", func(cfg *Config) { cfg.Telephones.Users[1].UACSTA = registrar.Always })
	if _, err := w.do(uacsta.SetMicrophoneMute{Device: uacsta.Dev("101")}); err == nil {
		t.Error("a telephone that is not there is asked")
	}
	a, b := w.handset("100"), w.handset("101")
	opening := wait.Next(t, b.calls, "the session")
	status := uacsta.Encode(uacsta.RequestSystemStatusResponse{SystemStatus: uacsta.StatusNormal}, uacsta.Edition3)
	session, err := opening.Accept(b, sip.Answer{ContentType: tr87.ContentType, Body: status.Bytes()})
	if err != nil {
		t.Fatal(err)
	}
	session.Send("INFO", tr87.ContentType, uacsta.Encode(uacsta.MicrophoneMuteEvent{MonitorCrossRefID: "1", InvokingDevice: uacsta.Ext("101")}, uacsta.Edition3).Bytes(), nil)
	w.event("101", "MicrophoneMute") // the session is open, of which the switch knows before long
	for until := time.Now().Add(patience); ; {
		if _, err = w.do(uacsta.SetMicrophoneMute{Device: uacsta.Dev("101"), MicrophoneMuteOn: true}); err == nil {
			break
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
	if got := wait.Next(t, b.asked, "the request"); got != "SetMicrophoneMute sip:101@127.0.0.1" {
		t.Error(got)
	}
	final, progress := a.call(t.Context(), "101")
	in := wait.Next(t, b.calls, "the call")
	b.ring(in)
	wait.Next(t, progress, "ringing")
	w.must(uacsta.AnswerCall{CallToBeAnswered: connection(w.event("101", "Delivered"), "101")})
	if got := wait.Next(t, b.asked, "the command"); !strings.HasPrefix(got, "SnapshotDevice") {
		t.Error(got)
	}
	in.Reject(sip.Answer{Code: 486})
	wait.Next(t, final, "the refusal")
	w.leave()
}
