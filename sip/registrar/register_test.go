package registrar

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
)

// A user registers, refreshes, adds a second telephone, removes one, and removes all.
func TestRegister(t *testing.T) {
	r := aStation(t, Config{})
	w := r.raw("TCP", "100")
	one, two := "<sip:100@127.0.0.1:9;line=1>", "<sip:100@127.0.0.1:9;line=2>"
	for n, step := range []struct {
		contacts []string
		want     []string // of the response
		tells    string   // the owner
	}{
		{nil, nil, ""},
		{[]string{one}, []string{"line=1"}, "100 {true false false}"},
		{[]string{one}, []string{"line=1"}, ""},
		{[]string{two}, []string{"line=1", "line=2"}, ""},
		{nil, []string{"line=1", "line=2"}, ""},
		{[]string{one + ";expires=0"}, []string{"line=2"}, ""},
		{[]string{one + ", " + two}, []string{"line=1", "line=2"}, ""},
	} {
		var headers []string
		for _, c := range step.contacts {
			headers = append(headers, "Contact: "+c)
		}
		code, text := w.registered(fmt.Sprint(n), 1, headers...)
		listed := contactsOf(text)
		for _, c := range listed {
			if !strings.Contains(c, ";expires=3600") {
				t.Errorf("%v: %s", step.contacts, c)
			}
		}
		if code != 200 || len(listed) != len(step.want) || !slices.EqualFunc(listed, step.want, strings.Contains) {
			t.Errorf("%v: %d %v, want %v", step.contacts, code, listed, step.want)
		}
		if step.tells != "" {
			if got := wait.Next(t, r.owner.standing, step.tells); got != step.tells {
				t.Errorf("%v: told %q, want %q", step.contacts, got, step.tells)
			}
		}
		if len(r.owner.standing) > 0 {
			t.Errorf("%v: told %q", step.contacts, <-r.owner.standing)
		}
	}
	if got := r.Reachable(); got != 1 {
		t.Errorf("%d extensions can be called", got)
	}
	if got := r.Telephones(); len(got) != 2 || got[0].Number != "100" || !got[0].Reachable {
		t.Error(got)
	}
	if code, text := w.registered("all", 1, "Contact: *", "Expires: 0"); code != 200 || len(contactsOf(text)) > 0 {
		t.Errorf("all removed: %s", text)
	}
	if got := wait.Next(t, r.owner.standing, "the end"); got != "100 {false false false}" {
		t.Error(got)
	}
	if list := r.Contacts("100"); len(list) > 0 || r.Addr("100").IsValid() {
		t.Error(list)
	}
}

// contactsOf are the contacts of a response.
func contactsOf(text string) (list []string) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "Contact: "); ok {
			list = append(list, strings.TrimSpace(value))
		}
	}
	return list
}

// What a REGISTER asks for within its limits, it gets; the others are refused and change nothing.
func TestRegisterRefused(t *testing.T) {
	r := aStation(t, Config{MinExpires: time.Minute, MaxExpires: time.Hour, MaxContacts: 2})
	long := "<sip:" + strings.Repeat("1", 600) + "@127.0.0.1>"
	if code, text := r.register("UDP", "100", "<sip:100@127.0.0.1:9;line=0>;expires=100000"); code != 200 || !strings.Contains(text, ";expires=3600") {
		t.Errorf("longer than it may be: %s", text)
	}
	for _, tt := range []struct {
		contacts []string
		expires  string
		code     int
	}{
		{[]string{"<sip:100@127.0.0.1:9>;expires=59"}, "", 423},
		{[]string{"<sip:100@127.0.0.1:9>"}, "59", 423},
		{[]string{"<tel:100>"}, "", 400},
		{[]string{long}, "", 400},
		{[]string{"*"}, "60", 400},
		{[]string{"*", "<sip:100@127.0.0.1:9>"}, "0", 400},
		{[]string{"*, <sip:100@127.0.0.1:9>"}, "0", 400},
		{[]string{"<sip:100@127.0.0.1:9>, *"}, "0", 400},
		{[]string{"*"}, "", 400},
		{[]string{"*"}, "zero", 400},
		{[]string{"<sip:1@127.0.0.1:9>", "<sip:2@127.0.0.1:9>", "<sip:3@127.0.0.1:9>"}, "", 403},
	} {
		var headers []string
		if tt.expires != "" {
			headers = append(headers, "Expires: "+tt.expires)
		}
		for _, c := range tt.contacts {
			headers = append(headers, "Contact: "+c)
		}
		code, text := r.raw("TCP", "100").registered("a", 1, headers...)
		if code != tt.code || tt.code == 423 && !strings.Contains(text, "Min-Expires: 60\r\n") {
			t.Errorf("%v, Expires %q: want %d: %s", tt.contacts, tt.expires, tt.code, text)
		}
		if got := r.contacts("100"); len(got) != 1 {
			t.Fatalf("%v: it has %v", tt.contacts, got)
		}
	}
}

