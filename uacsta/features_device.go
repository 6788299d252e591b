package uacsta

// Logical device features (ECMA-269, ECMA-323).

// GetForwarding asks for the forwarding settings of a device (ECMA-323 GetForwarding).
type GetForwarding struct {
	Device DeviceID `csta:"device,required"`
	Common
}

// GetForwardingResponse is the positive answer to GetForwarding; it lists one item for each forwarding type.
type GetForwardingResponse struct {
	ForwardingList []ForwardListItem `csta:"forwardingList>forwardListItem,required"`
	Common
}

// SetForwarding switches one forwarding type on or off (ECMA-323 SetForwarding).
type SetForwarding struct {
	Device          DeviceID       `csta:"device,required"`
	ForwardingType  ForwardingType `csta:"forwardingType"`
	ActivateForward bool           `csta:"activateForward,required"`
	ForwardDN       *DeviceID      `csta:"forwardDN"`
	RingCount       *int           `csta:"ringCount"`
	RingDuration    *int           `csta:"ringDuration,ed6"`
	Common
}

// SetForwardingResponse is the positive answer to SetForwarding; it has no content of its own.
type SetForwardingResponse struct {
	Common
}

// GetDoNotDisturb asks whether a device refuses calls (ECMA-323 GetDoNotDisturb).
type GetDoNotDisturb struct {
	Device DeviceID `csta:"device,required"`
	Common
}

// GetDoNotDisturbResponse is the positive answer to GetDoNotDisturb; it carries the setting.
type GetDoNotDisturbResponse struct {
	DoNotDisturbOn    bool             `csta:"doNotDisturbOn,required"`
	CallOrigination   *CallOrigination `csta:"callOrigination"`
	CallingDeviceList []DeviceID       `csta:"callingDeviceList>callingDevice"`
	Common
}

// SetDoNotDisturb makes a device refuse calls, or accept them again (ECMA-323 SetDoNotDisturb).
type SetDoNotDisturb struct {
	Device            DeviceID         `csta:"device,required"`
	DoNotDisturbOn    bool             `csta:"doNotDisturbOn,required"`
	CallOrigination   *CallOrigination `csta:"callOrigination"`
	CallingDeviceList []DeviceID       `csta:"callingDeviceList>callingDevice"`
	Common
}

// SetDoNotDisturbResponse is the positive answer to SetDoNotDisturb; it has no content of its own.
type SetDoNotDisturbResponse struct {
	Common
}
