package softswitch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// operations lists every service with every argument.
func (c *checker) operations(s *Switch) []operation {
	var ops []operation
	var devices []string // the last one begins no calls: it is there to be called
	for _, e := range c.cfg.Extensions {
		devices = append(devices, e.Number)
	}
	add := func(name, bit string, do func(*Switch) (any, error), on ...uacsta.ConnectionID) {
		ops = append(ops, operation{name: name, bit: bit, do: do, on: on})
	}
	dev := uacsta.Dev
	callers := slices.Clip(devices[:len(devices)-1])
	ways := []uacsta.AutoOriginate{uacsta.Prompt, uacsta.DoNotPrompt}
	if len(c.cfg.Trunks) > 0 {
		ways = ways[1:] // prompting is seen to in the other worlds
		callers = append(callers, "900")
		ops = c.chances(s)
	}
	ops = append(ops, happenings(s)...)
	if len(c.cfg.Trunks) > 0 { // groups make predictive calls, and no others
		for _, from := range []string{"300", "200"} {
			for _, to := range []string{"101", "109", "0170", "999"} {
				for _, condition := range []uacsta.SignallingCondition{uacsta.SignallingCallDelivered, uacsta.SignallingCallEstablished} {
					add(fmt.Sprintf("MakePredictiveCall %s %s %s", from, to, condition), "", func(s *Switch) (any, error) {
						return s.makePredictiveCall(&uacsta.MakePredictiveCall{
							CallingDevice: dev(from), CalledDirectoryNumber: dev(to), SignallingDetection: &uacsta.SignallingDetection{SignallingCondition: condition},
						})
					})
				}
			}
		}
	}
	for _, from := range callers {
		for _, to := range c.numbers(devices) {
			for _, how := range ways {
				add(fmt.Sprintf("MakeCall %s %s %s", from, to, how), "", func(s *Switch) (any, error) {
					return s.makeCall(&uacsta.MakeCall{CallingDevice: dev(from), CalledDirectoryNumber: dev(to), AutoOriginate: how})
				})
				add(fmt.Sprintf("MakePredictiveCall %s %s %s", from, to, how), "", func(s *Switch) (any, error) {
					return s.makePredictiveCall(&uacsta.MakePredictiveCall{CallingDevice: dev(from), CalledDirectoryNumber: dev(to), AutoOriginate: how})
				})
			}
		}
		add("GroupPickupCall "+from, "", func(s *Switch) (any, error) {
			return s.groupPickupCall(&uacsta.GroupPickupCall{NewDestination: dev(from)})
		})
	}
	ids := []uacsta.ConnectionID{}
	for _, call := range s.calls {
		for _, x := range call.connections {
			ids = append(ids, x.id())
		}
	}
	slices.SortFunc(ids, func(a, b uacsta.ConnectionID) int {
		return strings.Compare(a.CallID+a.DeviceID.ID, b.CallID+b.DeviceID.ID)
	})
	for _, id := range ids {
		if x, err := s.find(id, errConnection); err == nil && x.campsOn() {
			add("camps for too long", "", func(s *Switch) (any, error) {
				x, err := s.find(id, errConnection)
				if err == nil {
					x.stillBusy()
				}
				return nil, err
			}, id)
		}
		c.alone(id, add)
		for _, to := range append(c.numbers(devices), "400") {
			c.toward(id, to, add)
		}
		for _, other := range ids {
			c.pairs(id, other, add)
		}
	}
	return ops
}

// numbers are those that can be dialled.
func (c *checker) numbers(devices []string) []string {
	numbers := append(slices.Clip(devices), "999")
	if len(c.cfg.Trunks) > 0 {
		numbers = append(numbers, "300", "200", "0170", "5")
	}
	return numbers
}

