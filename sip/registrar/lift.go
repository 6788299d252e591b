package registrar

import (
	"context"
	"errors"
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Lift makes a telephone of an extension answer the call that alerts there, or, with held, retrieve the
// one that its user holds, by uaCSTA. It does not wait. It returns false if no telephone of the extension has a
// session, or too many requests wait for it.
func (s *Server) Lift(number string, held bool) bool {
	u := s.users[number]
	if u == nil {
		return false
	}
	n := s.session(u)
	if n == nil {
		return false
	}
	return u.asks.Do(func() {
		ctx, cancel := context.WithTimeout(s.ctx, cstaTimeout)
		defer cancel()
		if err := n.lift(ctx, held); err != nil {
			s.log.Info("telephone does not answer by uaCSTA", "device", number, "err", err)
		}
	})
}

var errNothingToLift = errors.New("the telephone has no call that alerts or is on hold")

// lift asks the telephone for its calls, and answers or retrieves the first that it can.
func (n *Session) lift(ctx context.Context, held bool) error {
	if _, blind := n.client.(*notifier); blind { // the telephone decides which call is meant
		var service any = uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn("", n.own)}
		if held {
			service = uacsta.RetrieveCall{CallToBeRetrieved: uacsta.Conn("", n.own)}
		}
		_, err := n.client.Request(ctx, uacsta.Encode(service, uacsta.Edition3))
		return err
	}
	res, err := n.client.Request(ctx, uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(n.own)}, uacsta.Edition3))
	if err != nil {
		return err
	}
	var snapshot uacsta.SnapshotDeviceResponse
	if err := res.Decode(&snapshot); err != nil {
		return err
	}
	list := snapshot.CrossRefIDorSnapshotData.SnapshotData
	if list == nil {
		return errNothingToLift
	}
	for _, c := range list.SnapshotDeviceResponseInfo {
		var service any
		switch states := c.LocalCallState.CompoundCallState; {
		case slices.Contains(states, uacsta.Alerting):
			service = uacsta.AnswerCall{CallToBeAnswered: c.ConnectionIdentifier}
		case slices.Contains(states, uacsta.Hold):
			service = uacsta.RetrieveCall{CallToBeRetrieved: c.ConnectionIdentifier}
		default:
			continue
		}
		_, err := n.client.Request(ctx, uacsta.Encode(service, uacsta.Edition3))
		return err
	}
	return errNothingToLift
}
