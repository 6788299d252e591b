package tests

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// question is an envelope with a request and the message ID of WS-Addressing.
func question(id int) string {
	return fmt.Sprintf(`<s:Envelope xmlns:s="%s"><s:Header><a:MessageID xmlns:a="http://www.w3.org/2005/08/addressing">id%d</a:MessageID></s:Header><s:Body><RequestSystemStatus xmlns="%s"/></s:Body></s:Envelope>`, soap11, id, uacsta.NamespaceED3)
}

var basic = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("crm:"+soapPassword)) + "\r\n"

// posting is a request of HTTP with headers of its own.
func posting(headers, body string) string {
	return "POST /csta/ed3 HTTP/1.1\r\nHost: pbx\r\nContent-Type: text/xml; charset=utf-8\r\n" + headers + "\r\n" + body
}

// sized is a request of HTTP with a body of known length.
func sized(headers, body string) string {
	return posting(fmt.Sprintf("%sContent-Length: %d\r\n", headers, len(body)), body)
}

// What is wrong or unusual gets an answer in the protocol that it speaks, and the port goes on.
func TestSOAPBadInput(t *testing.T) {
	t.Parallel()
	r := serveSOAP(t)
	url := r.plain
	dialFrom := func(last byte) net.Conn {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, last)}}).Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.xmlPort))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
		return conn
	}
	dial := func() net.Conn { return dialFrom(1) }
	answers := func() {
		t.Helper()
		if status, _, text := overHTTP(t, http.DefaultClient, "POST", url+"/csta", question(1), "Content-Type", "text/xml", "Authorization", strings.TrimSpace(strings.TrimPrefix(basic, "Authorization: "))); status != http.StatusOK {
			t.Errorf("afterwards: %d %s", status, text)
		}
	}
	body := question(1)
	for name, tt := range map[string]struct {
		sent   string
		pieces bool
		want   string // in what comes
		twice  string // also, after it
	}{
		"in pieces":                {sized(basic, body), true, "HTTP/1.1 200 OK", "RelatesTo"},
		"chunked":                  {posting(basic+"Transfer-Encoding: chunked\r\n", fmt.Sprintf("10\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", body[:16], len(body)-16, body[16:])), false, "HTTP/1.1 200 OK", "RelatesTo"},
		"Expect: 100-continue":     {sized(basic+"Expect: 100-continue\r\n", body), false, "HTTP/1.1 100 Continue", "HTTP/1.1 200 OK"},
		"without credentials":      {sized("", body), false, "HTTP/1.1 401", "Basic realm"},
		"pipelined":                {sized(basic, question(7)) + sized(basic, question(8)), false, ">id7<", ">id8<"},
		"1 MiB":                    {sized(basic, strings.Repeat("x", 1<<20)), false, "HTTP/1.1 413", "too large"},
		"1 MiB of a stranger":      {sized("", strings.Repeat("x", 1<<20)), false, "HTTP/1.1 413", "too large"},
		"gzip":                     {sized(basic+"Content-Encoding: gzip\r\n", body), false, "HTTP/1.1 415", "Content-Encoding"},
		"an attachment":            {strings.Replace(sized(basic, body), "text/xml; charset=utf-8", `multipart/related; boundary=x`, 1), false, "HTTP/1.1 415", "text/xml"},
		"another charset":          {strings.Replace(sized(basic, body), "utf-8", "utf-16", 1), false, "HTTP/1.1 415", "utf-8"},
		"a document type":          {sized(basic, `<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>`+body), false, "HTTP/1.1 400", "document type"},
		"two lengths":              {sized(basic+"Content-Length: 5\r\n", body), false, "HTTP/1.1 400", ""},
		"a page in a browser":      {sized(basic+"Origin: https://evil.example\r\n", body), false, "HTTP/1.1 403", ""},
		"a form":                   {strings.Replace(sized(basic, body), "text/xml; charset=utf-8", "text/plain", 1), false, "HTTP/1.1 415", "text/xml"},
		"two credentials":          {sized(basic+"Authorization: Basic eDp5\r\n", body), false, "HTTP/1.1 401", ""},
		"another scheme":           {sized("Authorization: Digest x\r\n", body), false, "HTTP/1.1 401", "Basic realm"},
		"another method":           {"DELETE /csta HTTP/1.1\r\nHost: pbx\r\n\r\n", false, "HTTP/1.1 405", "Allow: GET, HEAD, POST"},
		"HTTP/2":                   {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false, "HTTP/1.1 ", ""},
		"a huge nonce":             {sized(`Authorization: Digest username="crm", nonce="`+strings.Repeat("x", 64<<10)+"\"\r\n", body), false, "HTTP/1.1 431", ""},
		"headers without end":      {"POST / HTTP/1.1\r\nX: " + strings.Repeat("x", 64<<10), false, "HTTP/1.1 431", ""},
		"a header in the password": {sized("Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("a\r\nX: y:b"))+"\r\n", body), false, "HTTP/1.1 401", ""},
	} {
		conn := dial()
		go func() { // the answer may come before all is written
			size := len(tt.sent)
			if tt.pieces {
				size = 1
			}
			for rest := []byte(tt.sent); len(rest) > 0; rest = rest[size:] {
				if _, err := conn.Write(rest[:size]); err != nil {
					return
				}
			}
		}()
		got := ""
		for buffer := make([]byte, 4096); !strings.Contains(got, tt.want) || !strings.Contains(got[strings.Index(got, tt.want):], tt.twice); {
			n, err := conn.Read(buffer)
			got += string(buffer[:n])
			if err != nil {
				t.Errorf("%s: %v after %q", name, err, got)
				break
			}
		}
		_ = conn.Close()
	}
	answers()

	t.Run("TLS without TLS", func(t *testing.T) {
		conn := tls.Client(dial(), &tls.Config{InsecureSkipVerify: true})
		if err := conn.Handshake(); err == nil || !strings.Contains(err.Error(), "unexpected message") {
			t.Errorf("%v", err)
		}
		waitFor(t, "the line in the log", func() bool { return strings.Contains(r.out.String(), "it speaks TLS, and this listener has none") })
	})
	t.Run("neither", func(t *testing.T) {
		conn := dialFrom(4) // the log has one line for each peer
		_, _ = io.WriteString(conn, "<RequestSystemStatus/>")
		if data, _ := io.ReadAll(conn); len(data) > 0 {
			t.Errorf("%q", data)
		}
		waitFor(t, "the line in the log", func() bool { return strings.Contains(r.out.String(), "it speaks no protocol of this listener") })
	})
	t.Run("frames in pieces, and after silence", func(t *testing.T) {
		conn := dial()
		_ = conn.SetReadDeadline(time.Now().Add(2500 * time.Millisecond))
		if n, err := conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the server speaks first: %d, %v", n, err)
		}
		for i, c := range []*xmlClient{dialXML(t, conn, nil), dialXML(t, dial(), nil)} {
			c.conn = byOctet{c.conn}
			if m := c.login("crm", soapPassword, uacsta.LoginAvaya, 60); m.Name() != "StartApplicationSessionPosResponse" {
				t.Errorf("%d: %s", i, m)
			}
		}
	})
	t.Run("a slow body", func(t *testing.T) {
		conn := dial()
		_, _ = io.WriteString(conn, posting(basic+"Content-Length: 500\r\n", "<s:"))
		if data, err := io.ReadAll(conn); err != nil || !bytes.HasPrefix(data, []byte("HTTP/1.1 408")) {
			t.Errorf("the request was not given up: %v %q", err, data)
		}
	})
	t.Run("many that say nothing", func(*testing.T) {
		for range 300 {
			dialFrom(5)
		}
		answers()
	})
	r.stop()
}

