package soap

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The namespaces of WS-Eventing: the submission of 2004, and the Recommendation of W3C.
const (
	eventing2004 = "http://schemas.xmlsoap.org/ws/2004/08/eventing"
	eventing2011 = "http://www.w3.org/2011/03/ws-evt"
)

// IsEventing reports whether an element is a request of WS-Eventing.
func IsEventing(body uacsta.Raw) bool {
	ns := body.Namespace()
	return ns == eventing2004 || ns == eventing2011
}

// Subscribe is the request for a subscription (WS-Eventing 3.1; 4.1 of the Recommendation).
type Subscribe struct {
	To      Endpoint
	End     *Endpoint // where SubscriptionEnd goes; nil: nowhere
	Expires Expiry
	Wrapped bool // events come in an element Notify; not in the version of 2004
}

// Endpoint is where messages of a subscription go.
type Endpoint struct {
	URL        *url.URL
	Parameters []string // header blocks that its messages have, as XML
}

// Expiry is when a subscription is to end.
type Expiry struct {
	After    time.Duration // from now; 0: not said
	Absolute bool          // the peer wrote a date, and gets one
}

// Limits of an endpoint.
const (
	maxURL        = 2048
	maxParameters = 8
	maxParameter  = 1024 // octets
)

// Subscription reads a request Subscribe. now is the time.
func (e *Envelope) Subscription(now time.Time) (*Subscribe, *Fault) {
	s := &Subscribe{}
	w3c := e.Body.Namespace() == eventing2011
	delivered := false
	for _, c := range e.Body.Children() {
		if c.Namespace() != e.Body.Namespace() {
			continue // an extension
		}
		var fault *Fault
		switch c.Name() {
		case "EndTo":
			s.End, fault = e.endpoint(c)
		case "Delivery":
			delivered = true
			fault = e.delivery(c, s)
		case "Format":
			switch name, _ := c.Attribute("", "Name"); name {
			case eventing2011 + "/DeliveryFormats/Unwrap":
			case eventing2011 + "/DeliveryFormats/Wrap":
				s.Wrapped = true
			default:
				return nil, e.eventing("DeliveryFormatRequestedUnavailable", "events come unwrapped, or wrapped in Notify")
			}
		case "Expires":
			s.Expires, fault = e.Expiry(c, now)
		case "Filter":
			return nil, e.eventing("FilteringNotSupported", "filters are those of MonitorStart")
		}
		if fault != nil {
			return nil, fault
		}
	}
	if !delivered || s.To.URL == nil {
		subcode := "InvalidMessage"
		if w3c {
			subcode = "NoDeliveryMechanismEstablished"
		}
		return nil, e.eventing(subcode, "the subscription has no address in Delivery/NotifyTo")
	}
	return s, nil
}

// delivery reads the element Delivery.
func (e *Envelope) delivery(d uacsta.Raw, s *Subscribe) *Fault {
	if mode, given := d.Attribute("", "Mode"); given && mode != eventing2004+"/DeliveryModes/Push" {
		f := e.eventing("DeliveryModeRequestedUnavailable", "the mode of delivery is Push")
		f.Detail = `<e:SupportedDeliveryMode xmlns:e="` + eventing2004 + `">` + eventing2004 + `/DeliveryModes/Push</e:SupportedDeliveryMode>`
		return f
	}
	for _, c := range d.Children() {
		if c.Name() == "NotifyTo" && c.Namespace() == d.Namespace() {
			to, fault := e.endpoint(c)
			if fault != nil {
				return fault
			}
			s.To = *to
		}
	}
	return nil
}

// endpoint reads an endpoint reference (WS-Addressing).
func (e *Envelope) endpoint(r uacsta.Raw) (*Endpoint, *Fault) {
	p := &Endpoint{}
	for _, c := range r.Children() {
		if ns := c.Namespace(); ns != addressing2004 && ns != addressing2005 {
			continue
		}
		switch c.Name() {
		case "Address":
			text, _ := c.Text()
			u, err := url.Parse(text)
			if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" || len(text) > maxURL {
				return nil, e.eventing("InvalidMessage", "the address of "+r.Name()+" is no URL with http or https")
			}
			p.URL = u
		case "ReferenceParameters", "ReferenceProperties":
			for _, parameter := range c.Children() {
				text := parameter.XML()
				if len(text) > maxParameter || len(p.Parameters) == maxParameters {
					return nil, e.eventing("InvalidMessage", "the reference parameters of "+r.Name()+" are too long")
				}
				p.Parameters = append(p.Parameters, text)
			}
		}
	}
	if p.URL == nil {
		return nil, e.eventing("InvalidMessage", r.Name()+" has no address")
	}
	return p, nil
}

// Expiry reads an element Expires: a duration or a date (XML Schema 2).
func (e *Envelope) Expiry(r uacsta.Raw, now time.Time) (Expiry, *Fault) {
	text, _ := r.Text()
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		if !at.After(now) {
			return Expiry{}, e.badExpiry("the time of Expires is over")
		}
		return Expiry{at.Sub(now), true}, nil
	}
	after, ok := duration(text)
	if !ok || after <= 0 {
		return Expiry{}, e.badExpiry("Expires must be a duration such as PT10M, or a date with its time and zone")
	}
	return Expiry{after, false}, nil
}