// chances lists what happens without a service: times run out, the far end
// answers, the agent changes its state.
func (c *checker) chances(s *Switch) []operation {
	var ops []operation
	add := func(name string, id uacsta.ConnectionID, change func(*connection)) {
		ops = append(ops, operation{name: name + " " + id.CallID + "/" + id.DeviceID.ID, do: func(s *Switch) (any, error) {
			x, err := s.find(id, errConnection)
			if err == nil {
				change(x)
			}
			return nil, err
		}})
	}
	for _, d := range s.order {
		for _, x := range d.connections {
			switch {
			case x.alerts() && d.trunk != nil:
				add("the far end answers", x.id(), func(x *connection) { _ = x.lift() })
				add("the far end is busy", x.id(), func(x *connection) { x.declined(uacsta.CauseBusy) })
			case x.state == uacsta.Alerting && x.group != nil && x.group.hunt != nil:
				add("the next member rings", x.id(), func(x *connection) { x.group.hunt.next(x) })
			case x.state == uacsta.Alerting && x.agent != nil:
				add("the agent does not answer", x.id(), func(x *connection) { x.group.queue.missed(x) })
			case x.state == uacsta.Queued && d.queue != nil:
				add("the call waits for too long", x.id(), func(x *connection) {
					x.leave()
					x.call.overflow(x.device, uacsta.CauseQueueTimeOverflow)
				})
			}
			add("its time is over", x.id(), func(x *connection) { x.clear(uacsta.CauseCallNotAnswered) })
		}
	}
	for _, state := range []uacsta.ReqAgentState{uacsta.RequestReady, uacsta.RequestNotReady} {
		ops = append(ops, operation{name: "the agent becomes " + string(state), do: func(s *Switch) (any, error) {
			return s.setAgentState(&uacsta.SetAgentState{Device: uacsta.Dev("102"), RequestedAgentState: state})
		}})
	}
	return ops
}

// happenings lists what the users of real telephones do, and what the network says.
func happenings(s *Switch) []operation {
	var ops []operation
	for _, d := range s.order {
		for _, x := range d.connections {
			id := x.id()
			add := func(name string, change func(*connection) error) {
				ops = append(ops, operation{name: name + " " + id.CallID + "/" + id.DeviceID.ID, do: func(s *Switch) (any, error) {
					x, err := s.find(id, errConnection)
					if err == nil {
						err = change(x)
					}
					return nil, err
				}})
			}
			if !d.real || !x.rings() {
				continue
			}
			add("the network has the call", func(x *connection) error { x.reach(); return nil })
			add("the telephone rings", func(x *connection) error { x.arrive(); return nil })
			add("the user answers", (*connection).lift)
			add("the user declines", func(x *connection) error { x.declined(uacsta.CauseBusy); return nil })
		}
	}
	return ops
}

type adder func(name, bit string, do func(*Switch) (any, error), on ...uacsta.ConnectionID)

// alone adds the services on one connection.
func (c *checker) alone(id uacsta.ConnectionID, add adder) {
	for _, op := range []struct {
		bit string
		do  func(*Switch) (any, error)
	}{
		{"AnswerCall", func(s *Switch) (any, error) { return s.answerCall(&uacsta.AnswerCall{CallToBeAnswered: id}) }},
		{"ClearConnection", func(s *Switch) (any, error) {
			return s.clearConnection(&uacsta.ClearConnection{ConnectionToBeCleared: id})
		}},
		{"ClearCall", func(s *Switch) (any, error) { return s.clearCall(&uacsta.ClearCall{CallToBeCleared: id}) }},
		{"HoldCall", func(s *Switch) (any, error) { return s.holdCall(&uacsta.HoldCall{CallToBeHeld: id}) }},
		{"RetrieveCall", func(s *Switch) (any, error) { return s.retrieveCall(&uacsta.RetrieveCall{CallToBeRetrieved: id}) }},
		{"CampOnCall", func(s *Switch) (any, error) { return s.camponCall(&uacsta.CamponCall{CamponConnection: id}) }},
		{"CallBack", func(s *Switch) (any, error) { return s.callBack(&uacsta.CallBack{CallbackConnection: id}) }},
		{"IntrudeCall", func(s *Switch) (any, error) {
			return s.intrudeCall(&uacsta.IntrudeCall{Intrude: id, ParticipationType: uacsta.ParticipationActive})
		}},
		{"AssociateData", func(s *Switch) (any, error) {
			return s.associateData(&uacsta.AssociateData{ExistingCall: id, SubjectOfCall: "x"})
		}},
		{"SendUserInformation", func(s *Switch) (any, error) {
			return s.sendUserInformation(&uacsta.SendUserInformation{ExistingCall: id, UserData: uacsta.Data{String: "01"}})
		}},
		{"GenerateDigits", func(s *Switch) (any, error) {
			return s.generateDigits(&uacsta.GenerateDigits{ConnectionToSendDigits: id, CharactersToSend: "1"})
		}},
		{"PlayMessage", func(s *Switch) (any, error) { // and Stop, after which all is as before
			if _, err := s.playMessage(&uacsta.PlayMessage{OverConnection: id, MessageToBePlayed: "hello"}); err != nil {
				return nil, err
			}
			return s.stop(&uacsta.Stop{Connection: id})
		}},
		{"RecordMessage", func(s *Switch) (any, error) {
			if _, err := s.recordMessage(&uacsta.RecordMessage{CallToBeRecorded: id}); err != nil {
				return nil, err
			}
			return s.stop(&uacsta.Stop{Connection: id})
		}},
	} {
		add(op.bit, op.bit, op.do, id)
	}
}

