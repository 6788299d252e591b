package tests

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// station is a program before a FreeSWITCH with telephones.
type station struct {
	t *testing.T
	f *realSwitch
	r *running
	o *cardTalk
	p map[string]*telephone
}

// up makes a call by MakeCall, which both answer.
func (s *station) up(from, to string) (near, far *leg, own, other uacsta.ConnectionID) {
	s.t.Helper()
	m := s.o.must(call(from, to))
	near = s.p[from].rings().answers()
	far = s.p[to].rings()
	s.o.await(to, "Delivered")
	far.answers()
	s.o.await(to, "Established")
	hearEachOther(near, far)
	id := m.Text("callingDevice/callID")
	return near, far, uacsta.Conn(id, from), uacsta.Conn(id, to)
}

// gone waits until nothing is left, in FreeSWITCH and at the program.
func (s *station) gone() {
	s.t.Helper()
	s.f.idle()
	for device := range s.p {
		waitFor(s.t, "the end of all calls of "+device, func() bool { return len(s.o.calls(device)) == 0 })
	}
}

// Each service of mod_csta_socket's list, at a real FreeSWITCH, by a user of its directory who may give the documented
// commands and no others.
func TestRealFreeSWITCHServices(t *testing.T) {
	t.Parallel()
	for name, play := range map[string]func(s *station){
		"AnswerCall and ClearConnection": func(s *station) {
			from := s.p["1001"].dials("1002")
			far := s.p["1002"].rings()
			rings := s.o.await("1002", "Delivered")
			s.o.must(uacsta.AnswerCall{CallToBeAnswered: rings})
			far.answeredHere()
			s.o.await("1002", "Established")
			hearEachOther(from.up(), far)
			s.o.must(uacsta.ClearConnection{ConnectionToBeCleared: rings})
			s.o.await("1002", "ConnectionCleared")
			from.ends()
			far.ends()
		},
		"HoldCall with RetrieveCall and GenerateDigits": func(s *station) {
			near, far, own, _ := s.up("1001", "1002")
			s.o.must(uacsta.GenerateDigits{ConnectionToSendDigits: own, CharactersToSend: "12#"})
			far.hearsKeys("12#")
			s.o.must(uacsta.HoldCall{CallToBeHeld: own})
			s.o.await("1002", "Held")
			near.held()
			s.o.must(uacsta.RetrieveCall{CallToBeRetrieved: own})
			s.o.await("1002", "Retrieved")
			near.retrieved()
			far.hangsUp()
			near.ends()
		},
		"DeflectCall": func(s *station) {
			from := s.p["1001"].dials("1002")
			rings := s.p["1002"].rings()
			deflected := s.o.await("1002", "Delivered")
			s.o.must(uacsta.DeflectCall{CallToBeDiverted: deflected, NewDestination: []uacsta.DeviceID{uacsta.Dev("1003")}})
			s.o.await("1002", "Diverted")
			rings.ends()
			third := s.p["1003"].rings()
			s.o.await("1003", "Delivered")
			hearEachOther(third.answers(), from.up())
			s.o.await("1003", "Established")
			from.hangsUp()
			third.ends()
		},
		"SingleStepTransferCall": func(s *station) {
			near, far, own, _ := s.up("1001", "1002")
			s.o.must(uacsta.SingleStepTransferCall{ActiveCall: own, TransferredTo: uacsta.Dev("1003")})
			third := s.p["1003"].rings()
			s.o.await("1001", "Transfered")
			s.o.await("1002", "Transfered")
			near.ends()
			hearEachOther(third.answers(), far)
			s.o.await("1003", "Established")
			far.hangsUp()
			third.ends()
		},
		"DirectedPickupCall": func(s *station) {
			from := s.p["1001"].dials("1002")
			rings := s.p["1002"].rings()
			ringing := s.o.await("1002", "Delivered")
			s.o.must(uacsta.DirectedPickupCall{CallToBePickedUp: ringing, RequestingDevice: uacsta.Dev("1003")})
			third := s.p["1003"].rings().answers()
			s.o.await("1003", "Established")
			rings.ends()
			hearEachOther(from.up(), third)
			third.hangsUp()
			from.ends()
		},
		"GroupPickupCall": func(s *station) {
			from := s.p["1001"].dials("1002")
			rings := s.p["1002"].rings()
			s.o.await("1002", "Delivered")
			s.o.must(uacsta.GroupPickupCall{NewDestination: uacsta.Dev("1003")})
			third := s.p["1003"].rings().answers()
			s.o.await("1003", "Established")
			rings.ends()
			hearEachOther(from.up(), third)
			third.hangsUp()
			from.ends()
		},
		"ParkCall": func(s *station) {
			near, far, own, _ := s.up("1001", "1002")
			place := uacsta.Dev("5901")
			s.o.must(uacsta.ParkCall{Parking: own, ParkTo: place})
			s.o.await("1002", "Diverted")
			near.ends()
			third := s.p["1003"].dials("5901")
			hearEachOther(third.up(), far)
			far.hangsUp()
			third.ends()
		},
		"ConferenceCall": func(s *station) {
			near, far, own, _ := s.up("1001", "1002")
			second := s.o.consults(own, "1003")
			third := s.p["1003"].rings().answers()
			s.o.await("1003", "Established")
			hearEachOther(near, third)
			s.o.must(uacsta.ConferenceCall{HeldCall: own, ActiveCall: second})
			s.o.await("1002", "Conferenced")
			for _, l := range []*leg{near, far, third} {
				if !l.lives() {
					s.t.Errorf("%s is not in the conference", l.phone.number)
				}
			}
			third.hangsUp()
			s.o.await("1003", "ConnectionCleared")
			far.hangsUp()
			near.ends()
		},
		"SingleStepConferenceCall": func(s *station) {
			near, far, own, _ := s.up("1001", "1002")
			s.o.must(uacsta.SingleStepConferenceCall{ActiveCall: own, DeviceToJoin: uacsta.Dev("1003"), ParticipationType: uacsta.ParticipationActive})
			third := s.p["1003"].rings().answers()
			s.o.await("1003", "Conferenced")
			third.hangsUp()
			s.o.await("1003", "ConnectionCleared")
			near.hangsUp()
			far.ends()
		},
		"ReconnectCall": func(s *station) {
			near, far, own, _ := s.up("1001", "1002")
			second := s.o.consults(own, "1003")
			third := s.p["1003"].rings().answers()
			s.o.await("1003", "Established")
			hearEachOther(near, third)
			s.o.must(uacsta.ReconnectCall{ActiveCall: second, HeldCall: own})
			third.ends()
			s.o.await("1002", "Retrieved")
			hearEachOther(near, far)
			far.hangsUp()
			near.ends()
		},
		"MakePredictiveCall to a queue": func(s *station) {
			s.o.must(uacsta.MakePredictiveCall{CallingDevice: uacsta.Dev("029500"), CalledDirectoryNumber: uacsta.Dev("1002")})
			far := s.p["1002"].rings()
			far.answers()
			waits := s.o.await("029500", "Queued")
			far.press("7")
			s.o.await("029500", "DtmfDetected")
			s.o.must(uacsta.DeflectCall{CallToBeDiverted: waits, NewDestination: []uacsta.DeviceID{uacsta.Dev("1003")}})
			third := s.p["1003"].rings().answers()
			hearEachOther(far, third)
			far.hangsUp()
			third.ends()
		},
		"PlayMessage with Stop and RecordMessage": func(s *station) {
			near, far, own, _ := s.up("1001", "1002")
			s.o.must(uacsta.PlayMessage{MessageToBePlayed: "tone", OverConnection: own})
			s.o.await("1001", "Play")
			near.hearsMusic()
			s.o.must(uacsta.Stop{MessageToBeStopped: "tone", Connection: own})
			s.o.await("1001", "Stop")
			if m := s.o.must(uacsta.RecordMessage{CallToBeRecorded: own}); m.Text("resultingMessage") == "" {
				s.t.Errorf("%s", m)
			}
			s.o.await("1001", "Record")
			near.hangsUp()
			far.ends()
		},
		"Get and SetMessageWaitingIndicator": func(s *station) {
			s.o.must(uacsta.SetMessageWaitingIndicator{Device: uacsta.Dev("1001"), MessageWaitingOn: true})
			s.o.await("1001", "MessageWaiting")
			if m := s.o.must(uacsta.GetMessageWaitingIndicator{Device: uacsta.Dev("1001")}); !strings.Contains(m.String(), "true") {
				s.t.Errorf("%s", m)
			}
		},
		"registrations": func(s *station) {
			again := s.f.telephone("1004")
			s.o.await("1004", "BackInService")
			again.unregister()
			s.o.await("1004", "OutOfService")
		},
		"trunks": func(s *station) {
			n := s.f.carrier()
			out := s.p["1001"].dials("0301234")
			far := n.rings()
			s.o.await("01carrier", "NetworkReached")
			far.answers()
			s.o.await("1001", "Established")
			hearEachOther(out.up(), far)
			far.hangsUp()
			s.o.await("01carrier", "ConnectionCleared")
			out.ends()
			in := n.dials("5561002")
			rings := s.p["1002"].rings()
			s.o.await("1002", "Delivered")
			rings.answers()
			s.o.await("0120", "Established")
			hearEachOther(in.up(), rings)
			in.hangsUp()
			s.o.await("0120", "ConnectionCleared")
			rings.ends()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := realFreeSWITCH(t)
			s := &station{t: t, f: f, p: map[string]*telephone{}}
			for _, number := range []string{"1001", "1002", "1003"} {
				s.p[number] = f.telephone(number)
			}
			s.r = f.front("session: {user: ctilink, password: " + f.Password + "}")
			s.o = talkTo(s.r, "1001", "1002", "1003", "1004", "029500", "01carrier", "0120")
			play(s)
			s.gone()
			if out := s.r.out.String(); strings.Contains(out, "FreeSWITCH refused a command") {
				t.Errorf("the log says\n%s", out)
			}
			s.r.stop()
		})
	}
}
