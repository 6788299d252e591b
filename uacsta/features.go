package uacsta

import (
	"slices"
	"strings"

	"github.com/beevik/etree"
)

// Features is what a switching function can do for a line: names of services and
// of events as the capability lists spell them, such as "makeCall" and
// "delivered" (ECMA-323 GetCSTAFeaturesResponse).
type Features struct {
	Services []string
	Events   []string
}

// Message makes the GetCSTAFeaturesResponse, lists and members in schema order.
// Names that the edition does not know are left out.
func (f Features) Message(edition Edition) *Message {
	root := &etree.Element{Tag: "GetCSTAFeaturesResponse"}
	root.Attr = []etree.Attr{{Key: "xmlns", Value: edition.Namespace()}}
	addLists(add(root, "supportedServices"), serviceLists, f.Services, edition.Written())
	addLists(add(root, "supportedEvents"), eventLists, f.Events, edition.Written())
	return &Message{root: root}
}

// Features reads a GetCSTAFeaturesResponse.
func (m *Message) Features() Features {
	return Features{Services: m.listed("supportedServices"), Events: m.listed("supportedEvents")}
}

func (m *Message) listed(name string) []string {
	e := child(m.root, name)
	if e == nil {
		return nil
	}
	var names []string
	for _, list := range e.ChildElements() {
		for _, item := range list.ChildElements() {
			names = append(names, item.Tag)
		}
	}
	return names
}

// Intersect returns what both can do.
func (f Features) Intersect(g Features) Features {
	keep := func(a, b []string) []string {
		var both []string
		for _, name := range a {
			if slices.Contains(b, name) {
				both = append(both, name)
			}
		}
		return both
	}
	return Features{Services: keep(f.Services, g.Services), Events: keep(f.Events, g.Events)}
}

// Profile is a named set of features (TR/87 clause 8).
type Profile struct {
	Clause       string // of TR/87
	NameEdition3 string
	NameEdition6 string // the misspelling of the basic profile is the schema's
	Features     Features
}

// Profiles lists TR/87's profiles, each with everything it asks for. Which
// services belong to which profile is known only in part; these are the sets that
// this project answers for.
var Profiles = func() []Profile {
	minimal := Features{
		Services: []string{"monitorStart", "monitorStop", "answerCall", "clearConnection", "makeCall"},
		Events:   []string{"connectionCleared", "delivered", "established", "failed", "originated"},
	}
	basic := minimal.plus(
		[]string{"snapshotDevice", "deflectCall", "holdCall", "retrieveCall", "singleStepTransfer"},
		[]string{"diverted", "held", "retrieved", "transferred"},
	)
	advanced := basic.plus(
		[]string{"alternateCall", "consultationCall", "reconnectCall", "transferCall"},
		[]string{"netwReached", "serviceInitiated", "queued"},
	)
	return []Profile{
		{"8.1", "minimalEndpointCallControlProfile", "minimalUACSTACallControlProfile", minimal},
		{"8.2", "basicEndpointCallControlProfile", "basicUACSTAtCallControlProfile", basic},
		{"8.3", "advancedEndpointCallControlProfile", "advancedUACSTACallControlProfile", advanced},
		{
			"8.4", "conferencingEndpointCallControlProfile", "conferencingUACSTACallControlProfile",
			Features{Services: []string{"conferenceCall", "singleStepConference"}, Events: []string{"conferenced"}},
		},
		{
			"8.5", "basicEndpointDeviceProfile", "basicUACSTADeviceFeatureProfile",
			Features{
				Services: []string{
					"generateDigits", "getMessageWaitingIndicator", "setMessageWaitingIndicator",
					"getDoNotDisturb", "getForwarding", "setDoNotDisturb", "setForwarding",
				},
				Events: []string{"messageWaiting", "doNotDisturb", "forwarding"},
			},
		},
		{
			"8.6", "advancedEndpointDeviceProfile", "speakerUACSTADeviceFeatureProfile",
			Features{
				Services: []string{
					"getMicrophoneGain", "getMicrophoneMute", "getRingerStatus", "getSpeakerMute", "getSpeakerVolume",
					"setMicrophoneGain", "setMicrophoneMute", "setRingerStatus", "setSpeakerMute", "setSpeakerVolume",
				},
				Events: []string{"microphoneGain", "microphoneMute", "ringerStatus", "speakerMute", "speakerVolume"},
			},
		},
	}
}()

func (f Features) plus(services, events []string) Features {
	return Features{Services: slices.Concat(f.Services, services), Events: slices.Concat(f.Events, events)}
}

// Profiles returns the profiles that these features fulfil.
func (f Features) Profiles() []Profile {
	var fulfilled []Profile
	for _, p := range Profiles {
		common := p.Features.Intersect(f)
		if len(common.Services) == len(p.Features.Services) && len(common.Events) == len(p.Features.Events) {
			fulfilled = append(fulfilled, p)
		}
	}
	return fulfilled
}

type featureList struct {
	name    string
	members []string // a leading + marks one of edition 6
}

func addLists(e *etree.Element, lists []featureList, names []string, edition Edition) {
	for _, list := range lists {
		var element *etree.Element
		for _, member := range list.members {
			name, later := strings.CutPrefix(member, "+")
			if later && edition < Edition6 || !slices.Contains(names, name) {
				continue
			}
			if element == nil {
				element = add(e, list.name)
			}
			add(element, name)
		}
	}
}

