package uacsta

// LocalConnectionState is the state of a connection (ECMA-269 call model).
type LocalConnectionState string

// The states of a connection.
const (
	Null      LocalConnectionState = "null"
	Initiated LocalConnectionState = "initiated"
	Alerting  LocalConnectionState = "alerting"
	Connected LocalConnectionState = "connected"
	Hold      LocalConnectionState = "hold"
	Queued    LocalConnectionState = "queued"
	Fail      LocalConnectionState = "fail"
)

// AutoOriginate says whether a device that is to make a call rings first
// (ECMA-323). Absent means prompt.
type AutoOriginate string

// The values of AutoOriginate.
const (
	Prompt      AutoOriginate = "prompt"
	DoNotPrompt AutoOriginate = "doNotPrompt"
)

// ConsultOptions says what a consultation may lead to (ECMA-323).
type ConsultOptions string

// MonitorType says what a monitor follows: its device, or its call wherever it
// goes (ECMA-323).
type MonitorType string

// The types of monitor.
const (
	MonitorCall   MonitorType = "call"
	MonitorDevice MonitorType = "device"
)

// SystemStatusValue is the status of a side (ECMA-323).
type SystemStatusValue string

// The statuses this project states; it reads any.
const (
	StatusInitializing SystemStatusValue = "initializing"
	StatusEnabled      SystemStatusValue = "enabled"
	StatusNormal       SystemStatusValue = "normal"
	StatusDisabled     SystemStatusValue = "disabled"
)

// ForwardingType is a kind of forwarding (ECMA-323).
type ForwardingType string

// The kinds of forwarding; the others are limited to internal or external callers.
const (
	ForwardImmediate ForwardingType = "forwardImmediate"
	ForwardBusy      ForwardingType = "forwardBusy"
	ForwardNoAnswer  ForwardingType = "forwardNoAns"
)

// ForwardDefault says which part of a forwarding setting is the switch's default.
type ForwardDefault string

// ParticipationType says how a device takes part in a call that it joins (ECMA-323).
type ParticipationType string

// The types of participation.
const (
	SilentParticipation ParticipationType = "silent"
	ActiveParticipation ParticipationType = "active"
)

// DigitMode says how digits are sent (ECMA-323).
type DigitMode string

// The modes of sending digits.
const (
	RotaryPulse DigitMode = "rotaryPulse"
	DTMF        DigitMode = "dTMF"
)
