package config

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Switch is the key switch. Zero values in the entries of its lists stand for the defaults of
// the switch.
type Switch struct {
	RingCycle    time.Duration    `yaml:"ring-cycle"`
	AlertTime    time.Duration    `yaml:"alert-time"`
	PromptTime   time.Duration    `yaml:"prompt-time"`
	FailTime     time.Duration    `yaml:"fail-time"`
	ParkTime     time.Duration    `yaml:"park-time"`
	CampOnTime   time.Duration    `yaml:"camp-on-time"`
	Extensions   []Extension      `yaml:"extensions"`
	HuntGroups   []HuntGroup      `yaml:"hunt-groups"`
	Queues       []Queue          `yaml:"queues"`
	Trunks       []Trunk          `yaml:"trunks"`
	Park         []ParkDevice     `yaml:"park"`
	PickupGroups []PickupGroup    `yaml:"pickup-groups"`
	Routeing     []RouteingDevice `yaml:"routeing"`
}

// Extension is an entry of switch.extensions.
type Extension struct {
	Number string        `yaml:"number"`
	Name   string        `yaml:"name"`
	Kind   string        `yaml:"kind"`
	Lines  int           `yaml:"lines"`
	Answer time.Duration `yaml:"answer-after"`
	Busy   bool          `yaml:"busy"`
	// SIP is the account of its telephones, or nil for a virtual phone.
	SIP     *Telephone `yaml:"sip"`
	Outside []string   `yaml:"outside"`
	// Second lists further directory numbers of the extension.
	Second []string `yaml:"second-numbers"`
	Sounds
}

// Sounds are keys of several kinds of devices. They name files of telephones.messages.
type Sounds struct {
	Music        string `yaml:"music"`
	Announcement string `yaml:"announcement"`
}

// ParkDevice is an entry of switch.park. A number alone stands for one without other keys.
type ParkDevice struct {
	Number string `yaml:"number"`
	Music  string `yaml:"music"`
}

func (p *ParkDevice) short(value string) { p.Number = value }

// HuntGroup is an entry of switch.hunt-groups.
type HuntGroup struct {
	Number  string   `yaml:"number"`
	Name    string   `yaml:"name"`
	Members []string `yaml:"members"`
	Order   string   `yaml:"order"`
	Rings   int      `yaml:"rings"`
}

// Queue is an entry of switch.queues.
type Queue struct {
	Number     string        `yaml:"number"`
	Name       string        `yaml:"name"`
	Agents     []Agent       `yaml:"agents"`
	MaxCalls   int           `yaml:"max-calls"`
	WaitTime   time.Duration `yaml:"wait-time"`
	AnswerTime time.Duration `yaml:"answer-time"`
	WrapUp     time.Duration `yaml:"wrap-up"`
	Overflow   string        `yaml:"overflow"`
	Sounds
}

// Agent is an entry of switch.queues[].agents.
type Agent struct {
	ID           string `yaml:"id"`
	Password     string `yaml:"password"`
	PasswordFile string `yaml:"password-file"`
}

// Trunk is an entry of switch.trunks.
type Trunk struct {
	Number   string        `yaml:"number"`
	Name     string        `yaml:"name"`
	Prefixes []string      `yaml:"prefixes"`
	Inward   []Inward      `yaml:"inward"`
	Caller   string        `yaml:"caller"`
	Lines    int           `yaml:"lines"`
	Answer   time.Duration `yaml:"answer-after"`
	Busy     bool          `yaml:"busy"`
	// SIP is a real peer, or nil if a virtual phone plays the outside world.
	SIP *NetworkPeer `yaml:"sip"`
	Sounds
}

// Inward is an entry of switch.trunks[].inward.
type Inward struct {
	Number string `yaml:"number"`
	To     string `yaml:"to"`
}

// PickupGroup is an entry of switch.pickup-groups.
type PickupGroup struct {
	Number  string   `yaml:"number"`
	Members []string `yaml:"members"`
}

