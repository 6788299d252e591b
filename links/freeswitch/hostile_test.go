package freeswitch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// started is a core that waits for its link.
type started struct {
	nobody
	ready func()
}

func (s started) Ready() { s.ready() }

// crowd is an event socket that lists so many channels, each with its telephone, and telephones
// that are registered. It returns its address.
func crowd(t *testing.T, channels, registrations int) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	list := func(n int, row string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(","[:min(i, 1)] + strings.ReplaceAll(row, "#", strconv.Itoa(i)))
		}
		return fmt.Sprintf("Content-Type: api/response\nContent-Length: %d\n\n{\"rows\":[%s]}", b.Len()+len(`{"rows":[]}`), b.String())
	}
	telephones := list(registrations, `{"reg_user":"#","url":"`+strings.Repeat("x", 100)+`"}`)
	legs := list(channels, `{"uuid":"c#","call_uuid":"c#","direction":"inbound","dest":"9","callstate":"ACTIVE","presence_id":"#@pbx.test","cid_num":"#","read_codec":"`+strings.Repeat("x", 800)+`"}`)
	var group sync.WaitGroup
	group.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in, out := bufio.NewReader(conn), bufio.NewWriter(conn)
		_, _ = io.WriteString(out, "Content-Type: auth/request\n\n")
		for {
			_ = out.Flush()
			text, err := in.ReadString('\n')
			if err != nil {
				return
			}
			switch strings.TrimSpace(text) {
			case "":
			case "api show channels as json":
				_, _ = io.WriteString(out, legs)
			case "api show registrations as json":
				_, _ = io.WriteString(out, telephones)
			default:
				_, _ = io.WriteString(out, "Content-Type: command/reply\nReply-Text: +OK\n\n")
			}
		}
	})
	t.Cleanup(func() { _ = listener.Close(); group.Wait() })
	return listener.Addr().String()
}

