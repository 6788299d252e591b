package uacsta

import (
	"reflect"
	"testing"
)

// Each event takes the shared fields that it has, and keeps its own values.
func TestShared(t *testing.T) {
	sample := func(id string) *Shared {
		device, history := Ext(id), []DeviceHistoryListItem{{EventCause: CauseNormal}}
		return &Shared{
			MonitorCrossRefID: id, LocalConnectionInfo: Hold, CallingDevice: &device, CalledDevice: &device,
			LastRedirectionDevice: RedirectionDeviceID{NumberDialed: Dev(id)}, NetworkCallingDevice: &device, NetworkCalledDevice: &device,
			AssociatedCallingDevice: &device, AssociatedCalledDevice: &device, CorrelatorData: Data{String: id}, UserData: Data{String: id},
			ServicesPermitted: &ServicesPermitted{}, CallCharacteristics: &CallCharacteristics{}, SubjectOfCall: id, LanguagePreferences: id,
			DeviceHistory: history,
		}
	}
	first, second, empty := sample("1"), sample("2"), &Shared{}
	fields := reflect.ValueOf(*first)
	for name, known := range messageTypes {
		blank, event := reflect.New(known.typ).Elem().Interface().(EventMessage)
		if kind := NewMessage("", name).Kind(); event != (kind == Event) {
			t.Errorf("%s is an event: %v", name, event)
		}
		if !event {
			continue
		}
		if blank.Name() != name {
			t.Errorf("%s is called %s", name, blank.Name())
		}
		if !reflect.ValueOf(blank.With(empty)).IsZero() {
			t.Errorf("%s has something out of nothing: %+v", name, blank.With(empty))
		}
		filled := blank.With(first)
		for i := range fields.NumField() {
			want, have := fields.Field(i), reflect.ValueOf(filled).FieldByName(fields.Type().Field(i).Name)
			if have.IsValid() && !reflect.DeepEqual(reflect.Indirect(have).Interface(), reflect.Indirect(want).Interface()) {
				t.Errorf("%s: %s is %v", name, fields.Type().Field(i).Name, have)
			}
		}
		if again := filled.With(second); !reflect.DeepEqual(again, filled) {
			t.Errorf("%s: %+v took another's place: %+v", name, filled, again)
		}
	}
	if got := (SnapshotCallResponse{SubjectOfCall: "own"}).With(first); got.SubjectOfCall != "own" || got.CallingDevice != first.CallingDevice {
		t.Errorf("%+v", got)
	}
}
