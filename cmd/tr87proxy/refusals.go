package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// plain says in plain words what the usual errors of CSTA mean, by their values, and what to do.
var plain = map[string]string{
	uacsta.ConnectedCallExists:                  "the device has a connected call; hold or clear it first",
	uacsta.NoActiveCall:                         "the device has no connected call; tr87proxy snapshot shows its calls",
	uacsta.NoHeldCall:                           "the device holds no call; tr87proxy snapshot shows its calls",
	uacsta.NoCallToAnswer:                       "no call rings at the device; tr87proxy snapshot shows its calls",
	uacsta.InvalidConnectionState:               "the call is not in a state for this; tr87proxy snapshot shows the device's calls",
	uacsta.InvalidConnectionID:                  "there is no such call at the device; tr87proxy snapshot shows its calls",
	uacsta.InvalidDeviceID:                      "there is no such device; tr87proxy devices lists them",
	uacsta.InvalidCallingDeviceID:               "there is no such calling device; tr87proxy devices lists them",
	uacsta.InvalidCalledDeviceID:                "the number cannot be called; tr87proxy devices lists the devices",
	uacsta.InvalidDestination:                   "the call cannot be sent there; tr87proxy devices lists the devices",
	uacsta.ServiceNotSupported:                  "the switch does not support this; tr87proxy features lists what it supports",
	uacsta.RequestIncompatibleWithDevice:        "the device does not support this; tr87proxy features lists what the switch supports",
	uacsta.RequestIncompatibleWithCallingDevice: "the calling device cannot do this; a telephone that cannot go off-hook by itself needs --prompt",
	uacsta.InvalidMsgID:                         "the switch has no message of this name",
	uacsta.InvalidFile:                          "a message cannot have this name, or there is one of this name already",
	uacsta.ResourceOutOfService:                 "the switch cannot be reached; on the server, tr87proxy status shows its link",
	uacsta.CallingDeviceOutOfService:            "no telephone can be reached at the calling device",
	uacsta.ResourceBusy:                         "the switch is busy; try again",
	uacsta.OverallMonitorLimitExceeded:          "the server has as many monitors as it takes",
	uacsta.ObjectMonitorLimitExceeded:           "the switch has as many monitors on the device as it takes",
	uacsta.PerformanceLimitExceeded:             "too many requests; try again",
	uacsta.ObjectRegistrationLimitExceeded:      "another client has registered already",
}

// notAllowed begins the values with which a server refuses what its rules do not allow.
const notAllowed = "privilegeViolation"

// plainly adds to the error with which a server has refused a request what it means.
func plainly(err error) error {
	var refusal *uacsta.Error
	if !errors.As(err, &refusal) {
		return err
	}
	meaning := plain[refusal.Value]
	if strings.HasPrefix(refusal.Value, notAllowed) {
		meaning = "the server does not allow it; on the server, tr87proxy policy explain shows which rule decides"
	}
	if meaning == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, meaning)
}
