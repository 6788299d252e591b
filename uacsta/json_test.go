package uacsta_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/samples"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Every message, with as little and with as much as its fields hold, is the same after its JSON.
func TestJSONOfEveryMessage(t *testing.T) {
	for _, edition := range []uacsta.Edition{uacsta.Edition3, uacsta.Edition6} {
		for _, name := range uacsta.Names() {
			if uacsta.Since(name) > edition {
				continue
			}
			for _, full := range []bool{false, true} {
				filled := uacsta.New(name)
				fill(reflect.ValueOf(filled).Elem(), full)
				m := uacsta.Encode(filled, edition)
				if len(m.Bytes()) > uacsta.MaxSize { // all details of all capabilities
					if toJSON(t, m); !strings.Contains("GetCSTAFeaturesResponse GetSwitchingFunctionCapsResponse GetLogicalDeviceInformationResponse", name) {
						t.Errorf("%s is too large", name)
					}
					continue
				}
				sameAfterJSON(t, m)
			}
		}
	}
}

// Every capability is the same after its JSON.
func TestJSONOfCapabilities(t *testing.T) {
	for _, edition := range []uacsta.Edition{uacsta.Edition3, uacsta.Edition6} {
		var response uacsta.GetSwitchingFunctionCapsResponse
		for _, c := range uacsta.AllCapabilities("servEvtsList") {
			c.Details = c.Details[:min(len(c.Details), 2)]
			response.ServEvtsList = append(response.ServEvtsList, c)
		}
		sameAfterJSON(t, uacsta.Encode(response, edition))
	}
}

// The samples of the project, and the published ones, are the same after their JSON.
func TestJSONOfSamples(t *testing.T) {
	for _, s := range samples.All {
		if s.Root != "" {
			sameAfterJSON(t, parse(t, s.Wire))
		}
	}
	for _, file := range []string{"samples-ed3.txt", "samples-ecma354.txt"} {
		for _, docs := range publishedSamples(t, file) {
			for _, doc := range docs {
				sameAfterJSON(t, parse(t, doc))
			}
		}
	}
}

func sameAfterJSON(t *testing.T, m *uacsta.Message) {
	t.Helper()
	data := toJSON(t, m)
	again := fromJSON(t, data)
	if twice := toJSON(t, again); !bytes.Equal(twice, data) {
		t.Errorf("another JSON:\n got %s\nwant %s", twice, data)
	}
	again.Convert(m.Edition())
	if m.Known() {
		again.SetNamespace(m.Namespace())
	}
	if got := strings.Replace(again.String(), ` xmlns=""`, "", 1); got != m.String() {
		t.Errorf("another message of %s:\n got %s\nwant %s", data, got, m)
	}
}

// toJSON returns the JSON form of a message, which is an object of one member.
func toJSON(t *testing.T, m *uacsta.Message) []byte {
	t.Helper()
	data, err := m.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]map[string]any
	if err := json.Unmarshal(data, &object); err != nil || len(object) != 1 || object[m.Name()] == nil {
		t.Fatalf("%v: %s", err, data)
	}
	if bytes.ContainsFunc(data, func(r rune) bool { return r < ' ' }) {
		t.Fatalf("more than a line: %q", data)
	}
	return data
}

func fromJSON(t *testing.T, data []byte) *uacsta.Message {
	t.Helper()
	m, err := uacsta.ParseJSON(data)
	if err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	if parsed := parse(t, string(m.Bytes())); parsed.String() != m.String() {
		t.Fatalf("XML reads otherwise:\n got %s\nwant %s", parsed, m)
	}
	return m
}

const ed6 = ` xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed6"`

