package uacsta

// Call control events: ECMA-269 clause 17.2. cause is mandatory in each of them.

// ServiceInitiatedEvent tells that a device went off-hook or is prompted: initiatedConnection is initiated.
type ServiceInitiatedEvent struct {
	MonitorCrossRefID        string               `csta:"monitorCrossRefID,required"`
	InitiatedConnection      ConnectionID         `csta:"initiatedConnection,required"`
	InitiatingDevice         ExtendedDeviceID     `csta:"initiatingDevice,required"`
	CalledDevice             *ExtendedDeviceID    `csta:"calledDevice,ed6"`
	LocalConnectionInfo      LocalConnectionState `csta:"localConnectionInfo"`
	CorrelatorData           Raw                  `csta:"correlatorData"`
	Cause                    EventCause           `csta:"cause,required"`
	ServicesPermitted        Raw                  `csta:"servicesPermitted"`
	MediaCallCharacteristics Raw                  `csta:"mediaCallCharacteristics"`
	CallCharacteristics      Raw                  `csta:"callCharacteristics"`
	InitiatedConnectionInfo  Raw                  `csta:"initiatedConnectionInfo"`
	NetworkCallingDevice     *ExtendedDeviceID    `csta:"networkCallingDevice"`
	NetworkCalledDevice      *ExtendedDeviceID    `csta:"networkCalledDevice"`
	AssociatedCallingDevice  *ExtendedDeviceID    `csta:"associatedCallingDevice"`
	CallLinkageData          Raw                  `csta:"callLinkageData"`
	SubjectOfCall            string               `csta:"subjectOfCall"`
	MessageInfo              Raw                  `csta:"messageInfo"`
	LanguagePreferences      string               `csta:"languagePreferences"`
	LocationInfoList         Raw                  `csta:"locationInfoList,ed6"`
	Common
}

// OriginatedEvent tells that a call leaves its device: originatedConnection is connected.
type OriginatedEvent struct {
	MonitorCrossRefID        string               `csta:"monitorCrossRefID,required"`
	OriginatedConnection     ConnectionID         `csta:"originatedConnection,required"`
	CallingDevice            ExtendedDeviceID     `csta:"callingDevice,required"`
	CalledDevice             ExtendedDeviceID     `csta:"calledDevice,required"`
	OriginatingDevice        *DeviceID            `csta:"originatingDevice"`
	LocalConnectionInfo      LocalConnectionState `csta:"localConnectionInfo"`
	CorrelatorData           Raw                  `csta:"correlatorData"`
	Cause                    EventCause           `csta:"cause,required"`
	ServicesPermitted        Raw                  `csta:"servicesPermitted"`
	NetworkCallingDevice     *ExtendedDeviceID    `csta:"networkCallingDevice"`
	NetworkCalledDevice      *ExtendedDeviceID    `csta:"networkCalledDevice"`
	AssociatedCallingDevice  *ExtendedDeviceID    `csta:"associatedCallingDevice"`
	AssociatedCalledDevice   *ExtendedDeviceID    `csta:"associatedCalledDevice"`
	MediaCallCharacteristics Raw                  `csta:"mediaCallCharacteristics"`
	CallCharacteristics      Raw                  `csta:"callCharacteristics"`
	OriginatedConnectionInfo Raw                  `csta:"originatedConnectionInfo"`
	CallLinkageData          Raw                  `csta:"callLinkageData"`
	SubjectOfCall            string               `csta:"subjectOfCall"`
	MessageInfo              Raw                  `csta:"messageInfo"`
	LanguagePreferences      string               `csta:"languagePreferences"`
	LocationInfoList         Raw                  `csta:"locationInfoList,ed6"`
	Common
}

