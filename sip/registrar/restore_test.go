package registrar

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/state"
)

// What is kept for the next server was registered with the password that holds then, and is restored once.
func TestBefore(t *testing.T) {
	one := []Registration{{Contact: "sip:0@127.0.0.1:5070", Source: "127.0.0.1:5070", Expires: time.Now().Add(time.Hour)}}
	s := New(Config{Users: []User{{Number: "0", Password: "secret"}}, Before: map[string][]Registration{"0": one, "1": one}}, anOwner(t))
	defer s.Close()
	if _, err := s.ua.ListenUDP("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if list := s.Registrations([]User{{Number: "0", Password: "secret"}})["0"]; len(list) != 1 {
		t.Errorf("kept before it is restored: %v", list)
	}
	s.restore()
	s.before = map[string][]Registration{"0": one}
	s.restore() // it has registered already
	if n := len(s.users["0"].bindings); n != 1 {
		t.Errorf("%d registrations", n)
	}
	if list := s.Registrations([]User{{Number: "0", Password: "secret"}})["0"]; len(list) != 1 || list[0].Contact != one[0].Contact {
		t.Errorf("kept: %v", list)
	}
	if list := s.Registrations([]User{{Number: "0", Password: "another"}})["0"]; len(list) > 0 {
		t.Errorf("kept, though the password has changed: %v", list)
	}
}

// A registration by datagrams outlives a restart; one over a connection does not, nor one that has expired, has
// ended, or was made with another password.
func TestStored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	users := []User{{Number: "100", Password: "secret"}, {Number: "101", Password: "secret"}, {Number: "102", Password: "secret"}, {Number: "103", Password: "secret"}}
	life := func(users []User, during func(*station)) map[string]bool {
		f, err := state.Open(path, slog.New(slog.DiscardHandler), Bucket)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r := aStation(t, Config{Users: users, State: f})
		defer r.Close()
		r.Start()
		restored := map[string]bool{}
		for _, one := range r.Telephones() {
			restored[one.Number] = true
		}
		during(r)
		return restored
	}
	life(users, func(r *station) {
		for _, number := range []string{"100", "101", "102"} {
			if code, text := r.register("UDP", number, nowhere(number)); code != 200 {
				t.Fatal(text)
			}
		}
		if code, text := r.register("TCP", "103", nowhere("103")); code != 200 {
			t.Fatal(text)
		}
		if code, text := r.register("UDP", "102", nowhere("102")+";expires=0"); code != 200 {
			t.Fatal(text)
		}
	})
	users[1].Password = "another"
	got := life(users, func(*station) {})
	if !got["100"] || len(got) != 1 {
		t.Errorf("restored: %v", got)
	}
}