// The form of each kind of content, in both directions.
func TestJSONForms(t *testing.T) {
	for _, tt := range []struct{ name, xml, json string }{
		{"no content", `<AnswerCallResponse/>`, `{"AnswerCallResponse":{}}`},
		{"devices, enumerations, text", `<MakeCall><callingDevice>101</callingDevice><calledDirectoryNumber>tel:+4930100</calledDirectoryNumber><autoOriginate>doNotPrompt</autoOriginate><subjectOfCall>"a" &lt;b&gt; \</subjectOfCall></MakeCall>`,
			`{"MakeCall":{"callingDevice":"101","calledDirectoryNumber":"tel:+4930100","autoOriginate":"doNotPrompt","subjectOfCall":"\"a\" <b> \\"}}`},
		{"empty text", `<MakeCall><callingDevice/></MakeCall>`, `{"MakeCall":{"callingDevice":""}}`},
		{"connections", `<HoldCall><callToBeHeld><callID>1</callID><deviceID>101</deviceID></callToBeHeld></HoldCall>`,
			`{"HoldCall":{"callToBeHeld":{"callID":"1","deviceID":"101"}}}`},
		{"device numbers and dynamic identifiers", `<HoldCall><callToBeHeld><callID>1</callID><deviceID typeOfNumber="dynamic">3930</deviceID></callToBeHeld></HoldCall>`,
			`{"HoldCall":{"callToBeHeld":{"callID":"1","deviceID":"dynamic:3930"}}}`},
		{"other attributes", `<MakeCall><callingDevice typeOfNumber="explicitPublic:subscriber" mediaClass="voice">101</callingDevice></MakeCall>`,
			`{"MakeCall":{"callingDevice":"101","@callingDevice":{"typeOfNumber":"explicitPublic:subscriber","mediaClass":"voice"}}}`},
		{"numbers, booleans, an empty list", `<SwitchingFunctionDevices><serviceCrossRefID>7</serviceCrossRefID><segmentID>1</segmentID><lastSegment>true</lastSegment><deviceList/></SwitchingFunctionDevices>`,
			`{"SwitchingFunctionDevices":{"serviceCrossRefID":"7","segmentID":1,"lastSegment":true,"deviceList":[]}}`},
		{"a list of one", `<SwitchingFunctionDevices><deviceList><device><deviceID>101</deviceID><deviceCategory>station</deviceCategory></device></deviceList></SwitchingFunctionDevices>`,
			`{"SwitchingFunctionDevices":{"deviceList":[{"deviceID":"101","deviceCategory":"station"}]}}`},
		{"a list of two, with attributes", `<SetDoNotDisturb><device>101</device><callingDeviceList><callingDevice>102</callingDevice><callingDevice typeOfNumber="other">103</callingDevice></callingDeviceList></SetDoNotDisturb>`,
			`{"SetDoNotDisturb":{"device":"101","callingDeviceList":["102","103"],"@callingDeviceList":[{},{"typeOfNumber":"other"}]}}`},
		{"one destination", `<DeflectCall><newDestination><device>103</device></newDestination></DeflectCall>`, `{"DeflectCall":{"newDestination":["103"]}}`},
		{"an empty list within a list", `<SnapshotDeviceResponse><crossRefIDorSnapshotData><snapshotData/></crossRefIDorSnapshotData></SnapshotDeviceResponse>`,
			`{"SnapshotDeviceResponse":{"crossRefIDorSnapshotData":{"snapshotData":{"snapshotDeviceResponseInfo":[]}}}}`},
		{"choices and a fraction", `<VoiceAttributeChangedEvent><playVolume><volAbs>50</volAbs></playVolume><mode>single</mode><silenceTimeout>1.5</silenceTimeout></VoiceAttributeChangedEvent>`,
			`{"VoiceAttributeChangedEvent":{"playVolume":{"volAbs":50},"mode":"single","silenceTimeout":1.5,"grammars":[]}}`},
		{"devices of events", `<DeliveredEvent><alertingDevice><deviceIdentifier>102</deviceIdentifier></alertingDevice><callingDevice><restricted/></callingDevice></DeliveredEvent>`,
			`{"DeliveredEvent":{"alertingDevice":{"deviceIdentifier":"102"},"callingDevice":{"restricted":true}}}`},
		{"private data", `<AnswerCall><extensions><privateData><string>4142</string></privateData><privateData><private><s:order n="&lt;7&gt;" xmlns:s="urn:shop">a &amp; b</s:order></private></privateData></extensions></AnswerCall>`,
			`{"AnswerCall":{"extensions":{"privateData":[{"string":"4142"},{"private":"<s:order n=\"&lt;7&gt;\" xmlns:s=\"urn:shop\">a &amp; b</s:order>"}]}}}`},
		{"elements that the standard does not define", `<AnswerCall xmlns:v="urn:v" v:mark="1"><callToBeAnswered><callID>1</callID></callToBeAnswered><later>1</later><v:x xmlns:v="urn:v"/></AnswerCall>`,
			`{"AnswerCall":{"@":{"xmlns:v":"urn:v","v:mark":"1"},"callToBeAnswered":{"callID":"1"},"otherElements":["<later>1</later>","<v:x xmlns:v=\"urn:v\"/>"]}}`},
		{"a list with something else in it", `<SetDoNotDisturb><device>101</device><callingDeviceList><callingDevice>102</callingDevice><later/></callingDeviceList></SetDoNotDisturb>`,
			`{"SetDoNotDisturb":{"device":"101","otherElements":["<callingDeviceList><callingDevice>102</callingDevice><later/></callingDeviceList>"]}}`},
		{"an error", `<CSTAErrorCode><operation>invalidDeviceID</operation></CSTAErrorCode>`, `{"CSTAErrorCode":{"operation":"invalidDeviceID"}}`},
		{"an error without value", `<CSTAErrorCode><unspecified/></CSTAErrorCode>`, `{"CSTAErrorCode":{"unspecified":""}}`},
		{"an error within a message", `<RouteEnd><crossRefIdentifier>1</crossRefIdentifier><errorValue><operation>generic</operation></errorValue></RouteEnd>`,
			`{"RouteEnd":{"crossRefIdentifier":"1","errorValue":{"operation":"generic"}}}`},
		{"capabilities", `<GetCSTAFeaturesResponse><supportedServices><callControlServList><answerCall/><makeCall><accountCode>true</accountCode></makeCall><newCall/></callControlServList></supportedServices></GetCSTAFeaturesResponse>`,
			`{"GetCSTAFeaturesResponse":{"supportedServices":{"callControlServList":{"answerCall":{},"makeCall":{"accountCode":true},"otherElements":["<newCall/>"]}}}}`},
	} {
		end := strings.IndexAny(tt.xml, " />")
		want := tt.xml[:end] + ed6 + tt.xml[end:]
		if m := parse(t, want); string(toJSON(t, m)) != tt.json || m.String() != want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, toJSON(t, m), tt.json)
		}
		if m := fromJSON(t, []byte(tt.json)); m.String() != want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, m, want)
		}
	}
}

