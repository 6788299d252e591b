package phones

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch"
)

// aServer serves as many extensions, from 0 on.
func aServer(t *testing.T, extensions int) *Server {
	t.Helper()
	sw, err := softswitch.New(softswitch.Config{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Switch: sw}
	for i := range extensions {
		cfg.Telephones.Users = append(cfg.Telephones.Users, registrar.User{Number: fmt.Sprint(i), Password: "secret"})
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// A panic in a call ends that call, and the server can end.
func TestPanicInACall(t *testing.T) {
	s := aServer(t, 1)
	l, err := s.newLeg("0", nil, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	behind := make(chan struct{})
	l.must(func() {
		l.must(func() { close(behind) })
		panic("as told")
	})
	wait.Next(t, behind, "the task behind it")
	wait.Next(t, l.over, "the end of the call")
	if l.do(func() {}) || l.must(func() {}) {
		t.Error("a leg that has closed takes tasks")
	}
}

// A server that closes ends the calls at its telephones, and waits for their end.
func TestCloseEndsCalls(t *testing.T) {
	s := aServer(t, 3)
	var legs []*leg
	for n := range 3 {
		l, err := s.newLeg(fmt.Sprint(n), nil, netip.MustParseAddr("127.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		legs = append(legs, l)
	}
	start := time.Now()
	s.Close()
	if took := time.Since(start); took >= goodbyes {
		t.Errorf("it takes %s", took)
	}
	for _, l := range legs {
		wait.Next(t, l.over, "the end of the call at "+l.device)
	}
	if _, legs := s.Counts(); legs > 0 {
		t.Errorf("%d are left", legs)
	}
}
