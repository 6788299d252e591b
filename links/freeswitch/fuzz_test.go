package freeswitch

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/tests/recordings"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// nobody is a core that ignores everything.
type nobody struct{}

func (nobody) Ready()                        {}
func (nobody) Request(*uacsta.Message) error { return nil }
func (nobody) Event(*uacsta.Message)         {}

// reader is a core that parses each message as XML.
type reader struct {
	nobody
	t *testing.T
}

func (r reader) Event(m *uacsta.Message) {
	for d := xml.NewDecoder(bytes.NewReader(m.Bytes())); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			r.t.Fatalf("%q: %v", m.Bytes(), err)
		}
	}
}

// Names and numbers of FreeSWITCH's may hold anything; events stay XML.
func TestLegible(t *testing.T) {
	core := &teller{}
	l := fuzzed(t)
	device := uacsta.Dev("1001")
	for text, want := range map[string]string{
		"Zo%C3%AB \xF0\x9F\x93\x9E": "Zo\u00eb \U0001f4de", "a%00b": "a\uFFFDb", "a%1Bb%7F": "a\uFFFDb\uFFFD", "%EF%BF%BE%EF%BF%BF": "\uFFFD\uFFFD", "%C3\xFF": "\uFFFD\uFFFD", "a%0D%0Ab\tc": "a\uFFFD\uFFFDb\uFFFDc",
	} {
		l.begin(core)
		l.inbox.Open()
		l.ready.Store(true)
		if _, err := l.watch.Start(&uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}, words.MatchString); err != nil {
			t.Fatal(err)
		}
		for _, lines := range []string{
			"Event-Name: CHANNEL_CREATE\nUnique-ID: A\nCall-Direction: inbound\nCaller-Caller-ID-Number: " + text + "\n",
			"Event-Name: CHANNEL_CREATE\nUnique-ID: B\nOther-Leg-Unique-ID: A\nCall-Direction: outbound\nChannel-Presence-ID: 1001@pbx.test\n", "Event-Name: CHANNEL_PROGRESS\nUnique-ID: B\n",
		} {
			e, err := (&message{body: lines}).event()
			if err != nil {
				t.Fatal(err)
			}
			l.handle(e)
		}
		if core.caller != want {
			t.Errorf("%q is told as %q, not %q", text, core.caller, want)
		}
		list, err := json.Marshal(map[string]any{"rows": []map[string]string{{"uuid": "C", "direction": "outbound", "presence_id": "1001@pbx.test", "cid_num": "a\x00\ufffe"}}})
		if err != nil {
			t.Fatal(err)
		}
		l.learns(string(list), func(err error) {
			if err != nil || l.calls["C"].Calling != "a\uFFFD\uFFFD" {
				t.Errorf("%v %q", err, l.calls["C"].Calling)
			}
		})
	}
}

// written is where a link's commands go: each is one line, or an event whose lines are headers.
type written struct {
	net.Conn
	t *testing.T
}

var commandForm = regexp.MustCompile(`^((api|bgapi) [^\n]+(\nJob-UUID: [^\n]+)?|sendevent [A-Z_]+(\n[A-Za-z_-]+: [^\n]*)+|event plain [^\n]+)\n\n$`)

func (w *written) Write(p []byte) (int, error) {
	if !commandForm.Match(p) {
		w.t.Errorf("no command: %q", p)
	}
	return len(p), nil
}

func (w *written) SetWriteDeadline(time.Time) error { return nil }
func (w *written) Close() error                     { return nil }