// byOctet writes octet by octet.
type byOctet struct{ net.Conn }

func (b byOctet) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := b.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// Requests without credentials do not count against anybody, however many; wrong passwords lock the name at the address.
func TestSOAPLocks(t *testing.T) {
	t.Parallel()
	r := serveSOAP(t)
	url := r.plain
	ask := func(user, password string) (int, http.Header) {
		var credentials []string
		if user != "" {
			credentials = []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}
		}
		status, header, _ := overHTTP(t, http.DefaultClient, "POST", url+"/csta", question(1), append(credentials, "Content-Type", "text/xml")...)
		return status, header
	}
	for range 100 {
		if status, _ := ask("", ""); status != http.StatusUnauthorized {
			t.Fatal(status)
		}
	}
	if status, _ := ask("crm", soapPassword); status != http.StatusOK {
		t.Fatalf("after requests without credentials: %d", status)
	}
	status := 0
	var header http.Header
	for tries := 0; status != http.StatusTooManyRequests; tries++ {
		if status, header = ask("crm", "guess"); tries > 50 || status != http.StatusUnauthorized && status != http.StatusTooManyRequests {
			t.Fatalf("guess %d: %d", tries, status)
		}
	}
	if header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if status, _ = ask("crm", soapPassword); status != http.StatusTooManyRequests {
		t.Errorf("the right password after guesses: %d", status)
	}
	if status, _ = ask("other", soapPassword); status != http.StatusOK {
		t.Errorf("another account: %d", status)
	}
	if out := r.out.String(); strings.Contains(out, "guess") || strings.Contains(out, soapPassword) {
		t.Error("a password is in the log")
	}
	r.stop()
}

