package phones

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Feature keys use the event package as-feature-event. Telephones send CSTA requests. They get events
// in the form that they expect, which is not that of the schema.

// The event packages that telephones may subscribe to.
const (
	featurePackage = "as-feature-event"
	waitingPackage = "message-summary" // RFC 3842
	dialogPackage  = "dialog"          // RFC 4235
	statusPackage  = "presence"        // RFC 3856
)

// packages returns the event packages to which telephones may subscribe.
func (s *Server) packages() []registrar.Package {
	one := func(document func(string) registrar.Document) func(string, string, *registrar.Model) []registrar.Document {
		return func(number, _ string, _ *registrar.Model) []registrar.Document {
			return []registrar.Document{document(number)}
		}
	}
	features := func(number, _ string, _ *registrar.Model) []registrar.Document { return s.featureDocuments(number) }
	dialogs := func(number, by string, of *registrar.Model) []registrar.Document {
		return []registrar.Document{s.dialogDocument(number, by, of != nil && of.Idle)}
	}
	others := func(number string) bool { return s.sw.Has(number) && s.sw.Device(number) == number } // no second numbers
	return []registrar.Package{
		{Event: featurePackage, Documents: features, Change: s.changeFeature},
		{Event: waitingPackage, Documents: one(s.waitingDocument)},
		{Event: dialogPackage, Others: others, Documents: dialogs},
		{Event: statusPackage, Others: others, Documents: one(s.statusDocument)},
	}
}

const featureType = "application/x-as-feature-event+xml"

// forwardingKeys lists the types of forwarding that telephones have keys for.
var forwardingKeys = []uacsta.ForwardingType{uacsta.ForwardImmediate, uacsta.ForwardBusy, uacsta.ForwardNoAns}

// featureDocuments returns the features of an extension as documents for its telephones.
func (s *Server) featureDocuments(number string) []registrar.Document {
	f, ok := s.sw.FeaturesOf(number)
	if !ok {
		return nil
	}
	list := []registrar.Document{featureDocument("DoNotDisturb", uacsta.NameDoNotDisturbEvent, number, field{"doNotDisturbOn", fmt.Sprint(f.DND.On)})}
	for _, kind := range forwardingKeys {
		for _, set := range f.Forwardings {
			if set.Type != kind {
				continue
			}
			fields := []field{{"forwardingType", string(kind)}, {"forwardStatus", fmt.Sprint(set.On)}, {"forwardTo", set.To}}
			if kind == uacsta.ForwardNoAns {
				fields = append(fields, field{"ringCount", fmt.Sprint(set.Rings)})
			}
			list = append(list, featureDocument("Forwarding "+string(kind), uacsta.NameForwardingEvent, number, fields...))
		}
	}
	for _, a := range f.Agents {
		list = append(list, agentDocument(number, a))
	}
	return list
}

// agentEvents names the events for states of agents.
var agentEvents = map[uacsta.AgentState]string{
	uacsta.AgentReady: uacsta.NameAgentReadyEvent, uacsta.AgentNotReady: uacsta.NameAgentNotReadyEvent, uacsta.AgentBusy: uacsta.NameAgentBusyEvent,
	uacsta.AgentWorkingAfterCall: uacsta.NameAgentWorkingAfterCallEvent, uacsta.AgentNull: uacsta.NameAgentLoggedOffEvent,
}

func agentDocument(number string, a softswitch.AgentState) registrar.Document {
	d := featureDocument("Agent "+a.Group, agentEvents[a.State], number, field{"agentID", a.ID})
	if a.Reason != "" && a.State == uacsta.AgentNotReady {
		private := `<extensions><privateData><private><AgentNotReadyReasonValue xmlns="http://schema.broadsoft.com/CSTAPrivateData">` +
			text(a.Reason) + `</AgentNotReadyReasonValue></private></privateData></extensions>`
		d.Text = strings.Replace(d.Text, "</AgentNotReadyEvent>", private+"</AgentNotReadyEvent>", 1)
	}
	return d
}

type field struct{ name, value string }