// A lifetime that is malformed is an hour, one that is too long the longest.
func TestLifetime(t *testing.T) {
	r := aStation(t, Config{MaxExpires: 2 * time.Hour})
	for n, tt := range []struct{ contact, expires, want string }{
		{";expires=many", "", "3600"}, {"", "many", "3600"}, {";expires=-1", "60", "3600"}, {";expires=", "60", "3600"}, {"", "60s", "3600"},
		{";expires=99999999999999999999", "", "7200"}, {";expires=60", "many", "60"}, {`;expires="60"`, "", "60"}, {"", " 60 ", "60"}, {"", "", "7200"},
	} {
		headers := []string{"Contact: <sip:100@127.0.0.1:9>" + tt.contact}
		if tt.expires != "" {
			headers = append(headers, "Expires: "+tt.expires)
		}
		if code, text := r.raw("TCP", "100").registered(fmt.Sprint(n), 1, headers...); code != 200 || !strings.HasSuffix(contactsOf(text)[0], ";expires="+tt.want) {
			t.Errorf("%q: %d %s", tt, code, text)
		}
	}
}

// A telephone that registers when its extension has enough takes the place of one that cannot be reached, or else of the
// one without news for longest.
func TestCrowd(t *testing.T) {
	r := aStation(t, Config{MaxContacts: 3, Users: []User{{Number: "100", Password: "secret", Contact: "sip:100@127.0.0.1:9;line=static"}}})
	r.Start()
	register := func(lines ...string) {
		t.Helper()
		var contacts []string
		for _, line := range lines {
			contacts = append(contacts, "<sip:100@127.0.0.1:9;line="+line+">")
		}
		if code, text := r.register("UDP", "100", strings.Join(contacts, ", ")); code != 200 {
			t.Fatal(text)
		}
	}
	expect := func(lines ...string) {
		t.Helper()
		if got := r.contacts("100"); !slices.EqualFunc(got, lines, strings.HasSuffix) {
			t.Errorf("%v, want %v", got, lines)
		}
	}
	register("a")
	register("b")
	register("a") // refreshed
	register("c")
	expect("static", "a", "c")
	r.mu.Lock()
	r.users["100"].bindings[2].missed = 2
	r.mu.Unlock()
	register("d")
	expect("static", "a", "d")
	register("e", "f")
	expect("static", "e", "f")
	register("e", "f", "g") // with the one that does not register, there are too many
	expect("static", "e", "f", "g")
	r.log.await(t, "dropped the registration of a telephone to make room for another", 1)
}

// A telephone that writes a password into its URI is the same telephone.
func TestPasswordInURI(t *testing.T) {
	r := aStation(t, Config{})
	own := "sip:100:secret@127.0.0.1"
	res, err := r.phone.Request(t.Context(), "REGISTER", sip.Invite{To: own, From: own, Target: "sip:" + r.at["UDP"] + ";transport=udp", Username: "100", Password: "secret"})
	if err != nil || res.Code() != 200 {
		t.Error(res, err)
	}
}

