package tests

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// watchedDevices are those whose events and calls are compared.
var watchedDevices = []string{"1000", "1001", "1002", "1003"}

// situations are made by the same requests at each switch. They return who asks, her active call and the one that she holds;
// where there is no such call, one that there is not.
var situations = []struct {
	name string
	make func(o *overseer) (me, own, held string)
}{
	{"idle", func(*overseer) (me, own, held string) { return "1000", "999998", "999999" }},
	{"alerting", func(o *overseer) (me, own, held string) { return "1001", o.placed("1000", "1001"), "999999" }},
	{"talking", func(o *overseer) (me, own, held string) { return "1000", o.answered("1000", "1001"), "999999" }},
	{"consulting", func(o *overseer) (me, own, held string) {
		held = o.answered("1000", "1001")
		own = o.must(uacsta.ConsultationCall{ExistingCall: uacsta.Conn(held, "1000"), ConsultedDevice: uacsta.Dev("1002")}).Text("initiatedCall/callID")
		o.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(own, "1002")})
		return "1000", own, held
	}},
}

// restless is what differs between two runs.
var restless = regexp.MustCompile(`"(monitorCrossRefID|serviceCrossRefID|routeRegisterReqID|sysStatRegisterID|crossRefIdentifier|messageID|resourceID|timestamp|callLinkageID|globalCallLinkageID|globalCallData|@?callLinkageData)":("[^"]*"|\{[^}]*\}+)|"\d{4}-\d\d-\d\dT[^"]*"`)

// outcome is what came of a request, with calls by their order.
type outcome struct {
	result string // or the refusal
	status int    // over HTTP
	events string
	calls  string
	action bool // it was sent by the path of its action
	plain  bool // the action refused it itself, because of what it found out
}

// rival is a proxy with its switch, and a way to send requests to it.
type rival struct {
	*running
	*overseer
	t    *testing.T
	send func(m *uacsta.Message) outcome
	set  bool // the last request may have changed what a device is set to
}

// ways are the ways to send a request.
var waysOfSending = []string{"CSTA-XML", "JSON", "XML over HTTP", "action"}

func newRival(t *testing.T, way string) *rival {
	t.Helper()
	port := freePort(t)
	v := &rival{t: t, running: serve(t, fmt.Sprintf(`api: {listen: [{transport: tcp, address: "127.0.0.1:%d"}]}
log: {level: error}
trusted: [{address: 127.0.0.0/8}]
limits: {requests-per-second: 100000, calls-per-minute: 100000}
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`, port))}
	v.overseer = v.watch(watchedDevices...)
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("tcp", fmt.Sprintf("127.0.0.1:%d", v.xmlPort))
	c := dialXML(t, conn, err)
	web := &webClient{t: t, client: checking(t, "127.0.0.2"), server: fmt.Sprintf("http://127.0.0.1:%d", port)}
	actions, _ := web.description()
	inJSON := func(m *uacsta.Message) outcome {
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return heardOver(t, web.ask("POST", "/v1/csta", string(data)))
	}
	v.send = map[string]func(*uacsta.Message) outcome{
		"CSTA-XML": func(m *uacsta.Message) outcome { return outcomeOf(t, c.send(m)) },
		"JSON":     inJSON,
		"XML over HTTP": func(m *uacsta.Message) outcome {
			return heardOver(t, web.ask("POST", "/v1/csta", m.String(), "Content-Type", "application/xml"))
		},
		"action": func(m *uacsta.Message) outcome {
			method, path, body, ok := inAction(actions, m)
			if !ok {
				return inJSON(m)
			}
			w := web.ask(method, path, body)
			o := heardOver(t, w)
			o.action = true
			o.plain = o.plain && (strings.Contains(body, `"with"`) || strings.Contains(path, "999999"))
			return o
		},
	}[way]
	return v
}

// outcomeOf is the outcome that a message says.
func outcomeOf(t *testing.T, m *uacsta.Message) outcome {
	t.Helper()
	if err := m.Err(); err != nil {
		return outcome{result: "refused " + string(err.Category) + "/" + err.Value}
	}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return outcome{result: string(data)}
}

// heardOver is the outcome that a response of HTTP says.
func heardOver(t *testing.T, w said) outcome {
	t.Helper()
	var o outcome
	var result struct{ CSTA json.RawMessage }
	switch p := w.problem(); {
	case p.Status != 0 && p.CSTA == nil:
		o = outcome{result: "refused", plain: true}
	case p.Status != 0:
		o = outcome{result: "refused " + p.CSTA.Category + "/" + p.CSTA.Value}
	case strings.HasPrefix(w.header.Get("Content-Type"), "application/xml"):
		m, err := uacsta.Parse(w.body)
		if err != nil {
			t.Fatalf("%s: %v", w, err)
		}
		o = outcomeOf(t, m)
	default:
		document := w.body
		if json.Unmarshal(w.body, &result) == nil && result.CSTA != nil {
			document = result.CSTA
		}
		m, err := uacsta.ParseJSON(document)
		if err != nil {
			t.Fatalf("%s: %v", w, err)
		}
		o = outcomeOf(t, m)
	}
	if o.status = w.status; strings.HasPrefix(o.result, "refused") != (w.status >= 400) {
		t.Errorf("the status does not fit: %s", w)
	}
	return o
}

// try has a switch in a situation and sends it a request.
func (v *rival) try(document string, situation func(*overseer) (me, own, held string)) outcome {
	v.t.Helper()
	m, collect := v.prepare(document, situation)
	return collect(v.send(m))
}

