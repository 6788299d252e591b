package link

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/cstaxml"
)

// pbx is a foreign switching function: it speaks first, writes as it likes, and
// answers from a table.
type pbx struct {
	t       *testing.T
	l       net.Listener
	answers map[string]string // by the name of the request; "" is no answer

	mu      sync.Mutex
	conn    net.Conn
	got     []string      // frames: "0001 <...>"
	changed chan struct{} // holds a value when there is more in got
}

func newPBX(t *testing.T, answers map[string]string) *pbx {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pbx{t: t, l: l, answers: answers, changed: make(chan struct{}, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.serve(conn)
		}
	}()
	t.Cleanup(func() { p.hangUp(); _ = l.Close(); <-done })
	return p
}

func (p *pbx) serve(conn net.Conn) {
	p.mu.Lock()
	p.conn = conn
	p.mu.Unlock()
	p.say("0000", `<?xml version='1.0' encoding='ISO-8859-1'?><SystemStatus xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed4"><systemStatus>normal</systemStatus></SystemStatus>`)
	p.say("0001", `<SystemRegister xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed4"><requestTypes><systemStatus>true</systemStatus></requestTypes></SystemRegister>`)
	r := bufio.NewReader(conn)
	for {
		id, doc, err := cstaxml.ReadFrame(r, cstaxml.MaxFrame, func() {})
		if err != nil {
			_ = conn.Close()
			return
		}
		m, err := uacsta.Parse(doc)
		if err != nil {
			p.t.Errorf("%s: %v", doc, err)
			continue
		}
		p.mu.Lock()
		p.got = append(p.got, fmt.Sprintf("%04d %s", id, doc))
		answer := p.answers[m.Name()]
		p.mu.Unlock()
		select {
		case p.changed <- struct{}{}:
		default:
		}
		if answer != "" {
			p.say(fmt.Sprintf("%04d", id), answer)
		}
	}
}

func (p *pbx) say(id, document string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprint(p.conn, raw(id, document)) // it may have hung up
}

// raw is a frame as a foreign switching function writes it.
func raw(id, document string) string {
	var length [2]byte
	binary.BigEndian.PutUint16(length[:], uint16(8+len(document)))
	return "\x00\x00" + string(length[:]) + id + document
}

func (p *pbx) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		_ = p.conn.Close()
	}
}

func (p *pbx) heard(what string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(strings.Join(p.got, "\n"), what)
}

// await waits until the switching function has got something.
func (p *pbx) await(what string) {
	p.t.Helper()
	for end := time.After(patience); !p.heard(what); {
		select {
		case <-p.changed:
		case <-end:
			p.t.Fatalf("the PBX did not get %s", what)
		}
	}
}

// core is what the link tells.
type core struct {
	ready  chan struct{}
	events chan *uacsta.Message
}

func (c *core) Ready()                   { c.ready <- struct{}{} }
func (c *core) Event(ev *uacsta.Message) { c.events <- ev }

func (c *core) Request(req *uacsta.Message) error {
	if req.Name() == "WashDishes" {
		return uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
	}
	c.events <- req
	return nil
}

var patience = wait.Limit

// runLink runs a link to the addresses.
func runLink(t *testing.T, cfg Config) (*Link, *core, chan error, context.CancelFunc) {
	t.Helper()
	l := New(cfg)
	c := &core{ready: make(chan struct{}, 1), events: make(chan *uacsta.Message, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx, c) }()
	t.Cleanup(cancel)
	return l, c, ended, cancel
}

const status = `<RequestSystemStatusResponse><systemStatus>normal</systemStatus></RequestSystemStatusResponse>`

