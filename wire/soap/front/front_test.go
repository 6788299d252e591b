package front

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// bench is a server in a bubble, before a core with one link.
type bench struct {
	t      *testing.T
	server *Server
	core   *proxy.Proxy
	plant  *plant
	sinks  map[string]func(*http.Request) (int, error) // by host: what they respond
	stop   func()

	removed atomic.Bool // the accounts
}

// plant is a link. A SetDoNotDisturb causes an event at each monitor of the device, before its response is written.
type plant struct {
	mu    sync.Mutex
	up    proxy.Upcalls
	refs  map[string]string // devices, by cross reference
	count int
}

func (p *plant) Run(ctx context.Context, up proxy.Upcalls) error {
	p.mu.Lock()
	p.up = up
	p.mu.Unlock()
	up.Ready()
	<-ctx.Done()
	return ctx.Err()
}

func (p *plant) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch req.Name() {
	case uacsta.NameMonitorStart:
		p.count++
		ref := fmt.Sprint(p.count)
		p.refs[ref] = req.Text("monitorObject/deviceObject")
		reply(uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: ref}, uacsta.Edition3), nil)
	case uacsta.NameMonitorStop:
		delete(p.refs, req.CrossRef())
		reply(uacsta.Encode(uacsta.MonitorStopResponse{}, uacsta.Edition3), nil)
	case uacsta.NameSetDoNotDisturb:
		reply(uacsta.Encode(uacsta.SetDoNotDisturbResponse{}, uacsta.Edition3), nil)
		for ref, device := range p.refs {
			if device == req.Text("device") {
				p.up.Event(uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(device), DoNotDisturbOn: true}, uacsta.Edition3))
			}
		}
	default:
		reply(nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported))
	}
}

func (p *plant) monitors() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.refs)
}

// keys are the accounts of application sessions.
type keys struct{}

func (keys) Check(_ context.Context, _, name, password string, _ netip.Addr) (proxy.Account, error) {
	if password != "right" {
		return proxy.Account{}, errors.New("wrong")
	}
	return proxy.Account{Name: name}, nil
}

func (keys) Holds(proxy.Account) bool { return true }

var client = netip.MustParseAddr("10.1.1.5")

// within runs a test with a bench in a bubble. Clients are who their Authorization says.
func within(t *testing.T, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, plant: &plant{refs: map[string]string{}}, sinks: map[string]func(*http.Request) (int, error){}}
		log := slog.New(slog.DiscardHandler)
		b.core = proxy.New(proxy.Config{Policy: &policy.Policy{Demo: true}, Numbers: &policy.Numbers{Extensions: func(n string) bool { return len(n) == 3 }}, Accounts: keys{}, Log: log})
		b.core.AddLink("plant", b.plant, func(string) bool { return true })
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() { b.core.Run(ctx); close(over) }()
		b.server = New(Config{Proxy: b.core, Log: log, Private: func(at, sink netip.Addr) bool { return at == sink }, Identify: func(_ http.ResponseWriter, r *http.Request) (Caller, bool) {
			who := r.Header.Get("Authorization")
			c := Caller{Key: sha256.Sum256([]byte(who)), Opening: proxy.Opening{Addr: client, Front: "xml", Peer: "soap:test", Sessions: proxy.SessionsOptional}}
			if c.Challenges = []string{"Test"}; who != "" {
				c.Opening.Identity, c.Opening.Valid = policy.Identity{Name: who, How: "account"}, func() bool { return !b.removed.Load() }
			}
			return c, true
		}})
		b.server.clients = func(func(netip.Addr) bool) *http.Client { return &http.Client{Transport: b} }
		b.stop = sync.OnceFunc(b.server.Close)
		defer func() { b.stop(); cancel(); <-over }()
		synctest.Wait()
		test(b)
	})
}

// RoundTrip implements http.RoundTripper: requests go to the sinks of the bench.
func (b *bench) RoundTrip(r *http.Request) (*http.Response, error) {
	sink := b.sinks[r.URL.Host]
	if sink == nil {
		return nil, errors.New("nobody is there")
	}
	status, err := sink(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
}

const ns3 = uacsta.NamespaceED3

// send sends a body. headers are header blocks.
func (b *bench) send(who, body string, headers ...string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.server.ServeHTTP(w, b.request(who, body, headers...))
	return w
}

func (b *bench) request(who, body string, headers ...string) *http.Request {
	b.t.Helper()
	r := httptest.NewRequestWithContext(b.t.Context(), http.MethodPost, "http://pbx/csta", strings.NewReader(`<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header>`+strings.Join(headers, "")+`</s:Header><s:Body>`+body+`</s:Body></s:Envelope>`))
	r.Header.Set("Content-Type", "text/xml")
	if who != "" {
		r.Header.Set("Authorization", who)
	}
	return r
}

// must sends a body, and returns the response, which must be no fault.
func (b *bench) must(who, body string, headers ...string) string {
	b.t.Helper()
	w := b.send(who, body, headers...)
	if w.Code/100 != 2 {
		b.t.Fatalf("%s of %s: %d %s", body, who, w.Code, w.Body)
	}
	synctest.Wait() // for what it causes
	return w.Body.String()
}

// refused sends a body that must be refused with a text in the fault.
func (b *bench) refused(what, text, who, body string, headers ...string) {
	b.t.Helper()
	if w := b.send(who, body, headers...); w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), text) {
		b.t.Errorf("%s: %d %s", what, w.Code, w.Body)
	}
}

