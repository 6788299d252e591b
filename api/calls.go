package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	record "github.com/tr87proxy/tr87proxy/api/events"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Call is a call at a device.
type Call struct {
	Call       string `json:"call" doc:"the callID" example:"7"`
	Device     string `json:"device,omitempty" doc:"the device at which you see it"`
	State      string `json:"state,omitempty" doc:"the state of the device's connection: initiated, alerting, connected, hold, queued, fail"`
	Link       string `json:"link,omitempty"`
	Caller     string `json:"caller,omitempty" doc:"the number of who calls; absent if it is not known or restricted"`
	Called     string `json:"called,omitempty"`
	Correlator string `json:"correlator,omitempty" doc:"what a program has attached to the call; digits after hex: are octets that are no text"`
	Subject    string `json:"subject,omitempty"`
	// What only somebody knows who has followed the call: the recorder of events.
	LastRedirection string `json:"lastRedirection,omitempty" doc:"the device that last redirected the call, if events of the device are recorded"`
	UserData        string `json:"userData,omitempty" doc:"in the form of correlator, if events of the device are recorded"`
	Since           string `json:"since,omitempty" format:"date-time" doc:"when the proxy learnt of the call, if events of the device are recorded"`

	Parties []Party  `json:"parties"`
	Can     []string `json:"can,omitempty" doc:"the actions that are possible now and that you may use"`
}

// Party is a device in a call.
type Party struct {
	Number string `json:"number,omitempty" doc:"absent if it is not known or restricted"`
	State  string `json:"state,omitempty"`
}

// CallList is a list of calls.
type CallList struct {
	Calls []Call `json:"calls"`
	Links []Link `json:"links,omitempty" doc:"of all calls: the links whose devices were looked at, and the others"`
	Next  string `json:"next,omitempty" doc:"give it as page to get the calls of the devices that follow; absent at the end"`
}

type callPath struct {
	Call string `path:"call" doc:"the callID" example:"7" maxLength:"128"`
}

type callsInput struct {
	Filter string `query:"filter" doc:"patterns of devices, separated by commas" example:"1*"`
	Page   string `query:"page" doc:"next of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"100" doc:"the devices that are looked at"`
}

func (s *Server) describeCalls() {
	huma.Register(s.api, huma.Operation{
		OperationID: "listCallsOfDevice", Method: http.MethodGet, Path: "/v1/devices/{device}/calls", Summary: "List the calls of a device", Tags: []string{"calls"},
	}, func(ctx context.Context, in *devicePath) (*body[CallList], error) {
		ctx, cancel := s.patience(ctx)
		defer cancel()
		calls, err := s.callsAt(ctx, clientOf(ctx), in.Device)
		if err != nil {
			return nil, s.explain(ctx, in.Device, err)
		}
		return &body[CallList]{CallList{Calls: calls}}, nil
	})
	huma.Register(s.api, huma.Operation{
		OperationID: "listCalls", Method: http.MethodGet, Path: "/v1/calls", Summary: "List the calls of all devices that you may observe", Tags: []string{"calls"},
	}, s.listCalls)
	huma.Register(s.api, huma.Operation{
		OperationID: "getCall", Method: http.MethodGet, Path: "/v1/calls/{call}", Summary: "Show a call", Tags: []string{"calls"},
	}, func(ctx context.Context, in *callPath) (*body[Call], error) {
		ctx, cancel := s.patience(ctx)
		defer cancel()
		call, c := Call{Call: in.Call}, clientOf(ctx)
		known := c.session.In(in.Call)
		if len(known) == 0 {
			c.tried(uacsta.SnapshotCall{SnapshotObject: uacsta.ConnectionID{CallID: in.Call}})
			return nil, notFound("", "there is no such call at a device that you may observe")
		}
		if err := s.parties(ctx, c, &call, known[0]); err != nil {
			return nil, s.explain(ctx, "", err)
		}
		return &body[Call]{call}, nil
	})
}

