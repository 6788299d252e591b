package uacsta

// Monitoring and snapshot services (ECMA-269, ECMA-323).

// MonitorStart starts a monitor on a device or a call (ECMA-323 MonitorStart).
type MonitorStart struct {
	MonitorObject              MonitorObject `csta:"monitorObject,required"`
	RequestedMonitorFilter     Raw           `csta:"requestedMonitorFilter"`
	MonitorType                MonitorType   `csta:"monitorType"`
	RequestedMonitorMediaClass Raw           `csta:"requestedMonitorMediaClass"`
	Common
}

// MonitorStartResponse is the positive answer to MonitorStart; it names the monitor; it precedes the monitor's first event.
type MonitorStartResponse struct {
	MonitorCrossRefID       string `csta:"monitorCrossRefID,required"`
	ActualMonitorFilter     Raw    `csta:"actualMonitorFilter"`
	ActualMonitorMediaClass Raw    `csta:"actualMonitorMediaClass"`
	MonitorExistingCalls    *bool  `csta:"monitorExistingCalls"`
	Common
}

// MonitorStop ends a monitor; the switching function may send it too (ECMA-323 MonitorStop).
type MonitorStop struct {
	MonitorCrossRefID string `csta:"monitorCrossRefID,required"`
	Common
}

// MonitorStopResponse is the positive answer to MonitorStop; it has no content of its own.
type MonitorStopResponse struct {
	Common
}

// SnapshotDevice asks for every call at a device (ECMA-323 SnapshotDevice).
type SnapshotDevice struct {
	SnapshotObject DeviceID `csta:"snapshotObject,required"`
	Common
}

// SnapshotDeviceResponse is the positive answer to SnapshotDevice; it lists one item for each call.
type SnapshotDeviceResponse struct {
	CrossRefIDorSnapshotData CrossRefIDorSnapshotDeviceData `csta:"crossRefIDorSnapshotData,required"`
	Common
}

// SnapshotCall asks for every connection of a call (ECMA-323 SnapshotCall).
type SnapshotCall struct {
	SnapshotObject ConnectionID `csta:"snapshotObject,required"`
	Common
}

// SnapshotCallResponse is the positive answer to SnapshotCall; it lists one item for each connection, then what is known of the call.
type SnapshotCallResponse struct {
	CrossRefIDorSnapshotData CrossRefIDorSnapshotCallData `csta:"crossRefIDorSnapshotData,required"`
	MediaCallCharacteristics Raw                          `csta:"mediaCallCharacteristics"`
	CallCharacteristics      Raw                          `csta:"callCharacteristics"`
	CallingDevice            *ExtendedDeviceID            `csta:"callingDevice"`
	CalledDevice             *ExtendedDeviceID            `csta:"calledDevice"`
	AssociatedCallingDevice  *ExtendedDeviceID            `csta:"associatedCallingDevice"`
	AssociatedCalledDevice   *ExtendedDeviceID            `csta:"associatedCalledDevice"`
	CorrelatorData           Raw                          `csta:"correlatorData"`
	CallLinkageData          Raw                          `csta:"callLinkageData"`
	SubjectOfCall            string                       `csta:"subjectOfCall"`
	MessageInfo              Raw                          `csta:"messageInfo"`
	LanguagePreferences      string                       `csta:"languagePreferences"`
	DeviceHistory            Raw                          `csta:"deviceHistory"`
	Common
}
