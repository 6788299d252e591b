package uacsta_test

import (
	"errors"
	"fmt"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A document becomes a Message, and a Message a typed struct.
func ExampleParse() {
	m, err := uacsta.Parse([]byte(`<?xml version="1.0"?>
<MakeCall xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3">
  <callingDevice>tel:100</callingDevice>
  <calledDirectoryNumber>tel:101</calledDirectoryNumber>
</MakeCall>`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Name(), m.Kind() == uacsta.Request, m.Edition())
	for _, device := range m.Devices() {
		fmt.Println(device.Path(), device.ID())
	}
	var call uacsta.MakeCall
	if err := m.Decode(&call); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(call.CallingDevice.ID, "calls", call.CalledDirectoryNumber.ID)
	// Output:
	// MakeCall true 3
	// callingDevice tel:100
	// calledDirectoryNumber tel:101
	// tel:100 calls tel:101
}

// Two readers may take different devices out of this document, so it is refused.
func ExampleUnclear() {
	_, err := uacsta.Parse([]byte(`<AnswerCall xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3">` +
		`<callToBeAnswered><callID>1</callID><deviceID>100</deviceID><deviceID>101</deviceID></callToBeAnswered></AnswerCall>`))
	var unclear *uacsta.Unclear
	if errors.As(err, &unclear) {
		fmt.Println(unclear.Name, unclear.Refusal.Category)
	}
	// Output:
	// AnswerCall operation
}

// A struct becomes a message of the peer's edition.
func ExampleEncode() {
	event := uacsta.DeliveredEvent{
		MonitorCrossRefID: "7", Connection: uacsta.Conn("1", "101"), AlertingDevice: uacsta.Ext("101"),
		CallingDevice: uacsta.Ext("100"), CalledDevice: uacsta.Ext("101"), LocalConnectionInfo: uacsta.Alerting, Cause: uacsta.CauseNewCall,
	}
	fmt.Println(uacsta.Encode(event, uacsta.Edition3).Indented())
	refusal := uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
	fmt.Println(refusal.Message(uacsta.Edition3).Indented())
	// Output:
	// <DeliveredEvent xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3">
	//   <monitorCrossRefID>7</monitorCrossRefID>
	//   <connection>
	//     <callID>1</callID>
	//     <deviceID>101</deviceID>
	//   </connection>
	//   <alertingDevice>
	//     <deviceIdentifier>101</deviceIdentifier>
	//   </alertingDevice>
	//   <callingDevice>
	//     <deviceIdentifier>100</deviceIdentifier>
	//   </callingDevice>
	//   <calledDevice>
	//     <deviceIdentifier>101</deviceIdentifier>
	//   </calledDevice>
	//   <lastRedirectionDevice>
	//     <notRequired/>
	//   </lastRedirectionDevice>
	//   <localConnectionInfo>alerting</localConnectionInfo>
	//   <cause>newCall</cause>
	// </DeliveredEvent>
	// <CSTAErrorCode xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3">
	//   <operation>invalidDeviceID</operation>
	// </CSTAErrorCode>
}