// A PBX that speaks first, refuses GetCSTAFeatures, writes its edition or none, and
// adds what only it knows: all of it arrives, and requests go out in its edition.
func TestForeignPBX(t *testing.T) {
	p := newPBX(t, map[string]string{
		"RequestSystemStatus": status,
		"GetCSTAFeatures":     `<CSTAErrorCode><operation>serviceNotSupported</operation></CSTAErrorCode>`,
		"MonitorStart":        `<MonitorStartResponse xmlns:aps="x"><monitorCrossRefID>1169730059</monitorCrossRefID></MonitorStartResponse>`,
		"DeflectCall":         `<DeflectCallResponse/>`,
	})
	l, c, ended, cancel := runLink(t, Config{Dialling: kind.Dialling{Addresses: []string{"127.0.0.1:1", p.l.Addr().String()}}, Edition: 4})
	wait.Next(t, c.ready, "the link")
	if m := wait.Next(t, c.events, "the status"); m.Name() != "SystemStatus" {
		t.Errorf("%s", m)
	}
	if f := l.Features(""); len(f.Services) == 0 {
		t.Error("nothing is possible")
	}
	answered := make(chan *uacsta.Message, 1)
	ask := func(req any) *uacsta.Message {
		l.Request(uacsta.Encode(req, uacsta.Edition6), func(m *uacsta.Message, err error) {
			if err != nil {
				t.Error(err)
			}
			answered <- m
		})
		return wait.Next(t, answered, "the answer")
	}
	device := uacsta.Dev("N<302118840101>;displayNumber=302118840101;noa=nk")
	if ref := ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}).CrossRef(); ref != "1169730059" {
		t.Error(ref)
	}
	ask(uacsta.DeflectCall{CallToBeDiverted: uacsta.Conn("1", "2"), NewDestination: []uacsta.DeviceID{uacsta.Dev("Jürgen")}})
	for _, want := range []string{
		`ecma-323/csta/ed4"><monitorObject><deviceObject>N&lt;302118840101&gt;;displayNumber=302118840101;noa=nk</deviceObject>`,
		`<newDestination>J&#252;rgen</newDestination>`, // plain before edition 6
		"0000 <?xml version=\"1.0\" encoding=\"UTF-8\"?><SystemStatusResponse", "<SystemRegisterResponse",
	} {
		if !p.heard(want) {
			t.Errorf("the PBX did not get %s", want)
		}
	}
	const event = `<csta:HeldEvent xmlns:csta="http://www.ecma-international.org/standards/ecma-323/csta/ed4"><csta:monitorCrossRefID>1169730059</csta:monitorCrossRefID><csta:extensions><csta:privateData><csta:private><sie:staticOndDN xmlns:sie="http://www.siemens.com/schema/csta" a="1"><!-- kept --><![CDATA[<x>]]></sie:staticOndDN></csta:private></csta:privateData></csta:extensions></csta:HeldEvent>`
	p.say("9999", event)
	want := strings.ReplaceAll(strings.ReplaceAll(event, "csta:", ""), "xmlns:csta", "xmlns")
	if got := wait.Next(t, c.events, "the event").String(); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	p.say("0007", "<WashDishes/>")
	p.say("0008", `<MonitorStop><monitorCrossRefID>1169730059</monitorCrossRefID></MonitorStop>`)
	if ev := wait.Next(t, c.events, "MonitorStop"); ev.Name() != "MonitorStop" {
		t.Errorf("%s", ev)
	}
	for _, want := range []string{"0007 <?xml version=\"1.0\" encoding=\"UTF-8\"?><CSTAErrorCode", "0008 <?xml version=\"1.0\" encoding=\"UTF-8\"?><MonitorStopResponse"} {
		p.await(want)
	}
	cancel()
	if err := wait.Next(t, ended, "the end"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A PBX that floods with documents that are none and with answers nobody waits for fills no log,
// and is not left for it.
func TestNoisyPBX(t *testing.T) {
	p := newPBX(t, map[string]string{"RequestSystemStatus": status, "GetCSTAFeatures": "<GetCSTAFeaturesResponse/>"})
	var log lockedBuilder
	_, c, ended, cancel := runLink(t, Config{Dialling: kind.Dialling{Addresses: []string{p.l.Addr().String()}, Log: slog.New(slog.NewTextHandler(&log, nil))}})
	wait.Next(t, c.ready, "the link")
	wait.Next(t, c.events, "the status")
	for range 1000 {
		p.say("0001", "<HoldCallResponse/>")
		p.say("0002", "<HeldEvent><monitorCrossRefID/><monitorCrossRefID/></HeldEvent>")
		p.say("0003", "<")
	}
	for until := time.Now().Add(10 * time.Second); !strings.Contains(log.String(), "suppressed="); { // the next line has the count of those before
		if time.Now().After(until) {
			t.Fatal("no line has a count")
		}
		p.say("0001", "<HoldCallResponse/>")
		p.say("9999", `<HeldEvent><monitorCrossRefID>1</monitorCrossRefID></HeldEvent>`)
		wait.Next(t, c.events, "the event behind them")
	}
	if text := log.String(); strings.Count(text, "\n") > 15 {
		t.Errorf("%d lines: %s", strings.Count(text, "\n"), text[:min(len(text), 2000)])
	}
	cancel()
	wait.Next(t, ended, "the end")
}

// lockedBuilder is a log.
type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuilder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// The link ends when the PBX hangs up, is silent, says that it is disabled, or is not
// there; requests then fail at once.
func TestLinkEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		answers map[string]string
		want    string
		hangUp  bool
	}{
		"no answer":   {map[string]string{}, gate.ErrTimeout.Error(), false},
		"disabled":    {map[string]string{"RequestSystemStatus": strings.Replace(status, "normal", "disabled", 1)}, "disabled", false},
		"hangs up":    {map[string]string{"RequestSystemStatus": status, "GetCSTAFeatures": "<GetCSTAFeaturesResponse/>"}, "", true},
		"refuses all": {map[string]string{"RequestSystemStatus": "<CSTAErrorCode><unspecified/></CSTAErrorCode>", "GetCSTAFeatures": "<CSTAErrorCode><unspecified/></CSTAErrorCode>"}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPBX(t, tt.answers)
			l, c, ended, _ := runLink(t, Config{Dialling: kind.Dialling{Addresses: []string{p.l.Addr().String()}, Conn: gate.Limits{Timeout: 300 * time.Millisecond}}})
			if tt.hangUp {
				wait.Next(t, c.ready, "the link")
				failed := make(chan error, 1)
				l.Request(uacsta.Encode(uacsta.MakeCall{}, uacsta.Edition3), func(_ *uacsta.Message, err error) { failed <- err })
				if err := wait.Next(t, failed, "the failure"); !errors.Is(err, proxy.Refusal(gate.ErrTimeout)) { // this PBX never answers it
					t.Error(err)
				}
				l.Request(uacsta.Encode(uacsta.MakeCall{}, uacsta.Edition3), func(_ *uacsta.Message, err error) { failed <- err })
				p.hangUp()
				if err := wait.Next(t, failed, "the failure"); !errors.Is(err, proxy.Refusal(gate.ErrClosed)) && !errors.Is(err, proxy.Refusal(gate.ErrTimeout)) {
					t.Error(err)
				}
			}
			if err := wait.Next(t, ended, "the end"); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Error(err)
			}
			l.Request(uacsta.Encode(uacsta.MakeCall{}, uacsta.Edition3), func(_ *uacsta.Message, err error) {
				if !errors.Is(err, proxy.Refusal(gate.ErrClosed)) {
					t.Error(err)
				}
			})
		})
	}
	_, _, ended, _ := runLink(t, Config{Dialling: kind.Dialling{Addresses: []string{"127.0.0.1:1", "127.0.0.1:2"}}})
	if err := wait.Next(t, ended, "the end"); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "127.0.0.1:2") {
		t.Error(err)
	}
}

