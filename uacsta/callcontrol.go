package uacsta

// Call control services: ECMA-269 clause 17.1.

// MakeCall places a call from callingDevice (ECMA-269 17.1, ECMA-323 MakeCall).
type MakeCall struct {
	CallingDevice            DeviceID      `csta:"callingDevice,required"`
	CalledDirectoryNumber    DeviceID      `csta:"calledDirectoryNumber,required"`
	AccountCode              string        `csta:"accountCode"`
	AuthCode                 string        `csta:"authCode"`
	AutoOriginate            AutoOriginate `csta:"autoOriginate"`
	CorrelatorData           Raw           `csta:"correlatorData"`
	UserData                 Raw           `csta:"userData"`
	CallCharacteristics      Raw           `csta:"callCharacteristics"`
	MediaCallCharacteristics Raw           `csta:"mediaCallCharacteristics"`
	CallingConnectionInfo    Raw           `csta:"callingConnectionInfo"`
	SubjectOfCall            string        `csta:"subjectOfCall"`
	LanguagePreferences      string        `csta:"languagePreferences"`
	Reason                   EventCause    `csta:"reason,ed6"`
	Common
}

// MakeCallResponse is the positive answer to MakeCall; it names the new connection of the calling device and precedes every event of the call.
type MakeCallResponse struct {
	CallingDevice            ConnectionID `csta:"callingDevice,required"`
	MediaCallCharacteristics Raw          `csta:"mediaCallCharacteristics"`
	InitiatedCallInfo        Raw          `csta:"initiatedCallInfo"`
	CallLinkageData          Raw          `csta:"callLinkageData,ed6"`
	Common
}

// AnswerCall takes an alerting (or prompted) connection to connected (ECMA-269 17.1, ECMA-323 AnswerCall).
type AnswerCall struct {
	CallToBeAnswered ConnectionID `csta:"callToBeAnswered,required"`
	CorrelatorData   Raw          `csta:"correlatorData"`
	UserData         Raw          `csta:"userData"`
	Common
}

// AnswerCallResponse is the positive answer to AnswerCall; it has no content of its own.
type AnswerCallResponse struct {
	Common
}

// ClearConnection takes one device out of a call (ECMA-269 17.1, ECMA-323 ClearConnection).
type ClearConnection struct {
	ConnectionToBeCleared ConnectionID `csta:"connectionToBeCleared,required"`
	CorrelatorData        Raw          `csta:"correlatorData"`
	UserData              Raw          `csta:"userData"`
	Reason                EventCause   `csta:"reason"`
	Common
}

// ClearConnectionResponse is the positive answer to ClearConnection; it has no content of its own.
type ClearConnectionResponse struct {
	Common
}

// HoldCall puts a connected connection on hold (ECMA-269 17.1, ECMA-323 HoldCall).
type HoldCall struct {
	CallToBeHeld          ConnectionID `csta:"callToBeHeld,required"`
	ConnectionReservation *bool        `csta:"connectionReservation"`
	Common
}

// HoldCallResponse is the positive answer to HoldCall; it has no content of its own.
type HoldCallResponse struct {
	Common
}

// RetrieveCall takes a held connection back to connected (ECMA-269 17.1, ECMA-323 RetrieveCall).
type RetrieveCall struct {
	CallToBeRetrieved ConnectionID `csta:"callToBeRetrieved,required"`
	Common
}

// RetrieveCallResponse is the positive answer to RetrieveCall; it has no content of its own.
type RetrieveCallResponse struct {
	Common
}

// ConsultationCall holds a call and places a second one from the same device (ECMA-269 17.1, ECMA-323 ConsultationCall).
type ConsultationCall struct {
	ExistingCall             ConnectionID   `csta:"existingCall,required"`
	ConsultedDevice          DeviceID       `csta:"consultedDevice,required"`
	ConnectionReservation    *bool          `csta:"connectionReservation"`
	AccountCode              string         `csta:"accountCode"`
	AuthCode                 string         `csta:"authCode"`
	CorrelatorData           Raw            `csta:"correlatorData"`
	UserData                 Raw            `csta:"userData"`
	CallCharacteristics      Raw            `csta:"callCharacteristics"`
	MediaCallCharacteristics Raw            `csta:"mediaCallCharacteristics"`
	CallingConnectionInfo    Raw            `csta:"callingConnectionInfo"`
	ConsultOptions           ConsultOptions `csta:"consultOptions"`
	SubjectOfCall            string         `csta:"subjectOfCall"`
	LanguagePreferences      string         `csta:"languagePreferences"`
	Common
}

