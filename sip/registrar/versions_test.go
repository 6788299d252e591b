package registrar

import (
	"bufio"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
)

// The versions of what a telephone is sent rise in the order in which they are sent, whoever has it
// sent.
func TestVersionsInOrder(t *testing.T) {
	s := aServer(t, 1)
	subs := make(chan *subscription, 1)
	ua := sip.New(sip.Config{Requests: map[string]func(*sip.Request){"SUBSCRIBE": func(r *sip.Request) {
		sub := s.subscription(s.users["0"], s.eventPackage("dialog"))
		d, err := r.Subscribe(sub, sip.Answer{})
		if err != nil {
			t.Error(err)
		}
		sub.dialog, sub.expires = d, time.Now().Add(time.Hour)
		subs <- sub
	}}})
	t.Cleanup(ua.Close)
	addr, err := ua.ListenTCP("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	lines := []string{
		"SUBSCRIBE sip:0@localhost SIP/2.0", "Via: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1", "From: <sip:0@localhost>;tag=1", "To: <sip:0@localhost>",
		"Call-ID: 1", "CSeq: 1 SUBSCRIBE", "Contact: <sip:0@" + nc.LocalAddr().String() + ";transport=tcp>", "Event: dialog", "Content-Length: 0",
	}
	if _, err := nc.Write([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	sub := wait.Next(t, subs, "the subscription")
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 50 {
				s.sendAll(sub)
			}
		})
	}
	group.Wait()
	s.unsubscribe(sub) // ends the last line
	version := regexp.MustCompile(`<dialog-info.* version="(\d+)"`)
	in := bufio.NewScanner(nc)
	for n := 0; n < 200 && in.Scan(); {
		if found := version.FindStringSubmatch(in.Text()); found != nil {
			if found[1] != fmt.Sprint(n) {
				t.Fatalf("version %s, want %d", found[1], n)
			}
			n++
		}
	}
	if err := in.Err(); err != nil {
		t.Error(err)
	}
}
