package tests

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// serveDigest starts a proxy with an account that can use HTTP Digest, crm, and one that cannot, other.
func serveDigest(t *testing.T, settings string) soapService {
	t.Helper()
	file, secret := filepath.Join(t.TempDir(), "accounts"), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(soapPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := command(t, "accounts", "add", "crm", "--digest", "--accounts", file, "--password-file", secret); status != 0 {
		t.Fatal(out)
	}
	account(t, file, "other", soapPassword)
	r := serve(t, fmt.Sprintf("application-sessions: {xml: optional, accounts: %s%s}\ngrants: [{who: \"*\", control: [\"*\"], dial: [\"*\"]}]\n", file, settings))
	return soapService{running: r, plain: fmt.Sprintf("http://127.0.0.1:%d", r.xmlPort), secure: fmt.Sprintf("https://127.0.0.1:%d", r.xmlTLSPort)}
}

// digestSOAP is a client with HTTP Digest by requests, for zeep: URL, certificate, password.
const digestSOAP = `
import sys
import requests, zeep
from requests.auth import HTTPDigestAuth
url, certificate, password = sys.argv[1:4]
session = requests.Session()
session.trust_env = False
session.verify = certificate or True
session.auth = HTTPDigestAuth("crm", password)
client = zeep.Client(url + "/csta/ed3?wsdl", transport=zeep.transports.Transport(session=session))
monitoring = client.bind("CSTAService", "MonitoringPort")
for device in ("1001", "1002", "1003"):
    monitoring.MonitorStart(monitorObject={"deviceObject": device})
assert session.auth._thread_local.nonce_count >= 3, "a challenge for each request"
session.auth = HTTPDigestAuth("crm", "wrong")
try:
    monitoring.MonitorStart(monitorObject={"deviceObject": "1001"})
    raise SystemExit("a wrong password works")
except zeep.exceptions.Fault as fault:
    assert "the name or the password is wrong" in fault.message, fault.message
print("done")
`

// digestPHP is a client with HTTP Digest by PHP: URL, password.
const digestPHP = `<?php
[, $url, $password] = $argv;
$client = new SoapClient("$url/csta/ed3?wsdl", ['login' => 'crm', 'password' => $password, 'authentication' => SOAP_AUTHENTICATION_DIGEST, 'location' => "$url/csta/ed3", 'trace' => true, 'cache_wsdl' => WSDL_CACHE_NONE]);
foreach (['1001', '1002'] as $device) {
    $client->MonitorStart(['monitorObject' => ['deviceObject' => $device]]);
    str_contains($client->__getLastRequestHeaders(), 'Authorization: Digest') || exit(1);
}
echo 'done';
`

// Clients of others log in by HTTP Digest: zeep with requests, over HTTP and TLS; curl, which sends the body after the challenge;
// and PHP, which offers its password by Basic first, so that a relay takes it away.
func TestForeignDigest(t *testing.T) {
	t.Parallel()
	r := serveDigest(t, "")
	certificate := filepath.Join(r.dir, "cert.pem")
	run := func(t *testing.T, name string, args ...string) {
		t.Helper()
		p := start(t, name, args...)
		if err := p.wait(patience); err != nil || !strings.Contains(p.out.String(), "done") {
			t.Errorf("%v\n%s", err, p.out)
		}
	}
	t.Run("zeep", func(t *testing.T) {
		python, file := pythonWith(t, "zeep"), script(t, "digest.py", digestSOAP)
		run(t, python, file, r.plain, "", soapPassword)
		run(t, python, file, r.secure, certificate, soapPassword)
	})
	t.Run("curl", func(t *testing.T) {
		request := script(t, "request.xml", question(1))
		for _, server := range []string{r.plain, r.secure} {
			for user, status := range map[string]string{"crm:" + soapPassword: "200", "crm:wrong": "401", "other:" + soapPassword: "401"} {
				run(t, tool(t, "sh"), "-c", `test "$("$@")" = `+status+` && echo done`, "-", tool(t, "curl"), "-s", "-o", "answer", "-w", "%{http_code}", "--cacert", certificate, "--digest", "-u", user, "-H", "Content-Type: text/xml", "--data", "@"+request, server+"/csta/ed3")
			}
		}
	})
	t.Run("PHP", func(t *testing.T) {
		php := tool(t, "php")
		if out, _ := exec.CommandContext(t.Context(), php, "-m").Output(); !strings.Contains(string(out), "\nsoap\n") {
			php = tool(t, "php-soap")
		}
		target, err := url.Parse(r.plain)
		if err != nil {
			t.Fatal(err)
		}
		relay := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			if strings.HasPrefix(p.In.Header.Get("Authorization"), "Basic ") {
				p.Out.Header.Del("Authorization")
			}
		}})
		defer relay.Close()
		run(t, php, script(t, "digest.php", digestPHP), relay.URL, soapPassword)
	})
	r.stop()
}

