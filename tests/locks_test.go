package tests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
)

// guarded is an exchange whose administrator looks at locks. It has the extensions 104 and 105,
// too.
func guarded(t *testing.T) (*exchange, *administered) {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "admin.sock")
	x := serveTelephones(t, "  - {number: \"104\", sip: {password: secret104}}\n  - {number: \"105\", sip: {password: secret105}}",
		"admin: {socket: "+socket+"}\naudit: {file: "+filepath.Join(dir, "audit.log")+"}\n")
	return x, &administered{x.running, socket}
}

// forged are REGISTERs with credentials that prove nothing: whoever writes somebody else's
// address into a datagram can make them.
func forged(h *handset, foreign string) []string {
	uri := "sip:" + h.server
	credentials := func(realm, nonce string) string {
		return h.credentials(fmt.Sprintf(`Digest realm="%s", nonce="%s"`, realm, nonce), "REGISTER", uri)
	}
	return []string{
		credentials("tr87proxy", "made-up"), credentials("tr87proxy", foreign), credentials("another", foreign), credentials("another", "made-up"),
		strings.Replace(credentials("tr87proxy", foreign), "qop=auth, ", "", 1), "Authorization: Digest username=\"" + h.number, "Authorization: Basic x",
	}
}

// What comes with a nonce that was given to nobody, or somewhere else, locks nobody: not a
// telephone, not an address, not a name.
func TestForgedPasswords(t *testing.T) {
	long(t)
	x, a := guarded(t)
	uri := fmt.Sprintf("sip:127.0.0.1:%d", x.sip)
	ask := func(h *handset, headers ...string) *sipText {
		aor := fmt.Sprintf("<sip:%s@%s>", h.number, h.server)
		return h.begin("REGISTER", uri, 1, append([]string{"From: " + aor + ";tag=x", "To: " + aor, "Call-ID: " + random(), "Contact: <" + h.contact + ">"}, headers...), "").final()
	}
	elsewhere := handsetFrom(t, "127.0.0.2", "udp", x.sip, "100", "x")
	foreign := challengeParts.FindAllStringSubmatch(ask(elsewhere).header("WWW-Authenticate"), -1)[1][2]
	for i := range 25 {
		number := "100"
		if i%2 == 1 {
			number = fmt.Sprint("7", i)
		}
		h := newHandset(t, "udp", x.sip, number, "guess")
		for _, credentials := range forged(h, foreign) {
			if m := ask(h, credentials); m.code() != 401 {
				t.Errorf("%s: %s", credentials, m.start)
			}
		}
		h.close()
	}
	for _, number := range []string{"100", "101"} {
		if m := newHandset(t, "udp", x.sip, number, "secret"+number).register(60); m.code() != 200 {
			t.Errorf("%s is shut out: %s", number, m.start)
		}
	}
	if out := a.admin(0, "unlock"); out != "nothing is locked\n" || a.metric(`tr87proxy_wrong_passwords_total{of="telephones"}`) != 0 {
		t.Error(out)
	}
	x.stop()
}