// Who names the session of another client is refused, and so is a request that can be read in two ways, and the audit file says
// so.
func TestSOAPAudit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "accounts")
	account(t, file, "crm", soapPassword)
	account(t, file, "other", soapPassword)
	r := serve(t, fmt.Sprintf(`application-sessions: {xml: optional, accounts: %s}
audit: {file: %s}
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`, file, filepath.Join(dir, "audit.log")))
	ask := func(who, header, body string) (int, string) {
		t.Helper()
		credentials := []string{"Content-Type", "text/xml"}
		if who != "" {
			credentials = append(credentials, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(who+":"+soapPassword)))
		}
		status, _, text := overHTTP(t, http.DefaultClient, "POST", fmt.Sprintf("http://127.0.0.1:%d/csta/ed3", r.xmlPort), `<s:Envelope xmlns:s="`+soap11+`"><s:Header>`+header+`</s:Header><s:Body>`+body+`</s:Body></s:Envelope>`, credentials...)
		return status, text
	}
	_, started := ask("crm", "", uacsta.Encode(uacsta.StartApplicationSession{ApplicationInfo: uacsta.ApplicationInfo{ApplicationID: "x"}, RequestedProtocolVersions: []string{uacsta.NamespaceED3}}, uacsta.Edition3).String())
	id := regexp.MustCompile("<sessionID>(.*?)<").FindStringSubmatch(started)
	if id == nil {
		t.Fatal(started)
	}
	session := `<o:Session xmlns:o="urn:tr87proxy:csta-soap"><o:sessionID>` + id[1] + `</o:sessionID></o:Session>`
	const call = `<MakeCall xmlns="` + uacsta.NamespaceED3 + `"><callingDevice>1000</callingDevice><calledDirectoryNumber>1001</calledDirectoryNumber></MakeCall>`
	if status, text := ask("other", session, call); status != 500 || !strings.Contains(text, "security/generic") {
		t.Errorf("%d %s", status, text)
	}
	if status, _ := ask("", session, call); status != 401 {
		t.Errorf("a stranger: %d", status)
	}
	if status, text := ask("crm", session, strings.Replace(call, "<callingDevice>", "<callingDevice>1002</callingDevice><callingDevice>", 1)); status != 500 || !strings.Contains(text, "callingDevice is there twice") {
		t.Errorf("%d %s", status, text)
	}
	const foreign = `"reason":"the request names a session of another client"`
	for file, want := range map[string][]string{
		"audit.log": {`"who":"crm"`, `"service":"MakeCall","reason":"operation/invalidParameterValue (callingDevice is there twice)"`}, "audit-strangers.log": {foreign, `"who":"other"`},
	} {
		for _, want := range want {
			waitFor(t, want, func() bool {
				data, _ := os.ReadFile(filepath.Join(dir, file))
				return strings.Contains(string(data), want)
			})
		}
	}
	waitFor(t, "the line in the log", func() bool {
		return strings.Contains(r.out.String(), "request refused: it names a session of another client")
	})
	if strings.Contains(r.out.String(), id[1]) {
		t.Error("the log has the session's ID")
	}
	r.stop()
}

// Requests for events and subscriptions count against the limits, and need an application session where all do.
func TestSOAPLimits(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "accounts")
	account(t, file, "crm", soapPassword)
	const events = `<GetEvents xmlns="urn:tr87proxy:csta-soap"><waitSeconds>0</waitSeconds></GetEvents>`
	const subscribe = `<e:Subscribe xmlns:e="http://schemas.xmlsoap.org/ws/2004/08/eventing" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"><e:Delivery><e:NotifyTo><a:Address>http://127.0.0.1:9/</a:Address></e:NotifyTo></e:Delivery></e:Subscribe>`
	for mode, want := range map[string]string{"optional": "performanceLimitExceeded", "mandatory": "security/generic"} {
		r := serve(t, fmt.Sprintf(`application-sessions: {xml: %s, accounts: %s}
limits: {requests-per-second: 2}
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`, mode, file))
		for _, body := range []string{events, subscribe} {
			waitFor(t, want, func() bool {
				status, _, text := overHTTP(t, http.DefaultClient, "POST", fmt.Sprintf("http://127.0.0.1:%d/csta", r.xmlPort), `<s:Envelope xmlns:s="`+soap11+`"><s:Body>`+body+`</s:Body></s:Envelope>`,
					"Content-Type", "text/xml", "Authorization", strings.TrimSpace(strings.TrimPrefix(basic, "Authorization: ")))
				if status != 200 && mode == "mandatory" && !strings.Contains(text, want) {
					t.Fatalf("%d %s", status, text)
				}
				return strings.Contains(text, want)
			})
		}
		r.stop()
	}
}