// FuzzEvents has a link take whatever an event socket might send: it fails with an error at most,
// and its picture of calls holds together.
func FuzzEvents(f *testing.F) {
	for _, stream := range recordings.Streams(f) {
		f.Add(stream)
	}
	whole := ""
	for _, lines := range []string{
		"Event-Name: CHANNEL_CREATE\nUnique-ID: A\nCall-Direction: inbound\nChannel-Presence-ID: 1001@pbx.test\nCaller-Destination-Number: 9500\n",
		"Event-Name: CHANNEL_ANSWER\nUnique-ID: A\nCaller-Destination-Number: 9500\n",
		"Event-Name: CUSTOM\nEvent-Subclass: csta::queue\nUnique-ID: A\nQueue: 9501\n", "Event-Name: CUSTOM\nEvent-Subclass: csta::trunk\nUnique-ID: A\nTrunk: 20\n",
		"Event-Name: CUSTOM\nEvent-Subclass: sofia::gateway_state\nGateway: gw\nState: REGED\n",
		"Event-Name: MESSAGE_WAITING\nMWI-Messages-Waiting: yes\nMWI-Message-Account: sip:1002@pbx.test\n",
		"Event-Name: PHONE_FEATURE_SUBSCRIBE\nuser: 1002\ncall-id: s\nFeature-Action: SetCallForward\nFeature-Enabled: true\nAction-Name: forward_busy\nAction-Value: 1003\n",
	} {
		whole += fmt.Sprintf("Content-Length: %d\nContent-Type: text/event-plain\n\n%s", len(lines), lines)
	}
	f.Add(whole)
	f.Add(strings.NewReplacer("1001", "%00%1B%EF%BF%BE\xFF", "9501", "%07").Replace(whole))
	f.Add("Content-Length: -1\n\n")
	f.Add("Content-Length: 99999999999\n\n")
	f.Add(strings.Repeat("x", maxHeaders+1))
	f.Fuzz(func(t *testing.T, stream string) {
		l := fuzzed(t)
		for r := bufio.NewReaderSize(strings.NewReader(stream), maxHeaders); ; {
			m, err := readMessage(r)
			if err != nil {
				break
			}
			if e, err := m.event(); err == nil {
				l.handle(e)
			}
		}
		holdsTogether(t, l)
	})
}

// FuzzChannels has a link learn whatever a FreeSWITCH might list.
func FuzzChannels(f *testing.F) {
	f.Add(recordings.Replies(f, "snapshot")["api show channels as json"])
	f.Add(recordings.Replies(f, "snapshot")["api show registrations as json"])
	f.Add(`{"rows":[{"uuid":"A","call_uuid":"A","direction":"inbound","dest":"9700","callstate":"ACTIVE","application":"callcenter","application_data":"9700@pbx.test"},
		{"uuid":"B","call_uuid":"A","application":"conference","application_data":"3000@default","state":"CS_PARK"},{"uuid":"C","application":"valet_park","application_data":"a 1"}]}`)
	f.Fuzz(func(t *testing.T, list string) {
		l := fuzzed(t)
		l.learns(list, func(error) {})
		_ = l.registers(list)
		holdsTogether(t, l)
	})
}

// learns has a link learn a list of channels that is there at once.
func (l *Link) learns(list string, then func(error)) {
	if err := rows(strings.NewReader(list), func(row shown) bool { l.learn(row); return true }); err != nil {
		then(err)
		return
	}
	l.learnt(then)
}

// registers has a link learn a list of registrations.
func (l *Link) registers(list string) error {
	return rows(strings.NewReader(list), func(r registration) bool { l.service(string(r.User), true); return true })
}

