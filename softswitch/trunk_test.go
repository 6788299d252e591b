package softswitch

import "testing"

// A number of the network leads to a device that takes calls, or there is no switch.
func TestInward(t *testing.T) {
	for to, valid := range map[string]bool{"100": true, "200": true, "300": true, "600": true, "900": false, "901": false, "400": false, "500": false, "777": false} {
		cfg := everything
		cfg.Trunks = []Trunk{{Number: "900", Inward: map[string]string{"5": to}}, {Number: "901"}}
		if _, err := New(cfg); (err == nil) != valid {
			t.Errorf("inward to %s: %v", to, err)
		}
	}
}
