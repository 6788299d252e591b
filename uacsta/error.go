package uacsta

import (
	"errors"
	"strings"

	"github.com/beevik/etree"
)

// Category is the category of an error: the child of CSTAErrorCode (ECMA-323). The spelling of
// systemResourceAvailibility is the schema's.
type Category string

// The categories.
const (
	Operation                      Category = "operation"
	Security                       Category = "security"
	StateIncompatibility           Category = "stateIncompatibility"
	SystemResourceAvailability     Category = "systemResourceAvailibility"
	SubscribedResourceAvailability Category = "subscribedResourceAvailability"
	PerformanceManagement          Category = "performanceManagement"
	PrivateDataError               Category = "privateData"
	PrivateErrorCode               Category = "privateErrorCode" // the value is free text
	Unspecified                    Category = "unspecified"      // has no value
)

var categories = []Category{
	Operation, Security, StateIncompatibility, SystemResourceAvailability, SubscribedResourceAvailability, PerformanceManagement,
	PrivateDataError, PrivateErrorCode, Unspecified,
}

// spelledSystemResourceAvailability is the correct spelling, which some peers use.
const spelledSystemResourceAvailability Category = "systemResourceAvailability"

// The error values that this project sends, by category; it can receive any. [Error.Known] uses the
// full lists.
const (
	Generic = "generic" // in every category that has values

	// operation
	InvalidParameterValue                = "invalidParameterValue"
	InvalidConnectionID                  = "invalidConnectionID"
	InvalidActiveConnectionID            = "invalidActiveConnectionID"
	InvalidHeldConnectionID              = "invalidHeldConnectionID"
	InvalidCallID                        = "invalidCallID"
	InvalidDeviceID                      = "invalidDeviceID"
	InvalidCallingDeviceID               = "invalidCallingDeviceID"
	InvalidCalledDeviceID                = "invalidCalledDeviceID"
	InvalidDestination                   = "invalidDestination"
	InvalidForwardingDestination         = "invalidForwardingDestination"
	InvalidForwardingType                = "invalidForwardingType"
	InvalidRingCount                     = "invalidRingCount"
	InvalidMonitorCrossRefID             = "invalidMonitorCrossRefID"
	InvalidMonitorObject                 = "invalidMonitorObject"
	InvalidMonitorType                   = "invalidMonitorType"
	InvalidMonitorFilter                 = "invalidMonitorFilter"
	NotSameDevice                        = "notSameDevice"
	NotDifferentDevices                  = "notDifferentDevices"
	ServiceNotSupported                  = "serviceNotSupported"
	InvalidParticipationType             = "invalidParticipationType"
	DigitModeNotSupported                = "digitModeNotSupported"
	CharactersToSendNotSupported         = "charactersToSendNotSupported"
	PrivilegeViolationSpecifiedDevice    = "privilegeViolationSpecifiedDevice"
	PrivilegeViolationCallingDevice      = "privilegeViolationCallingDevice"
	PrivilegeViolationCalledDevice       = "privilegeViolationCalledDevice"
	PrivilegeViolationDestinationDevice  = "privilegeViolationDestinationDevice"
	PrivilegeViolationCallToParkDevice   = "privilegeViolationCallToParkDevice"
	PrivilegeViolationOnParkToDevice     = "privilegeViolationOnParkToDevice"
	PrivilegeViolationOnDivertingDevice  = "privilegeViolationOnDivertingDevice"
	RequestIncompatibleWithCallingDevice = "requestIncompatibleWithCallingDevice"
	RequestIncompatibleWithDevice        = "requestIncompatibleWithDevice"
	InvalidAgentGroup                    = "invalidAgentGroup"
	InvalidAgentIdentifier               = "invalidAgentIdentifier"
	InvalidAgentPassword                 = "invalidAgentPassword"
	InvalidAgentState                    = "invalidAgentState"
	DestinationDetectNotSupported        = "destinationDetectNotSupported"
	InvalidAlertTime                     = "invalidAlertTime"
	InvalidMsgID                         = "invalidMsgID"
	InvalidFile                          = "invalidFile"
	InvalidParkToDeviceID                = "invalidParkToDeviceID"
	InvalidPickUpDeviceID                = "invalidPickUpDeviceID"
	InvalidCrossRefID                    = "invalidCrossRefID"
	InvalidRouteingCrossRefID            = "invalidRouteingCrossRefID"
	InvalidRouteRegistrationCrossRefID   = "invalidRouteRegistrationCrossRefID"
	RouteingTimerExpired                 = "routeingTimerExpired"
	ValueOutOfRange                      = "valueOutOfRange"
	AutoAnswerOutOfRange                 = "autoAnswerOutOfRange"
	SecurityViolation                    = "securityViolation"

	// stateIncompatibility
	InvalidConnectionState        = "invalidConnectionState"
	InvalidActiveConnectionState  = "invalidActiveConnectionState"
	InvalidHeldConnectionState    = "invalidHeldConnectionState"
	InvalidDestinationDeviceState = "invalidDestinationDeviceState"
	InvalidCallingDeviceState     = "invalidCallingDeviceState"
	ConnectedCallExists           = "connectedCallExists"
	NoActiveCall                  = "noActiveCall"
	NoHeldCall                    = "noHeldCall"
	NoCallToAnswer                = "noCallToAnswer"
	NoConnectionToClear           = "noConnectionToClear"
	NoCallToComplete              = "noCallToComplete"
	InvalidParkToDeviceState      = "invalidParkToDeviceState"

	// systemResourceAvailibility
	ResourceOutOfService          = "resourceOutOfService"
	ResourceLimitExceeded         = "resourceLimitExceeded"
	ResourceBusy                  = "resourceBusy"
	CallingDeviceOutOfService     = "callingDeviceOutOfService"
	OverallMonitorLimitExceeded   = "overallMonitorLimitExceeded"
	ConferenceMemberLimitExceeded = "conferenceMemberLimitExceeded"

	// subscribedResourceAvailability
	ObjectMonitorLimitExceeded      = "objectMonitorLimitExceeded"
	OutstandingReqLimitExceeded     = "outstandingReqLimitExceeded"
	PerformanceLimitExceeded        = "performanceLimitExceeded"
	ObjectRegistrationLimitExceeded = "objectRegistrationLimitExceeded"
)

