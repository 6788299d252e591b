package tests

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// breakable is a link that the test can lose.
type breakable struct {
	*softswitch.Switch
	lose chan struct{}

	// renumbers: after each loss the switch calls every call by another name.
	renumbers bool
	ready     chan struct{} // closed when the switch runs
	mu        sync.Mutex
	epoch     int
	up        proxy.Upcalls // nil while there is no connection
	monitors  []string      // of this connection
}

var callIDs = regexp.MustCompile(`<callID>([^<.]*)(?:\.\d+)?</callID>`)

// named returns the message with the names that calls have on the link now, or those
// that they have in the switch.
func (b *breakable) named(m *uacsta.Message, onLink bool) *uacsta.Message {
	if !b.renumbers || m == nil {
		return m
	}
	name := "<callID>$1</callID>"
	if onLink {
		name = "<callID>" + b.callID("$1") + "</callID>"
	}
	renamed, err := uacsta.Parse([]byte(callIDs.ReplaceAllString(m.String(), name)))
	if err != nil {
		panic(err)
	}
	return renamed
}

// callID is what the link calls a call now.
func (b *breakable) callID(id string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.renumbers {
		return id
	}
	return fmt.Sprintf("%s.%d", id, b.epoch)
}

func (b *breakable) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	name := req.Name()
	b.Switch.Request(b.named(req, false), func(m *uacsta.Message, err error) {
		if err == nil && name == "MonitorStart" {
			b.mu.Lock()
			b.monitors = append(b.monitors, m.CrossRef())
			b.mu.Unlock()
		}
		reply(b.named(m, true), err)
	})
}

// cable is what the switch tells: it goes to the core while there is a connection.
type cable struct{ b *breakable }

func (w cable) core() proxy.Upcalls {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	return w.b.up
}

func (w cable) Ready() { close(w.b.ready) }

func (w cable) Event(ev *uacsta.Message) {
	if up := w.core(); up != nil {
		up.Event(w.b.named(ev, true))
	}
}

func (w cable) Request(req *uacsta.Message) error {
	if up := w.core(); up != nil {
		return up.Request(req)
	}
	return nil
}

// power runs the switch, which lives on when the connection is lost, until ctx ends.
func (b *breakable) power(ctx context.Context) (off func()) {
	done := make(chan struct{})
	go func() { _ = b.Switch.Run(ctx, cable{b}); close(done) }()
	<-b.ready
	return func() { <-done }
}

// Run is one connection. Its monitors end with it.
func (b *breakable) Run(ctx context.Context, up proxy.Upcalls) error {
	b.mu.Lock()
	b.epoch++
	b.up = up
	b.mu.Unlock()
	up.Ready()
	err := errors.New("lost")
	select {
	case <-b.lose:
	case <-ctx.Done():
		err = ctx.Err()
	}
	b.mu.Lock()
	monitors := b.monitors
	b.up, b.monitors = nil, nil
	b.mu.Unlock()
	for _, ref := range monitors {
		b.Switch.Request(uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3), func(*uacsta.Message, error) {})
	}
	return err
}

// office is a core with a switch that has a device of every kind.
type office struct {
	t    *testing.T
	core *proxy.Proxy
	link *breakable
}

// inOffice runs a test with clients of the core, in a time of its own.
func inOffice(t *testing.T, grants []policy.Grant, test func(*office)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := softswitch.Config{
			Queues:   []softswitch.Queue{{Number: "300"}},
			Trunks:   []softswitch.Trunk{{Number: "900", Prefixes: []string{"0"}, Inward: map[string]string{"5550101": "101", "5550102": "102"}, Outside: softswitch.Behaviour{Answer: 4 * time.Second}}},
			Routeing: []softswitch.RouteingDevice{{Number: "600", Default: "103"}},
		}
		for n := range 120 {
			cfg.Extensions = append(cfg.Extensions, softswitch.Extension{Number: fmt.Sprint(100 + n), Outside: []string{"0"}})
		}
		sw, err := softswitch.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		o := &office{t: t, link: &breakable{Switch: sw, lose: make(chan struct{}), ready: make(chan struct{})}}
		o.core = proxy.New(proxy.Config{Policy: policy.FromGrants(sw.Has, grants...), Numbers: &policy.Numbers{Extensions: sw.Has}})
		o.core.AddLink("switch", o.link, func(string) bool { return true })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		power, cut := context.WithCancel(t.Context())
		off := o.link.power(power)
		go func() { o.core.Run(ctx); close(done) }()
		synctest.Wait()
		test(o)
		cancel()
		<-done
		cut()
		off()
		if st := o.core.Status(); st.Sessions != 0 || st.Monitors != 0 {
			t.Errorf("left: %+v", st)
		}
	})
}

