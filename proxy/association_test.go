package proxy_test

import (
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// text returns a response from a document.
func text(document string) func(*uacsta.Message) (*uacsta.Message, error) {
	return func(*uacsta.Message) (*uacsta.Message, error) {
		m, err := uacsta.Parse([]byte(document))
		return m, err
	}
}

func parse(t *testing.T, document string) *uacsta.Message {
	t.Helper()
	m, err := uacsta.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func open(t *testing.T, p *proxy.Proxy, name string) (*proxy.Session, *listener) {
	t.Helper()
	l := &listener{}
	s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: name}}, l)
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

// last returns the last request of a name that the link got.
func (f *flaky) last(name string) *uacsta.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.asked) - 1; i >= 0; i-- {
		if f.asked[i].Name() == name {
			return f.asked[i]
		}
	}
	return uacsta.NewMessage("", "nothing")
}

// What the switch sends under a reference reaches the client that opened it, under the client's own
// reference. Messages under unknown references are refused.
func TestUnderReference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), answers: map[string]func(*uacsta.Message) (*uacsta.Message, error){
			"SnapshotDevice":      text(`<SnapshotDeviceResponse><serviceCrossRefID>s1</serviceCrossRefID></SnapshotDeviceResponse>`), // without the element around it
			"StartDataCollection": text(`<StartDataCollectionResponse><dcollCrossRefID>d1</dcollCrossRefID></StartDataCollectionResponse>`),
			"EscapeRegister":      text(`<EscapeRegisterResponse><escapeRegisterID>e1</escapeRegisterID></EscapeRegisterResponse>`),
			"StopDataCollection":  text(`<StopDataCollectionResponse/>`),
		}}
		p := start(t, f, policy.FromGrants(nil, policy.Grant{Who: "all", Control: []string{"*"}, Dial: []string{"109"}}, policy.Grant{Who: "one", Control: []string{"100"}}), nil)
		s, l := open(t, p, "all")
		one, quiet := open(t, p, "one")

		ref := request(s, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")}).Text("serviceCrossRefID")
		for _, last := range []string{"false", "true"} {
			if err := f.up.Request(parse(t, `<SnapshotDeviceData><serviceCrossRefID>s1</serviceCrossRefID><lastSegment>`+last+`</lastSegment></SnapshotDeviceData>`)); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if got := l.take(); len(got) != 2 || got[0].Text("serviceCrossRefID") != ref || ref == "" || ref == "s1" {
			t.Error(got)
		}
		after := f.up.Request(parse(t, `<SnapshotDeviceData><serviceCrossRefID>s1</serviceCrossRefID><lastSegment>true</lastSegment></SnapshotDeviceData>`))
		var refusal *uacsta.Error
		if !errors.As(after, &refusal) {
			t.Error("a segment after the last is taken")
		}

		digits := uacsta.Conn(call(s, "100"), "100")
		ref = request(s, uacsta.StartDataCollection{Object: &uacsta.CallObject{Call: &digits}}).Text("dcollCrossRefID")
		if err := f.up.Request(parse(t, `<DataCollected><dcollCrossRefID>d1</dcollCrossRefID></DataCollected>`)); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := l.take(); len(got) != 1 || got[0].Text("dcollCrossRefID") != ref || ref == "" {
			t.Error(got)
		}
		if m := request(one, uacsta.StopDataCollection{DcollCrossRefID: ref}); m.Err() == nil || m.Err().Value != uacsta.InvalidCrossRefID {
			t.Errorf("another's reference: %s", m)
		}
		request(s, uacsta.StopDataCollection{DcollCrossRefID: ref})
		if got := f.last("StopDataCollection").Text("dcollCrossRefID"); got != "d1" {
			t.Error(got)
		}

		// what concerns the whole switch needs the right to all of it
		if m := request(one, uacsta.EscapeRegister{}); m.Err() == nil {
			t.Errorf("%s", m)
		}
		ref = request(s, uacsta.EscapeRegister{}).Text("escapeRegisterID")
		if err := f.up.Request(parse(t, `<Escape xmlns:v="urn:v"><escapeRegisterID>e1</escapeRegisterID><privateData><private><v:x>kept</v:x></private></privateData></Escape>`)); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := l.take(); len(got) != 1 || got[0].Text("escapeRegisterID") != ref || !strings.Contains(got[0].String(), `<v:x xmlns:v="urn:v">kept</v:x>`) {
			t.Error(got)
		}
		f.lose <- errors.New("lost")
		synctest.Wait()
		var told []string
		for _, m := range l.take() {
			told = append(told, m.Name()+" "+m.Text("escapeRegisterID"))
		}
		if !strings.Contains(strings.Join(told, ","), "EscapeRegisterAbort "+ref) {
			t.Error(told)
		}
		time.Sleep(time.Minute)
		s.Close(nil)
		if got := quiet.take(); len(got) != 0 {
			t.Error("another client is told:", got)
		}
		if err := f.up.Request(parse(t, `<WashDishes/>`)); err == nil {
			t.Error("an unknown request is taken")
		}
	})
}

