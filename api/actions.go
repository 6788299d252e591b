package api

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// action is one service of CSTA as a path of this interface.
type action struct {
	name    string // in Can, and as the operation's identifier: answer, set-forwarding
	last    string // the last part of the path
	service string
	method  string
	call    bool     // the path names a call at a device; else a device
	object  string   // the member of the request that the path gives: a connection or a device
	other   string   // the member for the second connection, which with gives; "": none
	by      string   // the member for the device that does it, which by gives; "": none
	needs   []string // the members that CSTA requires
	to      string   // the member for the only destination, which to gives; "": none
	many    bool     // that member is a list
}

// path returns the path of the action.
func (a *action) path() string {
	switch {
	case a.service == uacsta.NameMakeCall:
		return "/v1/devices/{device}/calls"
	case a.call:
		return "/v1/devices/{device}/calls/{call}/" + a.last
	}
	return "/v1/devices/{device}/" + a.last
}

// members returns what a body may have, apart from attributes: the short members, then those of CSTA that the path and the
// short ones do not give.
func (a *action) members() []string {
	short := slices.Collect(maps.Keys(a.shorts()))
	if a.other != "" {
		short = append(short, "with")
	}
	if a.service == uacsta.NameMakeCall {
		short = append(short, "prompt")
	}
	properties, _ := uacsta.JSONSchema(a.service)["properties"].(map[string]any)
	if properties["correlatorData"] != nil {
		short = append(short, "correlator")
	}
	slices.Sort(short)
	var long []string
	for name := range properties {
		if !strings.HasPrefix(name, "@") && name != "otherElements" && name != a.object && (a.other == "" || name != "heldCall" && name != "activeCall") {
			long = append(long, name)
		}
	}
	slices.Sort(long)
	return append(short, long...)
}

// shorts returns the short members that a body may have in place of one of CSTA, and that.
func (a *action) shorts() map[string]string {
	members := map[string]string{"to": a.to, "by": a.by}
	maps.DeleteFunc(members, func(_, member string) bool { return member == "" })
	return members
}

// shortNames are the last parts of paths that are not the service's own name.
var shortNames = map[string]string{
	uacsta.NameClear: "clear-message", uacsta.NameClearConnection: "clear", uacsta.NameClearCall: "clear-call", uacsta.NameConsultationCall: "consult",
	uacsta.NameDialDigits: "dial", uacsta.NameDirectedPickupCall: "pickup", uacsta.NameGenerateDigits: "digits", uacsta.NameGenerateTelephonyTones: "tones",
	uacsta.NameGetMessageWaitingIndicator: "message-waiting", uacsta.NameGroupPickupCall: "pickup", uacsta.NameMakeCall: "call", uacsta.NameMakePredictiveCall: "predictive-call",
	uacsta.NamePlayMessage: "play", uacsta.NameRecordMessage: "record", uacsta.NameSetMessageWaitingIndicator: "message-waiting",
	uacsta.NameGetAuditoryApparatusInformation: "auditory-apparatus",
}

// elsewhere are services that have a resource of their own, or that only a program with a session of its own can use.
var elsewhere = []string{
	uacsta.NameSnapshotCall, uacsta.NameSnapshotDevice, uacsta.NameGetSwitchingFunctionDevices, uacsta.NameRouteRegister, uacsta.NameRouteRequest,
	uacsta.NameRouteSelect, uacsta.NameRouteUsed,
}

// actions are the services that act on a device or on a call at one, ordered by name. The others are for POST /v1/csta.
var actions = sync.OnceValue(makeActions)

func makeActions() []*action {
	var list []*action
	for _, service := range uacsta.Services() {
		if slices.Contains(elsewhere, service) || uacsta.NewMessage("", service).OneWay() {
			continue
		}
		subjects := uacsta.ServiceOf(service).Elements(uacsta.Subject)
		among := func(names []string) []string {
			return slices.DeleteFunc(names, func(n string) bool { return !slices.Contains(subjects, n) })
		}
		connections, devices := among(uacsta.ConnectionsOf(service)), among(uacsta.DevicesOf(service))
		a := &action{service: service, method: http.MethodPost}
		a.needs, _ = uacsta.JSONSchema(service)["required"].([]string)
		switch {
		case len(connections) > 0:
			a.call, a.object = true, connections[0]
			if len(connections) > 1 {
				a.other = connections[1]
			}
			if len(devices) > 0 {
				a.by = devices[0]
			}
		case len(devices) > 0:
			a.object = devices[0]
		default:
			continue
		}
		if to := uacsta.ServiceOf(service).Elements(uacsta.Destination); len(to) == 1 && slices.Contains(uacsta.DevicesOf(service), to[0]) {
			a.to = to[0]
			member, _ := uacsta.JSONSchema(service)["properties"].(map[string]any)[a.to].(map[string]any)
			a.many = member["type"] == huma.TypeArray
		}
		rest, verb := service, ""
		switch {
		case strings.HasPrefix(service, "Get"):
			a.method, rest, verb = http.MethodGet, service[3:], "get-"
		case strings.HasPrefix(service, "Set"):
			a.method, rest, verb = http.MethodPut, service[3:], "set-"
		}
		a.last = cmp.Or(shortNames[service], kebab(strings.TrimSuffix(rest, "Call")))
		a.name = verb + a.last
		if service == uacsta.NameGroupPickupCall {
			a.name = "group-pickup"
		}
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *action) int { return cmp.Compare(a.name, b.name) })
	return list
}

// kebab writes a name in small letters with hyphens: DoNotDisturb as do-not-disturb, CallerIDStatus as caller-id-status.
func kebab(name string) string {
	var b strings.Builder
	for i, r := range name {
		upper := r >= 'A' && r <= 'Z'
		if upper && i > 0 && (name[i-1] >= 'a' || i+1 < len(name) && name[i+1] >= 'a') {
			b.WriteByte('-')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

// actionsOf returns the actions of services.
func actionsOf(services []string) []string {
	list := []string{}
	for _, a := range actions() {
		if slices.Contains(services, a.service) {
			list = append(list, a.name)
		}
	}
	return list
}

// Service returns the service of CSTA that an action of this interface is, such as MakeCall for call; "" if there is no such
// action.
func Service(action string) string {
	for _, a := range actions() {
		if a.name == action {
			return a.service
		}
	}
	return ""
}
