package tests

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// way is a version of WS-Eventing, and how it delivers.
type way struct {
	name, eventing, addressing string
	format                     string // an element Format; "": none
}

const w3cEventing = "http://www.w3.org/2011/03/ws-evt"

var eventings = []way{
	{"2004", "http://schemas.xmlsoap.org/ws/2004/08/eventing", "http://schemas.xmlsoap.org/ws/2004/08/addressing", ""},
	{"W3C", w3cEventing, "http://www.w3.org/2005/08/addressing", `<e:Format Name="` + w3cEventing + `/DeliveryFormats/Unwrap"/>`},
	{"W3C, wrapped", w3cEventing, "http://www.w3.org/2005/08/addressing", `<e:Format Name="` + w3cEventing + `/DeliveryFormats/Wrap"/>`},
}

// subscribe is the envelope of a Subscribe for events to a URL.
func (y way) subscribe(version, url string) string {
	at := func(name, path string) string {
		return "<e:" + name + "><a:Address>" + url + path + `</a:Address><a:ReferenceParameters><k:Key xmlns:k="urn:k">k&amp;1</k:Key></a:ReferenceParameters></e:` + name + ">"
	}
	return y.envelope(version, "", "<e:Subscribe>"+at("EndTo", "/end")+"<e:Delivery>"+at("NotifyTo", "/events")+"</e:Delivery>"+y.format+"</e:Subscribe>")
}

func (y way) envelope(version, header, body string) string {
	return `<s:Envelope xmlns:s="` + version + `" xmlns:e="` + y.eventing + `" xmlns:a="` + y.addressing + `"><s:Header>` + header + `</s:Header><s:Body>` + body + `</s:Body></s:Envelope>`
}

// pushed is what came to a sink.
type pushed struct {
	path, text string
	header     http.Header
}

// eventSink is a server that takes events.
type eventSink struct {
	url    string
	got    chan pushed
	server *http.Server
}