// Where there are no accounts, a request of a peer that is not trusted is refused as its connection would be with CSTA-XML: the log
// and the audit file have it.
func TestSOAPOfStranger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := serve(t, "trusted: [{address: 127.0.0.9}]\naudit: {file: "+filepath.Join(dir, "audit.log")+"}\ngrants: [{who: \"*\", control: [\"*\"], dial: [\"*\"]}]\n")
	if status, header, text := overHTTP(t, http.DefaultClient, "POST", fmt.Sprintf("http://127.0.0.1:%d/csta", r.xmlPort), question(1), "Content-Type", "text/xml"); status != http.StatusForbidden || header.Get("WWW-Authenticate") != "" {
		t.Errorf("%d %s", status, text)
	}
	waitFor(t, "the line in the audit file", func() bool {
		data, _ := os.ReadFile(filepath.Join(dir, "audit-strangers.log"))
		return strings.Contains(string(data), `"reason":"the peer is not trusted"`)
	})
	waitFor(t, "the line in the log", func() bool { return strings.Contains(r.out.String(), "request refused: client not identified") })
	r.stop()
}

// The API's clients can stand behind a reverse proxy: an address of it, such as that of the machine itself, is no sink unless the
// configuration says so.
func TestSOAPSinksOfAPI(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "accounts")
	account(t, file, "crm", soapPassword)
	port := freePort(t)
	r := serve(t, fmt.Sprintf(`application-sessions: {accounts: %s}
api: {listen: [{transport: tcp, address: "127.0.0.1:%d"}]}
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`, file, port))
	for sink, want := range map[string]string{"127.0.0.1:9": "EventSourceUnableToProcess", "8.8.8.8": "SubscribeResponse"} {
		_, _, text := overHTTP(t, http.DefaultClient, "POST", fmt.Sprintf("http://127.0.0.1:%d/soap/csta", port), `<s:Envelope xmlns:s="`+soap11+`"><s:Body><e:Subscribe xmlns:e="http://schemas.xmlsoap.org/ws/2004/08/eventing" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"><e:Delivery><e:NotifyTo><a:Address>http://`+sink+`/</a:Address></e:NotifyTo></e:Delivery></e:Subscribe></s:Body></s:Envelope>`,
			"Content-Type", "text/xml", "Authorization", strings.TrimSpace(strings.TrimPrefix(basic, "Authorization: ")))
		if !strings.Contains(text, want) {
			t.Errorf("%s: %s", sink, text)
		}
	}
	r.stop()
}

// Who logs in by StartApplicationSession is a stranger until then, and no longer: its connections do not give way to those of
// strangers. That holds for each further connection from the first request of the session on.
func TestSOAPLoginEndsStranger(t *testing.T) {
	t.Parallel()
	r := serveSOAP(t)
	post := func(client *http.Client, header, body string) string {
		t.Helper()
		_, _, text := overHTTP(t, client, "POST", r.plain+"/csta", `<s:Envelope xmlns:s="`+soap11+`"><s:Header>`+header+`</s:Header><s:Body>`+body+`</s:Body></s:Envelope>`, "Content-Type", "text/xml")
		return text
	}
	strangers := func(want float64) {
		t.Helper()
		waitFor(t, "the number of strangers", func() bool { return r.metric("tr87proxy_unproved_connections") == want })
	}
	first, second := &http.Client{Transport: &http.Transport{}}, &http.Client{Transport: &http.Transport{}}
	post(first, "", question(1))
	strangers(1)
	start := uacsta.StartApplicationSession{
		ApplicationInfo:           uacsta.ApplicationInfo{ApplicationID: "x", ApplicationSpecificInfo: uacsta.Login{User: "crm", Password: soapPassword}.Info(uacsta.LoginAvaya)},
		RequestedProtocolVersions: []string{uacsta.NamespaceED3},
	}
	started := post(first, "", uacsta.Encode(start, uacsta.Edition3).String())
	id := regexp.MustCompile("<sessionID>(.*?)<").FindStringSubmatch(started)
	if id == nil {
		t.Fatal(started)
	}
	strangers(0)
	post(second, "", `<RequestSystemStatus xmlns="`+uacsta.NamespaceED3+`"/>`)
	strangers(1)
	post(second, `<o:Session xmlns:o="urn:tr87proxy:csta-soap"><o:sessionID>`+id[1]+`</o:sessionID></o:Session>`, `<RequestSystemStatus xmlns="`+uacsta.NamespaceED3+`"/>`)
	strangers(0)
	r.stop()
}

// A client that speaks HTTP to a listener with TLS reads what to do, and the log says what it did.
func TestHTTPWithoutTLS(t *testing.T) {
	t.Parallel()
	r := serve(t, everybody)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		req, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("http://127.0.0.1:%d/csta", r.xmlTLSPort), nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "TLS only") {
			t.Errorf("%s: %s %q, %v", method, res.Status, text, err)
		}
	}
	waitFor(t, "the line of the log", func() bool { return strings.Contains(r.out.String(), "it speaks HTTP without TLS") })
	r.stop()
}
