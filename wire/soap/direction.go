package soap

import (
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// groups are the groups of services with a port type, by their names in the table of messages.
var groups = []struct{ name, port string }{
	{"callcontrol", "CallControl"}, {"monitor", "Monitoring"}, {"system", "System"}, {"associated", "CallAssociated"}, {"media", "MediaAttachment"},
	{"routeing", "Routeing"}, {"physical", "PhysicalDevice"}, {"logical", "LogicalDevice"}, {"datacollection", "DataCollection"}, {"voice", "Voice"},
	{"cdr", "CallDetailRecord"}, {"vendor", "VendorSpecific"},
}

// Requests returns the requests that clients send, in an edition.
func Requests(edition uacsta.Edition) []string {
	return messages(edition, func(name string) bool { return uacsta.IsRequest(name) && uacsta.ServiceOf(name).ToSwitch() })
}

// Deliveries returns what clients get: events, and requests of the switching function, in an edition (ECMA-348 5th edition
// 6.4).
func Deliveries(edition uacsta.Edition) []string {
	return messages(edition, func(name string) bool { return strings.HasSuffix(name, "Event") || uacsta.ServiceOf(name).FromSwitch() })
}

// messages returns the messages of an edition that fulfil a condition.
func messages(edition uacsta.Edition, fulfils func(string) bool) []string {
	return slices.DeleteFunc(uacsta.MessagesOf(edition), func(name string) bool { return !fulfils(name) })
}
