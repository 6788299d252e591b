package phones

import (
	"maps"
	"slices"
	"sync"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/softswitch"
)

// inbox holds what the switch has reported and the worker has not handled yet. It keeps only the last state of each
// call and extension, so that it cannot grow beyond the size of the switch.
type inbox struct {
	mu       sync.Mutex
	order    []string
	calls    map[string]softswitch.View
	kicked   map[string]bool // calls to apply again
	features map[string]softswitch.Features
	voice    []softswitch.Voice
	wake     chan struct{}
}

// maxVoice is how many voice commands, such as to play a message, may wait.
const maxVoice = 10000

// Changed implements softswitch.Phones.
func (s *Server) Changed(c softswitch.Change) {
	b := &s.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range c.Calls {
		b.put(v)
	}
	for _, f := range c.Features {
		if b.features == nil {
			b.features = map[string]softswitch.Features{}
		}
		b.features[f.Device] = f
	}
	if b.voice = append(b.voice, c.Voice...); len(b.voice) > maxVoice {
		s.log.Error("dropped the oldest of too many messages to play or record")
		b.voice = b.voice[len(b.voice)-maxVoice:]
	}
	b.signal()
}

func (b *inbox) put(v softswitch.View) {
	if b.calls == nil {
		b.calls = map[string]softswitch.View{}
	}
	if _, there := b.calls[v.Call]; !there {
		b.order = append(b.order, v.Call)
	}
	b.calls[v.Call] = v
}

func (b *inbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default: // it is awake
	}
}

// take empties the inbox.
func (b *inbox) take() (views []softswitch.View, kicked map[string]bool, features []softswitch.Features, voice []softswitch.Voice) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range b.order {
		views = append(views, b.calls[id])
	}
	for _, number := range slices.Sorted(maps.Keys(b.features)) {
		features = append(features, b.features[number])
	}
	voice, kicked = b.voice, b.kicked
	b.order, b.calls, b.features, b.voice, b.kicked = nil, nil, nil, nil, nil
	return views, kicked, features, voice
}

// kick makes the worker apply a call again, because something has changed at a telephone.
func (s *Server) kick(id string) {
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	if s.inbox.kicked == nil {
		s.inbox.kicked = map[string]bool{}
	}
	s.inbox.kicked[id] = true
	s.inbox.signal()
}

// kickKey is kick for the call of a connection.
func (s *Server) kickKey(key int) {
	s.mu.Lock()
	id := ""
	if p := s.parties[key]; p != nil {
		id = p.call
	}
	s.mu.Unlock()
	s.kick(id)
}

// work is the worker: it makes telephones follow the switch until the server closes.
func (s *Server) work() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.inbox.wake:
		}
		s.follow(s.inbox.take())
	}
}

// follow makes telephones, voice and lamps follow the content of the inbox. It recovers from a panic.
func (s *Server) follow(views []softswitch.View, kicked map[string]bool, features []softswitch.Features, voice []softswitch.Voice) {
	defer share.Survive(s.log, "following the switch", nil)
	for _, then := range s.apply(views, kicked) {
		then()
	}
	for _, v := range voice {
		s.speak(v)
	}
	for _, f := range features {
		s.keep(f)
		s.telephones.Monitor(f.Device, f.Monitored)
		s.telephones.Changed(f.Device, featurePackage, waitingPackage, statusPackage)
		s.showFeatures(f)
	}
	s.notifyDialogs()
}
