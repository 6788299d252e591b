package proxy_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A filter that private data turn round asks for events in place of suppressing them; the switch gets neither, so that clients
// with and without such a filter share a monitor. What is not understood is refused, for it would suppress what is wanted.
func TestInvertedFilter(t *testing.T) {
	const round = `<extensions><privateData><private><AvayaEvents><invertFilter xmlns="http://www.avaya.com/csta">true</invertFilter><other>true</other></AvayaEvents></private></privateData></extensions>`
	const start1 = `<MonitorStart><monitorObject><deviceObject>100</deviceObject></monitorObject>`
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		for document, want := range map[string]int{ // how many of the events DoNotDisturb and Delivered come
			`<MonitorStart><monitorObject><deviceObject>100</deviceObject></monitorObject></MonitorStart>`:                                                                         2,
			start1 + `<requestedMonitorFilter><logicalDeviceFeature><doNotDisturb>true</doNotDisturb></logicalDeviceFeature></requestedMonitorFilter></MonitorStart>`:              1,
			start1 + `<requestedMonitorFilter><logicalDeviceFeature><doNotDisturb>true</doNotDisturb></logicalDeviceFeature></requestedMonitorFilter>` + round + `</MonitorStart>`: 1,
			start1 + `<requestedMonitorFilter><callcontrol><delivered>true</delivered><held>true</held></callcontrol><physicalDeviceFeature><hookswitch>true</hookswitch><lampMode>true</lampMode></physicalDeviceFeature>` +
				`<logicalDeviceFeature><doNotDisturb>1</doNotDisturb></logicalDeviceFeature><voice><play>true</play><suspendRecord>true</suspendRecord></voice></requestedMonitorFilter>` + round + `</MonitorStart>`: 2,
			start1 + `<requestedMonitorFilter><callcontrol><held>true</held></callcontrol></requestedMonitorFilter>` + round + `</MonitorStart>`:                                          0,
			start1 + `<requestedMonitorFilter><callcontrol><held>true</held></callcontrol></requestedMonitorFilter>` + strings.Replace(round, ">true<", ">false<", 1) + `</MonitorStart>`: 2,
			start1 + round + `</MonitorStart>`: 2, // there is no filter
		} {
			s, l := open(t, p, "a")
			var res *uacsta.Message
			s.Request(parse(t, document), func(m *uacsta.Message) { res = m })
			synctest.Wait()
			if res.Name() != uacsta.NameMonitorStartResponse {
				t.Fatal(res)
			}
			f.event()
			f.up.Event(delivered("link1"))
			synctest.Wait()
			if got := l.take(); len(got) != want {
				t.Errorf("%s: %v", document, got)
			}
			request(s, uacsta.ChangeMonitorFilter{MonitorCrossRefID: res.CrossRef()})
			s.Request(parse(t, `<ChangeMonitorFilter><monitorCrossRefID>`+res.CrossRef()+`</monitorCrossRefID><requestedFilterList><callcontrol><delivered>true</delivered></callcontrol></requestedFilterList>`+round+`</ChangeMonitorFilter>`), func(m *uacsta.Message) { res = m })
			synctest.Wait()
			f.event()
			f.up.Event(delivered("link1"))
			synctest.Wait()
			if got := l.take(); len(got) != 1 || got[0].Name() != uacsta.NameDeliveredEvent {
				t.Errorf("after ChangeMonitorFilter: %s, %v", res, got)
			}
			defer s.Close(nil)
		}
		if n := f.count(uacsta.NameMonitorStart); n != 1 || f.last(uacsta.NameMonitorStart).Has("extensions") {
			t.Errorf("the switch is asked for %d monitors, last %s", n, f.last(uacsta.NameMonitorStart))
		}
		s, _ := open(t, p, "b")
		for _, document := range []string{
			start1 + `<requestedMonitorFilter><callcontrol><deliverd>true</deliverd></callcontrol></requestedMonitorFilter>` + round + `</MonitorStart>`,
			start1 + strings.Replace(round, ">true<", ">yes<", 1) + `</MonitorStart>`,
			`<SystemRegister><requestTypes><systemStatus>true</systemStatus></requestTypes><requestedStatusFilter><usual>true</usual></requestedStatusFilter>` + round + `</SystemRegister>`,
		} {
			var res *uacsta.Message
			s.Request(parse(t, document), func(m *uacsta.Message) { res = m })
			synctest.Wait()
			if refusal(res) != uacsta.InvalidParameterValue {
				t.Errorf("%s: %s", document, res)
			}
		}
	})
}

// The filter of SystemRegister can be turned round, too.
func TestInvertedStatusFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, demo, func(c *proxy.Config) { c.Heartbeat = time.Second })
		for filter, want := range map[string]int{"<normal>true</normal>": 1, "<disabled>true</disabled>": 0} {
			s, l := open(t, p, "a")
			s.Request(parse(t, `<SystemRegister><requestTypes><systemStatus>true</systemStatus></requestTypes><requestedStatusFilter>`+filter+`</requestedStatusFilter><extensions><privateData><private><SystemRegisterPrivateData><switchName>CM</switchName><invertFilter>true</invertFilter></SystemRegisterPrivateData></private></privateData></extensions></SystemRegister>`), func(*uacsta.Message) {})
			time.Sleep(1500 * time.Millisecond)
			synctest.Wait()
			if got := l.take(); len(got) != want {
				t.Errorf("%s: %v", filter, got)
			}
		}
	})
}
