package tests

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Mallory may control one device and call one other. Alice and Bob talk to one another. In the
// documents {me}, {partner}, {alice} and {bob} are devices; {own} is the call that Mallory is
// active in, {held} the one that she holds, where she can have two, and {foreign} that of Alice and
// Bob.

// naming is one way in which a request names somebody.
type naming struct {
	service  string
	way      string // the place, and what is named there
	document string
	about    string // what the audit file must have as its object; "": nobody can say which it is
	// own: what the standard has places for is Mallory's, so that the request may be carried out.
	own bool
}

// namings are all ways of all services, made of the table of messages: a service that is new is
// among them.
var namings = sync.OnceValue(func() []naming {
	var all []naming
	for _, service := range uacsta.Names() {
		if !uacsta.IsRequest(service) {
			continue
		}
		first := true
		walk(reflect.TypeOf(uacsta.New(service)).Elem(), nil, func(trail []int) {
			w := waysAt(service, trail)
			if first {
				w.add("only her own", inside(w.name, w.ours), "")
				w.all[len(w.all)-1].own = true
			}
			first = false
			all = append(all, w.all...)
		})
	}
	return all
})

var (
	typeDevice     = reflect.TypeFor[uacsta.DeviceID]()
	typeConnection = reflect.TypeFor[uacsta.ConnectionID]()
	// holders are the other types that have a device in them.
	holders = []reflect.Type{reflect.TypeFor[uacsta.ExtendedDeviceID](), reflect.TypeFor[uacsta.RedirectionDeviceID](), reflect.TypeFor[uacsta.ConnectionListEnd]()}
)

// walk finds the fields that hold a device or a connection; found gets the way to each.
func walk(of reflect.Type, trail []int, found func(trail []int)) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	switch {
	case of == typeDevice || of == typeConnection || slices.Contains(holders, of):
		found(trail)
	case of.Kind() == reflect.Struct:
		for i := range of.NumField() {
			if _, listed := of.Field(i).Tag.Lookup("csta"); listed {
				walk(of.Field(i).Type, append(slices.Clone(trail), i), found)
			}
		}
	}
}

// What stands at the place that a request is made for.
const markedCall, markedDevice = "MARKED-CALL", "MARKED-DEVICE"

// called are the names of elements that say where calls are sent: there stands whom Mallory may
// call.
var called = strings.Fields("calledDirectoryNumber consultedDevice transferredTo newDestination deviceToJoin parkTo targetDevice destinationDevices forwardDN diallingSequence routeSelected alternateRoutes")

// values are those of enumerations with which services are carried out; of the others it is the first.
var values = map[string]string{
	"AutoOriginate": "doNotPrompt", "ParticipationType": "active", "ForwardingType": "forwardImmediate", "ReqAgentState": "loggedOn", "MonitorType": "device",
}

// fill makes an honest request, but for the marks where the trail leads. What need not be there
// is left out.
func fill(v reflect.Value, name string, trail []int, marked bool) {
	device := func() uacsta.DeviceID {
		switch {
		case marked:
			return uacsta.Dev(markedDevice)
		case slices.Contains(called, name):
			return uacsta.Dev("{partner}")
		}
		return uacsta.Dev("{me}")
	}
	switch v.Type() {
	case typeDevice:
		v.Set(reflect.ValueOf(device()))
		return
	case typeConnection:
		c := uacsta.Conn(ownCall(name), "{me}")
		if marked {
			c = uacsta.Conn(markedCall, markedDevice)
		}
		v.Set(reflect.ValueOf(c))
		return
	case holders[0]:
		v.Set(reflect.ValueOf(uacsta.ExtendedDeviceID{Device: device()}))
		return
	case holders[1]:
		v.Set(reflect.ValueOf(uacsta.RedirectionDeviceID{NumberDialed: device()}))
		return
	case holders[2]:
		v.Set(reflect.ValueOf(uacsta.ConnectionListEnd{DeviceID: device()}))
		return
	case reflect.TypeFor[uacsta.Data]():
		v.Set(reflect.ValueOf(uacsta.Data{String: "31"}))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name, trail, marked)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0), name, trail, marked)
		}
	case reflect.Struct:
		fillFields(v, trail, marked)
	case reflect.String:
		value := "31"
		if known := uacsta.ValuesOf(v.Type().Name()); len(known) > 0 {
			value = known[0]
		}
		v.SetString(cmp.Or(values[v.Type().Name()], value))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(1)
	}
}

// ownCall is which of Mallory's calls stands in an element.
func ownCall(element string) string {
	if element == "heldCall" {
		return "{held}"
	}
	return "{own}"
}

func fillFields(v reflect.Value, trail []int, marked bool) {
	chosen := marked && len(trail) > 0
	for i := range v.NumField() {
		tag, listed := v.Type().Field(i).Tag.Lookup("csta")
		if !listed {
			continue
		}
		options := strings.Split(tag, ",")
		name, _, _ := strings.Cut(options[0], ">")
		choice := slices.Contains(options, "choice")
		switch {
		case marked && len(trail) > 0 && trail[0] == i:
			fill(v.Field(i), name, trail[1:], true)
		case choice && !chosen:
			chosen = true
			fill(v.Field(i), name, nil, false)
		case slices.Contains(options, "required") && !choice:
			fill(v.Field(i), name, nil, false)
		}
	}
}

var markedElement = regexp.MustCompile(`<(\w+)>(<callID>` + markedCall + `</callID><deviceID>)?` + markedDevice)

