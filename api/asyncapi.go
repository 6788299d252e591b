package api

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	record "github.com/tr87proxy/tr87proxy/api/events"
	xml "github.com/tr87proxy/tr87proxy/wire/cstaxml/front"
)

// exchanged is a kind of message on a WebSocket, for the description.
type exchanged struct {
	name, summary string
	of            reflect.Type
	types         []string // values of the member type; nil: it has none
	client        bool     // the client sends it
}

// CSTAMessage is a message of CSTA that comes by itself.
type CSTAMessage struct {
	Type string          `json:"type"`
	CSTA json.RawMessage `json:"csta" doc:"An event of a monitor that was started over this WebSocket, or a request of the switch, in the JSON form of CSTA."`
}

// exchangedMessages are the messages on a WebSocket with the subprotocol events.
func exchangedMessages() []exchanged {
	own := []string{record.Snapshot, record.LinkDown, record.LinkUp}
	happening := slices.DeleteFunc(slices.Clone(record.Types()), func(kind string) bool { return slices.Contains(own, kind) })
	return []exchanged{
		{"event", "Something has happened at a device", typeOf[record.Happening](), happening, false},
		{"ready", "The stream has begun, or begun anew", typeOf[record.Beginning](), []string{record.Ready}, false},
		{"snapshot", "The calls of a device, and no others", typeOf[record.Calls](), []string{record.Snapshot}, false},
		{"gap", "Events are missing here", typeOf[record.Missing](), []string{record.Gap}, false},
		{"link", "A link has gone down or come up", typeOf[record.LinkChange](), []string{record.LinkDown, record.LinkUp}, false},
		{"heartbeat", "Nothing else has happened for a while; the stream can resume after this number", typeOf[record.Sign](), []string{record.Heartbeat}, false},
		{"revoked", "The client may not observe devices any more", typeOf[record.Loss](), []string{record.Revoked}, false},
		{"end", "The stream ends; over a WebSocket, the reason for closing says why instead", typeOf[record.Sign](), []string{record.End}, false},
		{"slow", "The client does not keep up, and the stream ends", typeOf[record.Sign](), []string{record.Slow}, false},
		{"csta", "A message of CSTA that the client has asked for by POST " + cstaPath, typeOf[CSTAMessage](), []string{typeCSTA}, false},
		{"response", "The response to a request", typeOf[SocketResponse](), nil, false},
		{"request", "A request, as over HTTP; PUT " + eventsPath + " with a Subscription changes which events the stream has", typeOf[SocketRequest](), nil, true},
		{"acknowledgement", "Which events need not be sent again, on a WebSocket that the proxy has opened", typeOf[Acknowledgement](), nil, true},
	}
}

// asyncAPI returns the description of the WebSocket (AsyncAPI 3.0), made from the types of its messages.
func asyncAPI() ([]byte, error) {
	type object = map[string]any
	ref := func(path string) object { return object{"$ref": path} }
	schemas := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	components, inChannel := object{}, object{}
	var sent, received []object
	for _, m := range exchangedMessages() {
		payload := any(schemas.Schema(m.of, true, m.name))
		if len(m.types) > 0 {
			payload = object{"allOf": []any{payload, object{"properties": object{"type": object{"enum": m.types}}}}}
		}
		components[m.name] = object{"name": m.name, "summary": m.summary, "contentType": typeJSON, "payload": payload}
		inChannel[m.name] = ref("#/components/messages/" + m.name)
		at := ref("#/channels/events/messages/" + m.name)
		switch {
		case m.name == "response":
		case m.client:
			received = append(received, at)
		default:
			sent = append(sent, at)
		}
	}
	channel := ref("#/channels/events")
	return json.Marshal(object{
		"asyncapi": "3.0.0",
		"info": object{
			"title": "tr87proxy", "version": "1",
			"description": "Events of telephones, and requests over the same WebSocket. docs/api.md introduces it; /openapi.json describes the requests.",
		},
		"defaultContentType": typeJSON,
		"channels": object{"events": object{
			"address":     eventsPath,
			"description": "A WebSocket, with the subprotocol " + protocolEvents + " or none. GET without Upgrade gives the events of the same stream as Server-Sent Events. With the subprotocol " + xml.Subprotocol + " messages carry documents of CSTA-XML (wire/cstaxml/README.md).",
			"messages":    inChannel,
			"bindings":    object{"ws": object{"method": http.MethodGet, "query": schemas.Schema(typeOf[Subscription](), true, "Subscription"), "bindingVersion": "0.1.0"}},
		}},
		"operations": object{
			"sendEvents": object{"action": "send", "channel": channel, "messages": sent, "summary": "The proxy sends events."},
			"receiveRequests": object{
				"action": "receive", "channel": channel, "messages": received, "summary": "The client sends requests.",
				"reply": object{"channel": channel, "messages": []object{ref("#/channels/events/messages/response")}},
			},
		},
		"components": object{"messages": components, "schemas": schemas},
	})
}
