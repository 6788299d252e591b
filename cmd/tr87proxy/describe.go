package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// describe returns a message in one line: its name, connections, numbers, new state and cause. monitored has the devices of monitors
// by their cross references; it may be nil.
func describe(m *uacsta.Message, monitored map[string]string) string {
	if refusal := m.Err(); refusal != nil {
		return "refused: " + refusal.Error()
	}
	parts := []string{strings.TrimSuffix(m.Name(), "Event")}
	listed := false
	for _, c := range m.Connections() {
		if strings.Contains(c.Path(), "onnectionListItem") {
			listed = true
			continue
		}
		parts = append(parts, pair(c))
	}
	if listed {
		parts = append(parts, "now "+newConnections(m))
	}
	if len(m.Connections()) == 0 {
		for _, d := range m.Devices() {
			parts = append(parts, d.ID())
		}
	}
	if name := m.Name(); name == uacsta.NameDeliveredEvent || name == uacsta.NameQueuedEvent { // who calls, and what was dialled
		for _, f := range []struct{ path, label string }{{"callingDevice", "from "}, {"calledDevice", "to "}} {
			parts = append(parts, f.label+cmp.Or(m.Text(f.path+"/deviceIdentifier"), "unknown"))
		}
	}
	local := "here "
	if device := monitored[m.CrossRef()]; device != "" {
		local = "at " + device + ": "
	}
	for _, f := range []struct{ path, label string }{
		{"systemStatus", ""}, {"monitorCrossRefID", "monitor "}, {"localConnectionInfo", local}, {"cause", "cause "},
		{"forwardingType", ""}, {"forwardStatus", "on "}, {"doNotDisturbOn", "on "}, {"digitGeneratedList", ""}, {"dtmfChar", ""}, {"message", "message "}, {"resultingMessage", "message "}, {"messageWaitingOn", "on "},
		{"autoAnswerOn", "on "}, {"autoWorkOn", "on "}, {"callBackSetCanceled", "booked "}, {"agentID", "agent "}, {"pendingAgentState", "then "},
		{"numberQueued", "place "}, {"correlatorData/string", "correlator "}, {"userData/string", "user data "}, {"subjectOfCall", "subject "},
		{"routeRegisterReqID", "registration "}, {"crossRefIdentifier", "dialogue "},
	} {
		if v := m.Text(f.path); v != "" {
			parts = append(parts, f.label+v)
		}
	}
	return printable(strings.Join(parts, "  "))
}

func pair(c uacsta.Connection) string { return fmt.Sprintf("(%s, %s)", c.CallID(), c.DeviceID()) }

// newConnections returns the connections after a transfer or conference.
func newConnections(m *uacsta.Message) string {
	var now []string
	for _, c := range m.Connections() {
		if strings.HasSuffix(c.Path(), "newConnection") {
			now = append(now, pair(c))
		}
	}
	return strings.Join(now, " ")
}
