package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The table of calls has a limit in octets, whatever the calls and their devices are called. The calls
// that were reported longest ago are dropped first, ended ones before others.
func TestCallsAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	c := newCalls(newReferences(), owner)
	c.most = 4 << 20
	now := time.Now()
	show := func(call, device string) string {
		m := uacsta.Encode(uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn(call, device)}, uacsta.Edition3)
		c.toClient(m, now)
		return m.Text("establishedConnection/callID")
	}
	first := show("first", "100")
	pad := strings.Repeat("x", maxCallID-10)
	for n := range 2 * c.most / (maxCallID + knownCallSize) {
		show(fmt.Sprint(pad, n), fmt.Sprint(strings.Repeat("9", 200), n))
		if n%1000 == 0 && show("first", "100") != first {
			t.Fatal("a call that lives is forgotten")
		}
	}
	octets := 0
	for link, k := range c.byLink {
		octets += knownCallSize + len(link)
		for device := range k.parties {
			octets += knownPartySize + len(device)
		}
	}
	if c.octets != octets || octets > c.most || octets < c.most/2 || len(c.byLink) != len(c.byShown) || len(c.byLink) != c.living.Len() {
		t.Errorf("%d octets, counted as %d, of %d calls", octets, c.octets, len(c.byLink))
	}
	living := c.living.Len()
	c.forget()
	if c.over.Len() != living || c.living.Len() != 0 || c.octets >= octets {
		t.Errorf("after a loss there are %d calls, of %d octets", c.over.Len(), c.octets)
	}
}

// sees has the table handle an event about a connection, and returns the callID that clients see.
func (c *calls) sees(now time.Time, event any) string {
	m := uacsta.Encode(event, uacsta.Edition3)
	c.toClient(m, now)
	return m.Connections()[0].CallID()
}

