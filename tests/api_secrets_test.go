package tests

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	cryptotls "crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// vault has secrets by what they are, and what a program that knows them has said.
type vault struct {
	t       *testing.T
	secrets map[string]string
	mu      sync.Mutex
	said    map[string]string // by where
}

// keep adds a secret, and what can be made of it without a key. It returns the secret.
func (v *vault) keep(what, secret string) string {
	sum := sha256.Sum256([]byte(secret))
	v.secrets[what] = secret
	v.secrets[what+", in base64"] = base64.StdEncoding.EncodeToString([]byte(secret))
	v.secrets[what+", hashed in hex"] = hex.EncodeToString(sum[:])
	v.secrets[what+", hashed in base64"] = base64.RawURLEncoding.EncodeToString(sum[:])
	v.secrets[what+", escaped"] = url.QueryEscape(secret)
	return secret
}

func (v *vault) heard(where, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.said[where] += text + "\n"
}

// check looks for secrets in all that was said.
func (v *vault) check() {
	v.t.Helper()
	for where, text := range v.said {
		for what, secret := range v.secrets {
			if at := strings.Index(text, secret); at >= 0 {
				v.t.Errorf("%s has %s: %q", where, what, text[max(0, at-100):min(len(text), at+len(secret)+20)])
			}
		}
	}
}

// ask sends a request, and keeps what the response says.
func (v *vault) ask(client *http.Client, method, address, body string, headers ...string) (status int, data []byte) {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	if data, err = io.ReadAll(res.Body); err != nil {
		v.t.Fatal(err)
	}
	if address = strings.SplitN(address, "?", 2)[0]; method != http.MethodPost || !strings.HasSuffix(address, "/webhooks") { // that shows the secret, this once
		v.heard("a response", fmt.Sprint(string(data), res.Header))
	}
	return res.StatusCode, data
}

// openID starts an OpenID provider, and returns its URL, its authority's file, and what signs tokens for an address of mail.
func openID(t *testing.T) (issuer, ca string, sign func(email string, lasts time.Duration) string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	says := &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: key.Public(), KeyID: "1", Algorithm: "RS256"}}}
	server := httptest.NewTLSServer(says)
	t.Cleanup(server.Close)
	says.SetIssuer(server.URL)
	ca = filepath.Join(t.TempDir(), "provider.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return server.URL, ca, func(email string, lasts time.Duration) string {
		claims, _ := json.Marshal(map[string]any{"iss": server.URL, "aud": "tr87proxy", "sub": "1", "email": email, "email_verified": true, "exp": time.Now().Add(lasts).Unix()})
		return oidctest.SignIDToken(key, "1", "RS256", string(claims))
	}
}

