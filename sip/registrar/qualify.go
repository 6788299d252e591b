package registrar

import (
	"context"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
)

const (
	requestTimeout = 4 * time.Second // timeout of requests outside dialogs
	maxAsking      = 100             // outstanding OPTIONS
)

// qualify checks every telephone by OPTIONS.
func (s *Server) qualify() {
	type question struct {
		u *user
		b *binding
	}
	var ask []question
	s.mu.Lock()
	for _, u := range s.users {
		for _, b := range u.bindings {
			if !b.asking {
				b.asking = true
				ask = append(ask, question{u, b})
			}
		}
	}
	s.mu.Unlock()
	s.spawn(func() {
		room := make(chan struct{}, maxAsking)
		for _, q := range ask {
			room <- struct{}{}
			asked := s.spawn(func() {
				defer func() { <-room }() // after a panic of the owner, too
				s.qualifyOne(q.u, q.b)
			})
			if !asked {
				return
			}
		}
	})
}

// qualifyOne checks one telephone. Any response shows that it is reachable.
func (s *Server) qualifyOne(u *user, b *binding) {
	ctx, cancel := context.WithTimeout(s.ctx, requestTimeout)
	defer cancel()
	at := s.at(b)
	_, err := s.ua.Request(ctx, "OPTIONS", sip.Invite{To: at.URI, From: at.Address("tr87proxy"), Flow: at.Flow})
	s.mu.Lock()
	if b.asking = false; err == nil {
		b.missed = 0
	} else {
		b.missed++
	}
	s.mu.Unlock()
	s.restand(u)
}
