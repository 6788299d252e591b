package registrar

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
)

// aServer serves as many extensions, from 0 on, each with a state that never changes.
func aServer(t *testing.T, extensions int) *Server {
	t.Helper()
	var cfg Config
	for i := range extensions {
		cfg.Users = append(cfg.Users, User{Number: fmt.Sprint(i), Password: "secret"})
	}
	cfg.Packages = []Package{{Event: "dialog", Others: func(string) bool { return true }, Documents: func(number, _ string, _ *Model) []Document {
		return []Document{{"dialogs", "application/dialog-info+xml", `<dialog-info version="VERSION" entity="` + number + `"/>`}}
	}}}
	s := New(cfg, anOwner(t))
	t.Cleanup(s.Close)
	return s
}

// Each user has its share of the subscriptions, each peer its own, and a place that is left is
// free again.
func TestSubscriptionShares(t *testing.T) {
	s := aServer(t, peerSubscriptions/userSubscriptions+1)
	here, elsewhere := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	var subs []*subscription
	subscribe := func(number int, from netip.Addr) bool {
		sub := &subscription{server: s, by: s.users[fmt.Sprint(number)]}
		taken := s.enter(sub, from)
		if taken {
			subs = append(subs, sub)
		}
		return taken
	}
	users := peerSubscriptions / userSubscriptions
	for number := range users {
		for range userSubscriptions {
			if !subscribe(number, here) {
				t.Fatal("no place for", number)
			}
		}
		if subscribe(number, elsewhere) {
			t.Fatal(number, "has more than its share")
		}
	}
	if subscribe(users, here) {
		t.Error("a peer has more than its share")
	}
	if !subscribe(users, elsewhere) {
		t.Error("a peer takes the places of another")
	}
	subs[0].Ended(nil)
	subs[0].Ended(nil)
	if !subscribe(users, here) || subscribe(users, here) {
		t.Error("not one place is free again")
	}
	for _, sub := range subs {
		sub.Ended(nil)
	}
	for _, u := range s.users {
		if u.watching != 0 {
			t.Error(u.Number, "has places for ever:", u.watching)
		}
	}
	if all, _ := s.places.Counts(); all != 0 {
		t.Error(all, "places are taken for ever")
	}
}

// Wrong passwords leave one line a second in the log for each user and address.
func TestWrongPasswordsInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := &Server{log: slog.New(slog.NewTextHandler(&out, nil))}
		wrong := func(user string, address byte) {
			s.warnWrong(user, sip.Peer{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, address}), 5060)})
		}
		for range 300 {
			wrong("100", 1)
		}
		wrong("101", 1)
		wrong("100", 2)
		if n := strings.Count(out.String(), "wrong password of a telephone"); n != 3 {
			t.Errorf("%d lines", n)
		}
		time.Sleep(time.Second)
		if wrong("100", 1); !strings.Contains(out.String(), "suppressed=299") {
			t.Error(out.String())
		}
	})
}
