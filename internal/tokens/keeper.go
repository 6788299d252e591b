package tokens

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/files"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Why a token is refused.
var (
	ErrWrong   = errors.New("unknown or revoked token")
	ErrExpired = errors.New("the token has expired")
)

// Keeper checks tokens against a file, which it rereads after a change. It is safe for concurrent use.
type Keeper struct {
	file *files.Followed[map[string]Token] // by ID
}

// Open reads a file of tokens.
func Open(path string, log *slog.Logger) (*Keeper, error) {
	followed, err := files.Follow("tokens", path, load, share.Quiet(log))
	return &Keeper{followed}, err
}

// load reads a file.
func load(path string) (map[string]Token, error) {
	list, err := Read(path)
	tokens := make(map[string]Token, len(list))
	for _, t := range list {
		tokens[t.ID] = t
	}
	return tokens, err
}

// Watch calls changed after each change of the file until ctx ends. It checks every 2 s.
func (k *Keeper) Watch(ctx context.Context, changed func()) { k.file.Watch(ctx, changed) }

// Check returns the token that text is, or [ErrWrong] or [ErrExpired].
func (k *Keeper) Check(text string) (Token, error) {
	t, known := k.file.Content()[IDOf(text)]
	switch {
	case !known || !t.is(text):
		return Token{}, ErrWrong
	case t.Expired(time.Now()):
		return Token{}, ErrExpired
	}
	return t, nil
}

// Standing returns nil if there is a token with an ID that is good for a name, with a scope; otherwise [ErrWrong] or
// [ErrExpired].
func (k *Keeper) Standing(id, name string, scope Scope) error {
	t, known := k.file.Content()[id]
	switch {
	case !known || !strings.EqualFold(t.Name, name) || t.Scope != scope:
		return ErrWrong
	case t.Expired(time.Now()):
		return ErrExpired
	}
	return nil
}

// Holds reports whether a token that was checked before is still good, and means the same.
func (k *Keeper) Holds(t Token) bool {
	now, known := k.file.Content()[t.ID]
	return known && now.hash == t.hash && now.Name == t.Name && now.Scope == t.Scope && now.Expires.Equal(t.Expires) && !now.Expired(time.Now())
}
