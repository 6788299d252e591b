package softswitch

import (
	"time"
)

// Terminal is the phone of a device. The switch calls its methods with its lock held: they must
// not block, and may call the switch only from another goroutine.
type Terminal interface {
	// Busy reports whether the phone takes no further calls.
	Busy() bool
	// Alert makes the phone ring for a call, or prompts its user.
	Alert(callID string)
	// Stop stops ringing or prompting for a call.
	Stop(callID string)
	// Close stops everything.
	Close()
}

// noPhone is the terminal of devices without a virtual phone.
type noPhone struct{}

func (noPhone) Busy() bool   { return false }
func (noPhone) Alert(string) {}
func (noPhone) Stop(string)  {}
func (noPhone) Close()       {}

// Behaviour configures a virtual phone.
type Behaviour struct {
	Answer time.Duration // time until it answers; 0 means never
	Busy   bool          // always busy
}

// virtualPhone is a phone without a user. Requests answer its calls, or it answers after a
// delay. At a trunk it stands for everyone outside.
type virtualPhone struct {
	sw        *Switch
	behaviour Behaviour
	ringing   map[string]*time.Timer
}

func (p *virtualPhone) Busy() bool { return p.behaviour.Busy }

func (p *virtualPhone) Alert(callID string) {
	if p.behaviour.Answer <= 0 {
		return
	}
	if p.ringing == nil {
		p.ringing = map[string]*time.Timer{}
	}
	p.ringing[callID] = time.AfterFunc(p.behaviour.Answer, func() { p.sw.lift(p, callID) })
}

func (p *virtualPhone) Stop(callID string) {
	if t := p.ringing[callID]; t != nil {
		t.Stop()
		delete(p.ringing, callID)
	}
}

func (p *virtualPhone) Close() {
	for callID := range p.ringing {
		p.Stop(callID)
	}
}

// lift answers a call at a phone.
func (s *Switch) lift(t Terminal, callID string) {
	s.do(func() {
		c := s.calls[callID]
		if c == nil {
			return
		}
		for _, x := range c.connections {
			if x.device.terminal == t {
				_ = x.lift() // busy with another call: keep ringing
			}
		}
	})
}
