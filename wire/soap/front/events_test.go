package front

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

const eventing = "http://schemas.xmlsoap.org/ws/2004/08/eventing"

// subscribe subscribes the sink at the client's address. rest is behind Delivery.
func subscribe(host, rest string) string {
	if host == "" {
		host = "10.1.1.5"
	}
	return `<e:Subscribe xmlns:e="` + eventing + `" xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing"><e:EndTo><w:Address>http://` + host + `/end</w:Address></e:EndTo><e:Delivery><e:NotifyTo><w:Address>http://` + host + `/events</w:Address><w:ReferenceParameters><k:Secret xmlns:k="urn:k">s3cret</k:Secret></w:ReferenceParameters></e:NotifyTo></e:Delivery>` + rest + `</e:Subscribe>`
}

func manage(what, rest string) string {
	return `<e:` + what + ` xmlns:e="` + eventing + `">` + rest + `</e:` + what + `>`
}

func identifier(id string) string {
	return `<e:Identifier xmlns:e="` + eventing + `">` + id + `</e:Identifier>`
}

// What is pulled is numbered without gaps. It comes again until it is acknowledged; a number that was never given, or that goes
// back, is refused, and so is what can be read in two ways.
func TestPull(t *testing.T) {
	within(t, func(b *bench) {
		pull := func(members string) string { return b.must("crm", getEvents(members)) }
		b.must("crm", monitor("100"))
		began := time.Now()
		if got := pull("<waitSeconds>7</waitSeconds>"); numbers(got) != "" || time.Since(began) != 7*time.Second {
			t.Errorf("after %v: %s", time.Since(began), got)
		}
		waiting := b.later("crm", getEvents(""))
		b.must("crm", disturb("100"))
		if got := <-waiting; numbers(got) != "1" || !strings.Contains(got, "<lost>false</lost>") {
			t.Error(got)
		}
		b.must("crm", disturb("100"))
		b.must("crm", disturb("100"))
		for _, tt := range [][2]string{
			{"", "1 2 3"}, {"<maxEvents>2</maxEvents>", "1 2"}, {"<acknowledge>1</acknowledge>", "2 3"}, {"", "2 3"}, {"<acknowledge>3</acknowledge><waitSeconds>0</waitSeconds>", ""},
		} {
			if got := numbers(pull(tt[0])); got != tt[1] {
				t.Errorf("%s: %s", tt[0], got)
			}
		}
		for _, members := range []string{"<acknowledge>4</acknowledge>", "<acknowledge>2</acknowledge>", "<acknowledge>x</acknowledge>", "<acknowledge>3</acknowledge><acknowledge>3</acknowledge>", "<more>1</more>", "3", `<acknowledge xmlns="urn:x">3</acknowledge>`} {
			b.refused(members, "operation/invalidParameterValue", "crm", getEvents(members))
		}
	})
}

// A second GetEvents ends one that waits at once, with an empty list; so does the end of the server.
func TestSecondPull(t *testing.T) {
	within(t, func(b *bench) {
		b.must("crm", monitor("100"))
		began := time.Now()
		first := b.later("crm", getEvents(""))
		second := b.later("crm", getEvents(""))
		if got := <-first; numbers(got) != "" || !strings.Contains(got, "GetEventsResponse") {
			t.Error(got)
		}
		b.must("crm", disturb("100"))
		if got := <-second; numbers(got) != "1" {
			t.Error(got)
		}
		third := b.later("crm", getEvents("<acknowledge>1</acknowledge>"))
		b.stop()
		if got := <-third; numbers(got) != "" || !strings.Contains(got, "GetEventsResponse") {
			t.Error(got)
		}
		if !began.Equal(time.Now()) {
			t.Errorf("it took %v", time.Since(began))
		}
		b.refused("a request after the end", "resourceLimitExceeded", "crm", monitor("100"))
	})
}

// A queue that is full loses its oldest events, and says so once.
func TestOverflow(t *testing.T) {
	within(t, func(b *bench) {
		b.must("crm", monitor("100"))
		for range maxItems + 5 {
			b.must("crm", disturb("100"))
		}
		got := b.must("crm", getEvents("<maxEvents>1</maxEvents>"))
		if numbers(got) != "6" || !strings.Contains(got, "<lost>true</lost>") {
			t.Error(got)
		}
		if got = b.must("crm", getEvents("<maxEvents>2</maxEvents>")); numbers(got) != "6 7" || !strings.Contains(got, "<lost>false</lost>") {
			t.Error(got)
		}
	})
}

// heard is what a sink got.
type heard struct {
	at          time.Duration
	path, media string
	action      string
	body        string
}

// listening makes a sink that responds what answers say, one after the other, then the last one always. It returns what the
// sink has got.
func (b *bench) listening(answers ...func(*http.Request) (int, error)) func() []heard {
	began := time.Now()
	var got []heard
	var mu sync.Mutex
	b.sinks["10.1.1.5"] = func(r *http.Request) (int, error) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		got = append(got, heard{time.Since(began), r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("SOAPAction"), string(body)})
		answer := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		}
		mu.Unlock()
		return answer(r)
	}
	return func() []heard {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
}