// RouteingDevice is an entry of switch.routeing.
type RouteingDevice struct {
	Number  string        `yaml:"number"`
	Default string        `yaml:"default"`
	Time    time.Duration `yaml:"time"`
}

var (
	deviceNumber  = regexp.MustCompile(`^[0-9*#]{1,20}$`)
	networkNumber = regexp.MustCompile(`^\+?[0-9*#]{1,32}$`)
)

// numbers collects the numbers of the switch's devices while they are checked.
type numbers struct {
	*document
	all, extensions []string
}

// device checks the number of a device. It must be unique.
func (n *numbers) device(key, number string) { n.unique(key+".number", number) }

// unique checks a number that leads to a device. No other may have it.
func (n *numbers) unique(key, number string) {
	switch {
	case !deviceNumber.MatchString(number):
		n.fault(key, "must be 1 to 20 digits, * or #; write it in quotes, for example \"100\"")
	case slices.Contains(n.all, number):
		n.fault(key, "is the number of another device; write a number of its own")
	}
	n.all = append(n.all, number)
}

func (n *numbers) members(key string, members []string) {
	for i, m := range members {
		if !slices.Contains(n.extensions, m) {
			n.fault(fmt.Sprintf("%s.members[%d]", key, i), "is not an extension of the switch; write the number of one in switch.extensions")
		} else if slices.Contains(members[:i], m) {
			n.fault(fmt.Sprintf("%s.members[%d]", key, i), "is there twice; write it once")
		}
	}
}

func (n *numbers) atLeast(key string, value, least int) {
	if value < least {
		n.fault(key, fmt.Sprintf("must be %d or more", least))
	}
}

func (n *numbers) notNegative(key string, value time.Duration) {
	if value < 0 {
		n.fault(key, "must not be negative")
	}
}

func (c *Config) checkSwitch(d *document) {
	if c.Numbers.Main != "" && !regexp.MustCompile(`^\+[0-9]{1,15}$`).MatchString(c.Numbers.Main) {
		d.fault("numbers.main", "must be + and digits, which come before an extension in calls from outside; write for example +1425555")
	}
	n := &numbers{document: d}
	for i, e := range c.Switch.Extensions {
		key := fmt.Sprintf("switch.extensions[%d]", i)
		n.device(key, e.Number)
		n.extensions = append(n.extensions, e.Number)
		for j, number := range e.Second {
			n.unique(fmt.Sprintf("%s.second-numbers[%d]", key, j), number)
		}
		if e.Kind != "" {
			d.oneOf(key+".kind", e.Kind, "sip", "analogue", "digital", "dect", "cas", "virtual", "remote")
		}
		if e.Lines < 0 || e.Lines > 8 {
			d.fault(key+".lines", "must be 1 to 8")
		}
		n.notNegative(key+".answer-after", e.Answer)
		c.checkSounds(d, key, e.Sounds)
	}
	for i, g := range c.Switch.HuntGroups {
		key := fmt.Sprintf("switch.hunt-groups[%d]", i)
		n.device(key, g.Number)
		n.members(key, g.Members)
		n.atLeast(key+".rings", g.Rings, 0)
		if g.Order != "" {
			d.oneOf(key+".order", g.Order, "linear", "cyclic", "cascade")
		}
	}
	for i, q := range c.Switch.Queues {
		key := fmt.Sprintf("switch.queues[%d]", i)
		n.device(key, q.Number)
		n.atLeast(key+".max-calls", q.MaxCalls, 0)
		n.notNegative(key+".wait-time", q.WaitTime)
		n.notNegative(key+".answer-time", q.AnswerTime)
		n.notNegative(key+".wrap-up", q.WrapUp)
		c.checkSounds(d, key, q.Sounds)
		for j, a := range q.Agents {
			agent := fmt.Sprintf("%s.agents[%d]", key, j)
			if a.ID == "" || slices.ContainsFunc(q.Agents[:j], func(other Agent) bool { return other.ID == a.ID }) {
				d.fault(agent+".id", "must be an id that no other agent has; write for example \"7001\"")
			}
			if a.Password != "" && a.PasswordFile != "" {
				d.fault(agent, "has both password and password-file; write one of them, or neither")
			}
		}
	}
	for i, t := range c.Switch.Trunks {
		c.checkTrunk(n, fmt.Sprintf("switch.trunks[%d]", i), t)
	}
	for i, p := range c.Switch.Park {
		key := fmt.Sprintf("switch.park[%d]", i)
		n.device(key, p.Number)
		c.checkSounds(d, key, Sounds{Music: p.Music})
	}
	for i, g := range c.Switch.PickupGroups {
		key := fmt.Sprintf("switch.pickup-groups[%d]", i)
		n.device(key, g.Number)
		n.members(key, g.Members)
	}
	for i, r := range c.Switch.Routeing {
		key := fmt.Sprintf("switch.routeing[%d]", i)
		n.device(key, r.Number)
		n.notNegative(key+".time", r.Time)
		if r.Default == "" || r.Default == r.Number {
			d.fault(key+".default", "must be the number of another device, for calls that no client routes; write for example \"100\"")
		}
	}
	c.checkInward(n)
	c.checkTelephones(d)
}