// Telephones with old passwords behind one address lock themselves, and no other; those that
// have registered are not even locked by others under their name. An administrator unlocks.
func TestOldPasswords(t *testing.T) {
	t.Parallel()
	x, a := guarded(t)
	registered := newHandset(t, "udp", x.sip, "105", "secret105")
	if m := registered.register(60); m.code() != 200 {
		t.Fatal(m.start)
	}
	for _, number := range []string{"100", "101", "102", "103", "105"} {
		h := newHandset(t, "udp", x.sip, number, "old")
		var codes []int
		for range 7 {
			codes = append(codes, h.register(60).code())
		}
		// Five wrong passwords lock. A request that the telephone repeats, because the response is late, counts again.
		if locked := slices.Index(codes, 403); locked < 1 || locked > 5 || slices.ContainsFunc(codes[:locked], isnt(401)) || slices.ContainsFunc(codes[locked:], isnt(403)) {
			t.Errorf("%s: %v", number, codes)
		}
	}
	try := func(from, number string, want int) {
		t.Helper()
		h := handsetFrom(t, from, "udp", x.sip, number, "secret"+number)
		defer h.close()
		if m := h.register(60); m.code() != want {
			t.Errorf("%s at %s: %s, want %d", number, from, m.start, want)
		}
	}
	try("127.0.0.1", "104", 200) // the others' neighbour
	try("127.0.0.1", "100", 403)
	try("127.0.0.2", "100", 200)
	try("127.0.0.1", "105", 403)
	if m := registered.register(60); m.code() != 200 {
		t.Errorf("a telephone that has registered is locked by another: %s", m.start)
	}
	if n := a.metric(`tr87proxy_locks{of="telephones"}`); n != 5 {
		t.Errorf("%v locks", n)
	}
	if n := a.metric(`tr87proxy_wrong_passwords_total{of="telephones"}`); n != 25 {
		t.Errorf("%v wrong passwords", n)
	}
	if n := strings.Count(x.out.String(), "name locked at an address: too many wrong passwords"); n != 5 {
		t.Errorf("%d locks are in the log", n)
	}
	strangers := filepath.Join(filepath.Dir(a.socket), "audit-strangers.log")
	for _, want := range []string{`"kind":"refused","who":"100","front":"telephones"`, `"kind":"locked","who":"100","front":"telephones"`} {
		waitFor(t, want, func() bool { data, _ := os.ReadFile(strangers); return strings.Contains(string(data), want) })
	}
	if out := a.admin(0, "status"); !strings.Contains(out, "5 names are locked after wrong passwords: tr87proxy unlock lists them") {
		t.Error(out)
	}
	if out := a.admin(0, "unlock"); strings.Count(out, "\n") != 6 || !strings.Contains(out, "100   127.0.0.1  telephones  5 ") {
		t.Error(out)
	}
	if out, _ := command(t, "__complete", "unlock", "--socket", a.socket, ""); !strings.HasPrefix(out, "100\n101\n102\n103\n105\n:") {
		t.Error(out)
	}
	a.admin(2, "unlock", "100", "--all")
	a.admin(2, "unlock", "--from", "here")
	a.admin(1, "unlock", "104")
	a.admin(1, "unlock", "100", "--from", "127.0.0.2")
	if out := a.admin(0, "unlock", "100"); out != "unlocked 100 at 127.0.0.1 (telephones)\n" {
		t.Error(out)
	}
	try("127.0.0.1", "100", 200)
	if out := a.admin(0, "unlock", "101", "--from", "127.0.0.1", "--json"); !strings.HasPrefix(out, `[{"of":"telephones","name":"101","address":"127.0.0.1","wrong":5,`) {
		t.Error(out)
	}
	if out := a.admin(0, "unlock", "102", "--from", "127.0.0.1"); out != "unlocked 102 at 127.0.0.1 (telephones)\n" {
		t.Error(out)
	}
	if out := a.admin(0, "unlock", "--from", "127.0.0.1"); strings.Count(out, "unlocked ") != 2 {
		t.Error(out)
	}
	a.admin(1, "unlock", "--all")
	if out := a.admin(0, "locks"); out != "nothing is locked\n" {
		t.Error(out)
	}
	try("127.0.0.1", "103", 200)
	x.stop()
	n := 0
	for _, e := range entries(t, filepath.Join(filepath.Dir(a.socket), "audit.log")) {
		if e.Kind == "unlocked" && e.Who == "" && strings.HasPrefix(e.Reason, "the lock of 10") && strings.HasSuffix(e.Reason, " at 127.0.0.1 (telephones)") {
			n++
		}
	}
	if n != 5 {
		t.Errorf("%d unlockings are in the audit file", n)
	}
}