// Requests of clients that wait for responses leave room for the heartbeat.
func TestHeartbeatAmongRequests(t *testing.T) {
	const most = 2
	p := newPBX(t, map[string]string{"RequestSystemStatus": status, "GetCSTAFeatures": refused})
	l, c, ended, _ := runLink(t, Config{Dialling: kind.Dialling{Addresses: []string{p.l.Addr().String()}, Heartbeat: 50 * time.Millisecond, Conn: gate.Limits{Timeout: time.Minute, MaxOutstanding: most}}})
	wait.Next(t, c.ready, "the link")
	replies := make(chan error, most+1)
	for range most + 1 {
		l.Request(uacsta.Encode(uacsta.MakeCall{}, uacsta.Edition3), func(_ *uacsta.Message, err error) { replies <- err })
	}
	if err := wait.Next(t, replies, "the refusal"); !errors.Is(err, proxy.Refusal(gate.ErrTooManyWaiting)) {
		t.Error(err)
	}
	p.mu.Lock()
	p.got = nil
	p.mu.Unlock()
	p.await("<RequestSystemStatus")
	if len(ended)+len(replies) > 0 {
		t.Errorf("the link has ended: %d, replies: %d", len(ended), len(replies))
	}
}

// A PBX that falls silent is left at the next heartbeat.
func TestHeartbeat(t *testing.T) {
	p := newPBX(t, map[string]string{"RequestSystemStatus": status, "GetCSTAFeatures": "<GetCSTAFeaturesResponse/>"})
	_, c, ended, _ := runLink(t, Config{Dialling: kind.Dialling{Addresses: []string{p.l.Addr().String()}, Heartbeat: 50 * time.Millisecond, Conn: gate.Limits{Timeout: 300 * time.Millisecond}}})
	wait.Next(t, c.ready, "the link")
	p.mu.Lock()
	p.answers = nil
	p.mu.Unlock()
	if err := wait.Next(t, ended, "the end"); !errors.Is(err, gate.ErrTimeout) {
		t.Error(err)
	}
}