// fuzzed is a link that is up, and monitors two devices.
func fuzzed(t *testing.T) *Link {
	l, err := NewLink(LinkConfig{Domain: "pbx.test", Queues: func(number string) bool { return strings.HasPrefix(number, "9") }})
	if err != nil {
		t.Fatal(err)
	}
	l.begin(reader{t: t})
	l.inbox.Open()
	l.ready.Store(true)
	l.socket = newSocket(&written{t: t}, l.cfg.Timeout, l.cfg.Log, nil, l.handle)
	served := make(chan error, 1)
	go func() {
		served <- l.socket.Serve(context.Background(), func() error { <-l.socket.Ended(); return errBroken })
	}()
	t.Cleanup(func() { l.socket.Finish(errBroken); <-served }) // all is written
	for _, device := range []string{"1001", "1002"} {
		object := uacsta.Dev(device)
		if _, err := l.watch.Start(&uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, words.MatchString); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// holdsTogether checks a link's picture of calls.
func holdsTogether(t *testing.T, l *Link) {
	for id, ch := range l.channels {
		its := ch.id == id || slices.ContainsFunc(ch.others, func(o leg) bool { return o.id == id }) // of another telephone of the device
		if !its || l.calls[ch.call.ID] != ch.call {
			t.Fatalf("channel %q is in no call", id)
		}
		for _, o := range ch.others {
			if l.channels[o.id] != ch {
				t.Fatalf("channel %q leads nowhere", o.id)
			}
		}
	}
	listed := 0
	for device, channels := range l.parties {
		for ch := range channels {
			if ch.Device != device && ch.Trunk != device || !slices.Contains(ch.call.Parties, ch) {
				t.Fatalf("channel %q is found by %q", ch.id, device)
			}
			if ch.Device == device {
				listed++
			}
		}
	}
	parts := 0
	for id, c := range l.calls {
		for _, ch := range c.Parties {
			if active := l.channels[ch.id]; active != ch && (active == nil || active.kept != ch) {
				t.Fatalf("call %q has a channel %q that is gone", id, ch.id)
			}
			if ch.virtual {
				parts++
			}
			if ch.Device != "" {
				listed--
			}
			if ch.Trunk != "" && l.parties[ch.Trunk][ch] == 0 {
				t.Fatalf("channel %q is not found by its trunk", ch.id)
			}
		}
	}
	if listed != 0 {
		t.Fatalf("%d more connections are found by their numbers than there are", listed)
	}
	for _, n := range l.parts {
		parts -= n
	}
	if parts != 0 {
		t.Fatalf("%d more queues and conferences than are counted", parts)
	}
}

// Commands hold nothing from outside but words.
func TestWords(t *testing.T) {
	for _, text := range []string{"", "1 2", "1\n", "1\nbgapi system x", "1'2", "1,2", "{x=1}1", "1/2", "1@2", "${x}", strings.Repeat("1", 65)} {
		if words.MatchString(text) {
			t.Errorf("%q is no word", text)
		}
	}
	for _, cfg := range []LinkConfig{{Domain: "a b"}, {Domain: ""}, {Domain: "a", Context: "x y"}, {Domain: "a", Password: "a\nb"}, {Domain: "a", AutoAnswer: "a}b"}} {
		if _, err := NewLink(cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
}

// teller is a core that keeps each message.
type teller struct {
	nobody
	told   []string
	caller string // of the last event
}

func (l *teller) Event(m *uacsta.Message) {
	l.caller = m.Text("callingDevice/deviceIdentifier")
	l.told = append(l.told, m.Name()+" "+m.Text("localConnectionInfo")+" "+m.Text("cause"))
}

// A calling telephone that FreeSWITCH cannot call gets an event that says so. A channel whose
// name is not a word is ignored.
func TestUnreached(t *testing.T) {
	l, err := NewLink(LinkConfig{Domain: "pbx.test"})
	if err != nil {
		t.Fatal(err)
	}
	here, there := net.Pipe()
	defer here.Close()
	go func() { _, _ = io.Copy(io.Discard, there) }()
	l.socket = newSocket(here, l.cfg.Timeout, l.cfg.Log, nil, l.handle)
	core := &teller{}
	l.begin(core)
	l.inbox.Open()
	l.ready.Store(true)
	object := uacsta.Dev("1001")
	if _, err := l.watch.Start(&uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, words.MatchString); err != nil {
		t.Fatal(err)
	}
	l.makeCall(&uacsta.MakeCall{CallingDevice: object, CalledDirectoryNumber: uacsta.Dev("1002")}, func(any, error) {})
	for job := range l.awaited {
		l.handle(event{headers: map[string]string{"Event-Name": "BACKGROUND_JOB", "Job-UUID": job}, body: "-ERR USER_NOT_REGISTERED"})
	}
	l.handle(event{headers: map[string]string{"Event-Name": "CHANNEL_CREATE", "Unique-ID": "a\nbgapi system x", "Call-Direction": "inbound"}})
	if want := "FailedEvent null destOutOfOrder"; len(core.told) != 1 || core.told[0] != want {
		t.Errorf("told %q, not %q", core.told, want)
	}
	l.expire(time.Now().Add(time.Second))
	if len(l.awaited) != 0 || len(l.calls) != 0 || len(l.channels) != 0 {
		t.Errorf("left: %d awaited, %d calls, %d channels", len(l.awaited), len(l.calls), len(l.channels))
	}
	l.socket.Close(io.EOF)
}

// A peer that is no event socket, falls silent, or sends without end loses the connection, with
// a reason.
func TestHostile(t *testing.T) {
	const greeting, ok = "Content-Type: auth/request\n\n", "Content-Type: command/reply\nReply-Text: +OK\n\n"
	for name, tt := range map[string]struct {
		first, want string
		then        []string // one for each command
	}{
		"silent":               {"", "no event socket greeting", nil},
		"silent later":         {greeting, "no response in time", []string{ok, ok}},
		"half a message":       {greeting, "no response in time", []string{ok, ok, "Content-Type: api/response\nContent-Length: 100\n\n{"}},
		"no length":            {"Content-Length: x\n\n", "not an event socket message", nil},
		"a huge body":          {"Content-Length: 999999999\n\n", "too long", nil},
		"a line without end":   {strings.Repeat("x", maxHeaders+1), "too long", nil},
		"headers without end":  {strings.Repeat("a: b\n", maxHeaders/5+1), "too long", nil},
		"a reply to nothing":   {"Content-Type: command/reply\nReply-Text: +OK\n\n", "reply without a command", nil},
		"channels that are no": {greeting, "not an event socket message", []string{ok, ok, "Content-Type: api/response\nContent-Length: 3\n\nabc"}},
		"no list":              {greeting, "not an event socket message", []string{ok, ok, ok}},
		"an endless list":      {greeting, "too long", []string{ok, ok, "Content-Type: api/response\nContent-Length: 999999999999\n\n{"}},
		"half a list":          {greeting, "no response in time", []string{ok, ok, "Content-Type: api/response\nContent-Length: 100\n\n{\"rows\":[{},"}},
		"a stranger":           {"Content-Type: text/rude-rejection\n\n", "FreeSWITCH does not admit this address", nil},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, tt.first)
				in := bufio.NewReader(conn)
				for _, reply := range tt.then {
					for line := ""; line != "\n" && err == nil; {
						line, err = in.ReadString('\n')
					}
					_, _ = io.WriteString(conn, reply)
				}
				_, _ = io.Copy(io.Discard, in) // until the link has gone
			}()
			limit := patience
			if tt.want == "no event socket greeting" || tt.want == "no response in time" {
				limit = 300 * time.Millisecond
			}
			l, err := NewLink(LinkConfig{Addresses: []string{listener.Addr().String()}, Domain: "pbx.test", Timeout: limit})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := l.Run(ctx, nobody{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, not %q", err, tt.want)
			}
		})
	}
}

// A directory user logs in with its name; the event socket's password is sent alone.
func TestLogin(t *testing.T) {
	for user, want := range map[string]string{"": "auth secret", "ctilink": "userauth ctilink@pbx.test:secret"} {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		said := make(chan string, 1)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				said <- err.Error()
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "Content-Type: auth/request\n\n")
			line, _ := bufio.NewReader(conn).ReadString('\n')
			said <- line
		}()
		l, err := NewLink(LinkConfig{Addresses: []string{listener.Addr().String()}, Domain: "pbx.test", User: user, Password: "secret"})
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Run(t.Context(), nobody{})
		if got := strings.TrimSpace(<-said); got != want {
			t.Errorf("%q logs in by %q, not %q", user, got, want)
		}
		_ = listener.Close()
	}
}