// From what the link reports, the table knows which devices are in which call, in which state, and
// since when.
func TestCallsAreKnown(t *testing.T) {
	c := newCalls(newReferences(), owner)
	now := time.Now()
	at := func(seconds int) time.Time { return now.Add(time.Duration(seconds) * time.Second) }
	in := func(shown string) string {
		parties := c.parties(shown)
		slices.Sort(parties)
		return strings.Join(parties, " ")
	}
	shown := c.sees(at(0), uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn("A", "100")})
	if again := c.sees(at(1), uacsta.DeliveredEvent{Connection: uacsta.Conn("A", "101")}); again != shown || shown == "A" {
		t.Errorf("one call is %s and %s", shown, again)
	}
	other := c.sees(at(2), uacsta.DeliveredEvent{Connection: uacsta.Conn("B", "101")})
	if in(shown) != "100 101" || in(other) != "101" || in("A") != "" {
		t.Errorf("in the calls are %s, and %s", in(shown), in(other))
	}
	if got := c.with("101"); len(got) != 2 || got[party{Call: shown, Device: "101"}] != uacsta.Alerting || got[party{Call: other, Device: "101"}] != uacsta.Alerting {
		t.Errorf("101 is in %v", got)
	}
	c.sees(at(3), uacsta.HeldEvent{HeldConnection: uacsta.Conn("A", "100")})
	if got := c.with("100"); len(got) != 1 || got[party{Call: shown, Device: "100"}] != uacsta.Hold {
		t.Errorf("100 is in %v", got)
	}
	c.sees(at(4), uacsta.ServiceInitiatedEvent{InitiatedConnection: uacsta.Conn("A", "102")})
	c.sees(at(5), uacsta.CallInformationEvent{Connection: uacsta.Conn("A", "102")}) // which says nothing of its state
	if got := c.with("102"); got[party{Call: shown, Device: "102"}] != uacsta.Initiated {
		t.Errorf("102 is in %v", got)
	}
	for _, tt := range []struct {
		shown, device string
		at            time.Time
		known         bool
	}{{shown, "100", at(3), true}, {shown, "101", at(1), true}, {shown, "102", at(5), true}, {shown, "103", time.Time{}, false}, {"7", "100", time.Time{}, false}} {
		if when, known := c.heard(tt.shown, tt.device); known != tt.known || !when.Equal(tt.at) {
			t.Errorf("%s in %s was heard of %v, %v", tt.device, tt.shown, when, known)
		}
	}
	m := uacsta.Encode(uacsta.TransferCall{HeldCall: uacsta.Conn(shown, "100"), ActiveCall: uacsta.Conn(other, "100")}, uacsta.Edition3)
	if !c.toLink(m) || m.Text("heldCall/callID") != "A" || m.Text("activeCall/callID") != "B" {
		t.Errorf("the link gets %s", m)
	}
	if c.toLink(uacsta.Encode(uacsta.HoldCall{CallToBeHeld: uacsta.Conn("A", "100")}, uacsta.Edition3)) {
		t.Error("the link's own callID is one of the client's")
	}
	if c.other(shown) != "A" || c.other("A") != shown || c.other("unknown") != "" {
		t.Errorf("the other callIDs are %q of %s, and %q of A", c.other(shown), shown, c.other("A"))
	}
	if !c.has(shown) || c.has("A") {
		t.Error("clients know the link's callID, or not their own")
	}
	c.sees(at(6), uacsta.ConnectionClearedEvent{DroppedConnection: uacsta.Conn("A", "101")})
	c.sees(at(6), uacsta.ConnectionClearedEvent{DroppedConnection: uacsta.Conn("A", "109")}) // who was not in it
	c.sees(at(6), uacsta.DivertedEvent{Connection: uacsta.Conn("B", "101")})
	if in(shown) != "100 102" || in(other) != "" || len(c.with("101")) != 0 || c.over.Len() != 1 || c.living.Len() != 1 {
		t.Errorf("in the calls are %s, and %s", in(shown), in(other))
	}
	if back := c.sees(at(7), uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn("B", "100")}); back != other || c.over.Len() != 0 || c.living.Len() != 2 {
		t.Errorf("a call that goes on is %s", back)
	}
	joined := uacsta.ConferencedEvent{PrimaryOldCall: uacsta.Conn("A", "100")}
	for _, device := range []string{"100", "104"} {
		before, after := uacsta.Conn("A", device), uacsta.Conn("C", device)
		joined.ConferenceConnections = append(joined.ConferenceConnections, uacsta.ConnectionListItem{NewConnection: &after, OldConnection: &before})
	}
	conference := uacsta.Encode(joined, uacsta.Edition3)
	c.toClient(conference, at(8))
	third := conference.Text("conferenceConnections/connectionListItem/newConnection/callID")
	if in(shown) != "" || in(third) != "100 104" || third == shown || conference.Text("primaryOldCall/callID") != shown {
		t.Errorf("after a conference in the calls are %s, and %s", in(shown), in(third))
	}
	c.sees(at(9), uacsta.CallClearedEvent{ClearedCall: uacsta.Conn("C", "100")})
	if in(third) != "" || len(c.byDevice["104"]) != 0 {
		t.Errorf("of a call that is over: %s", in(third))
	}
	if octets := 3*(knownCallSize+1) + knownPartySize + 3; c.octets != octets { // 100 is in the second
		t.Errorf("%d octets are counted, want %d", c.octets, octets)
	}
}

// owner is the static device of a connection: 900 and 100 have others beside their own.
func owner(device string) string {
	switch device {
	case channel900:
		return "900"
	case channel100:
		return "100"
	}
	return device
}

const channel900, channel100 = "dynamic:3930302D31", "dynamic:3130302D31"

