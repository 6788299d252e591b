package softswitch

import (
	"fmt"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Config says which devices there are and how long things take. Zero times and
// limits take defaults.
type Config struct {
	Extensions   []Extension
	HuntGroups   []HuntGroup
	Queues       []Queue
	Trunks       []Trunk
	ParkDevices  []string
	PickupGroups []PickupGroup
	Routeing     []RouteingDevice

	RingCycle   time.Duration // one ring; 5 s
	AlertTime   time.Duration // a call rings this long at most; 3 min
	PromptTime  time.Duration // a phone prompted by MakeCall must be lifted in this time; 30 s
	FailTime    time.Duration // a failed call is cleared after this time; 30 s
	ParkTime    time.Duration // a parked call returns after this time; 2 min
	MaxCalls    int           // 10000
	MaxMonitors int           // 20000
}

// Kind is the kind of an extension.
type Kind string

// The kinds of extension. A virtual one has no telephone; behind a remote one is a
// telephone outside, which the switch can ring but not lift.
const (
	SIP      Kind = "sip"
	Analogue Kind = "analogue"
	Digital  Kind = "digital"
	DECT     Kind = "dect"
	Virtual  Kind = "virtual"
	Remote   Kind = "remote"
)

// Kinds lists them.
var Kinds = []Kind{SIP, Analogue, Digital, DECT, Virtual, Remote}

// Extension is a telephone of the switch.
type Extension struct {
	Number string
	Name   string
	Kind   Kind // SIP
	Lines  int  // calls at a time; 2
	Phone  Behaviour
	// Real reports whether a telephone registers for it; without one it is out of service.
	Real bool
	// Outside lists the prefixes of numbers of the network that it may call, or send calls
	// to. The default is none.
	Outside []string
}

// Order is the order in which the members of a hunt group ring.
type Order string

// The orders: always from the first; from the one after the last that rang; from
// the first, and one more joins in after each time.
const (
	Linear  Order = "linear"
	Cyclic  Order = "cyclic"
	Cascade Order = "cascade"
)

// Orders lists them.
var Orders = []Order{Linear, Cyclic, Cascade}

// HuntGroup is a number behind which several extensions ring one after the other.
type HuntGroup struct {
	Number  string
	Name    string
	Members []string
	Order   Order // Linear
	Rings   int   // of one member before the next; 3
}

// Queue is an ACD group: calls wait in it for agents.
type Queue struct {
	Number     string
	Name       string
	Agents     []Agent       // who may log on; empty: anybody, under any identifier
	MaxCalls   int           // that wait; 100
	WaitTime   time.Duration // a call waits this long before it overflows; 0: no limit
	AnswerTime time.Duration // an agent must answer in this time; 20 s
	WrapUp     time.Duration // work after call; 0: none
	Overflow   string        // where calls go that cannot wait; "": they fail
	// Announcement is the message that who waits hears, "" for music.
	Announcement string
}

// Agent is one who may log on to a queue.
type Agent struct {
	ID       string
	Password string // "": none is asked for
}

// Trunk is a group of lines to the network. What lies beyond is played by one
// telephone that behaves the same for every number.
type Trunk struct {
	Number   string
	Name     string
	Prefixes []string          // the numbers that go out here
	Inward   map[string]string // numbers of the network, and the devices that they reach; what is not here reaches nothing
	Caller   string            // the number that calls from outside show
	Lines    int               // 30
	Outside  Behaviour
	// Real reports whether the lines lead to a real network; they are out of service until
	// it is reached.
	Real bool
}

// PickupGroup is a group of extensions that answer each other's calls.
type PickupGroup struct {
	Number  string
	Members []string
}

// RouteingDevice is a number whose calls the computing function routes.
type RouteingDevice struct {
	Number  string
	Default string        // where calls go without it
	Time    time.Duration // it must answer in; 5 s
}

// Limits that are not settings.
const (
	maxMembers    = 8   // of a call
	maxDiversions = 6   // of a call on its way
	maxHistory    = 10  // steps that deviceHistory keeps
	maxWaiting    = 5   // camped on one device, and call backs of one device
	maxQueued     = 100 // in a queue that sets no limit
	defaultRings  = 3
	deviceSegment = 50 // devices in one SwitchingFunctionDevices
)

func (cfg *Config) setDefaults() {
	def := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	def(&cfg.RingCycle, 5*time.Second)
	def(&cfg.AlertTime, 3*time.Minute)
	def(&cfg.PromptTime, 30*time.Second)
	def(&cfg.FailTime, 30*time.Second)
	def(&cfg.ParkTime, 2*time.Minute)
	if cfg.MaxCalls == 0 {
		cfg.MaxCalls = 10000
	}
	if cfg.MaxMonitors == 0 {
		cfg.MaxMonitors = 20000
	}
}

// build makes the devices.
func (s *Switch) build() error {
	for _, e := range s.cfg.Extensions {
		d, err := s.addDevice(e.Number, e.Name, uacsta.CategoryStation)
		if err != nil {
			return err
		}
		d.kind, d.lines = e.Kind, e.Lines
		if d.kind == "" {
			d.kind = SIP
		}
		if d.lines == 0 {
			d.lines = 2
		}
		d.forwarding = newForwarding()
		d.real, d.away, d.outside = e.Real, e.Real, e.Outside
		if d.terminal = (&virtualPhone{sw: s, behaviour: e.Phone}); d.real {
			d.terminal = noPhone{}
		}
	}
	for _, g := range s.cfg.HuntGroups {
		d, err := s.addDevice(g.Number, g.Name, uacsta.CategoryGroup)
		if err != nil {
			return err
		}
		d.hunt = &hunt{order: g.Order, rings: g.Rings, last: -1}
		if d.hunt.rings == 0 {
			d.hunt.rings = defaultRings
		}
		if d.hunt.members, err = s.members(g.Number, g.Members); err != nil {
			return err
		}
	}
	for _, q := range s.cfg.Queues {
		d, err := s.addDevice(q.Number, q.Name, uacsta.CategoryAcd)
		if err != nil {
			return err
		}
		if q.MaxCalls == 0 {
			q.MaxCalls = maxQueued
		}
		if q.AnswerTime == 0 {
			q.AnswerTime = 20 * time.Second
		}
		d.queue = &queue{Queue: q}
		s.queues = append(s.queues, d)
	}
	for _, t := range s.cfg.Trunks {
		d, err := s.addDevice(t.Number, t.Name, uacsta.CategoryNetworkInterface)
		if err != nil {
			return err
		}
		if d.lines = t.Lines; d.lines == 0 {
			d.lines = 30
		}
		d.trunk = &t
		s.trunks = append(s.trunks, d)
		d.real, d.away = t.Real, t.Real
		if d.terminal = (&virtualPhone{sw: s, behaviour: t.Outside}); d.real {
			d.terminal = noPhone{}
		}
	}
	return s.buildHelpers()
}

// buildHelpers makes the devices that are nobody's.
func (s *Switch) buildHelpers() error {
	for _, number := range s.cfg.ParkDevices {
		d, err := s.addDevice(number, "", uacsta.CategoryPark)
		if err != nil {
			return err
		}
		d.park = true
		s.parks = append(s.parks, d)
	}
	for _, g := range s.cfg.PickupGroups {
		d, err := s.addDevice(g.Number, "", uacsta.CategoryGroup)
		if err != nil {
			return err
		}
		if d.pickup, err = s.members(g.Number, g.Members); err != nil {
			return err
		}
	}
	for _, r := range s.cfg.Routeing {
		d, err := s.addDevice(r.Number, "", uacsta.CategoryRouteingDevice)
		if err != nil {
			return err
		}
		if r.Time == 0 {
			r.Time = 5 * time.Second
		}
		d.routeing = &r
	}
	return s.checkInward()
}

func (s *Switch) addDevice(number, name string, category uacsta.DeviceCategory) (*device, error) {
	if number == "" || s.devices[number] != nil {
		return nil, fmt.Errorf("device %q is empty or there twice", number)
	}
	d := &device{sw: s, index: len(s.order), number: number, name: name, category: category, terminal: noPhone{}}
	s.devices[number] = d
	s.order = append(s.order, d)
	return d, nil
}

func (s *Switch) members(group string, numbers []string) ([]*device, error) {
	var members []*device
	for _, number := range numbers {
		d := s.devices[number]
		if d == nil || !d.station() || slices.Contains(members, d) {
			return nil, fmt.Errorf("member %q of group %q is no extension, or there twice", number, group)
		}
		members = append(members, d)
	}
	return members, nil
}