// speak starts a link in a dialect and returns what the switching function heard.
func speak(t *testing.T, name string, answers map[string]string, session Session, requests ...any) (p *pbx, c *core, got []*uacsta.Message) {
	t.Helper()
	p = newPBX(t, answers)
	dialect, known := DialectOf(name)
	if !known {
		t.Fatal(name)
	}
	l, c, _, _ := runLink(t, Config{Dialling: kind.Dialling{Addresses: []string{p.l.Addr().String()}}, Dialect: dialect, Session: session})
	wait.Next(t, c.ready, "the link")
	wait.Next(t, c.events, "the status")
	answered := make(chan *uacsta.Message, 1)
	for _, req := range requests {
		l.Request(uacsta.Encode(req, uacsta.Edition6), func(m *uacsta.Message, err error) {
			if err != nil {
				t.Errorf("%T: %v", req, err)
			}
			answered <- m
		})
		got = append(got, wait.Next(t, answered, "the answer"))
	}
	return p, c, got
}

const (
	granted = `<StartApplicationSessionPosResponse xmlns:aps="x"><sessionID>009968951</sessionID><actualProtocolVersion>x</actualProtocolVersion><actualSessionDuration>1</actualSessionDuration></StartApplicationSessionPosResponse>`
	started = `<MonitorStartResponse><monitorCrossRefID>7</monitorCrossRefID></MonitorStartResponse>`
	refused = `<CSTAErrorCode><operation>serviceNotSupported</operation></CSTAErrorCode>`
)

func watch(number string) uacsta.MonitorStart {
	device := uacsta.Dev(number)
	return uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}
}

