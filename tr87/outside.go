package tr87

import (
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Outside handles an INFO or NOTIFY outside a dialog with one CSTA request; the response is in the 200 OK. It is for
// sip.Config.Requests. Only trusted peers may send them, and not over UDP, where the sender's address may be forged. What would
// open something that lasts, such as a monitor, needs a dialog and is refused.
func (s *Server) Outside(r *sip.Request) {
	defer share.Survive(s.cfg.Log, "handling a request outside a dialog", func(error) { r.Respond(sip.Answer{Code: 500}) })
	peer := r.Peer()
	who := s.cfg.Anybody
	switch {
	case who.Name != "":
	case !addressValidated(peer), !s.trusts(peer):
		s.cfg.Proxy.Refused("sip", peer.String(), policy.IdentityOf(r.From().URI), "a request outside a dialog, and the peer is not trusted or comes over UDP")
		s.warn("request outside a dialog refused: peer not trusted, or over UDP", "", peer)
		r.Respond(sip.Answer{Code: 403})
		return
	default:
		who = policy.Identity{Name: policy.IdentityOf(assertedBy(r)), How: "trusted-peer"}
	}
	m, _, refusal := readOpening(r)
	switch {
	case refusal != nil:
		r.Respond(*refusal)
		return
	case m == nil || m.Kind() != uacsta.Request:
		r.Respond(sip.Answer{Code: 481})
		return
	}
	answer := func(res *uacsta.Message) {
		if res == nil {
			r.Respond(sip.Answer{})
			return
		}
		r.Respond(sip.Answer{ContentType: ContentType, Body: res.Bytes(), Headers: []sip.Header{disposition}})
	}
	if lasting[m.Name()] || proxy.Opens(m.Name()+"Response") {
		answer(uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported).Message(m.Edition()))
		return
	}
	core, err := s.cfg.Proxy.Open(proxy.Opening{
		Identity: who, Peer: peer.String(), Front: "sip", Addr: peer.Addr.Addr(), Names: peer.Names, Sessions: s.cfg.Sessions, Single: true,
	}, nobody{})
	if err != nil {
		r.Respond(refuse(err))
		return
	}
	core.Request(m, func(res *uacsta.Message) {
		answer(res)
		core.Close(nil)
	})
}

// lasting are further requests that open something for as long as a dialog lasts.
var lasting = map[string]bool{uacsta.NameStartApplicationSession: true, uacsta.NameSystemRegister: true}

// nobody is the client of a request outside a dialog, which gets its response alone.
type nobody struct{}

// Event implements proxy.Client.
func (nobody) Event(*uacsta.Message) {}

// Closed implements proxy.Client.
func (nobody) Closed(error) {}