// digestClient makes the credentials of requests as RFC 7616 says, or as an attacker would.
type digestClient struct {
	t      *testing.T
	url    string
	client *http.Client
	nonce  string
}

// newDigestClient returns a client at an address of the machine, with a nonce.
func newDigestClient(t *testing.T, url string, last byte) *digestClient {
	t.Helper()
	transport := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, last)}}).DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	c := &digestClient{t: t, url: url, client: &http.Client{Transport: transport}}
	if status, challenge := c.ask(""); status != http.StatusUnauthorized || strings.Contains(challenge, "stale") {
		t.Fatal(status, challenge)
	}
	return c
}

var givenNonce = regexp.MustCompile(`nonce="([^"]+)"`)

// ask sends a request with credentials and returns the status and the challenges. The client uses the first nonce that it gets.
func (c *digestClient) ask(credentials string) (status int, challenges string) {
	c.t.Helper()
	headers := []string{"Content-Type", "text/xml"}
	if credentials != "" {
		headers = append(headers, "Authorization", credentials)
	}
	status, header, _ := overHTTP(c.t, c.client, "POST", c.url+"/csta/ed3", question(1), headers...)
	challenges = strings.Join(header.Values("WWW-Authenticate"), "\n")
	if found := givenNonce.FindStringSubmatch(challenges); found != nil && c.nonce == "" {
		c.nonce = found[1]
	}
	return status, challenges
}

// response is what the credentials of a request are made of.
type response struct {
	user, password, algorithm, method, uri string
	count                                  int
}

// right is the response of the account that can use HTTP Digest.
func right(count int) response {
	return response{"crm", soapPassword, "SHA-256", "POST", "/csta/ed3", count}
}

func (c *digestClient) credentials(r response) string {
	sum := func(parts ...string) string {
		text := []byte(strings.Join(parts, ":"))
		if r.algorithm == "SHA-256" {
			hash := sha256.Sum256(text)
			return hex.EncodeToString(hash[:])
		}
		hash := md5.Sum(text)
		return hex.EncodeToString(hash[:])
	}
	count := fmt.Sprintf("%08x", r.count)
	return fmt.Sprintf(`Digest username=%q, realm="CSTA", nonce=%q, uri=%q, algorithm=%s, qop=auth, nc=%s, cnonce="cn", response=%q`, r.user, c.nonce, r.uri, r.algorithm, count,
		sum(sum(r.user, "CSTA", r.password), c.nonce, count, "cn", "auth", sum(r.method, r.uri)))
}

