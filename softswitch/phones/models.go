package phones

import (
	"context"
	"strings"

	"github.com/tr87proxy/tr87proxy/sip"
)

// notify sends a command of its maker's to a telephone, over its registration. What comes
// of it shows in its calls.
func (s *Server) notify(u *user, b *binding, n *Notify, callID string) {
	s.spawn(func() {
		ctx, cancel := context.WithTimeout(s.ctx, qualifyWait)
		defer cancel()
		res, err := s.ua.Request(ctx, "NOTIFY", sip.Invite{
			To: s.address(u.Number, b), Target: b.contact, From: s.address(u.Number, b), Flow: b.flow,
			ContentType: n.Type, Body: []byte(strings.ReplaceAll(n.Body, "{call-id}", callID)), Username: u.Name, Password: u.password(),
			Headers: []sip.Header{{Name: "Event", Value: n.Event}, {Name: "Subscription-State", Value: "terminated;reason=noresource"}},
		})
		if err != nil || res.Code()/100 != 2 {
			s.log.Info("a telephone does not obey its maker's NOTIFY", "device", u.Number, "model", b.model.Name, "event", n.Event, "err", err)
		}
	})
}