// member is a client that notes what it is told.
type member struct {
	o       *office
	session *proxy.Session
	mu      sync.Mutex
	got     []*uacsta.Message
}

func (m *member) Event(ev *uacsta.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, ev)
}

func (*member) Closed(error) {}

func (o *office) open(name, line string) *member {
	o.t.Helper()
	m := &member{o: o}
	var err error
	if m.session, err = o.core.Open(proxy.Opening{Identity: policy.Identity{Name: name, How: "test"}, Line: line}, m); err != nil {
		o.t.Fatal(err)
	}
	return m
}

// ask sends a request and returns the answer; nil when there is none.
func (m *member) ask(req any) *uacsta.Message {
	var res *uacsta.Message
	m.session.Request(uacsta.Encode(req, uacsta.Edition6), func(r *uacsta.Message) { res = r })
	synctest.Wait()
	return res
}

// want is ask, and the name of the answer, or the refusal.
func (m *member) want(req any, want string) *uacsta.Message {
	m.o.t.Helper()
	res := m.ask(req)
	got := "nothing"
	if res != nil {
		got = res.Name()
		if err := res.Err(); err != nil {
			got = string(err.Category) + "/" + err.Value
		}
	}
	if got != want {
		m.o.t.Errorf("%T: %s, want %s", req, got, want)
	}
	return res
}

// told returns what came since the last time.
func (m *member) told() []*uacsta.Message {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	got := m.got
	m.got = nil
	return got
}

// hears compares the names of what came since the last time.
func (m *member) hears(want ...string) []*uacsta.Message {
	m.o.t.Helper()
	told := m.told()
	var names []string
	for _, msg := range told {
		names = append(names, msg.Name())
	}
	if strings.Join(names, " ") != strings.Join(want, " ") {
		m.o.t.Errorf("heard %v, want %v", names, want)
	}
	return told
}

var everything = []policy.Grant{{Who: "boss", Control: []string{"*"}, Dial: []string{"*"}}}

func call(from, to string) uacsta.MakeCall {
	return uacsta.MakeCall{CallingDevice: uacsta.Dev(from), CalledDirectoryNumber: uacsta.Dev(to), AutoOriginate: uacsta.DoNotPrompt}
}

// A monitor of a call ends with it, and the client is told; two clients on one
// call share the link's monitor.
func TestMonitorOfACall(t *testing.T) {
	t.Parallel()
	inOffice(t, everything, func(o *office) {
		a, b := o.open("boss", "100"), o.open("boss", "")
		id := a.want(call("100", "101"), "MakeCallResponse").Text("callingDevice/callID")
		conn := uacsta.Conn(id, "101")
		watch := uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{CallObject: &conn}, MonitorType: uacsta.MonitorCall}
		ref := a.want(watch, "MonitorStartResponse").CrossRef()
		if other := b.want(watch, "MonitorStartResponse").CrossRef(); other == ref {
			t.Error("two clients have the same cross reference")
		}
		if _, monitors := o.link.Counts(); monitors != 1 {
			t.Errorf("%d monitors at the link", monitors)
		}
		filter := uacsta.MonitorFilter{Callcontrol: &uacsta.CallControlEvents{Established: true}}
		b.want(uacsta.ChangeMonitorFilter{MonitorCrossRefID: "nobody", RequestedFilterList: filter}, "operation/invalidMonitorCrossRefID")
		b.want(uacsta.ChangeMonitorFilter{MonitorCrossRefID: ref, RequestedFilterList: filter}, "operation/invalidMonitorCrossRefID")
		a.want(uacsta.ChangeMonitorFilter{MonitorCrossRefID: ref, RequestedFilterList: filter}, "ChangeMonitorFilterResponse")
		a.want(uacsta.AnswerCall{CallToBeAnswered: conn}, "AnswerCallResponse")
		a.hears()
		b.hears("EstablishedEvent")
		list := a.want(uacsta.GetMonitors{}, "GetMonitorsResponse")
		if list.Text("crossRefIDorRegistrationData/monitorList/monitorListEntry/monitorCrossRefID") != ref {
			t.Errorf("%s", list)
		}
		a.want(uacsta.ClearConnection{ConnectionToBeCleared: conn}, "ClearConnectionResponse")
		end := a.hears("ConnectionClearedEvent", "ConnectionClearedEvent", "CallClearedEvent", "MonitorStop")
		if got := end[3].CrossRef(); got != ref {
			t.Errorf("MonitorStop of %q, want %q", got, ref)
		}
		b.hears("ConnectionClearedEvent", "ConnectionClearedEvent", "CallClearedEvent", "MonitorStop")
		a.want(uacsta.MonitorStop{MonitorCrossRefID: ref}, "operation/invalidMonitorCrossRefID")
		a.want(watch, "operation/invalidConnectionID")
	})
}