// A FreeSWITCH with many channels and telephones comes up like any other; those that are more than
// the link follows are not followed, and it says so.
func TestCrowd(t *testing.T) {
	for _, tt := range []struct{ channels, followed, registrations int }{{5000, 5000, 20000}, {20100, maxChannels, 0}} {
		t.Run(fmt.Sprint(tt.channels), func(t *testing.T) {
			var log bytes.Buffer
			l, err := NewLink(LinkConfig{Addresses: []string{crowd(t, tt.channels, tt.registrations)}, Domain: "pbx.test", Log: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
			defer cancel()
			up := false
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			err = l.Run(ctx, started{ready: func() { up = true; cancel() }})
			if !up {
				t.Fatal(err)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if len(l.channels) != tt.followed || len(l.devices) != tt.registrations {
				t.Errorf("%d channels and %d devices are followed", len(l.channels), len(l.devices))
			}
			if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / int64(tt.followed+tt.registrations); each > 4<<10 {
				t.Errorf("each takes %d octets", each)
			}
			if said := strings.Count(log.String(), "what=channels limit="); (said == 1) != (tt.channels > maxChannels) {
				t.Errorf("the log says\n%s", log.String())
			}
			holdsTogether(t, l)
		})
	}
}

// A malformed list, or one with endless rows, is refused and not kept.
func TestRows(t *testing.T) {
	row := func(n int) string { return `{"uuid":"` + strings.Repeat("a", n) + `"}` }
	for _, tt := range []struct {
		list string
		rows int
		err  bool
	}{
		{`{"row_count":0}`, 0, false}, {`{"rows":[]}`, 0, false}, {` {"rows" : [ {} , {} ], "row_count": 2 } `, 2, false}, {`{"other":{"rows":[1]},"rows":[{}]}`, 1, false},
		{`{"rows":[{},{},{},{}]}`, 3, false}, {`{"rows":[` + row(maxRow/2) + "," + row(maxRow/2) + "," + row(maxRow/2) + `]}`, 3, false},
		{"", 0, true}, {"abc", 0, true}, {"[]", 0, true}, {`{"rows":{}}`, 0, true}, {`{"rows":[{}`, 1, true}, {`{"rows":[1]}`, 0, true}, {`{"rows":[{}]`, 1, true}, {`{"rows":[{"uuid":1}]}`, 0, true},
		{`{"rows":[` + row(2*maxRow) + `]}`, 0, true}, {`{"other":"` + strings.Repeat("a", 2*maxRow) + `"}`, 0, true}, {`{"rows":[` + strings.Repeat(" ", 2*maxRow) + `]}`, 0, true},
	} {
		n := 0
		err := rows(strings.NewReader(tt.list), func(shown) bool { n++; return n < 3 })
		if n != tt.rows || (err != nil) != tt.err {
			t.Errorf("%.60s: %d rows, %v", tt.list, n, err)
		}
	}
}

// Every header that the link looks at is kept.
func TestHeaders(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	read := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`(?:\.get\(|headers\[)"([^"]+)"`).FindAllStringSubmatch(string(text), -1) {
			if read++; !wanted[found[1]] {
				t.Errorf("%s looks at %s", file, found[1])
			}
		}
	}
	if read < len(wanted) {
		t.Errorf("%d places look at %d headers", read, len(wanted))
	}
}

// An event has the headers that the link looks at, and each is bounded.
func TestEventBounds(t *testing.T) {
	long := strings.Repeat("a", maxHeaders/4)
	e, err := (&message{body: "Event-Name: X\nUnique-ID: " + long + "\nvariable_other: " + long + "\nContent-Length: 10\n\n" + long}).event()
	if err != nil || len(e.headers) != 3 || len(e.get("Unique-ID")) != maxValue || len(e.body) != maxValue {
		t.Errorf("%d headers, %v", len(e.headers), err)
	}
}

// A call without a result fails after its timeout and frees its entry. A channel that still
// arrives starts a call of its own.
func TestOverdue(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001")
	call := uacsta.MakeCall{CallingDevice: uacsta.Dev("1001"), CalledDirectoryNumber: uacsta.Dev("1002")}
	tr.must(call)
	late := tr.made()
	tr.must(call)
	comes := tr.made()
	tr.tell("CHANNEL_CREATE id=" + comes + " dir=outbound who=1001@pbx.test\n")
	for range maxWaiting - 2 {
		tr.must(call)
	}
	tr.refused(call, "resourceBusy")
	tr.ends(time.Now().Add(tr.link.cfg.RingTime))
	tr.hears("1001")
	var failed []string
	for range maxWaiting - 1 {
		failed = append(failed, "Failed 1001 null timeout")
	}
	tr.ends(time.Now().Add(tr.link.cfg.RingTime + tr.link.cfg.Timeout + time.Second))
	tr.hears("1001", failed...)
	if left := len(tr.link.awaited); left != 0 {
		t.Errorf("%d calls are awaited", left)
	}
	tr.tell("CHANNEL_PROGRESS id=" + comes + "\n") // this one has begun in time
	tr.hears("1001", "ServiceInitiated 1001 initiated makeCall")
	tr.tell("CHANNEL_CREATE id=" + late + " dir=outbound who=1001@pbx.test\nCHANNEL_PROGRESS id=" + late + "\n")
	tr.hears("1001", "Delivered 1001 alerting newCall")
	tr.must(call)
}

// ends has jobs expire that are overdue at a time.
func (tr *trial) ends(at time.Time) {
	tr.t.Helper()
	done := make(chan struct{})
	tr.link.inbox.Post(func() { tr.link.expire(at); close(done) })
	<-done
}

// FreeSWITCH reports that a call has failed, and later refuses the command that was to make it.
func TestRefusedLate(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001")
	tr.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("1001"), CalledDirectoryNumber: uacsta.Dev("1002")})
	id := tr.made()
	tr.tell("BACKGROUND_JOB Job-UUID=" + id)
	tr.ends(time.Now().Add(time.Hour))
	done := make(chan any, 1)
	tr.link.inbox.Post(func() {
		defer func() { done <- recover() }()
		tr.link.forget(id)
	})
	if what := <-done; what != nil {
		t.Errorf("panic: %v", what)
	}
}

// A call that FreeSWITCH says it has made, and whose channel never comes, is overdue as well.
func TestMadeOnly(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001")
	tr.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("1001"), CalledDirectoryNumber: uacsta.Dev("1002")})
	done := make(chan struct{})
	tr.link.inbox.Post(func() {
		for job := range tr.link.awaited {
			tr.link.handle(event{headers: map[string]string{"Event-Name": "BACKGROUND_JOB", "Job-UUID": job}, body: "+OK " + tr.made()})
		}
		close(done)
	})
	<-done
	tr.ends(time.Now().Add(time.Hour))
	tr.hears("1001", "Failed 1001 null timeout")
	if left := len(tr.link.awaited) + len(tr.link.calls); left != 0 {
		t.Errorf("%d things are left", left)
	}
}

