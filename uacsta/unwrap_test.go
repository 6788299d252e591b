package uacsta

import (
	"strings"
	"testing"
)

// Some switches write a deviceIdentifier within the deviceID of a connection: it is read as the device, with its attributes, and written
// as the standard has it. What has more in it stays unclear.
func TestDeviceWithinDevice(t *testing.T) {
	for document, want := range map[string]string{
		"<MakeCallResponse><callingDevice><callID>1</callID>\n<deviceID>\n <deviceIdentifier typeOfNumber=\"dialingNumber\">100</deviceIdentifier>\n</deviceID></callingDevice></MakeCallResponse>": `<callingDevice><callID>1</callID><deviceID typeOfNumber="dialingNumber">100</deviceID></callingDevice>`,
		`<c:HeldEvent xmlns:c="` + NamespaceED3 + `"><c:heldConnection><c:deviceID><c:deviceIdentifier>100</c:deviceIdentifier></c:deviceID></c:heldConnection></c:HeldEvent>`:                      `<heldConnection><deviceID>100</deviceID></heldConnection>`,
		`<MakeCallResponse><callingDevice><deviceID><deviceIdentifier/></deviceID></callingDevice></MakeCallResponse>`:                                                                              `<deviceID/>`,
		`<MakeCallResponse><callingDevice><deviceID>1<deviceIdentifier>100</deviceIdentifier></deviceID></callingDevice></MakeCallResponse>`:                                                        "",
		`<MakeCallResponse><callingDevice><deviceID><deviceIdentifier>100</deviceIdentifier><deviceIdentifier>101</deviceIdentifier></deviceID></callingDevice></MakeCallResponse>`:                 "",
		`<MakeCallResponse><callingDevice><deviceID><deviceIdentifier><deviceIdentifier>100</deviceIdentifier></deviceIdentifier></deviceID></callingDevice></MakeCallResponse>`:                    "",
		`<MakeCallResponse><callingDevice><deviceID typeOfNumber="other"><deviceIdentifier typeOfNumber="dialingNumber">100</deviceIdentifier></deviceID></callingDevice></MakeCallResponse>`:       "",
		`<MakeCallResponse><callingDevice><deviceID><deviceIdentifier xmlns="urn:other">100</deviceIdentifier></deviceID></callingDevice></MakeCallResponse>`:                                       "",
		`<MakeCall><callingDevice><deviceIdentifier>100</deviceIdentifier></callingDevice><calledDirectoryNumber>101</calledDirectoryNumber></MakeCall>`:                                            "",
		`<MakeCallResponse><callingDevice><deviceID><!-- --><deviceIdentifier>100</deviceIdentifier></deviceID></callingDevice></MakeCallResponse>`:                                                 `<deviceID>100</deviceID>`,
	} {
		m, err := Parse([]byte(document))
		if (err == nil) != (want != "") || err == nil && !strings.Contains(string(m.Bytes()), want) {
			t.Errorf("%s: %v %v", document, m, err)
		}
	}
}
