package softswitch

import "time"

// Terminal is the phone of a device. The switch calls its methods with its lock held: they must
// not block, and may call the switch only from another goroutine.
type Terminal interface {
	// Busy reports whether the phone takes no further calls.
	Busy() bool
	// Alert makes the phone ring for a connection, or prompts its user.
	Alert(key int)
	// Stop stops ringing or prompting for a connection.
	Stop(key int)
	// Close stops everything.
	Close()
}

// noPhone is the terminal of devices without a virtual phone.
type noPhone struct{}

func (noPhone) Busy() bool { return false }
func (noPhone) Alert(int)  {}
func (noPhone) Stop(int)   {}
func (noPhone) Close()     {}

// Behaviour configures a virtual phone.
type Behaviour struct {
	Answer time.Duration // time until it answers; 0 means never
	Busy   bool          // always busy
}

// virtualPhone is a phone without a user. Requests answer its calls, or it answers after a
// delay. At a trunk it stands for everyone outside.
type virtualPhone struct {
	device    *device
	behaviour Behaviour
	ringing   map[int]*time.Timer
}

func (p *virtualPhone) Busy() bool { return p.behaviour.Busy }

func (p *virtualPhone) Alert(key int) {
	if p.behaviour.Answer <= 0 {
		return
	}
	if p.ringing == nil {
		p.ringing = map[int]*time.Timer{}
	}
	d := p.device
	p.ringing[key] = time.AfterFunc(p.behaviour.Answer, func() {
		d.sw.by(d.number, key, func(x *connection) { _ = x.lift() }) // busy with another call: keep ringing
	})
}

func (p *virtualPhone) Stop(key int) {
	if t := p.ringing[key]; t != nil {
		t.Stop()
		delete(p.ringing, key)
	}
}

func (p *virtualPhone) Close() {
	for key := range p.ringing {
		p.Stop(key)
	}
}