// Messages that the standard does not define keep their XML and their namespace.
func TestForeignJSON(t *testing.T) {
	m := parse(t, `<GetDeviceId xmlns="http://www.avaya.com/csta"><extension>4750</extension></GetDeviceId>`)
	data := toJSON(t, m)
	if want := `{"GetDeviceId":{"xml":"<GetDeviceId xmlns=\"http://www.avaya.com/csta\"><extension>4750</extension></GetDeviceId>"}}`; string(data) != want {
		t.Errorf("%s", data)
	}
	if again := fromJSON(t, data); again.String() != m.String() {
		t.Errorf("%s", again)
	}
}

// ParseJSON refuses what it does not know, and the error names the place.
func TestJSONRefused(t *testing.T) {
	for doc, want := range map[string]string{
		``:                                      "not a CSTA message in JSON: unexpected end",
		`{"AnswerCall":{}} {}`:                  "not a CSTA message in JSON: invalid character '{' after top-level value",
		`{"AnswerCall":{}},`:                    "after top-level value",
		`[]`:                                    `not a CSTA message in JSON: write {"MakeCall":{…}}`,
		`{}`:                                    `write {"MakeCall":{…}}`,
		`{"AnswerCall":{},"HoldCall":{}}`:       "more than one member",
		`{"AnswerCall":{},"AnswerCall":{}}`:     "more than one member",
		`{"MakeCal":{}}`:                        "MakeCal: there is no such message; did you mean \"MakeCall\"?",
		`{"makeCall":{}}`:                       "did you mean \"MakeCall\"?",
		`{"GetDeviceId":{}}`:                    "GetDeviceId: there is no such message",
		`{"GetDeviceId":"<GetDeviceId/>"}`:      "GetDeviceId: there is no such message",
		`{"GetDeviceId":{"xml":"<MakeCall/>"}}`: "GetDeviceId.xml: is the XML of another message",
		`{"GetDeviceId":{"xml":"<GetDeviceId/><MakeCall/>"}}`:                                                            "GetDeviceId.xml: must be the XML of one element",
		`{"GetDeviceId":{"xml":"<GetDeviceId/>","x":1}}`:                                                                 "GetDeviceId: has members besides xml",
		`{"MakeCall":{"xml":"<MakeCall/>"}}`:                                                                             "MakeCall.xml: there is no such member",
		`{"MakeCall":[]}`:                                                                                                "MakeCall: must be an object",
		`{"MakeCall":null}`:                                                                                              "MakeCall: must be an object",
		`{"MakeCall":{"callingDevise":"1"}}`:                                                                             "MakeCall.callingDevise: there is no such member; did you mean \"callingDevice\"?",
		`{"MakeCall":{"callingdevice":"1"}}`:                                                                             "did you mean \"callingDevice\"?",
		`{"MakeCall":{"a\nb":"1"}}`:                                                                                      `MakeCall."a\nb": there is no such member`,
		`{"HoldCall":{"callToBeHeld":{"id":"1"}}}`:                                                                       "HoldCall.callToBeHeld.id: there is no such member; known here: callID, deviceID",
		`{"HoldCall":{"callToBeHeld":{"otherElements":[]}}}`:                                                             "HoldCall.callToBeHeld.otherElements: there is no such member",
		`{"MakeCall":{"callingDevice":"1","callingDevice":"2"}}`:                                                         "MakeCall.callingDevice: occurs twice",
		`{"MakeCall":{"callingDevice":101}}`:                                                                             "MakeCall.callingDevice: must be a string",
		`{"MakeCall":{"callingDevice":null}}`:                                                                            "MakeCall.callingDevice: must be a string",
		`{"MakeCall":{"callingDevice":{"id":"101"}}}`:                                                                    "MakeCall.callingDevice: must be a string",
		`{"MakeCall":{"callingDevice":"\u0000"}}`:                                                                        "MakeCall.callingDevice: has a character that XML does not allow",
		`{"MakeCall":{"callingDevice":"\ufffe"}}`:                                                                        "has a character that XML does not allow",
		`{"MakeCall":{"callingDevice":"\ud83d"}}`:                                                                        "half of a surrogate pair",
		`{"MakeCall":{"callingDevice":"\ude00\ud83d"}}`:                                                                  "half of a surrogate pair",
		`{"MakeCall":{"callingDevice":"\ud83d\\ude00"}}`:                                                                 "half of a surrogate pair",
		"{\"MakeCall\":{\"callingDevice\":\"\xff\"}}":                                                                    "octets that are not UTF-8",
		`{"SetDoNotDisturb":{"doNotDisturbOn":"true"}}`:                                                                  "SetDoNotDisturb.doNotDisturbOn: must be true or false",
		`{"SetDoNotDisturb":{"doNotDisturbOn":1}}`:                                                                       "must be true or false",
		`{"SetAutoAnswer":{"numberOfRings":"3"}}`:                                                                        "SetAutoAnswer.numberOfRings: must be a whole number",
		`{"SetAutoAnswer":{"numberOfRings":3.0}}`:                                                                        "must be a whole number",
		`{"SetAutoAnswer":{"numberOfRings":9223372036854775808}}`:                                                        "must be a whole number",
		`{"VoiceAttributeChangedEvent":{"endSilence":1e400}}`:                                                            "endSilence is no number",
		`{"DeflectCall":{"newDestination":"103"}}`:                                                                       "DeflectCall.newDestination: must be a list; write [ ] around it",
		`{"DeflectCall":{"newDestination":["103",104]}}`:                                                                 "DeflectCall.newDestination[1]: must be a string",
		`{"DeliveredEvent":{"callingDevice":{"restricted":false}}}`:                                                      "DeliveredEvent.callingDevice.restricted: must be true, its only value",
		`{"DeliveredEvent":{"callingDevice":{"restricted":true,"notKnown":true}}}`:                                       "DeliveredEvent.callingDevice: must have one member only",
		`{"DeliveredEvent":{"callingDevice":"101"}}`:                                                                     "DeliveredEvent.callingDevice: must be an object",
		`{"MakeCall":{"@callingDevice":{"typeOfNumber":"other"}}}`:                                                       "MakeCall.@callingDevice: there is no such member beside it",
		`{"MakeCall":{"callingDevice":"1","@callingDevice":[{}]}}`:                                                       "MakeCall.@callingDevice: must be an object for a value",
		`{"MakeCall":{"callingDevice":"1","@callingDevice":"other"}}`:                                                    "MakeCall.@callingDevice: must be an object",
		`{"MakeCall":{"callingDevice":"1","@callingDevice":{"xmlns":"urn:x"}}}`:                                          "MakeCall.@callingDevice.xmlns: is not a permitted attribute",
		`{"MakeCall":{"callingDevice":"1","@callingDevice":{"a=\"\"><x ":""}}}`:                                          "is not a permitted attribute",
		`{"MakeCall":{"callingDevice":"1","@callingDevice":{"a":"","a":""}}}`:                                            "MakeCall.@callingDevice.a: occurs twice",
		`{"MakeCall":{"callingDevice":"1","@callingDevice":{"v:a":""}}}`:                                                 "a prefix that is not declared",
		`{"DeflectCall":{"newDestination":["1","2"],"@newDestination":[{}]}}`:                                            "a list of the same length for a list",
		`{"HoldCall":{"callToBeHeld":{},"@callToBeHeld":{"a":"1"}}}`:                                                     `HoldCall.@callToBeHeld: its attributes must be in the object, as "@"`,
		`{"MakeCall":{"@":{"xmlns":"urn:x"}}}`:                                                                           "MakeCall.@.xmlns: is not a permitted attribute",
		`{"AnswerCall":{"correlatorData":{"private":"</private></correlatorData><later/>"}}}`:                            "AnswerCall.correlatorData.private: not well-formed XML",
		`{"AnswerCall":{"correlatorData":{"private":"</private><private>"}}}`:                                            "AnswerCall.correlatorData.private: not well-formed XML",
		`{"AnswerCall":{"correlatorData":{"private":"<a>"}}}`:                                                            "AnswerCall.correlatorData.private: not well-formed XML",
		`{"AnswerCall":{"correlatorData":{"private":"<!DOCTYPE a>"}}}`:                                                   "AnswerCall.correlatorData.private: document type declarations",
		`{"AnswerCall":{"otherElements":["text"]}}`:                                                                      "AnswerCall.otherElements[0]: must be the XML of one element",
		`{"AnswerCall":{"otherElements":["<a/><b/>"]}}`:                                                                  "AnswerCall.otherElements[0]: must be the XML of one element",
		`{"AnswerCall":{"otherElements":["<device>100</device>"]}}`:                                                      "not expected there",
		`{"GetForwarding":{"device":"100","otherElements":["<device>101</device>"]}}`:                                    "device is there twice",
		`{"CSTAErrorCode":{"operation":"generic","security":"generic"}}`:                                                 "has two values",
		`{"CSTAErrorCode":{"operations":"generic"}}`:                                                                     "did you mean \"operation\"?",
		`{"GetCSTAFeaturesResponse":{"supportedServices":{"callControlServList":["makeCall"]}}}`:                         "callControlServList: must be an object",
		`{"MakeCall":{"subjectOfCall":"` + strings.Repeat("a", uacsta.MaxSize) + `"}}`:                                   "larger than 65536 octets",
		strings.Repeat("[", 20000):                                                                                       "not a CSTA message in JSON",
		`{"DeflectCall":{"newDestination":["` + strings.Repeat(`","`, 10000) + `"]}}`:                                    "too many elements",
		`{"AnswerCall":{"correlatorData":{"private":"` + strings.Repeat("<a>", 40) + strings.Repeat("</a>", 40) + `"}}}`: "deeper than 32",
	} {
		m, err := uacsta.ParseJSON([]byte(doc))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s:\n got %v, %v\nwant %s", doc, m, err, want)
			continue
		}
		var u *uacsta.Unclear
		var refusal *uacsta.Error
		if errors.As(err, &u) && (!errors.As(err, &refusal) || !refusal.Known() || u.Name == "") {
			t.Errorf("%s: no refusal to send back in %#v", doc, err)
		}
	}
}