// Who guesses under many names, or one name from many addresses, shuts out nobody: neither the
// other names of the address nor the name elsewhere.
func TestGuessingEverywhere(t *testing.T) {
	long(t)
	x, a := guarded(t)
	known := newHandset(t, "udp", x.sip, "100", "secret100")
	if m := known.register(60); m.code() != 200 {
		t.Fatal(m.start)
	}
	for i := range 150 {
		h := newHandset(t, "udp", x.sip, fmt.Sprint(700+i), "guess")
		if m := h.register(60); m.code() != 401 && (i < 100 || m.code() != 503) {
			t.Errorf("guess %d: %s", i, m.start)
		}
		h.close()
	}
	if m := newHandset(t, "udp", x.sip, "100", "secret100").register(60); m.code() != 200 {
		t.Errorf("a name that is known at the address: %s", m.start)
	}
	if m := handsetFrom(t, "127.0.0.2", "udp", x.sip, "101", "secret101").register(60); m.code() != 200 {
		t.Errorf("a telephone elsewhere: %s", m.start)
	}
	for i := range 30 {
		h := handsetFrom(t, fmt.Sprintf("127.0.1.%d", i+1), "udp", x.sip, "100", "guess")
		for range 5 {
			if m := h.register(60); m.code() != 401 {
				t.Errorf("from address %d: %s", i, m.start)
			}
		}
		h.close()
	}
	for _, from := range []string{"127.0.0.1", "127.0.0.3"} {
		h := handsetFrom(t, from, "udp", x.sip, "100", "secret100")
		if m := h.register(60); m.code() != 200 {
			t.Errorf("the name at %s: %s", from, m.start)
		}
		h.close()
	}
	if n := a.metric(`tr87proxy_locks{of="telephones"}`); n != 30 {
		t.Errorf("%v locks", n)
	}
	x.stop()
}

// A telephone that registers all the time costs itself only.
func TestRegistersAllTheTime(t *testing.T) {
	long(t)
	x, _ := guarded(t)
	good := newHandset(t, "udp", x.sip, "101", "secret101")
	if m := good.register(60); m.code() != 200 {
		t.Fatal(m.start)
	}
	const phones, each = 6, 1500
	var group sync.WaitGroup
	var taken, refused atomic.Int64
	over := make(chan struct{})
	for range phones {
		h := newHandset(t, "udp", x.sip, "100", "secret100")
		group.Go(func() {
			for range each {
				switch m := h.register(60); m.code() {
				case 200:
					taken.Add(1)
				case 503:
					refused.Add(1)
					if m.header("Retry-After") == "" {
						t.Error("503 without Retry-After")
					}
				default:
					t.Errorf("%s", m.start)
				}
			}
		})
	}
	go func() { group.Wait(); close(over) }()
	times := 0
	now := time.NewTicker(150 * time.Millisecond)
	defer now.Stop()
	for flooded := true; flooded; {
		select {
		case <-over:
			flooded = false
		case <-now.C:
			if m := good.register(60); m.code() != 200 {
				t.Fatalf("REGISTER %d of the other telephone: %s", times, m.start)
			}
			times++
		}
	}
	t.Logf("%d registered, %d refused; the other telephone %d times meanwhile", taken.Load(), refused.Load(), times)
	if taken.Load() == 0 || refused.Load() == 0 {
		t.Error("not held back")
	}
	x.stop()
}

// Wrong passwords of a digest user of TR/87 lock this user at the address, and no other. INVITEs
// that prove nothing shut out nobody of the address that they write.
func TestDigestLocks(t *testing.T) {
	a := administer(t, "digest: {users: [{name: alice, password: one}, {name: bob, password: two}]}\ngrants: [{who: \"*\", control: [\"*\"]}]\n")
	ua := sip.New(sip.Config{})
	defer ua.Close()
	open := func(user, password string, want int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, err := tr87.Open(ctx, ua, tr87.Dial{To: fmt.Sprintf("sip:gw@127.0.0.1:%d;transport=udp", a.port), From: "sip:x@localhost", Line: "1000", Username: user, Password: password})
		var refusal *sip.Refusal
		switch {
		case err == nil && want == 200:
			c.Close()
		case err == nil || !errors.As(err, &refusal) || refusal.Response.Code() != want:
			t.Errorf("%s with %s: %v, want %d", user, password, err, want)
		}
	}
	for range 5 {
		open("alice", "guess", 401)
	}
	open("alice", "one", 403)
	open("bob", "two", 200)
	if out := a.admin(0, "unlock", "Alice"); out != "unlocked alice at 127.0.0.1 (digest)\n" {
		t.Error(out)
	}
	open("alice", "one", 200)
	conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", a.port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for n := range 300 {
		_, _ = io.WriteString(conn, invite(n, "sip:mallory@x", ""))
	}
	open("bob", "two", 200)
	a.stop()
}

func isnt(code int) func(int) bool { return func(other int) bool { return other != code } }