// DeliveredEvent tells that a call is presented to a device: connection is alerting.
type DeliveredEvent struct {
	MonitorCrossRefID        string               `csta:"monitorCrossRefID,required"`
	Connection               ConnectionID         `csta:"connection,required"`
	AlertingDevice           ExtendedDeviceID     `csta:"alertingDevice,required"`
	CallingDevice            ExtendedDeviceID     `csta:"callingDevice,required"`
	CalledDevice             ExtendedDeviceID     `csta:"calledDevice,required"`
	LastRedirectionDevice    RedirectionDeviceID  `csta:"lastRedirectionDevice,required"`
	OriginatingNIDConnection *ConnectionID        `csta:"originatingNIDConnection"`
	LocalConnectionInfo      LocalConnectionState `csta:"localConnectionInfo"`
	CorrelatorData           Raw                  `csta:"correlatorData"`
	UserData                 Raw                  `csta:"userData"`
	Cause                    EventCause           `csta:"cause,required"`
	ServicesPermitted        Raw                  `csta:"servicesPermitted"`
	NetworkCallingDevice     *ExtendedDeviceID    `csta:"networkCallingDevice"`
	NetworkCalledDevice      *ExtendedDeviceID    `csta:"networkCalledDevice"`
	AssociatedCallingDevice  *ExtendedDeviceID    `csta:"associatedCallingDevice"`
	AssociatedCalledDevice   *ExtendedDeviceID    `csta:"associatedCalledDevice"`
	MediaCallCharacteristics Raw                  `csta:"mediaCallCharacteristics"`
	CallCharacteristics      Raw                  `csta:"callCharacteristics"`
	ConnectionInfo           Raw                  `csta:"connectionInfo"`
	CallLinkageData          Raw                  `csta:"callLinkageData"`
	SubjectOfCall            string               `csta:"subjectOfCall"`
	MessageInfo              Raw                  `csta:"messageInfo"`
	LanguagePreferences      string               `csta:"languagePreferences"`
	DeviceHistory            Raw                  `csta:"deviceHistory"`
	LocationInfoList         Raw                  `csta:"locationInfoList,ed6"`
	Common
}

// EstablishedEvent tells that a device answered: establishedConnection is connected.
type EstablishedEvent struct {
	MonitorCrossRefID         string               `csta:"monitorCrossRefID,required"`
	EstablishedConnection     ConnectionID         `csta:"establishedConnection,required"`
	AnsweringDevice           ExtendedDeviceID     `csta:"answeringDevice,required"`
	CallingDevice             ExtendedDeviceID     `csta:"callingDevice,required"`
	CalledDevice              ExtendedDeviceID     `csta:"calledDevice,required"`
	LastRedirectionDevice     RedirectionDeviceID  `csta:"lastRedirectionDevice,required"`
	OriginatingNIDConnection  *ConnectionID        `csta:"originatinNIDConnection"`
	LocalConnectionInfo       LocalConnectionState `csta:"localConnectionInfo"`
	CorrelatorData            Raw                  `csta:"correlatorData"`
	UserData                  Raw                  `csta:"userData"`
	Cause                     EventCause           `csta:"cause,required"`
	ServicesPermitted         Raw                  `csta:"servicesPermitted"`
	NetworkCallingDevice      *ExtendedDeviceID    `csta:"networkCallingDevice"`
	NetworkCalledDevice       *ExtendedDeviceID    `csta:"networkCalledDevice"`
	AssociatedCallingDevice   *ExtendedDeviceID    `csta:"associatedCallingDevice"`
	AssociatedCalledDevice    *ExtendedDeviceID    `csta:"associatedCalledDevice"`
	MediaCallCharacteristics  Raw                  `csta:"mediaCallCharacteristics"`
	CallCharacteristics       Raw                  `csta:"callCharacteristics"`
	EstablishedConnectionInfo Raw                  `csta:"establishedConnectionInfo"`
	CallLinkageData           Raw                  `csta:"callLinkageData"`
	SubjectOfCall             string               `csta:"subjectOfCall"`
	MessageInfo               Raw                  `csta:"messageInfo"`
	LanguagePreferences       string               `csta:"languagePreferences"`
	DeviceHistory             Raw                  `csta:"deviceHistory"`
	LocationInfoList          Raw                  `csta:"locationInfoList,ed6"`
	Common
}

// HeldEvent tells that heldConnection is on hold.
type HeldEvent struct {
	MonitorCrossRefID        string               `csta:"monitorCrossRefID,required"`
	HeldConnection           ConnectionID         `csta:"heldConnection,required"`
	HoldingDevice            ExtendedDeviceID     `csta:"holdingDevice,required"`
	LocalConnectionInfo      LocalConnectionState `csta:"localConnectionInfo"`
	CorrelatorData           Raw                  `csta:"correlatorData"`
	Cause                    EventCause           `csta:"cause,required"`
	ServicesPermitted        Raw                  `csta:"servicesPermitted"`
	MediaCallCharacteristics Raw                  `csta:"mediaCallCharacteristics"`
	CallCharacteristics      Raw                  `csta:"callCharacteristics"`
	HeldConnectionInfo       Raw                  `csta:"heldConnectionInfo"`
	CallLinkageData          Raw                  `csta:"callLinkageData"`
	LanguagePreferences      string               `csta:"languagePreferences"`
	LocationInfoList         Raw                  `csta:"locationInfoList,ed6"`
	Common
}