// later sends a body, and returns a channel with the response.
func (b *bench) later(who, body string) <-chan string {
	got := make(chan string, 1)
	go func() { got <- b.send(who, body).Body.String() }()
	synctest.Wait()
	return got
}

func monitor(device string) string {
	return `<MonitorStart xmlns="` + ns3 + `"><monitorObject><deviceObject>` + device + `</deviceObject></monitorObject></MonitorStart>`
}

// disturb causes an event at each monitor of a device.
func disturb(device string) string {
	return `<SetDoNotDisturb xmlns="` + ns3 + `"><device>` + device + `</device><doNotDisturbOn>true</doNotDisturbOn></SetDoNotDisturb>`
}

func getEvents(members string) string {
	return `<GetEvents xmlns="urn:tr87proxy:csta-soap">` + members + `</GetEvents>`
}

func session(id string) string {
	return `<o:Session xmlns:o="urn:tr87proxy:csta-soap"><o:sessionID>` + id + `</o:sessionID></o:Session>`
}

func login(user, password string) string {
	start := uacsta.StartApplicationSession{ApplicationInfo: uacsta.ApplicationInfo{ApplicationID: "x"}, RequestedProtocolVersions: []string{ns3}}
	if user != "" {
		start.ApplicationInfo.ApplicationSpecificInfo = uacsta.Login{User: user, Password: password}.Info(uacsta.LoginAvaya)
	}
	return uacsta.Encode(start, uacsta.Edition3).String()
}

// found returns what a pattern finds in a text.
func found(t *testing.T, text, pattern string) string {
	t.Helper()
	got := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if got == nil {
		t.Fatalf("no %s in %s", pattern, text)
	}
	return got[1]
}

// numbers returns the numbers of the events in a response to GetEvents.
func numbers(text string) string {
	var list []string
	for _, n := range regexp.MustCompile(`<number>(\d+)<`).FindAllStringSubmatch(text, -1) {
		list = append(list, n[1])
	}
	return strings.Join(list, " ")
}

// Those that have not logged in share the places of their IPv4 address or IPv6 /64.
func TestShareOfStrangers(t *testing.T) {
	share := func(addr string) string {
		return (&exchange{caller: Caller{Opening: proxy.Opening{Addr: netip.MustParseAddr(addr)}}}).share()
	}
	if share("2001:db8::1") != share("2001:db8::2:1") || share("2001:db8::1") == share("2001:db8:0:1::1") || share("10.1.1.1") == share("10.1.1.2") {
		t.Error("the shares are not those of peers")
	}
}

// blocked is a client that does not read until it is let.
type blocked struct {
	*httptest.ResponseRecorder

	let chan struct{}
}

func (w *blocked) Flush() { <-w.let }

// No event overtakes the response to the request that causes it, by pull and by push: not before it is on its way.
func TestResponseBeforeEvents(t *testing.T) {
	within(t, func(b *bench) {
		pushed := make(chan string, 10)
		b.sinks["10.1.1.5"] = func(*http.Request) (int, error) { pushed <- ""; return 200, nil }
		b.must("crm", subscribe("", ""))
		b.must("crm", monitor("100"))
		pulled := b.later("crm", getEvents(""))
		w := &blocked{httptest.NewRecorder(), make(chan struct{})}
		done := make(chan struct{})
		go func() { defer close(done); b.server.ServeHTTP(w, b.request("crm", disturb("100"))) }()
		synctest.Wait()
		if len(pushed) > 0 || len(pulled) > 0 {
			t.Error("the event came before the response")
		}
		close(w.let)
		<-done
		if got := <-pulled; numbers(got) != "1" {
			t.Error(got)
		}
		<-pushed
	})
}