// When the link is lost, monitors of calls end: the calls are gone, or are calls
// that nobody knows.
func TestCallMonitorAfterLoss(t *testing.T) {
	t.Parallel()
	inOffice(t, everything, func(o *office) {
		a := o.open("boss", "100")
		id := a.want(call("100", "101"), "MakeCallResponse").Text("callingDevice/callID")
		conn := uacsta.Conn(id, "101")
		a.want(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{CallObject: &conn}}, "MonitorStartResponse")
		o.link.lose <- struct{}{}
		a.hears("SystemStatus")
		o.direct(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(o.callOf("101"), "101")})
		a.hears() // the core does not listen
		time.Sleep(5 * time.Second)
		a.hears("SystemStatus", "MonitorStop")
	})
}

func TestRouteing(t *testing.T) {
	t.Parallel()
	grants := []policy.Grant{
		{Who: "boss", Control: []string{"*"}},
		{Who: "router", Control: []string{"600"}, Dial: []string{"101"}},
	}
	inOffice(t, grants, func(o *office) {
		boss, router := o.open("boss", ""), o.open("router", "")
		device := uacsta.Dev("600")
		router.want(uacsta.RouteRegister{}, "operation/privilegeViolationSpecifiedDevice")
		ref := router.want(uacsta.RouteRegister{RouteingDevice: &device}, "RouteRegisterResponse").Text("routeRegisterReqID")
		boss.want(uacsta.RouteRegister{RouteingDevice: &device}, "subscribedResourceAvailability/objectRegistrationLimitExceeded")
		boss.want(call("100", "600"), "MakeCallResponse")
		asked := router.hears("RouteRequest")[0]
		dialogue := asked.Text("crossRefIdentifier")
		if asked.Text("routeRegisterReqID") != ref || dialogue == "" {
			t.Errorf("%s", asked)
		}
		boss.want(uacsta.RouteSelect{CrossRefIdentifier: dialogue, RouteSelected: uacsta.Dev("101")}, "operation/invalidRouteingCrossRefID")
		router.want(uacsta.RouteSelect{CrossRefIdentifier: dialogue, RouteSelected: uacsta.Dev("0900123")}, "operation/privilegeViolationDestinationDevice")
		router.want(uacsta.RouteSelect{CrossRefIdentifier: dialogue, RouteSelected: uacsta.Dev("101"), AlternateRoutes: []uacsta.DeviceID{uacsta.Dev("0900123")}}, "operation/privilegeViolationDestinationDevice")
		yes := true
		router.want(uacsta.RouteSelect{CrossRefIdentifier: dialogue, RouteSelected: uacsta.Dev("101"), RouteUsedReq: &yes}, "nothing")
		used := router.hears("RouteUsed", "RouteEnd")
		if used[0].Text("crossRefIdentifier") != dialogue || used[1].Text("routeRegisterReqID") != ref {
			t.Errorf("%v", used)
		}
		router.want(uacsta.RouteEnd{CrossRefIdentifier: dialogue}, "operation/invalidRouteingCrossRefID")

		// nobody decides: the default
		boss.want(call("104", "600"), "MakeCallResponse")
		dialogue = router.hears("RouteRequest")[0].Text("crossRefIdentifier")
		router.want(uacsta.RouteEnd{CrossRefIdentifier: dialogue}, "nothing")
		if calls := snapshot(boss, "103"); calls != 1 {
			t.Errorf("%d calls at the default", calls)
		}
		// the client goes away in the middle: the default at once
		boss.want(call("105", "600"), "MakeCallResponse")
		router.hears("RouteRequest")
		router.session.Close(errors.New("test"))
		synctest.Wait()
		if calls := snapshot(boss, "103"); calls != 2 {
			t.Errorf("%d calls at the default", calls)
		}
		boss.want(uacsta.RouteRegister{RouteingDevice: &device}, "RouteRegisterResponse")
	})
}