// checkSounds checks the sounds of a device. Whether their files can be played shows when they are read.
func (c *Config) checkSounds(d *document, key string, s Sounds) {
	for name, value := range map[string]string{"music": s.Music, "announcement": s.Announcement} {
		if value != "" && c.Telephones.Messages == "" {
			d.fault(key+"."+name, "is a file of telephones.messages, which is empty; write the directory there")
		}
	}
}

func (c *Config) checkTrunk(n *numbers, key string, t Trunk) {
	c.checkSounds(n.document, key, t.Sounds)
	n.device(key, t.Number)
	n.notNegative(key+".answer-after", t.Answer)
	n.atLeast(key+".lines", t.Lines, 0)
	if t.Caller != "" && !networkNumber.MatchString(t.Caller) {
		n.fault(key+".caller", "must be digits, perhaps with + before them")
	}
	for j, prefix := range t.Prefixes {
		if prefix != "+" && !networkNumber.MatchString(prefix) {
			n.fault(fmt.Sprintf("%s.prefixes[%d]", key, j), "must be digits, perhaps with + before them")
		}
	}
}

// checkInward checks the key inward of trunks. The devices that it names must exist.
func (c *Config) checkInward(n *numbers) {
	for i, t := range c.Switch.Trunks {
		for j, in := range t.Inward {
			key := fmt.Sprintf("switch.trunks[%d].inward[%d]", i, j)
			if !networkNumber.MatchString(in.Number) {
				n.fault(key+".number", "must be digits, perhaps with + before them")
			}
			if slices.ContainsFunc(t.Inward[:j], func(other Inward) bool { return other.Number == in.Number }) {
				n.fault(key+".number", "is there twice; write it once")
			}
			switch {
			case !slices.Contains(n.all, in.To):
				n.fault(key+".to", "is not a device of the switch; write an extension, a hunt group, a queue or a routeing device")
			case c.Switch.takesNoCalls(in.To):
				n.fault(key+".to", "is a trunk, a park device or a pickup group, which cannot be called; write an extension, a hunt group, a queue or a routeing device")
			}
		}
	}
}

// takesNoCalls reports whether a device of the switch cannot be called by its number.
func (s *Switch) takesNoCalls(number string) bool {
	return slices.ContainsFunc(s.Park, func(p ParkDevice) bool { return p.Number == number }) ||
		slices.ContainsFunc(s.Trunks, func(t Trunk) bool { return t.Number == number }) ||
		slices.ContainsFunc(s.PickupGroups, func(g PickupGroup) bool { return g.Number == number })
}
