package softswitch

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// keyOf returns the key of a device's last connection.
func (w *world) keyOf(device string) int {
	w.sw.mu.Lock()
	defer w.sw.mu.Unlock()
	list := w.sw.devices[device].connections
	return list[len(list)-1].order
}

func (w *world) rings(device string)    { w.sw.Progress(device, w.keyOf(device), true) }
func (w *world) progress(device string) { w.sw.Progress(device, w.keyOf(device), false) }

func (w *world) answers(device string) {
	w.t.Helper()
	if err := w.sw.Answered(device, w.keyOf(device), 0); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) declines(device string, cause uacsta.EventCause) {
	w.sw.Declined(device, w.keyOf(device), cause)
}

// A real telephone alerts when it says so, and the network has a call, and the far end alerts, when the network says so;
// until then clients know nothing of the connection. Its call can be cleared and sent on all the same, and its time runs.
func TestAlerting(t *testing.T) {
	config := Config{
		Extensions: []Extension{{Number: "100", Outside: []string{"0"}}, {Number: "101", Real: true}, {Number: "102", Real: true}, {Number: "103"}},
		HuntGroups: []HuntGroup{{Number: "200", Members: []string{"101", "103"}, Rings: 2}},
		Queues:     []Queue{{Number: "300", AnswerTime: 20 * time.Second}},
		Trunks:     []Trunk{{Number: "900", Prefixes: []string{"0"}, Real: true}},
		AlertTime:  time.Minute, RingCycle: 5 * time.Second,
	}
	begins := []string{"answer", "100: ServiceInitiated X100 initiated makeCall", "100: Originated X100 connected newCall"}
	for name, tt := range map[string]struct {
		to   string
		then func(w *world)
		want []string
	}{
		"nothing": {"101", func(w *world) {
			w.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("101")})
			w.has(w.last(uacsta.NameSnapshotDeviceResponse), "<snapshotData/>")
			w.must(uacsta.SnapshotCall{SnapshotObject: w.conn("X100")})
			if n := len(w.last(uacsta.NameSnapshotCallResponse).Connections()); n != 1 {
				w.t.Errorf("%d connections in a call that is on its way", n)
			}
			w.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")})
			if w.last(uacsta.NameSnapshotDeviceResponse).Has("crossRefIDorSnapshotData/snapshotData/snapshotDeviceResponseInfo/endpointDevice") {
				w.t.Error("a call that is on its way has another end")
			}
		}, []string{"answer", "answer", "answer"}},
		"181":     {"101", func(w *world) { w.progress("101") }, nil},
		"rings":   {"101", func(w *world) { w.rings("101"); w.rings("101") }, []string{"100: Delivered X101 connected newCall", "101: Delivered X101 alerting newCall"}},
		"answers": {"101", func(w *world) { w.answers("101") }, []string{"100: Delivered X101 connected newCall", "101: Delivered X101 alerting newCall", "100: Established X101 connected newCall", "101: Established X101 connected newCall"}},
		"rings and answers": {"101", func(w *world) { w.rings("101"); w.answers("101") }, []string{
			"100: Delivered X101 connected newCall", "101: Delivered X101 alerting newCall", "100: Established X101 connected newCall", "101: Established X101 connected newCall",
		}},
		"declines":           {"101", func(w *world) { w.declines("101", uacsta.CauseIncompatibleDestination) }, []string{"100: Failed X101 connected incompatibleDestination", "101: Failed X101 fail incompatibleDestination"}},
		"the caller goes":    {"101", func(w *world) { w.must(w.clear("X100")) }, []string{"answer", "100: ConnectionCleared X100 null callCancelled"}},
		"the call is closed": {"101", func(w *world) { w.must(w.clearCall("X100")) }, []string{"answer", "100: ConnectionCleared X100 null normalClearing"}},
		"it is cleared":      {"101", func(w *world) { w.must(w.clear("X101")) }, []string{"answer", "100: ConnectionCleared X100 null normalClearing"}},
		"it is deflected": {"101", func(w *world) { w.must(w.deflect("X101", "103")) }, []string{
			"answer", "101: Diverted X101 103 null redirected", "100: Diverted X101 103 connected redirected", "100: Delivered X103 via101 connected redirected", "103: Delivered X103 via101 alerting redirected",
		}},
		"it redirects": {"101", func(w *world) { _ = w.sw.Redirect("101", w.keyOf("101"), []string{"103"}) }, []string{
			"101: Diverted X101 103 null redirected", "100: Diverted X101 103 connected redirected", "100: Delivered X103 via101 connected redirected", "103: Delivered X103 via101 alerting redirected",
		}},
		"silence": {"101", func(*world) { time.Sleep(time.Minute + 1) }, []string{"100: ConnectionCleared X100 null callNotAnswered"}},
		"silence, then it rings for its whole time": {"101", func(w *world) {
			time.Sleep(50 * time.Second)
			w.rings("101")
			time.Sleep(50 * time.Second)
			w.answers("101")
		}, []string{"100: Delivered X101 connected newCall", "101: Delivered X101 alerting newCall", "100: Established X101 connected newCall", "101: Established X101 connected newCall"}},
		"forwarded after silence": {"101", func(w *world) {
			w.must(w.forward("101", uacsta.ForwardNoAns, true, "103", 2))
			w.must(w.clear("X100"))
			w.events()
			w.must(w.makeCall("100", "101"))
			w.events()
			time.Sleep(10*time.Second + 1)
		}, []string{
			"101: Diverted Y101 103 null callForwardNoAnswer", "100: Diverted Y101 103 connected callForwardNoAnswer",
			"100: Delivered Y103 via101 connected callForwardNoAnswer", "103: Delivered Y103 via101 alerting callForwardNoAnswer",
		}},
		"a hunt group goes on after silence": {"200", func(*world) { time.Sleep(10*time.Second + 1) }, []string{
			"100: Diverted X200 101 connected distributed", "101: Diverted X101 103 via200 null distributed", "100: Diverted X101 103 via200 connected distributed",
			"100: Delivered X103 via101 connected distributed", "103: Delivered X103 via101 alerting distributed",
		}},
		"the network has it":  {"0123", func(w *world) { w.progress("900"); w.progress("900") }, []string{"100: NetworkReached X900 connected newCall", "900: NetworkReached X900 connected newCall"}},
		"the far end alerts":  {"0123", func(w *world) { w.progress("900"); w.rings("900") }, []string{"100: NetworkReached X900 connected newCall", "900: NetworkReached X900 connected newCall", "100: Delivered X900 connected networkSignal", "900: Delivered X900 connected networkSignal"}},
		"the network alerts":  {"0123", func(w *world) { w.rings("900") }, []string{"100: NetworkReached X900 connected newCall", "900: NetworkReached X900 connected newCall", "100: Delivered X900 connected networkSignal", "900: Delivered X900 connected networkSignal"}},
		"the network refuses": {"0123", func(w *world) { w.declines("900", uacsta.CauseNumberUnallocated) }, []string{"100: Failed X900 connected numberUnallocated", "900: Failed X900 fail numberUnallocated"}},
		"the network refuses later": {"0123", func(w *world) { w.progress("900"); w.declines("900", uacsta.CauseBusy) }, []string{
			"100: NetworkReached X900 connected newCall", "900: NetworkReached X900 connected newCall", "100: Failed X900 connected busy", "900: Failed X900 fail busy",
		}},
		"the network is silent": {"0123", func(*world) { time.Sleep(time.Minute + 1) }, []string{"100: ConnectionCleared X100 null callNotAnswered"}},
		"the far end answers": {"0123", func(w *world) { w.answers("900") }, []string{
			"100: NetworkReached X900 connected newCall", "900: NetworkReached X900 connected newCall", "100: Delivered X900 connected networkSignal", "900: Delivered X900 connected networkSignal",
			"100: Established X900 connected networkSignal", "900: Established X900 connected networkSignal",
		}},
		"a caller gives up a call into the network": {"0123", func(w *world) { w.must(w.clear("X100")) }, []string{"answer", "100: ConnectionCleared X100 null callCancelled"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorldOf(t, config, "100", "101", "102", "103", "900")
				defer w.stop()
				for _, number := range []string{"101", "102", "900"} {
					w.sw.InService(number, true, true)
				}
				w.events()
				w.must(w.makeCall("100", tt.to))
				if tt.to != "200" && name != "forwarded after silence" {
					w.expect("MakeCall", begins...)
				} else {
					w.mu.Lock()
					w.seen = slices.DeleteFunc(w.seen, func(line string) bool { return slices.Contains(begins, line) })
					w.mu.Unlock()
				}
				tt.then(w)
				w.expect(name, tt.want...)
				w.finish()
			})
		})
	}
}