// The same telephone refreshes its binding; one that has restarted has another one, and none whose REGISTER
// was overtaken by a later one.
func TestRefresh(t *testing.T) {
	r := aStation(t, Config{})
	w := r.raw("TCP", "100")
	first := func() *binding {
		r.mu.Lock()
		defer r.mu.Unlock()
		if n := len(r.users["100"].bindings); n != 1 {
			t.Fatalf("%d bindings", n)
		}
		return r.users["100"].bindings[0]
	}
	contact := `Contact: <sip:100@127.0.0.1:9>;+sip.instance="<urn:uuid:1>";reg-id=1`
	if code, text := w.registered("a", 1, contact); code != 200 {
		t.Fatal(text)
	}
	one := first()
	if code, text := w.registered("a", 3, contact, "Allow-Events: talk, hold"); code != 200 || first() != one {
		t.Errorf("refreshed: %s", text)
	}
	if got := wait.Next(t, r.owner.standing, "reachable"); got != "100 {true false false}" {
		t.Error(got)
	}
	if got := wait.Next(t, r.owner.standing, "talks"); got != "100 {true true false}" || !r.Talks("100") || !r.ObeysTalk("100") {
		t.Error(got)
	}
	if code, text := w.registered("a", 1, contact); code != 500 || first() != one {
		t.Errorf("overtaken: %s", text)
	}
	if code, text := w.registered("a", 1, "Contact: *", "Expires: 0"); code != 500 || first() != one {
		t.Errorf("overtaken: %s", text)
	}
	moved := strings.Replace(contact, "100@127.0.0.1:9", "100@127.0.0.1:10", 1)
	if code, text := w.registered("b", 1, moved); code != 200 || first() == one || first().contact != "sip:100@127.0.0.1:10" {
		t.Errorf("restarted: %s", text)
	}
}

// A request that is not believed is refused, and its user locked at its address after some wrong passwords; one
// who is registered is not locked out by others.
func TestAuthenticate(t *testing.T) {
	var refused []string
	guard := accounts.NewGuard(accounts.GuardConfig{Of: "telephones"})
	r := aStation(t, Config{Guard: guard, Refused: func(_, user, why string) { refused = append(refused, user+": "+why) }})
	if res := r.send("REGISTER", "UDP", "100", "100", "wrong"); res.Code() == 200 || len(r.contacts("100")) > 0 {
		t.Fatalf("with a wrong password: %d", res.Code())
	}
	if res := r.send("REGISTER", "UDP", "100", "nobody", "secret"); res.Code() == 200 {
		t.Errorf("nobody: %d", res.Code())
	}
	if res := r.send("REGISTER", "UDP", "101", "100", "secret"); res.Code() != 403 {
		t.Errorf("as another: %d", res.Code())
	}
	r.log.await(t, "wrong password of a telephone", 1)
	r.log.await(t, "refused a telephone that uses another's number", 1)
	registered := r.raw("TCP", "100")
	if code, text := registered.registered("a", 1, "Contact: "+nowhere("100")); code != 200 {
		t.Fatal(text)
	}
	for range 10 {
		r.send("REGISTER", "TCP", "100", "100", "wrong")
	}
	r.log.await(t, "refused a telephone after too many wrong passwords", 1)
	if res := r.send("REGISTER", "TCP", "100", "100", "secret"); res.Code() == 200 {
		t.Error("it is not locked")
	}
	if code, text := registered.registered("a", 3, "Contact: "+nowhere("100")); code != 200 {
		t.Errorf("the telephone that is registered is locked out: %s", text)
	}
	if res := r.send("REGISTER", "TCP", "101", "101", "secret"); res.Code() != 200 {
		t.Errorf("another user: %d", res.Code())
	}
	if !slices.Contains(refused, "100: wrong password") || !slices.ContainsFunc(refused, func(s string) bool { return strings.HasPrefix(s, "100: ") && !strings.HasSuffix(s, "wrong password") }) {
		t.Error(refused)
	}
}

