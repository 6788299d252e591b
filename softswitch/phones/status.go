package phones

import (
	"cmp"
	"slices"
	"time"
)

// Status says how the telephones stand, for administrators.
type Status struct {
	Reachable  int         `json:"reachable"` // extensions that can be called
	Legs       int         `json:"legs"`      // telephones in calls
	Telephones []Telephone `json:"telephones,omitempty"`
}

// Telephone is one that has registered.
type Telephone struct {
	Number    string    `json:"number"`
	Peer      string    `json:"peer"`
	Expires   time.Time `json:"expires"`
	Reachable bool      `json:"reachable"`
}

// Counts returns how many extensions can be called, and how many telephones are in calls.
func (s *Server) Counts() (reachable, legs int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users {
		if u.inUse {
			reachable++
		}
	}
	return reachable, len(s.all)
}

// Status returns how everything stands; all lists the telephones.
func (s *Server) Status(all bool) *Status {
	st := &Status{}
	st.Reachable, st.Legs = s.Counts()
	if !all {
		return st
	}
	now := time.Now()
	s.mu.Lock()
	for _, u := range s.users {
		for _, b := range u.bindings {
			st.Telephones = append(st.Telephones, Telephone{Number: u.Number, Peer: b.peer(), Expires: b.expires, Reachable: b.reachable(now)})
		}
	}
	s.mu.Unlock()
	slices.SortFunc(st.Telephones, func(a, b Telephone) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Peer, b.Peer))
	})
	return st
}
