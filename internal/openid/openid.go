// Package openid checks the tokens (JWT) of an OpenID provider. It knows nothing of CSTA.
package openid

import (
	"context"
	cryptotls "crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Config configures a [Provider].
type Config struct {
	Issuer   string            // its URL, exactly as it stands in tokens
	Audience string            // what tokens must be for
	Claim    string            // the claim with the name of the bearer
	Prefix   string            // what is put before it
	TLS      *cryptotls.Config // for connections to the provider; nil: authorities of the system
	Log      *slog.Logger
}

// Bearer is whom a token stands for.
type Bearer struct {
	Name    string    // prefix and claim
	Observe bool      // the token is for services that observe only
	Expires time.Time // when it is no longer good
}

// The scopes of tokens that mean something here. A token that has the first and not the second is for services that observe
// only.
const (
	ScopeObserve = "tr87proxy:observe"
	ScopeControl = "tr87proxy:control"
)

// ErrExpired is the error of a token that was good once.
var ErrExpired = errors.New("the token has expired")

// WrongError says why a token is refused. It does not contain the token.
type WrongError struct{ Err error }

func (e *WrongError) Error() string { return "unusable token: " + share.Clip(e.Err.Error()) }

// Unwrap returns the cause.
func (e *WrongError) Unwrap() error { return e.Err }

func wrong(format string, args ...any) error { return &WrongError{fmt.Errorf(format, args...)} }

// Unavailable is the error of a token that cannot be checked now, because the provider's keys are not known.
type Unavailable struct {
	Err   error
	Retry time.Duration // when to try again
}

func (e *Unavailable) Error() string {
	return "cannot reach the OpenID provider: " + share.Clip(e.Err.Error())
}

// Unwrap returns the cause.
func (e *Unavailable) Unwrap() error { return e.Err }

// algorithms are those that need no secret in common with the provider: with HS256, whoever knows a public key could sign.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}

const (
	maxToken = 16 << 10
	maxName  = 128
	renewal  = time.Hour // age at which keys are fetched again, so that one that the provider has withdrawn is good no longer
)

// Provider checks tokens of one provider. It fetches its description and keys when a token needs them. It is safe for
// concurrent use.
type Provider struct {
	cfg    Config
	client *http.Client
	visits *visits
	turn   chan struct{} // who has the only place renews

	mu     sync.Mutex
	now    *description // nil: none yet
	failed bool         // the last fetch of a description has failed
}

// description is what the provider says of itself.
type description struct {
	verifier *oidc.IDTokenVerifier
	keys     *keySet
	at       time.Time
}

// New returns a provider. It fetches nothing yet.
func New(cfg Config) *Provider {
	v := newVisits(cfg.TLS)
	client := &http.Client{Transport: v, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &Provider{cfg: cfg, client: client, visits: v, turn: make(chan struct{}, 1)}
}

// Close ends what is being fetched, and waits for that.
func (p *Provider) Close() { p.visits.close() }

// Check returns whom a token stands for. The error is [ErrExpired], a [*WrongError] or an [*Unavailable]. It blocks for
// some seconds at most.
func (p *Provider) Check(ctx context.Context, text string) (Bearer, error) {
	if len(text) > maxToken {
		return Bearer{}, wrong("longer than %d octets", maxToken)
	}
	if err := kind(text); err != nil {
		return Bearer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	token, err := p.verify(ctx, text)
	if err != nil {
		return Bearer{}, err
	}
	var claims claims
	if err := token.Claims(&claims.all); err != nil {
		return Bearer{}, wrong("%w", err)
	}
	name, err := claims.name(p.cfg.Claim)
	if err != nil {
		return Bearer{}, err
	}
	if name = p.cfg.Prefix + name; len(name) > maxName {
		return Bearer{}, wrong("its name has more than %d octets", maxName)
	}
	scopes := claims.scopes()
	return Bearer{Name: name, Observe: slices.Contains(scopes, ScopeObserve) && !slices.Contains(scopes, ScopeControl), Expires: token.Expiry}, nil
}

// kind returns an error if a token says of itself that it is for something else, such as logging out.
func kind(text string) error {
	first, _, _ := strings.Cut(text, ".")
	data, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		return wrong("not a JWT")
	}
	var header struct {
		Type string `json:"typ"`
	}
	if err := json.Unmarshal(data, &header); err != nil {
		return wrong("not a JWT")
	}
	switch strings.TrimPrefix(strings.ToLower(header.Type), "application/") {
	case "", "jwt", "at+jwt":
		return nil
	}
	return wrong("typ is %q", header.Type)
}

// verify returns a token whose signature, issuer, audience and times are right.
func (p *Provider) verify(ctx context.Context, text string) (*oidc.IDToken, error) {
	now, failed := p.described()
	switch {
	case now == nil:
		if err := p.await(ctx, failed); err != nil {
			return nil, &Unavailable{err, shortest}
		}
		defer func() { <-p.turn }()
		if now, _ = p.described(); now == nil { // nobody before this one has got it
			return p.renew(ctx, text)
		}
	case p.visits.clock().Sub(now.at) >= renewal || !now.keys.has.Load():
		select {
		case p.turn <- struct{}{}:
			defer func() { <-p.turn }()
			token, err := p.renew(ctx, text)
			if down := (*Unavailable)(nil); !errors.As(err, &down) {
				return token, err
			}
		default: // another does
		}
	}
	return now.check(ctx, text)
}

// described returns the last description, or nil, and whether the last try to get one has failed.
func (p *Provider) described() (*description, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now, p.failed
}

var errDown = errors.New("its last response was an error, and the next has not arrived yet")

// await waits for the turn to renew, but not for a provider that is down.
func (p *Provider) await(ctx context.Context, failed bool) error {
	if failed {
		select {
		case p.turn <- struct{}{}:
			return nil
		default:
			return errDown
		}
	}
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// renew checks a token with a description and keys of the provider that are fetched for it, and keeps them. Only one at a
// time calls it.
func (p *Provider) renew(ctx context.Context, text string) (*oidc.IDToken, error) {
	fetching := oidc.ClientContext(context.WithoutCancel(ctx), p.client) // a client that hangs up does not end it
	provider, err := oidc.NewProvider(fetching, p.cfg.Issuer)
	p.mu.Lock()
	p.failed = err != nil
	p.mu.Unlock()
	if err != nil {
		return nil, p.down(err)
	}
	var described struct {
		Keys string `json:"jwks_uri"`
	}
	if err := provider.Claims(&described); err != nil {
		return nil, p.down(err)
	}
	keys := &keySet{remote: oidc.NewRemoteKeySet(fetching, described.Keys), down: p.down}
	now := &description{oidc.NewVerifier(p.cfg.Issuer, keys, &oidc.Config{ClientID: p.cfg.Audience, SupportedSigningAlgs: algorithms, Now: p.visits.clock}), keys, p.visits.clock()}
	token, err := now.check(ctx, text)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == nil || keys.has.Load() { // keys that work are kept until there are new ones
		p.now = now
	}
	return token, err
}

// down makes the error of a failure to fetch something. It logs the failure, but not that nobody has tried again.
func (p *Provider) down(err error) error {
	early := (*tooEarly)(nil)
	if errors.As(err, &early) {
		return &Unavailable{early, early.wait}
	}
	if !errors.Is(err, context.Canceled) && p.cfg.Log != nil {
		p.cfg.Log.Warn("could not fetch from the OpenID provider", "issuer", p.cfg.Issuer, "err", share.Clip(err.Error()))
	}
	return &Unavailable{err, shortest}
}

// check has a token checked, and tells what is wrong with it from what is wrong with the provider.
func (d *description) check(ctx context.Context, text string) (*oidc.IDToken, error) {
	var down error
	token, err := d.verifier.Verify(context.WithValue(ctx, downKey{}, &down), text)
	expired := (*oidc.TokenExpiredError)(nil)
	switch {
	case down != nil:
		return nil, down
	case errors.As(err, &expired) && !expired.Expiry.IsZero():
		return nil, ErrExpired
	case err != nil:
		return nil, &WrongError{err}
	}
	return token, nil
}
