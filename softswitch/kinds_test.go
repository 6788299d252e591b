package softswitch

import (
	"slices"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A device that is no extension offers only services that its kind has: none that act on a telephone, and MakeCall only
// where the switch carries it out.
func TestFeaturesByKind(t *testing.T) {
	cfg := Config{
		Extensions: []Extension{{Number: "100"}, {Number: "101"}}, HuntGroups: []HuntGroup{{Number: "200", Members: []string{"100", "101"}}},
		Queues: []Queue{{Number: "300"}}, ParkDevices: []ParkDevice{{Number: "400"}}, PickupGroups: []PickupGroup{{Number: "500", Members: []string{"100"}}},
		Routeing: []RouteingDevice{{Number: "600"}}, Trunks: []Trunk{{Number: "700", Prefixes: []string{"0"}}, {Number: "800", Real: true, Prefixes: []string{"9"}}},
	}
	sw, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	sw.library = shelf{}
	own := map[string]string{
		"200": uacsta.NameMakePredictiveCall, "300": uacsta.NameMakePredictiveCall, "400": uacsta.NameDirectedPickupCall, "500": "", "600": uacsta.NameRouteRegister,
		"700": uacsta.NameMakeCall, "800": uacsta.NamePlayMessage,
	}
	every := sw.Features("100").Services
	for number, name := range own {
		services := sw.Features(number).Services
		if !slices.Contains(services, uacsta.NameSnapshotDevice) || name != "" && !slices.Contains(services, name) || len(services) >= len(every) {
			t.Errorf("%s: %v", number, services)
		}
		for _, name := range []string{
			uacsta.NameSetForwarding, uacsta.NameGetForwarding, uacsta.NameSetDoNotDisturb, uacsta.NameSetAgentState, uacsta.NameHoldCall, uacsta.NameTransferCall,
			uacsta.NameGroupPickupCall, uacsta.NameGetLastNumberDialed,
		} {
			if slices.Contains(services, name) {
				t.Errorf("%s offers %s", number, name)
			}
		}
		_, err := sw.Ask(uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev(number), CalledDirectoryNumber: uacsta.Dev("100"), AutoOriginate: uacsta.DoNotPrompt}, uacsta.Edition3))
		if offers := slices.Contains(services, uacsta.NameMakeCall); offers != (err == nil) {
			t.Errorf("%s offers MakeCall %v: %v", number, offers, err)
		}
	}
}
