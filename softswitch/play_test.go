package softswitch

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beevik/etree"

	"github.com/tr87proxy/tr87proxy/tests/schema"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

var update = flag.Bool("update", false, "write what the switch does into testdata/*.txt; read the difference before you believe it")

// everything is a switch with a device of every kind.
var everything = Config{
	Extensions: []Extension{
		{Number: "100", Outside: []string{"0", "8"}}, {Number: "101", Outside: []string{"0"}}, {Number: "102", Outside: []string{"0"}}, {Number: "103"}, {Number: "104", Phone: Behaviour{Busy: true}},
		{Number: "105", Kind: Virtual}, {Number: "106", Kind: Remote, Phone: Behaviour{Answer: 4 * time.Second}},
		{Number: "107", Kind: Analogue, Lines: 1, Phone: Behaviour{Answer: 2 * time.Second}}, {Number: "108", Kind: Digital}, {Number: "109", Kind: DECT}, {Number: "110", Kind: CAS, Phone: Behaviour{Answer: 4 * time.Second}},
	},
	HuntGroups: []HuntGroup{
		{Number: "200", Members: []string{"101", "102", "103"}, Rings: 2},
		{Number: "201", Members: []string{"101", "102", "103"}, Rings: 2, Order: Cyclic},
		{Number: "202", Members: []string{"101", "102", "103"}, Rings: 2, Order: Cascade},
	},
	Queues: []Queue{
		{Number: "300", Agents: []Agent{{"7001", ""}, {"7002", "secret"}}, WrapUp: 10 * time.Second},
		{Number: "301", MaxCalls: 1, WaitTime: time.Minute, Overflow: "103"},
		{Number: "302", MaxCalls: 1},
		{Number: "303", MaxCalls: 1, WaitTime: time.Minute, Overflow: "304"}, {Number: "304", MaxCalls: 1, Overflow: "303"},
	},
	Trunks: []Trunk{
		{Number: "900", Prefixes: []string{"0"}, Inward: map[string]string{"5550100": "100", "5550300": "300"}, Caller: "0555123", Lines: 2, Outside: Behaviour{Answer: 3 * time.Second}},
		{Number: "901", Prefixes: []string{"8"}, Outside: Behaviour{Busy: true}},
		{Number: "902", Prefixes: []string{"017", "8"}, Lines: 1, Outside: Behaviour{Answer: 3 * time.Second}},
	},
	ParkDevices:  []ParkDevice{{Number: "400"}},
	PickupGroups: []PickupGroup{{Number: "500", Members: []string{"101", "102", "103"}}},
	Routeing:     []RouteingDevice{{Number: "600", Default: "103"}},
}