// A nonce that is too old is refused with another one, and counts as no wrong password.
func TestStaleNonce(t *testing.T) {
	r := aStation(t, Config{})
	w := r.raw("TCP", "100")
	w.nonce = "0123456789abcdef0123456789abcdef"
	if code, text := w.register("a", 1, "secret"); code != 401 || !strings.Contains(text, "stale=true") {
		t.Errorf("with an old nonce: %s", text)
	}
	if code, text := w.register("a", 2, "secret", "Contact: "+nowhere("100")); code != 200 {
		t.Errorf("with the new one: %s", text)
	}
}

// A password that changes ends what was opened with the other one, and locks an account that has none any more.
func TestSetPasswords(t *testing.T) {
	r := aStation(t, Config{Users: []User{{Number: "100", Name: "anna", Password: "secret"}, {Number: "101", Password: "secret"}, {Number: "102", Password: "secret", Contact: "sip:102@127.0.0.1:9"}}})
	r.Start()
	for number, user := range map[string]string{"100": "anna", "101": "101", "102": "102"} {
		if res := r.send("REGISTER", "UDP", number, user, "secret"); res.Code() != 200 {
			t.Fatal(number, res.Code())
		}
	}
	changed := r.SetPasswords([]User{{Number: "100", Name: "anna", Password: "another"}, {Number: "101", Password: "secret"}})
	if !slices.Equal(changed, []string{"100", "102"}) {
		t.Error(changed)
	}
	if len(r.contacts("100")) != 0 || len(r.contacts("101")) != 1 || !slices.Equal(r.contacts("102"), []string{"sip:102@127.0.0.1:9"}) {
		t.Error(r.contacts("100"), r.contacts("101"), r.contacts("102"))
	}
	for _, tt := range []struct {
		number, user, password string
		ok                     bool
	}{{"100", "anna", "secret", false}, {"100", "anna", "another", true}, {"101", "101", "secret", true}, {"102", "102", "secret", false}, {"102", "102", "", false}} {
		if res := r.send("REGISTER", "TCP", tt.number, tt.user, tt.password); (res.Code() == 200) != tt.ok {
			t.Errorf("%v: %d", tt, res.Code())
		}
	}
	if changed := r.SetPasswords([]User{{Number: "100", Name: "anna", Password: "another"}, {Number: "101", Password: "secret"}}); len(changed) > 0 {
		t.Error("nothing has changed:", changed)
	}
}

// Registrations expire.
func TestExpire(t *testing.T) {
	r := aStation(t, Config{})
	if code, text := r.register("UDP", "100", nowhere("100")+";expires=60", "<sip:100@127.0.0.1:10>;expires=600"); code != 200 {
		t.Fatal(text)
	}
	wait.Next(t, r.owner.standing, "reachable")
	now := time.Now()
	if r.expire(now.Add(50 * time.Second)); len(r.contacts("100")) != 2 {
		t.Errorf("after 50 s: %v", r.contacts("100"))
	}
	if r.expire(now.Add(70 * time.Second)); len(r.contacts("100")) != 1 || len(r.owner.standing) > 0 {
		t.Errorf("after 70 s: %v", r.contacts("100"))
	}
	if r.expire(now.Add(700 * time.Second)); len(r.contacts("100")) != 0 {
		t.Errorf("after 700 s: %v", r.contacts("100"))
	}
	if got := wait.Next(t, r.owner.standing, "the end"); got != "100 {false false false}" {
		t.Error(got)
	}
}

