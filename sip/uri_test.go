package sip

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
)

func TestSameUser(t *testing.T) {
	for _, same := range [][2]string{
		{"sip:127.0.0.1:5060", "sip:127.0.0.1"}, {"sip:127.0.0.1:5060;transport=udp", "sip:127.0.0.1:5060"}, {"SIP:100@PBX.example.com", "sip:100@pbx.example.com:5060"},
		{"sip:%31%30%30@h", "sip:100@h"}, {"sip:%23100@h", "sip:%23100@H"}, {"sip:103@127.0.0.1:5060", "sip:103@pbx.example.com;user=phone"}, {"sips:100@h", "sip:100@h"},
		{"sip:1@[::1]", "sip:1@[0:0::1]:5060"}, {"sip:a:pw@h", "sip:%61:pw@h"}, {"tel:+1;x=y", "tel:+1;x=y"},
	} {
		if !sameUser(same[0], same[1]) || !sameUser(same[1], same[0]) {
			t.Errorf("%s is not %s", same[0], same[1])
		}
	}
	for _, other := range [][2]string{
		{"sip:100@h", "sip:101@h"}, {"sip:alice@h", "sip:Alice@h"}, {"sip:100@h", "sip:h"}, {"sip:a:pw@h", "sip:a:PW@h"}, {"sip:a:pw@h", "sip:a@h"},
		{"sip:%2b1@h", "sip:+1@h"}, {"sip:1%3Bx@h", "sip:1;x@h"}, {"tel:1", "tel:2"}, {"tel:1", "sip:1@h"}, {"sip:%zz@h", "sip:%zz@g"}, {"", "sip:h"},
	} {
		if sameUser(other[0], other[1]) || sameUser(other[1], other[0]) {
			t.Errorf("%s is %s", other[0], other[1])
		}
	}
}

// authorize writes credentials by hand (RFC 2617 3.2.2).
func authorize(user, password, nonce, method, uri string) string {
	sum := func(s string) string { b := md5.Sum([]byte(s)); return hex.EncodeToString(b[:]) }
	response := sum(sum(user+":example:"+password) + ":" + nonce + ":00000001:c:auth:" + sum(method+":"+uri))
	return fmt.Sprintf(`Authorization: Digest username="%s", realm="example", nonce="%s", uri="%s", response="%s", algorithm=MD5, qop=auth, nc=00000001, cnonce="c"`,
		user, nonce, uri, response)
}

// Credentials are valid for a Request-URI of the same user only. Those with a nonce issued to
// another address do not count as a wrong password, since otherwise a forged address could lock
// a user out.
func TestDigestTarget(t *testing.T) {
	failures := make(chan bool, 100)
	guard := accounts.NewGuard(accounts.GuardConfig{})
	digest := NewDigest("example", []string{MD5}, guard, func(string) (string, bool) { return "s3cret", true })
	_, _, addr := serve(t, "UDP", func(c *Config) {
		c.Requests = map[string]func(*Request){"REGISTER": func(r *Request) {
			_, err := digest.Check(r)
			failures <- errors.Is(err, accounts.ErrWrong)
			if err == nil {
				r.Respond(Answer{})
			}
		}}
	})
	nonceTo := func(peer string) string {
		_, rest, _ := strings.Cut(digest.realm.Challenges(netip.MustParseAddr(peer), false)[0], `nonce="`)
		nonce, _, _ := strings.Cut(rest, `"`)
		return nonce
	}
	p := dialRaw(t, "UDP", addr)
	cseq := 0
	ask := func(uri, extra string) message {
		t.Helper()
		cseq++
		p.write(strings.Replace(p.request("REGISTER", cseq, "", extra), "REGISTER sip:ua@localhost", "REGISTER "+uri, 1))
		return p.must()
	}
	for _, c := range []struct {
		uri, means string
		want       int
	}{
		{"sip:127.0.0.1:5060", "sip:127.0.0.1", 200}, {"sip:127.0.0.1:5060;transport=udp", "sip:127.0.0.1:5060", 200}, {"SIP:127.0.0.1", "SIP:127.0.0.1", 200},
		{"sip:PBX.example.com", "sip:pbx.example.com", 200}, {"sip:103@h", "sip:103@h:5060", 200},
		{"sip:103@h", "sip:103@g", 200}, {"sip:103@h", "sip:104@h", 401}, {"sip:103@h", "sip:h", 401}, {"sip:103@h", "*", 401},
	} {
		_, rest, _ := strings.Cut(ask(c.uri, "X: y").header("WWW-Authenticate"), `nonce="`)
		nonce, _, _ := strings.Cut(rest, `"`)
		<-failures
		res := ask(c.uri, authorize("u", "s3cret", nonce, "REGISTER", c.means))
		if failed := <-failures; res.code() != c.want || failed {
			t.Errorf("Request-URI %s, digest for %s: %s, failed %v", c.uri, c.means, res.start, failed)
		}
	}
	for _, password := range []string{"wrong", "s3cret"} {
		for _, nonce := range []string{"made.up.x", nonceTo("127.0.0.2")} {
			res := ask("sip:h", authorize("u", password, nonce, "REGISTER", "sip:h"))
			if failed := <-failures; res.code() != 401 || failed || !strings.Contains(res.header("WWW-Authenticate"), "stale=true") {
				t.Errorf("%s with a nonce of nobody: %s, failed %v", password, res.start, failed)
			}
		}
	}
	long := strings.Repeat("u", 257)
	res := ask("sip:h", authorize(long, "s3cret", nonceTo("127.0.0.1"), "REGISTER", "sip:h"))
	if failed := <-failures; res.code() != 401 || failed {
		t.Errorf("a very long name: %s, failed %v", res.start, failed)
	}
	if guard.Wrong() != 0 {
		t.Error("what proves nothing counts:", guard.Wrong())
	}
}

func TestParseReplaces(t *testing.T) {
	for value, want := range map[string]Replaces{
		"a@b;to-tag=1;from-tag=2":                           {CallID: "a@b", ToTag: "1", FromTag: "2"},
		"a ; From-Tag = 2 ;early-only;TO-TAG=1;x=\"; , y\"": {},
		"a ; From-Tag = 2 ;Early-Only;TO-TAG=1;x=y":         {CallID: "a", ToTag: "1", FromTag: "2", EarlyOnly: true},
		"a": {}, "": {}, "a;to-tag=1": {}, "a;from-tag=1": {}, ";to-tag=1;from-tag=2": {}, "a;to-tag=;from-tag=2": {}, "a;to-tag=1;from-tag=2;to-tag=1": {},
		"a;to-tag=1;from-tag=2,b;to-tag=1;from-tag=2": {}, "a;to-tag=1;from-tag=2;early-only=yes": {}, "a b;to-tag=1;from-tag=2": {}, "a;to-tag=1 2;from-tag=2": {},
		"a@b@c;to-tag=1;from-tag=2": {}, "a;to-tag=1;from-tag=2;": {}, "a;to-tag=\"1\";from-tag=2": {},
	} {
		got, ok := ParseReplaces(value)
		if ok != (want.CallID != "") || ok && got != want {
			t.Errorf("%q: %+v %v", value, got, ok)
		}
	}
}