// ConsultationCallResponse is the positive answer to ConsultationCall; it names the connection of the consulting device in the new call.
type ConsultationCallResponse struct {
	InitiatedCall            ConnectionID `csta:"initiatedCall,required"`
	MediaCallCharacteristics Raw          `csta:"mediaCallCharacteristics"`
	InitiatedCallInfo        Raw          `csta:"initiatedCallInfo"`
	CallLinkageData          Raw          `csta:"callLinkageData,ed6"`
	Common
}

// AlternateCall holds the active call and retrieves the held one (ECMA-269 17.1, ECMA-323 AlternateCall).
type AlternateCall struct {
	HeldCall              ConnectionID   `csta:"heldCall,required"`
	ActiveCall            ConnectionID   `csta:"activeCall,required"`
	ConnectionReservation *bool          `csta:"connectionReservation"`
	ConsultOptions        ConsultOptions `csta:"consultOptions"`
	Common
}

// AlternateCallResponse is the positive answer to AlternateCall; it has no content of its own.
type AlternateCallResponse struct {
	Common
}

// ReconnectCall clears the active connection and retrieves the held one (ECMA-269 17.1, ECMA-323 ReconnectCall).
type ReconnectCall struct {
	ActiveCall ConnectionID `csta:"activeCall,required"`
	HeldCall   ConnectionID `csta:"heldCall,required"`
	Common
}

// ReconnectCallResponse is the positive answer to ReconnectCall; it has no content of its own.
type ReconnectCallResponse struct {
	Common
}

// TransferCall joins the far ends of a held and an active call and takes the common device out (ECMA-269 17.1, ECMA-323 TransferCall).
type TransferCall struct {
	HeldCall   ConnectionID `csta:"heldCall,required"`
	ActiveCall ConnectionID `csta:"activeCall,required"`
	Common
}

// TransferCallResponse is the positive answer to TransferCall; it lists what became of each connection.
type TransferCallResponse struct {
	TransferredCall     ConnectionID         `csta:"transferredCall,required"`
	Connections         []ConnectionListItem `csta:"connections>connectionListItem"`
	TransferredCallInfo Raw                  `csta:"transferredCallInfo"`
	CallLinkageDataList Raw                  `csta:"callLinkageDataList,ed6"`
	Common
}

// SingleStepTransferCall replaces a device in a call by another (ECMA-269 17.1, ECMA-323 SingleStepTransferCall).
type SingleStepTransferCall struct {
	ActiveCall          ConnectionID `csta:"activeCall,required"`
	TransferredTo       DeviceID     `csta:"transferredTo,required"`
	AccountCode         string       `csta:"accountCode"`
	AuthCode            string       `csta:"authCode"`
	CorrelatorData      Raw          `csta:"correlatorData"`
	UserData            Raw          `csta:"userData"`
	CallCharacteristics Raw          `csta:"callCharacteristics,ed6"`
	SubjectOfCall       string       `csta:"subjectOfCall"`
	LanguagePreferences string       `csta:"languagePreferences"`
	Reason              EventCause   `csta:"reason"`
	Common
}

// SingleStepTransferCallResponse is the positive answer to SingleStepTransferCall; it lists what became of each connection.
type SingleStepTransferCallResponse struct {
	TransferredCall     ConnectionID         `csta:"transferredCall,required"`
	Connections         []ConnectionListItem `csta:"connections>connectionListItem"`
	TransferredCallInfo Raw                  `csta:"transferredCallInfo"`
	CallLinkageDataList Raw                  `csta:"callLinkageDataList,ed6"`
	Common
}

// ConferenceCall merges a held and an active call of one device (ECMA-269 17.1, ECMA-323 ConferenceCall).
type ConferenceCall struct {
	HeldCall   ConnectionID `csta:"heldCall,required"`
	ActiveCall ConnectionID `csta:"activeCall,required"`
	Common
}

