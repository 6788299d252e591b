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

// Why nobody is let in.
var (
	ErrWrong  = errors.New("no such account, or the password or the application ID is wrong")
	ErrLocked = errors.New("locked after too many wrong passwords")
	ErrBusy   = errors.New("too many passwords are being checked")
)

// Wrong passwords that come faster than their rate: both are ErrBusy.
const (
	errPeerRate busy = "too many wrong passwords from this address"
	errNameRate busy = "too many wrong passwords for this name"
)

// busy is a reason for ErrBusy.
type busy string

func (b busy) Error() string { return string(b) }

// Is makes every busy an ErrBusy.
func (b busy) Is(target error) bool { return target == ErrBusy }

// Keeper answers whether an application is who it says. It reads its file again when
// that has changed, so that whoever edits it need not tell.
type Keeper struct {
	path  string
	log   *slog.Logger
	guard *Guard
	turns turns
	key   [32]byte // of this process, for right

	mu    sync.Mutex
	stamp files.Stamp
	list  map[string]Account           // by name in small letters
	right map[string][sha256.Size]byte // what was right last, so that the same need not be hashed slowly again
}

const (
	atOnce     = 2 // passwords that are checked; each takes a processor for some 50 ms
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

// refresh reads the file if it is another one than before; k.mu is held.
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
		k.log.Warn("the accounts file can be read by everybody; its owner alone should (chmod 600)", "file", k.path)
	}
	return nil
}

// lookup finds an account. A file that cannot be read any more leaves what was read.
func (k *Keeper) lookup(name string) (a Account, proof [sha256.Size]byte, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.refresh(); err != nil {
		k.log.Error("the accounts file cannot be read; what it said before holds", "err", err)
	}
	a, known = k.list[name]
	return a, k.right[name], known
}

// Login is an account that somebody has logged in to. Two are equal if nothing of the
// account has changed between them.
type Login struct {
	Name string            // in small letters
	Seal [sha256.Size]byte // of the password and the application ID, under a key of this process
}

// login is the login to an account as it stands in the file.
func (k *Keeper) login(a Account) Login {
	mac := hmac.New(sha256.New, k.key[:])
	mac.Write([]byte("login\x00" + a.hash + "\x00" + a.Application))
	return Login{strings.ToLower(a.Name), [sha256.Size]byte(mac.Sum(nil))}
}

// Holds reports whether an account is still there with the password and the application ID
// that it had when somebody logged in to it.
func (k *Keeper) Holds(l Login) bool {
	a, _, known := k.lookup(l.Name)
	return known && k.login(a) == l
}

// Watch calls changed whenever the file is another one than before, until ctx ends. It
// looks every few seconds.
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

// Check returns the login if everything is right, and ErrWrong, ErrLocked or ErrBusy if
// not. It takes its time: a wrong answer comes the
// later the more there were, but no later than ctx ends. from is the peer's address, which the
// handshake of its connection has proved, or a tag of ours in its ACK.
func (k *Keeper) Check(ctx context.Context, application, name, password string, from netip.Addr) (Login, error) {
	name = strings.ToLower(name)
	if len(name) > maxName || len(password) > maxPassword || len(application) > maxName {
		name, password = "", "" // never right, and not to be kept
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

// nobody's hash is compared when there is no such account, so that it takes as long.
var nobody = []byte("$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy")

// matches finds the account of a name, and reports whether password and application ID are
// right. The error says that nobody has looked.
func (k *Keeper) matches(ctx context.Context, application, name, password string, from netip.Addr) (Account, bool, error) {
	if a, _, right := k.recent(name, password); right {
		return a, a.fits(application), nil // it waits for nobody
	}
	if err := k.turns.take(ctx, from, k.guard.Knows(name, from)); err != nil {
		return Account{}, false, err
	}
	defer k.turns.give()
	if err := k.guard.Admit(name, from); err != nil { // those before it may have locked the name
		return Account{}, false, err
	}
	a, proof, right := k.recent(name, password)
	if right { // or they have shown that the password is right
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

// recent finds an account, the zero one where there is none, and reports whether its password
// was right lately. proof is what tells that.
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