// A device may have several connections in one call. What is known of it is known of each.
func TestChannelsInACall(t *testing.T) {
	c := newCalls(newReferences(), owner)
	now := time.Now()
	shown := c.sees(now, uacsta.OriginatedEvent{OriginatedConnection: uacsta.Conn("A", "900")})
	c.sees(now, uacsta.NetworkReachedEvent{OutboundConnection: uacsta.Conn("A", channel900)})
	c.sees(now, uacsta.FailedEvent{FailedConnection: uacsta.Conn("A", channel900)})
	one, two := party{Call: shown, Device: "900"}, party{Call: shown, Device: channel900}
	if got := c.with("900"); len(got) != 2 || got[one] != uacsta.Connected || got[two] != uacsta.Fail {
		t.Errorf("the trunk has %v", got)
	}
	if got := c.with(channel900); len(got) != 0 {
		t.Errorf("a connection has connections: %v", got)
	}
	c.sees(now, uacsta.ConnectionClearedEvent{DroppedConnection: uacsta.Conn("A", "900")})
	if got := c.with("900"); len(got) != 1 || got[two] != uacsta.Fail {
		t.Errorf("after its first has left, the trunk has %v", got)
	}
	c.sees(now, uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn("A", "900")})
	snapshot := uacsta.Encode(uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: &uacsta.SnapshotDeviceDataList{
		SnapshotDeviceResponseInfo: []uacsta.SnapshotDeviceResponseInfo{{ConnectionIdentifier: uacsta.Conn(shown, "900")}},
	}}}, uacsta.Edition3)
	c.only("900", snapshot)
	if got := c.with("900"); len(got) != 1 || got[one] != uacsta.Connected {
		t.Errorf("after a snapshot without the second, the trunk has %v", got)
	}
	c.sees(now, uacsta.ConnectionClearedEvent{DroppedConnection: uacsta.Conn("A", "900")})
	if len(c.with("900"))+len(c.byDevice)+len(c.parties(shown)) != 0 || c.octets != knownCallSize+1 {
		t.Errorf("at the end the trunk has %v", c.with("900"))
	}
}

// A snapshot of a device is complete: the device is in no other calls.
func TestCallsOfASnapshot(t *testing.T) {
	c := newCalls(newReferences(), owner)
	now := time.Now()
	first := c.sees(now, uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn("A", "100")})
	second := c.sees(now, uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn("B", "100")})
	c.sees(now, uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn("B", "101")})
	snapshot := uacsta.Encode(uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: &uacsta.SnapshotDeviceDataList{
		SnapshotDeviceResponseInfo: []uacsta.SnapshotDeviceResponseInfo{{ConnectionIdentifier: uacsta.Conn("A", "100"), LocalCallState: uacsta.CallState{CompoundCallState: []uacsta.LocalConnectionState{uacsta.Hold}}}},
	}}}, uacsta.Edition3)
	c.toClient(snapshot, now)
	c.only("100", snapshot)
	c.only("109", snapshot)
	if got := c.with("100"); len(got) != 1 || got[party{Call: first, Device: "100"}] != uacsta.Hold {
		t.Errorf("100 is in %v", got)
	}
	if got := c.parties(second); len(got) != 1 || got[0] != "101" {
		t.Errorf("in the other call are %v", got)
	}
	empty := uacsta.Encode(uacsta.SnapshotDeviceResponse{}, uacsta.Edition3)
	c.only("100", empty)
	c.only("101", empty)
	if len(c.with("100"))+len(c.with("101"))+len(c.byDevice) != 0 || c.over.Len() != 2 {
		t.Errorf("there are still %v, %v", c.with("100"), c.with("101"))
	}
	x := uacsta.Conn("A", "102")
	whole := uacsta.Encode(uacsta.SnapshotCallResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotCallData{SnapshotData: &uacsta.SnapshotCallDataList{
		SnapshotCallResponseInfo: []uacsta.SnapshotCallResponseInfo{{DeviceOnCall: uacsta.Ext("102"), CallIdentifier: &x, LocalConnectionInfo: uacsta.Queued}},
	}}}, uacsta.Edition3)
	c.toClient(whole, now)
	if got := c.with("102"); got[party{Call: first, Device: "102"}] != uacsta.Queued {
		t.Errorf("102 is in %v", got)
	}
}

