package softswitch

import (
	"time"
)

// Terminal is a telephone as the switch sees it. Its methods are called with the
// model locked: they must not block, and call back only on another goroutine.
type Terminal interface {
	// Busy reports whether the phone refuses further calls.
	Busy() bool
	// Alert makes the phone ring for a call, or signal that it is to be lifted.
	Alert(callID string)
	// Stop ends that.
	Stop(callID string)
	// Close ends everything.
	Close()
}

// noPhone is the terminal of devices that have none.
type noPhone struct{}

func (noPhone) Busy() bool   { return false }
func (noPhone) Alert(string) {}
func (noPhone) Stop(string)  {}
func (noPhone) Close()       {}

// Behaviour says what a virtual phone does when it rings.
type Behaviour struct {
	Answer time.Duration // it answers after this time; 0 never: a client must
	Busy   bool          // it is always busy
}

// virtualPhone is a phone without a user: calls are answered by requests, or
// after a delay. Behind a trunk it stands for everybody outside.
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

// lift is a phone being answered by hand.
func (s *Switch) lift(t Terminal, callID string) {
	s.do(func() {
		c := s.calls[callID]
		if c == nil {
			return
		}
		for _, x := range c.connections {
			if x.device.terminal == t {
				_ = x.lift() // busy with another call: it goes on ringing
			}
		}
	})
}
