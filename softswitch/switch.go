package softswitch

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Switch is the built-in switching function. It implements proxy.Link. Its methods are safe for
// concurrent use.
type Switch struct {
	cfg     Config
	devices map[string]*device // by number, also by second numbers
	order   []*device          // in configured order

	// subsets of order used at every change
	queues, trunks, parks []*device

	mu            sync.Mutex
	calls         map[string]*call
	monitors      map[string]*monitor // by cross reference
	booked        []*callBack
	former        former
	freed         []*agent                 // whose calls ended in this change
	patient       map[*connection]struct{} // camped on a device, or to be answered when it is free
	registrations map[string]*registration // of routeing
	dialogues     map[string]*dialogue
	userData      uacsta.Data // of the current request
	lastCall      uint64
	changes       int    // sequence number of joins, agent states and messages
	prefix        string // random part of callIDs, which must not repeat after a restart
	pending       []func()
	core          core

	phones  Phones    // nil without real telephones
	touched []*call   // in this change
	changed []*device // features changed in this change
	voice   []Voice   // of this change
	library Library   // nil without messages
}

var (
	_ proxy.ConnectionFinder = (*Switch)(nil)
	_ proxy.StaticLister     = (*Switch)(nil)
	_ proxy.DeviceNamer      = (*Switch)(nil)
	_ proxy.Describer        = (*Switch)(nil)
)

// KeepsConnections implements proxy.ConnectionKeeper: every service looks connections up by
// callID and device ([Switch.find]).
func (*Switch) KeepsConnections() {}

// New returns a switch with the configured devices. It serves requests while Run runs. It fails
// if the configuration is inconsistent.
func New(cfg Config) (*Switch, error) {
	cfg.setDefaults()
	s := &Switch{
		cfg: cfg, devices: map[string]*device{}, calls: map[string]*call{}, monitors: map[string]*monitor{},
		patient: map[*connection]struct{}{}, registrations: map[string]*registration{}, dialogues: map[string]*dialogue{}, prefix: newRef()[:4],
	}
	s.core.awaited = map[*awaited]struct{}{}
	return s, s.build()
}

// Device implements proxy.DeviceNamer: second numbers of an extension stand for its own.
func (s *Switch) Device(number string) string {
	if d := s.devices[number]; d != nil { // read-only after New
		return d.number
	}
	return number
}

// Describe implements proxy.Describer.
func (s *Switch) Describe(number string) proxy.Description {
	d := s.devices[number] // read-only after New
	if d == nil {
		return proxy.Description{}
	}
	what := proxy.Description{Name: d.name}
	if s.phones != nil && d.real {
		what.Telephones = s.phones.Telephones(d.number)
	}
	return what
}

// Has reports whether the switch has a device with this number, or second number.
func (s *Switch) Has(number string) bool {
	_, ok := s.devices[number] // read-only after New
	return ok
}

// Run implements proxy.Link. The switch is up until ctx ends.
func (s *Switch) Run(ctx context.Context, up proxy.Upcalls) error {
	failed := s.begin(up)
	s.core.outbox.Flush()
	var err error
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-failed:
	}
	s.end()
	return err
}

// stopTimers stops every timer.
func (s *Switch) stopTimers() {
	for _, d := range s.order {
		d.terminal.Close()
		for _, x := range d.connections {
			x.stopTimers()
		}
		for _, a := range d.agents {
			a.stopTimer()
		}
	}
	for _, r := range s.dialogues {
		r.timer.Stop()
	}
}

// Request implements proxy.Link.
func (s *Switch) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	if slices.Contains(physicalServices, req.Name()) && s.phones != nil {
		s.physical(req, reply)
		return
	}
	s.mu.Lock()
	if s.core.up == nil {
		s.mu.Unlock()
		reply(nil, proxy.Refusal(gate.ErrClosed))
		return
	}
	s.perform(req, func(res *uacsta.Message, err error) { s.core.outbox.Post(func() { reply(res, err) }) })
	s.mu.Unlock()
	s.core.outbox.Flush()
}

// perform carries out a request and calls answer before it delivers events. Callers hold s.mu.
func (s *Switch) perform(req *uacsta.Message, answer func(*uacsta.Message, error)) {
	handler := handlers[req.Name()]
	if handler == nil || s.library == nil && speaks(req.Name()) {
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported))
		return
	}
	s.complete(req)
	res, err := handler(s, req)
	if err != nil {
		s.pending, s.userData, s.touched, s.changed, s.voice = nil, uacsta.Data{}, nil, nil, nil // a refused request changes nothing
		answer(nil, err)
		return
	}
	answer(res, nil)
	s.flush()
}

// handlers has the handler of each supported service.
var handlers map[string]func(*Switch, *uacsta.Message) (*uacsta.Message, error)

