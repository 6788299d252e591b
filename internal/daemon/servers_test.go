package daemon

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
)

// moody is a front that serves until it is told what goes wrong.
type moody struct {
	wrong chan error
	fault string
	cause error // of the end of what it served last
}

func (m *moody) Serve(ctx context.Context, _ *config.Listener, ready func(string)) error {
	switch m.fault {
	case "refuses":
		return errors.New("the port is taken")
	case "panics":
		panic("moody")
	}
	ready("192.0.2.1:1")
	select {
	case err := <-m.wrong:
		return err
	case <-ctx.Done():
		m.cause = context.Cause(ctx)
		return nil
	}
}

func (*moody) Close(context.Context) {}

// serving makes a server of a front; failed gets what ends the proxy.
func serving(m *moody) (s *server, failed chan error) {
	failed = make(chan error, 1)
	n := &Node{log: slog.New(slog.DiscardHandler), listening: func(string, string) {}, failed: func(err error) { failed <- err }}
	m.wrong = make(chan error)
	return &server{node: n, key: "moody.listen[0]", protocol: "moody", front: m, cfg: config.Listener{Name: "m"}}, failed
}

// A server starts and ends as often as one likes, and its front learns why it ends.
func TestServerLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &moody{}
		s, failed := serving(m)
		ctx, stop := context.WithCancel(t.Context())
		for range 2 {
			if err := s.start(ctx); err != nil || !s.status().Serves || s.status().Address != "192.0.2.1:1" {
				t.Fatal(err, s.status())
			}
			if err := s.start(ctx); !errors.Is(err, errServes) {
				t.Error(err)
			}
			if err := s.end(kind.ErrStopped); err != nil || !errors.Is(m.cause, kind.ErrStopped) || s.status().Serves {
				t.Error(err, m.cause, s.status())
			}
			if err := s.end(kind.ErrStopped); !errors.Is(err, errNotServes) {
				t.Error(err)
			}
		}
		if err := s.start(ctx); err != nil {
			t.Fatal(err)
		}
		stop()
		if err := s.end(nil); err != nil || errors.Is(m.cause, kind.ErrStopped) {
			t.Error("the proxy ends, and the front is told that this listener alone does:", err, m.cause)
		}
		if len(failed) > 0 {
			t.Error(<-failed)
		}
	})
}

// What goes wrong at the start is an error; later, it ends the proxy.
func TestServerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for fault, want := range map[string]string{"refuses": "moody.listen[0]: the port is taken", "panics": "moody"} {
			s, failed := serving(&moody{fault: fault})
			if err := s.start(t.Context()); err == nil || !strings.Contains(err.Error(), want) || s.status().Serves || len(failed) > 0 {
				t.Errorf("%s: %v", fault, err)
			}
		}
		for want, wrong := range map[string]error{"moody.listen[0]: no more memory": errors.New("no more memory"), "moody.listen[0]: the front ended by itself": nil} {
			m := &moody{}
			s, failed := serving(m)
			if err := s.start(t.Context()); err != nil {
				t.Fatal(err)
			}
			m.wrong <- wrong
			if err := <-failed; err == nil || err.Error() != want {
				t.Errorf("%v, not %s", err, want)
			}
		}
	})
}

// A reload leaves a link as it is whose settings are the same, gives it what it takes while it runs, and makes it anew
// otherwise; of a front it leaves what takes a restart.
func TestReloadByKinds(t *testing.T) {
	const desks = "{name: desks, type: phones, listen: [{transport: udp, address: \"127.0.0.1:0\"}], accounts: [{number: \"201\", password: PASSWORD}]}"
	const pbx = "{name: pbx, addresses: [\"127.0.0.1:1\"], devices: [\"3??\"]}"
	parse := func(links, more string) *config.Config {
		t.Helper()
		cfg, err := config.Parse("x", []byte("grants: [{who: crm, control: [\"100\"]}]\nlinks: ["+links+"]\n"+more), Kinds())
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	n, err := New(parse(desks+", "+pbx, ""), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.discard()
	apply := func(cfg *config.Config, changed, restart []string) {
		t.Helper()
		p, err := n.plan(cfg)
		if err == nil {
			err = n.carryOut(p)
		}
		if err != nil {
			t.Fatal(err)
		}
		var waits []string
		for _, w := range p.report.Restart {
			waits = append(waits, w.Key)
		}
		if !slices.Equal(p.report.Changed, changed) || !slices.Equal(waits, restart) {
			t.Errorf("%+v; want %v, %v", p.report, changed, restart)
		}
	}
	first, second := n.links["desks"], n.links["pbx"]
	apply(parse(desks+", "+pbx, ""), []string{}, []string{})
	apply(parse(strings.Replace(desks, "PASSWORD", "another", 1)+", "+pbx, ""), []string{"links"}, []string{})
	if n.links["desks"] != first || n.links["pbx"] != second {
		t.Error("a link is made anew although nothing has changed that it does not take while it runs")
	}
	apply(parse(strings.Replace(desks, "PASSWORD", "another, user: desk", 1)+", "+strings.Replace(pbx, "3??", "4??", 1), ""), []string{"links"}, []string{})
	if n.links["desks"] == first || n.links["pbx"] != second {
		t.Error("an account has another user: the link must be made anew, and the other one stay")
	}
	apply(parse(pbx, "xml: {max-connections: 7}\nsip: {event-wait: 1s}\n"), []string{"links"}, []string{"sip.event-wait", "xml.max-connections"})
	if _, there := n.links["desks"]; there || n.links["pbx"] != second {
		t.Error("a link that is not in the file is known still, or another one is made anew")
	}
}
