package uacsta_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/schema"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// structs has one value of every message struct.
var structs = []any{
	uacsta.RequestSystemStatus{}, uacsta.RequestSystemStatusResponse{}, uacsta.SystemStatus{}, uacsta.SystemStatusResponse{}, uacsta.SystemRegisterResponse{}, uacsta.SystemRegisterCancel{}, uacsta.SystemRegisterCancelResponse{}, uacsta.GetCSTAFeatures{},
	uacsta.MonitorStart{}, uacsta.MonitorStartResponse{}, uacsta.MonitorStop{}, uacsta.MonitorStopResponse{},
	uacsta.SnapshotDevice{}, uacsta.SnapshotDeviceResponse{}, uacsta.SnapshotCall{}, uacsta.SnapshotCallResponse{},
	uacsta.MakeCall{}, uacsta.MakeCallResponse{}, uacsta.AnswerCall{}, uacsta.AnswerCallResponse{}, uacsta.ClearConnection{}, uacsta.ClearConnectionResponse{},
	uacsta.HoldCall{}, uacsta.HoldCallResponse{}, uacsta.RetrieveCall{}, uacsta.RetrieveCallResponse{}, uacsta.ConsultationCall{}, uacsta.ConsultationCallResponse{},
	uacsta.AlternateCall{}, uacsta.AlternateCallResponse{}, uacsta.ReconnectCall{}, uacsta.ReconnectCallResponse{}, uacsta.TransferCall{}, uacsta.TransferCallResponse{},
	uacsta.SingleStepTransferCall{}, uacsta.SingleStepTransferCallResponse{}, uacsta.ConferenceCall{}, uacsta.ConferenceCallResponse{},
	uacsta.ClearCall{}, uacsta.ClearCallResponse{}, uacsta.SingleStepConferenceCall{}, uacsta.SingleStepConferenceCallResponse{},
	uacsta.DirectedPickupCall{}, uacsta.DirectedPickupCallResponse{},
	uacsta.DeflectCall{}, uacsta.DeflectCallResponse{}, uacsta.GenerateDigits{}, uacsta.GenerateDigitsResponse{},
	uacsta.GetForwarding{}, uacsta.GetForwardingResponse{}, uacsta.SetForwarding{}, uacsta.SetForwardingResponse{},
	uacsta.GetDoNotDisturb{}, uacsta.GetDoNotDisturbResponse{}, uacsta.SetDoNotDisturb{}, uacsta.SetDoNotDisturbResponse{},
	uacsta.ServiceInitiatedEvent{}, uacsta.OriginatedEvent{}, uacsta.DeliveredEvent{}, uacsta.EstablishedEvent{}, uacsta.HeldEvent{}, uacsta.RetrievedEvent{},
	uacsta.DivertedEvent{}, uacsta.NetworkReachedEvent{}, uacsta.FailedEvent{}, uacsta.TransferedEvent{}, uacsta.ConferencedEvent{}, uacsta.ConnectionClearedEvent{}, uacsta.CallClearedEvent{},
	uacsta.DigitsGeneratedEvent{}, uacsta.ForwardingEvent{}, uacsta.DoNotDisturbEvent{}, uacsta.OutOfServiceEvent{}, uacsta.BackInServiceEvent{},
}

// The published samples must come back unchanged, through the tree and, where
// there is a struct, through the struct.
func TestPublishedSamples(t *testing.T) {
	types := map[string]reflect.Type{}
	for _, v := range structs {
		types[reflect.TypeOf(v).Name()] = reflect.TypeOf(v)
	}
	seen := 0
	for _, file := range []string{"samples-ed3.txt", "samples-ecma354.txt"} {
		for name, docs := range publishedSamples(t, file) {
			for _, doc := range docs {
				seen++
				m := parse(t, doc)
				if m.Name() != name {
					t.Errorf("%s: name %s", name, m.Name())
				}
				if m.String() != doc {
					t.Errorf("tree:\n got %s\nwant %s", m, doc)
				}
				typ, ok := types[name]
				if !ok {
					continue
				}
				v := reflect.New(typ)
				if err := m.Decode(v.Interface()); err != nil {
					t.Errorf("%s: %v", doc, err)
					continue
				}
				if got := uacsta.Encode(v.Interface(), uacsta.Edition3).String(); got != doc {
					t.Errorf("struct:\n got %s\nwant %s", got, doc)
				}
			}
		}
	}
	if seen != 159 {
		t.Errorf("%d samples, want 159", seen)
	}
}