// lineTexts are texts that callers and programs put into names to forge lines.
var lineTexts = []string{
	"100", "", " a ", `"}`, `\`, "a\nb", "a\r\nb", "\u2028", "\x00", "\x1b[31m", "\ufffe", "\xff", "<x>&amp;]]>", `{"a":1}`, "{{.}}", "Zoë", "\U0001F4DE", "dynamic:3930", strings.Repeat("a", 5000),
}

// FuzzJSON encodes messages with any texts as JSON: each is one line, which encoding/json decodes to
// these texts.
func FuzzJSON(f *testing.F) {
	for _, text := range lineTexts {
		f.Add(text, "100")
		f.Add("100", text)
	}
	f.Fuzz(func(t *testing.T, number, subject string) {
		m := uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev(number), CalledDirectoryNumber: uacsta.Dev(subject), SubjectOfCall: subject}, uacsta.Edition6)
		line := toJSON(t, m)
		var read struct {
			MakeCall struct{ CallingDevice, CalledDirectoryNumber, SubjectOfCall string }
		}
		if err := json.Unmarshal(line, &read); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		number, subject = strings.Trim(legible(number), " \t\r\n"), strings.Trim(legible(subject), " \t\r\n")
		if c := read.MakeCall; c.CallingDevice != number || c.CalledDirectoryNumber != subject || c.SubjectOfCall != subject {
			t.Fatalf("%q, %q is read as %+v", number, subject, read)
		}
	})
}

// FuzzParseJSON looks for documents that crash the reader of JSON, that it reads as a message that
// Parse reads otherwise, or whose meaning changes on the way; and for XML that JSON changes.
func FuzzParseJSON(f *testing.F) {
	for _, s := range samples.All {
		f.Add([]byte(s.Wire))
		if m, err := uacsta.Parse([]byte(s.Wire)); err == nil {
			data, _ := m.MarshalJSON()
			f.Add(data)
		}
	}
	for _, doc := range []string{
		`{"MakeCall":{"callingDevice":"dynamic:AB","@callingDevice":{"typeOfNumber":"other","xmlns:v":"urn:v","v:a":"1"},"correlatorData":{"private":"<a>&lt;</a>"}}}`,
		`{"SetDoNotDisturb":{"callingDeviceList":["1","2"],"@callingDeviceList":[{},{"typeOfNumber":"other"}],"@":{"a":"b"},"otherElements":["<v/>"]}}`,
		`{"VoiceAttributeChangedEvent":{"playVolume":{"volAbs":-0},"silenceTimeout":1e-7,"retainAudio":true,"grammars":["<a/>"]}}`,
		`{"GetCSTAFeaturesResponse":{"supportedServices":{"callControlServList":{"makeCall":{"accountCode":true},"otherElements":["<a/>"]}}}}`,
		`{"GetDeviceId":{"xml":"<GetDeviceId xmlns=\"urn:a\"/>"}}`,
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := uacsta.ParseJSON(data)
		if err != nil {
			if m, err = uacsta.Parse(data); err != nil {
				return
			}
		}
		written := toJSON(t, m)
		if len(written) > uacsta.MaxSize || len(m.Bytes()) > uacsta.MaxSize {
			return // escapes made it longer than it came
		}
		again := fromJSON(t, written)
		if twice := toJSON(t, again); !bytes.Equal(twice, written) {
			t.Fatalf("changed on the way:\n%s\n%s", written, twice)
		}
		if len(m.Devices()) != len(again.Devices()) {
			t.Fatalf("other devices:\n%s\n%s", m, again)
		}
	})
}