// waysAt are the ways for one place.
func waysAt(service string, trail []int) *ways {
	request := uacsta.New(service)
	fill(reflect.ValueOf(request).Elem(), "", trail, true)
	honest := uacsta.Encode(request, uacsta.Edition6).String()
	if !strings.Contains(honest, markedDevice) { // it is not in this edition any more
		honest = uacsta.Encode(request, uacsta.Edition3).String()
	}
	if service == "GroupPickupCall" { // its newDestination is who picks up
		honest = strings.ReplaceAll(honest, "{partner}", "{me}")
	}
	found := markedElement.FindStringSubmatch(honest)
	if found == nil {
		panic(service + " has no place " + fmt.Sprint(trail) + ": " + honest)
	}
	w := &ways{service: service, honest: honest, name: found[1]}
	if found[2] != "" {
		w.connection()
	} else {
		w.device()
	}
	return w
}

// ways makes the ways for one place.
type ways struct {
	service, honest, name string
	ours                  string // what stands in the element where all is Mallory's
	all                   []naming
}

// with is the request with something else in place of the marked element.
func (w *ways) with(element string) string {
	for _, content := range []string{markedDevice, connection(markedCall, markedDevice)} {
		if whole := inside(w.name, content); strings.Contains(w.honest, whole) {
			return strings.Replace(w.honest, whole, element, 1)
		}
	}
	panic(w.service + " has no element " + w.name)
}

func inside(name, content string) string { return "<" + name + ">" + content + "</" + name + ">" }

func connection(callID, device string) string {
	text := ""
	if callID != "" {
		text = inside("callID", callID)
	}
	if device != "" {
		text += inside("deviceID", device)
	}
	return text
}

func (w *ways) add(way, element, about string) {
	w.all = append(w.all, naming{service: w.service, way: w.name + ": " + way, document: w.with(element), about: about})
}

func (w *ways) connection() {
	ours := ownCall(w.name)
	own, foreign := connection(ours, "{me}"), connection("{foreign}", "{alice}")
	for _, c := range [][3]string{
		{"foreign call, own device", "{foreign}", "{me}"}, {"own call, foreign device", ours, "{alice}"}, {"foreign call, foreign device", "{foreign}", "{alice}"},
		{"foreign callID alone", "{foreign}", ""}, {"the other party of a foreign call", "{foreign}", "{bob}"},
	} {
		w.add(c[0], inside(w.name, connection(c[1], c[2])), c[1]+"@"+c[2])
	}
	w.add("foreign deviceID alone", inside(w.name, connection("", "{alice}")), "{alice}")
	callID, device := inside("callID", ours), inside("deviceID", "{me}")
	foreignCall, foreignDevice := inside("callID", "{foreign}"), inside("deviceID", "{alice}")
	for _, c := range [][2]string{
		{"callID twice", foreignCall + callID + device}, {"callID twice, the own first", callID + foreignCall + device},
		{"deviceID twice", callID + foreignDevice + device}, {"deviceID twice, the own first", callID + device + foreignDevice},
		{"deviceID in other letters", own + inside("DeviceID", "{alice}")}, {"callID in other letters", inside("CALLID", "{foreign}") + own},
		{"deviceID of a foreign namespace", own + `<x:deviceID xmlns:x="urn:x">{alice}</x:deviceID>`}, {"callID of a foreign namespace", `<x:callID xmlns:x="urn:x">{foreign}</x:callID>` + own},
		{"a connection in a connection", own + inside(w.name, foreign)},
	} {
		w.add(c[0], inside(w.name, c[1]), "")
	}
	for _, split := range splits {
		w.add("callID split by "+split, inside(w.name, inside("callID", "{foreign}"+split+ours)+device), "")
		w.add("deviceID split by "+split, inside(w.name, callID+inside("deviceID", "{alice}"+split+"{me}")), "")
	}
	w.around(own, foreign)
}

func (w *ways) device() {
	own := "{me}"
	if slices.Contains(called, w.name) || w.name == "device" && strings.Contains(w.honest, "{partner}") {
		own = "{partner}"
	}
	w.add("foreign device", inside(w.name, "{alice}"), "{alice}")
	for _, split := range splits {
		w.add("text split by "+split, inside(w.name, "{alice}"+split+own), "")
	}
	w.around(own, "{alice}")
	if !mentioned.MatchString(w.honest) {
		return
	}
	for i, n := range w.all { // it may be carried out
		w.all[i].own = n.own || n.about != "" || strings.Contains(n.way, ": twice") && strings.Contains(w.honest, "<callingDevice>")
	}
}

// mentioned are requests with a device to which nothing is done: who calls from it is not put
// through, left a message, is told of, or had asked to be called back.
var mentioned = regexp.MustCompile(`<callingDeviceList><callingDevice>MARKED|<deviceForMessage>MARKED|<deviceInfo>.*MARKED|<acdGroup>MARKED|^<CancelCallBack.*<targetDevice>MARKED`)

// splits stand in a text and leave two, of which one reader takes the first and another the last.
var splits = []string{"<x/>", "<!-- -->", "<?x y?>"}

// around are ways that have something foreign beside the element.
func (w *ways) around(own, foreign string) {
	w.ours = own
	element := inside(w.name, own)
	w.add("twice", inside(w.name, foreign)+element, "")
	w.add("twice, the own first", element+inside(w.name, foreign), "")
	w.add("in other letters", element+inside(strings.ToUpper(w.name), foreign), "")
	w.add("of a foreign namespace", element+`<x:`+w.name+` xmlns:x="urn:x">`+foreign+`</x:`+w.name+`>`, "")
	root := "</" + w.service + ">"
	private := "<extensions><privateData><private>" + inside(w.name, foreign) + "</private></privateData></extensions>"
	w.add("in private data", element, "")
	decoy := &w.all[len(w.all)-1]
	decoy.document, decoy.own = strings.Replace(decoy.document, root, private+root, 1), true
}
