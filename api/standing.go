package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/tokens"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// standing says how a client was identified, in a form that survives a restart. A webhook has that of its owner, and stops
// when it does not hold any more.
type standing struct {
	How   string     `json:"how"`             // as policy.Identity has it
	Token string     `json:"token,omitempty"` // the ID
	Mark  []byte     `json:"mark,omitempty"`  // of an account, as accounts.Keeper.Mark returns it
	Addr  netip.Addr `json:"addr,omitzero"`   // of a trusted peer
	Names []string   `json:"names,omitempty"` // in its certificate
}

// standing returns how a caller is identified.
func (a *authenticator) standing(c *caller) json.RawMessage {
	s := standing{How: c.identified.Identity.How}
	switch s.How {
	case "token":
		s.Token = c.token
	case "account":
		if a.env.Accounts != nil {
			s.Mark = a.env.Accounts.Mark(c.identified.Identity.Name)
		}
	case "openid", "connect":
	default:
		s.Addr, s.Names = c.addr, c.names
	}
	data, _ := json.Marshal(s) // has only texts and octets
	return data
}

// Why a webhook is disabled.
var (
	errTokenRevoked   = errors.New("the token has been revoked")
	errTokenExpired   = errors.New("the token has expired")
	errAccountChanged = errors.New("the account has been removed, or its password changed")
	errNotTrusted     = errors.New("the address or certificate is not trusted any more")
	errNotConfigured  = errors.New("the configuration does not have the OpenID provider or the connection any more")
	errUnknownOwner   = errors.New("nothing says how its owner was identified")
)

// holds returns nil if a client would still be identified as it was, as far as that can be known; otherwise why not. The
// OpenID provider is not asked: it does not know tokens that have expired.
func (s *Server) holds(owner string, by json.RawMessage) error {
	var was standing
	if json.Unmarshal(by, &was) != nil {
		return errUnknownOwner
	}
	env := s.auth.env
	switch was.How {
	case "token":
		err := tokens.ErrWrong
		if env.Tokens != nil {
			err = env.Tokens.Standing(was.Token, owner, tokens.Control)
		}
		switch {
		case errors.Is(err, tokens.ErrExpired):
			return errTokenExpired
		case err != nil:
			return errTokenRevoked
		}
	case "account":
		if env.Accounts == nil || was.Mark == nil || !bytes.Equal(env.Accounts.Mark(owner), was.Mark) {
			return errAccountChanged
		}
	case "openid":
		if s.auth.openID == nil {
			return errNotConfigured
		}
	case "connect":
		if !slices.ContainsFunc(s.outbounds, func(o *outbound) bool { return strings.EqualFold(o.As, owner) && o.Scope == scopeControl }) {
			return errNotConfigured
		}
	case "":
		return errUnknownOwner
	default:
		peer := proxy.Proof{Addr: was.Addr, CertificateNames: was.Names}
		if now, err := s.proxy.Identify(s.events.ctx, peer); err != nil || now.Identity.Name != owner {
			return errNotTrusted
		}
	}
	return nil
}
