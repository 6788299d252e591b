package soap

import (
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Requests of the switching function (ECMA-348 5th edition 6.4).
var (
	// toClient are those that it sends only.
	toClient = []string{
		uacsta.NameRouteRequest, uacsta.NameReRoute, uacsta.NameRouteUsed, uacsta.NameRouteRegisterAbort, uacsta.NameSystemRegisterAbort,
		uacsta.NameEscapeRegisterAbort, uacsta.NameSnapshotDeviceData, uacsta.NameSnapshotCallData, uacsta.NameSwitchingFunctionDevices,
		uacsta.NameMonitorInfo, uacsta.NameRegistrationInfo, uacsta.NameSwFunctionCapsChanged, uacsta.NameSwFunctionDevicesChanged,
		uacsta.NameCDRReport, uacsta.NameCDRNotification,
	}
	// bothWays are those that both sides send.
	bothWays = []string{uacsta.NameSystemStatus, uacsta.NameRequestSystemStatus, uacsta.NameMonitorStop, uacsta.NameRouteEnd, uacsta.NameEscape}
)

// Requests returns the requests that clients send, in an edition.
func Requests(edition uacsta.Edition) []string {
	return messages(edition, func(name string) bool { return uacsta.IsRequest(name) && !slices.Contains(toClient, name) })
}

// Deliveries returns what clients get: events, and requests of the switching function, in an edition.
func Deliveries(edition uacsta.Edition) []string {
	return messages(edition, func(name string) bool {
		return strings.HasSuffix(name, "Event") || slices.Contains(toClient, name) || slices.Contains(bothWays, name)
	})
}

// messages returns the messages of an edition that fulfil a condition.
func messages(edition uacsta.Edition, fulfils func(string) bool) []string {
	return slices.DeleteFunc(uacsta.MessagesOf(edition), func(name string) bool { return !fulfils(name) })
}
