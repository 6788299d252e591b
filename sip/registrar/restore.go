package registrar

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/state"
)

// Bucket is the bucket of the state file for registrations, by the number of their extension.
const Bucket = "bindings"

// Registration is the stored form of a registration.
type Registration struct {
	Contact  string
	Source   string // host:port that it came from, over UDP
	CallID   string
	CSeq     uint32
	Instance string
	Expires  time.Time
	Talks    bool
	Agent    string
	Seal     string // seal of the password used; "" in files of older versions, and without a file
}

// stored returns a user's registrations for the state file. Callers hold the server's lock.
func (s *Server) stored(u *user) []Registration { return u.registrations(s.seal(u)) }

// registrations returns the registrations of a user, with the seal of its password. Callers hold the server's lock.
func (u *user) registrations(seal string) []Registration {
	list := make([]Registration, 0, len(u.bindings))
	for _, b := range u.bindings {
		if b.static {
			continue
		}
		k := Registration{Contact: b.contact, CallID: b.callID, CSeq: b.cseq, Instance: b.instance, Expires: b.expires, Talks: b.talks, Agent: b.agent, Seal: seal}
		if p := b.flow.Peer(); p.Transport == "UDP" {
			k.Source = p.Addr.String()
		}
		list = append(list, k)
	}
	return list
}

// seal returns a hash by which two passwords of a user can be told apart. Registrations that were made with
// another password do not survive a restart.
func (s *Server) seal(u *user) string {
	key := s.cfg.State.Key()
	if key == nil {
		return ""
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%q|%q|%s", u.Number, u.Name, u.password())
	return hex.EncodeToString(mac.Sum(nil))
}

// keep stores registrations in the state file. A mere refresh is written with others in the next second.
func (s *Server) keep(u *user, list []Registration, changed bool) {
	s.cfg.State.Keep(Bucket, u.Number, list, changed)
}

// restore restores the registrations from before a restart that came over UDP, because connections are lost.
// Then it adds the telephones of the configuration.
func (s *Server) restore() {
	before := s.before
	if s.cfg.State != nil {
		before = state.Load[[]Registration](s.cfg.State, Bucket)
	}
	for number, list := range before {
		if u := s.users[number]; u != nil {
			for _, k := range list {
				s.restoreOne(u, k)
			}
		}
	}
	s.mu.Lock()
	s.before = nil
	s.mu.Unlock()
	for _, u := range s.users {
		if u.Contact != "" {
			s.mu.Lock()
			u.bindings = append(u.bindings, &binding{contact: u.Contact, static: true, expires: time.Now().AddDate(100, 0, 0)})
			s.mu.Unlock()
		}
		s.restand(u)
	}
}

// restoreOne restores one registration.
func (s *Server) restoreOne(u *user, k Registration) {
	source, err := netip.ParseAddrPort(k.Source)
	if err != nil || time.Now().After(k.Expires) {
		return
	}
	if k.Seal != "" && k.Seal != s.seal(u) {
		s.log.Info("dropped a stored registration: its password has changed", "device", u.Number)
		return
	}
	flow, err := s.ua.FlowTo(source)
	if err != nil {
		s.log.Info("dropped a stored registration: no way to its telephone", "device", u.Number, "err", err)
		return
	}
	s.mu.Lock()
	if !slices.ContainsFunc(u.bindings, func(b *binding) bool { return b.contact == k.Contact }) { // the telephone has not registered again yet
		u.bindings = append(u.bindings, &binding{
			contact: k.Contact, instance: k.Instance, flow: flow, callID: k.CallID, cseq: k.CSeq, expires: k.Expires, talks: k.Talks, agent: k.Agent, model: s.modelOf(k.Agent),
		})
	}
	s.mu.Unlock()
	s.guard.Succeeded(u.Name, source.Addr())
}

// Registrations returns, for the next server, the registrations of the users whose password is the one in users,
// and those of the previous server that have not been restored.
func (s *Server) Registrations(users []User) map[string][]Registration {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string][]Registration{}
	for number, u := range s.users {
		if u.password() == PasswordOf(users, number, u.Name) {
			all[number] = append(u.registrations(""), s.before[number]...)
		}
	}
	return all
}
