package softswitch

import (
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// monitor is a monitor of a device or call (ECMA-269 clause 15). A device-type monitor sees a
// call while the device is in it. A call-type monitor follows a call to its end.
type monitor struct {
	sw       *Switch
	ref      string
	device   *device // nil for a call
	callType bool
	calls    []*call // followed by a call-type monitor
	filter   *uacsta.MonitorFilter
	without  map[string]bool
}

// follow makes a call-type monitor follow a call.
func (m *monitor) follow(c *call) {
	if !slices.Contains(c.followers, m) {
		c.followers = append(c.followers, m)
		m.calls = append(m.calls, c)
	}
}

// unfollow handles the end of a followed call. The monitor of a call ends with it, and the
// switch sends MonitorStop.
func (m *monitor) unfollow(c *call) {
	m.calls = slices.DeleteFunc(m.calls, func(other *call) bool { return other == c })
	if m.device == nil && len(m.calls) == 0 {
		delete(m.sw.monitors, m.ref)
		m.sw.send(uacsta.MonitorStop{MonitorCrossRefID: m.ref})
	}
}

// monitorStart implements Monitor Start (ECMA-269 clause 15).
func (s *Switch) monitorStart(req *uacsta.MonitorStart) (any, error) {
	m := &monitor{sw: s, callType: req.MonitorType == uacsta.MonitorCall, filter: req.RequestedMonitorFilter, without: req.RequestedMonitorFilter.Suppressed()}
	var existing []*call
	switch object := req.MonitorObject; {
	case len(s.monitors) >= s.cfg.MaxMonitors:
		return nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.OverallMonitorLimitExceeded)
	case object.CallObject != nil:
		x, err := s.find(*object.CallObject, errConnection)
		if err != nil {
			return nil, err
		}
		if req.MonitorType == uacsta.MonitorDevice {
			return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorType)
		}
		m.callType = true
		existing = append(existing, x.call)
	case object.DeviceObject != nil:
		d, err := s.device(*object.DeviceObject)
		if err != nil {
			return nil, err
		}
		m.device = d
		for _, x := range d.connections {
			if m.callType && !x.hidden() {
				existing = append(existing, x.call)
			}
		}
		d.monitors = append(d.monitors, m)
		s.note(d)
	default:
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorObject)
	}
	m.ref = newRef()
	s.monitors[m.ref] = m
	for _, c := range existing {
		m.follow(c)
	}
	all := true
	return uacsta.MonitorStartResponse{MonitorCrossRefID: m.ref, ActualMonitorFilter: m.filter, MonitorExistingCalls: &all}, nil
}

// monitorStop implements Monitor Stop (ECMA-269 clause 15).
func (s *Switch) monitorStop(req *uacsta.MonitorStop) (any, error) {
	m := s.monitors[req.MonitorCrossRefID]
	if m == nil {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID)
	}
	delete(s.monitors, m.ref)
	same := func(other *monitor) bool { return other == m }
	for _, c := range m.calls {
		c.followers = slices.DeleteFunc(c.followers, same)
	}
	if m.device != nil {
		m.device.monitors = slices.DeleteFunc(m.device.monitors, same)
		s.note(m.device)
	}
	return uacsta.MonitorStopResponse{}, nil
}

// changeMonitorFilter implements Change Monitor Filter (ECMA-269 clause 15).
func (s *Switch) changeMonitorFilter(req *uacsta.ChangeMonitorFilter) (any, error) {
	m := s.monitors[req.MonitorCrossRefID]
	if m == nil {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID)
	}
	m.filter, m.without = &req.RequestedFilterList, req.RequestedFilterList.Suppressed()
	return uacsta.ChangeMonitorFilterResponse{ActualFilterList: m.filter}, nil
}

// getMonitors implements Get Monitors (ECMA-269 edition 8). Monitors of calls have no device.
func (s *Switch) getMonitors(*uacsta.GetMonitors) (any, error) {
	list := &uacsta.MonitorList{}
	for ref, m := range s.monitors {
		entry := uacsta.MonitorListEntry{MonitorCrossRefID: ref}
		if m.device != nil {
			device := uacsta.Dev(m.device.number)
			entry.MonitorObject = &device
		}
		list.MonitorListEntry = append(list.MonitorListEntry, entry)
	}
	return uacsta.GetMonitorsResponse{CrossRefIDorRegistrationData: &uacsta.CrossRefIDorMonitors{MonitorList: list}}, nil
}

func (s *Switch) device(id uacsta.DeviceID) (*device, error) {
	if d := s.devices[id.ID]; d != nil {
		return d, nil
	}
	return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
}

// extension returns the extension with an identifier, or a refusal.
func (s *Switch) extension(id uacsta.DeviceID) (*device, error) {
	d, err := s.device(id)
	if err == nil && !d.station() {
		return nil, errNoPhone
	}
	return d, err
}

func (s *Switch) optionalExtension(id *uacsta.DeviceID) (*device, error) {
	if id == nil {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
	}
	return s.extension(*id)
}

// snapshotDevice implements Snapshot Device (ECMA-269 clause 16). Each call lists the state of
// the device's own connection first.
func (s *Switch) snapshotDevice(req *uacsta.SnapshotDevice) (any, error) {
	d, err := s.device(req.SnapshotObject)
	if err != nil {
		return nil, err
	}
	data := &uacsta.SnapshotDeviceDataList{}
	for _, x := range d.connections {
		if x.hidden() {
			continue
		}
		info := uacsta.SnapshotDeviceResponseInfo{ConnectionIdentifier: x.id(), ServicesPermitted: x.permitted()}
		info.LocalCallState.CompoundCallState = append(info.LocalCallState.CompoundCallState, x.told())
		others := slices.DeleteFunc(x.call.others(x), (*connection).hidden)
		for _, y := range others {
			info.LocalCallState.CompoundCallState = append(info.LocalCallState.CompoundCallState, y.told())
		}
		if len(others) == 1 {
			end := others[0].end().who
			info.EndpointDevice = &end
		}
		data.SnapshotDeviceResponseInfo = append(data.SnapshotDeviceResponseInfo, info)
	}
	res := uacsta.SnapshotDeviceResponse{}
	res.CrossRefIDorSnapshotData.SnapshotData = data
	return res, nil
}

// snapshotCall implements Snapshot Call (ECMA-269 clause 16).
func (s *Switch) snapshotCall(req *uacsta.SnapshotCall) (any, error) {
	x, err := s.find(req.SnapshotObject, errConnection)
	if err != nil {
		return nil, err
	}
	c := x.call
	data := &uacsta.SnapshotCallDataList{}
	for _, y := range c.connections {
		if y.hidden() {
			continue
		}
		id := y.id()
		data.SnapshotCallResponseInfo = append(data.SnapshotCallResponseInfo, uacsta.SnapshotCallResponseInfo{
			DeviceOnCall: y.end().who, CallIdentifier: &id, LocalConnectionInfo: y.told(), ServicesPermitted: y.permitted(),
		})
	}
	res := uacsta.SnapshotCallResponse{}
	res.CrossRefIDorSnapshotData.SnapshotData = data
	shared := c.shared()
	return res.With(&shared), nil
}