func snapshot(m *member, device string) int {
	var res uacsta.SnapshotDeviceResponse
	if err := m.want(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}, "SnapshotDeviceResponse").Decode(&res); err != nil {
		m.o.t.Fatal(err)
	}
	return len(res.CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo)
}

// After the link was lost, questions are over, and new ones come under the same
// registration.
func TestRouteingAfterLoss(t *testing.T) {
	t.Parallel()
	inOffice(t, everything, func(o *office) {
		m := o.open("boss", "")
		ref := m.want(uacsta.RouteRegister{}, "RouteRegisterResponse").Text("routeRegisterReqID")
		m.want(call("100", "600"), "MakeCallResponse")
		m.hears("RouteRequest")
		// the switch goes on without us; its registration is one that we still know
		o.link.Request(uacsta.Encode(uacsta.RouteRegister{}, uacsta.Edition3), func(*uacsta.Message, error) {})
		o.link.lose <- struct{}{}
		end := m.hears("RouteEnd")
		if err := end[0].Text("errorValue/systemResourceAvailibility"); err != "resourceOutOfService" {
			t.Errorf("%s", end[0])
		}
		time.Sleep(5 * time.Second)
		// this switch remembers the old registration, so the new one is refused
		told := m.told()
		if len(told) == 0 || told[0].Name() != "RouteRegisterAbort" || told[0].Text("routeRegisterReqID") != ref {
			t.Errorf("%v", told)
		}
		m.want(uacsta.RouteRegisterCancel{RouteRegisterReqID: ref}, "operation/invalidRouteRegistrationCrossRefID")
	})
}

// The devices of the switch come in segments, and only those that the client may
// observe.
func TestListOfDevices(t *testing.T) {
	t.Parallel()
	grants := []policy.Grant{{Who: "boss", Observe: []string{"*"}}, {Who: "clerk", Observe: []string{"1?5", "300"}}}
	inOffice(t, grants, func(o *office) {
		for who, want := range map[string][]int{"boss": {50, 50, 23}, "clerk": {11}} {
			m := o.open(who, "")
			ref := m.want(uacsta.GetSwitchingFunctionDevices{}, "GetSwitchingFunctionDevicesResponse").Text("serviceCrossRefID")
			told := m.told()
			if len(told) != len(want) {
				t.Fatalf("%s: %d segments", who, len(told))
			}
			for i, msg := range told {
				var segment uacsta.SwitchingFunctionDevices
				if err := msg.Decode(&segment); err != nil {
					t.Fatal(err)
				}
				if segment.ServiceCrossRefID != ref || len(segment.DeviceList) != want[i] || segment.LastSegment != (i == len(want)-1) || *segment.SegmentID != i+1 {
					t.Errorf("%s, segment %d: %d devices, %+v", who, i, len(segment.DeviceList), segment.LastSegment)
				}
			}
		}
		clerk := o.open("clerk", "")
		other, own := uacsta.Dev("101"), uacsta.Dev("105")
		clerk.want(uacsta.GetSwitchingFunctionDevices{RequestedDeviceID: &other}, "operation/privilegeViolationSpecifiedDevice")
		clerk.want(uacsta.GetSwitchingFunctionDevices{RequestedDeviceID: &own}, "GetSwitchingFunctionDevicesResponse")
		clerk.hears("SwitchingFunctionDevices")
		clerk.want(uacsta.GetSwitchingFunctionCaps{}, "GetSwitchingFunctionCapsResponse")
		clerk.want(uacsta.GetLogicalDeviceInformation{Device: own}, "GetLogicalDeviceInformationResponse")
		clerk.want(uacsta.GetLogicalDeviceInformation{Device: other}, "operation/privilegeViolationSpecifiedDevice")
		clerk.want(uacsta.SetAutoAnswer{Device: own, AutoAnswerOn: true}, "operation/privilegeViolationSpecifiedDevice")
	})
}