// A telephone that does not answer OPTIONS twice is not reachable until it answers again.
func TestQualify(t *testing.T) {
	phone := sip.New(sip.Config{})
	defer func() { phone.Close() }()
	at, err := phone.ListenTCP("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	r := aStation(t, Config{Users: []User{{Number: "100", Contact: "sip:100@" + at.String() + ";transport=tcp"}}})
	r.Start()
	if got := wait.Next(t, r.owner.standing, "reachable"); got != "100 {true false false}" {
		t.Error(got)
	}
	u := r.users["100"]
	r.qualifyOne(u, u.bindings[0])
	phone.Close()
	r.qualifyOne(u, u.bindings[0])
	if len(r.owner.standing) > 0 {
		t.Error(<-r.owner.standing)
	}
	r.qualifyOne(u, u.bindings[0])
	if got := wait.Next(t, r.owner.standing, "unreachable"); got != "100 {false false false}" || len(r.Contacts("100")) > 0 {
		t.Error(got)
	}
	phone = sip.New(sip.Config{})
	if _, err := phone.ListenTCP(at.String(), nil); err != nil {
		t.Skip("the port was taken meanwhile:", err)
	}
	r.qualify()
	if got := wait.Next(t, r.owner.standing, "reachable"); got != "100 {true false false}" {
		t.Error(got)
	}
}

// What has to be done every second is done, and closing ends it.
func TestEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := anOwner(t)
		s := New(Config{Users: []User{{Number: "100", Contact: "sip:100@127.0.0.1"}}, Qualify: time.Minute}, o)
		s.Start()
		if got := wait.Next(t, o.standing, "reachable"); got != "100 {true false false}" {
			t.Error(got)
		}
		s.mu.Lock()
		s.users["100"].bindings[0].expires = time.Now().Add(3500 * time.Millisecond)
		s.mu.Unlock()
		start := time.Now()
		if got := wait.Next(t, o.standing, "the end"); got != "100 {false false false}" || time.Since(start) != 4*time.Second {
			t.Errorf("%q after %s", got, time.Since(start))
		}
		s.Close()
		s.Close()
		if s.spawn(func() {}) {
			t.Error("a server that has closed starts goroutines")
		}
	})
}

// How long to wait for a session that could not be opened.
func TestRetryAfter(t *testing.T) {
	wait := time.Duration(0)
	var got []string
	for range 9 {
		wait = retryAfter(wait, errors.New("no answer"))
		got = append(got, wait.String())
	}
	if want := "[5s 10s 20s 40s 1m20s 2m40s 5m20s 10m0s 10m0s]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// Addr is where signalling comes from.
func TestAddr(t *testing.T) {
	r := aStation(t, Config{Users: []User{{Number: "100", Password: "secret"}, {Number: "101", Contact: "sip:101@127.0.0.1:9"}}})
	r.Start()
	if code, text := r.register("TCP", "100", nowhere("100")); code != 200 {
		t.Fatal(text)
	}
	if got := r.Addr("100"); got != netip.MustParseAddr("127.0.0.1") {
		t.Error(got)
	}
	for _, number := range []string{"101", "102"} {
		if got := r.Addr(number); got.IsValid() {
			t.Errorf("%s: %s", number, got)
		}
	}
	if list := r.Contacts("100"); len(list) != 1 || list[0].Address("101") != "sip:101@127.0.0.1" {
		t.Error(list)
	}
	named := aStation(t, Config{Advertise: "pbx.test"})
	if code, text := named.register("UDP", "100", nowhere("100")); code != 200 {
		t.Fatal(text)
	}
	if list := named.Contacts("100"); len(list) != 1 || list[0].Address("101") != "sip:101@pbx.test" {
		t.Error(list)
	}
	list := r.Contacts("101")
	if len(list) != 1 || list[0].Address("#1") != "sip:%231@127.0.0.1" {
		t.Error(list)
	}
}

// The owner knows of a telephone before the telephone has its response: it can be called at once.
func TestKnownBeforeResponse(t *testing.T) {
	r := aStation(t, Config{})
	responded := make(chan int, 1)
	r.owner.told = func() {
		select {
		case code := <-responded:
			t.Errorf("it has %d, and is not known", code)
		case <-time.After(100 * time.Millisecond): // it waits for us
		}
	}
	go func() {
		code, _ := r.register("TCP", "100", nowhere("100"))
		responded <- code
	}()
	if got := wait.Next(t, r.owner.standing, "the standing"); got != "100 {true false false}" {
		t.Error(got)
	}
	if code := wait.Next(t, responded, "the response"); code != 200 {
		t.Error(code)
	}
}
