//go:build ignore

// Command document writes a page for each request of CSTA, from messages.txt and the examples of
// package uacsta, and a page of the types. Run it with `go generate ./uacsta`, or with an output
// directory as its argument.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

const generated = "<!-- Made by uacsta/document.go from messages.txt and examples.txt: go generate ./uacsta -->\n\n"

// commands are the command lines that send a request.
var commands = map[string][]string{
	"AlternateCall": {"alternate 101"}, "AnswerCall": {"answer 102"}, "AssociateData": {"associate 101 --correlator c0ffee"},
	"CallBack": {"callback 101"}, "CallBackNonCallRelated": {"callback 101 102"}, "CamponCall": {"campon 101"},
	"CancelCallBack": {"callback 101 102 --cancel"}, "ClearCall": {"clear-call 101"}, "ClearConnection": {"clear 101"},
	"ConferenceCall": {"conference 101"}, "ConsultationCall": {"consult 101 103"}, "DeflectCall": {"deflect 102 103"},
	"DirectedPickupCall": {"pickup 102 103"}, "GenerateDigits": {"digits 101 1234#"}, "GetAgentState": {"agent 101"},
	"GetAutoAnswer": {"auto-answer 101"}, "GetAutoWorkMode": {"auto-work 101"}, "GetCSTAFeatures": {"features"},
	"GetCallBack": {"callback 101 --list"}, "GetDoNotDisturb": {"dnd 101"}, "GetForwarding": {"forward 101"},
	"GetLastNumberDialed": {"last-number 101"}, "GetLogicalDeviceInformation": {"device 101"}, "GetMessageWaitingIndicator": {"mwi 101"},
	"GetSwitchingFunctionCaps": {"capabilities"}, "GetSwitchingFunctionDevices": {"devices --category station"},
	"GroupPickupCall": {"group-pickup 103 500"}, "HoldCall": {"hold 101"}, "IntrudeCall": {"intrude 103"}, "JoinCall": {"join 101 103 --silent --prompt"},
	"MakeCall": {"call 101 102"}, "MakePredictiveCall": {"predict 300 0172555123 --alert-time 20s"}, "MonitorStart": {"monitor 101"},
	"ParkCall": {"park 101 400"}, "PlayMessage": {"play 101 welcome --until-digit"}, "ReconnectCall": {"reconnect 101"},
	"RecordMessage": {"record 101 --limit 60s"}, "RequestSystemStatus": {"system-status"}, "RetrieveCall": {"retrieve 101"},
	"RouteEnd": {"route 600 --to 102"}, "RouteRegister": {"route 600 --to 102"}, "RouteReject": {"route 600 --reject busyOverflow"},
	"RouteSelect": {"route 600 --to 102"}, "SendUserInformation": {"user-info 101 c0ffee"},
	"SetAgentState": {"agent 101 login --id 7001 --group 300 --agent-password-file pin", "agent 101 ready"},
	"SetAutoAnswer": {"auto-answer 101 on --rings 2"}, "SetAutoWorkMode": {"auto-work 101 on --interval 30s"}, "SetDoNotDisturb": {"dnd 101 on"},
	"SetForwarding": {"forward 101 no-answer 102 --rings 4"}, "SetMessageWaitingIndicator": {"mwi 101 on"},
	"SingleStepConferenceCall": {"conference 101 103"}, "SingleStepTransferCall": {"transfer 101 103"},
	"SnapshotDevice": {"snapshot 101"}, "Stop": {"stop 101 welcome"}, "SystemRegister": {"system-status --follow"}, "TransferCall": {"transfer 101"},
}

