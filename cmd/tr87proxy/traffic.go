package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// traffic makes phones call one another until ctx ends. Each pair has one call at a time,
// which is answered, held, or not answered, and cleared. Phones in other calls are left alone.
func traffic(ctx context.Context, sw *softswitch.Switch, phones []string) {
	var group sync.WaitGroup
	for i := 0; i+1 < len(phones); i += 2 {
		group.Go(func() {
			for pause(ctx, time.Second) {
				oneCall(ctx, sw, phones[i], phones[i+1])
			}
		})
	}
	group.Wait()
}

// pause waits for once to twice a duration. It returns false if ctx has ended.
func pause(ctx context.Context, least time.Duration) bool {
	select {
	case <-time.After(least + rand.N(least)): //nolint:gosec // no secret
		return true
	case <-ctx.Done():
		return false
	}
}

// idle reports whether a phone has no call.
func idle(sw *softswitch.Switch, phone string) bool {
	res, err := sw.Ask(uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(phone)}, uacsta.Edition3))
	return err == nil && len(res.Connections()) == 0
}

// oneCall plays one call between two phones. It ignores refusals, because a client may use the
// phones at the same time.
func oneCall(ctx context.Context, sw *softswitch.Switch, from, to string) {
	if !idle(sw, from) || !idle(sw, to) {
		return
	}
	res, err := sw.Ask(uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev(from), CalledDirectoryNumber: uacsta.Dev(to), AutoOriginate: uacsta.DoNotPrompt}, uacsta.Edition3))
	if err != nil {
		return
	}
	call := res.Connections()[0].CallID()
	own, other := uacsta.Conn(call, from), uacsta.Conn(call, to)
	steps := []any{
		uacsta.AnswerCall{CallToBeAnswered: other}, uacsta.HoldCall{CallToBeHeld: own}, uacsta.RetrieveCall{CallToBeRetrieved: own},
		uacsta.ClearConnection{ConnectionToBeCleared: own},
	}
	switch rand.N(4) { //nolint:gosec // no secret
	case 0: // not answered
		steps = steps[3:]
	case 1: // not held
		steps = []any{steps[0], steps[3]}
	}
	for _, step := range steps {
		if !pause(ctx, time.Second) || sw.Perform(step) != nil {
			break
		}
	}
	_ = sw.Perform(uacsta.ClearConnection{ConnectionToBeCleared: own}) // refused if the call is cleared already
}
