package cstaxml

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/tests/samples"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// desk is a handler that notes what comes, and answers requests.
type desk struct {
	mu     sync.Mutex
	got    []string
	silent bool
}

func (d *desk) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.got = append(d.got, fmt.Sprintf(format, args...))
}

func (d *desk) Unclear(u *uacsta.Unclear, answer func(*uacsta.Message)) {
	d.note("unclear %q", u.Name)
	answer(u.Refusal.Message(uacsta.Edition3))
}

func (d *desk) Request(req *uacsta.Message, answer func(*uacsta.Message)) {
	d.note("request %s", req.Name())
	switch {
	case d.silent:
	case req.Name() == "RequestSystemStatus":
		answer(uacsta.Encode(uacsta.RequestSystemStatusResponse{SystemStatus: uacsta.StatusNormal}, uacsta.Edition3))
	case req.OneWay():
		answer(nil)
	default:
		answer(uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported).Message(uacsta.Edition3))
	}
}

func (d *desk) Event(ev *uacsta.Message) error {
	d.note("event %s", ev.Name())
	return nil
}

func (d *desk) take() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	got := strings.Join(d.got, ", ")
	d.got = nil
	return got
}

// bench is a connection with a raw peer, in a time of its own.
type bench struct {
	t    *testing.T
	conn *Conn
	desk *desk
	peer net.Conn
	mu   sync.Mutex
	sent []string // what the connection wrote: "0001 <...>"
	done chan error
}

func onBench(t *testing.T, cfg gate.Limits, test func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		b := &bench{t: t, desk: &desk{}, peer: far, done: make(chan error, 1)}
		b.conn = NewConn(near, b.desk, cfg)
		go func() { b.done <- b.conn.Serve(context.Background()) }()
		read := make(chan struct{})
		go func() {
			defer close(read)
			r := bufio.NewReader(far)
			for {
				id, doc, err := ReadFrame(r, MaxFrame, func() {})
				if err != nil {
					return
				}
				b.mu.Lock()
				b.sent = append(b.sent, fmt.Sprintf("%04d %s", id, doc))
				b.mu.Unlock()
			}
		}()
		test(b)
		_ = far.Close()
		<-read
		<-b.done
	})
}

func (b *bench) write(pieces ...string) {
	for _, piece := range pieces {
		if _, err := io.WriteString(b.peer, piece); err != nil {
			b.t.Error(err)
		}
	}
	synctest.Wait()
}

// expect compares what was written since the last time: invoke IDs and names.
func (b *bench) expect(want ...string) {
	b.t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	var got []string
	for _, s := range b.sent {
		id, doc, _ := strings.Cut(s, " ")
		m, err := uacsta.Parse([]byte(doc))
		if err != nil {
			b.t.Error(err)
			continue
		}
		got = append(got, id+" "+m.Name())
	}
	b.sent = nil
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		b.t.Errorf("wrote %v, want %v", got, want)
	}
}

func raw(id string, document string) string {
	var length [2]byte
	binary.BigEndian.PutUint16(length[:], uint16(8+len(document)))
	return "\x00\x00" + string(length[:]) + id + document
}

const (
	question = "<RequestSystemStatus/>"
	news     = `<HeldEvent xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed4"><monitorCrossRefID>1</monitorCrossRefID></HeldEvent>`
)

// Frames come in any pieces and any number at a time.
func TestFrames(t *testing.T) {
	onBench(t, gate.Limits{}, func(b *bench) {
		b.write(raw("0001", question))
		b.expect("0001 RequestSystemStatusResponse")
		for _, c := range raw("0002", question) + raw("9998", question) {
			b.write(string(c))
		}
		b.expect("0002 RequestSystemStatusResponse", "9998 RequestSystemStatusResponse")
		b.write(raw("0003", question) + raw("9999", news) + raw("9999", question) + raw("0000", "<WashDishes/>"))
		b.expect("0003 RequestSystemStatusResponse", "9999 RequestSystemStatusResponse", "0000 CSTAErrorCode")
		b.write(raw("0004", "<RouteEnd><crossRefIdentifier>1</crossRefIdentifier></RouteEnd>"))
		b.expect()
		b.write(raw("0005", "this is no XML"), raw("0006", question))
		b.expect("0005 CSTAErrorCode", "0006 RequestSystemStatusResponse")
		if got := b.desk.take(); strings.Count(got, "RequestSystemStatus") != 6 || !strings.Contains(got, "event HeldEvent") {
			t.Error(got)
		}
	})
}

