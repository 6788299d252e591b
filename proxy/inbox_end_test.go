package proxy

import (
	"errors"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/gate"
)

// When Run ends, waiting requests are refused, once each, and delivered tasks run.
func TestInboxAtTheEnd(t *testing.T) {
	const requests = 100 // Run may do some of them before it looks at the end
	var i Inbox
	over := errors.New("the life is over")
	happened := ""
	note := func(what string) func() { return func() { happened += what } }
	refuse := func(err error) {
		if !errors.Is(err, gate.ErrClosed) {
			t.Error(err)
		}
		happened += "r"
	}
	i.Do(note("d"), refuse)
	if happened != "r" {
		t.Errorf("before Open: %q", happened)
	}
	happened = ""
	deliver := i.Open()
	for range requests {
		i.Do(note("d"), refuse)
	}
	deliver(note("D"))
	i.Deliverer()(note("E"))
	ended := make(chan error, 1)
	ended <- over
	if err := i.Run(ended); !errors.Is(err, over) {
		t.Error(err)
	}
	done := strings.TrimRight(strings.TrimSuffix(happened, "DE"), "r")
	if strings.Trim(done, "d") != "" || len(happened) != requests+2 || len(done) == requests || !strings.HasSuffix(happened, "rDE") {
		t.Errorf("done (d), refused (r) and delivered (D, E) were %q", happened)
	}
	happened = ""
	i.Do(note("d"), refuse)
	if happened != "r" {
		t.Errorf("after Run: %q", happened)
	}
}

// Deliverer panics before the first Open.
func TestDelivererBeforeOpen(t *testing.T) {
	defer func() {
		if p, text := recover().(string); !text || !strings.Contains(p, "before Inbox.Open") {
			t.Errorf("the panic is %q", p)
		}
	}()
	(&Inbox{}).Deliverer()
}
