package proxy_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The filter of a SystemStatus registration can change while a status is being sent.
func TestStatusFilterChangesConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, demo, func(c *proxy.Config) { c.Heartbeat = time.Millisecond })
		s, l := open(t, p, "a")
		request(s, uacsta.SystemRegister{RequestTypes: uacsta.RequestTypes{SystemStatus: true}})
		filter := func(normal bool) {
			s.Request(uacsta.Encode(uacsta.ChangeSysStatFilter{RequestedStatusFilter: &uacsta.StatusFilterList{Normal: normal}}, uacsta.Edition3), func(*uacsta.Message) {})
		}
		for n := range 1000 {
			time.Sleep(time.Millisecond) // and now it is told
			filter(n%2 == 0)
		}
		filter(true)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		l.take()
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if got := l.take(); len(got) != 0 {
			t.Errorf("what the filter suppresses is told: %v", got)
		}
	})
}
