package softswitch

import (
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// What the switch says of itself and of its devices (ECMA-269 clause 13).

// services and events are what the switch can do, as the capability lists spell it.
var (
	services = strings.Fields(`
getLogicalDeviceInformation getSwitchingFunctionCaps getSwitchingFunctionDevices switchingFunctionDevices requestSystemStatus
changeMonitorFilter monitorStart monitorStop getMonitors snapshotCall snapshotDevice
alternateCall answerCall callBack callBackNonCallRel campOnCall cancelCallBack clearCall clearConnection conferenceCall
consultationCall deflectCall directedPickupCall groupPickupCall holdCall intrudeCall joinCall makeCall makePredictiveCall parkCall
reconnectCall retrieveCall singleStepConference singleStepTransfer transferCall
associateData generateDigits sendUserInformation
routeRegister routeRegisterCancel reRoute routeEnd routeReject routeRequest routeSelect routeUsed
getAgentState getAutoAnswer getAutoWorkMode getCallBack getDoNotDisturb getForwarding getLastNumberDialed getMessageWaitingIndicator
setAgentState setAutoAnswer setAutoWorkMode setDoNotDisturb setForwarding setMessageWaitingIndicator`)
	events = strings.Fields(`
callCleared conferenced connectionCleared delivered diverted established failed held netwReached originated queued retrieved
serviceInitiated transferred callInformation digitsGenerated
agentBusy agentLoggedOff agentLoggedOn agentNotReady agentReady agentWorkingAfterCall autoAnswer autoWorkMode callBack doNotDisturb
forwarding messageWaiting`)
	// what real telephones add, and messages
	phoneEvents   = strings.Fields(`backInService outOfService dtmfDetected`)
	voiceServices = strings.Fields(`playMsg recordMsg stop`)
	voiceEvents   = strings.Fields(`play record stopEvent`)
)

// Features implements proxy.FeatureLister.
func (s *Switch) Features(device string) uacsta.Features {
	s.mu.Lock()
	defer s.mu.Unlock()
	can, tells := s.devices[device].services(s.lists())
	return uacsta.Features{Services: can, Events: tells}
}

// lists returns what the switch can do with the telephones and messages that it has.
func (s *Switch) lists() (can, tells []string) {
	can, tells = slices.Clone(services), slices.Clone(events)
	if s.phones != nil {
		tells = append(tells, phoneEvents...)
	}
	if s.library != nil {
		can, tells = append(can, voiceServices...), append(tells, voiceEvents...)
	}
	return can, tells
}

func (s *Switch) requestSystemStatus(*uacsta.RequestSystemStatus) (any, error) {
	return uacsta.RequestSystemStatusResponse{SystemStatus: uacsta.StatusNormal}, nil
}

func (s *Switch) getFeatures(*uacsta.Message) (*uacsta.Message, error) {
	can, tells := s.lists()
	return uacsta.Features{Services: can, Events: tells}.Message(uacsta.Edition3), nil
}

// named returns the standard's name for the kind of device.
func (d *device) named() uacsta.NamedDeviceTypes {
	switch {
	case d.station():
		return uacsta.NamedDeviceTypesStation
	case d.queue != nil:
		return uacsta.NamedDeviceTypesAcdGroup
	case d.trunk != nil:
		return uacsta.NamedDeviceTypesTrunkGroup
	case d.park:
		return uacsta.NamedDeviceTypesParkingDevice
	case d.hunt != nil || d.pickup != nil:
		return uacsta.NamedDeviceTypesStationGroup
	}
	return uacsta.NamedDeviceTypesOther
}

// group returns what kind of group the device is, nil when it is none.
func (d *device) group() *uacsta.GroupDeviceAttributes {
	if d.hunt == nil && d.pickup == nil && d.queue == nil {
		return nil
	}
	return &uacsta.GroupDeviceAttributes{Acd: d.queue != nil, Hunt: d.hunt != nil, Pick: d.pickup != nil}
}

// groups returns the groups that an extension belongs to.
func (s *Switch) groups(d *device) []uacsta.DeviceID {
	var groups []uacsta.DeviceID
	for _, g := range s.order {
		in := slices.Contains(g.pickup, d) || g.hunt != nil && slices.Contains(g.hunt.members, d)
		if in || g.queue != nil && slices.ContainsFunc(g.queue.agents, func(a *agent) bool { return a.device == d }) {
			groups = append(groups, uacsta.Dev(g.number))
		}
	}
	return groups
}

// joining says how calls of one device can be joined.
var joining = &uacsta.TransAndConfSetup{ConsultationCall: true, HoldCallMakeCall: true, AlternateCall: true}

// getLogicalDeviceInformation: Get Logical Device Information.
func (s *Switch) getLogicalDeviceInformation(req *uacsta.GetLogicalDeviceInformation) (any, error) {
	d, err := s.device(req.Device)
	if err != nil {
		return nil, err
	}
	can, tells := s.lists()
	res := uacsta.GetLogicalDeviceInformationResponse{
		DeviceCategory: d.category, GroupDeviceAttributes: d.group(), NamedDeviceTypes: d.named(),
		HasPhysicalElement: d.station() && d.kind != Virtual, AppearanceType: uacsta.AppearanceTypeSelectedStandard,
		AssociatedGroupList: s.groups(d), LogDevEvtsList: uacsta.Named("logDevEvtsList", tells),
	}
	if d.routeing != nil {
		res.RouteingServList = uacsta.Named("routeingServList", can)
	}
	if !d.station() {
		return res, nil
	}
	number := func(n int) *int { return &n }
	res.MaxCallbacks, res.MaxAutoAnswerRings = number(maxWaiting), number(maxAutoAnswerRings)
	res.MaxActiveCalls, res.MaxHeldCalls = number(1), number(d.lines)
	res.MaxFwdSettings, res.MaxDevicesInConf = number(len(forwardings)), number(maxMembers)
	res.TransAndConfSetup, res.LogDevServList = joining, uacsta.Named("logDevServList", can)
	return res, nil
}

// getSwitchingFunctionCaps: Get Switching Function Capabilities.
func (s *Switch) getSwitchingFunctionCaps(*uacsta.GetSwitchingFunctionCaps) (any, error) {
	yes, history := true, maxHistory
	can, tells := s.lists()
	return uacsta.GetSwitchingFunctionCapsResponse{
		SwitchingSubDomainName: "softswitch", ManufacturerName: "tr87proxy",
		DeviceIDFormat: &uacsta.DeviceIDFormat{DialableDigitsAsterix: true, DialableDigitsHash: true},
		SwDomainFeatures: &uacsta.SwDomainFeatures{
			IsForwardingBefore: true, NegativeAcknowledgment: true, SupportFailedWithAssConn: true, SupportFailedWithoutAssConn: true,
			Recall: true, CallBack: true, ExtCallsIncoming: true, ExtCallsOutgoing: true, Prompting: true,
		},
		SwAppearanceAddressability:  &uacsta.SwAppearanceAddressability{NonAddressable: true},
		SwAppearanceTypes:           &uacsta.SwAppearanceTypes{SelectedStandard: true},
		IgnoreUnsupportedParameters: uacsta.IgnoreUnsupportedParametersIgnoreParameters,
		TransAndConfSetup:           joining,
		MiscMonitorCaps:             &uacsta.MiscMonitorCaps{GroupExclusiveModel: true, AcdDeviceExclusiv: true},
		CorrelatorDataSupported:     &yes,
		DynamicFeatureSupported:     uacsta.DynamicFeatureSupportedAll,
		ACDModels:                   &uacsta.ACDModels{VisibleACDRelatedDevices: true},
		AgentLogOnModels:            &uacsta.AgentLogOnModels{LogOnToACDGroupExplOneStep: true, LogOnToACDImplOneStep: true},
		AgentStateModels:            &uacsta.AgentStateModels{MultiState: true},
		ConnectionView:              uacsta.ConnectionViewFixed,
		ServEvtsList:                uacsta.Named("servEvtsList", append(can, tells...)),
		MaxDeviceHistoryEntries:     &history,
	}, nil
}

// requestedCategory returns a device's kind as GetSwitchingFunctionDevices asks for it.
func (d *device) requestedCategory() uacsta.ReqDeviceCategory {
	switch {
	case d.hunt != nil:
		return uacsta.ReqDeviceCategoryGroupHunt
	case d.pickup != nil:
		return uacsta.ReqDeviceCategoryGroupPick
	}
	return uacsta.ReqDeviceCategory(d.category)
}

// getSwitchingFunctionDevices: Get Switching Function Devices. The devices follow
// the answer, in segments.
func (s *Switch) getSwitchingFunctionDevices(req *uacsta.GetSwitchingFunctionDevices) (any, error) {
	var list []uacsta.DeviceListItem
	for _, d := range s.order {
		if req.RequestedDeviceID != nil && req.RequestedDeviceID.ID != d.number ||
			req.RequestedDeviceCategory != "" && req.RequestedDeviceCategory != d.requestedCategory() {
			continue
		}
		id := uacsta.Dev(d.number)
		list = append(list, uacsta.DeviceListItem{DeviceID: &id, DeviceCategory: d.category, NamedDeviceTypes: d.named(), DeviceModelName: string(d.kind)})
	}
	ref := newRef()
	for segment := 1; ; segment++ {
		n := min(deviceSegment, len(list))
		s.send(uacsta.SwitchingFunctionDevices{ServiceCrossRefID: ref, SegmentID: &segment, LastSegment: n == len(list), DeviceList: list[:n]})
		if list = list[n:]; len(list) == 0 {
			return uacsta.GetSwitchingFunctionDevicesResponse{ServiceCrossRefID: ref}, nil
		}
	}
}