// What cannot be a frame ends the connection.
func TestBadFrames(t *testing.T) {
	for data, want := range map[string]error{
		"GET / HTTP/1.1\r\n\r\n":           ErrFormat,
		"\x00\x01\x00\x200001":             ErrFormat,
		"\x00\x00\x00\x080001":             ErrLength,
		"\x00\x00\x00\x00\x00\x00\x00\x00": ErrLength,
		"\x00\x00\x00\x2000x1<a/>":         ErrInvokeID,
		"\x00\x00\x00\x20-001<a/>":         ErrInvokeID,
	} {
		onBench(t, gate.Limits{}, func(b *bench) {
			_, _ = io.WriteString(b.peer, data) // it may be closed before the end
			synctest.Wait()
			err := <-b.done
			b.done <- err
			if !errors.Is(err, want) {
				t.Errorf("%q: %v, want %v", data, err, want)
			}
		})
	}
}

// A frame that does not go on ends the connection; silence between frames does not.
func TestHalfFrames(t *testing.T) {
	for _, n := range []int{1, 7, 8, 20} {
		onBench(t, gate.Limits{FrameTime: 5 * time.Second}, func(b *bench) {
			time.Sleep(time.Hour)
			b.write(raw("0001", question)[:n])
			time.Sleep(4 * time.Second)
			select {
			case err := <-b.done:
				t.Fatal("too early", err)
			default:
			}
			time.Sleep(2 * time.Second)
			err := <-b.done
			b.done <- err
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("%d octets: %v", n, err)
			}
		})
	}
}

type result struct {
	m   *uacsta.Message
	err error
}

func (b *bench) ask(req any) chan result {
	answered := make(chan result, 2)
	b.conn.Request(uacsta.Encode(req, uacsta.Edition3), func(m *uacsta.Message, err error) { answered <- result{m, err} })
	synctest.Wait()
	return answered
}

// Our requests: each has an invoke ID of its own, and exactly one answer.
func TestRequests(t *testing.T) {
	onBench(t, gate.Limits{MaxOutstanding: 2, Timeout: 3 * time.Second}, func(b *bench) {
		first, second := b.ask(uacsta.RequestSystemStatus{}), b.ask(uacsta.GetCSTAFeatures{})
		b.expect("0000 RequestSystemStatus", "0001 GetCSTAFeatures")
		if r := <-b.ask(uacsta.RequestSystemStatus{}); !errors.Is(r.err, gate.ErrTooManyWaiting) {
			t.Error(r.err)
		}
		b.write(raw("0001", `<CSTAErrorCode><operation>serviceNotSupported</operation></CSTAErrorCode>`), raw("0001", "<GetCSTAFeaturesResponse/>"))
		if r := <-second; !errors.Is(r.err, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)) {
			t.Error(r.err)
		}
		b.write(raw("0000", "<RequestSystemStatusResponse><systemStatus>normal</systemStatus></RequestSystemStatusResponse>"))
		if r := <-first; r.err != nil || r.m.Text("systemStatus") != "normal" {
			t.Error(r)
		}
		if r := <-b.ask(uacsta.RouteEnd{CrossRefIdentifier: "1"}); r.err != nil || r.m != nil {
			t.Error(r)
		}
		b.expect("0002 RouteEnd")
		late := b.ask(uacsta.RequestSystemStatus{})
		b.expect("0003 RequestSystemStatus")
		time.Sleep(4 * time.Second)
		if r := <-late; !errors.Is(r.err, gate.ErrTimeout) {
			t.Error(r.err)
		}
		for last := 0; last < 9998-1; { // near the end of the numbers
			_ = b.conn.Notify(func(id int) ([]byte, error) { last = id; return nil, errors.ErrUnsupported })
		}
		one, two := b.ask(uacsta.RequestSystemStatus{}), b.ask(uacsta.RequestSystemStatus{})
		b.expect("9998 RequestSystemStatus", "0000 RequestSystemStatus")
		b.conn.Close(nil)
		for _, c := range []chan result{one, two} {
			if r := <-c; !errors.Is(r.err, gate.ErrClosed) {
				t.Error(r.err)
			}
		}
		if r := <-b.ask(uacsta.RequestSystemStatus{}); !errors.Is(r.err, gate.ErrClosed) {
			t.Error(r.err)
		}
		if err := b.conn.Send(uacsta.Encode(uacsta.HeldEvent{MonitorCrossRefID: "1"}, uacsta.Edition3)); !errors.Is(err, gate.ErrClosed) {
			t.Error(err)
		}
		for _, c := range []chan result{first, second, late, one, two} {
			if len(c) > 0 {
				t.Error("a second answer")
			}
		}
	})
}

