package daemon

import (
	"sync"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Request is a CSTA request that clients can send, for forms.
type Request struct {
	Name    string          `json:"name"`
	Text    string          `json:"text"`  // what it does
	Group   string          `json:"group"` // a clause of the standard
	Classes []string        `json:"classes"`
	Observe bool            `json:"observe"` // it changes nothing
	Since   int             `json:"since"`   // the edition, 3 or 6
	Members []uacsta.Member `json:"members"`
}

// requests lists the CSTA requests that clients can send, in the order of their names.
var requests = sync.OnceValue(func() []Request {
	var list []Request
	for _, name := range uacsta.Names() {
		s := uacsta.ServiceOf(name)
		if !uacsta.IsRequest(name) || s.Group() == "" || !s.ToSwitch() {
			continue
		}
		list = append(list, Request{
			Name: name, Text: s.Text(), Group: s.Group(), Classes: append([]string{}, s.Classes()...), Observe: uacsta.Observes(name), Since: int(uacsta.Since(name)), Members: uacsta.MembersOf(name),
		})
	}
	return list
})