// RetrievedEvent tells that retrievedConnection is connected again.
type RetrievedEvent struct {
	MonitorCrossRefID        string               `csta:"monitorCrossRefID,required"`
	RetrievedConnection      ConnectionID         `csta:"retrievedConnection,required"`
	RetrievingDevice         ExtendedDeviceID     `csta:"retrievingDevice,required"`
	LocalConnectionInfo      LocalConnectionState `csta:"localConnectionInfo"`
	CorrelatorData           Raw                  `csta:"correlatorData"`
	Cause                    EventCause           `csta:"cause,required"`
	ServicesPermitted        Raw                  `csta:"servicesPermitted"`
	MediaCallCharacteristics Raw                  `csta:"mediaCallCharacteristics"`
	CallCharacteristics      Raw                  `csta:"callCharacteristics"`
	RetrievedConnectionInfo  Raw                  `csta:"retrievedConnectionInfo"`
	CallLinkageData          Raw                  `csta:"callLinkageData"`
	LanguagePreferences      string               `csta:"languagePreferences"`
	LocationInfoList         Raw                  `csta:"locationInfoList,ed6"`
	Common
}

// DivertedEvent tells that a call left a device for newDestination: connection is null.
type DivertedEvent struct {
	MonitorCrossRefID        string               `csta:"monitorCrossRefID,required"`
	Connection               ConnectionID         `csta:"connection,required"`
	DivertingDevice          ExtendedDeviceID     `csta:"divertingDevice,required"`
	NewDestination           ExtendedDeviceID     `csta:"newDestination,required"`
	CallingDevice            *ExtendedDeviceID    `csta:"callingDevice"`
	CalledDevice             *ExtendedDeviceID    `csta:"calledDevice"`
	LastRedirectionDevice    RedirectionDeviceID  `csta:"lastRedirectionDevice,required"`
	LocalConnectionInfo      LocalConnectionState `csta:"localConnectionInfo"`
	CorrelatorData           Raw                  `csta:"correlatorData"`
	UserData                 Raw                  `csta:"userData"`
	Cause                    EventCause           `csta:"cause,required"`
	ServicesPermitted        Raw                  `csta:"servicesPermitted"`
	MediaCallCharacteristics Raw                  `csta:"mediaCallCharacteristics"`
	CallCharacteristics      Raw                  `csta:"callCharacteristics"`
	ConnectionInfo           Raw                  `csta:"connectionInfo"`
	NetworkCallingDevice     *ExtendedDeviceID    `csta:"networkCallingDevice"`
	NetworkCalledDevice      *ExtendedDeviceID    `csta:"networkCalledDevice"`
	AssociatedCallingDevice  *ExtendedDeviceID    `csta:"associatedCallingDevice"`
	AssociatedCalledDevice   *ExtendedDeviceID    `csta:"associatedCalledDevice"`
	CallLinkageData          Raw                  `csta:"callLinkageData"`
	SubjectOfCall            string               `csta:"subjectOfCall"`
	MessageInfo              Raw                  `csta:"messageInfo"`
	LanguagePreferences      string               `csta:"languagePreferences"`
	DeviceHistory            Raw                  `csta:"deviceHistory"`
	LocationInfoList         Raw                  `csta:"locationInfoList,ed6"`
	Common
}

