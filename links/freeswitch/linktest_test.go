package freeswitch

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy/linktest"
)

// server is a FreeSWITCH that accepts every command and sends the test's events. Results of
// background jobs follow the reply.
type server struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	last  int
	heard []string
	made  []string // channels of calls that were made, the oldest first
}

// mostMade is how many calls that were made there are at a time: the oldest gives way.
const mostMade = 10

func newServer(t testing.TB) (f *server, address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f = &server{conns: map[net.Conn]struct{}{}}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		f.mu.Lock()
		for conn := range f.conns {
			_ = conn.Close()
		}
		f.mu.Unlock()
		group.Wait()
	})
	return f, l.Addr().String()
}

func (f *server) serve(conn net.Conn) {
	f.mu.Lock()
	f.conns[conn] = struct{}{}
	fmt.Fprint(conn, "Content-Type: auth/request\n\n")
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.conns, conn)
		f.mu.Unlock()
		_ = conn.Close()
	}()
	r := bufio.NewReader(conn)
	for {
		text, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if text = strings.TrimSpace(text); text != "" {
			f.mu.Lock()
			f.take(conn, text)
			f.mu.Unlock()
		}
	}
}

// take takes a command; f.mu is held.
func (f *server) take(conn net.Conn, text string) {
	switch {
	case strings.HasPrefix(text, "Job-UUID:"): // a header of the command before
	case strings.HasPrefix(text, "api show "):
		fmt.Fprint(conn, "Content-Type: api/response\nContent-Length: 15\n\n{\"row_count\":0}")
	case strings.HasPrefix(text, "api uuid_kill "):
		fmt.Fprint(conn, "Content-Type: api/response\nContent-Length: 4\n\n+OK\n")
		f.end(conn, strings.Fields(text)[2])
	case strings.HasPrefix(text, "api "):
		fmt.Fprint(conn, "Content-Type: api/response\nContent-Length: 4\n\n+OK\n")
	case strings.Contains(text, "originate {"):
		_, rest, _ := strings.Cut(text, "csta_call=")
		id, _, _ := strings.Cut(rest, ",")
		fields := strings.Fields(text)
		f.heard = append(f.heard, strings.TrimPrefix(fields[3], "'unset:sip_h_Call-Info,transfer:"))
		fmt.Fprint(conn, "Content-Type: command/reply\nReply-Text: +OK\n\n")
		f.tell(conn, fmt.Sprintf("Event-Name: CHANNEL_CREATE\nUnique-ID: %[1]s\nvariable_csta_call: %[1]s\nCall-Direction: outbound\nChannel-Presence-ID: 1001@pbx.test\n", id))
		f.tell(conn, fmt.Sprintf("Event-Name: CHANNEL_ANSWER\nUnique-ID: %s\n", id))
		if f.made = append(f.made, id); len(f.made) > mostMade {
			f.end(conn, f.made[0])
		}
	default:
		fmt.Fprint(conn, "Content-Type: command/reply\nReply-Text: +OK\n\n")
	}
}

// end ends a call that was made, unless it has ended; f.mu is held.
func (f *server) end(conn net.Conn, id string) {
	if at := slices.Index(f.made, id); at >= 0 {
		f.made = slices.Delete(f.made, at, at+1)
		f.tell(conn, fmt.Sprintf("Event-Name: CHANNEL_HANGUP\nUnique-ID: %s\nHangup-Cause: NORMAL_CLEARING\n", id))
	}
}

// deliver tells an event; f.mu is held.
func (f *server) tell(conn net.Conn, event string) {
	fmt.Fprintf(conn, "Content-Type: text/event-plain\nContent-Length: %d\n\n%s", len(event)+1, event+"\n")
}

// ring has a call from 1002 ring at 1001, and end.
func (f *server) ring() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	for conn := range f.conns {
		for _, event := range []string{
			"CHANNEL_CREATE\nUnique-ID: A#\nCall-Direction: inbound\nChannel-Presence-ID: 1002@pbx.test\nCaller-Destination-Number: 1001",
			"CHANNEL_CREATE\nUnique-ID: B#\nOther-Leg-Unique-ID: A#\nCall-Direction: outbound\nChannel-Presence-ID: 1001@pbx.test",
			"CHANNEL_PROGRESS\nUnique-ID: B#",
			"CHANNEL_HANGUP\nUnique-ID: B#\nHangup-Cause: ORIGINATOR_CANCEL",
			"CHANNEL_HANGUP\nUnique-ID: A#\nHangup-Cause: ORIGINATOR_CANCEL",
		} {
			f.tell(conn, "Event-Name: "+strings.ReplaceAll(event, "#", fmt.Sprint(f.last))+"\n")
		}
	}
}

func (f *server) numbers() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	heard := f.heard
	f.heard = nil
	return heard
}

func TestLinkContract(t *testing.T) {
	linktest.Test(t, linktest.Kit{New: func(t testing.TB) *linktest.Rig {
		f, address := newServer(t)
		relay := linktest.NewRelay(t, address)
		l, err := NewLink(LinkConfig{Addresses: []string{relay.Address()}, Domain: "pbx.test", Password: "ClueCon", Timeout: 5 * time.Second, Heartbeat: 2 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return &linktest.Rig{Link: l, Device: "1001", Called: "1003", Relay: relay, Tell: f.ring, Heard: f.numbers}
	}})
}
