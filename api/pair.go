package api

import (
	"context"
	"net/http"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// pair returns which of two calls of a device is held and which is active. Without the second, it is the only other call
// that fits.
func (s *Server) pair(ctx context.Context, c *client, device, call, with string) (held, active string, err error) {
	calls, err := c.calls(ctx, device)
	if err != nil {
		return "", "", s.explain(ctx, device, err)
	}
	holds := map[string]bool{}
	for _, info := range calls {
		holds[info.ConnectionIdentifier.CallID] = stateOf(info) == string(uacsta.Hold)
	}
	_, first := holds[call]
	_, second := holds[with]
	switch {
	case !first, with != "" && !second:
		missing := call
		if first {
			missing = with
		}
		return "", "", notFound(device, "device "+device+" has no call "+missing)
	case with == "":
		for other, is := range holds {
			if other == call || is == holds[call] {
				continue
			}
			if with != "" {
				return "", "", conflict(device, "device "+device+" has several calls that fit: name one with \"with\"")
			}
			with = other
		}
		if with == "" {
			return "", "", conflict(device, "device "+device+" has no second call: it takes one on hold and one that is not")
		}
	case holds[call] == holds[with]:
		return "", "", conflict(device, "one of the two calls must be on hold, the other not")
	}
	if holds[call] {
		return call, with, nil
	}
	return with, call, nil
}

func conflict(device, detail string) *Problem {
	p := problem(http.StatusConflict, "%s", detail)
	p.Device = device
	return p
}

func notFound(device, detail string) *Problem {
	p := problem(http.StatusNotFound, "%s", detail)
	p.Device = device
	return p
}
