package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/tr87proxy/tr87proxy/internal/files"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Why a login is refused.
var (
	ErrWrong  = errors.New("unknown account, wrong password or wrong application ID")
	ErrLocked = errors.New("locked after too many wrong passwords")
	ErrBusy   = errors.New("too many password checks in progress")
)

// LockedError is [ErrLocked].
type LockedError struct{ Until time.Time }

func (*LockedError) Error() string { return ErrLocked.Error() }

// Is reports whether target is ErrLocked.
func (*LockedError) Is(target error) bool { return target == ErrLocked }

// Rates of wrong passwords that are exceeded. Both are ErrBusy.
const (
	errPeerRate busy = "too many wrong passwords from this address"
	errNameRate busy = "too many wrong passwords for this name"
)

// busy is an error that is ErrBusy.
type busy string

func (b busy) Error() string { return string(b) }

// Is reports whether target is ErrBusy.
func (b busy) Is(target error) bool { return target == ErrBusy }

// Keeper checks the logins of applications against a file of accounts. It rereads the file
// after a change. It is safe for concurrent use.
type Keeper struct {
	file  *files.Followed[*content]
	guard *Guard
	turns turns
	key   [32]byte // for the MACs of this process
}

// content is what a file of accounts says.
type content struct {
	list    map[string]Account // by lower-case name
	digests bool               // an account can log in by HTTP Digest

	mu    sync.Mutex
	right map[string][sha256.Size]byte // MAC of the last correct password, to avoid hashing it again
}

const atOnce = 2 // concurrent password checks; each uses a processor for about 50 ms

// Open reads a file of accounts.
func Open(path string, guard *Guard, log *slog.Logger) (*Keeper, error) {
	k := &Keeper{guard: guard, turns: turns{free: atOnce}}
	_, _ = rand.Read(k.key[:])
	var err error
	k.file, err = files.Follow("accounts", path, load, share.Quiet(log))
	return k, err
}

// load reads a file.
func load(path string) (*content, error) {
	list, err := Read(path)
	c := &content{list: map[string]Account{}, right: map[string][sha256.Size]byte{}}
	for _, a := range list {
		c.list[strings.ToLower(a.Name)] = a
		c.digests = c.digests || a.Digest
	}
	return c, err
}

// Login identifies an account that was logged in to. Two are equal if the account has not
// changed in between.
type Login struct {
	Name string            // in lower case
	Seal [sha256.Size]byte // MAC of the hashes of the password and the application ID
}

// login returns the Login of an account as it is in the file.
func (k *Keeper) login(a Account) Login {
	mac := hmac.New(sha256.New, k.key[:])
	mac.Write([]byte("login\x00" + a.hashes() + "\x00" + a.Application))
	return Login{strings.ToLower(a.Name), [sha256.Size]byte(mac.Sum(nil))}
}

// Holds reports whether the account still exists with the password and application ID of the
// login.
func (k *Keeper) Holds(l Login) bool {
	a, known := k.file.Content().list[l.Name]
	return known && k.login(a) == l
}

// Mark returns what changes with the password and application ID of an account, and does not reveal them; nil if there is
// no such account. Unlike a Login, another process can compare it: the salt of the hash is as good as a key.
func (k *Keeper) Mark(name string) []byte {
	a, known := k.file.Content().list[strings.ToLower(name)]
	if !known {
		return nil
	}
	sum := sha256.Sum256([]byte("mark\x00" + a.hashes() + "\x00" + a.Application))
	return sum[:]
}

// Watch calls changed after each change of the file until ctx ends. It checks every 2 s.
func (k *Keeper) Watch(ctx context.Context, changed func()) { k.file.Watch(ctx, changed) }

// Check returns the login if the credentials are right, otherwise [ErrWrong], [ErrLocked] (a
// [*LockedError]) or [ErrBusy]. It delays ErrWrong longer after each wrong password, but not beyond the end of
// ctx. from is the peer's address, which must be validated.
func (k *Keeper) Check(ctx context.Context, application, name, password string, from netip.Addr) (Login, error) {
	name = strings.ToLower(name)
	if len(name) > maxName || len(password) > maxPassword || len(application) > maxName {
		name, password = "", "" // never right, and not worth keeping
	}
	if err := k.guard.Admit(name, from); err != nil {
		return Login{}, err
	}
	a, right, err := k.matches(ctx, application, name, password, from)
	switch {
	case err != nil:
		return Login{}, err
	case right:
		k.guard.Succeeded(name, from)
		return k.login(a), nil
	}
	return Login{}, k.wrong(ctx, name, from)
}

// wrong counts a wrong password, waits, and returns ErrWrong.
func (k *Keeper) wrong(ctx context.Context, name string, from netip.Addr) error {
	select {
	case <-time.After(k.guard.Failed(name, from)):
	case <-ctx.Done():
	}
	return ErrWrong
}

// nobody is a hash to compare with if there is no such account, so that this takes as long.
var nobody = []byte("$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy")

// matches finds an account and reports whether password and application ID are right. An error
// means that they were not checked.
func (k *Keeper) matches(ctx context.Context, application, name, password string, from netip.Addr) (Account, bool, error) {
	if a, right := k.recent(k.file.Content(), name, password); right {
		return a, a.fits(application), nil // without waiting for a turn
	}
	if err := k.turns.take(ctx, from, k.guard.Knows(name, from)); err != nil {
		return Account{}, false, err
	}
	defer k.turns.give()
	if err := k.guard.Admit(name, from); err != nil { // a request before this one may have locked the name
		return Account{}, false, err
	}
	c := k.file.Content()
	a, right := k.recent(c, name, password)
	if right { // or may have shown that the password is right
		return a, a.fits(application), nil
	}
	hash := []byte(a.hash)
	if a.Name == "" {
		hash = nobody
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil || a.Name == "" {
		return Account{}, false, nil
	}
	c.mu.Lock()
	c.right[name] = k.proof(a, password)
	c.mu.Unlock()
	return a, a.fits(application), nil
}

// recent finds an account, or the zero value, and reports whether this password was right
// recently.
func (k *Keeper) recent(c *content, name, password string) (Account, bool) {
	a, known := c.list[name]
	proof := k.proof(a, password)
	c.mu.Lock()
	last := c.right[name]
	c.mu.Unlock()
	return a, known && hmac.Equal(proof[:], last[:])
}

// proof returns the MAC of a password of an account.
func (k *Keeper) proof(a Account, password string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, k.key[:])
	mac.Write([]byte(a.hash + password))
	return [sha256.Size]byte(mac.Sum(nil))
}

func (a *Account) fits(application string) bool {
	return a.Application == "" || a.Application == application
}
