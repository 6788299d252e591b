package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/tr87proxy/tr87proxy/internal/files"
)

// Why a login is refused.
var (
	ErrWrong  = errors.New("unknown account, wrong password or wrong application ID")
	ErrLocked = errors.New("locked after too many wrong passwords")
	ErrBusy   = errors.New("too many password checks in progress")
)

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
	path  string
	log   *slog.Logger
	guard *Guard
	turns turns
	key   [32]byte // for the MACs of this process

	mu    sync.Mutex
	stamp files.Stamp
	list  map[string]Account           // by lower-case name
	right map[string][sha256.Size]byte // MAC of the last correct password, to avoid hashing it again
}

const (
	atOnce     = 2 // concurrent password checks; each uses a processor for about 50 ms
	watchEvery = 2 * time.Second
)

// Open reads a file of accounts.
func Open(path string, guard *Guard, log *slog.Logger) (*Keeper, error) {
	k := &Keeper{path: path, log: log, guard: guard, turns: turns{free: atOnce}}
	_, _ = rand.Read(k.key[:])
	k.mu.Lock()
	defer k.mu.Unlock()
	return k, k.refresh()
}

// refresh reads the file if it has changed. Callers hold k.mu.
func (k *Keeper) refresh() error {
	info, err := os.Stat(k.path)
	if err != nil {
		return err
	}
	now := files.StampOf(k.path)
	if now == k.stamp && k.list != nil {
		return nil
	}
	list, err := Read(k.path)
	if err != nil {
		return err
	}
	k.stamp, k.list, k.right = now, map[string]Account{}, map[string][sha256.Size]byte{}
	for _, a := range list {
		k.list[strings.ToLower(a.Name)] = a
	}
	if info.Mode().Perm()&0o044 != 0 {
		k.log.Warn("accounts file is readable by others: run chmod 600", "file", k.path)
	}
	return nil
}

// lookup finds an account. If the file cannot be read any more, it uses the previous content.
func (k *Keeper) lookup(name string) (a Account, proof [sha256.Size]byte, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.refresh(); err != nil {
		k.log.Error("could not read accounts file: keeping the previous accounts", "err", err)
	}
	a, known = k.list[name]
	return a, k.right[name], known
}

// Login identifies an account that was logged in to. Two are equal if the account has not
// changed in between.
type Login struct {
	Name string            // in lower case
	Seal [sha256.Size]byte // MAC of password hash and application ID
}

// login returns the Login of an account as it is in the file.
func (k *Keeper) login(a Account) Login {
	mac := hmac.New(sha256.New, k.key[:])
	mac.Write([]byte("login\x00" + a.hash + "\x00" + a.Application))
	return Login{strings.ToLower(a.Name), [sha256.Size]byte(mac.Sum(nil))}
}

// Holds reports whether the account still exists with the password and application ID of the
// login.
func (k *Keeper) Holds(l Login) bool {
	a, _, known := k.lookup(l.Name)
	return known && k.login(a) == l
}

// Watch calls changed after each change of the file until ctx ends. It checks every 2 s.
func (k *Keeper) Watch(ctx context.Context, changed func()) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	k.mu.Lock()
	last := k.stamp
	k.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now := files.StampOf(k.path); now != last {
			last = now
			changed()
		}
	}
}

// Check returns the login if the credentials are right, otherwise [ErrWrong], [ErrLocked] or
// [ErrBusy]. It delays ErrWrong longer after each wrong password, but not beyond the end of
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
	select {
	case <-time.After(k.guard.Failed(name, from)):
	case <-ctx.Done():
	}
	return Login{}, ErrWrong
}

// nobody is a hash to compare with if there is no such account, so that this takes as long.
var nobody = []byte("$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy")

// matches finds an account and reports whether password and application ID are right. An error
// means that they were not checked.
func (k *Keeper) matches(ctx context.Context, application, name, password string, from netip.Addr) (Account, bool, error) {
	if a, _, right := k.recent(name, password); right {
		return a, a.fits(application), nil // without waiting for a turn
	}
	if err := k.turns.take(ctx, from, k.guard.Knows(name, from)); err != nil {
		return Account{}, false, err
	}
	defer k.turns.give()
	if err := k.guard.Admit(name, from); err != nil { // a request before this one may have locked the name
		return Account{}, false, err
	}
	a, proof, right := k.recent(name, password)
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
	k.mu.Lock()
	if k.list[name].hash == a.hash {
		k.right[name] = proof
	}
	k.mu.Unlock()
	return a, a.fits(application), nil
}

// recent finds an account, or the zero value, and reports whether this password was right
// recently. proof is its MAC.
func (k *Keeper) recent(name, password string) (a Account, proof [sha256.Size]byte, right bool) {
	a, last, known := k.lookup(name)
	mac := hmac.New(sha256.New, k.key[:])
	mac.Write([]byte(a.hash + password))
	proof = [sha256.Size]byte(mac.Sum(nil))
	return a, proof, known && hmac.Equal(proof[:], last[:])
}

func (a *Account) fits(application string) bool {
	return a.Application == "" || a.Application == application
}