// The late answer to a request that has timed out is not taken for that to another one, though later
// requests have gone through all invoke IDs: it is handed up.
func TestLateAnswers(t *testing.T) {
	onBench(t, gate.Limits{Timeout: 3 * time.Second}, func(b *bench) {
		device := uacsta.Dev("200")
		monitor := uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}
		late := b.ask(monitor)
		b.expect("0000 MonitorStart")
		time.Sleep(3 * time.Second)
		if r := <-late; !errors.Is(r.err, gate.ErrTimeout) {
			t.Error(r.err)
		}
		for last := 0; last < EventID-1; {
			_ = b.conn.Notify(func(id int) ([]byte, error) { last = id; return nil, errors.ErrUnsupported })
		}
		own := b.ask(monitor)
		b.expect("0001 MonitorStart")
		const answer = "<MonitorStartResponse><monitorCrossRefID>%d</monitorCrossRefID></MonitorStartResponse>"
		b.write(raw("0000", fmt.Sprintf(answer, 200)), raw("0001", fmt.Sprintf(answer, 102)))
		if r := <-own; r.err != nil || r.m.CrossRef() != "102" {
			t.Error(r)
		}
		if got := b.desk.take(); got != "event MonitorStartResponse" || len(late) > 0 {
			t.Errorf("%q, answers to the first: %d", got, len(late))
		}
	})
}

