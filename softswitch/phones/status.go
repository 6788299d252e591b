package phones

import (
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
)

// Status is the state of the telephones, for administrators.
type Status struct {
	Reachable  int                   `json:"reachable"` // extensions that can be called
	Legs       int                   `json:"legs"`      // telephones in calls
	Telephones []registrar.Telephone `json:"telephones,omitempty"`
}

// Counts returns how many extensions can be called, and how many telephones are in calls.
func (s *Server) Counts() (reachable, legs int) {
	s.mu.Lock()
	legs = len(s.all)
	s.mu.Unlock()
	return s.telephones.Reachable(), legs
}

// Telephones implements softswitch.Phones.
func (s *Server) Telephones(number string) []proxy.Telephone {
	telephones := s.telephones.TelephonesOf(number)
	list := make([]proxy.Telephone, 0, len(telephones))
	for _, t := range telephones {
		list = append(list, proxy.Telephone{Agent: t.Agent, Reachable: t.Reachable})
	}
	return list
}

// Status returns the state of the telephones. With all it lists each of them.
func (s *Server) Status(all bool) *Status {
	st := &Status{}
	st.Reachable, st.Legs = s.Counts()
	if all {
		st.Telephones = s.telephones.Telephones()
	}
	return st
}
