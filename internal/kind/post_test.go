package kind_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The front of HACKING.md, which shows what stands between the marks.

// [front
// PostKind is the kind of front for clients that post one request of CSTA-XML at a time.
var PostKind = kind.FrontOf[PostSettings]{
	Key:      "post",
	Defaults: func() *PostSettings { return &PostSettings{Patience: 10 * time.Second} },
	Ways:     config.Listens{Transports: []string{"tcp", "tls"}, Port: "8080", TLSPort: "8443"},
	Check: func(p *PostSettings, s *config.Section) {
		s.Longer(map[string]time.Duration{"patience": p.Patience})
	},
	Build: func(p *PostSettings, env *kind.FrontEnv) (kind.Front, error) { return &Post{p, env}, nil },
}.Kind()

// PostSettings are the keys of post. A front over gate.Gate has kind.Bounds in it.
type PostSettings struct {
	config.Listening

	Patience time.Duration `yaml:"patience"`
}

// Post is the front; it implements kind.Front, and http.Handler.
type Post struct {
	settings *PostSettings
	env      *kind.FrontEnv
}

// Serve implements kind.Front.
func (p *Post) Serve(ctx context.Context, l *config.Listener, ready func(string)) error {
	return kind.ServeHTTP(ctx, l, p.env.Log, p.settings.Patience, kind.DefaultBounds, ready, p)
}

// Close implements kind.Front: requests end with Serve.
func (*Post) Close(context.Context) {}

// ServeHTTP implements http.Handler: a session for each request.
func (p *Post) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !p.env.Admits(peer.Addr()) {
		http.Error(w, "forbidden", http.StatusForbidden)
		return
	}
	proof := proxy.Proof{Addr: peer.Addr()}
	user, password, given := r.BasicAuth()
	if given {
		proof.Login = &proxy.Login{User: user, Password: password}
	}
	known, err := p.env.Proxy.Identify(r.Context(), proof)
	if err != nil {
		p.env.Proxy.Refused("post", "post:"+r.RemoteAddr, user, err.Error())
		w.Header().Set("WWW-Authenticate", `Basic realm="tr87proxy"`)
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, uacsta.MaxSize))
	if err != nil {
		http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
		return
	}
	var unclear *uacsta.Unclear
	req, err := uacsta.Parse(body)
	if err != nil && !errors.As(err, &unclear) || err == nil && req.Kind() != uacsta.Request {
		http.Error(w, "the body is no request of CSTA-XML", http.StatusBadRequest)
		return
	}
	session, err := p.env.Proxy.Open(proxy.Opening{
		Identity: known.Identity, Valid: known.Valid, Front: "post", Peer: "post:" + r.RemoteAddr, Addr: peer.Addr(),
	}, nobodyListens{})
	if err != nil {
		http.Error(w, "forbidden", http.StatusForbidden)
		return
	}
	defer session.Close(nil)
	answer := make(chan *uacsta.Message, 1)
	reply := func(res *uacsta.Message) { answer <- res } // it is called exactly once
	if unclear != nil {
		session.Unclear(unclear, reply)
	} else {
		session.Request(req, reply)
	}
	if res := <-answer; res != nil {
		w.Header().Set("Content-Type", "application/csta+xml")
		_, _ = w.Write(res.Bytes())
	}
}

// nobodyListens is a proxy.Client without events.
type nobodyListens struct{}

// Event implements proxy.Client.
func (nobodyListens) Event(*uacsta.Message) {}

// Closed implements proxy.Client.
func (nobodyListens) Closed(error) {}

// ]

// oneAccount is an accounts file with one account.
type oneAccount struct{}

func (oneAccount) Check(_ context.Context, _, name, password string, _ netip.Addr) (proxy.Account, error) {
	if name != "crm" || password != "right" {
		return proxy.Account{}, fmt.Errorf("%s is not let in", name)
	}
	return proxy.Account{Name: name}, nil
}

func (oneAccount) Holds(proxy.Account) bool { return true }

// snapshot is the request for a snapshot of a device.
func snapshot(device string) string {
	return string(uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}, uacsta.Edition3).Bytes())
}

// The front is served as the daemon serves one: it says who clients are, and asks links for them.
func TestPost(t *testing.T) {
	env := &kind.FrontEnv{Log: slog.New(slog.DiscardHandler), Admits: func(netip.Addr) bool { return true }}
	env.Proxy = proxy.New(proxy.Config{
		Policy: policy.FromGrants(nil, policy.Grant{Who: "crm", Control: []string{"100"}}), Accounts: oneAccount{},
		Numbers: &policy.Numbers{Extensions: func(number string) bool { return len(number) == 3 }},
	})
	link, err := BellsKind.Build(&BellSettings{Numbers: []string{"100", "101"}}, &kind.Env{Log: env.Log})
	if err != nil {
		t.Fatal(err)
	}
	env.Proxy.AddLink("door", link, func(string) bool { return true })
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { env.Proxy.Run(ctx); close(over) }()
	defer func() { stop(); <-over }()
	if err := env.Proxy.Await(ctx, "door"); err != nil {
		t.Fatal(err)
	}
	front, err := PostKind.Build(PostKind.Settings(), env)
	if err != nil {
		t.Fatal(err)
	}
	serving, end := context.WithCancelCause(ctx)
	ready, served := make(chan string, 1), make(chan error, 1)
	go func() {
		served <- front.Serve(serving, &config.Listener{Transport: "tcp", Address: "127.0.0.1:0"}, func(address string) { ready <- address })
	}()
	address := <-ready
	for _, tt := range []struct {
		login, body string
		code        int
		want        string
	}{
		{"", snapshot("100"), http.StatusUnauthorized, "unauthorized"},
		{"crm:wrong", snapshot("100"), http.StatusUnauthorized, "unauthorized"},
		{"crm:right", snapshot("100"), http.StatusOK, "SnapshotDeviceResponse"},
		{"crm:right", snapshot("101"), http.StatusOK, "CSTAErrorCode"}, // no grant
		{"crm:right", strings.Replace(snapshot("100"), "<snapshotObject>", "<snapshotObject>1</snapshotObject><snapshotObject>", 1), http.StatusOK, "CSTAErrorCode"},
		{"crm:right", "no document", http.StatusBadRequest, "no request"},
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		if tt.login != "" {
			req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(tt.login)))
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != tt.code || !strings.Contains(string(text), tt.want) {
			t.Errorf("%s: %s: %d %s %v", tt.login, tt.body, res.StatusCode, text, err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	end(kind.ErrStopped)
	if err := <-served; err != nil {
		t.Error(err)
	}
	front.Close(ctx)
}