// Every struct must be valid against the strict schemas, filled with as little
// and with as much as its fields hold.
func TestEmittedIsValid(t *testing.T) {
	for _, edition := range []uacsta.Edition{uacsta.Edition3, uacsta.Edition6} {
		docs := map[string][]byte{}
		write := func(name string, m *uacsta.Message) { docs[name] = m.Bytes() }
		for _, v := range structs {
			typ := reflect.TypeOf(v)
			for _, full := range []bool{false, true} {
				filled := reflect.New(typ)
				fill(filled.Elem(), full)
				name := typ.Name() + map[bool]string{false: "-least", true: "-full"}[full]
				write(name, uacsta.Encode(filled.Interface(), edition))
			}
		}
		all := uacsta.Features{}
		for _, p := range uacsta.Profiles {
			all.Services = append(all.Services, p.Features.Services...)
			all.Events = append(all.Events, p.Features.Events...)
		}
		write("features", all.Message(edition))
		write("error", uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService).Message(edition))
		write("unspecified", uacsta.Refuse(uacsta.Unspecified, "").Message(edition))
		schema.Validate(t, int(edition), docs)
	}
}

// words has a valid value for each enumeration.
var words = map[string]string{
	"LocalConnectionState": "connected", "EventCause": "newCall", "AutoOriginate": "doNotPrompt", "ConsultOptions": "transferOnly",
	"MonitorType": "device", "SystemStatusValue": "normal", "ForwardingType": "forwardBusy", "ForwardDefault": "forwardDN",
	"DigitMode": "dTMF", "ParticipationType": "silent",
}

func fill(v reflect.Value, full bool) {
	for i := range v.NumField() {
		f, tag := v.Field(i), v.Type().Field(i).Tag.Get("csta")
		if tag == "" || tag == "serviceCrossRefID" || tag == "simpleCallState" || tag == "callObject" {
			continue // the other branch of a choice is taken
		}
		if full || strings.Contains(tag, "required") || tag == "snapshotData" || tag == "deviceObject" || strings.HasPrefix(tag, "compound") {
			set(f, full, tag)
		}
	}
}

func set(f reflect.Value, full bool, tag string) {
	switch v := f.Addr().Interface().(type) {
	case *uacsta.DeviceID:
		*v = uacsta.Dev("1001")
		return
	case *uacsta.ConnectionID:
		*v = uacsta.Conn("55", "1001")
		return
	case *uacsta.ExtendedDeviceID:
		*v = uacsta.Ext("1001")
		return
	case *uacsta.RedirectionDeviceID:
		v.NumberDialed = uacsta.Dev("1002")
		return
	case *uacsta.ConnectionListEnd:
		v.DeviceID = uacsta.Dev("1001")
		return
	case *uacsta.Raw:
		return
	}
	switch f.Kind() {
	case reflect.Pointer:
		f.Set(reflect.New(f.Type().Elem()))
		set(f.Elem(), full, tag)
	case reflect.Slice:
		f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		set(f.Index(0), full, tag)
	case reflect.Struct:
		fill(f, full)
	case reflect.Bool:
		f.SetBool(true)
	case reflect.Int:
		f.SetInt(3)
	case reflect.String:
		word := words[f.Type().Name()]
		if word == "" {
			word = "4142" // plain text and hexBinary alike
		}
		f.SetString(word)
	}
}