func (s *Server) listCalls(ctx context.Context, in *callsInput) (*body[CallList], error) {
	ctx, cancel := s.patience(ctx)
	defer cancel()
	page, err := s.listDevices(ctx, &listInput{Filter: in.Filter, Page: in.Page, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	out := CallList{Calls: []Call{}, Links: page.Body.Links, Next: page.Body.Next}
	for _, d := range page.Body.Devices {
		calls, err := s.callsAt(ctx, clientOf(ctx), d.Device)
		if err == nil {
			out.Calls = append(out.Calls, calls...)
		} else if ctx.Err() != nil {
			return nil, s.explain(ctx, d.Device, err)
		}
	}
	return &body[CallList]{out}, nil
}

// calls asks for the calls of a device.
func (c *client) calls(ctx context.Context, device string) ([]uacsta.SnapshotDeviceResponseInfo, error) {
	var calls []uacsta.SnapshotDeviceResponseInfo
	ref := func(res *uacsta.Message) string {
		var snapshot uacsta.SnapshotDeviceResponse
		if res.Decode(&snapshot) != nil {
			return ""
		}
		if data := snapshot.CrossRefIDorSnapshotData.SnapshotData; data != nil {
			calls = data.SnapshotDeviceResponseInfo
		}
		return snapshot.CrossRefIDorSnapshotData.ServiceCrossRefID
	}
	err := c.list(ctx, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}, ref, func(m *uacsta.Message) (bool, error) {
		var segment uacsta.SnapshotDeviceData
		err := m.Decode(&segment)
		calls = append(calls, segment.SnapshotData...)
		return segment.LastSegment, err
	})
	return calls, err
}

// stateOf returns the state of the device's own connection.
func stateOf(info uacsta.SnapshotDeviceResponseInfo) string {
	if states := info.LocalCallState.CompoundCallState; len(states) > 0 {
		return string(states[0])
	}
	return ""
}

// callsAt returns the calls of a device with their parties.
func (s *Server) callsAt(ctx context.Context, c *client, device string) ([]Call, error) {
	v, err := c.view(device)
	if err != nil {
		return nil, err
	}
	infos, err := c.calls(ctx, device)
	if err != nil {
		return nil, err
	}
	followed := map[string]record.Call{}
	if list, ok := s.events.recorder.CallsOf(ctx, v.Device); ok {
		for _, x := range list {
			followed[x.Call] = x
		}
	}
	calls := make([]Call, 0, len(infos))
	for _, info := range infos {
		call := Call{Call: info.ConnectionIdentifier.CallID, Device: device, State: stateOf(info), Link: v.Link.Name, Parties: []Party{}}
		call.Can = possible(&info, v.Features.Services)
		if s.parties(ctx, c, &call, info.ConnectionIdentifier) != nil && info.EndpointDevice != nil { // the switch has no SnapshotCall
			call.Parties = append(call.Parties, Party{Number: info.EndpointDevice.Device.ID})
		}
		call.add(followed[call.Call])
		call.spell(v.Device, device)
		calls = append(calls, call)
	}
	return calls, nil
}

// add adds what the recorder knows of the call, which may be nothing.
func (c *Call) add(x record.Call) {
	c.LastRedirection, c.UserData, c.Since = x.LastRedirection, x.UserData, x.Since
	c.Caller, c.Called, c.Correlator = cmp.Or(c.Caller, x.Caller), cmp.Or(c.Called, x.Called), cmp.Or(c.Correlator, x.Correlator)
}

// spell writes a device as the client does, as a stream of events does.
func (c *Call) spell(device, written string) {
	own := func(n *string) {
		if *n == device {
			*n = written
		}
	}
	own(&c.Caller)
	own(&c.Called)
	own(&c.LastRedirection)
	for i := range c.Parties {
		own(&c.Parties[i].Number)
	}
}

// parties asks who is in a call.
func (s *Server) parties(ctx context.Context, c *client, call *Call, at uacsta.ConnectionID) error {
	var snapshot uacsta.SnapshotCallResponse
	var parties []uacsta.SnapshotCallResponseInfo
	ref := func(res *uacsta.Message) string {
		if res.Decode(&snapshot) != nil {
			return ""
		}
		if data := snapshot.CrossRefIDorSnapshotData.SnapshotData; data != nil {
			parties = data.SnapshotCallResponseInfo
		}
		return snapshot.CrossRefIDorSnapshotData.ServiceCrossRefID
	}
	err := c.list(ctx, uacsta.SnapshotCall{SnapshotObject: at}, ref, func(m *uacsta.Message) (bool, error) {
		var segment uacsta.SnapshotCallData
		err := m.Decode(&segment)
		parties = append(parties, segment.SnapshotData...)
		return segment.LastSegment, err
	})
	if err != nil {
		return err
	}
	call.Caller, call.Called, call.Subject = number(snapshot.CallingDevice), number(snapshot.CalledDevice), snapshot.SubjectOfCall
	call.Correlator = record.Text(snapshot.CorrelatorData.String)
	call.Parties = make([]Party, 0, len(parties))
	for _, p := range parties {
		call.Parties = append(call.Parties, Party{Number: number(&p.DeviceOnCall), State: string(p.LocalConnectionInfo)})
	}
	return nil
}

func number(d *uacsta.ExtendedDeviceID) string {
	if d == nil || d.Restricted {
		return ""
	}
	return d.Device.ID
}

// statesOf are the states of a connection in which ECMA-269 clause 17 lets a service act on it. Other services are
// possible in every state.
var statesOf = map[string][]uacsta.LocalConnectionState{
	uacsta.NameAcceptCall: {uacsta.Alerting}, uacsta.NameAnswerCall: {uacsta.Alerting, uacsta.Initiated}, uacsta.NameHoldCall: {uacsta.Connected},
	uacsta.NameRetrieveCall: {uacsta.Hold}, uacsta.NameAlternateCall: {uacsta.Connected, uacsta.Hold, uacsta.Alerting}, uacsta.NameReconnectCall: {uacsta.Connected, uacsta.Hold},
	uacsta.NameConsultationCall: {uacsta.Connected}, uacsta.NameTransferCall: {uacsta.Connected, uacsta.Hold}, uacsta.NameConferenceCall: {uacsta.Connected, uacsta.Hold},
	uacsta.NameSingleStepTransferCall: {uacsta.Connected}, uacsta.NameSingleStepConferenceCall: {uacsta.Connected}, uacsta.NameParkCall: {uacsta.Connected},
	uacsta.NameDeflectCall: {uacsta.Alerting, uacsta.Connected, uacsta.Queued}, uacsta.NameDirectedPickupCall: {uacsta.Alerting, uacsta.Queued}, uacsta.NameDialDigits: {uacsta.Initiated},
	uacsta.NameGenerateDigits: {uacsta.Connected}, uacsta.NameGenerateTelephonyTones: {uacsta.Connected}, uacsta.NameRecordMessage: {uacsta.Connected},
	uacsta.NameCallBack: {uacsta.Connected, uacsta.Fail}, uacsta.NameCamponCall: {uacsta.Fail}, uacsta.NameIntrudeCall: {uacsta.Fail},
}

// possible returns the actions on a connection that the client may use, as the switch says or else by the state.
func possible(info *uacsta.SnapshotDeviceResponseInfo, services []string) []string {
	list := []string{}
	for _, a := range actions() {
		if !a.call || !slices.Contains(services, a.service) {
			continue
		}
		states, limited := statesOf[a.service]
		fits := !limited || slices.Contains(states, uacsta.LocalConnectionState(stateOf(*info)))
		if info.ServicesPermitted != nil {
			fits = info.ServicesPermitted.Has(a.service)
		}
		if fits {
			list = append(list, a.name)
		}
	}
	return list
}