func status(code int) func(*http.Request) (int, error) {
	return func(*http.Request) (int, error) { return code, nil }
}

func dead(*http.Request) (int, error) { return 0, errors.New("connection refused") }

func slow(r *http.Request) (int, error) {
	<-r.Context().Done()
	return 0, r.Context().Err()
}

// Events are pushed in order, one at a time. A sink that fails or is slow gets the event again; what it takes goes on; what
// goes on failing, redirects or answers faults only ends the subscription, and SubscriptionEnd says so.
func TestSinks(t *testing.T) {
	for name, tt := range map[string]struct {
		answers []func(*http.Request) (int, error)
		events  int
		want    string        // paths that were requested
		ended   string        // the status of SubscriptionEnd; "": the subscription holds
		least   time.Duration // that it took, at least
	}{
		"takes":             {[]func(*http.Request) (int, error){status(202)}, 3, "events events events", "", 0},
		"no content":        {[]func(*http.Request) (int, error){status(204)}, 1, "events", "", 0},
		"killed, then back": {[]func(*http.Request) (int, error){dead, dead, status(200)}, 2, "events events events events", "", 3 * time.Second},
		"killed":            {[]func(*http.Request) (int, error){dead}, 1, "", "DeliveryFailure", patience},
		"slow, then quick":  {[]func(*http.Request) (int, error){slow, status(200)}, 1, "events events", "", sinkTime},
		"slow":              {[]func(*http.Request) (int, error){slow}, 1, "", "DeliveryFailure", patience},
		"503, then 200":     {[]func(*http.Request) (int, error){status(503), status(200)}, 1, "events events", "", time.Second},
		"a fault":           {[]func(*http.Request) (int, error){status(500), status(200)}, 2, "events events", "", 0},
		"faults only":       {[]func(*http.Request) (int, error){status(500)}, maxRefused + 5, strings.Repeat("events ", maxRefused) + "end", "DeliveryFailure", 0},
		"redirects":         {[]func(*http.Request) (int, error){status(302)}, 1, "events end", "DeliveryFailure", 0},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(b *bench) {
				got := b.listening(tt.answers...)
				b.must("crm", monitor("100"))
				b.must("crm", subscribe("", ""))
				began := time.Now()
				for range tt.events {
					b.must("crm", disturb("100"))
				}
				for range int(patience/time.Minute) + 2 { // requests keep the association
					time.Sleep(time.Minute)
					b.must("crm", monitor("101"))
				}
				var paths []string
				var ended string
				last := began
				for _, h := range got() {
					paths = append(paths, strings.TrimPrefix(h.path, "/"))
					if h.path == "/end" {
						ended = found(t, h.body, "Status>"+eventing+"/(.*?)<")
					} else if !strings.Contains(h.body, "DoNotDisturbEvent") || !strings.Contains(h.body, `<k:Secret xmlns:k="urn:k">s3cret</k:Secret>`) || h.action != `"urn:tr87proxy:csta-events:ed3:DoNotDisturbEvent"` {
						t.Errorf("%+v", h)
					}
					last = began.Add(h.at)
				}
				if all := strings.Join(paths, " "); tt.want != "" && all != tt.want || ended != tt.ended {
					t.Errorf("%s, ended by %q", all, ended)
				}
				if took := last.Sub(began); took < tt.least || tt.least == 0 && took > 0 {
					t.Errorf("it took %v", took)
				}
				if subscribed := b.send("crm", manage("GetStatus", ""), identifier(found(t, b.must("crm", subscribe("", "")), "Identifier>(.*?)<"))); subscribed.Code != 200 {
					t.Errorf("the association is gone: %s", subscribed.Body)
				}
			})
		})
	}
}

// A sink that takes no SOAP 1.2 gets SOAP 1.1, and nothing else from then on.
func TestSinkOfAnotherVersion(t *testing.T) {
	within(t, func(b *bench) {
		got := b.listening(status(415), status(202))
		b.must("crm", monitor("100"))
		r := b.request("crm", subscribe("", ""))
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(bytes.Replace(body, []byte("http://schemas.xmlsoap.org/soap/envelope/"), []byte("http://www.w3.org/2003/05/soap-envelope"), 1)))
		b.serve(r)
		b.must("crm", disturb("100"))
		b.must("crm", disturb("100"))
		synctest.Wait()
		var media []string
		for _, h := range got() {
			m, _, _ := strings.Cut(h.media, ";")
			media = append(media, m)
		}
		if want := []string{"application/soap+xml", "text/xml", "text/xml"}; !slices.Equal(media, want) {
			t.Error(media)
		}
	})
}

