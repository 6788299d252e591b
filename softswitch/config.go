package softswitch

import (
	"fmt"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Config lists the devices of a switch and its timers. Zero timers and limits take the defaults
// in the comments.
type Config struct {
	Extensions   []Extension
	HuntGroups   []HuntGroup
	Queues       []Queue
	Trunks       []Trunk
	ParkDevices  []ParkDevice
	PickupGroups []PickupGroup
	Routeing     []RouteingDevice

	RingCycle   time.Duration // duration of one ring; default 5 s
	AlertTime   time.Duration // maximum time a call rings; default 3 min
	PromptTime  time.Duration // time to lift a phone prompted by MakeCall; default 30 s
	FailTime    time.Duration // time until a failed call is cleared; default 30 s
	ParkTime    time.Duration // time until a parked call returns; default 2 min
	CampOnTime  time.Duration // time that a call camps on a busy extension; default 3 min
	MaxCalls    int           // default 10000
	MaxMonitors int           // default 20000
}

// Sounds names messages that the parties of a call hear at a device; see [Library]. "" stands for what the whole switch has.
type Sounds struct {
	// Music is for parties that the device holds, or that wait or are parked there; that of a trunk is for its callers
	// where the device that holds them has none.
	Music string
	// Announcement is for parties whose calls fail at the device; that of a queue is for those who wait there.
	Announcement string
}

// Kind is the kind of an extension.
type Kind string

// The kinds of extension. Virtual has no telephone. Remote is a telephone outside, which the
// switch can ring but not make answer. CAS is one behind lines with channel associated signalling, which
// the switch can only ring, too: its user alone answers, and dials after a prompt.
const (
	SIP      Kind = "sip"
	Analogue Kind = "analogue"
	Digital  Kind = "digital"
	DECT     Kind = "dect"
	CAS      Kind = "cas"
	Virtual  Kind = "virtual"
	Remote   Kind = "remote"
)

// Kinds lists all kinds.
var Kinds = []Kind{SIP, Analogue, Digital, DECT, CAS, Virtual, Remote}

// Extension configures an extension.
type Extension struct {
	Number string
	Name   string
	Kind   Kind // default SIP
	Lines  int  // simultaneous calls; default 2
	Phone  Behaviour
	// Real reports whether a real telephone registers for it. Until one does, the extension is
	// out of service.
	Real bool
	// Second lists further directory numbers of the extension. Calls to them reach it, and it can call from them.
	Second []string
	// Outside lists the prefixes of network numbers that the extension may call or divert to.
	// Empty means none.
	Outside []string
	Sounds
}

// Order is the order in which the members of a hunt group ring.
type Order string

// Linear always starts with the first member, Cyclic with the one after the last that rang.
// Cascade starts with the first and adds one more member each time.
const (
	Linear  Order = "linear"
	Cyclic  Order = "cyclic"
	Cascade Order = "cascade"
)

// Orders lists all orders.
var Orders = []Order{Linear, Cyclic, Cascade}

// HuntGroup configures a number whose calls ring at several extensions in turn.
type HuntGroup struct {
	Number  string
	Name    string
	Members []string
	Order   Order // default Linear
	Rings   int   // rings at one member before the next; default 3
}

// Queue configures an ACD group, in which calls wait for agents.
type Queue struct {
	Number     string
	Name       string
	Agents     []Agent       // who may log on; empty admits any identifier
	MaxCalls   int           // waiting calls; default 100
	WaitTime   time.Duration // time after which a waiting call overflows; 0 means no limit
	AnswerTime time.Duration // time for an agent to answer; default 20 s
	WrapUp     time.Duration // work after call; 0 means none
	Overflow   string        // destination of calls that cannot wait; "" makes them fail
	Sounds
}

// Agent is an agent who may log on to a queue.
type Agent struct {
	ID       string
	Password string // "" means that none is required
}

// Trunk configures a group of lines to the network. One virtual phone plays everyone beyond a
// virtual trunk.
type Trunk struct {
	Number   string
	Name     string
	Prefixes []string          // of the numbers that go out here
	Inward   map[string]string // device for each network number that calls from outside may reach; all others reach nothing
	Caller   string            // number shown by the calls of a virtual trunk
	Lines    int               // simultaneous calls; default 30
	Outside  Behaviour
	// Real reports whether the lines lead to a real network. Until it is reachable, the trunk
	// is out of service.
	Real bool
	Sounds
}

// ParkDevice configures a device for one parked call.
type ParkDevice struct {
	Number string
	Sounds
}

// PickupGroup configures extensions that may pick up each other's calls.
type PickupGroup struct {
	Number  string
	Members []string
}

// RouteingDevice configures a number whose calls a computing function routes.
type RouteingDevice struct {
	Number  string
	Default string        // destination without a decision
	Time    time.Duration // time for a decision; default 5 s
}

// Fixed limits.
const (
	maxMembers    = 8   // parties of a call
	maxDiversions = 6   // diversions of a call before it is answered
	maxHistory    = 10  // entries in deviceHistory
	maxWaiting    = 5   // calls camped on a device, and call backs of a device
	maxQueued     = 100 // default of Queue.MaxCalls
	defaultRings  = 3
	deviceSegment = 50 // devices in one SwitchingFunctionDevices request
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
	def(&cfg.CampOnTime, 3*time.Minute)
	if cfg.MaxCalls == 0 {
		cfg.MaxCalls = 10000
	}
	if cfg.MaxMonitors == 0 {
		cfg.MaxMonitors = 20000
	}
}

// build creates the devices.
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
		for _, number := range e.Second {
			if number == "" || s.devices[number] != nil {
				return fmt.Errorf("second number %q of extension %q: empty or used twice", number, e.Number)
			}
			s.devices[number] = d
		}
		d.second = e.Second
		d.forwarding = newForwarding()
		d.real, d.away, d.outside, d.sounds = e.Real, e.Real, e.Outside, e.Sounds
		if d.terminal = (&virtualPhone{device: d, behaviour: e.Phone}); d.real {
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
		d.queue, d.sounds = &queue{Queue: q}, q.Sounds
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
		d.trunk, d.sounds = &t, t.Sounds
		s.trunks = append(s.trunks, d)
		d.real, d.away = t.Real, t.Real
		if d.terminal = (&virtualPhone{device: d, behaviour: t.Outside}); d.real {
			d.terminal = noPhone{}
		}
	}
	return s.buildHelpers()
}

// buildHelpers creates park devices, pickup groups and routeing devices.
func (s *Switch) buildHelpers() error {
	for _, p := range s.cfg.ParkDevices {
		d, err := s.addDevice(p.Number, "", uacsta.CategoryPark)
		if err != nil {
			return err
		}
		d.park, d.sounds = true, p.Sounds
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
		return nil, fmt.Errorf("device %q: number empty or used twice", number)
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
			return nil, fmt.Errorf("member %q of group %q: not an extension, or listed twice", number, group)
		}
		members = append(members, d)
	}
	return members, nil
}