// NetworkReachedEvent tells that a call left the switching domain over a network interface.
type NetworkReachedEvent struct {
	MonitorCrossRefID        string               `csta:"monitorCrossRefID,required"`
	OutboundConnection       ConnectionID         `csta:"outboundConnection,required"`
	NetworkInterfaceUsed     ExtendedDeviceID     `csta:"networkInterfaceUsed,required"`
	CallingDevice            ExtendedDeviceID     `csta:"callingDevice,required"`
	CalledDevice             ExtendedDeviceID     `csta:"calledDevice,required"`
	LastRedirectionDevice    RedirectionDeviceID  `csta:"lastRedirectionDevice,required"`
	OriginatingNIDConnection *ConnectionID        `csta:"originatingNIDConnection"`
	LocalConnectionInfo      LocalConnectionState `csta:"localConnectionInfo"`
	CorrelatorData           Raw                  `csta:"correlatorData"`
	UserData                 Raw                  `csta:"userData"`
	NetworkCapability        Raw                  `csta:"networkCapability"`
	Cause                    EventCause           `csta:"cause,required"`
	ServicesPermitted        Raw                  `csta:"servicesPermitted"`
	MediaCallCharacteristics Raw                  `csta:"mediaCallCharacteristics"`
	CallCharacteristics      Raw                  `csta:"callCharacteristics"`
	OutboundConnectionInfo   Raw                  `csta:"outboundConnectionInfo"`
	NetworkCallingDevice     *ExtendedDeviceID    `csta:"networkCallingDevice"`
	NetworkCalledDevice      *ExtendedDeviceID    `csta:"networkCalledDevice"`
	AssociatedCallingDevice  *ExtendedDeviceID    `csta:"associatedCallingDevice"`
	CallLinkageData          Raw                  `csta:"callLinkageData"`
	LanguagePreferences      string               `csta:"languagePreferences"`
	DeviceHistory            Raw                  `csta:"deviceHistory"`
	LocationInfoList         Raw                  `csta:"locationInfoList,ed6"`
	Common
}

// FailedEvent tells that a call came to nothing at failingDevice: failedConnection is in state fail.
type FailedEvent struct {
	MonitorCrossRefID        string               `csta:"monitorCrossRefID,required"`
	FailedConnection         ConnectionID         `csta:"failedConnection,required"`
	FailingDevice            ExtendedDeviceID     `csta:"failingDevice,required"`
	CallingDevice            ExtendedDeviceID     `csta:"callingDevice,required"`
	CalledDevice             ExtendedDeviceID     `csta:"calledDevice,required"`
	LastRedirectionDevice    RedirectionDeviceID  `csta:"lastRedirectionDevice,required"`
	OriginatingNIDConnection *ConnectionID        `csta:"originatingNIDConnection"`
	LocalConnectionInfo      LocalConnectionState `csta:"localConnectionInfo"`
	CorrelatorData           Raw                  `csta:"correlatorData"`
	UserData                 Raw                  `csta:"userData"`
	Cause                    EventCause           `csta:"cause,required"`
	ServicesPermitted        Raw                  `csta:"servicesPermitted"`
	NetworkCallingDevice     *ExtendedDeviceID    `csta:"networkCallingDevice"`
	NetworkCalledDevice      *ExtendedDeviceID    `csta:"networkCalledDevice"`
	AssociatedCallingDevice  *ExtendedDeviceID    `csta:"associatedCallingDevice"`
	AssociatedCalledDevice   *ExtendedDeviceID    `csta:"associatedCalledDevice"`
	MediaCallCharacteristics Raw                  `csta:"mediaCallCharacteristics"`
	CallCharacteristics      Raw                  `csta:"callCharacteristics"`
	FailedConnectionInfo     Raw                  `csta:"failedConnectionInfo"`
	CallLinkageData          Raw                  `csta:"callLinkageData"`
	SubjectOfCall            string               `csta:"subjectOfCall"`
	MessageInfo              Raw                  `csta:"messageInfo"`
	LanguagePreferences      string               `csta:"languagePreferences"`
	DeviceHistory            Raw                  `csta:"deviceHistory"`
	LocationInfoList         Raw                  `csta:"locationInfoList,ed6"`
	Common
}

// TransferedEvent [sic] tells that transferringDevice left and which connections took its place.
type TransferedEvent struct {
	MonitorCrossRefID        string               `csta:"monitorCrossRefID,required"`
	PrimaryOldCall           ConnectionID         `csta:"primaryOldCall,required"`
	SecondaryOldCall         *ConnectionID        `csta:"secondaryOldCall"`
	TransferringDevice       ExtendedDeviceID     `csta:"transferringDevice,required"`
	TransferredToDevice      ExtendedDeviceID     `csta:"transferredToDevice,required"`
	TransferredConnections   []ConnectionListItem `csta:"transferredConnections>connectionListItem,required"`
	LocalConnectionInfo      LocalConnectionState `csta:"localConnectionInfo"`
	CorrelatorData           Raw                  `csta:"correlatorData"`
	UserData                 Raw                  `csta:"userData"`
	ChargingInfo             Raw                  `csta:"chargingInfo"`
	Cause                    EventCause           `csta:"cause,required"`
	ServicesPermitted        Raw                  `csta:"servicesPermitted"`
	MediaCallCharacteristics Raw                  `csta:"mediaCallCharacteristics"`
	CallCharacteristics      Raw                  `csta:"callCharacteristics"`
	CallLinkageDataList      Raw                  `csta:"callLinkageDataList"`
	LanguagePreferences      string               `csta:"languagePreferences"`
	DeviceHistory            Raw                  `csta:"deviceHistory"`
	LocationInfoList         Raw                  `csta:"locationInfoList,ed6"`
	Common
}

