package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// Limits of logins. At the limit of a peer its oldest login ends, at the limit of all the oldest of the peer with the most.
const (
	mostLogins = 1000
	peerLogins = 50
)

// Why a login has ended.
var (
	errLeft     = errors.New("logged out")
	errAgain    = errors.New("the browser has logged in again")
	errIdle     = errors.New("the login was not used for too long")
	errLongest  = errors.New("a login does not last longer")
	errRight    = errors.New("no grant gives the right to administer any more")
	errCrowd    = errors.New("too many later logins")
	errStopping = errors.New("the console is stopping")
)

// login is an administrator who has logged in, until he leaves or it lapses.
type login struct {
	id         string // for the audit file
	identified proxy.Identified
	token      string // the ID of its token; "": none
	addr       netip.Addr
	cookie     [sha256.Size]byte // of what the browser shows
	csrf       string
	until      time.Time
	listener   context.Context //nolint:containedctx // by which it came; it holds there only
	ctx        context.Context //nolint:containedctx // ends with the login
	cancel     context.CancelCauseFunc
	place      *share.Entry
	stay       func() bool // has it outlive its listener
	idle       time.Duration
	timer      *time.Timer
	ended      func(why error) // called once
}

// holds returns why the login must end; nil: it holds.
func (l *login) holds() error {
	switch err := l.identified.Lapsed(); {
	case err != nil:
		return err
	case !l.identified.Administers():
		return errRight
	}
	return nil
}

// visitor returns the login as a client of the API.
func (l *login) visitor() *kind.Visitor {
	return &kind.Visitor{
		Identified: l.identified, Front: name, Addr: l.addr, Key: l.cookie, Token: l.token,
		Valid: func() bool { return l.ctx.Err() == nil && l.identified.Administers() },
	}
}

// logins are those that hold.
type logins struct {
	places *share.Table

	mu    sync.Mutex
	table map[[sha256.Size]byte]*login
	over  bool
}

func newLogins() *logins {
	return &logins{places: share.New(share.Limits{Most: mostLogins, Peer: peerLogins}), table: map[[sha256.Size]byte]*login{}}
}

// secret returns a random text of 32 octets.
func secret() string {
	var octets [32]byte
	_, _ = rand.Read(octets[:]) // never fails
	return hex.EncodeToString(octets[:])
}

// enter enters a login, and returns the value of its cookie.
func (t *logins) enter(l *login) (cookie string, err error) {
	cookie, l.csrf, l.id = secret(), secret(), secret()[:16]
	l.cookie = sha256.Sum256([]byte(cookie))
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	if l.place, err = t.places.EnterAs(l.addr, share.Known, func(error) { t.end(l, errCrowd) }); err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		l.place.Leave()
		return "", errStopping
	}
	t.table[l.cookie] = l
	l.timer = time.AfterFunc(l.left(), func() {
		why := errIdle
		if !time.Now().Before(l.until) {
			why = errLongest
		}
		t.end(l, why)
	})
	l.stay = context.AfterFunc(l.listener, func() { t.end(l, context.Cause(l.listener)) })
	return cookie, nil
}

// left is how long the login lasts if it is not used.
func (l *login) left() time.Duration { return min(l.idle, time.Until(l.until)) }

// find returns the login of a cookie; nil if there is none that came by this listener. used has it last longer.
func (t *logins) find(cookie string, listener context.Context, used bool) *login {
	t.mu.Lock()
	l := t.table[sha256.Sum256([]byte(cookie))]
	if l == nil || l.listener != listener {
		t.mu.Unlock()
		return nil
	}
	if used {
		l.timer.Reset(l.left())
	}
	t.mu.Unlock()
	if t.check(l) != nil {
		return nil
	}
	return l
}

// check returns why a login does not hold any more, and ends it; nil: it holds.
func (t *logins) check(l *login) error {
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	why := l.holds()
	if why != nil {
		t.end(l, why)
	}
	return why
}

// end ends a login. Only the first call for a login does something.
func (t *logins) end(l *login, why error) {
	t.mu.Lock()
	known := t.table[l.cookie] == l
	if known {
		delete(t.table, l.cookie)
		l.timer.Stop()
		l.stay()
	}
	t.mu.Unlock()
	if !known {
		return
	}
	l.place.Leave()
	l.cancel(why)
	l.ended(why)
}

// close ends all logins. None is entered after that.
func (t *logins) close() {
	t.mu.Lock()
	t.over = true
	list := make([]*login, 0, len(t.table))
	for _, l := range t.table {
		list = append(list, l)
	}
	t.mu.Unlock()
	for _, l := range list {
		t.end(l, errStopping)
	}
}
