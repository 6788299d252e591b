package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// slow is a link that is ready a while after it was started.
type slow struct {
	flaky
	after time.Duration
}

func (l *slow) Run(ctx context.Context, up proxy.Upcalls) error {
	select {
	case <-time.After(l.after):
	case <-ctx.Done():
		return ctx.Err()
	}
	return l.flaky.Run(ctx, up)
}

// Await returns once the link has been up, and does not wait for an unknown link.
func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &slow{flaky: flaky{lose: make(chan error)}, after: 5 * time.Second}
		p := start(t, l, demo, nil)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Await(ctx, "flaky"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := p.Await(t.Context(), "another"); err != nil || time.Since(began) != time.Second {
			t.Errorf("one that there is not: %v after %v", err, time.Since(began))
		}
		if err := p.Await(t.Context(), "flaky"); err != nil || time.Since(began) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		l.lose <- errors.New("lost")
		synctest.Wait()
		if err := p.Await(t.Context(), "flaky"); err != nil || time.Since(began) != 5*time.Second {
			t.Errorf("after it was lost: %v after %v", err, time.Since(began))
		}
	})
}

// Of several links with a device, the first gets it, in the order of the last SetLinks. A link that is
// no longer named stops, with its monitors; one that is named without a Link continues.
func TestSetLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := proxy.New(proxy.Config{Policy: demo, Numbers: threeDigits})
		all := func(string) bool { return true }
		one, two, three := &flaky{lose: make(chan error)}, &flaky{lose: make(chan error)}, &flaky{lose: make(chan error)}
		p.AddLink("one", one, all)
		p.AddLink("two", two, all)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		synctest.Wait()
		s, l := open(t, p, "a")
		watch := func() string {
			m := request(s, monitorOf("100"))
			return m.CrossRef() + refusal(m)
		}
		first := watch()
		if one.count("MonitorStart") != 1 || two.count("MonitorStart") != 0 {
			t.Error("the second link gets the device")
		}
		p.SetLinks([]proxy.NamedLink{{Name: "two", Devices: all}, {Name: "one", Devices: all}})
		synctest.Wait()
		got := l.take()
		if len(got) != 1 || got[0].Name() != "MonitorStop" || got[0].CrossRef() != first || one.last("MonitorStop").CrossRef() != "link1" {
			t.Errorf("of a device that has moved the client hears %v", got)
		}
		watch()
		if two.count("MonitorStart") != 1 || one.runs != 1 || two.runs != 1 {
			t.Errorf("the device is at the first link still; they were started %d and %d times", one.runs, two.runs)
		}
		p.SetLinks([]proxy.NamedLink{{Name: "three", Link: three, Devices: all}, {Name: "two", Devices: func(string) bool { return false }}})
		synctest.Wait()
		if got := names(l); !strings.Contains(got, "MonitorStop") || two.count("MonitorStop") != 1 {
			t.Errorf("of a device that has moved again the client hears %q", got)
		}
		var list []string
		for _, link := range p.Status().Links {
			list = append(list, fmt.Sprint(link.Name, link.Up))
		}
		if !slices.Equal(list, []string{"threetrue", "twotrue"}) {
			t.Errorf("links: %v", list)
		}
		if watch(); three.count("MonitorStart") != 1 {
			t.Error("the new link does not get the device")
		}
		names(l)
		select {
		case one.lose <- errors.New("lost"):
			t.Error("a link that is not named any more runs")
		default:
		}
		p.SetLinks([]proxy.NamedLink{{Name: "three", Link: one, Devices: all}}) // another under the same name
		synctest.Wait()
		if got := names(l); !strings.Contains(got, "MonitorStop") || one.runs != 2 {
			t.Errorf("when another link has its name the client hears %q; it was started %d times", got, one.runs)
		}
		if watch(); one.count("MonitorStart") != 2 {
			t.Error("the other link does not get the device")
		}
	})
}

// A link that is removed stops its devices' monitors and is not restarted. When the proxy stops, its
// sessions get the reason, and nothing is left running.
func TestProxyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := proxy.New(proxy.Config{Policy: demo, Numbers: threeDigits})
		p.AddLink("flaky", f, func(string) bool { return true })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		synctest.Wait()
		_, l := open(t, p, "a")
		cancel()
		<-done
		if l.over() == nil || !strings.Contains(l.over().Error(), "shutting down") || p.Status().Sessions != 0 {
			t.Errorf("closed: %v", l.over())
		}
		if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}}, &listener{}); err == nil {
			t.Error("a session is opened")
		}
		time.Sleep(time.Hour)
		if f.runs != 1 {
			t.Errorf("the link was started %d times", f.runs)
		}
	})
}

