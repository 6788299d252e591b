package softswitch

import (
	"github.com/tr87proxy/tr87proxy/uacsta"
)

func (s *Switch) requestSystemStatus(*uacsta.RequestSystemStatus) (any, error) {
	return uacsta.RequestSystemStatusResponse{SystemStatus: uacsta.StatusNormal}, nil
}

func (s *Switch) getFeatures(*uacsta.Message) (*uacsta.Message, error) {
	return s.Features("").Message(uacsta.Edition3), nil
}

func (s *Switch) monitorStart(req *uacsta.MonitorStart) (any, error) {
	switch {
	case req.MonitorObject.DeviceObject == nil:
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorObject)
	case req.MonitorType != "" && req.MonitorType != uacsta.MonitorDevice:
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorType)
	case len(s.monitors) >= s.cfg.MaxMonitors:
		return nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.OverallMonitorLimitExceeded)
	}
	d, err := s.device(*req.MonitorObject.DeviceObject)
	if err != nil {
		return nil, err
	}
	ref := newRef()
	d.monitors[ref] = struct{}{}
	s.monitors[ref] = d
	return uacsta.MonitorStartResponse{MonitorCrossRefID: ref}, nil
}

func (s *Switch) monitorStop(req *uacsta.MonitorStop) (any, error) {
	d := s.monitors[req.MonitorCrossRefID]
	if d == nil {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID)
	}
	delete(d.monitors, req.MonitorCrossRefID)
	delete(s.monitors, req.MonitorCrossRefID)
	return uacsta.MonitorStopResponse{}, nil
}

func (s *Switch) device(id uacsta.DeviceID) (*device, error) {
	if d := s.devices[id.ID]; d != nil {
		return d, nil
	}
	return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
}

// snapshotDevice lists the calls of a device: its own connection's state first,
// then the others' (ECMA-323 compoundCallState).
func (s *Switch) snapshotDevice(req *uacsta.SnapshotDevice) (any, error) {
	d, err := s.device(req.SnapshotObject)
	if err != nil {
		return nil, err
	}
	data := &uacsta.SnapshotDeviceDataList{}
	for _, x := range d.connections {
		info := uacsta.SnapshotDeviceResponseInfo{ConnectionIdentifier: x.id()}
		info.LocalCallState.CompoundCallState = append(info.LocalCallState.CompoundCallState, x.state)
		others := x.call.others(x)
		for _, y := range others {
			info.LocalCallState.CompoundCallState = append(info.LocalCallState.CompoundCallState, y.state)
		}
		if len(others) == 1 {
			end := uacsta.Ext(others[0].device.number)
			info.EndpointDevice = &end
		}
		data.SnapshotDeviceResponseInfo = append(data.SnapshotDeviceResponseInfo, info)
	}
	res := uacsta.SnapshotDeviceResponse{}
	res.CrossRefIDorSnapshotData.SnapshotData = data
	return res, nil
}

func (s *Switch) snapshotCall(req *uacsta.SnapshotCall) (any, error) {
	x, err := s.find(req.SnapshotObject, errConnection)
	if err != nil {
		return nil, err
	}
	data := &uacsta.SnapshotCallDataList{}
	for _, y := range x.call.connections {
		id := y.id()
		data.SnapshotCallResponseInfo = append(data.SnapshotCallResponseInfo, uacsta.SnapshotCallResponseInfo{
			DeviceOnCall: uacsta.Ext(y.device.number), CallIdentifier: &id, LocalConnectionInfo: y.state,
		})
	}
	calling, called := uacsta.Ext(x.call.calling), uacsta.Ext(x.call.called)
	res := uacsta.SnapshotCallResponse{CallingDevice: &calling, CalledDevice: &called}
	res.CrossRefIDorSnapshotData.SnapshotData = data
	return res, nil
}