func (e *Envelope) badExpiry(reason string) *Fault {
	if e.Body.Namespace() == eventing2011 {
		return e.eventing("UnsupportedExpirationValue", reason)
	}
	return e.eventing("InvalidExpirationTime", reason)
}

// Unknown returns the fault for a subscription that there is not.
func (e *Envelope) Unknown() *Fault {
	if e.Body.Namespace() == eventing2011 {
		return e.eventing("UnknownSubscription", "there is no such subscription")
	}
	return e.eventing("InvalidMessage", "there is no such subscription")
}

// Eventing returns a fault of WS-Eventing.
func (e *Envelope) eventing(subcode, reason string) *Fault {
	f := e.Fault(Client, reason)
	f.Subcode, f.Eventing = subcode, e.Body.Namespace()
	return f
}

// Unable returns the fault for an event source that can take no subscription now.
func (e *Envelope) Unable(reason string) *Fault {
	f := e.eventing("EventSourceUnableToProcess", reason)
	f.Code = Server
	return f
}

// Subscribed returns the answer to Subscribe: where the subscription is managed, its identifier, and when it ends.
func (e *Envelope) Subscribed(manager, id string, granted Expiry, now time.Time) []byte {
	ns := e.Body.Namespace()
	wsa := addressing2004
	if ns == eventing2011 {
		wsa = addressing2005
	}
	return e.Answer(ns+"/SubscribeResponse", fmt.Sprintf(
		`<e:SubscribeResponse xmlns:e="%s" xmlns:a="%s"><e:SubscriptionManager><a:Address>%s</a:Address><a:ReferenceParameters><e:Identifier>%s</e:Identifier></a:ReferenceParameters></e:SubscriptionManager>%s</e:SubscribeResponse>`,
		ns, wsa, escape(manager), escape(id), e.expires(granted, now)))
}

// Managed returns the answer to Renew, GetStatus or Unsubscribe.
func (e *Envelope) Managed(granted Expiry, now time.Time) []byte {
	ns, name := e.Body.Namespace(), e.Body.Name()+"Response"
	body := fmt.Sprintf(`<e:%s xmlns:e="%s">%s</e:%[1]s>`, name, ns, e.expires(granted, now))
	if e.Body.Name() == "Unsubscribe" {
		if body = ""; ns == eventing2011 {
			body = `<e:UnsubscribeResponse xmlns:e="` + ns + `"/>`
		}
	}
	return e.Answer(ns+"/"+name, body)
}

func (e *Envelope) expires(x Expiry, now time.Time) string {
	name := "Expires"
	if e.Body.Namespace() == eventing2011 {
		name = "GrantedExpires"
	}
	text := "PT" + strconv.Itoa(int(x.After/time.Second)) + "S"
	if x.Absolute {
		text = now.Add(x.After).UTC().Format(time.RFC3339)
	}
	return "<e:" + name + ">" + text + "</e:" + name + ">"
}

// Channel is how messages of a subscription are written: as its Subscribe was.
type Channel struct {
	Version  Version
	eventing string
	wsa      string
	wrapped  bool
}

// Channel returns how messages of a subscription are written.
func (e *Envelope) Channel(s *Subscribe) Channel {
	c := Channel{e.Version, e.Body.Namespace(), e.wsa, s.Wrapped}
	if c.wsa == "" {
		if c.wsa = addressing2004; c.eventing == eventing2011 {
			c.wsa = addressing2005
		}
	}
	return c
}

// Event returns the envelope of a message to an endpoint, and its action. message is XML.
func (c Channel) Event(to *Endpoint, action, message string) (envelope []byte, sent string) {
	if c.wrapped {
		message = fmt.Sprintf(`<e:Notify xmlns:e="%s" actionURI="%s">%s</e:Notify>`, c.eventing, escape(action), message)
		action = c.eventing + "/WrappedSinkPortType/NotifyEvent"
	}
	return c.message(to, action, message), action
}

// End returns the envelope of SubscriptionEnd, and its action. status is DeliveryFailure, SourceShuttingDown or
// SourceCanceling.
func (c Channel) End(to *Endpoint, manager, id, status, reason string) (envelope []byte, action string) {
	if status == "SourceCanceling" && c.eventing == eventing2011 {
		status = "SourceCancelling"
	}
	action = c.eventing + "/SubscriptionEnd"
	at := ""
	if c.eventing == eventing2004 {
		at = fmt.Sprintf(`<e:SubscriptionManager><a:Address xmlns:a="%s">%s</a:Address><a:ReferenceParameters xmlns:a="%[1]s"><e:Identifier>%[3]s</e:Identifier></a:ReferenceParameters></e:SubscriptionManager>`, addressing2004, escape(manager), escape(id))
	}
	return c.message(to, action, fmt.Sprintf(`<e:SubscriptionEnd xmlns:e="%[1]s">%[2]s<e:Status>%[1]s/%[3]s</e:Status><e:Reason>%[4]s</e:Reason></e:SubscriptionEnd>`, c.eventing, at, status, escape(reason))), action
}

func (c Channel) message(to *Endpoint, action, body string) []byte {
	var h strings.Builder
	fmt.Fprintf(&h, `<s:Header><a:To xmlns:a="%s">%s</a:To><a:Action xmlns:a="%[1]s">%[3]s</a:Action>`, c.wsa, escape(to.URL.String()), escape(action))
	for _, p := range to.Parameters {
		h.WriteString(p)
	}
	h.WriteString("</s:Header>")
	return wrap(c.Version, h.String(), body)
}