// basics are the types that are Go's or written by hand: their names, and what they are in JSON.
var basics = []struct{ typ, name, text string }{
	{"str", "text", "a string"},
	{"hex", "hexadecimal digits", "a string of hexadecimal digits, two for an octet"},
	{"int", "whole number", "a number without a fraction"},
	{"float", "number", "a number"},
	{"bool", "boolean", "`true` or `false`"},
	{"Empty", "mark", "`true`; in XML an element without content"},
	{"Dev", "device", "a string: an extension, a number, a tel: or SIP URI, or whatever the switch calls a device. A `typeOfNumber` of `deviceNumber` or `dynamic` stands before it (`dynamic:3930`); others are in a member beside it: `\"@device\":{\"typeOfNumber\":\"other\"}`"},
	{"Conn", "connection", "a device in a call: an object with `callID` (text) and `deviceID` (device); one of them may be absent"},
	{"Ext", "device in an event", "an object with one member: `deviceIdentifier` (device), `notKnown` (mark) or `restricted` (mark)"},
	{"Redir", "redirecting device", "an object with one member: `numberDialed` (device), `notKnown`, `notRequired` (the call was not redirected), `notSpecified` or `restricted` (marks)"},
	{"End", "end of a connection", "an object with one member: `deviceID` (device), `notKnown` (mark) or `restricted` (mark)"},
	{"State", "connection state", "`null`, `initiated`, `alerting`, `connected`, `hold`, `queued` or `fail`"},
	{"Cause", "event cause", "why something happened, such as `newCall`, `busy`, `transfer` or `normalClearing`"},
	{"Data", "data", "an object with one member: `string` (hexadecimal digits) or `private` (XML)"},
	{"Failure", "error value", "an object with one member: the category, and in it the value, such as `{\"operation\":\"generic\"}`"},
	{"Capabilities", "capabilities", "an object for each list, such as `callControlServList`; in it one for each service or event; in that a boolean for each detail"},
	{"MonitorObject", "monitored object", "an object with one member: `callObject` (connection) or `deviceObject` (device)"},
	{"Destinations", "destinations", "a list of devices; in XML one device up to edition 5"},
	{"Raw", "XML", "a string with the XML of the content"},
}

func main() {
	log.SetFlags(0)
	dir := filepath.Join("..", "docs", "csta")
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	t, err := read("messages.txt")
	if err != nil {
		log.Fatal(err)
	}
	pages := map[string]string{"README.md": t.index(), "types.md": t.types()}
	for _, s := range t.sections {
		for _, e := range s.requests() {
			pages[e.name+".md"] = t.page(s, e)
		}
	}
	if err := write(dir, pages); err != nil {
		log.Fatal(err)
	}
}

