package freeswitch

import (
	"context"
	options "flag"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/tests/recordings"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

var patience = wait.Limit

// core is what the link tells, by the device that it tells it of.
type core struct {
	ready   chan struct{}
	once    sync.Once
	mu      sync.Mutex
	watched map[string]string // cross reference -> device
	told    map[string][]string
	longest int // event, in octets
	changed chan struct{}
}

func (c *core) Ready()                        { c.once.Do(func() { close(c.ready) }) }
func (c *core) Request(*uacsta.Message) error { return nil }
func (c *core) Event(ev *uacsta.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	device := c.watched[ev.CrossRef()]
	c.longest = max(c.longest, len(ev.Bytes()))
	line := strings.TrimSuffix(ev.Name(), "Event")
	if list := ev.Connections(); len(list) > 0 {
		line += " " + list[0].DeviceID()
	}
	line += " " + ev.Text("localConnectionInfo") + " " + ev.Text("cause") + ev.Text("dtmfChar")
	c.told[device] = append(c.told[device], strings.TrimSpace(line))
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// player is a link to a FreeSWITCH that plays a recording.
type player struct {
	*recordings.Player
	t    *testing.T
	link *Link
	core *core
	due  string // the command of the recording
}

// on returns the connection of a device in a state, with another device where one is named, once
// there is one: events may be on their way. Of several it is that of the call that is meant in
// the recording.
func (p *player) on(device string, state uacsta.LocalConnectionState, with ...string) uacsta.ConnectionID {
	deadline := time.After(patience)
	for {
		var calls uacsta.SnapshotDeviceResponse
		p.get(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}, &calls)
		var fit []uacsta.ConnectionID
		for _, info := range calls.CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo {
			var call uacsta.SnapshotCallResponse
			p.get(uacsta.SnapshotCall{SnapshotObject: info.ConnectionIdentifier}, &call)
			states := map[string]uacsta.LocalConnectionState{}
			for _, party := range call.CrossRefIDorSnapshotData.SnapshotData.SnapshotCallResponseInfo {
				states[party.DeviceOnCall.Device.ID] = party.LocalConnectionInfo
			}
			ringing := state == uacsta.Connected && slices.Contains(slices.Collect(maps.Values(states)), uacsta.Alerting)
			absent := slices.ContainsFunc(with, func(other string) bool { return states[other] != uacsta.Connected })
			if states[device] == state && !ringing && !absent {
				fit = append(fit, info.ConnectionIdentifier)
			}
		}
		for _, own := range fit {
			if len(fit) == 1 || strings.Contains(p.due, own.CallID) {
				return own
			}
		}
		select {
		case <-p.core.changed:
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			p.t.Fatalf("%s has no call that is %s", device, state)
		}
	}
}

// get asks for something that there must be.
func (p *player) get(service, res any) {
	m, err := p.ask(service)
	if err == nil {
		err = m.Decode(res)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *player) ask(service any) (*uacsta.Message, error) {
	return p.send(uacsta.Encode(service, uacsta.Edition6))
}

func (p *player) send(req *uacsta.Message) (*uacsta.Message, error) {
	type answer struct {
		m   *uacsta.Message
		err error
	}
	answered := make(chan answer, 1)
	p.link.Request(req, func(m *uacsta.Message, err error) { answered <- answer{m, err} })
	select {
	case a := <-answered:
		return a.m, a.err
	case <-time.After(patience):
		p.t.Fatalf("no answer to %s", req.Name())
		return nil, nil
	}
}

// tells waits for as many events of a device as wanted, and compares them.
func (p *player) tells(device string, want []string) {
	p.t.Helper()
	if got := p.heard(device, len(want)); !slices.Equal(got, want) {
		p.t.Errorf("%s is told\n%s\nwant\n%s", device, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// heard waits for n events of a device and returns them, or those that arrived by the deadline.
func (p *player) heard(device string, count int) []string {
	deadline := time.After(patience)
	for {
		p.core.mu.Lock()
		got := slices.Clone(p.core.told[device])
		p.core.mu.Unlock()
		if len(got) >= count {
			return got
		}
		select {
		case <-p.core.changed:
		case <-deadline:
			return got
		}
	}
}

func newPlayer(t *testing.T, name string, foreign bool, devices ...string) *player {
	t.Helper()
	return control(t, recordings.Play(t, name, foreign), devices...)
}

// control has a link to a player, and monitors of devices.
func control(t *testing.T, played *recordings.Player, devices ...string) *player {
	t.Helper()
	played.Database["csta_forward_immediate/1004"] = "1003"
	link, err := NewLink(LinkConfig{
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Password: recordings.Password, Domain: "pbx.test", ParkLot: "lot1", TrunkPrefix: "01", Heartbeat: time.Hour, // no one answers
		Queues:   func(number string) bool { return number == "9500" },
		Messages: map[string]string{"tone": "tone_stream://%(1000,0,440)", "long": "tone_stream://%(20000,0,440)", "greeting": "/var/rec/r2.wav"}, Recordings: "/var/rec",
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &player{Player: played, t: t, link: link, core: &core{
		ready: make(chan struct{}), watched: map[string]string{}, told: map[string][]string{}, changed: make(chan struct{}, 1),
	}}
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		for ctx.Err() == nil { // it comes again when it is lost
			if err := link.serve(ctx, played.Connect(), p.core); ctx.Err() == nil {
				t.Logf("the link ends: %v", err)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	select {
	case <-p.core.ready:
	case <-time.After(patience):
		t.Fatal("the link is not up")
	}
	for _, device := range devices {
		object := uacsta.Dev(device)
		m, err := p.ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}})
		if err != nil {
			t.Fatal(err)
		}
		p.core.mu.Lock()
		p.core.watched[m.CrossRef()] = device
		p.core.mu.Unlock()
	}
	p.Begin()
	return p
}

// synctests is a part of a test in which time passes only where it is waited for.
func synctests(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// plays is the service that plays a message to 1001.
func plays(message string) func(*player) any {
	return func(p *player) any {
		return uacsta.PlayMessage{MessageToBePlayed: message, OverConnection: p.on("1001", uacsta.Connected)}
	}
}

// records is the service that records 1001, for so many milliseconds; 0: until it is stopped.
func records(duration int) func(*player) any {
	return func(p *player) any {
		s := uacsta.RecordMessage{CallToBeRecorded: p.on("1001", uacsta.Connected)}
		if duration > 0 {
			s.MaxDuration = &duration
		}
		return s
	}
}

// more is a command that belongs to the service before.
func more(*player) any { return nil }

// consultation is what 1001 hears when it calls 1002, and consults 1003.
const consultation = `ServiceInitiated 1001 initiated normal
Originated 1001 connected newCall
Delivered 1002 connected newCall
Established 1002 connected newCall
Held 1001 hold consultation
ServiceInitiated 1001 initiated consultation
Originated 1001 connected newCall
Delivered 1003 connected newCall
Established 1003 connected newCall`

// consults is the service by which 1001, which talks with 1002, consults.
func consults(number string) func(*player) any {
	return func(p *player) any {
		return uacsta.ConsultationCall{ExistingCall: p.on("1001", uacsta.Connected, "1002"), ConsultedDevice: uacsta.Dev(number)}
	}
}

// retrieves is the service by which 1001 retrieves its only call.
func retrieves(p *player) any {
	return uacsta.RetrieveCall{CallToBeRetrieved: p.on("1001", uacsta.Hold)}
}

// basicCall is the events of 1001 calling 1002, with hold.
var basicCall = map[string]string{
	"1001": `ServiceInitiated 1001 initiated normal
Originated 1001 connected newCall
Delivered 1002 connected newCall
Established 1002 connected newCall
Held 1001 hold normal
Retrieved 1001 connected normal
DtmfDetected 1002  dTMFDigitDetected5
ConnectionCleared 1001 null normalClearing`,
	"1002": `Delivered 1002 alerting newCall
Established 1002 connected newCall
Held 1001 connected normal
Retrieved 1001 connected normal
DtmfDetected 1002  dTMFDigitDetected5
ConnectionCleared 1001 connected normalClearing
ConnectionCleared 1002 null normalClearing`,
}

// situation is a recording, the services that are requested in it, and what the monitors of devices are told.
type situation struct {
	name    string
	do      []func(p *player) any // the services, in the order of the recording's commands
	want    map[string]string
	foreign bool
}

// basics are recordings of parts of calls; [recorded] has others.
var basics = []situation{
	{
		"basic-call", nil, basicCall, false,
	},
	{
		"basic-call-every-event", nil, basicCall, false, // also those that the link does not ask for
	},
	{
		"make-call", []func(*player) any{
			func(*player) any {
				return uacsta.MakeCall{CallingDevice: uacsta.Dev("1001"), CalledDirectoryNumber: uacsta.Dev("1002")}
			},
			func(p *player) any {
				return uacsta.ClearConnection{ConnectionToBeCleared: p.on("1001", uacsta.Connected)}
			},
		}, map[string]string{
			"1001": `ServiceInitiated 1001 initiated makeCall
Originated 1001 connected newCall
Delivered 1002 connected newCall
Established 1002 connected newCall
ConnectionCleared 1001 null normalClearing`,
			"1002": `Delivered 1002 alerting newCall
Established 1002 connected newCall
ConnectionCleared 1001 connected normalClearing
ConnectionCleared 1002 null normalClearing`,
		}, false,
	},
	{
		"hold-retrieve", []func(*player) any{
			func(p *player) any { return uacsta.HoldCall{CallToBeHeld: p.on("1001", uacsta.Connected)} },
			func(p *player) any { return uacsta.RetrieveCall{CallToBeRetrieved: p.on("1001", uacsta.Hold)} },
			func(p *player) any { return uacsta.HoldCall{CallToBeHeld: p.on("1002", uacsta.Connected)} },
			func(p *player) any { return uacsta.RetrieveCall{CallToBeRetrieved: p.on("1002", uacsta.Hold)} },
		}, map[string]string{
			"1001": "Held 1001 hold normal\nRetrieved 1001 connected normal\nHeld 1002 connected normal\nRetrieved 1002 connected normal",
			"1002": "Held 1001 connected normal\nRetrieved 1001 connected normal\nHeld 1002 hold normal\nRetrieved 1002 connected normal",
		}, false,
	},
	{
		"callee-hangs-up", nil, map[string]string{
			"1001": `ServiceInitiated 1001 initiated normal
Originated 1001 connected newCall
Delivered 1002 connected newCall
Established 1002 connected newCall
ConnectionCleared 1002 connected normalClearing
ConnectionCleared 1001 null normalClearing`,
		}, false,
	},
	{
		"dtmf", []func(*player) any{
			func(p *player) any {
				return uacsta.GenerateDigits{ConnectionToSendDigits: p.on("1001", uacsta.Connected), CharactersToSend: "34"}
			},
		}, map[string]string{"1001": "DtmfDetected 1001  dTMFDigitDetected3\nDtmfDetected 1001  dTMFDigitDetected4\nDtmfDetected 1001  dTMFDigitDetected7"}, false,
	},
	{
		"deflect", []func(*player) any{
			func(p *player) any {
				return uacsta.DeflectCall{CallToBeDiverted: p.on("1002", uacsta.Alerting), NewDestination: []uacsta.DeviceID{uacsta.Dev("1003")}}
			},
		}, map[string]string{
			"1001": "Diverted 1002 connected redirected\nDelivered 1003 connected redirected\nEstablished 1003 connected redirected",
			"1002": "Diverted 1002 null redirected",
			"1003": "Delivered 1003 alerting redirected\nEstablished 1003 connected redirected",
		}, false,
	},
	{
		"single-step-transfer", []func(*player) any{
			func(p *player) any {
				return uacsta.SingleStepTransferCall{ActiveCall: p.on("1002", uacsta.Connected), TransferredTo: uacsta.Dev("1003")}
			},
			func(p *player) any {
				return uacsta.SingleStepTransferCall{ActiveCall: p.on("1001", uacsta.Connected), TransferredTo: uacsta.Dev("1003")}
			},
		}, map[string]string{
			"1003": "Delivered 1003 alerting redirected\nEstablished 1003 connected redirected\nDelivered 1003 alerting redirected\nEstablished 1003 connected redirected",
		}, false,
	},
	{
		"consult-alternate-transfer", []func(*player) any{
			consults("1003"),
			func(p *player) any {
				return uacsta.AlternateCall{ActiveCall: p.on("1001", uacsta.Connected, "1003"), HeldCall: p.on("1001", uacsta.Hold)}
			},
			func(p *player) any {
				return uacsta.AlternateCall{ActiveCall: p.on("1001", uacsta.Connected, "1002"), HeldCall: p.on("1001", uacsta.Hold)}
			},
			func(p *player) any {
				return uacsta.TransferCall{ActiveCall: p.on("1001", uacsta.Connected, "1003"), HeldCall: p.on("1001", uacsta.Hold)}
			},
			more,
		}, map[string]string{
			"1001": consultation + `
Held 1001 hold alternate
Retrieved 1001 connected alternate
Held 1001 hold alternate
Retrieved 1001 connected alternate
Transfered 1001 null transfer`,
			"1002": `Delivered 1002 alerting newCall
Established 1002 connected newCall
Held 1001 connected consultation
Retrieved 1001 connected alternate
Held 1001 connected alternate
Transfered 1001 connected transfer
ConnectionCleared 1002 null normalClearing`,
			"1003": `Delivered 1003 alerting newCall
Established 1003 connected newCall
Held 1001 connected alternate
Retrieved 1001 connected alternate
Transfered 1001 connected transfer
ConnectionCleared 1002 connected normalClearing
ConnectionCleared 1003 null normalClearing`,
		}, false,
	},
	{
		"consult-reconnect", []func(*player) any{
			consults("1003"),
			func(p *player) any {
				return uacsta.ReconnectCall{ActiveCall: p.on("1001", uacsta.Connected, "1003"), HeldCall: p.on("1001", uacsta.Hold)}
			},
		}, map[string]string{
			"1001": consultation + `
ConnectionCleared 1001 null normalClearing
Retrieved 1001 connected normal
ConnectionCleared 1001 null normalClearing`,
			"1003": `Delivered 1003 alerting newCall
Established 1003 connected newCall
ConnectionCleared 1001 connected normalClearing
ConnectionCleared 1003 null normalClearing`,
		}, false,
	},
	{
		"consult-conference", []func(*player) any{
			consults("1003"),
			func(p *player) any {
				return uacsta.ConferenceCall{ActiveCall: p.on("1001", uacsta.Connected, "1003"), HeldCall: p.on("1001", uacsta.Hold)}
			},
			more, more,
		}, map[string]string{
			"1001": consultation + `
Conferenced 1001 connected conference
ConnectionCleared 1001 null normalClearing`,
			"1003": `Delivered 1003 alerting newCall
Established 1003 connected newCall
Conferenced 1001 connected conference
ConnectionCleared 1001 connected normalClearing
ConnectionCleared 1002 connected normalClearing
ConnectionCleared 1003 null normalClearing`,
		}, false,
	},
	{
		"consult-ends", []func(*player) any{
			consults("1003"), retrieves,
			consults("71003"), retrieves,
			consults("999999"), retrieves,
			consults("1003"),
			func(p *player) any {
				return uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(p.on("1003", uacsta.Alerting).CallID, "1001")}
			},
			retrieves,
			consults("771"), more, more,
		}, map[string]string{
			"1001": consultation + `
ConnectionCleared 1003 connected normalClearing
ConnectionCleared 1001 null normalClearing
Retrieved 1001 connected normal
Held 1001 hold consultation
ServiceInitiated 1001 initiated consultation
Originated 1001 connected newCall
Delivered 1003 connected newCall
Failed 1003 connected busy
ConnectionCleared 1003 connected busy
ConnectionCleared 1001 null normalClearing
Retrieved 1001 connected normal
Held 1001 hold consultation
ServiceInitiated 1001 initiated consultation
Originated 1001 connected newCall
Failed 999999 connected destNotObtainable
ConnectionCleared 1001 null normalClearing
Retrieved 1001 connected normal
Held 1001 hold consultation
ServiceInitiated 1001 initiated consultation
Originated 1001 connected newCall
Delivered 1003 connected newCall
ConnectionCleared 1001 null normalClearing
Retrieved 1001 connected normal
Held 1001 hold consultation
ServiceInitiated 1001 initiated consultation
Originated 1001 connected newCall
Failed 771 connected busy
ConnectionCleared 1001 null busy
ConnectionCleared 1001 null busy
Delivered 1001 alerting recall
Established 1001 connected recall
ConnectionCleared 1002 connected normalClearing
ConnectionCleared 1001 null normalClearing`,
		}, false,
	},
	{
		"consult-second-leg-transfer", []func(*player) any{
			func(p *player) any { return uacsta.HoldCall{CallToBeHeld: p.on("1001", uacsta.Connected, "1002")} },
			func(p *player) any {
				p.on("1001", uacsta.Hold)
				return uacsta.MakeCall{CallingDevice: uacsta.Dev("1001"), CalledDirectoryNumber: uacsta.Dev("1003")}
			},
			func(p *player) any {
				return uacsta.TransferCall{ActiveCall: p.on("1001", uacsta.Connected, "1003"), HeldCall: p.on("1001", uacsta.Hold)}
			},
			more,
		}, map[string]string{
			"1001": `ServiceInitiated 1001 initiated normal
Originated 1001 connected newCall
Delivered 1002 connected newCall
Established 1002 connected newCall
Held 1001 hold normal
ServiceInitiated 1001 initiated makeCall
Originated 1001 connected newCall
Delivered 1003 connected newCall
Established 1003 connected newCall
Transfered 1001 null transfer`,
			"1002": `Delivered 1002 alerting newCall
Established 1002 connected newCall
Held 1001 connected normal
Transfered 1001 connected transfer
ConnectionCleared 1002 null normalClearing`,
		}, false,
	},
	{
		"failures", nil, map[string]string{
			"1001": `ServiceInitiated 1001 initiated normal
Originated 1001 connected newCall
Delivered 1002 connected newCall
Failed 1002 connected busy
ConnectionCleared 1002 connected busy
ConnectionCleared 1001 null busy
ServiceInitiated 1001 initiated normal
Originated 1001 connected newCall
Delivered 1002 connected newCall
ConnectionCleared 1001 null callCancelled
ServiceInitiated 1001 initiated normal
Originated 1001 connected newCall
Failed 1004 connected destOutOfOrder
ConnectionCleared 1001 null destOutOfOrder
ServiceInitiated 1001 initiated normal
Originated 1001 connected newCall
Failed 7777 connected destNotObtainable
ConnectionCleared 1001 null destNotObtainable
ServiceInitiated 1001 initiated normal
Originated 1001 connected newCall
Failed 1099 connected destNotObtainable
ConnectionCleared 1001 null destNotObtainable
Failed 1002 connected busy
ConnectionCleared 1002 connected busy
ConnectionCleared 1001 null busy`,
		}, true,
	},
	{
		"trunk-out-in", nil, map[string]string{
			"1001": `ServiceInitiated 1001 initiated normal
Originated 1001 connected newCall
NetworkReached 5551234 connected newCall
Delivered 5551234 connected newCall
Established 5551234 connected newCall
ConnectionCleared 1001 null normalClearing`,
			"1002": `Delivered 1002 alerting newCall
Established 1002 connected newCall
ConnectionCleared sipp connected normalClearing
ConnectionCleared 1002 null normalClearing`,
		}, false,
	},
	{
		"phone-blind-refer", nil, map[string]string{
			"1001": "Transfered 1001 null singleStepTransfer",
			"1002": "Transfered 1001 connected singleStepTransfer\nDelivered 1003 connected redirected\nEstablished 1003 connected redirected",
			"1003": "Delivered 1003 alerting redirected\nEstablished 1003 connected redirected",
		}, false,
	},
	{
		"phone-attended-refer", nil, map[string]string{
			"1001": `ServiceInitiated 1001 initiated normal
Originated 1001 connected newCall
Delivered 1002 connected newCall
Established 1002 connected newCall
Held 1001 hold normal
ServiceInitiated 1001 initiated normal
Originated 1001 connected newCall
Delivered 1003 connected newCall
Established 1003 connected newCall
Transfered 1001 null transfer`,
			"1002": `Delivered 1002 alerting newCall
Established 1002 connected newCall
Held 1001 connected normal
Transfered 1001 connected transfer
ConnectionCleared 1002 null normalClearing`,
			"1003": `Delivered 1003 alerting newCall
Established 1003 connected newCall
Transfered 1001 connected transfer
ConnectionCleared 1002 connected normalClearing
ConnectionCleared 1003 null normalClearing`,
		}, false,
	},
	{
		"queue-callcenter", nil, map[string]string{
			"1001": `ServiceInitiated 1001 initiated normal
Originated 1001 connected newCall
Queued 9700 connected enteringDistribution
Diverted 9700 connected distributed
Delivered 1002 connected distributed
Established 1002 connected distributed
ConnectionCleared 1002 connected normalClearing
ConnectionCleared 1001 null normalClearing`,
			"1002": `Delivered 1002 alerting distributed
Established 1002 connected distributed
ConnectionCleared 1002 null normalClearing`,
			"9700": "Queued 9700 queued enteringDistribution\nDiverted 9700 null distributed",
		}, true,
	},
	{
		"queue-fifo", nil, map[string]string{
			"1001": `ServiceInitiated 1001 initiated normal
Originated 1001 connected newCall
Queued 9600 connected enteringDistribution
Diverted 9600 connected distributed
Established 1002 connected distributed
ConnectionCleared 1002 connected normalClearing
ConnectionCleared 1001 null normalClearing`,
			"1002": `Delivered 1002 alerting newCall
Established 1002 connected newCall
ConnectionCleared 1002 null distributed
Established 1002 connected distributed
ConnectionCleared 1002 null normalClearing`,
			"9600": "Queued 9600 queued enteringDistribution\nDiverted 9600 null distributed",
		}, true,
	},
	{
		"queue-parked", []func(*player) any{
			func(p *player) any {
				return uacsta.DeflectCall{CallToBeDiverted: p.on("9500", uacsta.Queued), NewDestination: []uacsta.DeviceID{uacsta.Dev("1002")}}
			},
		}, map[string]string{
			"1001": `ServiceInitiated 1001 initiated normal
Originated 1001 connected newCall
Queued 9500 connected enteringDistribution
Diverted 9500 connected redirected
Delivered 1002 connected redirected
Established 1002 connected redirected`,
			"9500": "Queued 9500 queued enteringDistribution\nDiverted 9500 null redirected",
		}, false,
	},
	{
		"pickup-park", []func(*player) any{
			func(p *player) any {
				return uacsta.DirectedPickupCall{CallToBePickedUp: p.on("1002", uacsta.Alerting), RequestingDevice: uacsta.Dev("1003")}
			},
			func(p *player) any {
				return uacsta.ParkCall{Parking: p.on("1001", uacsta.Connected, "1002"), ParkTo: uacsta.Dev("501")}
			},
			func(p *player) any {
				return uacsta.DirectedPickupCall{CallToBePickedUp: p.on("501", uacsta.Queued), RequestingDevice: uacsta.Dev("1003")}
			},
		}, map[string]string{
			"1001": "Diverted 1002 connected callPickup\nEstablished 1003 connected callPickup\nDiverted 1001 null park",
			"1002": "Diverted 1002 null callPickup\nDiverted 1001 connected park\nQueued 501 connected park\nDiverted 501 connected park\nEstablished 1003 connected park",
			"1003": "Established 1003 connected callPickup\nEstablished 1003 connected park",
			"501":  "Queued 501 queued park\nDiverted 501 null park",
		}, false,
	},
	{
		"play-record", []func(*player) any{
			plays("tone"), plays("long"),
			func(p *player) any {
				p.heard("1001", 3) // the message before has ended
				return uacsta.Stop{Connection: p.on("1001", uacsta.Connected)}
			},
			plays("nofile.wav"), plays("nofile.wav"), plays("greeting"), records(1000), records(0),
			func(p *player) any {
				p.heard("1001", 11) // the message before has ended
				return uacsta.Stop{Connection: p.on("1001", uacsta.Connected)}
			},
			records(0),
		}, map[string]string{
			"1001": `Play 1001  normal
Stop 1001  endOfMessageDetected
Play 1001  normal
Stop 1001  endOfMessageDetected
Stop 1001  resourcesNotAvailable
Stop 1001  resourcesNotAvailable
Play 1001  normal
Stop 1001  endOfMessageDetected
Record 1001  normal
Stop 1001  messageDurationExceeded
Record 1001  normal
Stop 1001  messageDurationExceeded
Record 1001  normal
ConnectionCleared 1001 null normalClearing`,
		}, false,
	},
	{
		"predictive", []func(*player) any{
			func(*player) any {
				return uacsta.MakePredictiveCall{CallingDevice: uacsta.Dev("9500"), CalledDirectoryNumber: uacsta.Dev("1002")}
			},
		}, map[string]string{
			"1002": "Delivered 1002 alerting newCall\nEstablished 1002 connected newCall\nQueued 9500 connected makePredictiveCall",
			"9500": "Queued 9500 queued makePredictiveCall",
		}, false,
	},
	{
		"conference-room", nil, map[string]string{
			"1001": `Established 3000 connected newCall
Conferenced 3000 connected conference
ConnectionCleared 1003 connected normalClearing`,
			"1003": `Delivered 1003 alerting newCall
Established 1003 connected newCall
Conferenced 3000 connected conference
ConnectionCleared 1003 null normalClearing`,
			"3000": "Established 3000 connected newCall\nConferenced 3000 connected conference\nConnectionCleared 1003 connected normalClearing",
		}, true,
	},
	{
		"feature-keys", []func(*player) any{
			more, more,
			func(*player) any {
				four, to := 4, uacsta.Dev("1002")
				return uacsta.SetForwarding{Device: uacsta.Dev("1004"), ForwardingType: uacsta.ForwardNoAns, ActivateForward: true, ForwardDN: &to, RingCount: &four}
			},
			func(*player) any {
				return uacsta.SetMessageWaitingIndicator{Device: uacsta.Dev("1004"), MessageWaitingOn: true}
			},
		}, map[string]string{
			"1004": "BackInService  normal\nDoNotDisturb\nForwarding\nMessageWaiting",
		}, false,
	},
	{
		"registration", nil, map[string]string{"1001": "BackInService  normal\nOutOfService  normal\nBackInService  normal\nOutOfService  normal"}, false,
	},
}

// TestRecordings plays recordings, carries out services where they were requested, and compares
// each device's events with the call model.
func TestRecordings(t *testing.T) {
	for _, tt := range slices.Concat(basics, recorded) {
		synctests(t, tt.name, func(t *testing.T) {
			p := tt.play(t, recordings.Play(t, tt.name, tt.foreign))
			for device, want := range tt.want {
				p.tells(device, strings.Split(want, "\n"))
			}
		})
	}
}

// play plays a recording of the situation to its end.
func (tt *situation) play(t *testing.T, played *recordings.Player) *player {
	t.Helper()
	p := control(t, played, "1000", "1001", "1002", "1003", "1004", "9500", "9600", "9700", "501", "3000", "7401", "0120")
	var group sync.WaitGroup
	for n := 0; ; n++ {
		command, due := "", false
		select {
		case command, due = <-p.Step:
		case <-time.After(patience):
			t.Fatal("the recording does not go on")
		}
		if !due {
			break
		}
		if n >= len(tt.do) {
			t.Fatalf("nothing to do where the recording has %q", command)
		}
		p.due = command
		service := tt.do[n](p)
		if service == nil {
			continue
		}
		group.Go(func() {
			if _, err := p.ask(service); err != nil {
				t.Errorf("%T: %v", service, err)
			}
		})
	}
	group.Wait()
	p.end()
	return p
}

// does carries out a service that takes so many commands, the last of the recording.
func (p *player) does(service any, commands int) {
	p.t.Helper()
	<-p.Step
	done := make(chan error, 1)
	go func() {
		_, err := p.ask(service)
		done <- err
	}()
	given := 1
	for range p.Step {
		given++
	}
	if err := <-done; err != nil || given != commands {
		p.t.Fatalf("%d commands, not %d: %v", given, commands, err)
	}
}

// ends are what there is in the end of recordings of what others do.
var ends = map[string]string{
	"basic-call": "", "basic-call-every-event": "", "callee-hangs-up": "", "failures": "", "trunk-out-in": "", "phone-attended-refer": "", "queue-callcenter": "", "queue-fifo": "",
	"two-registrations": "", "two-registrations-reject": "", "reject-ringing": "", "no-answer": "", "abandon": "", "ring-group-reject": "", "trunk-busy": "", "blind-refer-by-caller": "",
	"blind-refer-by-called": "", "attended-refer": "", "attended-refer-ringing": "", "holder-hangs-up": "", "conference-cleared": "", "loopback": "", "busy-voicemail": "",
	"hold-retrieve":        "1001 connected, 1002 connected",
	"phone-blind-refer":    "1002 connected, 1003 connected",
	"deflect":              "1001 connected, 1003 connected",
	"queue-parked":         "1001 connected, 1002 connected",
	"conference-room":      "1001 connected, 1002 connected, 3000 connected",
	"pickup-park":          "1001 connected, 1002 connected, 1003 connected, 1003 connected",
	"single-step-transfer": "1001 connected, 1002 connected, 1003 connected, 1003 connected",
}

// TestCuts loses the connection before every message of recordings, and within some. The final
// state is the same as without the cut. With the race detector, no more is missed than happens in between: the whole takes
// five times as long with it, and is run without it.
func TestCuts(t *testing.T) {
	t.Parallel()
	most := 4
	if raceEnabled {
		most = 1
	}
	for name, want := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for missed := range most {
				for at, within := 0, true; within; at++ {
					synctest.Test(t, func(t *testing.T) {
						var played *recordings.Player
						if played, within = recordings.PlayCut(t, name, at, missed); !within {
							return
						}
						if got := control(t, played).end(); got != want {
							t.Errorf("cut before entry %d, %d missed: in the end there are %q, not %q", at, missed, got, want)
						}
					})
				}
			}
		})
	}
}

var exhaustive = options.Bool("exhaustive", false, "TestShuffled mixes each recording in 1000 ways; it takes some minutes")

// unordered are recordings in which several devices do the same at once: only what is told of a device itself
// has an order.
var unordered = map[string]bool{"ring-group-reject": true, "conference-cleared": true, "trunk-busy": true}

// ofItself returns the events of a device's own connections.
func ofItself(device string, told []string) []string {
	return slices.DeleteFunc(slices.Clone(told), func(line string) bool { return !strings.Contains(line, " "+device+" ") })
}

// TestShuffled delays events, those of each channel on their own, as FreeSWITCH does. Monitors are told the same.
func TestShuffled(t *testing.T) {
	t.Parallel()
	ways := uint64(20)
	if *exhaustive {
		ways = 1000
	}
	for _, tt := range slices.Concat(basics, recorded) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for seed := range ways {
				synctest.Test(t, func(t *testing.T) {
					p := tt.play(t, recordings.PlayShuffled(t, tt.name, tt.foreign, seed))
					for device, want := range tt.want {
						list := strings.Split(want, "\n")
						if !unordered[tt.name] {
							p.tells(device, list)
						} else if got := p.heard(device, len(list)); !slices.Equal(ofItself(device, got), ofItself(device, list)) {
							t.Errorf("%s is told of itself\n%s", device, strings.Join(ofItself(device, got), "\n"))
						}
					}
				})
				if t.Failed() {
					t.Fatalf("mixed by %d", seed)
				}
			}
		})
	}
}

