package softswitch

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Config says which devices there are and how long things take. Zero times take
// defaults.
type Config struct {
	Extensions []Extension

	RingCycle   time.Duration // one ring, for forwarding on no answer; 5 s
	AlertTime   time.Duration // a call rings this long at most; 3 min
	PromptTime  time.Duration // a phone prompted by MakeCall must be lifted in this time; 30 s
	FailTime    time.Duration // a failed call is cleared after this time; 30 s
	MaxCalls    int           // 10000
	MaxMonitors int           // 20000
}

// Extension is one device of the switch.
type Extension struct {
	Number string
	Name   string
	Lines  int // calls at a time; 2
	Phone  Behaviour
}

// Switch is the built-in switching function; it implements proxy.Link.
type Switch struct {
	cfg Config
	up  proxy.Upcalls

	mu       sync.Mutex
	devices  map[string]*device
	calls    map[string]*call
	monitors map[string]*device // by cross reference
	lastCall uint64
	prefix   string // of callIDs: they are not reused after a restart
	pending  []func()
}

// New makes a switch. It serves once Run is called.
func New(cfg Config) (*Switch, error) {
	def := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	def(&cfg.RingCycle, 5*time.Second)
	def(&cfg.AlertTime, 3*time.Minute)
	def(&cfg.PromptTime, 30*time.Second)
	def(&cfg.FailTime, 30*time.Second)
	if cfg.MaxCalls == 0 {
		cfg.MaxCalls = 10000
	}
	if cfg.MaxMonitors == 0 {
		cfg.MaxMonitors = 20000
	}
	s := &Switch{cfg: cfg, devices: map[string]*device{}, calls: map[string]*call{}, monitors: map[string]*device{}, prefix: newRef()[:4]}
	for _, e := range cfg.Extensions {
		if e.Number == "" || s.devices[e.Number] != nil {
			return nil, fmt.Errorf("extension %q is empty or there twice", e.Number)
		}
		if e.Lines == 0 {
			e.Lines = 2
		}
		d := &device{sw: s, number: e.Number, name: e.Name, lines: e.Lines, monitors: map[string]struct{}{}, forwarding: newForwarding()}
		d.terminal = &virtualPhone{sw: s, behaviour: e.Phone}
		s.devices[e.Number] = d
	}
	return s, nil
}

// Has reports whether a number is one of the switch's devices.
func (s *Switch) Has(number string) bool {
	_, ok := s.devices[number] // never changes after New
	return ok
}

// Run implements proxy.Link: the switch is up until ctx ends.
func (s *Switch) Run(ctx context.Context, up proxy.Upcalls) error {
	s.mu.Lock()
	s.up = up
	s.mu.Unlock()
	up.Ready()
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		c.stopTimers()
	}
	return ctx.Err()
}

// Features implements proxy.FeatureLister.
func (s *Switch) Features(string) uacsta.Features {
	return uacsta.Features{
		Services: []string{
			"monitorStart", "monitorStop", "snapshotCall", "snapshotDevice",
			"alternateCall", "answerCall", "clearCall", "clearConnection", "conferenceCall", "consultationCall", "deflectCall", "directedPickupCall",
			"holdCall", "makeCall", "reconnectCall", "retrieveCall", "singleStepConference", "singleStepTransfer", "transferCall",
			"generateDigits", "getDoNotDisturb", "getForwarding", "setDoNotDisturb", "setForwarding",
		},
		Events: []string{
			"conferenced", "connectionCleared", "delivered", "diverted", "established", "failed", "held", "originated", "retrieved",
			"serviceInitiated", "transferred", "digitsGenerated", "doNotDisturb", "forwarding",
		},
	}
}