// ConferenceCallResponse is the positive answer to ConferenceCall; it lists what became of each connection.
type ConferenceCallResponse struct {
	ConferenceCall      ConnectionID         `csta:"conferenceCall,required"`
	Connections         []ConnectionListItem `csta:"connections>connectionListItem"`
	ConferenceCallInfo  Raw                  `csta:"conferenceCallInfo"`
	CallLinkageDataList Raw                  `csta:"callLinkageDataList,ed6"`
	Common
}

// DeflectCall sends an alerting connection to another destination; editions up to 5 write one plain device, edition 6 a list (ECMA-269 17.1, ECMA-323 DeflectCall).
type DeflectCall struct {
	CallToBeDiverted    ConnectionID `csta:"callToBeDiverted,required"`
	NewDestination      []DeviceID   `csta:"newDestination,destinations,required"`
	CorrelatorData      Raw          `csta:"correlatorData"`
	UserData            Raw          `csta:"userData"`
	CallCharacteristics Raw          `csta:"callCharacteristics,ed6"`
	SubjectOfCall       string       `csta:"subjectOfCall"`
	LanguagePreferences string       `csta:"languagePreferences"`
	Reason              EventCause   `csta:"reason"`
	Common
}

// DeflectCallResponse is the positive answer to DeflectCall; it has no content of its own.
type DeflectCallResponse struct {
	Common
}

// GenerateDigits sends digits over a connection (ECMA-269 call associated services, ECMA-323 GenerateDigits).
type GenerateDigits struct {
	ConnectionToSendDigits ConnectionID `csta:"connectionToSendDigits,required"`
	DigitMode              DigitMode    `csta:"digitMode"`
	CharactersToSend       string       `csta:"charactersToSend,required"`
	ToneDuration           *int         `csta:"toneDuration"`
	PulseRate              *int         `csta:"pulseRate"`
	PauseDuration          *int         `csta:"pauseDuration"`
	Common
}

// GenerateDigitsResponse is the positive answer to GenerateDigits; it has no content of its own.
type GenerateDigitsResponse struct {
	Common
}

// ClearCall takes every device out of a call (ECMA-269 17.1, ECMA-323 ClearCall).
type ClearCall struct {
	CallToBeCleared ConnectionID `csta:"callToBeCleared,required"`
	UserData        Raw          `csta:"userData"`
	Reason          EventCause   `csta:"reason,ed6"`
	Common
}

// ClearCallResponse is the positive answer to ClearCall; it has no content of its own.
type ClearCallResponse struct {
	Common
}

// SingleStepConferenceCall adds a device to a call (ECMA-269 17.1, ECMA-323 SingleStepConferenceCall).
type SingleStepConferenceCall struct {
	ActiveCall          ConnectionID      `csta:"activeCall,required"`
	DeviceToJoin        DeviceID          `csta:"deviceToJoin,required"`
	ParticipationType   ParticipationType `csta:"participationType,required"`
	AccountCode         string            `csta:"accountCode"`
	AuthCode            string            `csta:"authCode"`
	CorrelatorData      Raw               `csta:"correlatorData"`
	UserData            Raw               `csta:"userData"`
	SubjectOfCall       string            `csta:"subjectOfCall"`
	LanguagePreferences string            `csta:"languagePreferences"`
	Common
}

// SingleStepConferenceCallResponse is the positive answer to SingleStepConferenceCall; it names the connection of the added device.
type SingleStepConferenceCallResponse struct {
	ConferencedCall     ConnectionID `csta:"conferencedCall,required"`
	ConferencedCallInfo Raw          `csta:"conferencedCallInfo"`
	CallLinkageDataList Raw          `csta:"callLinkageDataList,ed6"`
	Common
}

// DirectedPickupCall moves a call that rings, is held or waits at another device to the requesting one (ECMA-269 17.1, ECMA-323 DirectedPickupCall).
type DirectedPickupCall struct {
	CallToBePickedUp ConnectionID `csta:"callToBePickedUp,required"`
	RequestingDevice DeviceID     `csta:"requestingDevice,required"`
	CorrelatorData   Raw          `csta:"correlatorData"`
	UserData         Raw          `csta:"userData"`
	Common
}

// DirectedPickupCallResponse is the positive answer to DirectedPickupCall; it names the connection of the requesting device.
type DirectedPickupCallResponse struct {
	PickedCall      ConnectionID `csta:"pickedCall,required"`
	PickedCallInfo  Raw          `csta:"pickedCallInfo"`
	CallLinkageData Raw          `csta:"callLinkageData,ed6"`
	Common
}
