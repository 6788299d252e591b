package openid

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/coreos/go-oidc/v3/oidc"
)

// keySet is the key set of the provider. It fetches keys again when a token has a signature that none of them made.
type keySet struct {
	remote oidc.KeySet
	down   func(error) error
	has    atomic.Bool // keys were fetched
}

// downKey is the key of a *error in a context, for the failure to fetch keys: the library passes only its text on.
type downKey struct{}

// VerifySignature implements oidc.KeySet.
func (k *keySet) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := k.remote.VerifySignature(ctx, jwt)
	if err == nil || errors.Unwrap(err) == nil { // only a failure to fetch wraps another error
		k.has.Store(true)
		return payload, err
	}
	early := (*tooEarly)(nil)
	if errors.As(err, &early) && early.after == nil && k.has.Load() {
		return nil, errKey // the keys are fresh: another fetch would not help
	}
	down := k.down(err)
	if note, ok := ctx.Value(downKey{}).(*error); ok {
		*note = down
	}
	return nil, down
}

var errKey = errors.New("no key of the provider made its signature")