// A secret by which a client says who it is, or by which the proxy says who it is to receivers and applications, is in no
// log at the level debug, in no audit file, response, metric or status, in no form; nor is its hash. That holds for right
// and wrong ones, and wherever clients put them.
func TestAPISecretsStayInside(t *testing.T) {
	t.Parallel()
	v := &vault{t: t, secrets: map[string]string{}, said: map[string]string{}}
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certificates(t, dir)
	issuer, ca, sign := openID(t)
	secret := func(seed byte) string {
		return "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{seed, 0x5a, seed ^ 0xff}, 11))
	}
	const password, wrongPassword = "correct+horse:battery", "wrong+horse&battery"
	account(t, in("accounts"), "crm", v.keep("the password", password))
	v.keep("a wrong password", wrongPassword)
	v.keep("the name and the password", "crm:"+password)
	v.keep("the name and a wrong password", "crm:"+wrongPassword)
	token := v.keep("the token", addToken(t, in("tokens"), "crm", "--scope", "control"))
	expired := v.keep("an expired token", addToken(t, in("tokens"), "late", "--expires", "1s"))
	revoked := v.keep("a revoked token", addToken(t, in("tokens"), "left"))
	if out, status := command(t, "tokens", "revoke", "left", "--tokens", in("tokens")); status != 0 {
		t.Fatal(out)
	}
	strange := v.keep("a token of another program", "ghp_0123456789abcdefghijABCDEFGHIJ012345")
	malformed := v.keep("a token with a slip", strings.ToUpper(token[:20])+token[20:]+"x")
	jwt, oldJWT := v.keep("the JWT", sign("alice@contoso.com", time.Hour)), v.keep("an expired JWT", sign("alice@contoso.com", -time.Hour))
	forged := v.keep("a forged JWT", jwt[:len(jwt)-8]+"AAAAAAAA")
	for _, name := range []string{"tokens", "accounts"} { // the hashes that the files have
		data, err := os.ReadFile(in(name))
		if err != nil {
			t.Fatal(err)
		}
		for word := range strings.FieldsFuncSeq(string(data), func(r rune) bool { return strings.ContainsRune(" \t\n:\",", r) }) {
			if len(word) >= 40 {
				v.secrets["a hash in "+name+" "+word[:6]] = word
			}
		}
	}

	received := make(chan int, 1000)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusInternalServerError
		if r.URL.Path == "/good" {
			status = http.StatusNoContent
		}
		w.WriteHeader(status)
		select {
		case received <- status:
		default: // enough have come
		}
	}))
	t.Cleanup(receiver.Close)
	application := make(chan string, 1000)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		application <- r.URL.Path + " " + r.Header.Get("Authorization")
		if r.URL.Path != "/good" {
			http.Error(w, "you are not welcome", http.StatusUnauthorized)
			return
		}
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"events"}})
		if err == nil {
			_, _, _ = conn.Read(t.Context())
			_ = conn.CloseNow()
		}
	}))
	t.Cleanup(app.Close)
	nobody := httptest.NewServer(http.NotFoundHandler())
	nobody.Close()
	query := v.keep("the query of a URL", "Q5uery-Secret-7")
	const ownQuery = "O5wn-Secret-5" // its owner sees it again
	header := v.keep("a header to the application", "H5eader-Secret-9")
	good, bad, file := v.keep("a webhook's secret", secret(1)), v.keep("another webhook's secret", secret(2)), v.keep("a secret in a file", secret(3))
	write("secrets", file+"\n")
	write("app.token", v.keep("the token for the application", "A5pplication-Secret-6")+"\n")

	ws := "ws" + strings.TrimPrefix(app.URL, "http")
	plain, secure := freePort(t), freePort(t)
	a := administer(t, fmt.Sprintf(`log: {level: debug}
audit: {file: %[1]s/audit.log}
application-sessions: {accounts: %[1]s/accounts, tokens-file: %[1]s/tokens}
api:
  listen:
  - {transport: tcp, address: "127.0.0.1:%[2]d"}
  - {transport: tls, address: "127.0.0.1:%[3]d", certificate: %[1]s/cert.pem, key: %[1]s/key.pem, client-ca: %[1]s/cert.pem, client-auth: optional}
  openid: {issuer: "%[4]s", audience: tr87proxy, claim: email, ca: %[5]s}
  webhooks:
  - {name: good, url: "%[6]s/good?key=%[7]s", secrets: ["%[8]s"], private: true}
  - {name: bad, url: "%[6]s/bad?key=%[7]s", secrets: ["%[9]s"], private: true}
  - {name: nobody, url: "%[10]s/?key=%[7]s", secrets-file: %[1]s/secrets, private: true}
  connect:
  - {url: "%[11]s/good?key=%[7]s", as: crm, token-file: %[1]s/app.token, headers: {X-Api-Key: "%[12]s"}}
  - {url: "%[11]s/bad?key=%[7]s", as: crm, token-file: %[1]s/app.token, headers: {X-Api-Key: "%[12]s"}}
  - {url: "ws%[13]s/?key=%[7]s", as: crm, token-file: %[1]s/app.token}
trusted: [{certificate: fe1.contoso.com}]
limits: {requests-per-second: 10000}
grants:
- {who: crm, control: ["*"], dial: ["*"]}
- {who: alice@contoso.com, observe: ["*"]}
- {who: localhost, observe: ["*"]}
`, dir, plain, secure, issuer, ca, receiver.URL, query, good, bad, nobody.URL, ws, header, strings.TrimPrefix(nobody.URL, "http")))

	http1, https := fmt.Sprintf("http://127.0.0.1:%d", plain), fmt.Sprintf("https://127.0.0.1:%d", secure)
	client := &http.Client{Timeout: patience}
	basic := func(of string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(of)) }
	const devices, authorization = "/v1/devices?limit=1", "Authorization"
	waitFor(t, "the end of a token", func() bool {
		status, _ := v.ask(client, "GET", http1+devices, "", authorization, "Bearer "+expired)
		return status == http.StatusUnauthorized
	})
	for name, tt := range map[string]struct {
		address string
		headers []string
		status  int
	}{
		"token":                 {devices, []string{authorization, "Bearer " + token}, 200},
		"revoked":               {devices, []string{authorization, "Bearer " + revoked}, 401},
		"strange":               {devices, []string{authorization, "Bearer " + strange}, 401},
		"malformed":             {devices, []string{authorization, "Bearer " + malformed}, 401},
		"with a space":          {devices, []string{authorization, "Bearer " + token + " " + strange}, 400},
		"another scheme":        {devices, []string{authorization, "Token " + token}, 401},
		"no scheme":             {devices, []string{authorization, token}, 401},
		"twice":                 {devices, []string{authorization, "Bearer " + token, authorization, "Bearer " + strange}, 400},
		"Basic":                 {devices, []string{authorization, basic("crm:" + password)}, 200},
		"wrong Basic":           {devices, []string{authorization, basic("crm:" + wrongPassword)}, 401},
		"unknown name":          {devices, []string{authorization, basic("nobody:" + wrongPassword)}, 401},
		"Basic without a colon": {devices, []string{authorization, basic(password[:10])}, 400},
		"Basic in clear":        {devices, []string{authorization, "Basic crm:" + password}, 400},
		"token as password":     {devices, []string{authorization, basic("crm:" + token)}, 401},
		"JWT":                   {devices, []string{authorization, "Bearer " + jwt}, 200},
		"expired JWT":           {devices, []string{authorization, "Bearer " + oldJWT}, 401},
		"forged JWT":            {devices, []string{authorization, "Bearer " + forged}, 401},
		"in the query":          {devices + "&access_token=" + token, nil, 400},
		"by another name":       {devices + "&x=" + token, nil, 400},
		"JWT in the query":      {devices + "&token=" + jwt, nil, 400},
		"in the path":           {"/v1/devices/" + token, nil, 400},
		"in the path, and sent": {"/v1/devices/" + token, []string{authorization, "Bearer " + token}, 400},
		"in a list of events":   {"/v1/events?devices=" + token, []string{authorization, "Bearer " + token}, 400},
	} {
		if status, data := v.ask(client, "GET", http1+tt.address, "", tt.headers...); status != tt.status {
			t.Errorf("%s: %d %s, want %d", name, status, data, tt.status)
		}
	}
	certified := certifiedClient(t, dir)
	for headers, want := range map[string]int{"": 200, "Bearer " + token: 200, "Bearer " + strange: 401} {
		var list []string
		if headers != "" {
			list = []string{authorization, headers}
		}
		if status, data := v.ask(certified, "GET", https+devices, "", list...); status != want {
			t.Errorf("with a certificate: %d %s, want %d", status, data, want)
		}
	}
	for offer, welcome := range map[string]bool{token: true, jwt: true, revoked: false, strange: false, forged: false} {
		conn, res, err := websocket.Dial(t.Context(), http1+"/v1/events?devices=1000", &websocket.DialOptions{Subprotocols: []string{"events", "bearer." + offer}})
		if (err == nil) != welcome {
			t.Errorf("a WebSocket: %v, want %t", err, welcome)
		}
		if res != nil {
			v.heard("a response for a WebSocket", fmt.Sprint(res.Header))
		}
		if err != nil {
			continue
		}
		for _, message := range []string{ // what clients put into requests by mistake
			`{"id":"1","method":"GET","path":"/v1/devices?access_token=` + token + `"}`, `{"id":"2","method":"GET","path":"/v1/devices","headers":{"Authorization":"Bearer ` + token + `"}}`,
		} {
			_ = conn.Write(t.Context(), websocket.MessageText, []byte(message))
		}
		for answers := 0; answers < 2; {
			_, data, err := conn.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(data, []byte(`"status":`)) {
				answers++
			}
			v.heard("a message of a WebSocket", string(data))
		}
		_ = conn.Close(websocket.StatusNormalClosure, "")
	}

	bearer := []string{authorization, "Bearer " + token}
	status, data := v.ask(client, "POST", http1+"/v1/webhooks", `{"name":"own","url":"https://x:`+ownQuery+`@crm.invalid/?key=`+ownQuery+`","devices":["1000"]}`, bearer...)
	var own struct{ Secrets []string }
	if err := json.Unmarshal(data, &own); err != nil || status != http.StatusCreated || len(own.Secrets) != 1 {
		t.Fatalf("%d %s", status, data)
	}
	v.keep("the secret of a client's webhook", own.Secrets[0])
	if status, data := v.ask(client, "POST", http1+"/v1/devices/1000/calls", `{"to":"2000"}`, bearer...); status != http.StatusCreated {
		t.Errorf("%d %s", status, data)
	}
	seen := map[int]bool{}
	for !seen[http.StatusNoContent] || !seen[http.StatusInternalServerError] {
		seen[wait.Next(t, received, "a webhook")] = true
	}
	seenApp := map[string]bool{}
	for len(seenApp) < 2 {
		seenApp[wait.Next(t, application, "an application")] = true
	}
	if !seenApp["/good Bearer A5pplication-Secret-6"] || !seenApp["/bad Bearer A5pplication-Secret-6"] {
		t.Errorf("the applications heard %v", seenApp)
	}
	for _, line := range []string{"could not deliver to webhook", "connected to the application", "not connected to the application", "client not identified"} {
		waitFor(t, line, func() bool { return strings.Contains(a.out.String(), line) })
	}

	for _, path := range []string{"/v1/webhooks", "/v1/webhooks/own/dead", "/v1/devices?details=true", "/v1/calls", "/openapi.json"} {
		v.ask(client, "GET", http1+path, "", bearer...)
	}
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"locks"}} {
		v.heard(strings.Join(args, " "), a.admin(0, args...))
	}
	v.heard("the metrics", a.get("/metrics"))
	a.edit(bad, secret(4))
	v.keep("a new secret", secret(4))
	v.heard("the reload", a.admin(0, "reload"))
	a.stop()
	audited, err := os.ReadFile(in("audit.log"))
	if err != nil || !bytes.Contains(audited, []byte(`"crm"`)) {
		t.Errorf("the audit file: %v", err)
	}
	v.heard("the audit file", string(audited))
	v.heard("the log", a.out.String())
	if strings.Contains(a.out.String()+string(audited), ownQuery) {
		t.Error("the log or the audit file has a secret in the URL of a client's webhook")
	}
	v.check()
}

// certifiedClient returns a client with the certificate of a folder, which it trusts, too.
func certifiedClient(t *testing.T, dir string) *http.Client {
	t.Helper()
	certificate, err := cryptotls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate.Leaf)
	base := &http.Transport{TLSClientConfig: &cryptotls.Config{RootCAs: pool, Certificates: []cryptotls.Certificate{certificate}}}
	t.Cleanup(base.CloseIdleConnections)
	return &http.Client{Transport: base, Timeout: patience}
}
