package phones

import (
	"slices"
)

// password is what the telephones of a user prove to know, and what challenges of theirs
// are answered with; "" for a user whose account is locked.
func (u *user) password() string { return *u.secret.Load() }

func (u *user) setPassword(password string) { u.secret.Store(&password) }

// SetPasswords takes the passwords of all accounts anew, of users by number and name; a
// user who is not among them is locked. What was opened with another password ends:
// registrations, subscriptions, and CSTA sessions with telephones. Calls go on to their
// end. It returns the numbers concerned.
func (s *Server) SetPasswords(users []User) []string {
	changed := s.OtherPasswords(users)
	for _, number := range changed {
		u := s.users[number]
		password := passwordOf(users, number, u.Name)
		u.setPassword(password) // first: what is proved from now on, is by this one
		s.forget(u)
		s.log.Info("another password of a telephone's account", "device", number, "locked", password == "")
	}
	return changed
}

// OtherPasswords returns the numbers that SetPasswords would concern, and changes nothing.
func (s *Server) OtherPasswords(users []User) []string {
	var changed []string
	for number, u := range s.users {
		if passwordOf(users, number, u.Name) != u.password() {
			changed = append(changed, number)
		}
	}
	slices.Sort(changed)
	return changed
}

// passwordOf is the password of an account, by the number and the name of its user; "" where there is
// no such user.
func passwordOf(users []User, number, name string) string {
	i := slices.IndexFunc(users, func(u User) bool {
		return u.Number == number && (u.Name == name || u.Name == "" && name == number)
	})
	if i < 0 {
		return ""
	}
	return users[i].Password
}

// forget ends what a user's telephones have opened.
func (s *Server) forget(u *user) {
	s.mu.Lock()
	before := u.bindings
	u.bindings = nil
	for _, b := range before {
		if b.static { // it did not register
			u.bindings = append(u.bindings, &binding{contact: b.contact, static: true, expires: b.expires})
		}
	}
	keep := u.kept(s.store.seal(u))
	var subscriptions []*subscription
	for sub := range s.watchers {
		if sub.by == u {
			subscriptions = append(subscriptions, sub)
		}
	}
	s.mu.Unlock()
	s.store.keepBindings(u.Number, keep, true)
	s.left(u, before)
	for _, sub := range subscriptions {
		s.unsubscribe(sub)
	}
	s.service(u)
}
