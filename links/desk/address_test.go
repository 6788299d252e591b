package desk

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/connections"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// aLife is a life of a link with telephones that nobody serves; they have monitors, 1 and so on.
func aLife(numbers ...string) *life {
	l := &life{phones: map[string]*phone{}, owners: map[string]string{}}
	for n, number := range numbers {
		ref := strconv.Itoa(n + 1)
		l.owners[ref], l.phones[number] = number, &phone{monitors: map[string]*monitor{ref: {local: "7"}}}
	}
	return l
}

// A request that names connections goes to the one telephone whose they are, and to none when
// they are of two, of nobody, or without device. What callIDs a telephone has, it knows itself.
func TestDeskConnections(t *testing.T) {
	d := aLife("7001", "7002")
	own, held, foreign := uacsta.Conn("1", "7001"), uacsta.Conn("2", "7001"), uacsta.Conn("1", "7002")
	for _, service := range connections.Services(func(string) bool { return true }) {
		n := connections.Named{Active: own, Held: held, To: "7002"}
		for name, m := range map[string]*uacsta.Message{"whole": connections.Request(t, service, n), "by the device alone": connections.DeviceOnly(t, service, n)} {
			if number, _, err := d.addressee(m); number != "7001" || err != nil {
				t.Errorf("%s, %s: goes to %q: %v", service, name, number, err)
			}
		}
		two := len(connections.Request(t, service, n).Connections()) == 2
		for _, wrong := range connections.Wrong(t, service, n, foreign) {
			number, _, err := d.addressee(wrong.Request)
			switch own := strings.Contains(wrong.Name, "own device") || strings.Contains(wrong.Name, "unknown call"); {
			case own && number != "7001": // only that telephone can tell
				t.Errorf("%s: goes to %q", wrong.Name, number)
			case strings.Contains(wrong.Name, "foreign device") && !two && number != "7002": // which is asked for, and permitted
				t.Errorf("%s: goes to %q", wrong.Name, number)
			case (strings.Contains(wrong.Name, "only") || strings.Contains(wrong.Name, "foreign device") && two) && !refusedBy(err, uacsta.InvalidConnectionID):
				t.Errorf("%s: goes to %q: %v", wrong.Name, number, err)
			}
		}
	}
}

func refusedBy(err error, value string) bool {
	var refusal *uacsta.Error
	return errors.As(err, &refusal) && refusal.Value == value
}

// A request goes to the telephone that something is done to, in whatever order its elements come,
// and whatever monitor it names beside.
func TestAddressee(t *testing.T) {
	d := aLife("7001", "7002")
	for doc, want := range map[string]string{
		"<MakeCall><callingDevice>7001</callingDevice><calledDirectoryNumber>7002</calledDirectoryNumber></MakeCall>":                                                             "7001",
		"<MakeCall><calledDirectoryNumber>7002</calledDirectoryNumber><callingDevice>7001</callingDevice></MakeCall>":                                                             "7001",
		"<MakeCall><callingDevice>7001</callingDevice><calledDirectoryNumber>1</calledDirectoryNumber><monitorCrossRefID>2</monitorCrossRefID></MakeCall>":                        "7001",
		"<ClearConnection><connectionToBeCleared><callID>1</callID><deviceID>7001</deviceID></connectionToBeCleared><monitorCrossRefID>2</monitorCrossRefID></ClearConnection>":   "7001",
		"<MonitorStop><monitorCrossRefID>2</monitorCrossRefID></MonitorStop>":                                                                                                     "7002",
		"<JoinCall><activeCall><callID>1</callID></activeCall><joiningDevice>7001</joiningDevice></JoinCall>":                                                                     "",
		"<SetForwarding><forwardDN>7002</forwardDN><device>7001</device><forwardingType>forwardImmediate</forwardingType><activateForward>true</activateForward></SetForwarding>": "7001",
		"<DirectedPickupCall><callToBePickedUp><callID>1</callID><deviceID>7003</deviceID></callToBePickedUp><requestingDevice>7001</requestingDevice></DirectedPickupCall>":      "",
		"<MakeCall><callingDevice>7003</callingDevice><calledDirectoryNumber>7003</calledDirectoryNumber></MakeCall>":                                                             "",
	} {
		m, err := uacsta.Parse([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if number, _, err := d.addressee(m); number != want || (err == nil) != (want != "") {
			t.Errorf("%s goes to %q: %v", doc, number, err)
		}
	}
}