// ConferencedEvent tells that two calls became one and what became of each connection.
type ConferencedEvent struct {
	MonitorCrossRefID        string               `csta:"monitorCrossRefID,required"`
	PrimaryOldCall           ConnectionID         `csta:"primaryOldCall,required"`
	SecondaryOldCall         *ConnectionID        `csta:"secondaryOldCall"`
	ConferencingDevice       ExtendedDeviceID     `csta:"conferencingDevice,required"`
	AddedParty               ExtendedDeviceID     `csta:"addedParty,required"`
	ConferenceConnections    []ConnectionListItem `csta:"conferenceConnections>connectionListItem,required"`
	LocalConnectionInfo      LocalConnectionState `csta:"localConnectionInfo"`
	CorrelatorData           Raw                  `csta:"correlatorData"`
	UserData                 Raw                  `csta:"userData"`
	Cause                    EventCause           `csta:"cause,required"`
	ServicesPermitted        Raw                  `csta:"servicesPermitted"`
	MediaCallCharacteristics Raw                  `csta:"mediaCallCharacteristics"`
	CallCharacteristics      Raw                  `csta:"callCharacteristics"`
	CallLinkageDataList      Raw                  `csta:"callLinkageDataList"`
	LanguagePreferences      string               `csta:"languagePreferences"`
	DeviceHistory            Raw                  `csta:"deviceHistory"`
	LocationInfoList         Raw                  `csta:"locationInfoList,ed6"`
	Common
}

// ConnectionClearedEvent tells that a device left a call: droppedConnection is null.
type ConnectionClearedEvent struct {
	MonitorCrossRefID        string               `csta:"monitorCrossRefID,required"`
	DroppedConnection        ConnectionID         `csta:"droppedConnection,required"`
	ReleasingDevice          ExtendedDeviceID     `csta:"releasingDevice,required"`
	LocalConnectionInfo      LocalConnectionState `csta:"localConnectionInfo"`
	CorrelatorData           Raw                  `csta:"correlatorData"`
	UserData                 Raw                  `csta:"userData"`
	ChargingInfo             Raw                  `csta:"chargingInfo"`
	Cause                    EventCause           `csta:"cause,required"`
	ServicesPermitted        Raw                  `csta:"servicesPermitted"`
	MediaCallCharacteristics Raw                  `csta:"mediaCallCharacteristics"`
	CallCharacteristics      Raw                  `csta:"callCharacteristics"`
	DroppedConnectionInfo    Raw                  `csta:"droppedConnectionInfo"`
	CallLinkageData          Raw                  `csta:"callLinkageData"`
	LanguagePreferences      string               `csta:"languagePreferences"`
	DeviceHistory            Raw                  `csta:"deviceHistory"`
	LocationInfoList         Raw                  `csta:"locationInfoList,ed6"`
	Common
}

// CallClearedEvent tells a call-type monitor that the call is over.
type CallClearedEvent struct {
	MonitorCrossRefID        string       `csta:"monitorCrossRefID,required"`
	ClearedCall              ConnectionID `csta:"clearedCall,required"`
	CorrelatorData           Raw          `csta:"correlatorData"`
	UserData                 Raw          `csta:"userData"`
	Cause                    EventCause   `csta:"cause,required"`
	MediaCallCharacteristics Raw          `csta:"mediaCallCharacteristics"`
	CallCharacteristics      Raw          `csta:"callCharacteristics"`
	CallLinkageData          Raw          `csta:"callLinkageData"`
	LanguagePreferences      string       `csta:"languagePreferences"`
	LocationInfoList         Raw          `csta:"locationInfoList,ed6"`
	Common
}