// newSink starts a sink at an address of the machine. answer responds to a delivery; nil: the sink takes all.
func newSink(t *testing.T, address string, answer http.HandlerFunc) *eventSink {
	t.Helper()
	if !strings.Contains(address, ":") {
		address += ":0"
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &eventSink{url: "http://" + listener.Addr().String(), got: make(chan pushed, 1000)}
	s.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.got <- pushed{r.URL.Path, string(data), r.Header}
		if answer != nil && r.URL.Path == "/events" {
			answer(w, r)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.server.Serve(listener) }()
	t.Cleanup(func() { _ = s.server.Close(); <-done })
	return s
}

// disturb has a telephone's do-not-disturb feature change, of which its monitors learn.
func (c *soapFrom) disturb(device string, on bool) {
	c.t.Helper()
	if status, text := c.ask(fmt.Sprintf(`<SetDoNotDisturb xmlns="%s"><device>%s</device><doNotDisturbOn>%v</doNotDisturbOn></SetDoNotDisturb>`, uacsta.NamespaceED3, device, on)); status != http.StatusOK {
		c.t.Fatal(text)
	}
}

// changes are the values in the events of a telephone's do-not-disturb feature.
var changes = regexp.MustCompile(`<doNotDisturbOn>(\w+)<`)

func (p pushed) change(t *testing.T) string {
	t.Helper()
	found := changes.FindStringSubmatch(p.text)
	if p.path != "/events" || found == nil {
		t.Fatalf("%+v", p)
	}
	return found[1]
}

// pushService is a proxy with the account crm.
func pushService(t *testing.T, more string) *running {
	t.Helper()
	file := filepath.Join(t.TempDir(), "accounts")
	account(t, file, "crm", soapPassword)
	return serve(t, "application-sessions: {xml: optional, accounts: "+file+"}\ngrants: [{who: crm, control: [\"*\"], dial: [\"*\"]}]\n"+more)
}

// Each version of WS-Eventing, in each of SOAP, delivers what GetEvents has, in the same order, with the addressing that it
// demands; and all that is sent is valid against the schemas that the proxy serves, and that of W3C.
func TestSOAPPush(t *testing.T) {
	t.Parallel()
	r := pushService(t, "")
	url, folder := fmt.Sprintf("http://127.0.0.1:%d", r.xmlPort), t.TempDir()
	keep := func(name, text string) {
		if err := os.WriteFile(filepath.Join(folder, name+".xml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	schemas, sinks, last := soapSchema(t, url, 3), map[string]*eventSink{}, 19
	for _, y := range eventings {
		for _, version := range []string{soap11, soap12} {
			last++
			name, address := fmt.Sprint(y.name, " ", version == soap12), fmt.Sprintf("127.0.0.%d", last)
			c, to := newSOAPFrom(t, url, address), newSink(t, address, nil)
			status, subscribed := c.ask(y.subscribe(version, to.url))
			found := regexp.MustCompile(`<a:Address>([^<]+)</a:Address>.*Identifier>([^<]+)<`).FindStringSubmatch(subscribed)
			if status != http.StatusOK || found == nil {
				t.Fatal(subscribed)
			}
			keep(name+" subscribed", subscribed)
			caller, called := fmt.Sprint(1000+2*last), fmt.Sprint(1001+2*last)
			c.monitor(called)
			_, text := c.ask(`<MakeCall xmlns="` + uacsta.NamespaceED3 + `"><callingDevice>` + caller + `</callingDevice><calledDirectoryNumber>` + called + `</calledDirectoryNumber><autoOriginate>doNotPrompt</autoOriginate></MakeCall>`)
			call := regexp.MustCompile(`<callID>(\w+)<`).FindStringSubmatch(text)
			if call == nil {
				t.Fatal(text)
			}
			at := func(tag, device string) string {
				return "<" + tag + "><callID>" + call[1] + "</callID><deviceID>" + device + "</deviceID></" + tag + ">"
			}
			c.ask(`<AnswerCall xmlns="` + uacsta.NamespaceED3 + `">` + at("callToBeAnswered", called) + `</AnswerCall>`)
			c.ask(`<HoldCall xmlns="` + uacsta.NamespaceED3 + `">` + at("callToBeHeld", called) + `</HoldCall>`)
			c.ask(`<ClearConnection xmlns="` + uacsta.NamespaceED3 + `">` + at("connectionToBeCleared", called) + `</ClearConnection>`)
			var pulled []string
			for acknowledged := 0; !slices.ContainsFunc(pulled, func(e string) bool { return strings.HasPrefix(e, "<ConnectionClearedEvent") }); {
				_, text := c.ask(fmt.Sprintf(`<GetEvents xmlns="urn:tr87proxy:csta-soap"><acknowledge>%d</acknowledge><waitSeconds>20</waitSeconds></GetEvents>`, acknowledged))
				for _, found := range regexp.MustCompile(`(?s)<number>(\d+)</number>(<\w+Event .*?)</event>`).FindAllStringSubmatch(text, -1) {
					acknowledged++
					pulled = append(pulled, found[2])
				}
				if acknowledged == 0 {
					t.Fatal(text)
				}
			}
			for i, event := range pulled {
				got := wait.Next(t, to.got, "an event")
				keep(fmt.Sprint(name, i), got.text)
				service := regexp.MustCompile(`^<(\w+)`).FindStringSubmatch(event)[1]
				action, body := "urn:tr87proxy:csta-events:ed3:"+service, event
				if strings.HasSuffix(y.format, `Wrap"/>`) {
					body = `<e:Notify xmlns:e="` + w3cEventing + `" actionURI="` + action + `">` + event + "</e:Notify>"
					action = w3cEventing + "/WrappedSinkPortType/NotifyEvent"
				}
				wantHeader, wantType := `"`+action+`"`, "text/xml; charset=utf-8"
				if version == soap12 {
					wantHeader, wantType = "", `application/soap+xml; charset=utf-8; action="`+action+`"`
				}
				if got.path != "/events" || !strings.Contains(got.text, ":Body>"+body+"</") || got.header.Get("SOAPAction") != wantHeader || got.header.Get("Content-Type") != wantType ||
					!strings.Contains(got.text, `<a:Action xmlns:a="`+y.addressing+`">`+action+"<") || !strings.Contains(got.text, "<a:To xmlns:a=\""+y.addressing+"\">"+to.url+"/events<") || !strings.Contains(got.text, ">k&amp;1<") || !strings.Contains(got.text, `"`+version+`"`) {
					t.Errorf("%s: pulled %s\npushed %+v", name, event, got)
				}
			}
			for _, request := range []string{"Renew", "GetStatus"} {
				status, text := c.askAt(found[1], y.envelope(version, "<e:Identifier>"+found[2]+"</e:Identifier>", "<e:"+request+"/>"))
				if status != http.StatusOK || !strings.Contains(text, "Expires>PT") {
					t.Errorf("%s: %s: %d %s", name, request, status, text)
				}
				keep(name+" "+request, text)
			}
			sinks[name] = to
		}
	}
	r.stop()
	for name, to := range sinks {
		got := wait.Next(t, to.got, "the end of a subscription")
		if got.path != "/end" || !strings.Contains(got.text, "/SourceShuttingDown<") || !strings.Contains(got.text, ">k&amp;1<") {
			t.Errorf("%s: %+v", name, got)
		}
		keep(name+" end", got.text)
	}
	validateEnvelopes(t, schemas, folder, 6*8)
}

// A sink that is slow, refuses or is killed gets every event, in order, and holds nobody up; one that redirects or answers everything with
// a fault loses its subscription and is told so. No event goes elsewhere.
func TestSOAPSinks(t *testing.T) {
	t.Parallel()
	r := pushService(t, "")
	url, last := fmt.Sprintf("http://127.0.0.1:%d", r.xmlPort), 29
	// begin subscribes a client and monitors a telephone.
	begin := func(t *testing.T, answer http.HandlerFunc) (c *soapFrom, to *eventSink, device string) {
		t.Helper()
		last++
		address, device := fmt.Sprintf("127.0.0.%d", last), fmt.Sprint(1000+last)
		c, to = newSOAPFrom(t, url, address), newSink(t, address, answer)
		if status, text := c.ask(eventings[0].subscribe(soap11, to.url)); status != http.StatusOK {
			t.Fatal(text)
		}
		c.monitor(device)
		return c, to, device
	}
	expect := func(t *testing.T, to *eventSink, values ...string) {
		t.Helper()
		for i, want := range values {
			if got := wait.Next(t, to.got, "an event"); got.change(t) != want {
				t.Errorf("delivery %d of %v: %+v", i, values, got)
			}
		}
	}
	end := func(t *testing.T, to *eventSink, status, reason string) {
		t.Helper()
		if got := wait.Next(t, to.got, "the end of the subscription"); got.path != "/end" || !strings.Contains(got.text, "/"+status+"<") || !strings.Contains(got.text, reason) {
			t.Errorf("%+v", got)
		}
	}
	t.Run("slow", func(t *testing.T) {
		var count atomic.Int32
		c, to, device := begin(t, func(_ http.ResponseWriter, r *http.Request) {
			if count.Add(1) == 1 {
				<-r.Context().Done() // until the proxy gives up
			}
		})
		begun := time.Now()
		for _, on := range []bool{true, false, true} {
			c.disturb(device, on)
		}
		if took := time.Since(begun); took > 8*time.Second {
			t.Errorf("the client waits %v for its sink", took)
		}
		expect(t, to, "true", "true", "false", "true")
	})
	t.Run("refusing", func(t *testing.T) {
		var count atomic.Int32
		statuses := []int{404, 503, 401}
		c, to, device := begin(t, func(w http.ResponseWriter, _ *http.Request) {
			if n := int(count.Add(1)); n <= len(statuses) {
				w.WriteHeader(statuses[n-1])
			}
		})
		c.disturb(device, true)
		c.disturb(device, false)
		expect(t, to, "true", "true", "true", "true", "false")
	})
	t.Run("answering with faults", func(t *testing.T) {
		c, to, device := begin(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
		var values []string
		for i := range 11 {
			c.disturb(device, i%2 == 0)
			values = append(values, fmt.Sprint(i%2 == 0))
		}
		expect(t, to, values[:10]...)
		end(t, to, "DeliveryFailure", "fault")
	})
	t.Run("redirecting", func(t *testing.T) {
		for _, status := range []int{301, 302, 303, 307, 308} {
			elsewhere := newSink(t, fmt.Sprintf("127.0.0.%d", last+1), nil)
			c, to, device := begin(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", elsewhere.url+"/events")
				w.WriteHeader(status)
			})
			c.disturb(device, true)
			expect(t, to, "true")
			end(t, to, "DeliveryFailure", "redirects")
			if len(elsewhere.got) > 0 {
				t.Errorf("%d is followed", status)
			}
		}
	})
	t.Run("killed", func(t *testing.T) {
		c, to, device := begin(t, nil)
		c.disturb(device, true)
		expect(t, to, "true")
		_ = to.server.Close()
		for i := range 20 {
			c.disturb(device, i%2 == 1)
		}
		to = newSink(t, strings.TrimPrefix(to.url, "http://"), nil)
		for range 10 {
			expect(t, to, "false", "true")
		}
	})
	r.stop()
}

// Events go to the address of the client and to public ones, as those of webhooks; to private ones if the configuration says so.
// What a name resolves to is looked at when events go there.
func TestSOAPPrivateSinks(t *testing.T) {
	t.Parallel()
	for _, allowed := range []bool{false, true} {
		t.Run(fmt.Sprint(allowed), func(t *testing.T) {
			t.Parallel()
			file, accounts, port := filepath.Join(t.TempDir(), "config.yaml"), filepath.Join(t.TempDir(), "accounts"), freePort(t)
			account(t, accounts, "crm", soapPassword)
			if err := os.WriteFile(file, fmt.Appendf(nil, `
sip: {listen: []}
operations: {address: ""}
xml: {listen: [{transport: tcp, address: "127.0.0.1:%d"}], soap: {private-sinks: %v}}
application-sessions: {accounts: %s}
grants: [{who: crm, control: ["*"]}]
switch: {extensions: [{number: "100"}]}
`, port, allowed, accounts), 0o600); err != nil {
				t.Fatal(err)
			}
			p := start(t, program(t), "serve", "-c", file)
			waitFor(t, "the listener", func() bool { return strings.Contains(p.out.String(), "msg=ready") })
			c, to := newSOAPFrom(t, fmt.Sprintf("http://127.0.0.1:%d", port), "127.0.0.18"), newSink(t, "127.0.0.1", nil)
			_, number, _ := strings.Cut(strings.TrimPrefix(to.url, "http://"), ":")
			for _, host := range []string{"127.0.0.1", "[::ffff:127.0.0.1]", "10.255.255.1", "169.254.169.254", "[fe80::1]", "0.0.0.0", "[fd00::1]"} {
				never := host == "[::ffff:127.0.0.1]" || host == "0.0.0.0"
				status, text := c.ask(eventings[0].subscribe(soap11, "http://"+host+":"+number))
				if taken := allowed && !never; taken != (status == http.StatusOK) || !taken && !strings.Contains(text, "EventSourceUnableToProcess") {
					t.Errorf("a sink at %s: %d %s", host, status, text)
				}
				if id := regexp.MustCompile(`subscriptions/(\w+)<`).FindStringSubmatch(text); id != nil {
					_, _ = c.ask(eventings[0].envelope(soap11, "<e:Identifier>"+id[1]+"</e:Identifier>", "<e:Unsubscribe/>"))
				}
			}
			if status, text := c.ask(eventings[0].subscribe(soap11, "http://localhost:"+number)); status != http.StatusOK {
				t.Fatal(text)
			}
			c.monitor("100")
			c.disturb("100", true)
			if allowed {
				if got := wait.Next(t, to.got, "an event"); got.change(t) != "true" {
					t.Errorf("%+v", got)
				}
				return
			}
			waitFor(t, "the end of the subscription", func() bool { return strings.Contains(p.out.String(), `msg="subscription ended"`) })
			if len(to.got) > 0 {
				t.Errorf("a private sink gets %+v", <-to.got)
			}
		})
	}
}
