package phones

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Feature keys: the event package as-feature-event. Requests of telephones are CSTA; the
// events to them are written as these telephones expect them, not as the schema says.

const featureType = "application/x-as-feature-event+xml"

// features are the types of forwarding that telephones have keys for.
var forwardingKeys = []uacsta.ForwardingType{uacsta.ForwardImmediate, uacsta.ForwardBusy, uacsta.ForwardNoAns}

// featureDocuments are what a telephone shows of an extension's features.
func (s *Server) featureDocuments(u *user) []document {
	f, ok := s.sw.FeaturesOf(u.Number)
	if !ok {
		return nil
	}
	list := []document{featureDocument("DoNotDisturb", uacsta.NameDoNotDisturbEvent, u.Number, field{"doNotDisturbOn", fmt.Sprint(f.DND.On)})}
	for _, kind := range forwardingKeys {
		for _, set := range f.Forwardings {
			if set.Type != kind {
				continue
			}
			fields := []field{{"forwardingType", string(kind)}, {"forwardStatus", fmt.Sprint(set.On)}, {"forwardTo", set.To}}
			if kind == uacsta.ForwardNoAns {
				fields = append(fields, field{"ringCount", fmt.Sprint(set.Rings)})
			}
			list = append(list, featureDocument("Forwarding "+string(kind), uacsta.NameForwardingEvent, u.Number, fields...))
		}
	}
	for _, a := range f.Agents {
		list = append(list, agentDocument(u.Number, a))
	}
	return list
}

// agentEvents name the states of agents.
var agentEvents = map[uacsta.AgentState]string{
	uacsta.AgentReady: uacsta.NameAgentReadyEvent, uacsta.AgentNotReady: uacsta.NameAgentNotReadyEvent, uacsta.AgentBusy: uacsta.NameAgentBusyEvent,
	uacsta.AgentWorkingAfterCall: uacsta.NameAgentWorkingAfterCallEvent, uacsta.AgentNull: uacsta.NameAgentLoggedOffEvent,
}

func agentDocument(number string, a softswitch.AgentState) document {
	d := featureDocument("Agent "+a.Group, agentEvents[a.State], number, field{"agentID", a.ID})
	if a.Reason != "" && a.State == uacsta.AgentNotReady {
		private := `<extensions><privateData><private><AgentNotReadyReasonValue xmlns="http://schema.broadsoft.com/CSTAPrivateData">` +
			text(a.Reason) + `</AgentNotReadyReasonValue></private></privateData></extensions>`
		d.text = strings.Replace(d.text, "</AgentNotReadyEvent>", private+"</AgentNotReadyEvent>", 1)
	}
	return d
}

type field struct{ name, value string }

func featureDocument(name, event, number string, fields ...field) document {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="ISO-8859-1"?>` + "\n")
	fmt.Fprintf(&b, `<%s xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><device>%s</device>`, event, text(number))
	for _, f := range fields {
		fmt.Fprintf(&b, "<%s>%s</%s>", f.name, text(f.value), f.name)
	}
	b.WriteString("</" + event + ">")
	return document{name, featureType, b.String()}
}

// text escapes what stands in an element, in ASCII.
func text(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer takes everything
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

// changed carries out what a SUBSCRIBE asks for, and returns the document that it
// concerns; "" when it only asks to be told.
func (sub *subscription) changed(r *sip.Request) string {
	if sub.event != featurePackage || len(r.Body()) == 0 || r.ContentType() != featureType {
		return ""
	}
	s := sub.server
	asked, service, err := featureRequest(r.Body(), sub.by.Number)
	if err == nil {
		err = s.sw.Perform(service)
	}
	if agent, ok := service.(uacsta.SetAgentState); ok && err != nil && agent.Password != "" { // telephones may write it plainly, not as octets
		agent.Password = hex.EncodeToString([]byte(agent.Password))
		err = s.sw.Perform(agent)
	}
	if err != nil { // the telephone sees the old value
		s.log.Info("a feature key is refused", "device", sub.by.Number, "feature", asked, "err", err)
	}
	if asked == "" {
		asked = "none"
	}
	return asked
}

// featureRequest reads what a telephone asks for: the document that it concerns, and the
// service. Its own idea of which device it is does not count.
func featureRequest(body []byte, number string) (asked string, service any, err error) {
	body = bytes.ReplaceAll(body, []byte("http://www.ecmainternational.org/"), []byte("http://www.ecma-international.org/"))
	msg, err := uacsta.Parse(body)
	if err != nil {
		return "", nil, err
	}
	device := uacsta.Dev(number)
	switch msg.Name() {
	case uacsta.NameSetDoNotDisturb:
		var req uacsta.SetDoNotDisturb
		err = msg.Decode(&req)
		req.Device = device
		return "DoNotDisturb", req, err
	case uacsta.NameSetForwarding:
		var req uacsta.SetForwarding
		err = msg.Decode(&req)
		req.Device = device
		if req.ForwardDN != nil && req.ForwardDN.ID == "" { // the old target
			req.ForwardDN = nil
		}
		return "Forwarding " + string(req.ForwardingType), req, err
	case uacsta.NameSetAgentState:
		var req uacsta.SetAgentState
		err = msg.Decode(&req)
		req.Device = device
		return "Agent", req, err
	}
	return "", nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
}

// tellFeatures tells everybody who watches an extension what has changed.
func (s *Server) tellFeatures(f softswitch.Features) {
	for _, sub := range s.watching(f.Device, featurePackage, waitingPackage) {
		s.tellNew(sub)
	}
}

// waitingDocument says whether a message waits (RFC 3842 3.5).
func (s *Server) waitingDocument(sub *subscription) document {
	f, _ := s.sw.FeaturesOf(sub.of.Number)
	waiting, count := "no", 0
	if f.Waiting {
		waiting, count = "yes", 1
	}
	return document{"waiting", "application/simple-message-summary", fmt.Sprintf(
		"Messages-Waiting: %s\r\nMessage-Account: %s\r\nVoice-Message: %d/0 (0/0)\r\n",
		waiting, sip.UserURI(sub.of.Number, s.cfg.Realm), count)}
}
