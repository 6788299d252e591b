package uacsta

// Call associated, logical device and maintenance events: ECMA-269.

// DigitsGeneratedEvent tells which digits were sent over a connection.
type DigitsGeneratedEvent struct {
	MonitorCrossRefID  string       `csta:"monitorCrossRefID,required"`
	Connection         ConnectionID `csta:"connection,required"`
	DigitGeneratedList string       `csta:"digitGeneratedList,required"`
	DigitDurationList  Raw          `csta:"digitDurationList"`
	PauseDurationList  Raw          `csta:"pauseDurationList"`
	ConnectionInfo     Raw          `csta:"connectionInfo"`
	Common
}

// ForwardingEvent tells that a forwarding setting changed.
type ForwardingEvent struct {
	MonitorCrossRefID string           `csta:"monitorCrossRefID,required"`
	Device            ExtendedDeviceID `csta:"device,required"`
	ForwardingType    ForwardingType   `csta:"forwardingType"`
	ForwardStatus     bool             `csta:"forwardStatus,required"`
	ForwardTo         *DeviceID        `csta:"forwardTo"`
	ForwardDefault    ForwardDefault   `csta:"forwardDefault"`
	RingCount         *int             `csta:"ringCount"`
	RingDuration      *int             `csta:"ringDuration,ed6"`
	Common
}

// DoNotDisturbEvent tells that the do-not-disturb setting changed.
type DoNotDisturbEvent struct {
	MonitorCrossRefID string           `csta:"monitorCrossRefID,required"`
	Device            ExtendedDeviceID `csta:"device,required"`
	DoNotDisturbOn    bool             `csta:"doNotDisturbOn,required"`
	CallOrigination   *CallOrigination `csta:"callOrigination"`
	CallingDeviceList []DeviceID       `csta:"callingDeviceList>callingDevice"`
	Common
}

// OutOfServiceEvent tells that a device cannot be used any more.
type OutOfServiceEvent struct {
	MonitorCrossRefID string           `csta:"monitorCrossRefID,required"`
	Device            ExtendedDeviceID `csta:"device,required"`
	Cause             EventCause       `csta:"cause"`
	Common
}

// BackInServiceEvent tells that a device can be used again.
type BackInServiceEvent struct {
	MonitorCrossRefID string           `csta:"monitorCrossRefID,required"`
	Device            ExtendedDeviceID `csta:"device,required"`
	Cause             EventCause       `csta:"cause"`
	Common
}