// Avaya's dialect: the session first, then identifiers instead of numbers, which nobody
// behind the link sees, and monitors of calls.
func TestDMCC(t *testing.T) {
	const id = "2001:CM1:10.0.0.1:0"
	p, c, got := speak(t, "dmcc", map[string]string{
		"StartApplicationSession": granted, "ResetApplicationSessionTimer": `<ResetApplicationSessionTimerPosResponse><actualSessionDuration>1</actualSessionDuration></ResetApplicationSessionTimerPosResponse>`,
		"RequestSystemStatus": refused, "GetCSTAFeatures": refused, "MonitorStart": started,
		"GetDeviceId": `<GetDeviceIdResponse xmlns="http://www.avaya.com/csta"><device typeOfNumber="other" mediaClass="notKnown">` + id + `</device></GetDeviceIdResponse>`,
		"MakeCall":    `<MakeCallResponse><callingDevice><callID>1</callID><deviceID>` + id + `</deviceID></callingDevice></MakeCallResponse>`,
	}, Session{Login: uacsta.Login{User: "u", Password: "p"}, Switch: "CM1"}, watch("2001"), uacsta.MakeCall{CallingDevice: uacsta.Dev("2001"), CalledDirectoryNumber: uacsta.Dev("2002")})
	if device := got[1].Text("callingDevice/deviceID"); device != "2001" {
		t.Error(device)
	}
	for _, want := range []string{
		`<protocolVersion>http://www.ecma-international.org/standards/ecma-323/csta/ed3/priv5</protocolVersion>`,
		`<SessionLoginInfo xmlns="http://www.avaya.com/csta"><userName>u</userName><password>p</password>`,
		`<GetDeviceId xmlns="http://www.avaya.com/csta"><switchName>CM1</switchName><extension>2001</extension></GetDeviceId>`,
		`<monitorObject><deviceObject typeOfNumber="other">` + id + `</deviceObject></monitorObject><monitorType>call</monitorType>`,
		`<callingDevice typeOfNumber="other">` + id + `</callingDevice><calledDirectoryNumber>2002</calledDirectoryNumber>`,
	} {
		if !p.heard(want) {
			t.Errorf("the PBX did not get %s in\n%s", want, strings.Join(p.got, "\n"))
		}
	}
	p.say("9999", `<HeldEvent><monitorCrossRefID>7</monitorCrossRefID><heldConnection><callID>1</callID><deviceID>`+id+`</deviceID></heldConnection></HeldEvent>`)
	if ev := wait.Next(t, c.events, "the event"); ev.Text("heldConnection/deviceID") != "2001" {
		t.Errorf("%s", ev)
	}
	p.await("<ResetApplicationSessionTimer") // after a third of a second
}

// OpenScape's dialect: the status is asked for, numbers have a type and come in brackets.
func TestOpenScape(t *testing.T) {
	p, c, _ := speak(t, "openscape", map[string]string{
		"RequestSystemStatus": status, "GetCSTAFeatures": refused, "MonitorStart": started, "StartApplicationSession": granted,
		"SystemRegister": `<SystemRegisterResponse><sysStatRegisterID>27ss</sysStatRegisterID></SystemRegisterResponse>`,
		"MakeCall":       `<MakeCallResponse><callingDevice><callID>1</callID><deviceID>100</deviceID></callingDevice></MakeCallResponse>`,
	}, Session{}, watch("302118840101"), uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("101")})
	for _, want := range []string{
		`<requestTypes><systemStatus>true</systemStatus>`, `csta/ed4"><monitorObject><deviceObject typeOfNumber="dialingNumber">302118840101<`,
		`<callingDevice typeOfNumber="explicitPublic:subscriber">100<`,
	} {
		if !p.heard(want) {
			t.Errorf("the PBX did not get %s in\n%s", want, strings.Join(p.got, "\n"))
		}
	}
	if p.heard("<StartApplicationSession") {
		t.Error("a session that nobody wants")
	}
	p.say("9999", `<HeldEvent><monitorCrossRefID>7</monitorCrossRefID><holdingDevice><deviceIdentifier>N&lt;302118840101&gt;;displayNumber=302118840101;noa=nk</deviceIdentifier></holdingDevice></HeldEvent>`)
	if ev := wait.Next(t, c.events, "the event"); ev.Text("holdingDevice/deviceIdentifier") != "302118840101" {
		t.Errorf("%s", ev)
	}
}

