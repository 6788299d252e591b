// Package connections has a request of every service that names connections, and, for each, the
// same request with connections that do not exist, which a link must refuse. The tests of every
// link that keeps calls itself use this one table.
package connections

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// documents are the requests: {active} and {held} stand for the connections of one device, {to}
// for another device.
var documents = map[string]string{
	"AlternateCall":            `<heldCall>{held}</heldCall><activeCall>{active}</activeCall>`,
	"AnswerCall":               `<callToBeAnswered>{active}</callToBeAnswered>`,
	"AssociateData":            `<existingCall>{active}</existingCall><accountCode>31</accountCode>`,
	"CallBack":                 `<callbackConnection>{active}</callbackConnection>`,
	"CamponCall":               `<camponConnection>{active}</camponConnection>`,
	"ClearCall":                `<callToBeCleared>{active}</callToBeCleared>`,
	"ClearConnection":          `<connectionToBeCleared>{active}</connectionToBeCleared>`,
	"ConferenceCall":           `<heldCall>{held}</heldCall><activeCall>{active}</activeCall>`,
	"ConsultationCall":         `<existingCall>{active}</existingCall><consultedDevice>{to}</consultedDevice>`,
	"DeflectCall":              `<callToBeDiverted>{active}</callToBeDiverted><newDestination>{to}</newDestination>`,
	"DirectedPickupCall":       `<callToBePickedUp>{active}</callToBePickedUp><requestingDevice>{to}</requestingDevice>`,
	"GenerateDigits":           `<connectionToSendDigits>{active}</connectionToSendDigits><charactersToSend>12</charactersToSend>`,
	"HoldCall":                 `<callToBeHeld>{active}</callToBeHeld>`,
	"IntrudeCall":              `<intrude>{active}</intrude><participationType>active</participationType>`,
	"JoinCall":                 `<activeCall>{active}</activeCall><joiningDevice>{to}</joiningDevice><autoOriginate>doNotPrompt</autoOriginate><participationType>active</participationType>`,
	"MonitorStart":             `<monitorObject><callObject>{active}</callObject></monitorObject>`,
	"ParkCall":                 `<parking>{active}</parking><parkTo>{to}</parkTo>`,
	"PlayMessage":              `<messageToBePlayed>hello</messageToBePlayed><overConnection>{active}</overConnection>`,
	"ReconnectCall":            `<activeCall>{active}</activeCall><heldCall>{held}</heldCall>`,
	"RecordMessage":            `<callToBeRecorded>{active}</callToBeRecorded>`,
	"RetrieveCall":             `<callToBeRetrieved>{active}</callToBeRetrieved>`,
	"SendUserInformation":      `<existingCall>{active}</existingCall><userData><string>31</string></userData>`,
	"SingleStepConferenceCall": `<activeCall>{active}</activeCall><deviceToJoin>{to}</deviceToJoin><participationType>active</participationType>`,
	"SingleStepTransferCall":   `<activeCall>{active}</activeCall><transferredTo>{to}</transferredTo>`,
	"SnapshotCall":             `<snapshotObject>{active}</snapshotObject>`,
	"Stop":                     `<connection>{active}</connection>`,
	"TransferCall":             `<heldCall>{held}</heldCall><activeCall>{active}</activeCall>`,
}

// Named are the connections of a request: two of one device, and another device.
type Named struct {
	Active, Held uacsta.ConnectionID
	To           string
}

// Request makes the request of a service.
func Request(t testing.TB, service string, n Named) *uacsta.Message {
	t.Helper()
	body := strings.NewReplacer("{active}", written(n.Active), "{held}", written(n.Held), "{to}", n.To).Replace(documents[service])
	m, err := uacsta.Parse([]byte(fmt.Sprintf(`<%s xmlns="%s">%s</%s>`, service, uacsta.NamespaceED3, body, service)))
	if err != nil {
		t.Fatalf("%s: %v", service, err)
	}
	return m
}

func written(id uacsta.ConnectionID) string {
	text := ""
	if id.CallID != "" {
		text += "<callID>" + id.CallID + "</callID>"
	}
	if id.DeviceID.ID != "" {
		text += "<deviceID>" + id.DeviceID.ID + "</deviceID>"
	}
	return text
}

// Case is a request that must be refused.
type Case struct {
	Name    string
	Request *uacsta.Message
}

// Wrong makes the requests of a service whose connections do not exist: each connection in turn
// is put together of the callID and the device of different connections, is of no call, or has no
// device. foreign is a connection of another device in another call; the device of n has no part
// in that call, nor that of foreign in those of n.
func Wrong(t testing.TB, service string, n Named, foreign uacsta.ConnectionID) []Case {
	t.Helper()
	var cases []Case
	for place, right := range map[string]uacsta.ConnectionID{"active": n.Active, "held": n.Held} {
		if !strings.Contains(documents[service], "{"+place+"}") {
			continue
		}
		for name, wrong := range map[string]uacsta.ConnectionID{
			"foreign call, own device": {CallID: foreign.CallID, DeviceID: right.DeviceID},
			"own call, foreign device": {CallID: right.CallID, DeviceID: foreign.DeviceID},
			"unknown call":             uacsta.Conn("0000", right.DeviceID.ID),
			"own callID only":          {CallID: right.CallID},
			"foreign callID only":      {CallID: foreign.CallID},
		} {
			asked := n
			if place == "active" {
				asked.Active = wrong
			} else {
				asked.Held = wrong
			}
			cases = append(cases, Case{service + " with " + name + " as " + place, Request(t, service, asked)})
		}
	}
	return cases
}

// DeviceOnly makes the request of a service whose connections are named by their device alone.
func DeviceOnly(t testing.TB, service string, n Named) *uacsta.Message {
	t.Helper()
	n.Active.CallID, n.Held.CallID = "", ""
	return Request(t, service, n)
}

// Services are the services of the table that a link carries out, by what carries says of each.
func Services(carries func(service string) bool) []string {
	var names []string
	for name := range documents {
		if carries(name) {
			names = append(names, name)
		}
	}
	return names
}

// Names reports whether a service's request may name a connection.
func Names(service string) bool { return documents[service] != "" }