// A call that is on its way is transferred, camped on and given to agents: clients learn of the connection when its
// telephone rings.
func TestOnItsWay(t *testing.T) {
	config := Config{
		Extensions: []Extension{{Number: "100"}, {Number: "101"}, {Number: "102", Real: true, Lines: 1}},
		Queues:     []Queue{{Number: "300", AnswerTime: 20 * time.Second}},
		AlertTime:  time.Minute,
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, config, "100", "101", "102")
		w.sw.InService("102", true, true)
		w.talking()
		w.must(w.consult("X100", "102"))
		w.events()
		w.must(w.transfer("X100", "Y100"))
		w.expect("TransferCall", "answer", "100: Transfered X100 Y100 Z101 Z102 null transfer", "101: Transfered X100 Y100 Z101 Z102 connected transfer")
		w.has(w.last(uacsta.NameTransferedEvent), "<newConnection><callID>"+w.conn("Z102").CallID+"</callID><deviceID>102</deviceID></newConnection><endpoint>")
		w.rings("102")
		w.expect("it rings", "101: Delivered Z102 via100 connected consultation", "102: Delivered Z102 via100 alerting consultation")
		w.answers("102")
		w.events()

		w.must(w.makeCall("100", "102"))
		w.expect("busy", "answer", "100: ServiceInitiated W100 initiated makeCall", "100: Originated W100 connected newCall", "100: Failed W102 connected busy", "102: Failed W102 fail busy")
		w.must(uacsta.CamponCall{CamponConnection: w.conn("W100")})
		w.events()
		w.must(w.clear("Z102"))
		w.events()
		w.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("102")})
		w.has(w.last(uacsta.NameSnapshotDeviceResponse), "<localConnectionState>queued</localConnectionState><localConnectionState>connected</localConnectionState>")
		w.events()
		w.rings("102")
		w.expect("the telephone that the call camps on rings", "100: Delivered W102 connected campOn", "102: Delivered W102 alerting campOn")
		w.must(w.clear("W100"))
		w.events()

		w.must(uacsta.SetAgentState{Device: uacsta.Dev("102"), RequestedAgentState: uacsta.RequestLoggedOn, AgentID: "7"})
		w.must(uacsta.SetAgentState{Device: uacsta.Dev("102"), RequestedAgentState: uacsta.RequestReady, AgentID: "7"})
		w.must(w.makeCall("100", "300"))
		w.events()
		time.Sleep(15 * time.Second)
		w.rings("102")
		w.expect("the agent's telephone rings", "100: Delivered 5102 via300 connected distributed", "102: Delivered 5102 via300 alerting distributed")
		time.Sleep(15 * time.Second)
		w.expect("it may ring for its whole time")
		time.Sleep(5*time.Second + 1)
		w.expect("the agent does not answer", "102: AgentNotReady forcedPause", "102: Diverted 5102 300 via300 null redirected", "100: Diverted 5102 300 via300 connected redirected", "100: Delivered 5300 via102 connected enteringDistribution", "100: Queued 5300 via102 connected noAvailableAgents")
		w.finish()
	})
}

// A predictive call whose far end must ring goes on when the telephone rings, not when it is called.
func TestPredictiveRings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, Config{Extensions: []Extension{{Number: "100"}, {Number: "101", Real: true}}, AlertTime: time.Minute}, "100", "101")
		w.sw.InService("101", true, true)
		w.must(uacsta.MakePredictiveCall{
			CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("101"), AutoOriginate: uacsta.DoNotPrompt,
			SignallingDetection: &uacsta.SignallingDetection{SignallingCondition: uacsta.SignallingCallDelivered, SignallingConditionsAction: uacsta.SignallingConditionsActionRemainConnected},
		})
		w.events()
		w.progress("101")
		w.expect("the telephone is called")
		w.rings("101")
		w.expect("it rings", "100: Delivered X101 initiated makePredictiveCall", "101: Delivered X101 alerting makePredictiveCall", "100: Established X100 connected makePredictiveCall", "101: Established X100 alerting makePredictiveCall")
		w.finish()
	})
}
