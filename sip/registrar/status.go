package registrar

import (
	"cmp"
	"slices"
	"time"
)

// Telephone is a registered telephone, for administrators.
type Telephone struct {
	Number    string    `json:"number"`
	Peer      string    `json:"peer"`
	Expires   time.Time `json:"expires"`
	Reachable bool      `json:"reachable"`
	Agent     string    `json:"agent,omitempty"` // its header User-Agent
}

// telephones returns the telephones of an extension. The caller holds s.mu.
func (u *user) telephones(now time.Time) []Telephone {
	list := make([]Telephone, 0, len(u.bindings))
	for _, b := range u.bindings {
		list = append(list, Telephone{Number: u.Number, Peer: b.peer(), Expires: b.expires, Reachable: b.reachable(now), Agent: b.agent})
	}
	return list
}

// TelephonesOf returns the registered telephones of one extension.
func (s *Server) TelephonesOf(number string) []Telephone {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.users[number]; u != nil {
		return u.telephones(time.Now())
	}
	return nil
}

// Reachable returns how many extensions can be called.
func (s *Server) Reachable() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, u := range s.users {
		if u.standing.Reachable {
			n++
		}
	}
	return n
}

// Away reports whether an extension has an account, but no telephone that can be reached.
func (s *Server) Away(number string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[number]
	return u != nil && !u.standing.Reachable
}

// Telephones returns the registered telephones, ordered by number and peer.
func (s *Server) Telephones() []Telephone {
	now := time.Now()
	s.mu.Lock()
	list := make([]Telephone, 0, len(s.users))
	for _, u := range s.users {
		list = append(list, u.telephones(now)...)
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b Telephone) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Peer, b.Peer))
	})
	return list
}