func init() { //nolint:gochecknoinits // the table refers to methods that refer to it
	handlers = map[string]func(*Switch, *uacsta.Message) (*uacsta.Message, error){
		uacsta.NameAlternateCall:               service((*Switch).alternateCall),
		uacsta.NameAnswerCall:                  service((*Switch).answerCall),
		uacsta.NameAssociateData:               service((*Switch).associateData),
		uacsta.NameCallBack:                    service((*Switch).callBack),
		uacsta.NameCallBackNonCallRelated:      service((*Switch).callBackNonCallRelated),
		uacsta.NameCamponCall:                  service((*Switch).camponCall),
		uacsta.NameCancelCallBack:              service((*Switch).cancelCallBack),
		uacsta.NameChangeMonitorFilter:         service((*Switch).changeMonitorFilter),
		uacsta.NameClearCall:                   service((*Switch).clearCall),
		uacsta.NameClearConnection:             service((*Switch).clearConnection),
		uacsta.NameConferenceCall:              service((*Switch).conferenceCall),
		uacsta.NameConsultationCall:            service((*Switch).consultationCall),
		uacsta.NameDeflectCall:                 service((*Switch).deflectCall),
		uacsta.NameDirectedPickupCall:          service((*Switch).directedPickupCall),
		uacsta.NameGenerateDigits:              service((*Switch).generateDigits),
		uacsta.NameGetAgentState:               service((*Switch).getAgentState),
		uacsta.NameGetAutoAnswer:               service((*Switch).getAutoAnswer),
		uacsta.NameGetAutoWorkMode:             service((*Switch).getAutoWorkMode),
		uacsta.NameGetCSTAFeatures:             (*Switch).getFeatures,
		uacsta.NameGetCallBack:                 service((*Switch).getCallBack),
		uacsta.NameGetCallerIDStatus:           service((*Switch).getCallerIDStatus),
		uacsta.NameGetDoNotDisturb:             service((*Switch).getDoNotDisturb),
		uacsta.NameGetForwarding:               service((*Switch).getForwarding),
		uacsta.NameGetLastNumberDialed:         service((*Switch).getLastNumberDialed),
		uacsta.NameGetLogicalDeviceInformation: service((*Switch).getLogicalDeviceInformation),
		uacsta.NameGetMessageWaitingIndicator:  service((*Switch).getMessageWaitingIndicator),
		uacsta.NameGetMonitors:                 service((*Switch).getMonitors),
		uacsta.NameGetSwitchingFunctionCaps:    service((*Switch).getSwitchingFunctionCaps),
		uacsta.NameGetSwitchingFunctionDevices: service((*Switch).getSwitchingFunctionDevices),
		uacsta.NameGroupPickupCall:             service((*Switch).groupPickupCall),
		uacsta.NameHoldCall:                    service((*Switch).holdCall),
		uacsta.NameIntrudeCall:                 service((*Switch).intrudeCall),
		uacsta.NameJoinCall:                    service((*Switch).joinCall),
		uacsta.NameMakeCall:                    service((*Switch).makeCall),
		uacsta.NameMakePredictiveCall:          service((*Switch).makePredictiveCall),
		uacsta.NameMonitorStart:                service((*Switch).monitorStart),
		uacsta.NameMonitorStop:                 service((*Switch).monitorStop),
		uacsta.NameParkCall:                    service((*Switch).parkCall),
		uacsta.NamePlayMessage:                 service((*Switch).playMessage),
		uacsta.NameReconnectCall:               service((*Switch).reconnectCall),
		uacsta.NameRecordMessage:               service((*Switch).recordMessage),
		uacsta.NameRequestSystemStatus:         service((*Switch).requestSystemStatus),
		uacsta.NameRetrieveCall:                service((*Switch).retrieveCall),
		uacsta.NameRouteEnd:                    service((*Switch).routeEnd),
		uacsta.NameRouteRegister:               service((*Switch).routeRegister),
		uacsta.NameRouteRegisterCancel:         service((*Switch).routeRegisterCancel),
		uacsta.NameRouteReject:                 service((*Switch).routeReject),
		uacsta.NameRouteSelect:                 service((*Switch).routeSelect),
		uacsta.NameSendUserInformation:         service((*Switch).sendUserInformation),
		uacsta.NameSetAgentState:               service((*Switch).setAgentState),
		uacsta.NameSetAutoAnswer:               service((*Switch).setAutoAnswer),
		uacsta.NameSetAutoWorkMode:             service((*Switch).setAutoWorkMode),
		uacsta.NameSetCallerIDStatus:           service((*Switch).setCallerIDStatus),
		uacsta.NameSetDoNotDisturb:             service((*Switch).setDoNotDisturb),
		uacsta.NameSetForwarding:               service((*Switch).setForwarding),
		uacsta.NameSetMessageWaitingIndicator:  service((*Switch).setMessageWaitingIndicator),
		uacsta.NameSingleStepConferenceCall:    service((*Switch).singleStepConferenceCall),
		uacsta.NameSingleStepTransferCall:      service((*Switch).singleStepTransferCall),
		uacsta.NameSnapshotCall:                service((*Switch).snapshotCall),
		uacsta.NameSnapshotDevice:              service((*Switch).snapshotDevice),
		uacsta.NameStop:                        service((*Switch).stop),
		uacsta.NameTransferCall:                service((*Switch).transferCall),
	}
}

// service adapts a handler of a typed request. The handler returns a response struct or message, or nil
// for a request without response.
func service[T any](handler func(*Switch, *T) (any, error)) func(*Switch, *uacsta.Message) (*uacsta.Message, error) {
	return func(s *Switch, m *uacsta.Message) (*uacsta.Message, error) {
		req := new(T)
		if err := m.Decode(req); err != nil {
			return nil, err
		}
		if f := reflect.ValueOf(req).Elem().FieldByName("UserData"); f.IsValid() {
			s.userData, _ = f.Interface().(uacsta.Data)
		}
		res, err := handler(s, req)
		if err != nil || res == nil {
			return nil, err
		}
		if m, ok := res.(*uacsta.Message); ok { // with private data
			return m, nil
		}
		return uacsta.Encode(res, uacsta.Edition3), nil
	}
}

// do runs a change caused by a timer or a telephone.
func (s *Switch) do(change func()) {
	defer s.core.outbox.Flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.flush()
}

func newRef() string {
	var b [6]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (s *Switch) newCallID() string {
	s.lastCall++
	return fmt.Sprintf("%s_%d", s.prefix, s.lastCall)
}

// Counts returns the current number of calls and monitors.
func (s *Switch) Counts() (calls, monitors int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls), len(s.monitors)
}
