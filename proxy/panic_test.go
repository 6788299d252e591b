package proxy_test

import (
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// explosive is a client whose front panics.
type explosive struct {
	inEvent, inClosed bool
	closed            int
}

func (e *explosive) Event(*uacsta.Message) {
	if e.inEvent {
		panic("in an event")
	}
}

func (e *explosive) Closed(error) {
	e.closed++
	if e.inClosed {
		panic("at the end")
	}
}

// A panic of a front in one session closes that session, once. Its other replies are called, and other
// sessions continue.
func TestPanicOfAFront(t *testing.T) {
	for name, tt := range map[string]struct {
		client  explosive
		inReply bool
	}{
		"an event":          {client: explosive{inEvent: true}},
		"an event, and end": {client: explosive{inEvent: true, inClosed: true}},
		"a reply":           {inReply: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &flaky{lose: make(chan error)}
				p := start(t, f, demo, nil)
				other, heard := open(t, p, "other")
				request(other, monitorOf("100"))
				s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}}, &tt.client)
				if err != nil {
					t.Fatal(err)
				}
				f.hold = true
				replies := 0
				for range 3 {
					s.Request(uacsta.Encode(uacsta.GetDoNotDisturb{Device: uacsta.Dev("100")}, 3), func(*uacsta.Message) {
						if replies++; tt.inReply {
							panic("in a reply")
						}
					})
				}
				f.hold = false
				if tt.client.inEvent {
					request(s, monitorOf("100"))
					f.event()
					synctest.Wait()
				}
				for _, reply := range f.holding {
					reply(uacsta.Encode(uacsta.GetDoNotDisturbResponse{}, 3), nil)
				}
				synctest.Wait()
				if replies != 3 || tt.client.closed != 1 || p.Status().Sessions != 1 {
					t.Errorf("%d replies, closed %d times, %d sessions", replies, tt.client.closed, p.Status().Sessions)
				}
				f.event()
				synctest.Wait()
				if len(heard.take()) == 0 {
					t.Error("another client hears nothing any more")
				}
			})
		})
	}
}
