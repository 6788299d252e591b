package linktest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/tests/connections"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A snapshot of a device has exactly the calls that its events have reported, in every life.
func snapshot(b *bench) {
	for range 2 {
		l := b.up()
		ref := l.watch()
		q := l.ask(l.call())
		if !q.ok() {
			b.t.Fatalf("%s: %s: %v\n%s", l.name, q.name, q.err, l.state())
		}
		own := uacsta.Conn(q.res.Text("callingDevice/callID"), b.rig.Device)
		if own.CallID == "" {
			b.t.Fatalf("%s: the response to %s has no callID: %s", l.name, q.name, q.res)
		}
		l.shows(ref, own, true, "after MakeCall")
		l.must(uacsta.ClearConnection{ConnectionToBeCleared: own})
		l.shows(ref, own, false, "after ClearConnection")
		l.stop()
	}
}

// shows waits until a snapshot of the device has, or has not, a connection. An event may have to come
// first.
func (l *life) shows(ref string, own uacsta.ConnectionID, there bool, when string) {
	l.b.t.Helper()
	var answer *uacsta.Message
	asked := -1
	wanted := "has"
	if !there {
		wanted = "does not have"
	}
	l.b.wantOr(fmt.Sprintf("%s: a snapshot of %s %s the connection %s@%s, with its state", when, own.DeviceID.ID, wanted, own.CallID, own.DeviceID.ID), func() bool {
		told := 0
		for _, event := range l.told(ref) {
			if strings.Contains(event, " "+own.CallID+"@") {
				told++
			}
		}
		if told == asked || there && told == 0 {
			return false
		}
		asked = told
		answer = l.must(l.snapshot())
		return l.has(answer, own) == there
	}, func() string { return fmt.Sprintf("the last answer is %s\n%s", answer, l.state()) })
}

// has reports whether the response to SnapshotDevice has a connection with its state.
func (l *life) has(answer *uacsta.Message, own uacsta.ConnectionID) bool {
	l.b.t.Helper()
	var res uacsta.SnapshotDeviceResponse
	if err := answer.Decode(&res); err != nil {
		l.b.t.Fatalf("%s: %v", answer, err)
	}
	if res.CrossRefIDorSnapshotData.SnapshotData == nil {
		return false
	}
	return slices.ContainsFunc(res.CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo, func(info uacsta.SnapshotDeviceResponseInfo) bool {
		states := info.LocalCallState.CompoundCallState
		stated := info.LocalCallState.SimpleCallState != "" || len(states) > 0 && states[0] != "" && states[0] != uacsta.Null
		return info.ConnectionIdentifier.CallID == own.CallID && stated
	})
}

// noConnection are the errors that may refuse a request about a missing connection.
var noConnection = []string{
	uacsta.InvalidConnectionID, uacsta.InvalidHeldConnectionID, uacsta.InvalidActiveConnectionID,
	uacsta.ServiceNotSupported, uacsta.InvalidMonitorObject, // for links that do not monitor calls
}

// A link that keeps calls itself refuses every request about a connection that does not exist: of no
// call, without a device, or of a device that is not in the call. The existing call is unaffected.
func keptConnections(b *bench) {
	if _, keeps := b.rig.Link.(proxy.ConnectionKeeper); !keeps {
		b.t.Skip("the link is no proxy.ConnectionKeeper: the core asks who is in a call")
	}
	l := b.up()
	defer l.stop()
	ref := l.watch()
	own := uacsta.Conn(l.must(l.call()).Text("callingDevice/callID"), b.rig.Device)
	l.shows(ref, own, true, "after MakeCall")
	named := connections.Named{Active: own, Held: uacsta.Conn("FFFD", foreigner), To: b.rig.Called}
	var wrong []string
	for _, service := range connections.Services(func(string) bool { return true }) {
		for _, c := range connections.Wrong(b.t, service, named, uacsta.Conn("FFFE", foreigner)) {
			if slices.ContainsFunc(c.Request.Connections(), func(c uacsta.Connection) bool { return c.CallID() == own.CallID && c.DeviceID() == b.rig.Device }) {
				continue // if one of the two connections is right, the link may first find it in the wrong state
			}
			q := l.send(c.Request, nil)
			if q.wait(); q.err == nil || !slices.ContainsFunc(noConnection, func(value string) bool { return strings.HasSuffix(q.err.Error(), value) }) {
				wrong = append(wrong, fmt.Sprintf("%s: %v", c.Name, q.err))
			}
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		b.t.Errorf("%d requests about missing connections are not refused with one of %v: %s", len(wrong), noConnection, enumerate(wrong))
	}
	l.shows(ref, own, true, "after requests about connections that are not there")
	l.must(uacsta.ClearConnection{ConnectionToBeCleared: own})
}

// foreigner is a device that is in no call.
const foreigner = "9876"
