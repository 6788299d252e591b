package main

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// narrow is how wide a line for people is at most.
const narrow = 80

// narrate returns an event of a monitor as a line for people: when, at which device, what has happened. The callID follows
// where there is room. device is that of the monitor; known has the names of devices.
func narrate(m *uacsta.Message, device string, known deviceNames, now time.Time) string {
	n := narration{m, device, known}
	what := n.what()
	if what == "" {
		return now.Format(time.TimeOnly) + " " + describe(m, map[string]string{m.CrossRef(): device})
	}
	line := cut(printable(now.Format(time.TimeOnly)+" "+cmp.Or(device, "?")+" "+what), narrow)
	if c := m.Connections(); len(c) > 0 {
		call := "  call " + printable(c[0].CallID())
		if utf8.RuneCountInString(line+call) <= narrow {
			line += call
		}
	}
	return line
}

// colourOf returns the colour of the line about an event.
func colourOf(m *uacsta.Message) colour {
	switch m.Name() {
	case uacsta.NameOfferedEvent, uacsta.NameDeliveredEvent, uacsta.NameQueuedEvent:
		return busy
	case uacsta.NameEstablishedEvent, uacsta.NameRetrievedEvent, uacsta.NameConferencedEvent, uacsta.NameTransferedEvent:
		return good
	case uacsta.NameHeldEvent:
		return held
	case uacsta.NameFailedEvent:
		return bad
	case uacsta.NameConnectionClearedEvent:
		return faint
	}
	return uncoloured
}

// narration is an event as one device sees it.
type narration struct {
	*uacsta.Message

	at    string // the device
	known deviceNames
}

// id returns the device in an element of the event; people who withhold their number are "unknown".
func (n narration) id(element string) string {
	return cmp.Or(n.Text(element+"/deviceIdentifier"), n.Text(element), "unknown")
}

// of returns the device in an element of the event, with its name.
func (n narration) of(element string) string { return n.known.of(n.id(element)) }

// here reports whether the device in an element is that of the monitor.
func (n narration) here(element string) bool { return n.id(element) == n.at }

// what says what has happened, or "" for an event that has no words of its own.
func (n narration) what() string {
	switch n.Name() {
	case uacsta.NameServiceInitiatedEvent:
		return "is off-hook"
	case uacsta.NameOriginatedEvent:
		return "calls " + n.of("calledDevice")
	case uacsta.NameOfferedEvent:
		return "is offered a call, from " + n.of("callingDevice") + n.redirected()
	case uacsta.NameDeliveredEvent:
		return n.delivered()
	case uacsta.NameEstablishedEvent:
		return n.established()
	case uacsta.NameNetworkReachedEvent:
		return "has reached the network, calling " + n.of("calledDevice")
	case uacsta.NameHeldEvent:
		return n.did("holdingDevice", "holds the call", "has put the call on hold")
	case uacsta.NameRetrievedEvent:
		return n.did("retrievingDevice", "has the call again", "has retrieved the call")
	case uacsta.NameQueuedEvent:
		return n.queued()
	case uacsta.NameDivertedEvent:
		return n.did("divertingDevice", "sends the call on to "+n.of("newDestination"), "sends the call on to "+n.of("newDestination"))
	case uacsta.NameTransferedEvent:
		return n.did("transferringDevice", "has transferred the call"+n.now(), "has transferred the call"+n.now())
	case uacsta.NameConferencedEvent:
		return "conference of" + strings.TrimPrefix(n.now(), ": now")
	case uacsta.NameFailedEvent:
		return "call to " + n.of("calledDevice") + " failed: " + words(n.Text("cause"))
	case uacsta.NameConnectionClearedEvent:
		return n.did("releasingDevice", "has hung up", "has left the call") + n.because("normalClearing", "normal")
	}
	return ""
}

// did says what a device did: of the monitor's own device, or of another one.
func (n narration) did(element, own, other string) string {
	if n.here(element) {
		return own
	}
	return "sees: " + n.of(element) + " " + other
}

func (n narration) delivered() string {
	switch {
	case n.here("alertingDevice"):
		return "rings, from " + n.of("callingDevice") + n.redirected()
	case n.here("callingDevice"):
		return "hears " + n.of("alertingDevice") + " ring"
	}
	return "sees: " + n.of("alertingDevice") + " rings, from " + n.of("callingDevice")
}

func (n narration) established() string {
	switch {
	case n.here("answeringDevice"):
		return "has answered " + n.of("callingDevice")
	case n.here("callingDevice"):
		return "talks with " + n.of("answeringDevice")
	}
	return "sees: " + n.of("answeringDevice") + " has answered " + n.of("callingDevice")
}

func (n narration) queued() string {
	place := n.Text("numberQueued")
	if place != "" {
		place = ", place " + place
	}
	if n.here("queue") {
		return "has a caller waiting: " + n.of("callingDevice") + place
	}
	return "sees: " + n.of("callingDevice") + " waits at " + n.of("queue") + place
}

// redirected says where the call was before, and why it comes now, if it was sent on.
func (n narration) redirected() string {
	last := n.Text("lastRedirectionDevice/numberDialed/deviceIdentifier")
	last = cmp.Or(last, n.Text("lastRedirectionDevice/numberDialed"), n.Text("lastRedirectionDevice/deviceIdentifier"))
	if last == "" {
		return n.because("newCall", "normal")
	}
	return ", sent on by " + n.known.of(last) + n.because("newCall", "normal")
}

// because names the cause, unless it is one of the usual ones.
func (n narration) because(usual ...string) string {
	cause := n.Text("cause")
	if cause == "" || slices.Contains(usual, cause) {
		return ""
	}
	return " (" + words(cause) + ")"
}

// now lists who is in the call after a transfer or conference.
func (n narration) now() string {
	var in []string
	for _, c := range n.Connections() {
		if strings.HasSuffix(c.Path(), "newConnection") {
			in = append(in, n.known.of(c.DeviceID()))
		}
	}
	if len(in) == 0 {
		return ""
	}
	return ": now " + strings.Join(in, ", ")
}

// words returns a value of an enumeration as words: "doNotDisturb" as "do not disturb".
func words(value string) string {
	var b strings.Builder
	for _, r := range value {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte(' ')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return cmp.Or(b.String(), "no cause")
}