// A session that closes ends its associations.
func TestReferencesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), answers: map[string]func(*uacsta.Message) (*uacsta.Message, error){
			"StartCDRTransmission": text(`<StartCDRTransmissionResponse><cdrCrossRefID>c1</cdrCrossRefID></StartCDRTransmissionResponse>`),
		}}
		p := start(t, f, demo, nil)
		s, _ := open(t, p, "a")
		request(s, uacsta.StartCDRTransmission{TransferMode: "transferAtEndOfCall"})
		s.Close(nil)
		synctest.Wait()
		if got := f.last("StopCDRTransmission").Text("cdrCrossRefID"); got != "c1" {
			t.Error(got)
		}
		if err := f.up.Request(parse(t, `<CDRReport><cdrCrossRefID>c1</cdrCrossRefID></CDRReport>`)); err == nil {
			t.Error("nobody wants it, and it is taken")
		}
	})
}

// After a loss of the link, segmented snapshots are put together.
func TestSegmentsAfterLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		if request(s, monitorOf("100")).CrossRef() == "" {
			t.Fatal("no monitor")
		}
		const info = `<snapshotDeviceResponseInfo><connectionIdentifier><callID>%s</callID><deviceID>100</deviceID></connectionIdentifier><localCallState><compoundCallState><localConnectionState>alerting</localConnectionState></compoundCallState></localCallState></snapshotDeviceResponseInfo>`
		f.answers = map[string]func(*uacsta.Message) (*uacsta.Message, error){
			"SnapshotDevice": func(*uacsta.Message) (*uacsta.Message, error) {
				go func() {
					time.Sleep(time.Millisecond) // the answer comes first, as it does on a wire
					for i, call := range []string{"1", "2"} {
						last := []string{"false", "true"}[i]
						_ = f.up.Request(parse(t, `<SnapshotDeviceData><serviceCrossRefID>s1</serviceCrossRefID><lastSegment>`+last+`</lastSegment><snapshotData>`+strings.ReplaceAll(info, "%s", call)+`</snapshotData></SnapshotDeviceData>`))
					}
				}()
				return parse(t, `<SnapshotDeviceResponse><crossRefIDorSnapshotData><serviceCrossRefID>s1</serviceCrossRefID></crossRefIDorSnapshotData></SnapshotDeviceResponse>`), nil
			},
			"SnapshotCall": func(*uacsta.Message) (*uacsta.Message, error) {
				return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)
			},
		}
		f.lose <- errors.New("lost")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		var calls []string
		for _, m := range l.take() {
			if m.Name() == "DeliveredEvent" {
				calls = append(calls, m.Text("connection/callID"))
			}
		}
		if len(calls) != 2 || calls[0] == calls[1] {
			t.Error(calls)
		}
	})
}

// A monitor that the switch refuses to restart for want of resources is retried until it starts, and
// no event is lost. One that it refuses for good stops.
func TestMonitorIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		ref := request(s, monitorOf("100")).CrossRef()
		gone := request(s, monitorOf("101")).CrossRef()
		tries := 0
		f.mu.Lock()
		f.answers = map[string]func(*uacsta.Message) (*uacsta.Message, error){"MonitorStart": func(req *uacsta.Message) (*uacsta.Message, error) {
			if req.Text("monitorObject/deviceObject") == "101" {
				return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorObject)
			}
			if tries++; tries < 4 {
				return nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.ObjectMonitorLimitExceeded)
			}
			return parse(t, `<MonitorStartResponse><monitorCrossRefID>again</monitorCrossRefID></MonitorStartResponse>`), nil
		}}
		f.mu.Unlock()
		f.lose <- errors.New("lost")
		time.Sleep(2 * time.Second)
		if m := request(s, monitorOf("100")); m.Err() == nil || m.Err().Value != uacsta.ObjectMonitorLimitExceeded {
			t.Errorf("%s", m)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		var ended []string
		for _, m := range l.take() {
			if m.Name() == "MonitorStop" {
				ended = append(ended, m.CrossRef())
			}
		}
		if strings.Join(ended, " ") != gone {
			t.Errorf("ended: %v, not %s", ended, gone)
		}
		if tries != 4 {
			t.Errorf("%d tries", tries)
		}
		f.up.Event(uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "again", Device: uacsta.Ext("100"), DoNotDisturbOn: true}, uacsta.Edition3))
		synctest.Wait()
		if got := l.take(); len(got) != 1 || got[0].CrossRef() != ref {
			t.Error(got)
		}
	})
}

