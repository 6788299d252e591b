package uacsta_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/schema"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// schemaFile writes a schema into a file.
func schemaFile(t *testing.T, text []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "schema.xsd")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What the program encodes is valid against the schema that it publishes, in each edition, and Conform changes nothing of it
// but mandatory elements of which a value is known.
func TestSchema(t *testing.T) {
	sessions := map[string][]byte{}
	for edition := uacsta.Edition(3); edition <= 6; edition++ {
		docs := map[string][]byte{}
		for _, name := range uacsta.Names() {
			if uacsta.Since(name) > edition.Written() {
				continue
			}
			for how, full := range map[string]bool{"least": false, "full": true} {
				filled := uacsta.New(name)
				fill(reflect.ValueOf(filled).Elem(), full)
				m := uacsta.Encode(filled, edition.Written())
				before := m.String()
				if !m.Conform(edition) {
					t.Errorf("edition %d has no %s", edition, name)
				}
				if after := strings.Replace(m.String(), edition.Namespace(), edition.Written().Namespace(), 1); full && after != before {
					t.Errorf("%s\nbecame\n%s", before, after)
				}
				if strings.Contains(name, "ApplicationSession") {
					sessions[name+"-"+how] = m.Bytes()
				} else {
					docs[name+"-"+how] = m.Bytes()
				}
			}
		}
		for _, refusal := range []*uacsta.Error{uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService), uacsta.Refuse(uacsta.Unspecified, ""), uacsta.Refuse(uacsta.PrivateErrorCode, "17")} {
			docs["error-"+string(refusal.Category)] = refusal.Message(edition).Bytes()
		}
		schema.ValidateBy(t, schemaFile(t, uacsta.Schema(edition)), docs)
	}
	schema.ValidateBy(t, schemaFile(t, uacsta.SessionSchema()), sessions)
}

// What a switch adds of its own, or leaves out, does not reach peers that refuse a message for it.
func TestConform(t *testing.T) {
	for _, tt := range []struct {
		edition   uacsta.Edition
		doc, want string
	}{
		{3, `<DeliveredEvent %s><monitorCrossRefID v="1">7</monitorCrossRefID><connection><deviceID typeOfNumber="dynamic" nice="x">101</deviceID><callID>1</callID></connection><alertingDevice><deviceIdentifier>101</deviceIdentifier></alertingDevice><callingDevice><notKnown/></callingDevice><calledDevice><notKnown/></calledDevice><localConnectionInfo>purple</localConnectionInfo><cause>vendorCause</cause><vendorElement><x/></vendorElement><extensions><vendor/><privateData><private><v:a xmlns:v="urn:v"/></private></privateData></extensions></DeliveredEvent>`,
			`<DeliveredEvent %s><monitorCrossRefID>7</monitorCrossRefID><connection><callID>1</callID><deviceID typeOfNumber="dynamic">101</deviceID></connection><alertingDevice><deviceIdentifier>101</deviceIdentifier></alertingDevice><callingDevice><notKnown/></callingDevice><calledDevice><notKnown/></calledDevice><lastRedirectionDevice><notSpecified/></lastRedirectionDevice><cause>vendorCause</cause><extensions><privateData><private><v:a xmlns:v="urn:v"/></private></privateData></extensions></DeliveredEvent>`},
		{6, `<SnapshotDeviceResponse %s><crossRefIDorSnapshotData><snapshotData><own/><snapshotDeviceResponseInfo><connectionIdentifier><callID>1</callID><deviceID>2</deviceID></connectionIdentifier><localCallState><compoundCallState><localConnectionState>purple</localConnectionState><localConnectionState>connected</localConnectionState></compoundCallState></localCallState></snapshotDeviceResponseInfo></snapshotData></crossRefIDorSnapshotData></SnapshotDeviceResponse>`,
			`<SnapshotDeviceResponse %s><crossRefIDorSnapshotData><snapshotData><snapshotDeviceResponseInfo><connectionIdentifier><callID>1</callID><deviceID>2</deviceID></connectionIdentifier><localCallState><compoundCallState><localConnectionState>connected</localConnectionState></compoundCallState></localCallState></snapshotDeviceResponseInfo></snapshotData></crossRefIDorSnapshotData></SnapshotDeviceResponse>`},
	} {
		declared := `xmlns="` + tt.edition.Namespace() + `"`
		m, err := uacsta.Parse(fmt.Appendf(nil, tt.doc, declared))
		if err != nil {
			t.Error(err)
			continue
		}
		if !m.Conform(tt.edition) || m.String() != fmt.Sprintf(tt.want, declared) {
			t.Errorf("\n got %s\nwant %s", m, fmt.Sprintf(tt.want, declared))
		}
		schema.ValidateBy(t, schemaFile(t, uacsta.Schema(tt.edition)), map[string][]byte{m.Name(): m.Bytes()})
	}
	m, _ := uacsta.Parse([]byte(`<VendorEvent xmlns="` + uacsta.NamespaceED3 + `"/>`))
	if m.Conform(3) {
		t.Error("a message that no edition has conforms")
	}
}