// write writes the pages and removes generated pages that are no longer among them.
func write(dir string, pages map[string]string) error {
	old, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		return err
	}
	for _, file := range old {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if _, wanted := pages[filepath.Base(file)]; !wanted && bytes.HasPrefix(data, []byte(generated)) {
			if err := os.Remove(file); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, page := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(generated+page), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// requests returns the requests of a section of messages.
func (s *section) requests() []*entry {
	if s.name == "types" || s.name == "enumerations" {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.entries), func(e *entry) bool { return len(e.classes) == 0 })
}

// sentence makes a sentence of a text of the table.
func sentence(text string) string {
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

const head = `# The requests of CSTA

A page for each request: its fields, an example in CSTA-XML and in JSON, the response, and who may send it. The types of
fields are in [types.md](types.md), the JSON form of messages in [uacsta/README.md](../../uacsta/README.md#json). The
examples are of edition 6 of ECMA-323. In edition 3 the namespace ends in ` + "`ed3`" + `; the pages say what else differs.

## Send one

| way | how |
| --- | --- |
| HTTP | ` + "`POST /v1/csta`" + ` with the request in JSON (` + "`Content-Type: application/json`" + `) or XML (` + "`application/xml`" + `); the response has the same form |
| CSTA-XML over TCP and TLS | [wire/cstaxml/README.md](../../wire/cstaxml/README.md) |
| TR/87, over SIP | [tr87/README.md](../../tr87/README.md) |
| command line | ` + "`tr87proxy send FILE`" + ` sends a file in XML or JSON; many requests have a command of their own |

## Refusals

A refusal is a CSTAErrorCode with a category and a value: ` + "`{\"CSTAErrorCode\":{\"operation\":\"invalidDeviceID\"}}`" + `. Each page
has the values for a client that lacks a right ([docs/policy.md](../policy.md)). Besides, every request can get

| refusal | when |
| --- | --- |
| operation/invalidParameterValue | a mandatory field is missing, or a value is not of its type |
| operation/invalidDeviceID | there is no such device |
| operation/invalidConnectionID | the device is not in the call |
| operation/serviceNotSupported | the switch does not have the service |
| stateIncompatibility | the call is in another state than the service needs |
| systemResourceAvailibility | the link to the switch is down, or something that the service needs is busy |
| subscribedResourceAvailability, performanceManagement | the client has reached a limit or rate |
`

// index writes the page that lists the requests.
func (t tables) index() string {
	var b strings.Builder
	b.WriteString(head)
	for _, s := range t.sections {
		requests := s.requests()
		if len(requests) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n| request | what it does |\n| --- | --- |\n", s.title)
		for _, e := range requests {
			fmt.Fprintf(&b, "| [%s](%s.md) | %s |\n", e.name, e.name, e.doc)
		}
	}
	return b.String()
}

// page writes the page of a request.
func (t tables) page(s *section, e *entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n", e.name, sentence(e.doc))
	fmt.Fprintf(&b, "- Group: [%s](README.md#%s)\n", s.title, anchor(s.title))
	if e.edition6 {
		b.WriteString("- Editions: from 6 on\n")
	}
	comes := e.direction == "from-switch"
	switch {
	case comes:
		b.WriteString("- Sent by the switch: a client receives it\n")
	case slices.Equal(e.classes, []string{"none"}):
		b.WriteString("- Classes of services: none; the name alone stands for it in rules\n")
	default:
		fmt.Fprintf(&b, "- Classes of services ([docs/policy.md](../policy.md#classes-of-services)): %s\n", strings.Join(e.classes, ", "))
	}
	b.WriteString("\n## Request\n\n")
	b.WriteString(t.fields(e, !comes))
	b.WriteString(example(e.name))
	t.responses(&b, e)
	if comes {
		return b.String()
	}
	t.rights(&b, e)
	b.WriteString("\n## Send it\n\n```sh\n")
	document, _ := uacsta.Example(e.name).MarshalJSON()
	fmt.Fprintf(&b, "curl --header \"Authorization: Bearer $TOKEN\" --header 'Content-Type: application/json' \\\n  --data '%s' http://127.0.0.1:8880/v1/csta\n", document)
	for _, line := range commands[e.name] {
		fmt.Fprintf(&b, "tr87proxy %s\n", line)
	}
	b.WriteString("```\n\nOther ways: [README.md](README.md#send-one)\n")
	return b.String()
}

// responses writes the positive response of a request; application sessions have a negative one, too.
func (t tables) responses(b *strings.Builder, e *entry) {
	found := false
	for _, kind := range []struct{ suffix, title string }{{"Response", "Response"}, {"PosResponse", "Positive response"}, {"NegResponse", "Negative response"}} {
		response := t.entries[e.name+kind.suffix]
		if response == nil {
			continue
		}
		found = true
		fmt.Fprintf(b, "\n## %s\n\n", kind.title)
		b.WriteString(t.fields(response, false))
		b.WriteString(example(response.name))
	}
	if !found {
		b.WriteString("\n## Response\n\nThere is no positive response. The request can be refused.\n")
	}
}

// rights writes what a client needs, and the refusals for clients that do not have it.
func (t tables) rights(b *strings.Builder, e *entry) {
	service := uacsta.ServiceOf(e.name)
	var lines []string
	for _, role := range []uacsta.Role{uacsta.Subject, uacsta.Destination} {
		right := "control"
		switch {
		case role == uacsta.Destination:
			right = "dial"
		case uacsta.Observes(e.name):
			right = "observe"
		}
		for _, element := range service.Elements(role) {
			lines = append(lines, fmt.Sprintf("| `%s` | %s | operation/%s |\n", element, right, service.Refusal(role)))
		}
	}
	if len(lines) > 0 {
		b.WriteString("\n## Rights\n\n| device in | right | refusal without it |\n| --- | --- | --- |\n" + strings.Join(lines, ""))
	}
}

// example writes the example of a message in XML and JSON.
func example(name string) string {
	m := uacsta.Example(name)
	document, err := m.MarshalJSON()
	if err != nil {
		log.Fatal(name, ": ", err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, document, "", "  "); err != nil {
		log.Fatal(name, ": ", err)
	}
	return fmt.Sprintf("\n```xml\n%s\n```\n\n```json\n%s\n```\n", m.Indented(), indented.String())
}

// devices are the words for what a request does with the devices in a field.
var devices = map[string]string{"": "acts on it", "destination": "sends a call to it, or makes it send calls", "mentioned": "only names it"}

// fields writes the table of a message's or type's fields, with what a request does with devices.
func (t tables) fields(e *entry, request bool) string {
	if len(e.children) == 0 {
		return "No fields of its own.\n"
	}
	if e.form == "set of" {
		names := make([]string, len(e.children))
		for i, c := range e.children {
			names[i] = "`" + c.name + "`" + c.editions(" (", ")")
		}
		return "Booleans; absent is `false`: " + strings.Join(names, ", ") + ".\n"
	}
	var b strings.Builder
	if e.form == "one of" {
		b.WriteString("One of these:\n\n")
	}
	b.WriteString("| field | type | |\n| --- | --- | --- |\n")
	for _, c := range e.children {
		var notes []string
		if c.required && e.form == "" {
			notes = append(notes, "mandatory")
		}
		if editions := c.editions("", ""); editions != "" {
			notes = append(notes, editions)
		}
		if request && identifies(c.typ, t.entries) {
			notes = append(notes, devices[c.role])
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.name, t.typeOf(c), strings.Join(notes, "; "))
	}
	return b.String()
}

// editions says which editions have a child, between two texts; "" for all.
func (c child) editions(before, after string) string {
	switch {
	case c.alias != "":
		return before + "`" + c.alias + "` in XML up to edition 5" + after
	case c.only == "ed6":
		return before + "from edition 6 on" + after
	case c.only == "ed3":
		return before + "up to edition 5" + after
	}
	return ""
}

// typeOf writes the type of a child.
func (t tables) typeOf(c child) string {
	name := c.typ
	for _, basic := range basics {
		if basic.typ == c.typ {
			name = basic.name
		}
	}
	text := fmt.Sprintf("[%s](types.md#%s)", name, anchor(name))
	if e := t.entries[c.typ]; e != nil && len(e.values) > 0 && len(e.values) <= 4 && !e.others {
		text = "`" + strings.Join(e.plainValues(), "`, `") + "`"
	}
	if c.item != "" || c.repeat {
		text = "list of " + text
	}
	return text
}

// types writes the page of the types.
func (t tables) types() string {
	causes, err := constants("cause.go", "EventCause")
	if err != nil {
		log.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("# The types of CSTA\n\nWhat the fields of [requests](README.md) and responses consist of.\n\n## Basic types\n")
	for _, basic := range basics {
		text := sentence(basic.text)
		if basic.typ == "Cause" {
			text += " All: `" + strings.Join(causes, "`, `") + "`, and others."
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s\n", basic.name, text)
	}
	for _, s := range t.sections {
		if s.name != "types" && s.name != "enumerations" {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n", s.title)
		for _, e := range s.entries {
			fmt.Fprintf(&b, "\n### %s\n\n%s\n\n", e.name, sentence(e.doc))
			if len(e.values) == 0 {
				b.WriteString(t.fields(e, false))
				continue
			}
			values := make([]string, len(e.values))
			for i, value := range e.values {
				plain, later := strings.CutPrefix(value, "+")
				if values[i] = "`" + plain + "`"; later {
					values[i] += " (from edition 6 on)"
				}
			}
			if e.others {
				values = append(values, "and others")
			}
			b.WriteString(strings.Join(values, ", ") + ".\n")
		}
	}
	return b.String()
}

// anchor returns the fragment that stands for a heading.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return -1
	}, strings.ToLower(heading))
}