// Error is a refusal: the content of CSTAErrorCode.
type Error struct {
	Category Category
	Value    string
	Detail   string // why, in words for people; not sent in CSTA
	Rules    bool   // Detail says how the rules of the proxy decide, which clients of CSTA do not learn
	Unsure   bool   // the request may have been carried out all the same: it got no response; not sent
}

// Refuse returns an Error.
func Refuse(category Category, value string) *Error { return &Error{Category: category, Value: value} }

func (e *Error) Error() string {
	s := string(e.Category)
	if e.Value != "" {
		s += "/" + e.Value
	}
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	return s
}

// Is compares category and value, for errors.Is.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Category == e.Category && t.Value == e.Value
}

// Known reports whether the standard lists the value in the category.
func (e *Error) Known() bool {
	switch e.Category {
	case PrivateErrorCode:
		return e.Value != ""
	case Unspecified:
		return e.Value == ""
	}
	for value := range strings.FieldsSeq(errorValues[e.Category]) {
		if value == e.Value {
			return true
		}
	}
	return false
}

// Message returns the CSTAErrorCode message in the given edition.
func (e *Error) Message(edition Edition) *Message {
	root := &etree.Element{Tag: NameCSTAErrorCode}
	root.Attr = []etree.Attr{{Key: "xmlns", Value: edition.Namespace()}}
	e.encode(root)
	return &Message{root: root, unsure: e.Unsure, detail: e.Detail, rules: e.Rules}
}

// ErrorMessage returns the CSTAErrorCode message for any error: that of an [Error], or else
// unspecified, so that no other error text reaches the peer.
func ErrorMessage(err error, edition Edition) *Message {
	var refusal *Error
	if !errors.As(err, &refusal) {
		refusal = &Error{Category: Unspecified}
	}
	return refusal.Message(edition)
}

// Err returns the refusal in a CSTAErrorCode message, or nil for any other message.
func (m *Message) Err() *Error {
	if m.Kind() != ErrorCode {
		return nil
	}
	refusal := &Error{}
	_ = refusal.decode(m.root) // never fails
	refusal.Unsure, refusal.Detail, refusal.Rules = m.unsure, m.detail, m.rules
	return refusal
}

func (e *Error) encode(parent *etree.Element) { addText(parent, string(e.Category), e.Value) }

func (e *Error) decode(parent *etree.Element) error { //nolint:unparam // elementDecoder
	*e = Error{Category: Unspecified}
	for _, t := range parent.Child {
		c, ok := t.(*etree.Element)
		if !ok || c.Tag == "extensions" {
			continue
		}
		*e = Error{Category: Category(c.Tag), Value: strings.TrimSpace(c.Text())}
		if e.Category == spelledSystemResourceAvailability {
			e.Category = SystemResourceAvailability
		}
		break
	}
	return nil
}

// KnownErrorValue reports whether the standard lists an error value in any category.
func KnownErrorValue(value string) bool {
	for category := range errorValues {
		if (&Error{Category: category, Value: value}).Known() {
			return true
		}
	}
	return false
}