// The table keeps a limited number of devices for each call and no text that is too long.
func TestPartiesAreBounded(t *testing.T) {
	c := newCalls(newReferences(), owner)
	now := time.Now()
	var shown string
	for n := range 2 * maxKnown {
		shown = c.sees(now, uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn("A", fmt.Sprint(n))})
	}
	if got := len(c.parties(shown)); got != maxKnown {
		t.Errorf("%d devices are known in one call", got)
	}
	c.sees(now, uacsta.HeldEvent{HeldConnection: uacsta.Conn("A", "0")})
	if c.with("0")[party{Call: shown, Device: "0"}] != uacsta.Hold {
		t.Error("of a device that is known nothing is heard any more")
	}
	long := strings.Repeat("9", maxDevice)
	b := c.sees(now, uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn("B", long)})
	c.sees(now, uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn("B", long+"9")})
	c.sees(now, uacsta.EstablishedEvent{EstablishedConnection: uacsta.ConnectionID{CallID: "B"}})
	if got := c.parties(b); len(got) != 1 || got[0] != long {
		t.Errorf("%d devices are in the call", len(got))
	}
	call := strings.Repeat("c", maxCallID)
	if got := c.sees(now, uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn(call, "100")}); got == "0" || !c.has(got) {
		t.Errorf("a callID of %d octets is %s", maxCallID, got)
	}
	if got := c.sees(now, uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn(call+"c", "100")}); got != "0" {
		t.Errorf("a longer one is %s", got)
	}
}

// A limited number of ended calls is kept for a while.
func TestCallsThatAreOver(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	c := newCalls(newReferences(), owner)
	now := time.Now()
	living := c.sees(now, uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn("living", "100")})
	over := func(n int) string {
		return c.sees(now, uacsta.ConnectionClearedEvent{DroppedConnection: uacsta.Conn(fmt.Sprint(n), "100")})
	}
	first, second := over(0), over(1)
	for n := 2; n < maxOver; n++ {
		over(n)
	}
	if !c.has(first) {
		t.Error("the first is forgotten before there are too many")
	}
	over(0) // it is heard of
	over(maxOver)
	if !c.has(first) || c.has(second) || !c.has(living) || c.over.Len() != maxOver {
		t.Errorf("of the first %v, of the second %v, of one that lives %v, of %d that are over", c.has(first), c.has(second), c.has(living), c.over.Len())
	}
}

// The number dialled in a call consists of all digits that the switch has accepted. While a response
// is missing or the number is unknown, further digits are refused.
func TestDialMore(t *testing.T) {
	c := newCalls(newReferences(), owner)
	shown := c.sees(time.Now(), uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn("A", "100")})
	more := func(digits string) (string, func(error)) {
		all, settle, ok := c.dialMore(shown, digits)
		if !ok {
			return "not now", nil
		}
		return all, settle
	}
	if all, settle, ok := c.dialMore("7", "12"); all != "12" || !ok {
		t.Error("in a call that is not known")
	} else {
		settle(nil)
	}
	c.dial("7", "5")
	c.dial(shown, "0")
	all, settle := more("12")
	if all != "012" {
		t.Error(all)
	}
	if all, _ := more("3"); all != "not now" {
		t.Errorf("while an answer is out: %s", all)
	}
	settle(nil)
	all, settle = more("3")
	if all != "0123" {
		t.Error(all)
	}
	settle(uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
	all, settle = more("4")
	if all != "0124" {
		t.Errorf("after digits that were refused: %s", all)
	}
	settle(uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic))
	if all, _ := more("5"); all != "not now" {
		t.Errorf("after digits of which nobody knows: %s", all)
	}
}
