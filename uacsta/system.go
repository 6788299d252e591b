package uacsta

// System status and capabilities (ECMA-269, ECMA-323).

// RequestSystemStatus asks the other side for its status; it goes either way and opens TR/87 sessions (ECMA-323 RequestSystemStatus).
type RequestSystemStatus struct {
	SysStatRegisterID string `csta:"sysStatRegisterID"`
	Common
}

// RequestSystemStatusResponse is the positive answer to RequestSystemStatus; it carries the status.
type RequestSystemStatusResponse struct {
	SystemStatus SystemStatusValue `csta:"systemStatus,required"`
	Common
}

// SystemStatus states a status, unasked; it goes either way and must be answered (ECMA-323 SystemStatus).
type SystemStatus struct {
	SysStatRegisterID string            `csta:"sysStatRegisterID"`
	SystemStatus      SystemStatusValue `csta:"systemStatus,required"`
	Common
}

// SystemStatusResponse is the positive answer to SystemStatus; it has no content of its own.
type SystemStatusResponse struct {
	Common
}

// SystemRegister asks for status messages of the other side (ECMA-323 SystemRegister).
type SystemRegister struct {
	RequestTypes          Raw `csta:"requestTypes,required"`
	RequestedStatusFilter Raw `csta:"requestedStatusFilter"`
	Common
}

// SystemRegisterResponse is the positive answer to SystemRegister; it names the registration.
type SystemRegisterResponse struct {
	SysStatRegisterID  string `csta:"sysStatRegisterID,required"`
	ActualStatusFilter Raw    `csta:"actualStatusFilter"`
	Common
}

// SystemRegisterCancel ends such a registration (ECMA-323 SystemRegisterCancel).
type SystemRegisterCancel struct {
	SysStatRegisterID string `csta:"sysStatRegisterID,required"`
	Common
}

// SystemRegisterCancelResponse is the positive answer to SystemRegisterCancel; it has no content of its own.
type SystemRegisterCancelResponse struct {
	Common
}

// GetCSTAFeatures asks which services and events work (ECMA-323 GetCSTAFeatures).
type GetCSTAFeatures struct {
	Common
}
