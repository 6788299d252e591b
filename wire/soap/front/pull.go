package front

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/soap"
)

// Limits of GetEvents.
const (
	mostEvents  = 100
	longestWait = 50 * time.Second
	usualWait   = 25 * time.Second
)

// pull is what a client has of an association's queue by GetEvents.
type pull struct {
	acknowledged uint64
	sent         uint64             // the highest number that the client was given
	stop         context.CancelFunc // ends the call that waits; nil: none
}

// getEvents serves GetEvents: events for clients that nobody can connect to. What a client does not acknowledge comes again.
func (x *exchange) getEvents() {
	want, ok := parsePull(x.envelope.Body)
	if !ok {
		x.refuse(uacsta.Operation, uacsta.InvalidParameterValue)
		return
	}
	a := x.own()
	if a == nil {
		return
	}
	defer a.exit()
	ctx, cancel := context.WithTimeout(x.r.Context(), want.wait)
	defer cancel()
	after, ok := a.acknowledge(want.acknowledge, cancel)
	if !ok {
		x.refuse(uacsta.Operation, uacsta.InvalidParameterValue)
		return
	}
	items, lost, _ := a.queue.read(ctx, after, want.most)
	var b strings.Builder
	fmt.Fprintf(&b, `<GetEventsResponse xmlns="%s"><lost>%t</lost>`, soap.NamespaceSession, lost)
	for _, i := range items {
		fmt.Fprintf(&b, `<event><number>%d</number>%s</event>`, i.number, i.text)
	}
	b.WriteString(`</GetEventsResponse>`)
	a.gave(items, lost)
	action := soap.NamespaceSession + ":GetEventsResponse"
	x.answer(action, x.envelope.Answer(action, b.String()))
}

// wish is what GetEvents asks for.
type wish struct {
	acknowledge uint64
	most        int
	wait        time.Duration
}

// parsePull reads GetEvents.
func parsePull(body uacsta.Raw) (wish, bool) {
	w := wish{most: mostEvents, wait: usualWait}
	seen := map[string]bool{}
	for _, c := range body.Children() {
		text, _ := c.Text()
		n, err := strconv.ParseUint(text, 10, 63)
		if err != nil || seen[c.Name()] || c.Namespace() != soap.NamespaceSession {
			return w, false
		}
		seen[c.Name()] = true
		switch c.Name() {
		case "acknowledge":
			w.acknowledge = n
		case "maxEvents":
			w.most = int(min(max(n, 1), mostEvents))
		case "waitSeconds":
			w.wait = min(time.Duration(min(n, 3600))*time.Second, longestWait)
		default:
			return w, false
		}
	}
	return w, !body.HasText()
}

// acknowledge notes what the client has handled, and that another call waits now, and returns the number after which it gets
// events. It returns false for a number that was never given.
func (a *association) acknowledge(number uint64, stop context.CancelFunc) (after uint64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := &a.pull
	if number > p.sent || number != 0 && number < p.acknowledged {
		return 0, false
	}
	if p.stop != nil {
		p.stop()
	}
	p.stop = stop
	p.acknowledged = max(p.acknowledged, number)
	return p.acknowledged, true
}

// gave notes what the client was given. Events that are gone count as acknowledged: lost is said once.
func (a *association) gave(items []item, lost bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if lost {
		a.pull.acknowledged = max(a.pull.acknowledged, a.queue.before())
	}
	if len(items) > 0 {
		a.pull.sent = max(a.pull.sent, items[len(items)-1].number)
	}
	a.pull.sent = max(a.pull.sent, a.pull.acknowledged)
}