// prepare has a switch in a situation and returns the request, and what adds to its outcome what came of it.
func (v *rival) prepare(document string, situation func(*overseer) (me, own, held string)) (request *uacsta.Message, collect func(outcome) outcome) {
	v.t.Helper()
	v.clear()
	me, own, held := situation(v.overseer)
	v.pictures()
	v.news = nil
	m, err := uacsta.Parse([]byte(strings.NewReplacer("{me}", me, "{partner}", "1003", "{own}", own, "{held}", held).Replace(document)))
	if err != nil {
		v.t.Fatalf("%s: %v", document, err)
	}
	return m, func(o outcome) outcome {
		defer func() {
			if v.t.Failed() {
				v.t.Logf("before %s", document)
			}
		}()
		v.t.Helper()
		return v.collect(o, own, held)
	}
}

// collect adds to the outcome of a request the events and the calls that it made, with its calls by their order.
func (v *rival) collect(o outcome, own, held string) outcome {
	v.t.Helper()
	v.set = !strings.HasPrefix(o.result, "refused")
	o.calls = v.pictures() // all events that came before are read
	said := map[string]string{}
	for _, ev := range v.news {
		data, _ := json.Marshal(ev)
		said[v.refs[ev.CrossRef()]] += "\n" + string(data)
	}
	for _, device := range slices.Sorted(maps.Keys(said)) {
		o.events += "\n" + device + ":" + said[device]
	}
	names := map[string]string{own: "OWN", held: "HELD"}
	ids := regexp.MustCompile(`"callID":"([^"]*)"`)
	for _, text := range []*string{&o.result, &o.events, &o.calls} {
		*text = ids.ReplaceAllStringFunc(*text, func(found string) string {
			id := ids.FindStringSubmatch(found)[1]
			if names[id] == "" {
				names[id] = fmt.Sprint("NEW", len(names)-1)
			}
			return `"callID":"` + names[id] + `"`
		})
		*text = restless.ReplaceAllString(*text, `"$1":"…"`)
	}
	return o
}

// pictures are the calls of all watched devices.
func (v *rival) pictures() (text string) {
	for _, device := range watchedDevices {
		data, _ := json.Marshal(v.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}))
		text += device + " " + string(data) + "\n"
	}
	return text
}

// clear ends all calls, and what would keep the next ones away.
func (v *rival) clear() {
	v.t.Helper()
	for _, device := range watchedDevices {
		for _, c := range v.calls(device) {
			v.ask(uacsta.ClearConnection{ConnectionToBeCleared: c})
		}
		if !v.set {
			continue
		}
		v.ask(uacsta.SetDoNotDisturb{Device: uacsta.Dev(device)})
		v.ask(uacsta.SetAutoAnswer{Device: uacsta.Dev(device)})
		object := uacsta.Dev(device)
		v.ask(uacsta.SetAutoWorkMode{Device: &object})
		v.ask(uacsta.SetMessageWaitingIndicator{Device: object})
		v.ask(uacsta.SetForwarding{Device: uacsta.Dev(device), ForwardingType: uacsta.ForwardImmediate})
	}
}

// aside are services that need a session of their own: they are refused over HTTP on purpose.
var aside = regexp.MustCompile(`^(Monitor|Route|StartData|StopData|SendBroadcast|StartApplication|StopApplication|ResetApplication|System|GetSwitchingFunctionDevices|ChangeSys|ChangeMonitor|.*Register|IO|DataCollection|.*DataPath|.*DataCollection|CDR)`)

// A request by the path of its action, by POST /v1/csta in JSON and in XML does what it does by CSTA-XML: the same response or
// refusal, the same events, the same calls afterwards; for every service, in every situation.
func TestAPIEqualsCSTAXML(t *testing.T) {
	t.Parallel()
	var documents []string
	for _, list := range byService(namings()) {
		if service := list[0].service; !aside.MatchString(service) && !uacsta.NewMessage("", service).OneWay() {
			documents = append(documents, list[slices.IndexFunc(list, func(n naming) bool { return n.own })].document)
		}
	}
	all := make([][]outcome, len(waysOfSending))
	t.Run("play", func(t *testing.T) {
		for i, way := range waysOfSending {
			t.Run(way, func(t *testing.T) {
				t.Parallel()
				for _, situation := range situations {
					v := newRival(t, way)
					for _, document := range documents {
						all[i] = append(all[i], v.try(document, situation.make))
					}
					v.stop()
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	byAction, carried := map[string]bool{}, map[string]bool{}
	for n := range len(documents) * len(situations) {
		document, situation := documents[n%len(documents)], situations[n/len(documents)].name
		service, _, _ := strings.Cut(document[1:], " ")
		want := all[0][n]
		if !strings.HasPrefix(want.result, "refused") {
			carried[service] = true
		}
		for i, way := range waysOfSending[1:] {
			got := all[i+1][n]
			byAction[service] = byAction[service] || got.action
			same := got.result == want.result && (way != "XML over HTTP" || got.status == all[1][n].status)
			if got.plain {
				same = strings.HasPrefix(want.result, "refused")
			}
			if !same || got.events != want.events || got.calls != want.calls {
				t.Errorf("%s, %s by %s: %d %s%s\n%s\nby CSTA-XML: %s%s\n%s", situation, document, way, got.status, got.result, got.events, got.calls, want.result, want.events, want.calls)
			}
		}
	}
	t.Logf("%d services, %d by an action, %d carried out", len(documents), len(byAction), len(carried))
	if len(carried) < 30 {
		t.Errorf("only %d services are carried out", len(carried))
	}
}