func featureDocument(name, event, number string, fields ...field) registrar.Document {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="ISO-8859-1"?>` + "\n")
	fmt.Fprintf(&b, `<%s xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><device>%s</device>`, event, text(number))
	for _, f := range fields {
		fmt.Fprintf(&b, "<%s>%s</%s>", f.name, text(f.value), f.name)
	}
	b.WriteString("</" + event + ">")
	return registrar.Document{Name: name, Type: featureType, Text: b.String()}
}

// text escapes the text of an element, in ASCII.
func text(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // writes to a buffer do not fail
	var ascii strings.Builder
	for _, r := range b.String() {
		if r < 0x80 {
			ascii.WriteRune(r)
		} else {
			fmt.Fprintf(&ascii, "&#%d;", r)
		}
	}
	return ascii.String()
}

// changeFeature carries out the request in the body of a SUBSCRIBE, and returns the name of the document
// that it changes, or "" if it changes none.
func (s *Server) changeFeature(number, contentType string, body []byte) string {
	if contentType != featureType {
		return ""
	}
	asked, service, err := featureRequest(body, number, s.cfg.Numbers())
	if err == nil {
		err = s.sw.Perform(service)
	}
	if agent, ok := service.(uacsta.SetAgentState); ok && err != nil && agent.Password != "" { // telephones may write it plainly, not as octets
		agent.Password = hex.EncodeToString([]byte(agent.Password))
		err = s.sw.Perform(agent)
	}
	if err != nil { // the telephone shows the old value again
		s.log.Info("refused a feature key", "device", number, "feature", asked, "err", err)
	}
	if asked == "" {
		asked = "none"
	}
	return asked
}

// featureRequest reads the request of a telephone, and returns the document that it changes and the
// service. The device is always the telephone's own extension, whatever the request says.
func featureRequest(body []byte, number string, numbers *policy.Numbers) (asked string, service any, err error) {
	body = bytes.ReplaceAll(body, []byte("http://www.ecmainternational.org/"), []byte("http://www.ecma-international.org/"))
	msg, err := uacsta.Parse(body)
	if err != nil {
		return "", nil, err
	}
	msg.SetText("device", number)
	unreadable := translate(msg, numbers)
	device := uacsta.Dev(number)
	switch msg.Name() {
	case uacsta.NameSetDoNotDisturb:
		var req uacsta.SetDoNotDisturb
		err = msg.Decode(&req)
		req.Device = device
		asked, service = "DoNotDisturb", req
	case uacsta.NameSetForwarding:
		var req uacsta.SetForwarding
		err = msg.Decode(&req)
		req.Device = device
		if req.ForwardDN != nil && req.ForwardDN.ID == "" { // the old destination stays
			req.ForwardDN = nil
		}
		asked, service = "Forwarding "+string(req.ForwardingType), req
	case uacsta.NameSetAgentState:
		var req uacsta.SetAgentState
		err = msg.Decode(&req)
		req.Device = device
		asked, service = "Agent", req
	default:
		return "", nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
	}
	return asked, service, cmp.Or(err, unreadable)
}

// translate reads the numbers in a request or event of a telephone as those of clients are read, and puts the
// canonical ones in their places. It removes empty ones: forwarding without a destination keeps its old one. The error
// is a [*uacsta.Error].
func translate(m *uacsta.Message, numbers *policy.Numbers) error {
	for _, d := range m.Devices() {
		if d.ID() == "" {
			m.Remove(d.Path())
			continue
		}
		number, err := numbers.Parse(d.ID(), d.Type())
		if err != nil {
			value := uacsta.InvalidDeviceID
			if path := d.Path(); path == "forwardDN" || path == "forwardTo" {
				value = uacsta.InvalidForwardingDestination
			}
			return &uacsta.Error{Category: uacsta.Operation, Value: value, Detail: d.Path() + " " + err.Error()}
		}
		d.Set(number.String(), "")
	}
	return nil
}

// waitingDocument returns the document that says whether a message waits for an extension (RFC 3842 3.5).
func (s *Server) waitingDocument(number string) registrar.Document {
	f, _ := s.sw.FeaturesOf(number)
	waiting, count := "no", 0
	if f.Waiting {
		waiting, count = "yes", 1
	}
	return registrar.Document{Name: "waiting", Type: "application/simple-message-summary", Text: fmt.Sprintf(
		"Messages-Waiting: %s\r\nMessage-Account: %s\r\nVoice-Message: %d/0 (0/0)\r\n",
		waiting, sip.UserURI(number, s.telephones.Realm()), count)}
}
