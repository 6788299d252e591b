package softswitch

import (
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Information about the switch and its devices (ECMA-269 clause 13).

// events lists the events the switch sends. Telephones and messages add more.
var (
	events = []string{
		uacsta.NameCallClearedEvent, uacsta.NameConferencedEvent, uacsta.NameConnectionClearedEvent, uacsta.NameDeliveredEvent,
		uacsta.NameDivertedEvent, uacsta.NameEstablishedEvent, uacsta.NameFailedEvent, uacsta.NameHeldEvent, uacsta.NameNetworkReachedEvent,
		uacsta.NameOriginatedEvent, uacsta.NameQueuedEvent, uacsta.NameRetrievedEvent, uacsta.NameServiceInitiatedEvent,
		uacsta.NameTransferedEvent, uacsta.NameCallInformationEvent, uacsta.NameDigitsGeneratedEvent, uacsta.NameAgentBusyEvent,
		uacsta.NameAgentLoggedOffEvent, uacsta.NameAgentLoggedOnEvent, uacsta.NameAgentNotReadyEvent, uacsta.NameAgentReadyEvent,
		uacsta.NameAgentWorkingAfterCallEvent, uacsta.NameAutoAnswerEvent, uacsta.NameAutoWorkModeEvent, uacsta.NameCallBackEvent,
		uacsta.NameCallerIDStatusEvent,
		uacsta.NameDoNotDisturbEvent, uacsta.NameForwardingEvent, uacsta.NameMessageWaitingEvent, uacsta.NameDtmfDetectedEvent,
	}
	phoneEvents = []string{uacsta.NameBackInServiceEvent, uacsta.NameOutOfServiceEvent}
	voiceEvents = []string{uacsta.NamePlayEvent, uacsta.NameRecordEvent, uacsta.NameStopEvent}
)

// requests lists the requests the switch sends.
var requests = []string{uacsta.NameSwitchingFunctionDevices, uacsta.NameRouteRequest, uacsta.NameReRoute, uacsta.NameRouteUsed}

// Features implements proxy.FeatureLister.
func (s *Switch) Features(device string) uacsta.Features {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, d := s.features(), s.devices[device]
	switch {
	case d == nil:
	case !d.station():
		f.Services = slices.DeleteFunc(f.Services, func(name string) bool { return !d.supports(name) })
	case d.physical:
		f.Services, f.Events = append(f.Services, physicalServices...), append(f.Events, physicalEvents...)
	}
	return f
}

// Services that act on devices other than extensions.
var (
	everyKind = []string{
		uacsta.NameAssociateData, uacsta.NameClearCall, uacsta.NameClearConnection, uacsta.NameGetLogicalDeviceInformation, uacsta.NameMonitorStart,
		uacsta.NameSendUserInformation, uacsta.NameSnapshotCall, uacsta.NameSnapshotDevice,
	}
	ofTrunks = []string{uacsta.NameGenerateDigits, uacsta.NamePlayMessage, uacsta.NameRecordMessage, uacsta.NameStop}
	ofQueues = []string{
		uacsta.NameAnswerCall, uacsta.NameDeflectCall, uacsta.NameDirectedPickupCall, uacsta.NameGenerateDigits, uacsta.NameMakePredictiveCall,
		uacsta.NamePlayMessage, uacsta.NameRecordMessage, uacsta.NameSingleStepTransferCall, uacsta.NameStop,
	}
)

// supports reports whether a service can act on the device, which is no extension. A service that names none concerns
// the switch.
func (d *device) supports(service string) bool {
	switch {
	case len(uacsta.ServiceOf(service).Elements(uacsta.Subject)) == 0 || slices.Contains(everyKind, service):
		return true
	case d.queue != nil:
		return slices.Contains(ofQueues, service)
	case d.trunk != nil:
		return slices.Contains(ofTrunks, service) || !d.real && service == uacsta.NameMakeCall
	case d.park:
		return service == uacsta.NameDirectedPickupCall
	case d.hunt != nil:
		return service == uacsta.NameMakePredictiveCall
	}
	return d.routeing != nil && service == uacsta.NameRouteRegister
}

// features returns what the switch supports with its telephones and messages. The core adds
// what it supports itself.
func (s *Switch) features() uacsta.Features {
	f := uacsta.Features{Services: slices.Clone(requests), Events: slices.Clone(events)}
	for name := range handlers {
		if name != uacsta.NameGetCSTAFeatures && (s.library != nil || !speaks(name)) {
			f.Services = append(f.Services, name)
		}
	}
	if s.phones != nil {
		f.Events = append(f.Events, phoneEvents...)
	}
	if s.library != nil {
		f.Events = append(f.Events, voiceEvents...)
	}
	return f
}

func (s *Switch) requestSystemStatus(*uacsta.RequestSystemStatus) (any, error) {
	return uacsta.RequestSystemStatusResponse{SystemStatus: uacsta.StatusNormal}, nil
}

func (s *Switch) getFeatures(*uacsta.Message) (*uacsta.Message, error) {
	return s.features().Message(uacsta.Edition3), nil
}

// named returns the kind of the device in the standard's terms.
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

// group returns the kind of group, or nil if the device is none.
func (d *device) group() *uacsta.GroupDeviceAttributes {
	if d.hunt == nil && d.pickup == nil && d.queue == nil {
		return nil
	}
	return &uacsta.GroupDeviceAttributes{Acd: d.queue != nil, Hunt: d.hunt != nil, Pick: d.pickup != nil}
}

// groups returns the groups an extension belongs to.
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

// joining describes how calls of one device can be joined.
var joining = &uacsta.TransAndConfSetup{ConsultationCall: true, HoldCallMakeCall: true, AlternateCall: true}

// getLogicalDeviceInformation implements Get Logical Device Information.
func (s *Switch) getLogicalDeviceInformation(req *uacsta.GetLogicalDeviceInformation) (any, error) {
	d, err := s.device(req.Device)
	if err != nil {
		return nil, err
	}
	f := s.features()
	res := uacsta.GetLogicalDeviceInformationResponse{
		DeviceCategory: d.category, GroupDeviceAttributes: d.group(), NamedDeviceTypes: d.named(),
		HasPhysicalElement: d.station() && d.kind != Virtual, AppearanceType: uacsta.AppearanceTypeSelectedStandard,
		AssociatedGroupList: s.groups(d), LogDevEvtsList: f.Listed("logDevEvtsList"),
	}
	if d.routeing != nil {
		res.RouteingServList = f.Listed("routeingServList")
	}
	if !d.station() {
		return d.withPrivate(res), nil
	}
	number := func(n int) *int { return &n }
	res.MaxCallbacks, res.MaxAutoAnswerRings = number(maxWaiting), number(maxAutoAnswerRings)
	res.MaxActiveCalls, res.MaxHeldCalls = number(1), number(d.lines)
	res.MaxFwdSettings, res.MaxDevicesInConf = number(len(forwardings)), number(maxMembers)
	res.TransAndConfSetup, res.LogDevServList = joining, f.Listed("logDevServList")
	return d.withPrivate(res), nil
}

// withPrivate adds the name and the second numbers of the device to information about it.
func (d *device) withPrivate(res uacsta.GetLogicalDeviceInformationResponse) *uacsta.Message {
	m := uacsta.Encode(res, uacsta.Edition3)
	if d.name != "" {
		m = m.WithPrivate("sw", Namespace, "deviceName", d.name)
	}
	if len(d.second) > 0 {
		m = m.WithPrivate("sw", Namespace, "secondNumbers", strings.Join(d.second, " "))
	}
	return m
}

// getSwitchingFunctionCaps implements Get Switching Function Capabilities.
func (s *Switch) getSwitchingFunctionCaps(*uacsta.GetSwitchingFunctionCaps) (any, error) {
	yes, history := true, maxHistory
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
		ServEvtsList:                s.features().Listed("servEvtsList"),
		MaxDeviceHistoryEntries:     &history,
	}, nil
}

// requestedCategory returns the device's category in the terms of GetSwitchingFunctionDevices.
func (d *device) requestedCategory() uacsta.ReqDeviceCategory {
	switch {
	case d.hunt != nil:
		return uacsta.ReqDeviceCategoryGroupHunt
	case d.pickup != nil:
		return uacsta.ReqDeviceCategoryGroupPick
	}
	return uacsta.ReqDeviceCategory(d.category)
}

// getSwitchingFunctionDevices implements Get Switching Function Devices. The devices follow the
// response, in segments.
func (s *Switch) getSwitchingFunctionDevices(req *uacsta.GetSwitchingFunctionDevices) (any, error) {
	var list []uacsta.DeviceListItem
	for _, d := range s.order {
		if req.RequestedDeviceID != nil && req.RequestedDeviceID.ID != d.number ||
			req.RequestedDeviceCategory != "" && req.RequestedDeviceCategory != d.requestedCategory() {
			continue
		}
		for _, number := range append([]string{d.number}, d.second...) {
			id := uacsta.Dev(number)
			list = append(list, uacsta.DeviceListItem{DeviceID: &id, DeviceCategory: d.category, NamedDeviceTypes: d.named(), DeviceModelName: string(d.kind)})
		}
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