// An unused monitor is stopped with retries while the switch lacks resources, but not for ever; not if
// the switch does not know it; and not after the link was down, when the reference may be another
// monitor's.
func TestMonitorStopRefused(t *testing.T) {
	for _, test := range []struct {
		lost bool
		want map[string]int
	}{{false, map[string]int{"100": 4, "101": 1, "102": 10}}, {true, map[string]int{"100": 1, "101": 1, "102": 1}}} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{lose: make(chan error)}
			p := start(t, f, demo, nil)
			s, _ := open(t, p, "a")
			var mu sync.Mutex
			refs := map[string]int{}
			f.mu.Lock()
			f.answers = map[string]func(*uacsta.Message) (*uacsta.Message, error){
				"MonitorStart": func(req *uacsta.Message) (*uacsta.Message, error) {
					return parse(t, `<MonitorStartResponse><monitorCrossRefID>`+req.Text("monitorObject/deviceObject")+`</monitorCrossRefID></MonitorStartResponse>`), nil
				},
				"MonitorStop": func(req *uacsta.Message) (*uacsta.Message, error) {
					mu.Lock()
					defer mu.Unlock()
					refs[req.CrossRef()]++
					switch {
					case req.CrossRef() == "101":
						return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID)
					case req.CrossRef() == "102", refs[req.CrossRef()] < 4:
						return nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded)
					}
					return uacsta.AnswerTo(req, uacsta.Edition3), nil
				},
			}
			f.mu.Unlock()
			for _, device := range []string{"100", "101", "102"} {
				request(s, monitorOf(device))
			}
			s.Close(nil)
			synctest.Wait()
			if test.lost {
				f.lose <- errors.New("lost")
			}
			time.Sleep(time.Hour)
			mu.Lock()
			defer mu.Unlock()
			if !maps.Equal(refs, test.want) {
				t.Errorf("the switching function was asked to stop: %v, not %v", refs, test.want)
			}
		})
	}
}

// The status that the switch reports reaches its clients. If events may have been lost, its devices
// are resynchronised.
func TestStatusOfSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		request(s, monitorOf("100"))
		for _, status := range []string{"normal", "disabled", "disabled", "normal", "messagesLost"} {
			says(t, f, status)
			time.Sleep(time.Second) // clients are told of a change a second
		}
		synctest.Wait()
		var told []string
		for _, m := range l.take() {
			told = append(told, m.Text("systemStatus"))
		}
		if strings.Join(told, " ") != "disabled normal messagesLost" {
			t.Error(told)
		}
		if f.last("SnapshotDevice").Name() != "SnapshotDevice" {
			t.Error("nobody looks")
		}
		if m := request(s, uacsta.RequestSystemStatus{}); m.Text("systemStatus") != "normal" {
			t.Errorf("%s", m)
		}
	})
}

// A rule's rate is counted separately, whatever the rule's name: not with the limits of calls or
// requests.
func TestRateOfRule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		rules := &policy.Policy{
			Internal: func(string) bool { return true },
			Rules: []policy.Rule{
				{Name: "calls", May: []string{"MakeCall"}, Destinations: []string{"internal"}, Rate: policy.Rate{Count: 2, Per: time.Hour}},
				{Name: "requests", May: []string{"control"}, Rate: policy.Rate{Count: 3, Per: time.Hour}},
			},
		}
		p := start(t, f, rules, nil)
		s, _ := open(t, p, "a")
		made := 0
		for range 4 {
			if m := request(s, uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("101")}); m.Err() == nil {
				made++
			}
		}
		set := 0
		for range 5 {
			if m := request(s, uacsta.SetDoNotDisturb{Device: uacsta.Dev("100")}); m.Err() == nil {
				set++
			}
		}
		if made != 2 || set != 3 {
			t.Errorf("%d calls, %d other requests", made, set)
		}
	})
}
