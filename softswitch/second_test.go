package softswitch

import (
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Calls to a second number reach the extension, and events name the number that was dialled as called device, and the
// extension by its own number. The extension calls from a second number if the client says so.
func TestSecondNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{
			Extensions: []Extension{{Number: "100", Second: []string{"150", "151"}, Outside: []string{"0"}}, {Number: "101"}, {Number: "102"}},
			Trunks:     []Trunk{{Number: "900", Prefixes: []string{"0"}, Inward: map[string]string{"5550150": "150"}}},
		}
		w := newWorldOf(t, cfg, "150", "101")
		w.refs[w.must(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &uacsta.DeviceID{ID: "151"}}}).CrossRef()] = "151"
		w.events()
		w.must(w.makeCall("101", "151"))
		told := w.last(uacsta.NameDeliveredEvent)
		for path, want := range map[string]string{
			"alertingDevice/deviceIdentifier": "100", "calledDevice/deviceIdentifier": "151", "connection/deviceID": "100", "callingDevice/deviceIdentifier": "101",
		} {
			if got := told.Text(path); got != want {
				t.Errorf("%s is %q: %s", path, got, told)
			}
		}
		w.expect("two monitors of one device", "answer", "101: ServiceInitiated X101 initiated makeCall", "101: Originated X101 connected newCall",
			"101: Delivered X100 connected newCall", "150: Delivered X100 alerting newCall", "151: Delivered X100 alerting newCall")
		w.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(w.conn("X100").CallID, "150")})
		w.must(w.clear("X101"))

		w.must(w.makeCall("150", "101"))
		told = w.last(uacsta.NameDeliveredEvent)
		for path, want := range map[string]string{"callingDevice/deviceIdentifier": "150", "calledDevice/deviceIdentifier": "101"} {
			if got := told.Text(path); got != want {
				t.Errorf("%s is %q: %s", path, got, told)
			}
		}
		v := w.sw.calls[w.conn("Y100").CallID].view()
		if v.Calling.Device.ID != "150" || !v.Inside || v.Parties[0].Device != "100" || v.Parties[0].Number != "150" || v.Parties[1].Number != "101" {
			t.Errorf("%+v", v)
		}
		w.must(w.clear("Y101"))
		w.must(w.makeCall("151", "0170")) // with the right of its extension
		if told = w.last(uacsta.NameNetworkReachedEvent); told.Text("callingDevice/deviceIdentifier") != "151" {
			t.Errorf("%s", told)
		}
		w.must(w.clear("Z100"))

		if _, err := w.do(uacsta.SetForwarding{Device: uacsta.Dev("100"), ActivateForward: true, ForwardDN: &uacsta.DeviceID{ID: "150"}}); refusal(err) != "operation/invalidForwardingDestination" {
			t.Errorf("forwarding to itself: %v", err)
		}
		w.must(uacsta.SetForwarding{Device: uacsta.Dev("151"), ActivateForward: true, ForwardDN: &uacsta.DeviceID{ID: "102"}})
		if told = w.last(uacsta.NameForwardingEvent); told.Text("device/deviceIdentifier") != "100" {
			t.Errorf("%s", told)
		}
		if info := w.must(uacsta.GetLogicalDeviceInformation{Device: uacsta.Dev("150")}); info.PrivateText("secondNumbers") != "150 151" || info.PrivateText("deviceName") != "" {
			t.Errorf("%s", info)
		}
		w.must(uacsta.GetSwitchingFunctionDevices{RequestedDeviceID: &uacsta.DeviceID{ID: "100"}})
		var list uacsta.SwitchingFunctionDevices
		if err := w.last(uacsta.NameSwitchingFunctionDevices).Decode(&list); err != nil || len(list.DeviceList) != 3 || list.DeviceList[2].DeviceID.ID != "151" {
			t.Errorf("%+v %v", list, err)
		}
		if own := w.sw.Device("151"); own != "100" || !w.sw.Has("151") || w.sw.Device("999") != "999" {
			t.Errorf("151 stands for %s", own)
		}
		w.finish()
		validateAll(t, w.raw)
	})
}

// A second number leads to one device.
func TestSecondNumbersClash(t *testing.T) {
	for _, cfg := range []Config{
		{Extensions: []Extension{{Number: "100", Second: []string{"100"}}}},
		{Extensions: []Extension{{Number: "100", Second: []string{"101"}}, {Number: "101"}}},
		{Extensions: []Extension{{Number: "100", Second: []string{"150"}}, {Number: "101", Second: []string{"150"}}}},
		{Extensions: []Extension{{Number: "100", Second: []string{"150", "150"}}}},
		{Extensions: []Extension{{Number: "100", Second: []string{""}}}},
		{Extensions: []Extension{{Number: "100", Second: []string{"400"}}}, ParkDevices: []ParkDevice{{Number: "400"}}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v", cfg)
		}
	}
}