// Whatever an event socket sends, and as much as it likes, the link keeps so much of it and writes
// few lines.
func TestFlood(t *testing.T) {
	var log lines
	l := fuzzed(t)
	l.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	l.begin(nobody{})
	tell := func(events ...map[string]string) {
		for _, e := range events {
			l.handle(event{headers: e})
		}
	}
	for i := range maxDevices - 1000 {
		l.devices["d"+strconv.Itoa(i)], l.waiting["d"+strconv.Itoa(i)] = true, true
	}
	for i := range maxChannels - 1000 {
		tell(map[string]string{"Event-Name": "CHANNEL_CREATE", "Unique-ID": fmt.Sprint(i), "Call-Direction": "inbound", "Caller-Caller-ID-Number": fmt.Sprint(i)})
	}
	for i := range 2000 {
		n := fmt.Sprint("x", i)
		tell([]map[string]string{
			{"Event-Name": "CHANNEL_CREATE", "Unique-ID": n, "Call-Direction": "inbound", "Caller-Caller-ID-Number": n},
			{"Event-Name": "CUSTOM", "Event-Subclass": "sofia::unregister", "from-user": n},
			{"Event-Name": "MESSAGE_WAITING", "MWI-Messages-Waiting": "yes", "MWI-Message-Account": "sip:" + n},
			{"Event-Name": "CHANNEL_CREATE", "Unique-ID": "b" + n, "Call-Direction": "outbound", "Other-Leg-Unique-ID": "0", "Channel-Presence-ID": n + "@x"},
			{"Event-Name": "CHANNEL_HANGUP", "Unique-ID": "x" + n},
			{"Event-Name": "BACKGROUND_JOB", "Job-UUID": n},
			{"Event-Name": n},
			{"Event-Name": "CUSTOM", "Event-Subclass": "sofia::register", "from-user": "r" + n, "profile-name": n, "user-agent": n},
			{"Event-Name": "CUSTOM", "Event-Subclass": "sofia::gateway_state", "Gateway": n},
			{"Event-Name": "CUSTOM", "Event-Subclass": "conference::maintenance", "Action": "add-member", "Conference-Name": n, "Unique-ID": "0"},
			{"Event-Name": "PHONE_FEATURE_SUBSCRIBE", "user": n, "profile_name": n},
		}...)
	}
	for what, size := range map[string][2]int{
		"channels": {len(l.channels), maxChannels}, "calls": {len(l.calls), maxChannels}, "parties": {len(l.parties), maxChannels}, "devices": {len(l.devices), maxDevices},
		"profiles": {len(l.profiles), maxDevices}, "waiting": {len(l.waiting), maxDevices}, "features": {len(l.features), maxDevices},
		"commands": {l.socket.Waiting(), maxWaiting}, "calls to place": {len(l.awaited), 0}, "connections of one call": {len(l.calls["0"].Parties), maxParties},
	} {
		if size[0] > size[1] {
			t.Errorf("%d %s", size[0], what)
		}
	}
	if log > 100 {
		t.Errorf("%d lines", log)
	}
	holdsTogether(t, l)
}

// lines counts lines of a log.
type lines int

func (n *lines) Write(p []byte) (int, error) {
	*n += lines(bytes.Count(p, []byte("\n")))
	return len(p), nil
}

// The cost of an event does not depend on the number of other devices.
func BenchmarkEvents(b *testing.B) {
	for _, others := range []int{0, maxChannels - 10} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			l, err := NewLink(LinkConfig{Domain: "pbx.test"})
			if err != nil {
				b.Fatal(err)
			}
			l.begin(nobody{})
			for i := range others {
				l.handle(event{headers: map[string]string{"Event-Name": "CHANNEL_CREATE", "Unique-ID": fmt.Sprint(i), "Call-Direction": "inbound", "Channel-Presence-ID": fmt.Sprint(i) + "@x"}})
			}
			for b.Loop() {
				l.handle(event{headers: map[string]string{"Event-Name": "CHANNEL_CREATE", "Unique-ID": "A", "Call-Direction": "inbound", "Channel-Presence-ID": "a@x"}})
				l.snapshot("a")
				l.handle(event{headers: map[string]string{"Event-Name": "CHANNEL_HANGUP", "Unique-ID": "A", "Hangup-Cause": "NORMAL_CLEARING", "variable_transfer_disposition": "replaced"}})
			}
		})
	}
}

