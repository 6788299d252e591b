package digest

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// sum hashes by an algorithm.
func sum(algorithm, text string) string {
	if algorithm == "SHA-256" {
		hash := sha256.Sum256([]byte(text))
		return hex.EncodeToString(hash[:])
	}
	hash := md5.Sum([]byte(text))
	return hex.EncodeToString(hash[:])
}

// respond is a client that RFC 7616 section 3.4.1 describes, with the code of no library.
func respond(algorithm, nonce, count, method, uri string) (credentials, h1 string) {
	h1 = sum(algorithm, "crm:CSTA:s3cret")
	response := sum(algorithm, strings.Join([]string{h1, nonce, count, "c", "auth", sum(algorithm, method+":"+uri)}, ":"))
	return fmt.Sprintf(`Digest username="crm", realm="CSTA", nonce=%q, uri=%q, algorithm=%s, qop=auth, nc=%s, cnonce="c", response=%q`, nonce, uri, algorithm, count, response), h1
}

func nonceOf(t *testing.T, challenge string) string {
	t.Helper()
	_, rest, found := strings.Cut(challenge, `nonce="`)
	nonce, _, _ := strings.Cut(rest, `"`)
	if !found {
		t.Fatal(challenge)
	}
	return nonce
}

// Each algorithm of a challenge works, once for each count, for one method, and for the password.
func TestResponses(t *testing.T) {
	r := New("CSTA", "MD5", "SHA-256")
	for i, algorithm := range []string{"MD5", "SHA-256"} {
		challenges := r.Challenges(thisPeer, false)
		if len(challenges) != 2 || !strings.Contains(challenges[i], "algorithm="+algorithm) || strings.Contains(challenges[i], "stale") || nonceOf(t, challenges[0]) != nonceOf(t, challenges[1]) {
			t.Fatal(challenges)
		}
		for _, tt := range []struct {
			count string
			fresh bool
		}{{"00000001", true}, {"00000001", false}, {"0000000a", true}, {"00000009", false}, {"0000000b", true}} {
			credentials, h1 := respond(algorithm, nonceOf(t, challenges[i]), tt.count, "POST", "/csta")
			res, err := r.Read(credentials, thisPeer)
			if err != nil || res.Username != "crm" || res.URI != "/csta" || res.Algorithm != algorithm {
				t.Fatalf("%+v %v", res, err)
			}
			if res.Right("GET", h1) || res.Right("POST", sum(algorithm, "crm:CSTA:wrong")) || res.Right("POST", "") || !res.Right("POST", h1) {
				t.Error("what is right is wrong, or the other way round")
			}
			if fresh := res.Use(); fresh != tt.fresh {
				t.Errorf("count %s: fresh %v", tt.count, fresh)
			}
		}
	}
}

// Credentials that are no response to a challenge of the realm, to this address and not long ago, are told from wrong ones.
func TestUnusable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New("CSTA", "SHA-256")
		nonce := nonceOf(t, r.Challenges(thisPeer, false)[0])
		good, _ := respond("SHA-256", nonce, "00000001", "POST", "/csta")
		for name, tt := range map[string]struct {
			credentials string
			want        error
		}{
			"as it is":          {good, nil},
			"nothing":           {"", ErrUnusable},
			"Basic":             {"Basic Y3JtOnM=", ErrUnusable},
			"another realm":     {strings.Replace(good, `"CSTA"`, `"other"`, 1), ErrUnusable},
			"without qop":       {strings.Replace(good, "qop=auth, ", "", 1), ErrUnusable},
			"auth-int":          {strings.Replace(good, "qop=auth", "qop=auth-int", 1), ErrUnusable},
			"a weaker one":      {strings.Replace(good, "SHA-256", "MD5", 1), ErrUnusable},
			"the default":       {strings.Replace(good, "algorithm=SHA-256, ", "", 1), ErrUnusable},
			"an unknown one":    {strings.Replace(good, "SHA-256", "SHA-256-sess", 1), ErrUnusable},
			"a hashed name":     {good + ", userhash=true", ErrUnusable},
			"an extended name":  {strings.Replace(good, "username=", "username*=", 1), ErrUnusable},
			"a huge name":       {strings.Replace(good, "crm", strings.Repeat("x", 10000), 1), ErrUnusable},
			"no number":         {strings.Replace(good, "nc=0000", "nc=000x", 1), ErrUnusable},
			"count zero":        {strings.Replace(good, "nc=00000001", "nc=00000000", 1), ErrUnusable},
			"a negative count":  {strings.Replace(good, "nc=00000001", "nc=-0000001", 1), ErrUnusable},
			"unended":           {good[:len(good)-1], ErrUnusable},
			"a forged nonce":    {strings.Replace(good, nonce, nonce[:len(nonce)-1]+"x", 1), ErrStale},
			"an invented nonce": {strings.Replace(good, nonce, "1", 1), ErrStale},
			"no nonce":          {strings.Replace(good, nonce, "", 1), ErrStale},
		} {
			if _, err := r.Read(tt.credentials, thisPeer); err != nil != (tt.want != nil) || tt.want != nil && !errors.Is(err, tt.want) || errors.Is(err, ErrStale) != errors.Is(tt.want, ErrStale) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := r.Read(good, otherPeer); !errors.Is(err, ErrStale) {
			t.Error("the nonce of another:", err)
		}
		if _, err := New("CSTA", "SHA-256").Read(good, thisPeer); !errors.Is(err, ErrStale) {
			t.Error("the nonce of another server:", err)
		}
		time.Sleep(nonceLife + time.Second)
		if _, err := r.Read(good, thisPeer); !errors.Is(err, ErrStale) || !strings.Contains(r.Challenges(thisPeer, true)[0], "stale=true") {
			t.Error("an old nonce:", err)
		}
	})
}

// Nothing that a client sends as credentials makes reading them fail otherwise than with an error.
func FuzzRead(f *testing.F) {
	r := New("CSTA", "MD5", "SHA-256")
	good, _ := respond("MD5", "n", "00000001", "POST", "/csta")
	f.Add(good)
	f.Add(`Digest username="a\"b", nc=ffffffff`)
	f.Fuzz(func(t *testing.T, text string) {
		res, err := r.Read(text, thisPeer)
		if err == nil {
			t.Error("a nonce that was not given works:", text)
		}
		if len(res.Username) > maxUsername {
			t.Error("a long name")
		}
	})
}
