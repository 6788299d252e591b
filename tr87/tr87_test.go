package tr87_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

var patience = wait.Limit

// trusting is a policy that trusts loopback.
func trusting(grants ...policy.Grant) *policy.Policy {
	p := policy.FromGrants(func(number string) bool { return len(number) == 3 }, grants...)
	p.Trusted = loopback
	return p
}

// server runs a TR/87 server with the built-in switch on loopback, and returns its URI over TCP.
func server(t *testing.T, rules *policy.Policy, change func(*tr87.ServerConfig, *sip.Config)) string {
	t.Helper()
	addr, err := start(t, rules, change).ListenTCP("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	return "sip:tr87@" + addr.String() + ";transport=tcp"
}

// start starts a TR/87 server that does not listen yet.
func start(t *testing.T, rules *policy.Policy, change func(*tr87.ServerConfig, *sip.Config)) *sip.UA {
	t.Helper()
	sw, err := softswitch.New(softswitch.Config{Extensions: []softswitch.Extension{{Number: "100"}, {Number: "101"}}})
	if err != nil {
		t.Fatal(err)
	}
	core := proxy.New(proxy.Config{Accounts: anyName{}, Policy: rules, Numbers: &policy.Numbers{Main: "+14255550", Extensions: sw.Has}})
	core.AddLink("switch", sw, func(d string) bool { return d != "900" })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { core.Run(ctx); close(done) }()
	if err := core.Await(t.Context(), "switch"); err != nil {
		t.Fatal(err)
	}
	front := tr87.ServerConfig{Proxy: core, Trusts: rules.Trusts}
	wire := sip.Config{Known: func(p sip.Peer) bool { return rules.Trusts(p.Addr.Addr(), p.Names) }}
	if change != nil {
		change(&front, &wire)
	}
	wire.Handler = tr87.NewServer(front)
	ua := sip.New(wire)
	t.Cleanup(func() { ua.Close(); cancel(); <-done })
	return ua
}

// anyName accepts every name with any password. The check of "slow" waits for a value on slow.
type anyName struct{}

var slow = make(chan struct{})

func (anyName) Check(_ context.Context, _, name, _ string, _ netip.Addr) (proxy.Account, error) {
	if name == "slow" {
		<-slow
	}
	return proxy.Account{Name: name}, nil
}
func (anyName) Holds(proxy.Account) bool { return true }

var (
	loopback = []policy.Peer{{Network: netip.MustParsePrefix("127.0.0.0/8")}}
	alice    = trusting(policy.Grant{Who: "sip:alice@contoso.com", Control: []string{"100", "900"}})
)

func open(t *testing.T, dial tr87.Dial) (*tr87.Client, error) {
	t.Helper()
	ua := sip.New(sip.Config{})
	t.Cleanup(ua.Close)
	if dial.From == "" {
		dial.From = "sip:Alice@contoso.com;epid=1"
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return tr87.Open(ctx, ua, dial)
}

func do(t *testing.T, c *tr87.Client, req any) (*uacsta.Message, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return c.Request(ctx, uacsta.Encode(req, uacsta.Edition3))
}

func code(err error) int {
	var r *sip.Refusal
	if errors.As(err, &r) {
		return r.Response.Code()
	}
	return 0
}

// An INVITE that may not open a session is refused with a SIP code.
func TestRefusedSessions(t *testing.T) {
	nobody := &policy.Policy{Rules: alice.Rules}
	for _, tt := range []struct {
		name  string
		rules *policy.Policy
		dial  tr87.Dial
		want  int
	}{
		{"the right line", alice, tr87.Dial{Line: "tel:+14255550100"}, 0},
		{"no line", alice, tr87.Dial{}, 0},
		{"somebody else's line", alice, tr87.Dial{Line: "tel:+14255550101"}, 403},
		{"an unknown user", alice, tr87.Dial{From: "sip:mallory@contoso.com"}, 403},
		{"a line of no link", alice, tr87.Dial{Line: "900"}, 404},
		{"a peer nobody trusts", nobody, tr87.Dial{Line: "tel:+14255550100"}, 403},
	} {
		tt.dial.To = server(t, tt.rules, nil)
		c, err := open(t, tt.dial)
		if code(err) != tt.want || tt.want == 0 && err != nil {
			t.Errorf("%s: %v, want %d", tt.name, err, tt.want)
		}
		if c != nil {
			c.Close()
		}
	}
}

func TestDigestUser(t *testing.T) {
	rules := policy.FromGrants(nil, policy.Grant{Who: "crm", Control: []string{"*"}})
	to := server(t, rules, func(front *tr87.ServerConfig, _ *sip.Config) {
		front.Digest = sip.NewDigest("tr87proxy", []string{sip.SHA256, sip.MD5}, accounts.NewGuard(accounts.GuardConfig{}), func(u string) (string, bool) { return "s3cret", u == "crm" })
	})
	c, err := open(t, tr87.Dial{To: to, Line: "100", Username: "crm", Password: "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := do(t, c, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")}); err != nil {
		t.Error(err)
	}
	c.Close()
	if _, err := open(t, tr87.Dial{To: to, Line: "100", Username: "crm", Password: "wrong"}); code(err) != 401 {
		t.Errorf("wrong password: %v", err)
	}
}

func TestTooManySessions(t *testing.T) {
	to := server(t, alice, func(_ *tr87.ServerConfig, wire *sip.Config) { wire.MaxDialogsPerPeer = 1 })
	if _, err := open(t, tr87.Dial{To: to}); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, tr87.Dial{To: to}); code(err) != 486 {
		t.Errorf("second session: %v", err)
	}
}