// Request implements proxy.Link.
func (s *Switch) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	handler := handlers[req.Name()]
	if handler == nil {
		reply(nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	res, err := handler(s, req)
	if err != nil {
		s.pending = nil // a refused request changed nothing
		reply(nil, err)
		return
	}
	reply(res, nil)
	s.flush()
}

// handlers has one entry for each service.
var handlers map[string]func(*Switch, *uacsta.Message) (*uacsta.Message, error)

func init() { //nolint:gochecknoinits // the table refers to methods that refer to it
	handlers = map[string]func(*Switch, *uacsta.Message) (*uacsta.Message, error){
		"RequestSystemStatus":      service((*Switch).requestSystemStatus),
		"GetCSTAFeatures":          (*Switch).getFeatures,
		"MonitorStart":             service((*Switch).monitorStart),
		"MonitorStop":              service((*Switch).monitorStop),
		"SnapshotDevice":           service((*Switch).snapshotDevice),
		"SnapshotCall":             service((*Switch).snapshotCall),
		"MakeCall":                 service((*Switch).makeCall),
		"AnswerCall":               service((*Switch).answerCall),
		"ClearConnection":          service((*Switch).clearConnection),
		"ClearCall":                service((*Switch).clearCall),
		"DirectedPickupCall":       service((*Switch).directedPickupCall),
		"SingleStepConferenceCall": service((*Switch).singleStepConferenceCall),
		"HoldCall":                 service((*Switch).holdCall),
		"RetrieveCall":             service((*Switch).retrieveCall),
		"ConsultationCall":         service((*Switch).consultationCall),
		"AlternateCall":            service((*Switch).alternateCall),
		"ReconnectCall":            service((*Switch).reconnectCall),
		"TransferCall":             service((*Switch).transferCall),
		"SingleStepTransferCall":   service((*Switch).singleStepTransferCall),
		"ConferenceCall":           service((*Switch).conferenceCall),
		"DeflectCall":              service((*Switch).deflectCall),
		"GenerateDigits":           service((*Switch).generateDigits),
		"GetForwarding":            service((*Switch).getForwarding),
		"SetForwarding":            service((*Switch).setForwarding),
		"GetDoNotDisturb":          service((*Switch).getDoNotDisturb),
		"SetDoNotDisturb":          service((*Switch).setDoNotDisturb),
	}
}

// service wraps a handler of a typed request; its answer is a message struct.
func service[T any](handler func(*Switch, *T) (any, error)) func(*Switch, *uacsta.Message) (*uacsta.Message, error) {
	return func(s *Switch, m *uacsta.Message) (*uacsta.Message, error) {
		req := new(T)
		if err := m.Decode(req); err != nil {
			return nil, err
		}
		res, err := handler(s, req)
		if err != nil {
			return nil, err
		}
		return uacsta.Encode(res, uacsta.Edition3), nil
	}
}

// emit queues an event for the monitors of each device named: each gets it once,
// with the state of its own connection in the call.
func (s *Switch) emit(c *call, also []*device, event func(ref string, local uacsta.LocalConnectionState) any) {
	told := map[*device]bool{}
	tell := func(d *device) {
		if told[d] {
			return
		}
		told[d] = true
		state := uacsta.Null
		if x := c.of(d); x != nil {
			state = x.state
		}
		for _, ref := range d.refs() {
			ev := uacsta.Encode(event(ref, state), uacsta.Edition3)
			s.pending = append(s.pending, func() { s.up.Event(ev) })
		}
	}
	for _, d := range also {
		tell(d)
	}
	for _, x := range c.connections {
		tell(x.device)
	}
}

// flush hands out the events of a change, after its answer.
func (s *Switch) flush() {
	for _, f := range s.pending {
		f()
	}
	s.pending = nil
}

// do runs a change that no request asked for: a timer, or a phone.
func (s *Switch) do(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.flush()
}

func newRef() string {
	var b [6]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (s *Switch) newCallID() string {
	s.lastCall++
	return fmt.Sprintf("%s_%d", s.prefix, s.lastCall)
}

// Counts returns how many calls and monitors there are.
func (s *Switch) Counts() (calls, monitors int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls), len(s.monitors)
}