// An association is of its client: requests with the same credentials share one, others have their own, and a session's ID
// serves nobody else.
func TestAssociations(t *testing.T) {
	within(t, func(b *bench) {
		b.must("crm", monitor("100"))
		b.must("other", monitor("101"))
		b.must("crm", disturb("100"))
		if got := b.must("other", getEvents("<waitSeconds>0</waitSeconds>")); numbers(got) != "" {
			t.Errorf("another's event: %s", got)
		}
		if got := b.must("crm", getEvents("")); numbers(got) != "1" {
			t.Error(got)
		}
		id := found(t, b.must("crm", login("", "")), "<sessionID>(.*?)<")
		b.must("crm", monitor("102"), session(id))
		b.refused("another's session", "security/generic", "other", disturb("102"), session(id))
		if w := b.send("", disturb("102"), session(id)); w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), textNoSession) {
			t.Errorf("a session without the credentials it began with: %d", w.Code)
		}
		b.refused("no namespace of CSTA", "serviceNotSupported: MakeCall is in no namespace of CSTA", "crm", `<MakeCall/>`)
		b.refused("no such session", "security/generic: "+textNoSession, "crm", disturb("102"), session("x"))
		if b.plant.monitors() != 3 {
			t.Errorf("%d monitors", b.plant.monitors())
		}
		b.must("crm", `<StopApplicationSession xmlns="`+uacsta.NamespaceApplSession+`"><sessionID>`+id+`</sessionID><sessionEndReason><definedEndReason>normal</definedEndReason></sessionEndReason></StopApplicationSession>`, session(id))
		synctest.Wait()
		b.refused("a session that has ended", "security/generic", "crm", disturb("102"), session(id))
		if b.plant.monitors() != 2 {
			t.Errorf("%d monitors after the end of a session", b.plant.monitors())
		}
	})
}

// A client without credentials logs in by StartApplicationSession, with the name and password in it. Every other request, and
// one that has none, gets 401: then software made for .NET sends its password.
func TestLoginInSession(t *testing.T) {
	within(t, func(b *bench) {
		for _, body := range []string{monitor("100"), getEvents(""), subscribe("", ""), login("", "")} {
			if w := b.send("", body); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != "Test" {
				t.Errorf("%s: %d %s", body, w.Code, w.Body)
			}
		}
		b.refused("a wrong password", "StartApplicationSessionNegResponse", "", login("crm", "wrong"))
		id := found(t, b.must("", login("crm", "right")), "<sessionID>(.*?)<")
		b.must("", monitor("100"), session(id))
		b.must("", disturb("100"), session(id))
		if got := b.must("", getEvents(""), session(id)); numbers(got) != "1" {
			t.Error(got)
		}
		if len(b.server.counts) != 1 || b.server.counts["identity crm"] != 1 {
			t.Errorf("it counts for %v", b.server.counts)
		}
	})
}

// An identity has its share of associations, and what ends makes room.
func TestShare(t *testing.T) {
	within(t, func(b *bench) {
		var last string
		for range maxOfIdentity {
			last = found(t, b.must("crm", login("", "")), "<sessionID>(.*?)<")
		}
		b.refused("one more", "resourceLimitExceeded", "crm", login("", ""))
		b.refused("one more, implied", "resourceLimitExceeded", "crm", monitor("100"))
		b.must("other", monitor("100"))
		b.must("crm", `<StopApplicationSession xmlns="`+uacsta.NamespaceApplSession+`"><sessionID>`+last+`</sessionID><sessionEndReason><definedEndReason>normal</definedEndReason></sessionEndReason></StopApplicationSession>`, session(last))
		b.must("crm", monitor("100"))
	})
}

// When an account is removed its associations end, with their subscriptions and the GetEvents that wait.
func TestAccountRemoved(t *testing.T) {
	within(t, func(b *bench) {
		ended := make(chan string, 1)
		b.sinks["10.1.1.5"] = func(r *http.Request) (int, error) { ended <- r.Header.Get("SOAPAction"); return 200, nil }
		b.must("crm", subscribe("", ""))
		b.must("crm", monitor("100"))
		pulled := b.later("crm", getEvents(""))
		b.removed.Store(true)
		b.core.Recheck()
		synctest.Wait()
		if got := <-pulled; numbers(got) != "" || !strings.Contains(got, "GetEventsResponse") {
			t.Error(got)
		}
		if action := <-ended; !strings.HasSuffix(action, `/SubscriptionEnd"`) {
			t.Error(action)
		}
		if b.plant.monitors()+len(b.server.associations)+len(b.server.counts) != 0 {
			t.Errorf("%d monitors, %v", b.plant.monitors(), b.server.counts)
		}
		b.refused("a request afterwards", "security/generic", "crm", monitor("100"))
	})
}

// An implied association ends when nobody uses it; a GetEvents that waits uses it. The next request begins another.
func TestIdle(t *testing.T) {
	within(t, func(b *bench) {
		b.must("crm", monitor("100"))
		for range 10 {
			b.must("crm", getEvents("<waitSeconds>50</waitSeconds>"))
			time.Sleep(idleTime - time.Minute)
		}
		if b.plant.monitors() != 1 {
			t.Fatal("the association ended while it was used")
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if b.plant.monitors() != 0 || len(b.server.associations)+len(b.server.implicit)+len(b.server.counts) != 0 {
			t.Errorf("%d monitors, %d associations, %v", b.plant.monitors(), len(b.server.associations), b.server.counts)
		}
		b.must("crm", monitor("100"))
	})
}

// serve serves a request, which must succeed.
func (b *bench) serve(r *http.Request) {
	b.t.Helper()
	w := httptest.NewRecorder()
	if b.server.ServeHTTP(w, r); w.Code/100 != 2 {
		b.t.Fatalf("%d %s", w.Code, w.Body)
	}
}