// A subscription lives as long as it was granted, by its address or its identifier, and for its own client only. When it
// expires, and when the server stops, EndTo is told; when its client ends it, it is not.
func TestSubscriptions(t *testing.T) {
	within(t, func(b *bench) {
		got := b.listening(status(202))
		granted := b.must("crm", subscribe("", "<e:Expires>PT90M</e:Expires>"))
		id := found(t, granted, "Identifier>(.*?)<")
		if !strings.Contains(granted, "<a:Address>http://pbx/subscriptions/"+id+"</a:Address>") || !strings.Contains(granted, ">PT3600S<") {
			t.Error(granted)
		}
		if res := b.must("crm", manage("Renew", "<e:Expires>PT20M</e:Expires>"), identifier(id)); !strings.Contains(res, ">PT1200S<") {
			t.Error(res)
		}
		b.must("other", monitor("100"))
		for _, what := range []string{"Renew", "GetStatus", "Unsubscribe"} {
			b.refused(what+" of another's", "no such subscription", "other", manage(what, ""), identifier(id))
		}
		b.refused("what there is not", "no such request", "crm", manage("Pause", ""), identifier(id))
		for range 4 { // requests keep the association
			time.Sleep(4 * time.Minute)
			b.must("crm", manage("GetStatus", ""), identifier(id))
		}
		if res := b.must("crm", manage("GetStatus", ""), identifier(id)); !strings.Contains(res, ">PT240S<") {
			t.Error(res)
		}
		if len(got()) > 0 {
			t.Errorf("%v", got())
		}
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if len(got()) != 1 || !strings.Contains(got()[0].body, eventing+"/SourceCanceling<") {
			t.Errorf("%v", got())
		}
		b.refused("one that has expired", "no such subscription", "crm", manage("GetStatus", ""), identifier(id))

		id = found(t, b.must("crm", subscribe("", "")), "Identifier>(.*?)<")
		b.must("crm", manage("Unsubscribe", ""), identifier(id))
		for range maxSubscriptions {
			b.must("crm", subscribe("", ""))
		}
		b.refused("one too many", "EventSourceUnableToProcess", "crm", subscribe("", ""))
		b.stop()
		if len(got()) != 1+maxSubscriptions {
			t.Errorf("%v", got())
		}
		for _, h := range got()[1:] {
			if !strings.Contains(h.body, eventing+"/SourceShuttingDown<") {
				t.Errorf("%+v", h)
			}
		}
	})
}

// A sink is at a public address or where its client is: an address is refused at once, a name when it is resolved.
func TestPrivateSinks(t *testing.T) {
	within(t, func(b *bench) {
		for _, host := range []string{"127.0.0.1:80", "10.1.1.6", "[::1]:80", "169.254.169.254", "[::ffff:10.1.1.6]"} {
			b.refused(host, "EventSourceUnableToProcess", "crm", subscribe(host, ""))
		}
		b.must("crm", subscribe("crm.example", ""))
		b.must("crm", subscribe("9.9.9.9", ""))
	})
	log := slog.New(slog.DiscardHandler)
	s := New(Config{Log: log, Private: func(netip.Addr, netip.Addr) bool { return false }})
	defer s.Close()
	_, err := s.clients(func(netip.Addr) bool { return false }).Get("http://localhost:1/")
	if err == nil || !strings.Contains(err.Error(), "not public") {
		t.Errorf("%v", err)
	}
}

// An identity has its share of subscriptions whose sinks are still being told that they have ended, however many sessions it
// opens and ends: else one that never answers would take all memory, or the proxy would flood it.
func TestSinkThatIsNeverTold(t *testing.T) {
	within(t, func(b *bench) {
		b.listening(slow)
		stop := func(id string) string {
			return `<StopApplicationSession xmlns="` + uacsta.NamespaceApplSession + `"><sessionID>` + id + `</sessionID><sessionEndReason><definedEndReason>normal</definedEndReason></sessionEndReason></StopApplicationSession>`
		}
		for range maxOfIdentity {
			id := found(t, b.must("crm", login("", "")), "<sessionID>(.*?)<")
			for range maxSubscriptions {
				b.must("crm", subscribe("", ""), session(id))
			}
			b.must("crm", stop(id), session(id))
		}
		b.refused("one more", "EventSourceUnableToProcess", "crm", subscribe("", ""))
		b.must("other", subscribe("", ""))
		time.Sleep(sinkTime)
		synctest.Wait()
		b.must("crm", subscribe("", ""))
		if b.server.pushing["identity crm"] != 1 {
			t.Errorf("%v", b.server.pushing)
		}
	})
}

// Sinks that do not answer hold up the end of the server no longer than farewell.
func TestFarewell(t *testing.T) {
	within(t, func(b *bench) {
		b.listening(slow)
		b.must("crm", subscribe("", ""))
		b.must("crm", monitor("100"))
		b.must("crm", disturb("100"))
		began := time.Now()
		b.stop()
		if took := time.Since(began); took != farewell {
			t.Errorf("it took %v", took)
		}
		if len(b.server.pushing) > 0 {
			t.Errorf("%v", b.server.pushing)
		}
	})
}