// Who registers is told the status at intervals, and only what the filter leaves.
func TestSystemRegistration(t *testing.T) {
	t.Parallel()
	inOffice(t, everything, func(o *office) {
		m, visitor := o.open("boss", "100"), o.open("boss", "")
		visitor.want(uacsta.SystemRegister{RequestTypes: uacsta.RequestTypes{SystemStatus: true}, RequestedStatusFilter: &uacsta.StatusFilter{Normal: true}}, "SystemRegisterResponse")
		time.Sleep(time.Hour)
		m.hears()
		id := m.want(uacsta.SystemRegister{RequestTypes: uacsta.RequestTypes{SystemStatus: true}}, "SystemRegisterResponse").Text("sysStatRegisterID")
		time.Sleep(2*time.Minute + time.Second)
		for _, msg := range m.hears("SystemStatus", "SystemStatus") {
			if msg.Text("sysStatRegisterID") != id || msg.Text("systemStatus") != "normal" {
				t.Errorf("%s", msg)
			}
		}
		list := m.want(uacsta.GetRegistrations{}, "GetRegistrationsResponse")
		if list.Text("crossRefIDorRegistrationData/registrationList/registrationListEntry/registrationID") != id {
			t.Errorf("%s", list)
		}
		m.want(uacsta.ChangeSysStatFilter{SysStatRegisterID: id, RequestedStatusFilter: &uacsta.StatusFilterList{Normal: true}}, "ChangeSysStatFilterResponse")
		m.want(uacsta.ChangeSysStatFilter{SysStatRegisterID: "other"}, "operation/invalidCrossRefID")
		time.Sleep(time.Hour)
		m.hears()
		o.link.lose <- struct{}{}
		if told := m.hears("SystemStatus"); told[0].Text("systemStatus") != "disabled" {
			t.Errorf("%s", told[0])
		}
		visitor.hears("SystemStatus") // who names no line is told too
		m.want(uacsta.SystemRegisterCancel{SysStatRegisterID: id}, "SystemRegisterCancelResponse")
		m.want(uacsta.SystemRegisterCancel{SysStatRegisterID: id}, "operation/invalidCrossRefID")
		time.Sleep(5 * time.Second)
		m.hears("SystemStatus")
		time.Sleep(time.Hour)
		m.hears()
	})
}

