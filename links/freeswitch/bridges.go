package freeswitch

import (
	"log/slog"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// FreeSWITCH accepts uuid_bridge before it connects the channels: it first takes them out of what they do. A command
// that moves one of them meanwhile stops that, and FreeSWITCH hangs up both. So requests for their calls wait until an
// event shows that the channels are connected, or that one of them has ended.

// bridge is a pair of channels that FreeSWITCH is connecting.
type bridge struct {
	channels [2]string
	until    time.Time
}

// request is one that waits.
type request struct {
	calls   []string // their identifiers
	service any
	answer  proxy.Answer
}

// connect returns the command that connects two channels.
func connect(a, b *channel) instruction {
	i := api("uuid_bridge % %", word(a.id), word(b.id))
	if i.text != "" {
		i.connects = [2]string{a.id, b.id}
	}
	return i
}

// inTurn carries out a service for calls, after those for the same calls that wait.
func (l *Link) inTurn(r request) {
	switch _, reads := r.service.(*uacsta.SnapshotCall); {
	case reads || !l.moving(r):
		l.perform(r.service, r.answer)
	case len(l.requests) >= maxWaiting:
		r.answer(nil, errBusy)
	default:
		l.requests = append(l.requests, r)
	}
}

// moving reports whether a service or FreeSWITCH is connecting channels of a request's calls.
func (l *Link) moving(r request) bool {
	return l.among(r, l.bridges) || slices.ContainsFunc(r.calls, func(id string) bool { return l.calls[id] != nil && l.calls[id].joining })
}

// among reports whether some of the bridges connect channels of a request's calls.
func (l *Link) among(r request, bridges []bridge) bool {
	return slices.ContainsFunc(r.calls, func(id string) bool {
		c := l.calls[id]
		return c != nil && slices.ContainsFunc(c.Parties, func(ch *channel) bool {
			return slices.ContainsFunc(bridges, func(b bridge) bool { return slices.Contains(b.channels[:], ch.id) })
		})
	})
}

// resumeRequests carries out the services that need not wait any longer, in order of arrival.
func (l *Link) resumeRequests() {
	list := l.requests
	l.requests = nil
	for _, r := range list {
		l.inTurn(r)
	}
}

// connected handles the end of FreeSWITCH's attempt to connect two channels: it has, or could not because one of them has
// ended.
func (l *Link) connected(channels ...string) {
	before := len(l.bridges)
	l.bridges = slices.DeleteFunc(l.bridges, func(b bridge) bool {
		return !slices.ContainsFunc(channels, func(id string) bool { return !slices.Contains(b.channels[:], id) })
	})
	if len(l.bridges) < before {
		l.resumeRequests()
	}
}

// expireBridges refuses the requests that have waited for too long.
func (l *Link) expireBridges(now time.Time) {
	var overdue, pending []bridge
	for _, b := range l.bridges {
		if now.After(b.until) {
			overdue = append(overdue, b)
		} else {
			pending = append(pending, b)
		}
	}
	if overdue == nil {
		return
	}
	l.report(slog.LevelInfo, "", "FreeSWITCH did not connect two channels in time")
	l.bridges = pending
	list := l.requests
	l.requests = nil
	for _, r := range list {
		if l.among(r, overdue) {
			r.answer(nil, errBusy)
		} else {
			l.inTurn(r)
		}
	}
}

// refuseRequests refuses the requests that wait when the connection has ended.
func (l *Link) refuseRequests() {
	for _, r := range l.requests {
		r.answer(nil, gate.ErrClosed)
	}
	l.requests, l.bridges = nil, nil
}
