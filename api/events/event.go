package events

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The types of events that are not CSTA's.
const (
	Ready     = "ready"     // the subscription has begun
	Snapshot  = "snapshot"  // the calls of a device
	Gap       = "gap"       // events are missing here
	LinkDown  = "linkDown"  // a link has gone down
	LinkUp    = "linkUp"    // a link has come up
	Heartbeat = "heartbeat" // nothing else has happened for a while
	Slow      = "slow"      // the subscriber does not keep up, and its stream ends
	End       = "end"       // the stream ends
	Revoked   = "revoked"   // the subscriber may not observe devices any more
)

// Head is what all events have.
type Head struct {
	ID   string `json:"id,omitempty" doc:"seq as text. A stream that resumes after it misses nothing and repeats nothing."`
	Seq  uint64 `json:"seq,omitempty" doc:"The number of the event in the log, or, of ready, heartbeat and the like, the last number before it."`
	Time string `json:"time" format:"date-time" doc:"When it was, in UTC, to the millisecond."`
	Type string `json:"type" doc:"The name of the CSTA event without Event, such as delivered, or a type of this interface."`
}

// Happening is a CSTA event at a device.
type Happening struct {
	Head
	Device string          `json:"device" doc:"The device whose monitor reported the event."`
	Call   string          `json:"call,omitempty" doc:"The callID."`
	Link   string          `json:"link,omitempty" doc:"The link that serves the device."`
	Caller string          `json:"caller,omitempty" doc:"Who calls, as this device sees it, also after transfers and conferences. Not there: not known."`
	Called string          `json:"called,omitempty" doc:"The number that was called."`
	State  string          `json:"state,omitempty" doc:"The state of the device's connection after the event, as CSTA names it; null: it has left the call."`
	Cause  string          `json:"cause,omitempty" doc:"The cause, as CSTA names it."`
	CSTA   json.RawMessage `json:"csta,omitempty" doc:"The whole event, in the JSON form of CSTA messages."`
	// Omitted says that CSTA was too large, or that the device had too much.
	Omitted bool `json:"cstaOmitted,omitempty" doc:"csta would have more than 16 KiB, or the device has had more than 4 MiB of it and 32 KiB a second, and is not there: GET the call for its user data."`
}

// Calls is a snapshot: these are the calls of the device, and no others.
type Calls struct {
	Head
	Device string `json:"device"`
	Link   string `json:"link,omitempty"`
	Calls  []Call `json:"calls" nullable:"false"`
}

// Missing says that events are missing.
type Missing struct {
	Head
	From   string `json:"from,omitempty" doc:"The first number that is missing in the log. Not there: the proxy itself missed something, and snapshots follow."`
	To     string `json:"to,omitempty" doc:"The last number that is missing."`
	Reason string `json:"reason" doc:"Why, in words for people."`
}

// Beginning says where a stream begins.
type Beginning struct {
	Head
	Devices []string          `json:"devices" nullable:"false" doc:"The devices and patterns of the subscription."`
	Waiting []string          `json:"waiting,omitempty" doc:"Devices that the switch does not report yet. A snapshot of each follows when it does."`
	Refused map[string]string `json:"refused,omitempty" doc:"Of those, the ones that the switch refuses to report, with its error of CSTA, such as invalidDeviceID: there is no such device. The proxy goes on trying."`
}

// LinkChange says that a link has gone down or come up. Why, is for the proxy's own log and status alone.
type LinkChange struct {
	Head
	Link string `json:"link"`
}

// Loss says that the subscriber may not observe devices any more.
type Loss struct {
	Head
	Devices []string `json:"devices" nullable:"false" doc:"The devices. What you know of their calls does not hold any more."`
	Reason  string   `json:"reason" doc:"Why, in words for people."`
}

// Sign is a heartbeat, or the end of a stream.
type Sign struct {
	Head
	Reason string `json:"reason,omitempty"`
}

// Call is a call as one device sees it.
type Call struct {
	Call            string  `json:"call" doc:"The callID."`
	State           string  `json:"state" doc:"The state of the device's connection, as CSTA names it."`
	Caller          string  `json:"caller,omitempty" doc:"Who calls. Not there: not known."`
	Called          string  `json:"called,omitempty" doc:"The number that was called."`
	LastRedirection string  `json:"lastRedirection,omitempty" doc:"The device that last redirected the call."`
	Since           string  `json:"since" format:"date-time" doc:"When the proxy learnt of the call."`
	Correlator      string  `json:"correlator,omitempty" doc:"What a program has attached to the call; digits after hex: are octets that are no text."`
	UserData        string  `json:"userData,omitempty" doc:"User data, in the same form."`
	Parties         []Party `json:"parties" nullable:"false" doc:"Whom the device's events have named, and itself."`
}

// Party is a connection of a call.
type Party struct {
	Number string `json:"number" doc:"The device, or the number at the far end of a trunk."`
	State  string `json:"state"`
}

// hexPrefix is before digits that stand for octets which are no text.
const hexPrefix = "hex:"

// Text returns correlator or user data, which are octets in hexadecimal digits, as text.
func Text(digits string) string {
	octets, err := hex.DecodeString(digits)
	if err != nil || len(octets) == 0 {
		return ""
	}
	if text := string(octets); utf8.ValidString(text) && !strings.HasPrefix(text, hexPrefix) && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
		return text
	}
	return hexPrefix + digits
}

// Digits is the reverse of [Text]: it returns the octets of a text in hexadecimal digits, and false if what follows the
// prefix of octets is not such digits.
func Digits(text string) (string, bool) {
	if digits, ok := strings.CutPrefix(text, hexPrefix); ok {
		_, err := hex.DecodeString(digits)
		return strings.ToLower(digits), err == nil
	}
	return hex.EncodeToString([]byte(text)), true
}

// stamp writes a time as events have it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// encode encodes an event, without a line feed at its end.
func encode(event any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(event); err != nil {
		return []byte("{}") // a message's own JSON is not valid, which tests of uacsta exclude
	}
	return bytes.TrimSpace(b.Bytes())
}

// typeOf returns the type of the event for a CSTA event.
func typeOf(name string) string {
	name = strings.TrimSuffix(name, "Event")
	if name == "" {
		return "event"
	}
	return strings.ToLower(name[:1]) + name[1:]
}

// Types returns the types of events that a subscription can ask for, in order.
var Types = sync.OnceValue(func() []string {
	types := []string{Snapshot, LinkDown, LinkUp}
	for _, name := range uacsta.Names() {
		if strings.HasSuffix(name, "Event") {
			types = append(types, typeOf(name))
		}
	}
	slices.Sort(types)
	return types
})