// Application sessions settle the edition, and end monitors when nobody resets them.
func TestApplicationSession(t *testing.T) {
	t.Parallel()
	inOffice(t, everything, func(o *office) {
		m := o.open("boss", "")
		start := uacsta.StartApplicationSession{
			ApplicationInfo: uacsta.ApplicationInfo{ApplicationID: "crm"}, RequestedProtocolVersions: []string{"urn:other"},
		}
		if res := m.want(start, "StartApplicationSessionNegResponse"); res.Text("errorCode/definedError") != "requestedProtocolVersionNotSupported" {
			t.Errorf("%s", res)
		}
		seconds := 180
		start.RequestedProtocolVersions, start.RequestedSessionDuration = append(start.RequestedProtocolVersions, uacsta.Edition6.Namespace()), &seconds
		granted := m.want(start, "StartApplicationSessionPosResponse")
		id := granted.Text("sessionID")
		if granted.Namespace() != uacsta.NamespaceApplSession || granted.Text("actualSessionDuration") != "180" || granted.Text("actualProtocolVersion") != uacsta.Edition6.Namespace() {
			t.Errorf("%s", granted)
		}
		if res := m.want(uacsta.ResetApplicationSessionTimer{SessionID: id, RequestedSessionDuration: math.MaxInt}, "ResetApplicationSessionTimerPosResponse"); res.Text("actualSessionDuration") != "86400" {
			t.Errorf("%s", res)
		}
		device := uacsta.Dev("101")
		m.want(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}, "MonitorStartResponse")
		for range 3 {
			time.Sleep(150 * time.Second)
			m.want(uacsta.ResetApplicationSessionTimer{SessionID: id, RequestedSessionDuration: 180}, "ResetApplicationSessionTimerPosResponse")
		}
		m.want(uacsta.ResetApplicationSessionTimer{SessionID: "other", RequestedSessionDuration: 180}, "ResetApplicationSessionTimerNegResponse")
		m.want(uacsta.SetDoNotDisturb{Device: device, DoNotDisturbOn: true}, "SetDoNotDisturbResponse")
		if told := m.hears("DoNotDisturbEvent"); told[0].Edition() != uacsta.Edition6 {
			t.Errorf("%s", told[0])
		}
		time.Sleep(181 * time.Second)
		if told := m.hears("ApplicationSessionTerminated"); told[0].Text("sessionTermReason/definedTermReason") != "sessionTimerExpired" {
			t.Errorf("%s", told[0])
		}
		if _, monitors := o.link.Counts(); monitors != 0 {
			t.Errorf("%d monitors are left", monitors)
		}
		stop := uacsta.StopApplicationSession{SessionID: id, SessionEndReason: uacsta.SessionEndReason{DefinedEndReason: "normal"}}
		m.want(stop, "StopApplicationSessionNegResponse")
		stop.SessionID = m.want(start, "StartApplicationSessionPosResponse").Text("sessionID")
		m.want(stop, "StopApplicationSessionPosResponse")
		time.Sleep(time.Hour)
		m.hears()
	})
}

// What a request only mentions needs no right; where a call goes does.
func TestRightsOfServices(t *testing.T) {
	t.Parallel()
	grants := []policy.Grant{{Who: "alice", Control: []string{"100"}, Dial: []string{"101", "300"}}}
	inOffice(t, grants, func(o *office) {
		m := o.open("alice", "100")
		own, other, outside := uacsta.Dev("100"), uacsta.Dev("102"), uacsta.Dev("0900123")
		denied := "operation/privilegeViolationSpecifiedDevice"
		m.want(uacsta.MakePredictiveCall{CallingDevice: own, CalledDirectoryNumber: outside}, "operation/privilegeViolationCalledDevice")
		m.want(uacsta.SetDoNotDisturb{Device: own, DoNotDisturbOn: true, CallingDeviceList: []uacsta.DeviceID{outside}}, "SetDoNotDisturbResponse")
		m.want(uacsta.SetMessageWaitingIndicator{Device: own, MessageWaitingOn: true, DeviceForMessage: &other}, "SetMessageWaitingIndicatorResponse")
		m.want(uacsta.SetMessageWaitingIndicator{Device: other, MessageWaitingOn: true}, denied)
		queue, trunk := uacsta.Dev("300"), uacsta.Dev("900")
		m.want(uacsta.SetAgentState{Device: own, RequestedAgentState: uacsta.RequestLoggedOn, Group: &queue}, "SetAgentStateResponse")
		m.want(uacsta.SetAgentState{Device: own, RequestedAgentState: uacsta.RequestLoggedOn, Group: &trunk}, denied)
		m.want(uacsta.SetAgentState{Device: other, RequestedAgentState: uacsta.RequestLoggedOn, Group: &queue}, denied)
		m.want(uacsta.GetAgentState{Device: own, AcdGroup: &queue}, "GetAgentStateResponse")
		m.want(uacsta.GetAgentState{Device: other}, denied)
		m.want(uacsta.CallBackNonCallRelated{OriginatingDevice: &own, TargetDevice: &other}, "operation/privilegeViolationDestinationDevice")
		id := m.want(call("100", "101"), "MakeCallResponse").Text("callingDevice/callID")
		far := uacsta.Conn(id, "101")
		m.want(uacsta.JoinCall{ActiveCall: far, JoiningDevice: own, AutoOriginate: uacsta.Prompt, ParticipationType: uacsta.ParticipationActive}, denied)
		m.want(uacsta.GroupPickupCall{NewDestination: other}, denied)
		m.want(uacsta.GetAutoWorkMode{}, "operation/invalidDeviceID")
	})
}