// Events have the invoke ID 9999. A peer that takes nothing is left.
func TestEvents(t *testing.T) {
	onBench(t, gate.Limits{}, func(b *bench) {
		if err := b.conn.Send(uacsta.Encode(uacsta.HeldEvent{MonitorCrossRefID: "1"}, uacsta.Edition3)); err != nil {
			t.Error(err)
		}
		b.expect("9999 HeldEvent")
		long := uacsta.Encode(uacsta.SystemStatus{SysStatRegisterID: strings.Repeat("x", 70000)}, uacsta.Edition3)
		if err := b.conn.Send(long); !errors.Is(err, ErrTooLong) {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe() // nobody reads
		c := NewConn(near, &desk{}, gate.Limits{QueueLength: 1, WriteTime: time.Second})
		done := make(chan error)
		go func() { done <- c.Serve(context.Background()) }()
		for range 10 {
			_ = c.Send(uacsta.Encode(uacsta.HeldEvent{MonitorCrossRefID: "1"}, uacsta.Edition3))
		}
		if err := <-done; err == nil {
			t.Error("no reason")
		}
		_ = far.Close()
	})
}

func TestASCII(t *testing.T) {
	for in, want := range map[string]string{
		"<a>x</a>":           "<a>x</a>",
		"<a>Jürgen ☎</a>":    "<a>J&#252;rgen &#9742;</a>",
		"<a b='ü>\"ü'/>ü":    "<a b='&#252;>\"&#252;'/>&#252;",
		"<a><![CDATA[ü<]]>":  "<a><![CDATA[]]>&#252;<![CDATA[<]]>",
		"<ü><!--ü--><?ü ü?>": "<ü><!--ü--><?ü ü?>",
	} {
		if got := string(ascii([]byte(in))); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

// meaning is what a document says, however it is written.
func meaning(document []byte) (string, bool) {
	var b strings.Builder
	for d := xml.NewDecoder(bytes.NewReader(document)); ; {
		token, err := d.Token()
		switch token := token.(type) {
		case xml.CharData:
			b.Write(token)
		case nil:
			return b.String(), errors.Is(err, io.EOF)
		default:
			fmt.Fprintf(&b, "\x00%T %s\x00", token, token)
		}
	}
}

// In ASCII a document means the same.
func FuzzASCII(f *testing.F) {
	f.Add("<a b='ü>\"ü'>ü<![CDATA[ü<]]><!--ü--><?x ü?></a>")
	f.Add("<a><!-->ü--></a>")
	for _, s := range samples.All {
		f.Add(s.Wire)
	}
	f.Fuzz(func(t *testing.T, document string) {
		if _, err := uacsta.Parse([]byte(document)); err != nil {
			return // it cannot be a message
		}
		before, sound := meaning([]byte(document))
		if !sound || !utf8.ValidString(document) {
			return
		}
		if after, _ := meaning(ascii([]byte(document))); after != before {
			t.Fatalf("%q becomes %q, not %q", document, after, before)
		}
	})
}

func FuzzFrames(f *testing.F) {
	for _, s := range samples.All {
		if len(s.Wire) < 60000 {
			f.Add([]byte(raw("0001", s.Wire)))
		}
	}
	f.Add([]byte("\x00\x00\xff\xff0001<"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bufio.NewReader(bytes.NewReader(data))
		for {
			id, doc, err := ReadFrame(r, MaxFrame, func() {})
			if err != nil {
				return
			}
			again, err := Frame(id, doc)
			if err != nil || !bytes.Contains(data, again) {
				t.Fatalf("%q becomes %q: %v", data, again, err)
			}
		}
	})
}

// What cannot be read is the handler's to refuse, as what can be read in two ways: it counts.
func TestUnreadableCounts(t *testing.T) {
	onBench(t, gate.Limits{}, func(b *bench) {
		for id, doc := range []string{"<x", `<MakeCall><callingDevice>1</callingDevice><callingDevice>2</callingDevice></MakeCall>`} {
			data, err := Frame(id+1, []byte(doc))
			if err != nil {
				t.Fatal(err)
			}
			b.write(string(data))
		}
		b.expect("0001 CSTAErrorCode", "0002 CSTAErrorCode")
		if got := b.desk.take(); got != `unclear "", unclear "MakeCall"` {
			t.Error(got)
		}
	})
}

// What is no answer to the request is a refusal, and a line in the log.
func TestWrongAnswers(t *testing.T) {
	for answer, kind := range map[string]bool{
		"<HoldCallResponse/>": true, "<HoldCallPosResponse/>": true, "<HoldCallNegResponse/>": true,
		"<MakeCallResponse><callingDevice><callID>1</callID><deviceID>1</deviceID></callingDevice></MakeCallResponse>": false,
		"<HoldCallsResponse/>": false, "<HoldResponse/>": false, "<HoldCallOtherResponse/>": false, "<Response/>": false,
	} {
		var log strings.Builder
		onBench(t, gate.Limits{Log: slog.New(slog.NewTextHandler(&log, nil))}, func(b *bench) {
			answered := b.ask(uacsta.HoldCall{CallToBeHeld: uacsta.Conn("1", "2")})
			b.write(raw("0000", answer))
			switch r := <-answered; {
			case kind && (r.err != nil || r.m.Bytes() == nil):
				t.Errorf("%s: %v", answer, r.err)
			case !kind && (r.m != nil || !errors.Is(r.err, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic))):
				t.Errorf("%s: %v %v", answer, r.m, r.err)
			}
			if kind == strings.Contains(log.String(), "response of another service") {
				t.Errorf("%s: the log says %q", answer, log.String())
			}
			if len(answered) > 0 {
				t.Error("a second answer")
			}
		})
	}
}

// A connection that is cut off after any octet of a request, or of its answer: the request is
// answered once.
func TestCutOff(t *testing.T) {
	const answer = "<MonitorStopResponse/>"
	req := uacsta.MonitorStop{MonitorCrossRefID: "7"}
	document := uacsta.Encode(req, uacsta.Edition3).Bytes()
	for asked := range 8 + len(document) + 1 {
		for told := range len(raw("0000", answer)) + 1 {
			if asked < 8+len(document) && told > 0 {
				break // it has not read the request
			}
			cutOff(t, asked, raw("0000", answer)[:told], told == len(raw("0000", answer)))
		}
	}
}

func cutOff(t *testing.T, asked int, told string, whole bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := NewConn(near, &desk{}, gate.Limits{})
		served := make(chan error, 1)
		go func() { served <- c.Serve(context.Background()) }()
		answered := make(chan result, 2)
		c.Request(uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: "7"}, uacsta.Edition3), func(m *uacsta.Message, err error) { answered <- result{m, err} })
		if _, err := io.ReadFull(far, make([]byte, asked)); err != nil {
			t.Error(err)
		}
		if _, err := io.WriteString(far, told); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		_ = far.Close()
		<-served
		if len(answered) != 1 {
			t.Fatalf("%d octets asked, %q told: %d answers", asked, told, len(answered))
		}
		if r := <-answered; whole != (r.err == nil) || !whole && !errors.Is(r.err, gate.ErrClosed) {
			t.Errorf("%d octets asked, %q told: %v %v", asked, told, r.m, r.err)
		}
	})
}