// TestPlays plays the conversations of testdata/*.txt: after each request or wait,
// what the monitors see. The notation: "== name [monitored devices]" begins one;
// "> Request field=value ..." sends a request, "> wait 10s" lets time pass; the
// lines below it are what happens, the answer or refusal first. Lines that begin
// with a dot are requests whose events are of no interest. X100 is the connection
// of 100 in the first call, Y100 in the second; $reg, $route and $ref stand for
// the last registration, routeing dialogue and monitor.
func TestPlays(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		played := &strings.Builder{}
		var sent []*uacsta.Message
		preamble, rest, _ := strings.Cut(string(text), "\n== ")
		played.WriteString(preamble)
		for play := range strings.SplitSeq(rest, "\n== ") {
			head, body, _ := strings.Cut(play, "\n")
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+head, func(t *testing.T) {
				got := ""
				synctest.Test(t, func(t *testing.T) { got = playOne(t, head, body, &sent) })
				fmt.Fprintf(played, "\n== %s\n%s", head, got)
				if want := strings.TrimRight(body, "\n") + "\n"; got != want && !*update {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
		}
		validateAll(t, sent)
		if *update {
			if err := os.WriteFile(file, []byte(played.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// playOne plays a conversation and returns it with what happened.
func playOne(t *testing.T, head, body string, sent *[]*uacsta.Message) string {
	_, devices, _ := strings.Cut(strings.TrimSuffix(head, "]"), "[")
	p := &player{world: newWorldOf(t, everything, strings.Fields(devices)...), names: map[string]string{}}
	p.show = p.line
	p.sw.SetLibrary(shelf{})
	p.sw.Attach(voices{sw: p.sw})
	out := &strings.Builder{}
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#"):
			fmt.Fprintln(out, line)
		case strings.HasPrefix(line, "> "), strings.HasPrefix(line, ". "):
			fmt.Fprintln(out, line)
			p.events()
			p.step(line[2:])
			for _, happened := range p.events() {
				if line[0] == '>' && happened != "" {
					fmt.Fprintln(out, "  "+happened)
				}
			}
		}
	}
	*sent = append(*sent, p.raw...)
	p.finish()
	return out.String()
}

// shelf is a library of three messages. Their files are /messages/hello.wav and so on.
type shelf struct{}

func (shelf) Path(name string) string {
	name = strings.TrimPrefix(name, "/messages/")
	if name == "" || strings.ContainsAny(name, "/\n") {
		return ""
	}
	if filepath.Ext(name) == "" {
		name += ".wav"
	}
	return "/messages/" + name
}

func (l shelf) Has(name string) bool {
	return slices.Contains([]string{"/messages/hello.wav", "/messages/broken.wav", "/messages/vanished.wav"}, l.Path(name))
}

// voices plays messages of two seconds, or reports why it cannot.
type voices struct {
	Phones
	sw *Switch
}

func (p voices) Changed(c Change) {
	for _, v := range c.Voice {
		after, why := 2*time.Second, uacsta.CauseEndOfMessageDetected
		switch {
		case v.Stop || v.Digits != "":
			continue
		case v.Play == "/messages/broken.wav":
			after, why = time.Millisecond, uacsta.CauseBlocked
		case v.Play == "/messages/vanished.wav":
			after, why = time.Millisecond, uacsta.CauseResourcesNotAvailable
		case v.Record != "" && v.Limit == 0:
			continue
		case v.Limit > 0:
			after, why = v.Limit, uacsta.CauseMessageDurationExceeded
		}
		time.AfterFunc(after, func() { p.sw.Finished(v.Call, v.Message, why) })
	}
}

// validateAll checks messages against the schemas of both editions.
func validateAll(t *testing.T, messages []*uacsta.Message) {
	t.Helper()
	for _, edition := range []uacsta.Edition{uacsta.Edition3, uacsta.Edition6} {
		docs := map[string][]byte{}
		for i, m := range messages {
			m = m.Clone()
			if m.Convert(edition) && (edition == uacsta.Edition3 || m.Name() != "SnapshotCallResponse") {
				m.SetNamespace(edition.Namespace())
				docs[fmt.Sprint(i)] = m.Bytes()
			}
		}
		schema.Validate(t, int(edition), docs)
	}
}

type player struct {
	*world
	names map[string]string
}

func (p *player) step(line string) {
	words := strings.Fields(line)
	if words[0] == "wait" {
		wait, err := time.ParseDuration(words[1])
		if err != nil {
			p.t.Fatal(err)
		}
		time.Sleep(wait)
		synctest.Wait()
		return
	}
	root := &etree.Element{Tag: words[0]}
	root.CreateAttr("xmlns", uacsta.Edition6.Namespace())
	for _, word := range words[1:] {
		path, value, _ := strings.Cut(word, "=")
		p.put(root, path, value)
	}
	doc := etree.NewDocumentWithRoot(root)
	text, err := doc.WriteToBytes()
	if err != nil {
		p.t.Fatal(err)
	}
	req, err := uacsta.Parse(text)
	if err != nil {
		p.t.Fatalf("%s: %v", line, err)
	}
	p.sw.Request(req, func(m *uacsta.Message, err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case err != nil:
			p.seen = append(p.seen, "refused "+refusal(err))
		case m != nil:
			p.raw = append(p.raw, m)
			p.seen = append(p.seen, p.line(m))
			if req.Name() == "MonitorStart" {
				p.refs[m.CrossRef()] = "monitor" + fmt.Sprint(len(p.refs)+1)
			}
		}
	})
}

var connectionName = regexp.MustCompile(`^[XYZWV]\d*(-\d+)?$`)

// put sets what a path names; a connection is written X100, Y100 and so on, or X
// for the call alone.
func (p *player) put(root *etree.Element, path, value string) {
	e := root
	for name := range strings.SplitSeq(path, "/") {
		next := e.SelectElement(name)
		if next == nil || strings.HasSuffix(name, "callingDevice") && e.Tag == "callingDeviceList" || name == "device" && e.Tag == "newDestination" {
			next = e.CreateElement(name)
		}
		e = next
	}
	switch {
	case connectionName.MatchString(value):
		c := p.conn(value)
		e.CreateElement("callID").SetText(c.CallID)
		if c.DeviceID.ID != "" {
			device := e.CreateElement("deviceID")
			device.SetText(c.DeviceID.ID)
			if kind := c.DeviceID.Type(); kind != "" {
				device.CreateAttr("typeOfNumber", kind)
			}
		}
	case strings.HasPrefix(value, "$"):
		e.SetText(p.names[value])
	default:
		e.SetText(value)
	}
}

// random are the texts that differ each time, by element.
var random = map[string]string{
	"routeRegisterReqID": "$reg", "crossRefIdentifier": "$route", "monitorCrossRefID": "$ref", "serviceCrossRefID": "$list",
}

// uninteresting is what the lines of a play leave out.
var uninteresting = []string{"servicesPermitted", "networkCapability", "callID", "deviceID", "extensions"}

// line writes a message: whose monitor, the name, connections, then the rest.
func (p *player) line(m *uacsta.Message) string {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(m.Bytes()); err != nil {
		p.t.Fatal(err)
	}
	parts := []string{m.Name()}
	if m.Kind() == uacsta.Event {
		parts[0] = p.refs[m.CrossRef()] + ": " + strings.TrimSuffix(m.Name(), "Event")
	}
	var history []string // of diversions, oldest first
	for _, c := range m.Connections() {
		if name := p.call(c.CallID()) + plain(c.DeviceID()); !strings.Contains(c.Path(), "istory") && !slices.Contains(parts, name) {
			parts = append(parts, name)
		}
	}
	var walk func(*etree.Element)
	walk = func(e *etree.Element) {
		switch {
		case slices.Contains(uninteresting, e.Tag) || m.Kind() == uacsta.Event && slices.Contains([]string{"monitorCrossRefID", "callingDevice", "calledDevice"}, e.Tag):
			return
		case e.Tag == "oldDeviceID":
			history = append(history, e.SelectElement("numberDialed").Text())
			return
		case e.Tag == "DeviceHistoryListItem":
			walk(e.SelectElement("oldDeviceID"))
			return
		}
		if children := e.ChildElements(); len(children) > 0 {
			for _, c := range children {
				walk(c)
			}
			return
		}
		value := e.Text()
		if name := random[e.Tag]; name != "" {
			p.names[name], value = value, name
		}
		switch e.Tag {
		case "localConnectionInfo", "cause", "localConnectionState":
			parts = append(parts, value)
		case "deviceIdentifier", "notKnown", "notRequired", "numberDialed", "string":
			holder := e.Parent().Tag
			if holder == "endpoint" || value == "" || slices.Contains(parts[1:], "X"+value) {
				return
			}
			parts = append(parts, holder+"="+value)
		default:
			if value != "" {
				parts = append(parts, e.Tag+"="+value)
			}
		}
	}
	walk(doc.Root())
	if len(history) > 1 {
		parts = append(parts, "history="+strings.Join(history, ","))
	}
	return strings.Join(parts, " ")
}

// Every service and event that the switch says it has has a place in the capability lists.
func TestFeatureNames(t *testing.T) {
	sw, err := New(everything)
	if err != nil {
		t.Fatal(err)
	}
	sw.library, sw.phones = shelf{}, struct{ Phones }{}
	sw.devices["100"].physical = true
	f := sw.Features("100")
	told := f.Message(uacsta.Edition6).Features()
	for _, pair := range [][2][]string{{f.Services, told.Services}, {f.Events, told.Events}} {
		for _, name := range pair[0] {
			if !slices.Contains(pair[1], name) {
				t.Errorf("%s is in no capability list", name)
			}
		}
	}
	for _, name := range append(uacsta.Mandatory(), uacsta.NameRouteRequest, uacsta.NamePlayMessage, uacsta.NameSetSpeakerMute) {
		if !slices.Contains(f.Services, name) {
			t.Errorf("%s is not offered", name)
		}
	}
	for _, name := range []string{uacsta.NameStopEvent, uacsta.NameDtmfDetectedEvent, uacsta.NameSpeakerMuteEvent, uacsta.NameTransferedEvent} {
		if !slices.Contains(f.Events, name) {
			t.Errorf("%s is not offered", name)
		}
	}
}

// The switch answers GetCSTAFeatures itself, too.
func TestOwnFeatures(t *testing.T) {
	sw, err := New(everything)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := sw.Ask(uacsta.Encode(uacsta.GetCSTAFeatures{}, uacsta.Edition3))
	if err != nil || !slices.Contains(answer.Features().Services, uacsta.NameMakeCall) || slices.Contains(answer.Features().Services, uacsta.NamePlayMessage) {
		t.Errorf("%v %v", answer, err)
	}
}