// The longest list of connections fits in a frame of CSTA-XML.
func TestParties(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "3000")
	for i := range 2 * maxParties {
		id := newID()
		tr.tell(fmt.Sprintf("CHANNEL_CREATE id=%s dir=inbound who=%d@pbx.test to=3000\nCHANNEL_ANSWER id=%[1]s\nconference::maintenance Action=add-member Conference-Name=3000 Unique-ID=%[1]s\n", id, 10000+i))
	}
	if n := len(tr.link.channels["conference 3000"].call.Parties); n != maxParties || tr.core.longest > 65535-8 {
		t.Errorf("%d parties, %d octets", n, tr.core.longest)
	}
}

// The end of the connection, before a message or within one, gives a readable reason.
func TestHungUp(t *testing.T) {
	for _, sent := range []string{"", "Content-Type: auth/requ"} {
		here, there := net.Pipe()
		s := newSocket(here, time.Second, slog.New(slog.DiscardHandler), nil, func(event) {})
		go func() {
			_, _ = io.WriteString(there, sent)
			_ = there.Close()
		}()
		if err := s.Serve(t.Context(), s.read); !errors.Is(err, errHungUp) {
			t.Errorf("%q: %v", sent, err)
		}
	}
}

// A FreeSWITCH that writes much and reads nothing meanwhile is neither held up nor left: commands
// wait without holding up what it says.
func TestDeafFreeSWITCH(t *testing.T) {
	here, there := net.Pipe()
	heard := 0
	s := newSocket(here, 10*patience, slog.New(slog.DiscardHandler), nil, func(event) { heard++ })
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background(), s.read) }()
	replies := make(chan error, 3)
	for range cap(replies) {
		go func() {
			if err := s.send("api status", func(_ string, err error) { replies <- err }); err != nil {
				replies <- err
			}
		}()
	}
	_ = there.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(there)
	if _, err := io.ReadFull(there, make([]byte, 1)); err != nil { // the rest of the command is on its way until it reads on
		t.Fatal(err)
	}
	const lines = "Event-Name: HEARTBEAT\n"
	for range 1000 {
		if _, err := fmt.Fprintf(there, "Content-Length: %d\nContent-Type: text/event-plain\n\n%s", len(lines), lines); err != nil {
			t.Fatal("it cannot say what it has to say: ", err)
		}
	}
	for i := range cap(replies) {
		if text, err := in.ReadString('\n'); err != nil || text != []string{"pi status\n", "api status\n"}[min(i, 1)] {
			t.Fatalf("%q, %v", text, err)
		}
		_, _ = in.ReadString('\n')
		_, _ = io.WriteString(there, "Content-Type: api/response\nContent-Length: 2\n\nUP")
		if err := <-replies; err != nil {
			t.Error(err)
		}
	}
	s.Close(errBroken)
	if err := <-served; !errors.Is(err, errBroken) || heard != 1000 {
		t.Errorf("%v, %d events", err, heard)
	}
}

// Commands of clients that wait for replies never take the room of the link's signs of life.
func TestSignsOfLifeAmongCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		s := newSocket(here, time.Hour, slog.New(slog.DiscardHandler), nil, func(event) {})
		served := make(chan error, 1)
		go func() { served <- s.Serve(context.Background(), s.read) }()
		var written bytes.Buffer
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(&written, there)
		}()
		for range maxWaiting {
			if err := s.send("api uuid_exists A", func(string, error) {}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if err := s.send("api uuid_exists A", func(string, error) {}); !errors.Is(err, gate.ErrTooManyWaiting) {
			t.Error(err)
		}
		alive := make(chan error, 1)
		go func() {
			_, err := s.ask(context.Background(), "api status")
			alive <- err
		}()
		synctest.Wait()
		for range maxWaiting + 1 {
			if _, err := io.WriteString(there, "Content-Type: api/response\nContent-Length: 2\n\nUP"); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-alive; err != nil {
			t.Error(err)
		}
		s.Close(errBroken)
		<-served
		<-read
		if !strings.HasSuffix(written.String(), "api uuid_exists A\n\napi status\n\n") {
			t.Errorf("it ends with %.40q", written.String()[max(0, written.Len()-40):])
		}
	})
}
