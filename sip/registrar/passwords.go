package registrar

import (
	"slices"
)

// password returns the password of a user's account, or "" if the account is locked. It also answers challenges of
// the user's telephones.
func (u *user) password() string { return *u.secret.Load() }

func (u *user) setPassword(password string) { u.secret.Store(&password) }

// SetPasswords sets the passwords of all accounts to those of users, by number and name; the account of a
// user who is not among them is locked. Registrations, subscriptions and uaCSTA
// sessions that were opened with another password end. It returns the numbers of the extensions whose password changed.
func (s *Server) SetPasswords(users []User) []string {
	changed := s.OtherPasswords(users)
	for _, number := range changed {
		u := s.users[number]
		u.setPassword(PasswordOf(users, number, u.Name)) // first: a telephone that authenticates from now on uses this one
		s.forget(u)
		s.log.Info("changed the password of a telephone's account", "device", number, "locked", u.password() == "")
	}
	return changed
}

// OtherPasswords returns the numbers that SetPasswords would return, and changes nothing.
func (s *Server) OtherPasswords(users []User) []string {
	var changed []string
	for number, u := range s.users {
		if PasswordOf(users, number, u.Name) != u.password() {
			changed = append(changed, number)
		}
	}
	slices.Sort(changed)
	return changed
}

// PasswordOf returns the password of an account, by the number and the name of its user, or "" if there is
// no such user.
func PasswordOf(users []User, number, name string) string {
	i := slices.IndexFunc(users, func(u User) bool {
		return u.Number == number && (u.Name == name || u.Name == "" && name == number)
	})
	if i < 0 {
		return ""
	}
	return users[i].Password
}

// forget closes everything that a user's telephones have opened.
func (s *Server) forget(u *user) {
	s.mu.Lock()
	before := u.bindings
	u.bindings = nil
	for _, b := range before {
		if b.static { // it did not register
			u.bindings = append(u.bindings, &binding{contact: b.contact, static: true, expires: b.expires})
		}
	}
	stored := s.stored(u)
	var subscriptions []*subscription
	for sub := range s.watchers {
		if sub.by == u {
			subscriptions = append(subscriptions, sub)
		}
	}
	s.mu.Unlock()
	s.keep(u, stored, true)
	s.left(u, before)
	for _, sub := range subscriptions {
		s.unsubscribe(sub)
	}
	s.restand(u)
}