// A whole call in both ways of answering: in the 200 OK, and in an INFO of its
// own. Either way the answer comes before the events, and the line as it was
// written.
func TestCall(t *testing.T) {
	const line = "tel:+14255550100;ext=100"
	for _, inInfo := range []bool{false, true} {
		to := server(t, &policy.Policy{Demo: true}, func(front *tr87.ServerConfig, _ *sip.Config) {
			front.AnswerInInfo = inInfo
			front.Anybody = policy.Identity{Name: "demo", How: "demo"}
		})
		events := make(chan *uacsta.Message, 100)
		c, err := open(t, tr87.Dial{To: to, Line: line, Event: func(m *uacsta.Message) { events <- m }})
		if err != nil {
			t.Fatal(err)
		}
		object := uacsta.Dev(line)
		res, err := do(t, c, uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}})
		if err != nil {
			t.Fatal(err)
		}
		ref := res.CrossRef()
		res, err = do(t, c, uacsta.MakeCall{CallingDevice: uacsta.Dev(line), CalledDirectoryNumber: uacsta.Dev("tel:+14255550101"), AutoOriginate: uacsta.DoNotPrompt})
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Text("callingDevice/deviceID"); got != line {
			t.Errorf("the line comes back as %s", got)
		}
		for _, want := range []string{"ServiceInitiatedEvent", "OriginatedEvent", "DeliveredEvent"} {
			select {
			case ev := <-events:
				if ev.Name() != want || ev.CrossRef() != ref {
					t.Errorf("%s of %s, want %s of %s", ev.Name(), ev.CrossRef(), want, ref)
				}
				if want == "DeliveredEvent" && ev.Text("alertingDevice/deviceIdentifier") != "tel:+14255550101" {
					t.Errorf("the other party is written %s", ev.Text("alertingDevice/deviceIdentifier"))
				}
			case <-time.After(patience):
				t.Fatalf("%s did not come", want)
			}
		}
		_, err = do(t, c, uacsta.HoldCall{CallToBeHeld: uacsta.Conn("no such call", line)})
		if !errors.Is(err, uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)) {
			t.Errorf("refusal: %v", err)
		}
		c.Close()
	}
}

// Several requests wait in one dialog; every answer finds its own.
func TestSeveralOutstanding(t *testing.T) {
	to := server(t, alice, nil)
	c, err := open(t, tr87.Dial{To: to, Line: "tel:+14255550100"})
	if err != nil {
		t.Fatal(err)
	}
	const n = 30
	failures := make(chan error, n)
	for i := range n {
		go func() {
			if i%2 == 0 {
				res, err := do(t, c, uacsta.GetCSTAFeatures{})
				if err == nil && res.Name() != "GetCSTAFeaturesResponse" {
					err = errors.New(res.Name())
				}
				failures <- err
				return
			}
			res, err := do(t, c, uacsta.GetForwarding{Device: uacsta.Dev("100")})
			if err == nil && res.Name() != "GetForwardingResponse" {
				err = errors.New(res.Name())
			}
			failures <- err
		}()
	}
	for range n {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	c.Close()
}

// Bodies that are not CSTA are refused with SIP codes, and the session stays open.
func TestForeignBodies(t *testing.T) {
	to := server(t, alice, nil)
	ua := sip.New(sip.Config{})
	t.Cleanup(ua.Close)
	for _, tt := range []struct {
		contentType, body string
		want              int
	}{
		{"application/sdp", "v=0", 415},
		{"application/csta+xml", "<half", 400},
		{"application/csta+xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", 400},
		{"application/csta+xml; charset=utf-8", "<RequestSystemStatus/>", 200},
		{"Application/CSTA+XML", "<RequestSystemStatus/>", 200},
		{"", "", 200},
	} {
		h := &silent{}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		d, res, err := ua.Invite(ctx, sip.Invite{To: to, From: "sip:alice@contoso.com", ContentType: tt.contentType, Body: []byte(tt.body)}, h)
		cancel()
		if tt.want != 200 {
			if code(err) != tt.want {
				t.Errorf("INVITE with %s: %v, want %d", tt.contentType, err, tt.want)
			}
			continue
		}
		if err != nil || !strings.Contains(string(res.Body()), "<systemStatus>normal</systemStatus>") {
			t.Errorf("INVITE with %q: %v", tt.body, err)
			continue
		}
		for _, inner := range []struct {
			contentType, body string
			want              int
		}{{"text/plain", "hello", 415}, {"application/csta+xml", "<a><b></a>", 400}, {"application/csta+xml", "<WashDishes/>", 200}, {"", "", 200}} {
			if got := send(d, "INFO", inner.contentType, inner.body); got != inner.want {
				t.Errorf("INFO with %s: %d, want %d", inner.contentType, got, inner.want)
			}
		}
		if got := send(d, "INVITE", "application/sdp", "v=0"); got != 488 {
			t.Errorf("re-INVITE with SDP: %d", got)
		}
		if got := send(d, "INFO", "application/csta+xml", "<RequestSystemStatus/>"); got != 200 {
			t.Errorf("INFO after it: %d", got)
		}
		d.Bye()
	}
}

// send sends a request in a dialog and returns the answer's code.
func send(d *sip.Dialog, method, contentType, body string) int {
	answer := make(chan sip.Result, 1)
	d.Send(method, contentType, []byte(body), func(r sip.Result) { answer <- r })
	return (<-answer).Code()
}

type silent struct{}

func (*silent) Request(_ *sip.Dialog, r *sip.Request) { r.Respond(sip.Answer{}) }
func (*silent) Refresh() (string, []byte)             { return "", nil }
func (*silent) Ended(error)                           {}
