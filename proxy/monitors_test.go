package proxy_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// heard records the cross references of a link's events.
type heard struct {
	refs []string
	then func(ref string) // is called at each event
}

func (h *heard) Ready() {}

func (h *heard) Event(ev *uacsta.Message) {
	h.refs = append(h.refs, ev.CrossRef())
	if h.then != nil {
		h.then(ev.CrossRef())
	}
}

func (h *heard) Request(*uacsta.Message) error { return nil }

func (h *heard) take() []string {
	refs := h.refs
	h.refs = nil
	return refs
}

func whyOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Monitors gives each monitor a cross reference, and sends each event of a device under the references
// of all its monitors, until they are stopped or the link goes down.
func TestMonitors(t *testing.T) {
	var w proxy.Monitors
	start := func(device string) (string, string) {
		object := uacsta.MonitorObject{}
		if device != "" {
			d := uacsta.Dev(device)
			object.DeviceObject = &d
		}
		res, err := w.Start(&uacsta.MonitorStart{MonitorObject: object}, func(device string) bool { return device != "999" })
		if err != nil {
			return "", whyOf(err)
		}
		if res.ActualMonitorFilter == nil {
			t.Error("the answer does not say that nothing is filtered")
		}
		return res.MonitorCrossRefID, ""
	}
	stop := func(ref string) string {
		_, err := w.Stop(&uacsta.MonitorStop{MonitorCrossRefID: ref})
		return whyOf(err)
	}
	tell := func(device string) {
		w.Send(device, func(ref string) any { return uacsta.DoNotDisturbEvent{MonitorCrossRefID: ref} })
		w.Forward(device, uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "of the switch"}, uacsta.Edition3))
	}
	down := uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService).Error()
	unknown := uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID).Error()
	tell("100")
	if _, why := start("100"); why != down {
		t.Errorf("before the link is up: %q", why)
	}
	up := &heard{}
	w.Reset(up)
	if _, why := start(""); why != uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorObject).Error() {
		t.Errorf("on no device: %q", why)
	}
	if _, why := start("999"); why != uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID).Error() {
		t.Errorf("on a device that is not there: %q", why)
	}
	a, _ := start("100")
	b, _ := start("101")
	c, _ := start("100")
	for _, ref := range []string{a, b, c} {
		if !regexp.MustCompile(`^[0-9A-F]{6}$`).MatchString(ref) {
			t.Errorf("reference %q", ref)
		}
	}
	tell("100")
	if got := up.take(); !slices.Equal(got, []string{a, c, a, c}) {
		t.Errorf("an event of the first device is told under %v, want %s and %s", got, a, c)
	}
	tell("101")
	tell("102")
	if got := up.take(); !slices.Equal(got, []string{b, b}) {
		t.Errorf("an event of the second device is told under %v, want %s", got, b)
	}
	d, _ := start("100")
	up.then = func(ref string) { // a monitor that is stopped meanwhile changes nothing for the others
		if ref == a {
			up.then = nil
			stop(a)
		}
	}
	w.Send("100", func(ref string) any { return uacsta.DoNotDisturbEvent{MonitorCrossRefID: ref} })
	if got := up.take(); !slices.Equal(got, []string{a, c, d}) {
		t.Errorf("while a monitor is stopped, an event is told under %v", got)
	}
	if why := stop(a); why != unknown {
		t.Errorf("stopped twice: %q", why)
	}
	tell("100")
	if got := up.take(); !slices.Equal(got, []string{c, d, c, d}) {
		t.Errorf("after one is stopped: %v", got)
	}
	for _, ref := range []string{c, d, b} {
		if why := stop(ref); why != "" {
			t.Error(why)
		}
	}
	tell("100")
	tell("101")
	if got := up.take(); len(got) != 0 {
		t.Errorf("after all are stopped: %v", got)
	}
	last, _ := start("100")
	w.Reset(nil)
	tell("100")
	if _, why := start("100"); why != down || len(up.take()) != 0 {
		t.Errorf("while the link is down: %q", why)
	}
	again := &heard{}
	w.Reset(again)
	tell("100")
	if why := stop(last); why != unknown || len(up.take())+len(again.take()) != 0 {
		t.Errorf("a monitor of the life before: %q", why)
	}
}

// A link has a limited number of monitors; one that stops makes room.
func TestMonitorsAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	var w proxy.Monitors
	w.Reset(&heard{})
	start := func(n int) (string, error) {
		d := uacsta.Dev(fmt.Sprint(n))
		res, err := w.Start(&uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &d}}, func(string) bool { return true })
		if err != nil {
			return "", err
		}
		return res.MonitorCrossRefID, nil
	}
	seen := map[string]bool{}
	last := ""
	for n := range 100000 {
		ref, err := start(n)
		if err != nil || seen[ref] {
			t.Fatal(n, ref, err)
		}
		seen[ref], last = true, ref
	}
	if _, err := start(1); err == nil || !strings.Contains(err.Error(), uacsta.OverallMonitorLimitExceeded) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := w.Stop(&uacsta.MonitorStop{MonitorCrossRefID: last}); err != nil {
		t.Error(err)
	}
	if ref, err := start(1); err != nil || seen[ref] {
		t.Errorf("in the place of one that has ended: %s, %v", ref, err)
	}
}