// TestLoad runs 500 calls, ten at a time. Each gets all of its events, and nothing of them is
// left.
func TestLoad(t *testing.T) { synctest.Test(t, testLoad) }

func testLoad(t *testing.T) {
	const batches, size = 50, 10
	played := recordings.PlayOften(t, "basic-call")
	p := control(t, played, "1001", "1002")
	for n := range batches {
		played.Again(size)
		if got := len(p.heard("1002", (n+1)*size*7)); got != (n+1)*size*7 {
			t.Fatalf("%d events of %d calls", got, (n+1)*size)
		}
	}
	for device, each := range map[string]int{"1001": 8, "1002": 7} {
		if got := len(p.heard(device, batches*size*each)); got != batches*size*each {
			t.Errorf("%s is told %d events of %d calls", device, got, batches*size)
		}
	}
	left := make(chan int, 1)
	p.link.inbox.Post(func() {
		left <- len(p.link.channels) + len(p.link.calls) + len(p.link.parts) + len(p.link.awaited) + p.link.socket.Waiting()
	})
	if n := <-left; n != 0 {
		t.Errorf("%d things are left", n)
	}
}

// end waits for the end of a recording and returns what there is then.
func (p *player) end() string {
	deadline := time.After(patience)
	for {
		over := make(chan string, 1)
		p.link.inbox.Do(func() {
			if !p.link.devices[recordings.End] || len(p.link.later.events) > 0 {
				over <- "not yet"
				return
			}
			var list []string
			for _, ch := range p.link.channels {
				list = append(list, ch.Device+" "+string(ch.State))
			}
			slices.Sort(list)
			over <- strings.Join(list, ", ")
		}, func(error) { over <- "not yet" })
		select {
		case got := <-over:
			if got != "not yet" {
				return got
			}
		case <-deadline:
			p.t.Fatal("the recording does not end")
		}
		select {
		case <-p.core.changed:
		case <-time.After(time.Millisecond):
		}
	}
}
