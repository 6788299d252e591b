package api

import (
	"net/url"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/openid"
)

// Identification has the keys about who clients are, beside application-sessions.tokens-file and accounts. Settings embed it.
type Identification struct {
	OpenID OpenID `yaml:"openid"`
	// Origins are those of pages that may use the interface from a browser, beside the proxy's own.
	Origins kind.Origins `yaml:"origins"`
	// Hosts are the names by which clients without credentials reach the proxy without TLS.
	Hosts kind.Hosts `yaml:"hosts"`
}

// OpenID is the key openid: whose tokens count, and what they say.
type OpenID struct {
	Issuer   string `yaml:"issuer"`
	Audience string `yaml:"audience"`
	Claim    string `yaml:"claim"`
	Prefix   string `yaml:"prefix"`
	CA       string `yaml:"ca"`
}

// Check reports faults.
func (id *Identification) Check(s *config.Section) {
	id.OpenID.check(s)
	id.Origins.Check("origins", s)
	id.Hosts.Check("hosts", s)
}

func (o *OpenID) check(s *config.Section) {
	if *o == (OpenID{}) {
		return
	}
	if u, err := url.Parse(o.Issuer); err != nil || !openid.Secure(u) || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		s.Fault("openid.issuer", "must be the URL of the provider with https, exactly as it stands in its tokens (iss); write for example https://login.contoso.com/realms/office")
	}
	if o.Audience == "" {
		s.Fault("openid.audience", "must be what tokens for the proxy have in aud; write for example tr87proxy")
	}
	if o.Claim == "" {
		s.Fault("openid.claim", "must be the claim with the name that rules and grants know; write for example preferred_username, email or sub")
	}
}