// toward adds the services on one connection that name another device.
func (c *checker) toward(id uacsta.ConnectionID, to string, add adder) {
	dev := uacsta.Dev(to)
	for _, op := range []struct {
		bit string
		do  func(*Switch) (any, error)
	}{
		{"ConsultationCall", func(s *Switch) (any, error) {
			return s.consultationCall(&uacsta.ConsultationCall{ExistingCall: id, ConsultedDevice: dev})
		}},
		{"DeflectCall", func(s *Switch) (any, error) {
			return s.deflectCall(&uacsta.DeflectCall{CallToBeDiverted: id, NewDestination: []uacsta.DeviceID{dev}})
		}},
		{"DeflectCall", func(s *Switch) (any, error) {
			return s.deflectCall(&uacsta.DeflectCall{CallToBeDiverted: id, NewDestination: []uacsta.DeviceID{dev, uacsta.Dev("109")}})
		}},
		{"DirectedPickupCall", func(s *Switch) (any, error) {
			return s.directedPickupCall(&uacsta.DirectedPickupCall{CallToBePickedUp: id, RequestingDevice: dev})
		}},
		{"ParkCall", func(s *Switch) (any, error) { return s.parkCall(&uacsta.ParkCall{Parking: id, ParkTo: dev}) }},
		{"SingleStepTransfer", func(s *Switch) (any, error) {
			return s.singleStepTransferCall(&uacsta.SingleStepTransferCall{ActiveCall: id, TransferredTo: dev})
		}},
		{"SingleStepConference", func(s *Switch) (any, error) {
			return s.singleStepConferenceCall(&uacsta.SingleStepConferenceCall{ActiveCall: id, DeviceToJoin: dev, ParticipationType: uacsta.ParticipationSilent})
		}},
		{"JoinCall", func(s *Switch) (any, error) {
			return s.joinCall(&uacsta.JoinCall{ActiveCall: id, JoiningDevice: dev, AutoOriginate: uacsta.Prompt, ParticipationType: uacsta.ParticipationActive})
		}},
	} {
		add(op.bit+" "+to, op.bit, op.do, id)
	}
}

// pairs adds the services on a held and an active connection.
func (c *checker) pairs(held, active uacsta.ConnectionID, add adder) {
	for _, op := range []struct {
		bit string
		do  func(*Switch) (any, error)
	}{
		{"AlternateCall", func(s *Switch) (any, error) {
			return s.alternateCall(&uacsta.AlternateCall{HeldCall: held, ActiveCall: active})
		}},
		{"ReconnectCall", func(s *Switch) (any, error) {
			return s.reconnectCall(&uacsta.ReconnectCall{HeldCall: held, ActiveCall: active})
		}},
		{"TransferCall", func(s *Switch) (any, error) {
			return s.transferCall(&uacsta.TransferCall{HeldCall: held, ActiveCall: active})
		}},
		{"ConferenceCall", func(s *Switch) (any, error) {
			return s.conferenceCall(&uacsta.ConferenceCall{HeldCall: held, ActiveCall: active})
		}},
	} {
		add(op.bit, op.bit, op.do, held, active)
	}
}