// Devices reach a link as its number rules write them, and come back in canonical form.
func TestNumbersOfALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rule := func(match string, strip int, add string) policy.NumberRules {
			r, err := policy.ParseNumberRule(match, strip, add, "")
			if err != nil {
				t.Fatal(err)
			}
			return policy.NumberRules{r}
		}
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		p.SetLinks([]proxy.NamedLink{{Name: "flaky", Devices: func(string) bool { return true }, Numbers: proxy.Translation{Out: rule("1xx", 0, "7"), In: rule("71xx", 1, "")}}})
		s, l := open(t, p, "a")
		request(s, monitorOf("100"))
		if got := f.last("MonitorStart").Text("monitorObject/deviceObject"); got != "7100" {
			t.Errorf("the link is asked for %s", got)
		}
		f.up.Event(uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "link1", Device: uacsta.Ext("7100")}, uacsta.Edition3))
		f.up.Event(uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "link1", Device: uacsta.Ext("8100")}, uacsta.Edition3))
		f.up.Event(uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "link1", Device: uacsta.Ext("?")}, uacsta.Edition3))
		synctest.Wait()
		var devices []string
		for _, m := range l.take() {
			devices = append(devices, m.Text("device/deviceIdentifier"))
		}
		if strings.Join(devices, " ") != "100 8100 ?" {
			t.Errorf("the client hears of %v", devices)
		}
		for written, want := range map[string]string{
			`<deviceIdentifier typeOfNumber="explicitPublic:international">4930123</deviceIdentifier>`: `<deviceIdentifier>+4930123</deviceIdentifier>`,
			`<deviceIdentifier typeOfNumber="deviceNumber">77</deviceIdentifier>`:                      `<deviceIdentifier typeOfNumber="deviceNumber">77</deviceIdentifier>`,
		} {
			f.up.Event(parse(t, `<DoNotDisturbEvent><monitorCrossRefID>link1</monitorCrossRefID><device>`+written+`</device><doNotDisturbOn>true</doNotDisturbOn></DoNotDisturbEvent>`))
			synctest.Wait()
			if got := l.take(); len(got) != 1 || !strings.Contains(got[0].String(), want) {
				t.Errorf("%s comes to the client as %v", written, got)
			}
		}
	})
}

// never is a link that never becomes ready.
type never struct{ flaky }

func (*never) Run(context.Context, proxy.Upcalls) error { return errors.New("nobody is there") }

// A link that has never been up is down since its first attempt.
func TestStatusOfALinkThatWasNeverUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		p := start(t, &never{}, demo, nil)
		time.Sleep(time.Minute)
		if got := p.Status().Links[0]; got.Up || !got.Since.Equal(began) || got.Failure != "nobody is there" {
			t.Errorf("%+v", got)
		}
	})
}

// A link that fails at once is retried with growing delays; one that has been up for a while starts
// again with the first. Its status has the reason and the time.
func TestStatusOfALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		began := time.Now()
		p := start(t, f, demo, func(c *proxy.Config) { c.BackOff = time.Second })
		status := func() proxy.LinkStatus { synctest.Wait(); return p.Status().Links[0] }
		if got := status(); !got.Up || !got.Since.Equal(began) || got.Failure != "" || got.Status != "normal" {
			t.Errorf("up: %+v", got)
		}
		s, _ := open(t, p, "a")
		request(s, monitorOf("100"))
		request(s, monitorOf("101"))
		time.Sleep(10 * time.Second)
		f.lose <- errors.New("wires are cut")
		lost := time.Now()
		if got := status(); got.Up || !got.Since.Equal(lost) || !strings.Contains(got.Failure, "wires are cut") || got.Status != "" || got.Monitors != 2 {
			t.Errorf("down: %+v", got)
		}
		if st := p.Status(); st.Monitors != 2 || st.Sessions != 1 {
			t.Errorf("%+v", st)
		}
		back := func() time.Duration {
			from := time.Now()
			for !p.Status().Links[0].Up {
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
			}
			return time.Since(from)
		}
		if took := back(); took > 1700*time.Millisecond {
			t.Errorf("it is back after %v", took)
		}
		for range 8 {
			f.lose <- errors.New("again")
			synctest.Wait()
			back()
		}
		f.lose <- errors.New("again")
		synctest.Wait()
		if took := back(); took < 10*time.Second {
			t.Errorf("after nine failures it is back after %v", took)
		}
		time.Sleep(2 * time.Minute)
		f.lose <- errors.New("after a while")
		synctest.Wait()
		if took := back(); took > 1700*time.Millisecond {
			t.Errorf("after it has been up for two minutes it is back after %v", took)
		}
	})
}