func featureLists(table string) []featureList {
	var lists []featureList
	for word := range strings.FieldsSeq(table) {
		if name, ok := strings.CutSuffix(word, ":"); ok {
			lists = append(lists, featureList{name: name})
			continue
		}
		last := &lists[len(lists)-1]
		last.members = append(last.members, word)
	}
	return lists
}

// The capability lists in schema order: a list's name with a colon, then its
// members (ECMA-323).
var serviceLists = featureLists(`
capExchangeServList: getCSTAFeatures getLogicalDeviceInformation getPhysicalDeviceInformation getSwitchingFunctionCaps
	getSwitchingFunctionDevices switchingFunctionDevices
systemStatServList: changeSystemStatusFilter systemRegister systemStatusRegisterAbort systemStatusRegisterCancel
	requestSystemStatus systemStatus swFunctionCapsChanged swFunctionDevicesChanged +getRegistrations
	+registrationInfo
monitoringServList: changeMonitorFilter monitorStart monitorStop +getMonitors +monitorInfo
snapshotServList: snapshotCall snapshotDevice snapshotCallData snapshotDeviceData
callControlServList: acceptCall alternateCall answerCall callBack callBackMessage campOnCall clearCall clearConnection
	conferenceCall consultationCall deflectCall dialDigits directedPickupCall groupPickupCall holdCall
	intrudeCall joinCall makeCall +makeConnection makePredictiveCall parkCall reconnectCall retrieveCall
	sendMessage singleStepConference singleStepTransfer transferCall
callAssociatedServList: associateData cancelTelephonyTones changeConnectionInformation generateDigits generateTelephonyTones
	sendUserInformation
mediaServList: attachMediaService detachMediaService
routeingServList: routeRegister routeRegisterCancel routeRegisterAbort reRoute routeEnd routeReject routeRequest
	routeSelect routeUsed
physDevServList: buttonPress getAuditoryApparatusInfo getButtonInformation getDisplay getHookSwitchStatus getLampInfo
	getLampMode getMessageWaitingIndicator getMicrophoneGain getMicrophoneMute getRingerStatus
	getSpeakerMute getSpeakerVolume setButtonInformation setDisplay setHookSwitchStatus setLampMode
	setMessageWaitingIndicator setMicrophoneGain setMicrophoneMute setRingerStatus setSpeakerMute
	setSpeakerVolume
logicalServList: callBackNonCallRel callBackMsgNonCallRel cancelCallBack cancelCallBackMsg getAgentState
	getAutoAnswer getAutoWorkMode +getCallBack getCallerIDStatus getDoNotDisturb getForwarding
	getLastNumberDialed +getPresenceState getRouteingMode setAgentState setAutoAnswer setAutoWorkMode
	setCallerIDStatus setDoNotDisturb setForwarding +setPresenceState setRouteingMode
iOServicesServList: ioRegister ioRegisterAbort ioRegisterCancel dataPathResumed dataPathSuspended fastData
	resumeDataPath sendBroadcastData sendData sendMulticastData startDataPath stopDataPath
	suspendDataPath
dataCollectionServList: dataCollected dataCollectionResumed dataCollectionSuspended resumeDataCollection startDataCollection
	stopDataCollection suspendDataCollection
voiceServList: activate clear deactivate concatenateMsg deleteMsg queueService playMsg queryVoiceAttrib recordMsg
	reposition resume review start setVoiceAttrib stop suspend synthesizeMsg
cDRServList: cdrNotification cdrReport sendStoredCDRs startCDRTransmission stopCDRTransmission
vendorSpecificServList: escapeRegister escapeRegisterCancel escapeRegisterAbort escape privateDataVersionSelection
locationServicesServList: +getLocationInformation +setLocationInformation +locationTrackingSessionResumed
	+locationTrackingSessionSuspended +resumeLocationTrackingSession +locationInformationReport
	+startLocationTrackingSession +stopLocationTrackingSession +suspendLocationTrackingSession
	+getLocationTrackingCapabilities +getLocationTrackingSessions +locationSessionInfo
`)

var eventLists = featureLists(`
callControlEvtsList: bridged callCleared conferenced connectionCleared delivered digitsDialed diverted established failed
	held netwCapsChanged netwReached offered originated queued retrieved serviceInitiated transferred
callAssociatedEvtsList: callInformation charging digitsGenerated telephonyTonesGenerated serviceCompletionFailure
mediaEvtsList: mediaAttached mediaDetached
physDevEvtsList: buttonInformation buttonPress displayUpdated hookswitch lampMode messageWaiting microphoneGain
	microphoneMute ringerStatus speakerMute speakerVolume
logicalEvtsList: agentBusy agentLoggedOff agentLoggedOn agentNotReady agentReady agentWorkingAfterCall autoAnswer
	autoWorkMode callBack callBackMessage callerIDStatus doNotDisturb forwarding +presenceState
	routeingMode
deviceMaintEvtsList: backInService deviceCapsChanged outOfService partiallyInService
voiceEvtsList: bookmarkReached completed dtmfDetected emptied interruptionDetected notRecognized play recognized
	record reviewEvent started silenceTimeoutExpired speechDetected stopEvent suspendPlay suspendRecord
	voiceAttribChanged voiceErrorOccurred
vendorSpecificEvtsList: privateEvent
`)