// What an attacker can make of credentials that it has seen is refused: those that were used, for another request, of another
// client, weaker ones. Only what is a wrong password counts as one.
func TestHostileDigest(t *testing.T) {
	t.Parallel()
	r := serveDigest(t, ", lock-after: 2")
	c := newDigestClient(t, r.plain, 2)
	elsewhere := newDigestClient(t, r.plain, 3)
	with := func(change func(*response)) string {
		one := right(100)
		change(&one)
		return c.credentials(one)
	}
	replace := func(old, with string) string {
		changed := strings.Replace(c.credentials(right(100)), old, with, 1)
		if changed == c.credentials(right(100)) {
			t.Fatal("nothing to replace:", old)
		}
		return changed
	}
	for _, tt := range []struct {
		name, credentials string
		status            int
		stale             bool
	}{
		{"right", c.credentials(right(1)), 200, false},
		{"a replay", c.credentials(right(1)), 401, true},
		{"the next", c.credentials(right(2)), 200, false},
		{"with a gap", c.credentials(right(9)), 200, false},
		{"backwards", c.credentials(right(8)), 401, true},
		{"zero", c.credentials(right(0)), 401, false},
		{"by MD5", with(func(r *response) { r.algorithm, r.count = "MD5", 10 }), 200, false},
		{"a replay by the other algorithm", with(func(r *response) { r.count = 10 }), 401, true},
		{"another URI", with(func(r *response) { r.uri = "/csta/ed4" }), 400, false},
		{"the URI with a query", with(func(r *response) { r.uri = "/csta/ed3?x" }), 400, false},
		{"the nonce of another client", strings.Replace(c.credentials(right(100)), c.nonce, elsewhere.nonce, 1), 401, true},
		{"a forged nonce", replace(c.nonce, c.nonce[:len(c.nonce)-1]+"g"), 401, true},
		{"a nonce of the future", replace(c.nonce, "zzzzzzzzzz"+c.nonce[strings.Index(c.nonce, "."):]), 401, true},
		{"another realm", replace(`"CSTA"`, `"csta"`), 401, false},
		{"without qop", replace("qop=auth, ", ""), 401, false},
		{"auth-int", replace("qop=auth", "qop=auth-int"), 401, false},
		{"an algorithm that is not offered", replace("SHA-256", "MD5-sess"), 401, false},
		{"a stronger one that is not offered", replace("SHA-256", "SHA-512-256"), 401, false},
		{"a hashed name", replace("qop=auth", "qop=auth, userhash=true"), 401, false},
		{"no credentials", "", 401, false},
		{"right, after all of these", c.credentials(right(11)), 200, false},
	} {
		status, challenges := c.ask(tt.credentials)
		if stale := strings.Count(challenges, "stale=true") == 2; status != tt.status || stale != tt.stale || strings.Contains(challenges, "Basic") != (status == 401) {
			t.Errorf("%s: %d %s", tt.name, status, challenges)
		}
	}

	t.Run("no account looks other than another", func(t *testing.T) {
		var seen []string
		for i, wrong := range []response{
			{"crm", "wrong", "MD5", "POST", "/csta/ed3", 1}, {"other", soapPassword, "MD5", "POST", "/csta/ed3", 1}, {"nobody", "x", "MD5", "POST", "/csta/ed3", 1},
			{"CRM", soapPassword, "MD5", "POST", "/csta/ed3", 1}, {"crm", soapPassword, "MD5", "GET", "/csta/ed3", 1},
		} {
			one := newDigestClient(t, r.plain, byte(10+i))
			for range 2 {
				status, challenges := one.ask(one.credentials(wrong))
				seen = append(seen, fmt.Sprint(status, " ", givenNonce.ReplaceAllString(challenges, "nonce")))
			}
			status, challenges := one.ask(one.credentials(wrong))
			seen = append(seen, fmt.Sprint(status, challenges))
			if n := len(seen); seen[n-1] != "429" || seen[n-2] != seen[0] || seen[n-3] != seen[0] || !strings.HasPrefix(seen[0], "401 Digest realm") || strings.Contains(seen[0], "stale") {
				t.Errorf("%+v: %q", wrong, seen[n-3:])
			}
			if status, _ = one.ask(one.credentials(right(2))); (status == 429) != strings.EqualFold(wrong.user, "crm") || status != 429 && status != 200 {
				t.Errorf("after %s was locked, crm gets %d", wrong.user, status)
			}
		}
	})
	t.Run("a replay with the name in other letters", func(t *testing.T) {
		one := newDigestClient(t, r.plain, 20)
		used := one.credentials(right(1))
		if status, _ := one.ask(used); status != 200 {
			t.Fatal(status)
		}
		if status, _ := one.ask(strings.Replace(used, `"crm"`, `"CRM"`, 1)); status != 401 {
			t.Error(status)
		}
	})
	t.Run("first requests count for nothing", func(t *testing.T) {
		one := newDigestClient(t, r.plain, 21)
		for range 20 {
			_, _ = one.ask("")
			_, _ = one.ask(strings.Replace(one.credentials(right(1)), one.nonce, "old", 1))
		}
		if status, _ := one.ask(one.credentials(right(1))); status != 200 {
			t.Error(status)
		}
	})
	t.Run("the same client by Basic", func(t *testing.T) {
		const monitor = `<MonitorStart xmlns="` + uacsta.NamespaceED3 + `"><monitorObject><deviceObject>1001</deviceObject></monitorObject></MonitorStart>`
		one := newDigestClient(t, r.plain, 22)
		reference := regexp.MustCompile(`<monitorCrossRefID>(\w+)<`)
		send := func(body, credentials string) string {
			_, _, text := overHTTP(t, one.client, "POST", one.url+"/csta/ed3", `<s:Envelope xmlns:s="`+soap11+`"><s:Body>`+body+`</s:Body></s:Envelope>`, "Content-Type", "text/xml", "Authorization", credentials)
			return text
		}
		started := reference.FindStringSubmatch(send(monitor, one.credentials(right(1))))
		if started == nil {
			t.Fatal("no monitor")
		}
		stop := `<MonitorStop xmlns="` + uacsta.NamespaceED3 + `"><monitorCrossRefID>` + started[1] + `</monitorCrossRefID></MonitorStop>`
		if text := send(stop, strings.TrimSpace(strings.TrimPrefix(basic, "Authorization: "))); !strings.Contains(text, "MonitorStopResponse") {
			t.Error("the client's monitor is not its own by Basic:", text)
		}
	})
	if strings.Contains(r.out.String(), soapPassword) {
		t.Error("the log has the password")
	}
	r.stop()
}