// FreeSWITCH's dialect: trunks and queues are told from telephones, whatever their names are. The core gets a device as it
// names it: to the core, a device number is another device than a number with the same digits.
func TestFreeSWITCHModule(t *testing.T) {
	typed := uacsta.Typed("029600", "deviceNumber")
	p, c, _ := speak(t, "freeswitch", map[string]string{
		"RequestSystemStatus": status, "GetCSTAFeatures": refused, "MonitorStart": started, "SetDoNotDisturb": `<SetDoNotDisturbResponse/>`,
	}, Session{}, watch("1000"), watch("02sales"), watch("029500"), watch("0120"), uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &typed}},
		uacsta.SetDoNotDisturb{Device: uacsta.Dev("1000"), CallingDeviceList: []uacsta.DeviceID{uacsta.Dev("029600"), uacsta.Typed("029500", "deviceNumber")}}) // which changes nothing for monitors
	for _, want := range []string{
		`typeOfNumber="dialingNumber">1000<`, `typeOfNumber="deviceNumber">02sales<`, `typeOfNumber="deviceNumber">029500<`, `typeOfNumber="deviceNumber">0120<`,
		`typeOfNumber="deviceNumber">029600<`,
	} {
		if !p.heard(want) {
			t.Errorf("the PBX did not get %s", want)
		}
	}
	p.say("9999", `<QueuedEvent><monitorCrossRefID>7</monitorCrossRefID><queuedConnection><callID>1</callID><deviceID typeOfNumber="deviceNumber">029500</deviceID></queuedConnection>`+
		`<queue><deviceIdentifier typeOfNumber="deviceNumber">029600</deviceIdentifier></queue><callingDevice><deviceIdentifier typeOfNumber="deviceNumber">77</deviceIdentifier></callingDevice>`+
		`<calledDevice><deviceIdentifier typeOfNumber="dialingNumber">1000</deviceIdentifier></calledDevice></QueuedEvent>`)
	var told []string
	for _, d := range wait.Next(t, c.events, "the event").Devices() {
		told = append(told, d.Type()+":"+d.ID())
	}
	if got := strings.Join(told, " "); got != ":029500 deviceNumber:029600 deviceNumber:77 :1000" {
		t.Error(got)
	}
}

// A login that is refused, and a session that is ended, end the link; who knows no
// sessions is served without, but not where a login was wanted.
func TestSessionOfLink(t *testing.T) {
	login := Session{Login: uacsta.Login{User: "u", Password: "s3cret"}}
	for name, tt := range map[string]struct {
		answer  string
		session Session
		want    string
	}{
		"wrong":   {`<StartApplicationSessionNegResponse><errorCode><definedError>invalidApplicationInfo</definedError></errorCode></StartApplicationSessionNegResponse>`, login, "invalidApplicationInfo"},
		"unknown": {refused, login, "serviceNotSupported"},
		"other":   {`<MakeCallResponse/>`, login, "MakeCallResponse"},
		"ended":   {granted, login, "sessionTimerExpired"},
		"none":    {refused, Session{Application: "x"}, "hung up"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPBX(t, map[string]string{"RequestSystemStatus": status, "GetCSTAFeatures": refused, "StartApplicationSession": tt.answer})
			_, c, ended, _ := runLink(t, Config{Dialling: kind.Dialling{Addresses: []string{p.l.Addr().String()}}, Session: tt.session})
			switch name {
			case "ended":
				wait.Next(t, c.ready, "the link")
				p.say("0300", `<ApplicationSessionTerminated><sessionID>009968951</sessionID><sessionTermReason><definedTermReason>sessionTimerExpired</definedTermReason></sessionTermReason></ApplicationSessionTerminated>`)
			case "none":
				wait.Next(t, c.ready, "the link")
				p.hangUp()
				tt.want = ""
			}
			if err := wait.Next(t, ended, "the end"); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
				t.Error(err)
			}
		})
	}
}
